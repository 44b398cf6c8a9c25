//! Tables and values that hide what is beside them elsewhere: every kind of relation is listed, every type costs its
//! own column at most, and what no type of ours holds is an error that names it. One test a trap.

use datafusion::physical_plan::{ExecutionPlan, displayable};
use portolan_catalog::federation::FederatedScanExec;

use super::fixture::Fixture;

/// Calls `see` with every leaf below.
fn leaves(plan: &dyn ExecutionPlan, see: &mut dyn FnMut(&FederatedScanExec)) {
    if let Some(leaf) = plan.downcast_ref::<FederatedScanExec>() {
        see(leaf);
    }
    plan.children().iter().for_each(|child| leaves(child.as_ref(), see));
}

#[tokio::test]
async fn trap_w7_no_leaf_claims_an_order() {
    let fixture = Fixture::start().await;
    for sql in [
        "SELECT dic FROM t ORDER BY dic",
        "SELECT dic, i4 FROM t ORDER BY dic DESC LIMIT 3",
        "SELECT i4 FROM t ORDER BY i4 LIMIT 2",
        "SELECT zone, count(*) AS c FROM berth GROUP BY zone ORDER BY c, zone LIMIT 2",
        "SELECT max(code) FROM (SELECT code FROM berth ORDER BY code LIMIT 3)",
    ] {
        let plan = fixture.plan(sql).await;
        let mut seen = 0;
        leaves(plan.as_ref(), &mut |leaf| {
            assert!(leaf.properties().output_ordering().is_none(), "{sql}");
            seen += 1;
        });
        assert!(seen > 0, "{sql}");
        let shown = displayable(plan.as_ref()).indent(false).to_string();
        assert!(shown.contains("SortExec") || shown.contains("SortPreservingMerge"), "{sql}\n{shown}");
    }
    fixture.stop().await;
}

#[tokio::test]
async fn trap_w10_times_of_every_century_are_the_servers() {
    let fixture = Fixture::start().await;
    let ours = "SELECT CAST(at AS bigint), CAST(seen AS bigint), CAST(day AS int) FROM t WHERE i4 <> 0";
    fixture.same(ours).await;
    let mut rows = fixture.run(ours, true).await.unwrap().rows;
    let theirs = "SELECT concat_ws('|', (extract(epoch FROM at) * 1000000)::int8, \
                  (extract(epoch FROM seen) * 1000000)::int8, day - date '1970-01-01') FROM port.t WHERE i4 <> 0";
    let told = fixture.client.query(theirs, &[]).await.unwrap();
    let mut told: Vec<String> = told.iter().map(|row| row.get(0)).collect();
    rows.sort();
    told.sort();
    assert_eq!(rows, told);
    // The years 1, 1969 and 9999, to the microsecond.
    for micros in ["-62135596800000000|", "-1|", "253402300799999999|"] {
        assert!(rows.iter().any(|row| row.starts_with(micros)), "{micros} {rows:?}");
    }
    for column in ["at", "seen", "day"] {
        fixture.same(&format!("SELECT min({column}), max({column}) FROM t WHERE i4 <> 0")).await;
        fixture.same(&format!("SELECT {column}, count(*) FROM t GROUP BY {column}")).await;
    }
    fixture.stop().await;
}

#[tokio::test]
async fn trap_w13_sources_that_differ_only_in_their_role_share_no_statement() {
    let fixture = Fixture::start().await;
    let role = format!("clerk_{}", uuid::Uuid::new_v4().simple());
    let script = format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'clerk'; GRANT USAGE ON SCHEMA port TO {role};
         GRANT SELECT ON ALL TABLES IN SCHEMA port TO {role};
         ALTER TABLE port.berth ENABLE ROW LEVEL SECURITY;
         CREATE POLICY few ON port.berth TO {role} USING (id > 0)"
    );
    fixture.client.batch_execute(&script).await.unwrap();
    let mut clerk = fixture.config.clone();
    clerk.user(&role).password("clerk");
    let fixture = fixture.and("low", &clerk, "port");
    for (sql, rows) in [
        ("SELECT count(*) FROM ops.berth", "5"),
        ("SELECT count(*) FROM low.berth", "3"),
        ("SELECT count(*) FROM ops.berth a JOIN low.berth b ON a.id = b.id", "3"),
        ("SELECT count(*) FROM ops.berth a LEFT JOIN low.berth b ON a.id = b.id WHERE b.id IS NULL", "2"),
        ("SELECT count(*) FROM low.berth b LEFT JOIN ops.berth a ON a.id = b.id", "3"),
        ("SELECT count(*) FROM (SELECT id FROM ops.berth UNION ALL SELECT id FROM low.berth) x", "8"),
        ("SELECT count(*) FROM ops.berth WHERE id IN (SELECT id FROM low.berth)", "3"),
    ] {
        let leaves = fixture.same(sql).await;
        assert_eq!(fixture.run(sql, true).await.unwrap().rows, [rows], "{sql} {leaves:#?}");
        let sources = ["ops", "low"].iter().filter(|name| sql.contains(&format!("{name}.berth"))).count();
        assert!(leaves.len() >= sources, "{sql} {leaves:#?}");
    }
    fixture.client.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
    fixture.stop().await;
}

#[tokio::test]
async fn trap_w14_the_word_where_is_no_place_for_a_condition() {
    let fixture = Fixture::start().await;
    let script = r#"CREATE TABLE port."note WHERE x" (id int4 PRIMARY KEY, "a WHERE b" text, "LIMIT 1" int4);
        INSERT INTO port."note WHERE x" VALUES (1, ' WHERE 1=1 ', 1), (7, 'x WHERE y', 2), (0, NULL, 3), (-1, '', 4)"#;
    fixture.client.batch_execute(script).await.unwrap();
    for (sql, rows) in [
        (r#"SELECT id FROM "note WHERE x" WHERE "a WHERE b" = ' WHERE 1=1 '"#, &["1"][..]),
        (
            r#"SELECT id FROM "note WHERE x" WHERE "a WHERE b" <> ' WHERE ' AND id < 7 AND "LIMIT 1" > 3"#,
            &["-1"],
        ),
        (
            r#"SELECT id FROM "note WHERE x" WHERE "a WHERE b" LIKE '% WHERE %' AND "LIMIT 1" IN (1, 3)"#,
            &["1"],
        ),
        (
            r#"SELECT id FROM (SELECT * FROM "note WHERE x" WHERE id > -1) n WHERE "a WHERE b" IS NULL"#,
            &["0"],
        ),
        (
            r#"SELECT n.id FROM "note WHERE x" n JOIN berth b ON b.id = n.id AND b.code = 'a' WHERE n."a WHERE b" > ' WHERE '"#,
            &["7"],
        ),
        (
            r#"SELECT max("LIMIT 1") FROM "note WHERE x" WHERE "a WHERE b" IN (' WHERE 1=1 ', ' LIMIT 1')"#,
            &["1"],
        ),
    ] {
        let leaves = fixture.same(sql).await.concat();
        assert_eq!(fixture.run(sql, true).await.unwrap().rows, rows, "{sql} {leaves}");
        assert!(leaves.contains(" WHERE ("), "{sql} {leaves}");
    }
    fixture.stop().await;
}

/// Columns of types that no Arrow type is.
const ODD: [(&str, &str, &str); 21] = [
    ("doc", "jsonb", "'{\"a\": 1}'"),
    ("raw", "json", "'[1]'"),
    ("page", "xml", "'<a/>'"),
    ("spread", "int4range", "'[1,5)'"),
    ("spreads", "int4multirange", "'{[1,2),[4,5)}'"),
    ("pair", "port.pair", "'(1,a)'"),
    ("spot", "point", "'(1,2)'"),
    ("area", "polygon", "'((0,0),(1,1),(1,0))'"),
    ("words", "tsvector", "'a b'"),
    ("host", "inet", "'10.0.0.1'"),
    ("card", "macaddr", "'08:00:2b:01:02:03'"),
    ("price", "money", "'12.50'"),
    ("gap", "interval", "'1 month 2 days'"),
    ("clock", "timetz", "'12:00+02'"),
    ("last", "time", "'24:00:00'"),
    ("tags", "text[]", "'{a,NULL,b}'"),
    ("flags", "bit(3)", "'101'"),
    ("more", "varbit", "'1'"),
    ("place", "pg_lsn", "'0/1'"),
    ("short", "port.short", "'abc'"),
    ("class", "regclass", "'port.berth'"),
];

#[tokio::test]
async fn trap_e3_no_type_hides_its_table_and_every_kind_of_relation_is_listed() {
    let fixture = Fixture::start().await;
    let columns: Vec<String> = ODD.iter().map(|(name, kind, _)| format!("{name} {kind}")).collect();
    let values: Vec<&str> = ODD.iter().map(|(_, _, value)| *value).collect();
    let script = format!(
        "CREATE TYPE port.pair AS (a int4, b text); CREATE DOMAIN port.short AS varchar(4) CHECK (value <> '');
         CREATE TABLE port.odd (id int4, {}, after int8);
         INSERT INTO port.odd VALUES (1, {}, 9); INSERT INTO port.odd (id, after) VALUES (2, 8);
         CREATE VIEW port.seen AS SELECT id, doc, after FROM port.odd;
         CREATE MATERIALIZED VIEW port.kept AS SELECT id, after FROM port.odd;
         CREATE TABLE port.parted (id int4, day date) PARTITION BY RANGE (day);
         CREATE TABLE port.parted_old PARTITION OF port.parted FOR VALUES FROM (minvalue) TO ('2026-01-01');
         CREATE TABLE port.parted_new PARTITION OF port.parted DEFAULT;
         INSERT INTO port.parted VALUES (1, '2025-06-01'), (2, '2026-06-01'), (3, NULL);
         CREATE TABLE port.old () INHERITS (port.kin); ",
        columns.join(", "),
        values.join(", ")
    );
    fixture
        .client
        .batch_execute("CREATE TABLE port.kin (id int4); INSERT INTO port.kin VALUES (1)")
        .await
        .unwrap();
    fixture.client.batch_execute(&script).await.unwrap();
    fixture.client.batch_execute("INSERT INTO port.old VALUES (2)").await.unwrap();
    let grids =
        "CREATE TABLE port.grids (id int4, grid int4[]); INSERT INTO port.grids VALUES (1, '{{1,2},{3,4}}')";
    fixture.client.batch_execute(grids).await.unwrap();
    let foreign = "CREATE EXTENSION file_fdw; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
         CREATE FOREIGN TABLE port.far (id int4, name text) SERVER files OPTIONS (program 'echo 1,quay; echo 2,mole', format 'csv')";
    fixture.client.batch_execute(foreign).await.unwrap();
    for (sql, rows) in [
        ("SELECT id, after FROM odd ORDER BY id", &["1|9", "2|8"][..]),
        ("SELECT count(*) FROM odd WHERE doc IS NULL", &["1"]),
        ("SELECT id FROM seen WHERE after = 9", &["1"]),
        ("SELECT sum(after) FROM kept", &["17"]),
        ("SELECT count(*), count(day), max(id) FROM parted", &["3|2|3"]),
        ("SELECT id FROM parted WHERE day > date '2026-01-01'", &["2"]),
        ("SELECT p.id FROM parted p JOIN kept k ON k.id = p.id ORDER BY p.id LIMIT 1", &["1"]),
        // Rows of what inherits from a table are its rows too.
        ("SELECT count(*) FROM kin", &["2"]),
        ("SELECT name FROM far WHERE id = 2", &["mole"]),
        ("SELECT max(f.name) FROM far f JOIN odd o ON o.id = f.id WHERE o.after = 9", &["quay"]),
    ] {
        fixture.same(sql).await;
        assert_eq!(fixture.run(sql, true).await.unwrap().rows, rows, "{sql}");
    }
    // What no value of ours is stands alone: without push-down the whole table is read.
    assert_eq!(fixture.run("SELECT id FROM grids", true).await.unwrap().rows, ["1"]);
    for pushdown in [true, false] {
        let error = fixture.run("SELECT grid FROM grids", pushdown).await;
        assert!(error.as_ref().is_err_and(|error| error.contains("grids.grid")), "{error:?}");
    }
    // A partition is no table of its own; what it belongs to shows its rows.
    assert!(fixture.run("SELECT * FROM parted_old", true).await.is_err());
    // Each column is there, and is read or names itself.
    for (name, kind, _) in ODD {
        for pushdown in [true, false] {
            match fixture.run(&format!("SELECT {name} FROM odd"), pushdown).await {
                Ok(outcome) => {
                    assert!(outcome.rows.len() == 2 && outcome.rows.concat() != "∅∅", "{name} {kind}")
                }
                Err(error) => assert!(error.contains(&format!("odd.{name}")), "{name} {kind}: {error}"),
            }
        }
    }
    fixture.stop().await;
}

#[tokio::test]
async fn trap_e4_e6_numbers_that_no_decimal_holds_and_an_enum_of_two_hundred() {
    let fixture = Fixture::start().await;
    let words: Vec<String> = (0..200).map(|number| format!("'w{number}'")).collect();
    let script = format!(
        "CREATE TABLE port.wide (id int4, w numeric(40,0), d numeric(30,21));
         INSERT INTO port.wide VALUES (1, 1234567890123456789012345678901234567890, 123456789.123456789012345678901),
           (2, -1, 0.000000000000000000001);
         CREATE TABLE port.sums (id int4, n numeric);
         INSERT INTO port.sums VALUES (1, 1.5), (2, 'NaN'), (3, 'Infinity'), (4, '-Infinity'),
           (5, 0.123456789012345678901), (6, 12345678901234567890123456789);
         CREATE TYPE port.word AS ENUM ({});
         CREATE TABLE port.big AS SELECT e AS m FROM unnest(enum_range(NULL::port.word)) e",
        words.join(", ")
    );
    fixture.client.batch_execute(&script).await.unwrap();
    for (sql, rows) in [
        ("SELECT w FROM wide WHERE id = 1", &["1234567890123456789012345678901234567890"][..]),
        (
            "SELECT d FROM wide WHERE id < 3 ORDER BY id",
            &["123456789.123456789012345678901", "0.000000000000000000001"],
        ),
        ("SELECT count(*), count(DISTINCT m) FROM big", &["200|200"]),
        ("SELECT m FROM big WHERE m = 'w150'", &["w150"]),
        ("SELECT m FROM big ORDER BY m LIMIT 3", &["w0", "w1", "w10"]),
        ("SELECT max(m) FROM big", &["w99"]),
    ] {
        fixture.same(sql).await;
        assert_eq!(fixture.run(sql, true).await.unwrap().rows, rows, "{sql}");
    }
    // Without push-down every row is read, and the ones that no decimal holds are in the way.
    assert_eq!(fixture.run("SELECT n FROM sums WHERE id = 1", true).await.unwrap().rows, ["1.5000000000"]);
    assert_eq!(fixture.run("SELECT count(*) FROM sums", true).await.unwrap().rows, ["6"]);
    for id in 2..=6 {
        // A condition is another matter: it is decided where the value is, and exactly.
        for sql in [
            format!("SELECT n FROM sums WHERE id = {id}"),
            format!("SELECT n, count(*) FROM sums WHERE id = {id} GROUP BY n"),
            format!("SELECT max(n) FROM sums WHERE id = {id}"),
            format!("SELECT sum(n) FROM sums WHERE id IN (1, {id})"),
        ] {
            for pushdown in [true, false] {
                let answer = fixture.run(&sql, pushdown).await;
                assert!(answer.is_err(), "{sql}, push-down {pushdown}: {answer:?}");
                if sql.starts_with("SELECT n FROM") {
                    let named = answer.as_ref().is_err_and(|error| error.contains("sums.n"));
                    assert!(named, "{sql}, push-down {pushdown}: {answer:?}");
                }
            }
        }
    }
    fixture.stop().await;
}

/// A type whose equality knows no case, and one that pads: here bytes are compared, whoever compares them.
#[tokio::test]
async fn trap_w9_text_of_types_with_an_equality_of_their_own() {
    let fixture = Fixture::start().await;
    let script = "CREATE EXTENSION citext;
        CREATE TABLE port.loose (id int4 PRIMARY KEY, c public.citext, b bpchar(6), v varchar(6));
        INSERT INTO port.loose VALUES (1, 'Dakar', 'a', 'a'), (2, 'DAKAR', 'a ', 'a '), (3, 'dakar', 'A', 'A'),
          (4, '', '', ''), (5, NULL, NULL, NULL), (6, 'Dakar', 'a', 'a')";
    fixture.client.batch_execute(script).await.unwrap();
    for (sql, rows) in [
        ("SELECT id FROM loose WHERE c = 'DAKAR'", &["2"][..]),
        ("SELECT id FROM loose WHERE c IN ('dakar', 'x') OR c = ''", &["3", "4"]),
        ("SELECT count(*) FROM loose WHERE c <> 'Dakar'", &["3"]),
        ("SELECT count(*) FROM loose WHERE c NOT IN ('Dakar', 'DAKAR')", &["2"]),
        ("SELECT count(*) FROM loose WHERE c LIKE 'D%'", &["3"]),
        ("SELECT count(DISTINCT c), count(DISTINCT b), count(DISTINCT v) FROM loose", &["4|3|4"]),
        ("SELECT min(c), max(c), min(b), max(v) FROM loose", &["|dakar||a "]),
        ("SELECT count(*) FROM (SELECT c FROM loose GROUP BY c) x", &["5"]),
        ("SELECT count(*) FROM loose x JOIN loose y ON x.c = y.c", &["7"]),
        ("SELECT count(*) FROM loose x JOIN loose y ON x.b = y.b", &["11"]),
        ("SELECT id FROM loose WHERE b = 'a'", &["1", "2", "6"]),
        ("SELECT count(*) FROM loose WHERE b = 'a '", &["0"]),
        ("SELECT id FROM loose WHERE v = 'a '", &["2"]),
    ] {
        let leaves = fixture.same(sql).await;
        let mut got = fixture.run(sql, true).await.unwrap().rows;
        got.sort();
        assert_eq!(got, rows, "{sql} {leaves:#?}");
    }
    let ordered = "SELECT c FROM loose WHERE id < 5 ORDER BY c LIMIT 3";
    fixture.same_order(ordered).await;
    assert_eq!(fixture.run(ordered, true).await.unwrap().rows, ["", "DAKAR", "Dakar"]);
    fixture.stop().await;
}
