//! Tables that differ in character set, and tables whose names are hard to write: the rows of a local evaluation.

use portolan_catalog::mysql::ZeroDates;

use super::fixture::Database;

/// A table in latin1 beside one in utf8mb4: joined, filtered, grouped, ordered, matched.
#[tokio::test]
async fn latin1_beside_utf8mb4_is_one_text() {
    let mut database = Database::new().await;
    database
        .run(
            "CREATE TABLE old (id INT PRIMARY KEY, name VARCHAR(40), code CHAR(4), kind ENUM('é','a','Z')) CHARACTER SET latin1 COLLATE latin1_swedish_ci;
             CREATE TABLE new (name VARCHAR(40) PRIMARY KEY, flag VARCHAR(9)) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci;
             INSERT INTO old VALUES (1, 'Dakar', 'DK', 'é'), (2, 'DAKAR', 'dk', 'a'), (3, 'Gorée', 'é', 'Z'), (4, 'Goree', 'E', 'a'),
               (5, '', '', NULL), (6, NULL, NULL, NULL), (7, 'it''s \"a\" \\\\ %_', '%', 'é'), (8, '€', 'ß', 'a'), (9, 'a ', 'a', 'a'), (10, 'a', 'a', 'Z'), (11, '?', '?', 'Z');
             INSERT INTO new VALUES ('Dakar', 'one'), ('Gorée', 'two'), ('€', 'three'), ('漢', 'four'), ('a ', 'five'), ('🚢', 'six'), ('it''s \"a\" \\\\ %_', 'seven'), ('', 'eight');
",
        )
        .await;
    let session = database.session(ZeroDates::Error);
    let joined = "SELECT o.id, n.flag FROM old o JOIN new n ON o.name = n.name";
    assert_eq!(session.same(joined).await, ["1|one", "3|two", "5|eight", "7|seven", "8|three", "9|five"]);
    assert_eq!(session.leaves(joined).await.len(), 2, "two character sets are joined here");
    let missing = "SELECT n.flag FROM new n WHERE NOT EXISTS (SELECT 1 FROM old o WHERE o.name = n.name)";
    assert_eq!(session.same(missing).await, ["four", "six"]);
    let conditions: &[(&str, &[&str])] = &[
        ("name = 'DAKAR'", &["2"]),
        ("name = '漢'", &[]),
        ("name = '🚢' OR name = '€'", &["8"]),
        ("name <> '漢' AND id < 3", &["1", "2"]),
        ("name IN ('Gorée', '漢', '?')", &["11", "3"]),
        ("name NOT IN ('Gorée', '漢') AND id BETWEEN 3 AND 6", &["4", "5"]),
        ("name LIKE 'Gor_e'", &["3", "4"]),
        ("name LIKE '%漢%'", &[]),
        ("name LIKE '_'", &["10", "11", "8"]),
        ("name > '?' AND name < 'E'", &["1", "2"]),
        ("name = 'it''s \"a\" \\ %_'", &["7"]),
        ("name = 'a'", &["10"]),
        ("code = 'é'", &["3"]),
        ("code = 'ss'", &[]),
        ("kind = 'é' AND name <> '?'", &["1", "7"]),
        ("kind > 'a'", &["1", "7"]),
    ];
    for (condition, ids) in conditions {
        assert_eq!(session.same(&format!("SELECT id FROM old WHERE {condition}")).await, *ids, "{condition}");
    }
    assert_eq!(session.same("SELECT code, count(*) FROM old GROUP BY code").await.len(), 10);
    assert_eq!(session.same("SELECT count(DISTINCT name), min(name), max(kind) FROM old").await, ["10||é"]);
    let top = "SELECT name FROM old ORDER BY name DESC NULLS LAST LIMIT 3";
    assert_eq!(session.same(top).await, ["€", "it's \"a\" \\ %_", "a "]);
    assert!(session.leaf(top).await.contains(" LIMIT 3"));
    database.finish().await;
}

/// Reserved words, upper case, dots and quotes as names of tables and columns, through every clause.
#[tokio::test]
async fn names_that_are_hard_to_write_go_through_every_clause() {
    let mut database = Database::new().await;
    let quoted = |name: &str| format!("`{}`", name.replace('`', "``"));
    let names = ["select", "Order", "a.b", "it's", "wei`rd", "say \"hi\"", "group by", "é -- ?", "o0", "t0"];
    for name in names {
        let (table, key, value) = (quoted(name), quoted(&format!("{name}k")), quoted(&format!("{name}v")));
        database
            .run(&format!(
                "CREATE TABLE {table} ({key} INT PRIMARY KEY, {value} VARCHAR(9), `day` DATE NULL);\n\
                 INSERT INTO {table} VALUES (1, 'b', '2026-01-01'), (2, 'B', NULL), (3, NULL, '2026-01-02')"
            ))
            .await;
    }
    let session = database.session(ZeroDates::Error);
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    for name in names {
        let (table, key, value) = (quoted(name), quoted(&format!("{name}k")), quoted(&format!("{name}v")));
        let cases: [(String, &[&str]); 6] = [
            (format!("SELECT {key} FROM {table} WHERE {value} = 'b' AND day < date '2027-01-01'"), &["1"]),
            (format!("SELECT {key} FROM {table} ORDER BY {value} DESC NULLS LAST LIMIT 2"), &["1", "2"]),
            (
                format!("SELECT {value}, count(*) FROM {table} WHERE {key} > 1 GROUP BY {value}"),
                &["B|1", "∅|1"],
            ),
            (
                format!(
                    "SELECT {value}, max(day) AS m FROM {table} GROUP BY {value} ORDER BY m DESC NULLS LAST LIMIT 1"
                ),
                &["∅|2026-01-02"],
            ),
            (
                format!(
                    "SELECT x.{value} FROM {table} x JOIN {table} y ON x.{key} = y.{key} WHERE y.{value} > 'a'"
                ),
                &["b"],
            ),
            (
                format!(
                    "SELECT sum({key}) FILTER (WHERE {value} LIKE 'b%'), count(DISTINCT day) FROM {table}"
                ),
                &["1|2"],
            ),
        ];
        for (sql, rows) in cases {
            assert_eq!(session.same(&sql).await, rows, "{sql}");
        }
    }
    database.finish().await;
}

/// A view and a partitioned table take the same shapes as a table.
#[tokio::test]
async fn views_and_partitions_are_tables_to_every_shape() {
    let mut database = Database::new().await;
    database
        .run(
            "CREATE TABLE log (k INT, day DATE NOT NULL, t VARCHAR(20) CHARACTER SET latin1, n DECIMAL(10,2), PRIMARY KEY (k, day))
               PARTITION BY RANGE COLUMNS (day) (PARTITION p0 VALUES LESS THAN ('2026-01-01'), PARTITION p1 VALUES LESS THAN (MAXVALUE));
             INSERT INTO log VALUES (1, '2025-12-31', 'é', 1.10), (2, '2026-01-01', 'É', 2.20), (3, '2026-01-02', NULL, NULL), (4, '9999-12-31', 'e', -1);
             CREATE VIEW late AS SELECT k, day, t, n, upper(t) AS loud, n * 2 AS twice FROM log WHERE day >= '2026-01-01';
             CREATE VIEW mixed AS SELECT t FROM log UNION ALL SELECT CONVERT(loud USING utf8mb4) FROM late;
",
        )
        .await;
    let session = database.session(ZeroDates::Error);
    let cases: &[(&str, &[&str])] = &[
        ("SELECT k FROM log WHERE day < date '2026-01-02'", &["1", "2"]),
        ("SELECT k FROM log ORDER BY day DESC LIMIT 2", &["4", "3"]),
        ("SELECT max(day), sum(n), count(t) FROM log", &["9999-12-31|2.30|3"]),
        ("SELECT k FROM late WHERE t = 'é'", &[]),
        ("SELECT loud, twice FROM late WHERE loud = 'É'", &["É|4.40"]),
        ("SELECT max(twice), min(day) FROM late", &["4.40|2026-01-01"]),
        ("SELECT t, count(*) FROM mixed WHERE t > 'a' GROUP BY t", &["e|1", "É|2", "é|1"]),
        ("SELECT l.k FROM late l JOIN log o ON l.k = o.k AND l.day = o.day", &["2", "3", "4"]),
    ];
    for (sql, rows) in cases {
        assert_eq!(session.same(sql).await, *rows, "{sql}");
    }
    database.finish().await;
}
