//! The gate: push-down on and off give the same rows, and EXPLAIN says what was sent and why.

use portolan_catalog::mysql::ZeroDates;

use super::fixture::{Database, Session};
use crate::dice::Dice;

pub(super) const SCHEMA: &str = "
CREATE TABLE t (
  id INT PRIMARY KEY, i16 SMALLINT, u8 TINYINT UNSIGNED, u32 INT UNSIGNED, i64 BIGINT, u64 BIGINT UNSIGNED,
  ci VARCHAR(40) COLLATE utf8mb4_general_ci, bi VARCHAR(40) COLLATE utf8mb4_bin, l1 VARCHAR(40) CHARACTER SET latin1,
  ch CHAR(6) COLLATE utf8mb4_general_ci, e ENUM('zeal','calm','anger','1'), s SET('x','y'), d DECIMAL(10,2),
  w DECIMAL(65,30), f FLOAT, g DOUBLE, ok BIT(1), b9 BIT(9), y YEAR, day DATE NULL, at DATETIME(6) NULL,
  seen TIMESTAMP(6) NULL, INDEX (ci), INDEX (day), INDEX (d), INDEX (f), INDEX (y), INDEX (e), INDEX (i64));
INSERT INTO t VALUES
  (1, 1, 1, 1, 9223372036854775807, 18446744073709551615, 'Dakar', 'Dakar', 'Dakar', 'a', 'zeal', 'x', 1.50, 1.5, 1.5, 1.5, 1, 1, 1970, '2026-01-01', '2026-01-01 00:00', '2026-01-01 00:00'),
  (2, -1, 0, 0, -9223372036854775808, 0, 'DAKAR', 'DAKAR', 'DAKAR', 'a    ', 'calm', 'x,y', -0.01, -1, -0.5, 0.1, 0, 511, 1901, '0001-01-01', '0001-01-01 00:00', '1970-01-01 00:00:01'),
  (3, 0, 255, 4294967295, 0, 9007199254740993, 'dákar', 'dákar', 'dákar', '', 'anger', '', 0, 0, 0, 0, NULL, 0, 2155, '0000-00-00', '0000-00-00 00:00:00', '0000-00-00 00:00:00'),
  (4, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (5, 32767, 7, 7, 9007199254740993, 7, 'it''s', 'a ', 'é', 'ab', '1', 'y', 99999999.99, 99999999999999999999999999999999999.999999999999999999999999999999, 0.1, 1e308, 1, 7, 2026, '9999-12-31', '9999-12-31 23:59:59.999999', '2038-01-19 03:14:07.999999'),
  (6, -32768, 7, 7, 1, 1, 'a\\\\', 'a', 'É', 'b', 'zeal', 'x', -99999999.99, -1e-30, 0.1, -1e308, 0, 7, 2070, '1969-12-31', '1969-12-31 23:59:59.999999', '2026-03-29 01:00'),
  (7, 7, 7, 7, 7, 7, 'x\\ny', '%', '%', '%', NULL, 'y', 7, 7, 1.5, 0.3, 1, 8, 0, '2018-02-00', '2018-00-00 00:00', '2026-03-29 01:00'),
  (8, 7, 7, 7, 7, 7, ''';--', '_', '_', '_', 'anger', 'x', 7, 7, 16777216, 0.1, 1, 8, 2007, '2024-02-29', '2024-02-29 12:00', '2024-02-29 12:00'),
  (9, 1, 1, 1, 1, 1, 'a', 'ß', 'ß', 'É', 'calm', 'y', 0.10, 0.1, 0.1, 0.1, 0, 9, 1999, '2024-02-29', '2024-02-29 12:00', '2024-02-29 12:00'),
  (10, 1, 1, 1, 1, 1, 'a ', 'ss', 'ss', 'E', 'calm', 'y', 0.10, 0.1, 0.3, 0.3, 0, 9, 2000, '2024-02-29', '2024-02-29 12:00', '2024-02-29 12:00'),
  (11, 2, 2, 2, 2, 2, '', '', '', '🚢', 'zeal', '', 2, 2, 2, 2, 1, 2, 2002, '2026-02-02', '2026-02-02 02:02:02.000002', '2026-02-02 02:02:02.000002')
";

const TEXTS: &[&str] =
    &["'Dakar'", "'DAKAR'", "'a'", "'a '", "'it''s'", "'a\\'", "''';--'", "''", "'ß'", "'漢'", "'É'", "'🚢'"];
const COLUMNS: [(&str, &[&str]); 20] = [
    ("i16", &["0", "1", "-1", "32767", "1.5", "7.0"]),
    ("u8", &["0", "7", "255", "-1"]),
    ("u32", &["0", "7", "4294967295", "-1"]),
    ("i64", &["0", "9007199254740993", "9223372036854775807", "1.5"]),
    ("u64", &["0", "9007199254740993", "18446744073709551615", "-1"]),
    ("ci", TEXTS),
    ("bi", TEXTS),
    ("l1", TEXTS),
    ("ch", TEXTS),
    ("e", &["'zeal'", "'calm'", "'anger'", "'1'", "'none'"]),
    ("s", &["'x'", "'x,y'", "''"]),
    ("d", &["0", "1.5", "-0.01", "99999999.99", "0.1", "7"]),
    ("w", &["0", "1.50", "0.1", "7"]),
    ("f", &["0.0", "1.5", "0.1", "16777216"]),
    ("g", &["0.0", "1.5", "0.1", "1e308"]),
    ("b9", &["0", "7", "511"]),
    ("y", &["0", "70", "1970", "2026", "2155"]),
    ("day", &["date '2026-01-01'", "date '2024-02-29'", "date '1969-12-31'", "date '9999-12-31'"]),
    ("at", &["timestamp '2026-01-01 00:00:00'", "timestamp '1969-12-31 23:59:59.999999'"]),
    (
        "seen",
        &[
            "timestamptz '2026-01-01 00:00:00Z'",
            "timestamptz '2026-03-29 01:00:00Z'",
            "timestamptz '1960-01-01 00:00:00Z'",
        ],
    ),
];

fn atom(dice: &mut Dice) -> String {
    let (column, values) = COLUMNS[dice.roll(COLUMNS.len())];
    let (value, other) = (dice.pick(values), dice.pick(values));
    match dice.roll(10) {
        0 => format!("{column} IS NULL"),
        1 => format!("{column} IN ({value}, {other})"),
        2 => format!("{column} NOT IN ({value}, {other})"),
        3 => format!("{column} BETWEEN {value} AND {other}"),
        4 => format!(
            "{} {}LIKE '{}'",
            dice.pick(&["ci", "bi", "l1", "ch", "e"]),
            dice.pick(&["", "NOT "]),
            dice.pick(&["a%", "%a%", "_", "\\%", "%''%", "D_kar", "d_kar", "x%y", "%", "", "_ "])
        ),
        5 => dice
            .pick(&["ok", "ci = bi", "ci <> l1", "i16 < i64", "u8 = u64", "d = w", "day = at", "at > seen"])
            .into(),
        6 => format!("{column} IS DISTINCT FROM {value}"),
        _ => format!("{column} {} {value}", dice.pick(&["=", "<>", "<", "<=", ">", ">="])),
    }
}

fn predicate(dice: &mut Dice, depth: usize) -> String {
    match if depth == 0 { 9 } else { dice.roll(11) } {
        0 | 1 => format!("({} AND {})", predicate(dice, depth - 1), predicate(dice, depth - 1)),
        2 | 3 => format!("({} OR {})", predicate(dice, depth - 1), predicate(dice, depth - 1)),
        4 => format!("NOT ({})", predicate(dice, depth - 1)),
        5 => format!(
            "({}) {}",
            predicate(dice, depth - 1),
            dice.pick(&["IS TRUE", "IS NOT TRUE", "IS UNKNOWN", "IS NOT FALSE"])
        ),
        _ => atom(dice),
    }
}

fn statement(dice: &mut Dice) -> String {
    let p = predicate(dice, 3);
    match dice.roll(7) {
        0 => format!("SELECT count(*) FROM t WHERE {p}"),
        1 => format!("SELECT ci, w, seen FROM t WHERE {p}"),
        2 => format!("SELECT count(*) FROM (SELECT i16 FROM t WHERE {p} LIMIT 3)"),
        3 => format!("SELECT e, count(*), min(d), max(at) FROM t WHERE {p} GROUP BY e"),
        4 => format!(
            "SELECT x.i64, y.ci FROM t x JOIN t y ON x.i16 = y.i16 AND x.ci = y.ci WHERE y.id IN (SELECT id FROM t WHERE {p})"
        ),
        5 => format!(
            "SELECT bi FROM t WHERE {p} UNION ALL SELECT bi FROM t WHERE NOT ({p}) UNION ALL SELECT bi FROM t WHERE ({p}) IS NULL"
        ),
        _ => format!("SELECT * FROM t WHERE {p}"),
    }
}

async fn seeded() -> (Database, Session) {
    let mut database = Database::new().await;
    database.run(SCHEMA).await;
    let session = database.session(ZeroDates::Null);
    (database, session)
}

#[tokio::test]
async fn push_down_never_changes_the_rows() {
    const STATEMENTS: u64 = 600;
    let (database, session) = seeded().await;
    let mut pushed = 0;
    for seed in 0..STATEMENTS {
        let sql = statement(&mut Dice(seed));
        // What cannot be planned at all says nothing about push-down, but must be rare.
        let Ok(mut off) = session.rows(&sql, false).await else { continue };
        off.sort();
        let mut on =
            session.rows(&sql, true).await.unwrap_or_else(|error| panic!("statement {seed}: {sql}: {error}"));
        on.sort();
        assert_eq!(on, off, "statement {seed}: {sql}\n{}", session.leaf(&sql).await);
        pushed += usize::from(session.leaf(&sql).await.contains(" WHERE "));
    }
    assert!(pushed > 300, "only {pushed} statements sent a filter");
    database.finish().await;
}

/// Equality, DISTINCT, GROUP BY and joins are those of bytes, whatever the column's collation takes as equal.
#[tokio::test]
async fn trap_w9() {
    let (database, session) = seeded().await;
    assert_eq!(session.same("SELECT id FROM t WHERE ci = 'DAKAR'").await, ["2"]);
    assert_eq!(session.same("SELECT id FROM t WHERE ci IN ('dakar', 'dákar')").await, ["3"]);
    assert_eq!(session.same("SELECT id FROM t WHERE bi = 'a'").await, ["6"]);
    assert_eq!(session.same("SELECT id FROM t WHERE bi <> 'a' AND id BETWEEN 5 AND 6").await, ["5"]);
    assert_eq!(session.same("SELECT id FROM t WHERE NOT (ci = 'dakar') AND id < 4").await, ["1", "2", "3"]);
    // Of up to three values the engine makes comparisons.
    let listed = "SELECT id FROM t WHERE ci NOT IN ('dakar', 'w', 'x', 'y', 'z') AND id < 4";
    assert_eq!(session.same(listed).await, ["1", "2", "3"]);
    assert!(session.leaf(listed).await.contains(" NOT IN ("), "{}", session.leaf(listed).await);
    let tested = "SELECT id FROM t WHERE (ci = 'dakar') IS NOT TRUE AND id < 5";
    assert_eq!(session.same(tested).await, ["1", "2", "3", "4"]);
    let filtered = "SELECT count(*) FILTER (WHERE ci = 'DAKAR'), count(*) FROM t";
    assert_eq!(session.same(filtered).await, ["1|11"]);
    assert_eq!(session.same("SELECT count(DISTINCT ci) FROM t WHERE id < 4").await, ["3"]);
    assert_eq!(session.same("SELECT ci, count(*) FROM t WHERE id < 4 GROUP BY ci").await.len(), 3);
    let joined = "SELECT x.id, y.id FROM t x JOIN t y ON x.ci = y.bi WHERE x.id < 4";
    assert_eq!(session.same(joined).await, ["1|1", "2|2", "3|3"]);
    let partner = "SELECT x.id FROM t x WHERE EXISTS (SELECT 1 FROM t y WHERE y.ci = x.ci AND y.id = 2)";
    assert_eq!(session.same(partner).await, ["2"]);
    assert!(session.leaf(partner).await.contains("EXISTS (SELECT 1"), "{}", session.leaf(partner).await);
    assert_eq!(session.same("SELECT id FROM t WHERE l1 = '漢' OR l1 = 'É'").await, ["6"]);
    let leaf = session.leaf("SELECT id FROM t WHERE ci = 'DAKAR'").await;
    for part in [
        "`ci` = ?) values: 'DAKAR'",
        "superset: ci = Utf8View(\"DAKAR\") (utf8mb4_general_ci is not bytewise)",
    ] {
        assert!(leaf.contains(part), "{leaf}\nlacks {part}");
    }
    let limited = session.leaf("SELECT id FROM t WHERE ci = 'DAKAR' LIMIT 1").await;
    assert!(!limited.contains(" LIMIT "), "{limited}");
    let exact = session.leaf("SELECT id FROM t WHERE id > 3 AND ci <> 'x' LIMIT 1").await;
    assert!(exact.contains(" LIMIT 1 values: 3, 'x' rewrite: ci != "), "{exact}");
    database.finish().await;
}

/// Order, minimum and maximum of text are those of bytes.
#[tokio::test]
async fn trap_w12() {
    let (database, session) = seeded().await;
    let ordered = session.same("SELECT ci FROM t WHERE ci < 'b' AND ci > '' ORDER BY ci").await;
    assert_eq!(ordered, ["';--", "DAKAR", "Dakar", "a", "a ", "a\\"]);
    assert_eq!(session.same("SELECT min(ci), max(ci) FROM t WHERE id < 4").await, ["DAKAR|dákar"]);
    assert_eq!(session.same("SELECT id FROM t WHERE ci BETWEEN 'D' AND 'Z'").await, ["1", "2"]);
    let first = "SELECT ci FROM t WHERE id IN (1, 9) ORDER BY ci LIMIT 1";
    assert_eq!(session.same(first).await, ["Dakar"]);
    assert!(session.leaf(first).await.contains(" LIMIT 1"), "{}", session.leaf(first).await);
    let top = "SELECT ci FROM t ORDER BY ci DESC LIMIT 2";
    assert_eq!(session.same(top).await, ["∅", "x\ny"]);
    assert!(session.leaf(top).await.contains(" LIMIT 2"), "{}", session.leaf(top).await);
    let leaf = session.leaf("SELECT id FROM t WHERE ci < 'b'").await;
    assert!(
        leaf.contains("rewrite: ci < Utf8View(\"b\") (text is compared as bytes, CAST(… AS BINARY))"),
        "{leaf}"
    );
    database.finish().await;
}

/// An enum is its text: not its number, in comparison, order, minimum and maximum.
#[tokio::test]
async fn trap_w18() {
    let (database, session) = seeded().await;
    assert_eq!(session.same("SELECT DISTINCT e FROM t WHERE e > 'b' ORDER BY e").await, ["calm", "zeal"]);
    assert_eq!(session.same("SELECT min(e), max(e) FROM t").await, ["1|zeal"]);
    let top = "SELECT e FROM t WHERE id < 7 ORDER BY e DESC NULLS LAST LIMIT 3";
    assert_eq!(session.same(top).await, ["zeal", "zeal", "calm"]);
    assert!(session.leaf(top).await.contains(" LIMIT 3"), "{}", session.leaf(top).await);
    assert_eq!(session.same("SELECT id FROM t WHERE e = '1'").await, ["5"]);
    assert_eq!(session.same("SELECT id FROM t WHERE e IN ('2', '1')").await, ["5"]);
    assert_eq!(session.same("SELECT id FROM t WHERE s = 'x,y'").await, ["2"]);
    database.finish().await;
}

/// A constant keeps every one of its characters: a double quote is not dropped on the way.
#[tokio::test]
async fn trap_f2_w1() {
    let mut database = Database::new().await;
    database
        .run("CREATE TABLE crates (k INT, note VARCHAR(40));\nINSERT INTO crates VALUES (1, 'crate 12\" wide'), (2, 'crate 12 wide')")
        .await;
    let session = database.session(ZeroDates::Error);
    assert_eq!(session.same("SELECT k FROM crates WHERE note = 'crate 12\" wide'").await, ["1"]);
    assert_eq!(session.same("SELECT k FROM crates WHERE note IN ('crate 12 wide', '\"')").await, ["2"]);
    assert_eq!(session.same("SELECT k FROM crates WHERE note LIKE '%12\" w%'").await, ["1"]);
    database.finish().await;
}
