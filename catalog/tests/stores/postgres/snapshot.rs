//! All leaves of a query on one PostgreSQL see one moment, whatever is written meanwhile.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use datafusion::arrow::array::{AsArray as _, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use futures::TryStreamExt as _;
use portolan_catalog::federation::{ExecContext, Fragment};
use portolan_catalog::postgres::{PostgresPool, PostgresSource};
use portolan_catalog::source::{Source as _, SourceName, TableDef};

use super::fixture::Fixture;
use crate::turns::ids_under;

/// Units that two tables hold together.
const UNITS: i64 = 1_000_000;

const TABLES: &str = "
CREATE TABLE port.quay AS SELECT g AS id, 10000::int8 AS units FROM generate_series(1, 50) g;
CREATE TABLE port.yard AS SELECT g AS id, 10000::int8 AS units FROM generate_series(1, 50) g;
ALTER TABLE port.quay ADD PRIMARY KEY (id); ALTER TABLE port.yard ADD PRIMARY KEY (id); ANALYZE";

/// Moves units between the tables until told to stop; tells how often it did.
async fn move_units(fixture: &Fixture, stop: &AtomicBool, moved: &AtomicU64) {
    for round in 0_i64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let (units, id) = (round % 17 - 8, round % 50 + 1);
        let sql = format!(
            "BEGIN; UPDATE port.quay SET units = units - {units} WHERE id = {id}; \
             UPDATE port.yard SET units = units + {units} WHERE id = {id}; COMMIT"
        );
        fixture.client.batch_execute(&sql).await.unwrap();
        moved.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The units of one table, read as one of two leaves of a query.
async fn units(source: &PostgresSource, table: &Arc<TableDef>, context: &ExecContext) -> i64 {
    let fragment = Fragment { siblings: 1, ..Fragment::whole(Arc::clone(table)) };
    let stream = source.executor().execute(&fragment, Arc::clone(context)).await.unwrap();
    let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
    batches.iter().flat_map(|batch| batch.column(1).as_primitive::<Int64Type>().values().to_vec()).sum()
}

/// Nobody is left holding a snapshot.
async fn nobody_holds(fixture: &Fixture) {
    let holding =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
    let start = Instant::now();
    while fixture.client.query_one(holding, &[]).await.unwrap().get::<_, i64>(0) > 0 {
        assert!(start.elapsed() < Duration::from_secs(30), "a transaction is left open");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Reads both tables so many times, at once or one after the other, while units move.
async fn pairs_stay(fixture: &Fixture, connections: u16, queries: usize) {
    let name = SourceName::try_new("ops").unwrap();
    let connections = NonZeroU16::new(connections).unwrap();
    let pool = PostgresPool::with_connections(&name, fixture.config.clone(), connections).unwrap();
    let source = PostgresSource::new(name, pool, "port");
    let tables = source.tables().await.unwrap();
    let named = |name: &str| Arc::clone(tables.iter().find(|table| table.name == name).unwrap());
    let (quay, yard) = (named("quay"), named("yard"));
    let (stop, moved) = (AtomicBool::new(false), AtomicU64::new(0));
    let read = async {
        let mut apart = 0;
        for query in 0..queries {
            let context = ExecContext::default();
            let (one, other) = if query % 2 == 0 {
                tokio::join!(units(&source, &quay, &context), units(&source, &yard, &context))
            } else {
                (units(&source, &quay, &context).await, units(&source, &yard, &context).await)
            };
            assert_eq!(one + other, UNITS, "query {query}");
            if query % 5 == 0 {
                // The same in two queries: the test would notice leaves that see different moments.
                let one = units(&source, &quay, &ExecContext::default()).await;
                let other = units(&source, &yard, &ExecContext::default()).await;
                apart += usize::from(one + other != UNITS);
            }
        }
        stop.store(true, Ordering::Relaxed);
        apart
    };
    let (apart, ()) = tokio::join!(read, move_units(fixture, &stop, &moved));
    assert!(apart > 0 && moved.load(Ordering::Relaxed) > 50, "{apart} of two queries differed");
    nobody_holds(fixture).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_sums_over_two_tables_stay_while_units_move() {
    let fixture = Fixture::start().await;
    fixture.client.batch_execute(TABLES).await.unwrap();
    pairs_stay(&fixture, 4, 700).await;
    pairs_stay(&fixture, 1, 300).await;
    fixture.stop().await;
}

/// The plan tells its leaves that they are several.
#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_a_query_over_two_tables_sees_one_moment() {
    let fixture = Fixture::with_connections(NonZeroU16::MIN).await;
    fixture.client.batch_execute(TABLES).await.unwrap();
    let (stop, moved) = (AtomicBool::new(false), AtomicU64::new(0));
    let forms = [
        "SELECT sum(units) FROM (SELECT units FROM quay UNION ALL SELECT units FROM yard)",
        "SELECT (SELECT sum(units) FROM quay) + (SELECT sum(units) FROM yard)",
        "SELECT sum(q.units + y.units) FROM quay q JOIN yard y ON q.id + 0 = y.id",
    ];
    let read = async {
        for query in 0..30 {
            let sql = forms[query % forms.len()];
            assert_eq!(
                fixture.run(sql, true).await.unwrap().rows,
                [UNITS.to_string()],
                "query {query}: {sql}"
            );
        }
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(read, move_units(&fixture, &stop, &moved));
    nobody_holds(&fixture).await;
    fixture.stop().await;
}

#[tokio::test]
async fn a_leaf_that_is_dropped_early_or_never_read_takes_nothing_from_the_others() {
    let fixture = Fixture::with_connections(NonZeroU16::MIN).await;
    for sql in [
        "SELECT count(*) FROM (SELECT id FROM many WHERE round(id) > 0 LIMIT 3) x, (SELECT id FROM many WHERE round(id) > 10) y",
        "SELECT u.bucket FROM mark n JOIN many u ON u.id = n.weight JOIN berth b ON b.id = u.id + 0 WHERE n.name = 'no such'",
        "SELECT count(*) FROM many a JOIN many b ON a.id = b.id + 0 JOIN many c ON c.id = b.id + 0 WHERE a.id < 100",
        "SELECT * FROM (SELECT id FROM many UNION ALL SELECT id FROM many UNION ALL SELECT id FROM berth) x LIMIT 2",
        "WITH RECURSIVE up(n) AS (SELECT 1 UNION ALL SELECT m.id + 1 FROM up JOIN many m ON m.id = up.n WHERE up.n < 5) \
         SELECT count(*), max(n) FROM up",
        "SELECT count(*) FROM berth a JOIN berth b ON a.id < b.id + 0 JOIN berth c ON c.id + 0 > b.id",
    ] {
        let ran = tokio::time::timeout(Duration::from_secs(60), fixture.run(sql, true)).await;
        let on = ran.unwrap_or_else(|_| panic!("hangs: {sql}"));
        let off = fixture.run(sql, false).await;
        let rows =
            |outcome: std::result::Result<super::fixture::Outcome, String>| outcome.unwrap().rows.len();
        assert_eq!(rows(on), rows(off), "{sql}");
    }
    fixture.stop().await;
}

/// What one leaf asks for in turns is of one moment as well: the first turn is still being sent when a row's key moves
/// from what the second asks for to what the first did.
#[tokio::test(flavor = "multi_thread")]
async fn the_turns_of_one_leaf_see_one_moment() {
    let fixture = Fixture::start().await;
    let rows = "CREATE TABLE port.crate AS SELECT g AS id, repeat('x', 200) AS label FROM generate_series(1, 200000) g";
    fixture.client.batch_execute(rows).await.unwrap();
    let name = SourceName::try_new("ops").unwrap();
    let pool = PostgresPool::with_connections(&name, fixture.config.clone(), NonZeroU16::MIN).unwrap();
    let source = PostgresSource::new(name, pool, "port");
    let tables = source.tables().await.unwrap();
    let table = Arc::clone(tables.iter().find(|table| table.name == "crate").unwrap());
    let moved = async {
        fixture.client.batch_execute("UPDATE port.crate SET id = 0 WHERE id = 200000").await.unwrap();
    };
    let seen = ids_under(source.executor().as_ref(), table, 150_000, moved).await;
    assert!(seen.iter().copied().eq(1..=200_000), "{} rows", seen.len());
    nobody_holds(&fixture).await;
    fixture.stop().await;
}

/// More keys than one statement holds are asked for in several, and only rows with one of them come.
#[tokio::test(flavor = "multi_thread")]
async fn trap_p2_more_keys_than_a_statement_holds_are_asked_for_in_turns() {
    let fixture = Fixture::start().await;
    let rows = "CREATE TABLE port.buoy AS SELECT g::int8 AS id, g % 7 AS n FROM generate_series(1, 400000) g; \
                ALTER TABLE port.buoy ADD PRIMARY KEY (id); ANALYZE port.buoy";
    fixture.client.batch_execute(rows).await.unwrap();
    let sql = "SELECT count(*), sum(m.n), min(m.id), max(m.id) \
               FROM (SELECT value * 3 AS id FROM generate_series(1, 120000)) k JOIN buoy m ON m.id = k.id";
    let leaves = fixture.same(sql).await;
    assert_eq!(leaves.len(), 1);
    let ran = fixture.explain(&format!("EXPLAIN ANALYZE {sql}")).await.join("\n");
    assert!(ran.contains("in turns of 3") && ran.contains("output_rows=120.0 K"), "{ran}");
    fixture.stop().await;
}
