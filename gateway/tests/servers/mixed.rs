//! Reals beside other numbers and texts of `character(n)` in a PostgreSQL: whatever is asked of them, at the source or
//! here, is what the server itself says.

use super::{Port, client, rows};

const TABLE: &str = "CREATE TABLE port.mixed (
        id int4 PRIMARY KEY, f4 real, i2 int2, i4 int4, i8 int8, n numeric(20,3), f8 float8,
        ch char(5), wide char(8), vc varchar(8), t text);
    INSERT INTO port.mixed VALUES
        (1, 16777216, 1, 16777217, 16777217, 16777217, 16777216, 'ab', 'ab', 'ab', 'ab'),
        (2, 0.1, 0, 0, 0, 0.1, 0.1, 'ab', 'ab', 'ab  ', 'ab  '),
        (3, '-0', 0, 0, 0, 0, 0, '', '', '', ''),
        (4, 1.5, 2, 2, 2, 1.5, 1.5, 'a%', 'abc', 'a_', 'ab'),
        (5, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
        (6, 'NaN', 7, 7, 7, 7, 'NaN', 'abcde', 'abcde', 'abcde', 'abcde  '),
        (7, 'Infinity', 7, 7, 7, 7, 'Infinity', E'ab\\t', 'é', ' ab', E'ab\\t'),
        (8, 3.4e38, 7, 2147483647, 9007199254740993, 7, 1e300, 'a b', 'a b', 'a b ', 'a b')";

/// Conditions, each of which is asked for rows and as a value.
const CONDITIONS: [&str; 62] = [
    "f4 = 16777217",
    "f4 <> 16777217",
    "f4 < 16777217",
    "f4 >= 16777217",
    "16777217 > f4",
    "f4 = 16777216",
    "f4 = 0.1",
    "f4 = '0.1'",
    "f4 > 0.1",
    "f4 <= 0.1",
    "f4 = 0.1::real",
    "f4 = 0.1::float8",
    "f4 = 1.5",
    "f4 = 0",
    "f4 > 0",
    "f4 < 1e39",
    "f4 IN (0.1)",
    "f4 IN (0.1, 0)",
    "f4 NOT IN (0.1, 0)",
    "f4 IN (16777217, 16777218)",
    "f4 IN (16777217)",
    "f4 IN (0.1, n)",
    "f4 IN ('0.1', i4, 1.5)",
    "f4 BETWEEN 0.1 AND 0.2",
    "f4 NOT BETWEEN 0.1 AND 16777217",
    "f4 BETWEEN i2 AND n",
    "f4 = i4",
    "f4 < i8",
    "f4 = n",
    "f4 = f8",
    "f4 IS DISTINCT FROM 16777217",
    "i8 IN (16777217::real, 0)",
    "n BETWEEN 0.1 AND 16777216::real",
    "f4 + 1 = 16777217",
    "f4 IN (SELECT i4 FROM port.mixed)",
    "i8 IN (SELECT f4 FROM port.mixed WHERE f4 IS NOT NULL)",
    "n NOT IN (SELECT f4 FROM port.mixed WHERE f4 IS NOT NULL)",
    "ch = 'ab'",
    "ch = 'ab   '",
    "'ab ' = ch",
    "ch <> 'ab   '",
    "ch = 'ab '::text",
    "ch = vc",
    "ch = t",
    "ch = wide",
    "ch < 'ab '",
    "ch IN ('ab ', 'x')",
    "ch IN ('ab ')",
    "ch NOT IN ('ab ', 'x')",
    "vc IN (ch, 'x')",
    "ch BETWEEN 'ab ' AND 'ab '",
    "ch IS DISTINCT FROM 'ab  '",
    "ch IN (SELECT vc FROM port.mixed)",
    "vc IN (SELECT ch FROM port.mixed)",
    "ch LIKE 'ab'",
    "ch LIKE 'ab   '",
    "ch LIKE 'ab%'",
    "ch LIKE '%b'",
    "ch LIKE '_____'",
    "ch NOT LIKE '%b'",
    "ch ILIKE 'AB'",
    "ch ~ 'b$'",
];

const STATEMENTS: [&str; 21] = [
    "a.id, b.id FROM port.mixed a JOIN port.mixed b ON a.f4 = b.i4 ORDER BY 1, 2",
    "a.id, b.id FROM port.mixed a JOIN port.mixed b ON a.f4 = b.id + 0 ORDER BY 1, 2",
    "a.id, b.id FROM port.mixed a JOIN port.mixed b ON a.f4 = b.n ORDER BY 1, 2",
    "a.id, b.id FROM port.mixed a LEFT JOIN port.mixed b ON a.ch = b.vc ORDER BY 1, 2 NULLS FIRST",
    "a.id, b.id FROM port.mixed a JOIN port.mixed b ON a.ch = b.t ORDER BY 1, 2",
    "a.id, b.id FROM port.mixed a JOIN port.mixed b ON a.ch = b.wide ORDER BY 1, 2",
    "a.id FROM port.mixed a JOIN (SELECT DISTINCT vc AS ch FROM port.mixed) b USING (ch) ORDER BY 1",
    "id, CASE f4 WHEN 16777217 THEN 'a' WHEN 0.1 THEN 'b' WHEN 1.5 THEN 'c' ELSE 'd' END FROM port.mixed ORDER BY id",
    "id, CASE ch WHEN 'ab  ' THEN 'a' WHEN 'a% ' THEN 'b' ELSE 'c' END FROM port.mixed ORDER BY id",
    "id, nullif(f4, 16777217), nullif(f4, i4), nullif(n, f4) FROM port.mixed ORDER BY id",
    "id, nullif(ch, 'ab ') IS NULL FROM port.mixed ORDER BY id",
    "id, coalesce(f4, 0.5), coalesce(f8, 0.5), greatest(f4, 16777217), coalesce(f4, i8) FROM port.mixed ORDER BY id",
    "id, f4 + i4, f4 - n, f4 * 2, i2 / 3::real FROM port.mixed WHERE id < 5 ORDER BY id",
    "f4 FROM port.mixed WHERE id <> 3 AND id < 5 UNION ALL SELECT n FROM port.mixed WHERE id < 5 ORDER BY 1",
    "id, f4::numeric(20,10), f8::numeric(30,12), (f4 / 3)::numeric(20,4) FROM port.mixed WHERE id < 5 ORDER BY id",
    "id, f4::numeric = 0.1, f8::numeric + 1 = 1.1, f4::numeric = 16777200 FROM port.mixed WHERE id < 5 ORDER BY id",
    "id, length(ch), octet_length(ch), octet_length(wide), ch || '|', concat(ch, '|'), upper(ch) || '|' FROM port.mixed ORDER BY id",
    "id, concat_ws('-', ch, vc, wide, 'x'), ch::text || '|', substr(ch, 1, 3) || '|' FROM port.mixed ORDER BY id",
    "count(*) FROM port.mixed GROUP BY ch ORDER BY 1",
    "id FROM (SELECT id, ch::text AS x FROM port.mixed) q WHERE x = 'ab ' ORDER BY id",
    "a.id FROM port.mixed a WHERE EXISTS (SELECT 1 FROM port.mixed b WHERE b.i8 = a.f4 AND b.vc = a.ch) ORDER BY 1",
];

#[tokio::test(flavor = "multi_thread")]
async fn reals_and_padded_texts_are_compared_as_postgresql_compares_them() {
    let port = Port::make("mixed").await;
    port.postgres.batch_execute(TABLE).await.unwrap();
    port.postgres.batch_execute(&format!("GRANT SELECT ON port.mixed TO {}", port.name)).await.unwrap();
    let gateway = port.serve();
    let mut statements: Vec<String> = STATEMENTS.iter().map(|rest| format!("SELECT {rest}")).collect();
    for condition in CONDITIONS {
        statements.push(format!("SELECT id FROM port.mixed WHERE {condition} ORDER BY id"));
        statements.push(format!("SELECT id FROM port.mixed WHERE NOT ({condition}) ORDER BY id"));
        if !condition.contains("SELECT") {
            statements.push(format!("SELECT id, {condition} FROM port.mixed ORDER BY id"));
        }
    }
    let mut wrong = Vec::new();
    for pushdown in [true, false] {
        let client = client(&gateway, pushdown).await;
        for sql in &statements {
            let said = rows(&port.postgres, sql).await;
            match client.simple_query(sql).await {
                Ok(_) if rows(&client, sql).await == said => {}
                answer => wrong.push(format!("{sql}, push-down {pushdown}: {answer:?}, not {said:?}")),
            }
        }
        // A parameter takes the column's type, and loses its blanks with it.
        let by_parameter = "SELECT id FROM port.mixed WHERE ch = $1 ORDER BY id";
        for blanks in ["ab", "ab   "] {
            let found = client.query(by_parameter, &[&blanks]).await.unwrap();
            let found: Vec<i32> = found.iter().map(|row| row.get(0)).collect();
            assert_eq!(found, [1, 2], "{blanks:?}, push-down {pushdown}");
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    // What a source can answer by its column is still asked of it.
    let client = client(&gateway, true).await;
    for (condition, sent) in [
        ("f4 < 16777217", "(\"f4\" < '1.6777218e7'::float4)"),
        ("f4 = 0.1", "(\"f4\" = '1e-1'::float8)"),
        ("f4 IN (0.1, 16777217)", "'1e-1'::float4"),
        ("ch = 'ab   '", "(\"ch\"::text = 'ab'::text)"),
        ("ch LIKE 'ab%'", "LIKE 'ab%'"),
    ] {
        let plan = rows(&client, &format!("EXPLAIN SELECT id FROM port.mixed WHERE {condition}")).await;
        let plan = plan.into_iter().flatten().flatten().collect::<Vec<_>>().join("\n");
        assert!(plan.contains(sent), "{condition}: {plan}");
    }
    drop(client);
    assert_eq!(gateway.stop(), Some(0));
    port.remove().await;
}
