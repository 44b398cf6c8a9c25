//! Text under collations that take different texts as equal, or order them otherwise: bytes decide, whoever compares.
//!
//! Only ICU has collations that are not deterministic, and not every server is built with it. What the gate goes by is
//! what the server says of a collation, so one that is deterministic is said not to be.

use super::fixture::Fixture;

const LOOSE: &str = "CREATE COLLATION port.loose (provider = libc, locale = 'C.UTF-8');
    SET allow_system_table_mods = on;
    UPDATE pg_catalog.pg_collation SET collisdeterministic = false WHERE collname = 'loose';
    RESET allow_system_table_mods;
    CREATE TABLE port.calls (id int4 PRIMARY KEY, name text COLLATE port.loose);
    INSERT INTO port.calls VALUES (1, 'Dakar'), (2, 'DAKAR'), (3, 'dákar'), (4, ''), (5, NULL), (6, 'Dakar')";

#[tokio::test]
async fn trap_w9_a_collation_that_may_take_different_texts_as_equal() {
    let fixture = Fixture::start().await;
    fixture.client.batch_execute(LOOSE).await.unwrap();
    for (condition, ids) in [
        ("name = 'Dakar'", &["1", "6"][..]),
        ("name <> 'Dakar'", &["2", "3", "4"]),
        ("name IN ('DAKAR', 'x')", &["2"]),
        ("name NOT IN ('DAKAR', 'x')", &["1", "3", "4", "6"]),
        // An error there, whatever the pattern.
        ("name LIKE 'D%'", &["1", "2", "6"]),
        ("substr(name, 1, 1) = 'D'", &["1", "2", "6"]),
    ] {
        let sql = format!("SELECT id FROM calls WHERE {condition}");
        let leaves = fixture.same(&sql).await.concat();
        assert_eq!(sorted(&fixture, &sql).await, ids, "{sql}\n{leaves}");
        assert!(!leaves.contains(" WHERE "), "{sql}\n{leaves}");
    }
    for (sql, rows, sent) in [
        ("SELECT id FROM calls WHERE name < 'a'", &["1", "2", "4", "6"][..], "(\"name\" COLLATE \"C\") <"),
        (
            "SELECT name, count(*) FROM calls GROUP BY name",
            &["DAKAR|1", "Dakar|2", "dákar|1", "|1", "∅|1"],
            "GROUP BY (\"name\" COLLATE \"C\")",
        ),
        ("SELECT count(DISTINCT name) FROM calls", &["4"], "count(DISTINCT \"name\" COLLATE \"C\")"),
        ("SELECT max(name) FROM calls", &["dákar"], "max(\"name\"::text COLLATE \"C\")"),
        (
            "SELECT x.id FROM calls x WHERE EXISTS (SELECT 1 FROM calls y WHERE y.name = x.name AND y.id = 2)",
            &["2"],
            "COLLATE \"C\" = ",
        ),
    ] {
        let leaves = fixture.same(sql).await.concat();
        assert_eq!(sorted(&fixture, sql).await, rows, "{sql}\n{leaves}");
        assert!(leaves.contains(sent), "{sql}\n{leaves}\nlacks {sent}");
    }
    fixture.stop().await;
}

async fn sorted(fixture: &Fixture, sql: &str) -> Vec<String> {
    let mut rows = fixture.run(sql, true).await.unwrap().rows;
    rows.sort();
    rows
}

#[tokio::test]
async fn trap_w12_ranges_of_text_are_of_bytes() {
    let fixture = Fixture::start().await;
    for (condition, sent) in [
        ("txt < 'b'", "(\"txt\" COLLATE \"C\") < ('b'::text COLLATE \"C\")"),
        ("vc BETWEEN 'D' AND 'a'", "(\"vc\" COLLATE \"C\")"),
        ("bp >= 'E'", "(\"bp\"::text COLLATE \"C\") >="),
        ("m > 'b'", "(\"m\"::text COLLATE \"C\") >"),
        // Two collations have no equality and no order in common.
        ("lo = dic", "(\"lo\" COLLATE \"C\") = (\"dic\" COLLATE \"C\")"),
        ("lo <> dic", "(\"lo\" COLLATE \"C\") <> (\"dic\" COLLATE \"C\")"),
        ("lo < dic", "(\"lo\" COLLATE \"C\") < (\"dic\" COLLATE \"C\")"),
    ] {
        let leaves = fixture.same(&format!("SELECT i4, txt FROM t WHERE {condition}")).await.concat();
        assert!(leaves.contains(sent), "{condition}\n{leaves}\nlacks {sent}");
    }
    fixture.stop().await;
}
