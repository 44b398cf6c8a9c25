//! Tables of every kind and of every name: views, partitions, foreign tables, reserved words, quotes, dots; and texts
//! that look like more than a text.

use super::fixture::Fixture;

/// Names that are words, have capitals, dots or quotes, as they are written in SQL.
const NAMES: [&str; 9] = [
    "\"order\"",
    "\"Mixed Case\"",
    "\"with.dot\"",
    "\"with\"\"quote\"",
    "\"with'apostrophe\"",
    "\"select * from x; --\"",
    "\"back\\slash\"",
    "\"naïve 船\"",
    "\"$1\"",
];

#[tokio::test]
async fn trap_f1_tables_and_columns_of_any_name_are_read_and_sent() {
    let fixture = Fixture::start().await;
    for name in NAMES {
        let made = format!(
            "CREATE TABLE port.{name} (id int4 PRIMARY KEY, {name} text, \"user\" int4); \
             INSERT INTO port.{name} SELECT g, 'v' || g, g * 2 FROM generate_series(1, 9) g"
        );
        fixture.client.batch_execute(&made).await.unwrap();
    }
    for name in NAMES {
        let read = fixture.run(&format!("SELECT {name}, \"user\" FROM {name} WHERE id = 3"), true).await;
        assert_eq!(read.unwrap().rows, ["v3|6"], "{name}");
        for sql in [
            format!("SELECT * FROM {name} WHERE {name} = 'v4' AND \"user\" > 1"),
            format!("SELECT x.{name} FROM {name} x JOIN {name} y ON x.id = y.\"user\" WHERE y.id < 4"),
            format!("SELECT {name}, count(*), max(\"user\") FROM {name} GROUP BY {name}"),
        ] {
            fixture.same(&sql).await;
        }
        let sql = format!("SELECT {name} AS {name} FROM {name} ORDER BY {name} DESC NULLS LAST LIMIT 2");
        let leaves = fixture.same_order(&sql).await.concat();
        assert!(leaves.contains(" LIMIT 2"), "{name}: {leaves}");
    }
    fixture.stop().await;
}

/// Texts that would end a constant, or a statement, if one of their characters were lost or added.
const TEXTS: [&str; 16] = [
    "it's",
    "'",
    "''",
    "\\",
    "\\'",
    "' OR 1=1 --",
    "'; DROP TABLE port.hostile; --",
    "\"",
    "$$",
    "$1",
    "E'x'",
    "%",
    "_",
    "a\nb",
    "/* x */",
    "é'船",
];

#[tokio::test]
async fn trap_f1_hostile_texts_are_compared_as_they_are() {
    let fixture = Fixture::start().await;
    fixture.client.batch_execute("CREATE TABLE port.hostile (id int4 PRIMARY KEY, s text)").await.unwrap();
    for (text, id) in TEXTS.iter().zip(1_i32..) {
        fixture.client.execute("INSERT INTO port.hostile VALUES ($1, $2)", &[&id, text]).await.unwrap();
    }
    for (text, id) in TEXTS.iter().zip(1_usize..) {
        let escaped = text.replace('\'', "''");
        let others = (1..=TEXTS.len()).filter(|other| *other != id).collect();
        let mut conditions = vec![
            (format!("s = '{escaped}'"), vec![id]),
            (format!("s IN ('{escaped}', 'none')"), vec![id]),
            (format!("s <> '{escaped}'"), others),
        ];
        // Not a quote alone, which is in others too; and no pattern's own characters.
        if id > 5 && !text.contains(['%', '_']) {
            conditions.push((format!("s LIKE '{escaped}%'"), vec![id]));
        }
        for (condition, ids) in conditions {
            let sql = format!("SELECT id FROM hostile WHERE {condition}");
            let leaves = fixture.same(&sql).await.concat();
            assert!(leaves.contains(" WHERE ("), "{sql}\n{leaves}");
            let mut rows = fixture.run(&sql, true).await.unwrap().rows;
            rows.sort();
            let mut expected: Vec<String> = ids.iter().map(ToString::to_string).collect();
            expected.sort();
            assert_eq!(rows, expected, "{sql}");
        }
    }
    fixture.stop().await;
}

#[tokio::test]
async fn every_kind_of_table_is_shown_once_and_read() {
    let fixture = Fixture::start().await;
    fixture
        .client
        .batch_execute(
            "CREATE VIEW port.shown AS SELECT id, label FROM port.many WHERE id <= 100;
             CREATE MATERIALIZED VIEW port.stored AS SELECT id, label FROM port.many WHERE id <= 100;
             CREATE TABLE port.parted (id int4, zone text, PRIMARY KEY (id, zone)) PARTITION BY LIST (zone);
             CREATE TABLE port.parted_n PARTITION OF port.parted FOR VALUES IN ('n');
             CREATE TABLE port.parted_s PARTITION OF port.parted FOR VALUES IN ('s') PARTITION BY RANGE (id);
             CREATE TABLE port.parted_s_1 PARTITION OF port.parted_s FOR VALUES FROM (0) TO (50);
             CREATE TABLE port.parted_s_2 PARTITION OF port.parted_s FOR VALUES FROM (50) TO (1000);
             CREATE TABLE port.parted_rest PARTITION OF port.parted DEFAULT;
             INSERT INTO port.parted SELECT g, (ARRAY['n', 's', 'e'])[1 + g % 3] FROM generate_series(1, 100) g;
             CREATE TABLE port.elder (id int4, label text);
             CREATE TABLE port.child (more int4) INHERITS (port.elder);
             INSERT INTO port.elder SELECT g, 'e' FROM generate_series(1, 60) g;
             INSERT INTO port.child SELECT g, 'c', g FROM generate_series(61, 100) g;
             ANALYZE",
        )
        .await
        .unwrap();
    for table in ["shown", "stored", "parted", "elder"] {
        let count =
            fixture.run(&format!("SELECT count(*), min(id), max(id) FROM {table}"), true).await.unwrap();
        assert_eq!(count.rows, ["100|1|100"], "{table}");
        for sql in [
            format!("SELECT * FROM {table} WHERE id BETWEEN 40 AND 60"),
            format!("SELECT m.label, x.id FROM {table} x JOIN many m ON m.id = x.id WHERE x.id % 7 = 1"),
        ] {
            fixture.same(&sql).await;
        }
        fixture.same_order(&format!("SELECT id FROM {table} ORDER BY id DESC LIMIT 7")).await;
    }
    fixture.same("SELECT zone, count(*), max(id) FROM parted GROUP BY zone").await;
    // A partition is a part of its table and not another one; a child of another kind is a table of its own.
    for part in ["parted_n", "parted_s", "parted_s_1", "parted_rest"] {
        let refused = fixture.run(&format!("SELECT * FROM {part}"), true).await;
        assert!(refused.is_err_and(|error| error.contains("not found")), "{part}");
    }
    assert_eq!(fixture.run("SELECT count(*) FROM child", true).await.unwrap().rows, ["40"]);
    fixture.stop().await;
}

#[tokio::test]
async fn foreign_tables_are_read_through_their_server() {
    let fixture = Fixture::start().await;
    let config: tokio_postgres::Config = crate::servers::postgres().parse().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    // The server reaches itself at the port it knows of itself.
    let made = format!(
        "CREATE EXTENSION postgres_fdw;
         DO $$ BEGIN
           EXECUTE format('CREATE SERVER itself FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host %L, port %L, dbname %L)',
                          '127.0.0.1', current_setting('port'), current_database());
           EXECUTE format('CREATE USER MAPPING FOR CURRENT_USER SERVER itself OPTIONS (user %L, password %L)',
                          '{user}', '{password}');
         END $$;
         CREATE FOREIGN TABLE port.far (id int4, bucket int4, label text, amount numeric(14,2))
           SERVER itself OPTIONS (schema_name 'port', table_name 'many');
         CREATE FOREIGN TABLE port.\"far away\" (id int4, code text)
           SERVER itself OPTIONS (schema_name 'port', table_name 'berth')",
        user = config.get_user().unwrap(),
        password = text(config.get_password().unwrap()),
    );
    fixture.client.batch_execute(&made).await.unwrap();
    let near = fixture.run("SELECT count(*), sum(amount), min(label) FROM many", true).await.unwrap();
    assert_eq!(fixture.run("SELECT count(*), sum(amount), min(label) FROM far", true).await.unwrap(), near);
    for sql in [
        "SELECT * FROM far WHERE id IN (1, 7, 20000, 20001) AND label LIKE 'k%'",
        "SELECT bucket, count(*), sum(amount) FROM far WHERE id < 500 GROUP BY bucket",
        "SELECT f.label, b.code FROM far f JOIN \"far away\" b ON b.id = f.id",
        "SELECT f.label, m.amount FROM far f JOIN many m ON m.id = f.id WHERE f.id < 20",
    ] {
        fixture.same(sql).await;
    }
    fixture.same_order("SELECT id, label FROM far ORDER BY label DESC, id LIMIT 9").await;
    fixture.stop().await;
}
