//! A PostgreSQL that refuses, falls silent, is cut off in mid-answer, or is left alone by its reader.
//!
//! The answer is whole or an error of the right class, the source's own work ends within a second, and another
//! source never notices. Nothing here waits for a fixed time: every wait is for a condition with an end.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a suite of tests and their helpers")]

mod frozen;
mod private;
mod proxy;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::arrow::array::AsArray as _;
use datafusion::arrow::datatypes::Int64Type;
use datafusion::common::DataFusionError;
use datafusion::logical_expr::{col, lit};
use futures::{StreamExt as _, TryStreamExt as _};
use portolan_catalog::Catalog;
use portolan_catalog::federation::{ExecContext, Fragment, PushedFilter, QueryContext};
use portolan_catalog::kills::Kills;
use portolan_catalog::postgres::{PostgresPool, PostgresSource};
use portolan_catalog::registry::CatalogSource;
use portolan_catalog::source::{HealthState, SourceError, SourceErrorKind, SourceName, TableDef};
use tokio_postgres::{Client, Config, NoTls};

use crate::servers as addresses;
use proxy::{Behaviour, Proxy};

/// Rows of the table that is read; enough to fill every buffer between the server and us many times.
const ROWS: i64 = 400_000;

/// One database, seen directly as `near` and through a proxy as `far`.
struct Fixture {
    admin: Client,
    database: String,
    proxy: Proxy,
    catalog: Arc<Catalog>,
    config: Config,
}

async fn connect(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn named(name: &str) -> SourceName {
    SourceName::try_new(name).unwrap()
}

fn source(name: &str, config: &Config) -> Arc<PostgresSource> {
    let name = named(name);
    Arc::new(PostgresSource::new(
        name.clone(),
        PostgresPool::remote(&name, config.clone()).unwrap(),
        "public",
    ))
}

fn context(deadline: Option<Duration>) -> ExecContext {
    Arc::new(QueryContext { deadline: deadline.map(|left| Instant::now() + left), ..QueryContext::default() })
}

/// Waits until a condition holds, and fails loudly when it does not within the time.
async fn within<F: AsyncFnMut() -> bool>(limit: Duration, what: &str, mut holds: F) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < limit, "{what} did not come true within {limit:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Fixture {
    async fn start() -> Self {
        let mut config: Config = crate::servers::postgres().parse().unwrap();
        let admin = connect(&config).await;
        let database = crate::database::new_database(&admin, "faults").await;
        config.dbname(&database);
        let fill = format!(
            "CREATE TABLE big AS SELECT g AS id, repeat('x', 50) AS pad FROM generate_series(1, {ROWS}::int8) g; \
             CREATE TABLE small AS SELECT 1::int8 AS id; CREATE VIEW broken AS SELECT 1 / (id - id) AS id FROM small; \
             CREATE VIEW slow AS SELECT g AS id, pg_sleep(0.01)::text AS pad FROM generate_series(1, 100000::int8) g; \
             ANALYZE"
        );
        connect(&config).await.batch_execute(&fill).await.unwrap();
        let host = match &config.get_hosts()[0] {
            tokio_postgres::config::Host::Tcp(host) => host.clone(),
            other => panic!("the test server is reached over {other:?}"),
        };
        let server = tokio::net::lookup_host((host, config.get_ports()[0])).await.unwrap().next().unwrap();
        let proxy = Proxy::before(server).await;
        let mut far = Config::new();
        far.host("127.0.0.1").port(proxy.address.port()).dbname(&database);
        far.user(config.get_user().unwrap()).password(config.get_password().unwrap_or_default());
        let catalog =
            Catalog::builder().add(source("near", &config)).add(source("far", &far)).build().unwrap();
        Self { admin, database, proxy, catalog, config }
    }

    async fn table(&self, source: &str, name: &str) -> (Arc<CatalogSource>, Arc<TableDef>) {
        self.catalog.find_table(source, name).await.unwrap().unwrap()
    }

    /// Reads a whole table; the number of rows that came, and the error if it did not end well.
    async fn read(&self, source: &str, name: &str, context: ExecContext) -> (u64, Option<SourceError>) {
        let (source, table) = match self.catalog.find_table(source, name).await {
            Ok(found) => found.unwrap(),
            Err(error) => return (0, Some(error)),
        };
        drain(&source, Fragment::whole(table), context).await
    }

    /// Statements with the tag of a query that the server runs now.
    async fn running(&self, context: &ExecContext) -> i64 {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND state <> 'idle'";
        let tag = format!("portolan/{}", context.query);
        self.admin.query_one(sql, &[&tag]).await.unwrap().get(0)
    }

    async fn connections(&self) -> i64 {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1";
        self.admin.query_one(sql, &[&self.database]).await.unwrap().get(0)
    }

    async fn stop(self) {
        drop(self.catalog);
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.database);
        self.admin.batch_execute(&drop).await.unwrap();
    }
}

async fn drain(
    source: &CatalogSource,
    fragment: Fragment,
    context: ExecContext,
) -> (u64, Option<SourceError>) {
    let mut rows = 0;
    let mut stream = match source.executor().execute(&fragment, context).await {
        Ok(stream) => stream,
        Err(error) => return (0, Some(error)),
    };
    loop {
        match stream.try_next().await {
            Ok(Some(batch)) => rows += batch.num_rows() as u64,
            Ok(None) => return (rows, None),
            Err(DataFusionError::External(error)) => {
                return (rows, Some(error.downcast_ref::<SourceError>().unwrap().clone()));
            }
            Err(other) => panic!("not an error of the source: {other}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_o1_f10_a_reader_that_leaves_takes_its_statement_along_within_a_second() {
    let fixture = Fixture::start().await;
    for table in ["big", "slow"] {
        let (source, table) = fixture.table("near", table).await;
        let context = context(None);
        let mut stream =
            source.executor().execute(&Fragment::whole(table), Arc::clone(&context)).await.unwrap();
        within(Duration::from_secs(5), "the statement runs", async || fixture.running(&context).await == 1)
            .await;
        // The slow one never sends a first batch in this time: a reader may leave before or after it.
        let _first = tokio::time::timeout(Duration::from_millis(50), stream.next()).await;
        drop(stream);
        within(Duration::from_secs(1), "its tag is gone", async || fixture.running(&context).await == 0)
            .await;
    }
    // What was stopped is counted once the server showed its end.
    let seen = Kills { verified: Some(2), failed: Some(0) };
    within(Duration::from_secs(5), "both ends were seen", async || {
        fixture.catalog.statuses().iter().any(|source| source.name == named("near") && source.kills == seen)
    })
    .await;
    // What the server said of its own failures is kept.
    let (_, error) = fixture.read("near", "broken", context(None)).await;
    assert_eq!(error.unwrap().remote_code.as_deref(), Some("22012"));
    // The connections are not reused, and later queries are right.
    assert_eq!(fixture.read("near", "big", context(None)).await.0, ROWS.unsigned_abs());
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_o2_f3_f4_cancel_and_deadline_end_the_work_at_the_source() {
    let fixture = Fixture::start().await;
    let (source, table) = fixture.table("near", "slow").await;
    let cancelled = context(None);
    let reading = tokio::spawn({
        let (source, table, context) = (Arc::clone(&source), Arc::clone(&table), Arc::clone(&cancelled));
        async move { drain(&source, Fragment::whole(table), context).await }
    });
    within(Duration::from_secs(5), "the statement runs", async || fixture.running(&cancelled).await == 1)
        .await;
    cancelled.cancel.cancel();
    within(Duration::from_secs(1), "its tag is gone", async || fixture.running(&cancelled).await == 0).await;
    assert_eq!(reading.await.unwrap().0, 0);

    let short = context(Some(Duration::from_millis(300)));
    let (rows, error) = drain(&source, Fragment::whole(table), Arc::clone(&short)).await;
    assert_eq!((rows, error.unwrap().kind), (0, SourceErrorKind::Cancelled));
    within(Duration::from_secs(1), "its tag is gone", async || fixture.running(&short).await == 0).await;
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_p1_batches_are_large_and_come_while_the_statement_runs() {
    let fixture = Fixture::start().await;
    let (source, table) = fixture.table("near", "big").await;
    let context = context(None);
    let mut stream = source.executor().execute(&Fragment::whole(table), Arc::clone(&context)).await.unwrap();
    let mut sizes = vec![stream.next().await.unwrap().unwrap().num_rows()];
    // Far more rows than fit between the server and us: it cannot have sent all of them.
    assert_eq!(fixture.running(&context).await, 1);
    while let Some(batch) = stream.next().await {
        sizes.push(batch.unwrap().num_rows());
    }
    let last = sizes.pop().unwrap();
    assert!(sizes.iter().all(|rows| *rows == 8_192) && last <= 8_192, "{sizes:?} {last}");
    assert_eq!(sizes.len() as u64 * 8_192 + last as u64, ROWS.unsigned_abs());
    fixture.stop().await;
}

/// A large table is read in ranges of pages over several connections at one snapshot; the last range has no end.
#[tokio::test(flavor = "multi_thread")]
async fn trap_w21_a_table_that_grew_since_it_was_counted_is_read_to_its_end() {
    let fixture = Fixture::start().await;
    let huge = "CREATE TABLE huge AS SELECT g AS id, repeat('x', 120) AS pad FROM generate_series(1, 520000::int8) g; \
                ANALYZE huge";
    let near = connect(&fixture.config).await;
    near.batch_execute(huge).await.unwrap();
    let (source, table) = fixture.table("near", "huge").await;
    let grow = "INSERT INTO huge SELECT g, repeat('x', 120) FROM generate_series(520001, 700000::int8) g";
    near.batch_execute(grow).await.unwrap();
    let context = context(None);
    let mut stream = source.executor().execute(&Fragment::whole(table), Arc::clone(&context)).await.unwrap();
    let mut batches = vec![stream.next().await.unwrap().unwrap()];
    let processors = std::thread::available_parallelism().unwrap().get().min(4);
    let statements = i64::try_from(processors).unwrap();
    within(Duration::from_secs(5), "a statement for each range", async || {
        fixture.running(&context).await == statements
    })
    .await;
    // What is written from here on belongs to another snapshot.
    near.batch_execute("INSERT INTO huge VALUES (0, 'late'); DELETE FROM huge WHERE id % 7 = 0")
        .await
        .unwrap();
    while let Some(batch) = stream.next().await {
        batches.push(batch.unwrap());
    }
    let mut ids: Vec<i64> = batches
        .iter()
        .flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec())
        .collect();
    ids.sort_unstable();
    assert!(ids.into_iter().eq(1..=700_000), "every row once");
    // A reader that leaves takes all its statements along.
    let (source, table) = fixture.table("near", "huge").await;
    let mut stream = source.executor().execute(&Fragment::whole(table), Arc::clone(&context)).await.unwrap();
    stream.next().await.unwrap().unwrap();
    drop(stream);
    within(Duration::from_secs(1), "its tags are gone", async || fixture.running(&context).await == 0).await;
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_w27_a_stream_that_is_cut_is_an_error_wherever_it_is_cut() {
    let fixture = Fixture::start().await;
    fixture.table("far", "big").await;
    let mut seen = BTreeSet::new();
    let mut cut = 0;
    // From before the first row to after the last: in the preamble, in rows, between them, before the trailer.
    for bytes in [0, 1, 150, 700, 701, 702, 50_000, 1_000_003, 20_000_000] {
        fixture.proxy.cut_after(bytes);
        let (rows, error) = fixture.read("far", "big", context(None)).await;
        if fixture.proxy.mend() {
            cut += 1;
            let error =
                error.unwrap_or_else(|| panic!("cut after {bytes} bytes, {rows} rows counted as all"));
            seen.insert(format!("{:?}", error.kind));
            assert!(!error.message.contains("127.0.0.1"), "{}", error.message);
        } else {
            assert_eq!((rows, error.map(|error| error.kind)), (ROWS.unsigned_abs(), None), "{bytes}");
        }
        // Five failures in a row open the breaker, which is another test's business.
        fixture.catalog.source("far").unwrap().check().await;
    }
    assert!(cut >= 8, "only {cut} cuts happened");
    assert_eq!(seen, BTreeSet::from(["Unreachable".to_owned()]));
    assert_eq!(fixture.read("far", "big", context(None)).await.0, ROWS.unsigned_abs());
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_server_costs_nobody_but_who_asks_it() {
    let fixture = Fixture::start().await;
    fixture.table("far", "big").await;
    fixture.proxy.behave(Behaviour::Silent);
    // Without a deadline it waits for ever; the other one must not.
    let silent = fixture.read("far", "big", context(None));
    tokio::select! {
        (rows, _) = silent => panic!("a silent server answered {rows} rows"),
        (rows, error) = fixture.read("near", "small", context(None)) => {
            assert_eq!((rows, error.map(|error| error.kind)), (1, None));
        }
    }
    fixture.proxy.mend();
    within(Duration::from_secs(10), "it recovers without a restart", async || {
        fixture.read("far", "small", context(Some(Duration::from_secs(5)))).await.0 == 1
    })
    .await;
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_is_told_at_once_and_browsed_from_memory() {
    let fixture = Fixture::start().await;
    fixture.table("far", "big").await;
    fixture.proxy.behave(Behaviour::Refuse);
    let far = fixture.catalog.source("far").unwrap();
    within(Duration::from_secs(10), "the breaker opens", async || {
        let _ = fixture.read("far", "big", context(None)).await;
        far.health().admit().is_err()
    })
    .await;
    // Silent from here on: whoever still dialled would wait for the connection's own limit of ten seconds.
    fixture.proxy.behave(Behaviour::Silent);
    let asked = fixture.read("far", "big", context(None));
    let (_, error) = tokio::time::timeout(Duration::from_secs(5), asked).await.unwrap();
    let error = error.unwrap();
    assert_eq!((error.kind, error.source_name), (SourceErrorKind::Unreachable, Some(named("far"))));
    assert!(error.hint.unwrap().contains("system.sources"));
    assert_eq!(far.health().report().state, HealthState::Down);
    assert!(fixture.catalog.tables().await.iter().any(|table| table.schema == "far" && table.name == "big"));
    assert_eq!(fixture.read("near", "big", context(None)).await.0, ROWS.unsigned_abs());

    fixture.proxy.mend();
    assert_eq!(far.check().await.state, HealthState::Up);
    assert_eq!(fixture.read("far", "small", context(None)).await.0, 1);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_password_is_told_without_the_password() {
    let fixture = Fixture::start().await;
    let mut wrong = fixture.config.clone();
    wrong.password("canary-hunter2");
    let catalog = Catalog::builder().add(source("locked", &wrong)).build().unwrap();
    let error = catalog.find_table("locked", "big").await.map(drop).unwrap_err();
    assert_eq!((error.kind, error.remote_code.as_deref()), (SourceErrorKind::Auth, Some("28P01")));
    assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    assert_eq!(catalog.statuses()[0].health.state, HealthState::Down);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_bound_what_a_source_carries_and_a_slow_reader_delays_nobody_for_ever() {
    let fixture = Fixture::start().await;
    let (source, table) = fixture.table("near", "big").await;
    let before = fixture.connections().await;
    let one = |id: i64| {
        let filter = PushedFilter { expr: col("id").eq(lit(id)), exact: true };
        let fragment = Fragment { filters: vec![filter], ..Fragment::whole(Arc::clone(&table)) };
        let source = Arc::clone(&source);
        tokio::spawn(async move { drain(&source, fragment, context(None)).await.0 })
    };
    let answers = futures::future::join_all((1..=40).map(one)).await;
    assert!(answers.into_iter().all(|rows| rows.unwrap() == 1));
    let grown = fixture.connections().await - before;
    assert!(grown <= 4, "{grown} connections for forty queries");
    fixture.stop().await;
}
