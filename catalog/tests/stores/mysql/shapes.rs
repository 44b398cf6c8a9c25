//! Whole sub-plans at the server: top-N, aggregates and joins give the rows and types of a local evaluation.

use portolan_catalog::mysql::ZeroDates;

use super::fixture::{Database, Session, open};
use super::gate::SCHEMA;
use crate::dice::Dice;
use crate::shapes::{self, Operands, top_n};

const STATEMENTS: u64 = 150;

const KEYS: [&str; 20] = [
    "i16", "u8", "u32", "i64", "u64", "ci", "bi", "l1", "ch", "e", "s", "d", "w", "f", "ok", "b9", "y",
    "day", "at", "seen",
];
const PREDICATES: [&str; 12] = [
    "true",
    "i16 > 0",
    "ci < 'b'",
    "d <= 7",
    "ok",
    "e = 'calm'",
    "day IS NOT NULL",
    "bi <> 'a'",
    "day < date '2026-01-01'",
    "at IS NULL OR at >= timestamp '1969-12-31 23:59:59.999999'",
    "NOT (seen = timestamptz '2026-03-29 01:00:00Z')",
    "l1 IN ('é', 'É', 'DAKAR')",
];

const BERTHS: &str = "
CREATE TABLE berth (id INT PRIMARY KEY, code VARCHAR(9) COLLATE utf8mb4_bin, depth DECIMAL(5,2), zone CHAR(3) NOT NULL);
CREATE TABLE mark (name VARCHAR(40) COLLATE utf8mb4_general_ci PRIMARY KEY, weight BIGINT UNSIGNED);
INSERT INTO berth VALUES (1, 'A', 12.50, 'n'), (7, 'a', NULL, 's'), (-1, 'A ', 0.01, 'n'), (32767, NULL, 9, 'S');
INSERT INTO mark VALUES ('dakar', 1), ('a', 18446744073709551615), ('it''s', 2), ('x', NULL)
";

fn aggregate(dice: &mut Dice) -> String {
    let operands = Operands {
        any: &KEYS,
        numbers: &["i16", "u8", "u32", "d", "CAST(i64 AS decimal(38,0))", "y"],
        ordered: &["i16", "u32", "i64", "u64", "ci", "bi", "l1", "ch", "e", "d", "w", "day", "at", "seen"],
        conditions: &PREDICATES,
    };
    shapes::aggregate(dice, &operands)
}

fn statement(dice: &mut Dice) -> String {
    let p = dice.pick(&PREDICATES);
    let (k, l) = (dice.pick(&KEYS), dice.pick(&KEYS));
    match dice.roll(9) {
        // Only the keys are shown: rows that tie at the cut may be any.
        0 | 1 => format!("SELECT {k} AS a, {l} AS b FROM t WHERE {p} {}", top_n(dice, &["a", "b"], 6)),
        2 => format!("SELECT {} AS x, {} AS y FROM t WHERE {p}", aggregate(dice), aggregate(dice)),
        3 => {
            let (x, y) = (aggregate(dice), aggregate(dice));
            let having = match dice.roll(4) {
                0 => format!(" HAVING count(*) > 1 OR {x} IS NULL"),
                1 => format!(" HAVING {} IS NOT NULL AND count({l}) <= 3", aggregate(dice)),
                _ => String::new(),
            };
            format!("SELECT {k} AS k, {x} AS x, {y} AS y FROM t WHERE {p} GROUP BY {k}{having}")
        }
        4 => format!("SELECT DISTINCT {k} AS a, {l} AS b FROM t WHERE {p}"),
        5 => {
            let call = dice.pick(&["count(*)", "sum(d)", "min(ci)", "max(day)"]);
            let top = top_n(dice, &["c", k], 6);
            format!("SELECT {k}, {call} AS c FROM t WHERE {p} GROUP BY {k} {top}")
        }
        6 => {
            let join = dice.pick(&["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]);
            format!("SELECT t.id, b.code, b.depth FROM t {join} berth b ON t.id = b.id WHERE {p} OR b.id = 7")
        }
        7 => {
            let test = dice.pick(&["IN", "NOT IN"]);
            let inner = dice.pick(&["SELECT id FROM berth", "SELECT id FROM t WHERE i16 > 0"]);
            format!("SELECT id, ci FROM t WHERE id {test} ({inner}) AND ({p})")
        }
        _ => format!(
            "SELECT b.zone, count(*), max(w.weight), sum(t.d), min(t.day) FROM t JOIN berth b ON t.id = b.id \
             LEFT JOIN mark w ON w.name = t.ci WHERE {p} GROUP BY b.zone"
        ),
    }
}

async fn seeded(zero_dates: ZeroDates) -> (Database, Session) {
    let mut database = Database::new().await;
    database.run(SCHEMA).await;
    database.run(BERTHS).await;
    if zero_dates == ZeroDates::Error {
        database.run("UPDATE t SET day = NULL, at = NULL, seen = NULL WHERE id IN (3, 7)").await;
    }
    let session = database.session(zero_dates);
    (database, session)
}

/// Where zero dates are null, and where they are errors and there are none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whole_sub_plans_never_change_rows_or_types() {
    for zero_dates in [ZeroDates::Null, ZeroDates::Error] {
        let (database, session) = seeded(zero_dates).await;
        let (mut ordered, mut grouped, mut joined) = (0, 0, 0);
        for seed in 0..STATEMENTS {
            let sql = statement(&mut Dice(seed));
            session.same(&sql).await;
            let leaves = session.leaves(&sql).await.join("\n");
            ordered += usize::from(leaves.contains(" ORDER BY "));
            grouped += usize::from(leaves.contains(" GROUP BY ") || leaves.contains("COUNT("));
            joined += usize::from(leaves.contains(" JOIN ") || leaves.contains("EXISTS ("));
        }
        assert!(
            ordered > 8 && grouped > 10 && joined > 4,
            "{ordered} top-N, {grouped} groups, {joined} joins"
        );
        database.finish().await;
    }
}

#[tokio::test]
async fn each_shape_goes_down_as_one_statement() {
    let (database, session) = seeded(ZeroDates::Error).await;
    let bytes = "CAST(CONVERT(`ci` USING utf8mb4) AS BINARY)";
    for (sql, sent) in [
        (
            "SELECT ci FROM t WHERE i16 > 0 ORDER BY ci DESC LIMIT 3",
            format!("WHERE (`i16` > ?) ORDER BY (`ci` IS NULL) DESC, {bytes} DESC LIMIT 3 values: 0"),
        ),
        ("SELECT id FROM t ORDER BY id DESC LIMIT 3", "ORDER BY `id` DESC LIMIT 3".into()),
        ("SELECT y, count(*), sum(d) FROM t GROUP BY y", "SELECT `y`, COUNT(1), SUM(`d`) FROM".into()),
        ("SELECT count(DISTINCT ci) FROM t", format!("SELECT COUNT(DISTINCT {bytes}) FROM")),
        (
            "SELECT DISTINCT ci FROM t",
            format!("SELECT MIN(`ci`) FROM `{}`.`t` GROUP BY {bytes}", database.name),
        ),
        (
            "SELECT ci, count(*) AS c FROM t GROUP BY ci ORDER BY c DESC, ci LIMIT 3",
            format!(
                "SELECT `c0`, `c1` FROM (SELECT MIN(`ci`) AS `c0`, COUNT(1) AS `c1` FROM `{}`.`t` GROUP BY {bytes}) AS g \
                 ORDER BY `c1` DESC, (`c0` IS NULL) ASC, CAST(CONVERT(`c0` USING utf8mb4) AS BINARY) ASC LIMIT 3",
                database.name
            ),
        ),
        ("SELECT max(day) FROM t WHERE day < date '2026-01-01'", "SELECT MAX(`day`) FROM".into()),
        (
            "SELECT count(*) FILTER (WHERE ci < 'b'), sum(i16) FILTER (WHERE i64 > 5) FROM t WHERE id > 2",
            "values: 'b', 5, 2".into(),
        ),
        ("SELECT t.ci, b.code FROM t LEFT JOIN berth b ON t.id = b.id", "AS t1 ON t0.`id` = t1.`id`".into()),
        (
            "SELECT t.id, m.weight FROM t JOIN mark m ON t.ci = m.name",
            "AS t1 ON t0.`ci` = t1.`name` AND CAST(CONVERT(t0.`ci` USING utf8mb4) AS BINARY) = ".into(),
        ),
        (
            "SELECT b.zone, max(t.i16) FROM t JOIN berth b ON t.id = b.id GROUP BY b.zone",
            "`zone` USING utf8mb4) AS BINARY)".into(),
        ),
        (
            "SELECT ci FROM t WHERE NOT EXISTS (SELECT 1 FROM berth b WHERE b.id = t.id)",
            "WHERE NOT EXISTS (SELECT 1 FROM".into(),
        ),
    ] {
        session.same(sql).await;
        let leaves = session.leaves(sql).await;
        assert_eq!(leaves.len(), 1, "{sql}: {leaves:#?}");
        assert!(leaves[0].contains(&sent), "{sql}\n{}\nlacks {sent}", leaves[0]);
    }
    database.finish().await;
}

/// What a subquery gave for one spelling is not its answer for another that the collation takes for the same.
#[tokio::test]
async fn subqueries_are_asked_for_each_spelling() {
    let mut database = Database::new().await;
    database
        .run(
            "CREATE TABLE asks (id INT PRIMARY KEY, s VARCHAR(20) COLLATE utf8mb4_general_ci);
             CREATE TABLE told (q VARCHAR(20) COLLATE utf8mb4_general_ci);
             INSERT INTO asks VALUES (1, 'a'), (2, 'A'), (3, 'á'), (4, 'a '), (5, 'b'), (6, 'B'), (7, NULL);
             INSERT INTO told VALUES ('a'), ('B');
",
        )
        .await;
    let session = database.session(ZeroDates::Error);
    for (test, rows) in [("EXISTS", ["1", "6"].as_slice()), ("NOT EXISTS", &["2", "3", "4", "5", "7"])] {
        let sql = format!("SELECT id FROM asks WHERE {test} (SELECT 1 FROM told WHERE told.q = asks.s)");
        let mut found = session.same(&sql).await;
        found.sort();
        assert_eq!(found, rows, "{sql}");
        assert!(session.leaf(&sql).await.contains(" EXISTS (SELECT 1"), "{}", session.leaf(&sql).await);
    }
    database.finish().await;
}

/// Groups that cannot pass are left out at the server, and the condition is still tested here.
#[tokio::test]
async fn conditions_over_groups_go_down() {
    let (database, session) = seeded(ZeroDates::Error).await;
    for (sql, sent) in [
        ("SELECT y, sum(d) FROM t GROUP BY y HAVING sum(d) > 1.5", "AS g WHERE (`c1` > CAST(? AS DECIMAL"),
        ("SELECT ci, count(*) FROM t GROUP BY ci HAVING count(*) <> 2", "AS g WHERE (`c1` <> ?) values: 2"),
        ("SELECT i16, max(ci) FROM t GROUP BY i16 HAVING max(ci) > 'a'", "AS g WHERE (CAST(CONVERT(`c1`"),
        ("SELECT ci, min(at) FROM t GROUP BY ci HAVING min(at) IS NULL OR count(*) > 1", "AS g WHERE"),
        (
            "SELECT y, count(*) AS n FROM t GROUP BY y HAVING count(*) > 0 ORDER BY n DESC, y LIMIT 3",
            "AS g WHERE",
        ),
    ] {
        session.same(sql).await;
        let leaves = session.leaves(sql).await;
        assert!(leaves.iter().any(|leaf| leaf.contains(sent)), "{sql}\n{leaves:#?}\nlack {sent}");
    }
    for sql in [
        "SELECT count(*) FROM t HAVING count(*) < 5",
        "SELECT y, count(*) FROM t GROUP BY y HAVING avg(i16) > 0",
    ] {
        session.same(sql).await;
        let leaves = session.leaves(sql).await;
        assert!(leaves.iter().all(|leaf| !leaf.contains(" AS g ")), "{sql}\n{leaves:#?}");
    }
    database.finish().await;
}

/// NULLs stand where they are asked for, though the server has no word for it.
#[tokio::test]
async fn trap_w2() {
    let mut database = Database::new().await;
    database
        .run(
            "CREATE TABLE calls (id INT PRIMARY KEY, eta DATETIME NULL, n INT);
             INSERT INTO calls VALUES (1, NULL, NULL), (2, '2026-01-02', 2), (3, '2026-01-03', 3), (4, NULL, NULL), (5, '2026-01-01', 1);
",
        )
        .await;
    let session = database.session(ZeroDates::Error);
    for key in ["eta", "n"] {
        for (order, rows) in [
            ("ASC NULLS LAST", ["5", "2", "3", "∅"]),
            ("ASC NULLS FIRST", ["∅", "∅", "5", "2"]),
            ("DESC NULLS LAST", ["3", "2", "5", "∅"]),
            ("DESC NULLS FIRST", ["∅", "∅", "3", "2"]),
        ] {
            let sql = format!(
                "SELECT CASE WHEN {key} IS NOT NULL THEN id END FROM calls ORDER BY {key} {order} LIMIT 4"
            );
            assert_eq!(session.same(&sql).await, rows, "{sql}");
            assert!(session.leaf(&sql).await.contains(" LIMIT 4"), "{}", session.leaf(&sql).await);
        }
    }
    database.finish().await;
}

/// A zero date among those that are compared, grouped, ordered or aggregated is an error there as it is here.
#[tokio::test]
async fn trap_w19_a_zero_date_is_an_error_wherever_it_is_looked_at() {
    let mut database = Database::new().await;
    database
        .run(
            "CREATE TABLE calls (id INT PRIMARY KEY, `e``ta` DATE NULL, at DATETIME(3) NOT NULL, b INT);
             INSERT INTO calls VALUES (1, '2026-01-01', '2026-01-01 10:00', 1), (2, NULL, '2026-01-01 11:00', 2);
             CREATE TABLE quay (b INT PRIMARY KEY, since TIMESTAMP NULL);
             INSERT INTO quay VALUES (1, '2020-01-01'), (2, NULL);
",
        )
        .await;
    let session = database.session(ZeroDates::Error);
    let statements = [
        "SELECT count(*) FROM calls WHERE \"e`ta\" < date '2027-01-01'",
        "SELECT count(*) FROM calls WHERE NOT (\"e`ta\" = date '2027-01-01')",
        "SELECT max(\"e`ta\"), min(\"e`ta\") FROM calls",
        "SELECT count(\"e`ta\") FROM calls",
        "SELECT \"e`ta\", count(*) FROM calls GROUP BY \"e`ta\"",
        "SELECT count(DISTINCT \"e`ta\") FROM calls",
        "SELECT id FROM calls ORDER BY \"e`ta\" DESC, id LIMIT 1",
        "SELECT id FROM calls WHERE \"e`ta\" IS NULL",
        "SELECT c.id FROM calls c JOIN quay q ON c.b = q.b WHERE c.\"e`ta\" > date '2020-01-01' AND q.since IS NOT NULL",
    ];
    for sql in statements {
        session.same(sql).await;
        let leaf = session.leaf(sql).await;
        assert!(leaf.contains("FROM_DAYS") && !leaf.contains("superset"), "{leaf}");
    }
    for bad in ["0000-00-00", "2018-02-00", "2018-00-07", "2018-02-31"] {
        database.run("SET sql_mode = 'ALLOW_INVALID_DATES'").await;
        database.run(&format!("REPLACE INTO calls VALUES (3, '{bad}', '2026-01-01 12:00', 1)")).await;
        for sql in statements {
            let error = session.rows(sql, true).await.unwrap_err();
            assert!(error.contains("column \"ops.calls.e`ta\""), "{bad}: {sql}: {error}");
            session.rows(sql, false).await.unwrap_err();
        }
        // A row that no condition looks at is not read.
        assert_eq!(session.rows("SELECT id FROM calls WHERE id < 3", true).await.unwrap().len(), 2);
    }
    database.finish().await;
}

/// Sums are exact far beyond the type of what is summed; what no decimal there can hold is summed here.
#[tokio::test]
async fn trap_w22() {
    let mut database = Database::new().await;
    database
        .run(
            "CREATE TABLE big (k INT PRIMARY KEY, i BIGINT, u BIGINT UNSIGNED, d DECIMAL(38,10), w DECIMAL(65,30), n INT);
             INSERT INTO big VALUES
               (1, 9223372036854775807, 18446744073709551615, 1234567890123456789012345678.0123456789,
                99999999999999999999999999999999999.999999999999999999999999999999, 2147483647),
               (2, 9223372036854775807, 18446744073709551615, 0.0000000001,
                0.000000000000000000000000000001, 2147483647),
               (3, -1, 0, NULL, NULL, 2147483647);
",
        )
        .await;
    let session = database.session(ZeroDates::Error);
    for (sql, row, sent) in [
        ("SELECT sum(n), avg(n) FROM big", "6442450941|2147483647.0", false),
        ("SELECT sum(i) FROM big WHERE k > 1", "9223372036854775806", false),
        ("SELECT sum(CAST(i AS decimal(38,0))) FROM big", "18446744073709551613", true),
        ("SELECT sum(CAST(u AS decimal(38,0))) FROM big", "36893488147419103230", true),
        ("SELECT sum(d) FROM big", "1234567890123456789012345678.0123456790", true),
        ("SELECT sum(w) FROM big WHERE k = 2", "0.000000000000000000000000000001", false),
        ("SELECT sum(DISTINCT n) FROM big", "2147483647", false),
    ] {
        assert_eq!(session.same(sql).await, [row], "{sql}");
        assert_eq!(session.leaf(sql).await.contains("SUM("), sent, "{sql}: {}", session.leaf(sql).await);
    }
    // A constant is compared to its last digit, too.
    let near =
        "SELECT k FROM big WHERE d = CAST('1234567890123456789012345678.0123456788' AS decimal(38,10))";
    assert!(session.same(near).await.is_empty());
    assert!(session.leaf(near).await.contains("CAST(? AS DECIMAL("), "{}", session.leaf(near).await);
    // More than the promised digits is an error, there as here.
    let error = session.rows("SELECT sum(CAST(u AS decimal(20,0))) FROM big", true).await;
    assert_eq!(
        error.is_err(),
        session.rows("SELECT sum(CAST(u AS decimal(20,0))) FROM big", false).await.is_err()
    );
    database.finish().await;
}

/// Two databases of one server are two sources: what joins them is two statements, though one could name both.
#[tokio::test]
async fn trap_w13_two_databases_share_no_statement() {
    let (mut one, mut other) = (Database::new().await, Database::new().await);
    one.run("CREATE TABLE a (id INT PRIMARY KEY, n INT);\nINSERT INTO a VALUES (1, 10), (2, 20);\n").await;
    other
        .run("CREATE TABLE b (id INT PRIMARY KEY, s CHAR(1));\nINSERT INTO b VALUES (2, 'x'), (3, 'y');\n")
        .await;
    let session = Session::new(vec![open("ops", &one.config()), open("more", &other.config())]);
    for sql in [
        "SELECT a.n, b.s FROM ops.a JOIN more.b ON a.id = b.id",
        "SELECT a.n FROM ops.a WHERE EXISTS (SELECT 1 FROM more.b WHERE b.id = a.id)",
        "SELECT count(*) FROM ops.a LEFT JOIN more.b ON a.id = b.id",
    ] {
        session.same(sql).await;
        let leaves = session.leaves(sql).await;
        assert_eq!(leaves.len(), 2, "{sql}: {leaves:#?}");
        assert!(!leaves.concat().contains(" JOIN "), "{sql}: {leaves:#?}");
    }
    one.finish().await;
    other.finish().await;
}

/// The least and the greatest of doubles are found at the server, with the sign of a zero where the server keeps one;
/// MariaDB does not.
#[tokio::test]
async fn trap_w25_the_least_and_the_greatest_of_doubles() {
    let mut database = Database::new().await;
    database
        .run(
            "CREATE TABLE zeros (k INT, f DOUBLE, p DOUBLE(10,2), r FLOAT);
INSERT INTO zeros VALUES (1, 0, 0, 0), (1, -0e0, -0e0, -0e0), (2, -0e0, -0e0, -0e0), (3, 0, 0, 0),
 (4, 1.5, 1.5, 1.5), (4, -0e0, -0e0, -0e0), (5, -1.7976931348623157e308, -1.25, -1.5), (5, 5e-324, 1, 1), (6, NULL, NULL, NULL)",
        )
        .await;
    let session = database.session(ZeroDates::Error);
    for (condition, least, greatest) in [
        ("k = 1", "0.0", "0.0"),
        ("k = 2", "0.0", "0.0"),
        ("k = 4", "0.0", "1.5"),
        ("k = 5", "-1.7976931348623157e308", "5e-324"),
        ("k = 6", "∅", "∅"),
        ("k > 6", "∅", "∅"),
        ("k < 4", "0.0", "0.0"),
    ] {
        let sql = format!("SELECT min(f), max(f), count(f) FROM zeros WHERE {condition}");
        let rows = session.same(&sql).await;
        assert!(
            rows[0].replace("-0.0", "0.0").starts_with(&format!("{least}|{greatest}|")),
            "{sql}: {rows:?}"
        );
        assert!(session.leaf(&sql).await.contains("MIN(`f`)"), "{}", session.leaf(&sql).await);
        session
            .same(&format!("SELECT min(p), max(p) FILTER (WHERE k <> 3) FROM zeros WHERE {condition}"))
            .await;
        let sql = format!("SELECT min(r), max(r) FROM zeros WHERE {condition}");
        session.same(&sql).await;
        assert!(!session.leaf(&sql).await.contains("MIN("), "{}", session.leaf(&sql).await);
    }
    database.finish().await;
}

/// A part of a text is taken at the server, counted in characters of Unicode, and compared by its bytes.
#[tokio::test]
async fn a_part_of_a_text_is_taken_at_the_server() {
    let (database, session) = seeded(ZeroDates::Error).await;
    for (condition, sent) in [
        ("substr(ci, 1, 1) IN ('D', 'd', 'é')", true),
        ("substr(ci, 1, 2) IN ('Da', 'DA')", true),
        ("substr(bi, 1, 1) = 'a'", true),
        ("substr(bi, 2, 1) = ' '", true),
        ("substr(l1, 1, 1) = 'é'", true),
        ("substr(l1, 1, 1) NOT IN ('É', 'x')", true),
        ("substr(ch, 2, 9) <> ''", true),
        ("substr(ch, 1, 2) = 'a '", true),
        ("substr(e, 1, 1) > 'b'", true),
        ("substr(ci, 3, 0) = ''", true),
        ("substr(ci, 90, 2) = ''", true),
        ("substr(ci, 1, 2) LIKE '_a'", true),
        ("substr(ci, 1, 2) BETWEEN 'a' AND 'z'", true),
        ("NOT (substr(ci, 1, 1) = 'D')", true),
        ("(substr(ci, 1, 1) = 'D') IS NOT TRUE", true),
        ("substr(ci, 0, 2) = 'D'", false),
        ("substr(ci, -1, 3) = 'D'", false),
        ("substr(ci, 2) = 'akar'", false),
        ("substr(ci, CAST(u8 AS bigint), 2) = 'Da'", false),
    ] {
        let sql = format!("SELECT id FROM t WHERE {condition}");
        session.same(&sql).await;
        let leaf = session.leaf(&sql).await;
        assert_eq!(leaf.contains("SUBSTRING(CONVERT("), sent, "{sql}\n{leaf}");
    }
    // Only what passes is fetched, under an aggregate too.
    let sql = "SELECT count(*), min(id) FROM t WHERE substr(ci, 1, 2) IN ('Da', 'DA')";
    session.same(sql).await;
    let leaf = session.leaf(sql).await;
    assert!(leaf.contains("COUNT(1)") && leaf.contains("SUBSTRING("), "{leaf}");
    database.finish().await;
}

/// Unsigned columns of every width are added, counted and averaged at the server, exactly.
#[tokio::test]
async fn unsigned_columns_are_aggregated_at_the_server() {
    let mut database = Database::new().await;
    let top = u64::MAX;
    database
        .run(&format!(
            "CREATE TABLE n (k INT UNSIGNED PRIMARY KEY, t TINYINT UNSIGNED, s SMALLINT UNSIGNED, m MEDIUMINT UNSIGNED, i INT UNSIGNED, b BIGINT UNSIGNED);
INSERT INTO n VALUES (1, 255, 65535, 16777215, 4294967295, {top}), (2, 255, 65535, 16777215, 4294967295, {top}), (3, 0, 0, 0, 0, 0), (4, NULL, NULL, NULL, NULL, NULL)"
        ))
        .await;
    let session = database.session(ZeroDates::Error);
    for (sql, rows) in [
        ("SELECT sum(t), sum(s), sum(m) FROM n", "510|131070|33554430"),
        (
            "SELECT sum(CAST(i AS decimal(38,0))), sum(CAST(b AS decimal(38,0))) FROM n",
            "8589934590|36893488147419103230",
        ),
        ("SELECT count(CAST(b AS decimal(20,0))) FROM n", "3"),
        ("SELECT count(DISTINCT b) FROM n", "2"),
        ("SELECT min(b), max(b), max(i) FROM n WHERE k < 4", "0|18446744073709551615|4294967295"),
    ] {
        assert_eq!(session.same(sql).await, [rows], "{sql}");
        let leaf = session.leaf(sql).await;
        assert!(["SUM(", "COUNT(", "MIN("].iter().any(|word| leaf.contains(word)), "{sql}\n{leaf}");
    }
    database.finish().await;
}
