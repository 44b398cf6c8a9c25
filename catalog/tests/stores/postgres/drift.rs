//! Tables that change their shape while their list of columns is remembered: an error and a new list, never a wrong
//! number.

use std::time::{Duration, Instant};

use super::fixture::Fixture;

/// The table as it is listed, and its only row.
const LISTED: &str = "
CREATE DOMAIN port.mark4 AS int4;
CREATE TABLE port.shift (id int4 NOT NULL, i4 int4, i8 int8, f8 float8, at timestamp, n numeric(10,2), txt text,
  e port.mood, d port.mark4, vc varchar(8));
INSERT INTO port.shift VALUES (1, 1065353216, 86400000000, 1.5, '2026-01-01', 2.50, 'a', 'calm', 7, 'v')";

#[tokio::test]
async fn a_column_retyped_in_place_is_drift_and_never_another_number() {
    let fixture = Fixture::start().await;
    fixture.client.batch_execute(LISTED).await.unwrap();
    let change = "ALTER TABLE port.shift ALTER COLUMN";
    for (column, ddl, after) in [
        ("i4", format!("{change} i4 TYPE float4 USING 2.5"), "2.5"),
        ("i8", format!("{change} i8 TYPE timestamp USING '2000-01-02'"), "2000-01-02T00:00:00"),
        ("f8", format!("{change} f8 TYPE int8 USING 3"), "3"),
        ("at", format!("{change} at TYPE timestamptz USING '2026-05-05 00:00Z'"), "2026-05-05T00:00:00Z"),
        ("n", format!("{change} n TYPE numeric(10,3) USING 2.125"), "2.125"),
        ("txt", format!("{change} txt TYPE bytea USING '\\x61'"), "61"),
        ("e", format!("{change} e TYPE text USING 'calm'"), "calm"),
        ("vc", format!("{change} vc TYPE uuid USING '00000000-0000-0000-0000-000000000001'"), ""),
        (
            "d",
            "ALTER TABLE port.shift DROP COLUMN d; DROP DOMAIN port.mark4; CREATE DOMAIN port.mark4 AS float4; \
             ALTER TABLE port.shift ADD COLUMN d port.mark4 DEFAULT 0.5"
                .to_owned(),
            "0.5",
        ),
    ] {
        let sql = format!("SELECT {column} FROM shift");
        fixture.run(&sql, true).await.unwrap();
        fixture.client.batch_execute(&ddl).await.unwrap();
        // Other columns of the table are read as before.
        assert_eq!(fixture.run("SELECT id FROM shift", true).await.unwrap().rows, ["1"]);
        let told = fixture.run(&sql, true).await.unwrap_err();
        assert!(told.contains(&format!("column \"ops.shift.{column}\" has another type")), "{told}");
        let now = fixture.run(&sql, true).await.unwrap().rows.concat();
        assert!(now == after || after.is_empty(), "{column}: {now}");
    }
    fixture.stop().await;
}

#[tokio::test]
async fn a_column_that_only_a_condition_a_key_or_a_sum_names_is_checked_too() {
    let fixture = Fixture::start().await;
    fixture.client.batch_execute(LISTED).await.unwrap();
    for (place, sql) in [
        ("condition", "SELECT id FROM shift WHERE i4 > 5"),
        ("sum", "SELECT sum(i4) FROM shift"),
        ("group", "SELECT count(*) FROM shift GROUP BY i4"),
        ("top-N", "SELECT i4 FROM shift ORDER BY i4 LIMIT 1"),
        ("join", "SELECT b.id FROM berth b WHERE EXISTS (SELECT 1 FROM shift s WHERE s.i4 = b.id)"),
    ] {
        fixture.run(sql, true).await.unwrap();
        let retype = "ALTER TABLE port.shift ALTER COLUMN i4 TYPE float4 USING 7";
        fixture.client.batch_execute(retype).await.unwrap();
        let told = fixture.run(sql, true).await.unwrap_err();
        assert!(told.contains("\"ops.shift.i4\" has another type"), "{place}: {told}");
        fixture.run(sql, true).await.unwrap();
        let back = "ALTER TABLE port.shift ALTER COLUMN i4 TYPE int4 USING 7";
        fixture.client.batch_execute(back).await.unwrap();
        assert!(fixture.run(sql, true).await.is_err(), "{place}");
    }
    // What is dropped or lost its promise is told as well.
    fixture.run("SELECT id FROM shift WHERE id > 0", true).await.unwrap();
    fixture.client.batch_execute("ALTER TABLE port.shift ALTER COLUMN id DROP NOT NULL").await.unwrap();
    let told = fixture.run("SELECT id FROM shift WHERE id > 0", true).await.unwrap_err();
    assert!(told.contains("\"ops.shift.id\""), "{told}");
    fixture.run("SELECT id, n FROM shift", true).await.unwrap();
    fixture.client.batch_execute("ALTER TABLE port.shift DROP COLUMN n").await.unwrap();
    let told = fixture.run("SELECT id, n FROM shift", true).await.unwrap_err();
    assert!(told.contains("\"ops.shift.n\" is not there any more"), "{told}");
    fixture.stop().await;
}

/// A table that is rewritten looks empty to a snapshot that is older than its rewriting.
#[tokio::test]
async fn a_table_rewritten_while_a_reader_waits_for_it_is_not_empty() {
    let fixture = Fixture::start().await;
    assert_eq!(
        fixture.run("SELECT count(*) FROM many WHERE bucket < 50", true).await.unwrap().rows,
        ["10000"]
    );
    let rewrite = "BEGIN; ALTER TABLE port.many ALTER COLUMN label TYPE text USING label || ''";
    fixture.client.batch_execute(rewrite).await.unwrap();
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                   AND application_name LIKE 'portolan/%' AND wait_event_type = 'Lock'";
    let commit = async {
        let start = Instant::now();
        while fixture.client.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            assert!(start.elapsed() < Duration::from_secs(10), "nobody waits for the table");
            // Inside a transaction the view stands still.
            fixture.client.batch_execute("SELECT pg_stat_clear_snapshot()").await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        fixture.client.batch_execute("COMMIT").await.unwrap();
    };
    let (read, ()) = tokio::join!(fixture.run("SELECT id FROM many WHERE bucket < 50", true), commit);
    assert_eq!(read.unwrap().rows.len(), 10_000);
    fixture.stop().await;
}

#[tokio::test]
async fn what_cannot_be_locked_is_read_all_the_same() {
    let fixture = Fixture::start().await;
    let ddl = "CREATE MATERIALIZED VIEW port.kept AS SELECT id FROM port.many; \
               CREATE VIEW port.seen AS SELECT k.id FROM port.kept k JOIN port.berth b ON b.id = k.id; \
               CREATE TABLE port.parts (id int4) PARTITION BY RANGE (id); \
               CREATE TABLE port.part1 PARTITION OF port.parts FOR VALUES FROM (0) TO (10); \
               INSERT INTO port.parts VALUES (1), (2)";
    fixture.client.batch_execute(ddl).await.unwrap();
    for (table, rows) in [("kept", "20000"), ("seen", "2"), ("parts", "2")] {
        let sql = format!("SELECT count(*) FROM {table} WHERE id >= 0");
        assert_eq!(fixture.run(&sql, true).await.unwrap().rows, [rows], "{table}");
    }
    // A table that becomes another kind of relation of the same columns.
    let read = fixture.run("SELECT id FROM parts WHERE id = 2", true).await.unwrap();
    assert_eq!(read.rows, ["2"]);
    fixture
        .client
        .batch_execute("DROP TABLE port.parts; CREATE MATERIALIZED VIEW port.parts AS SELECT 2 AS id")
        .await
        .unwrap();
    assert_eq!(fixture.run("SELECT id FROM parts WHERE id = 2", true).await.unwrap().rows, ["2"]);
    fixture.stop().await;
}
