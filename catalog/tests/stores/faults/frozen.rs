//! A real server that is frozen, killed, or keeps a commit waiting.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use mysql_async::prelude::Queryable as _;
use portolan_catalog::Catalog;
use portolan_catalog::config::{ColumnTypes, MysqlConfig, TablePatterns};
use portolan_catalog::federation::{FederationOptions, QueryContext, physical_optimizer_rules};
use portolan_catalog::mysql::{MysqlSource, MysqlTls, ZeroDates};
use portolan_catalog::source::{Source, SourceError, SourceErrorKind};

use datafusion::common::DataFusionError;
use datafusion::dataframe::DataFrame;
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};

use super::private::Private;
use super::{named, source, within};

/// A silent server is told within its silence, one attempt to connect, and what a machine under load takes.
const TOLD: Duration = Duration::from_secs(45);

/// Statements over sources, one of which suffers.
struct Witness {
    context: SessionContext,
    catalog: Arc<Catalog>,
}

/// What a statement came to: its rows, or the source's error.
type Outcome = Result<usize, SourceError>;

impl Witness {
    fn new(sources: Vec<Arc<dyn Source>>) -> Self {
        let catalog = sources.into_iter().fold(Catalog::builder(), |catalog, source| catalog.add(source));
        let catalog = catalog.build().unwrap();
        let config = SessionConfig::new().with_target_partitions(2);
        let state = SessionStateBuilder::new()
            .with_config(config.with_default_catalog_and_schema("portolan", "near"))
            .with_default_features()
            .with_physical_optimizer_rules(physical_optimizer_rules())
            .build();
        let context = SessionContext::new_with_state(state);
        let options = Arc::new(FederationOptions::default());
        context.register_catalog("portolan", catalog.catalog_provider(options, vec![]));
        Self { context, catalog }
    }

    async fn statement(&self, sql: &str, context: QueryContext) -> DataFrame {
        let mut state = self.context.state();
        state.config_mut().set_extension(Arc::new(context));
        let plan = state.create_logical_plan(sql).await.unwrap();
        DataFrame::new(state, plan)
    }

    async fn read(&self, sql: &str) -> Outcome {
        outcome(self.statement(sql, QueryContext::default()).await.collect().await)
            .map(|batches| batches.iter().map(|batch| batch.num_rows()).sum())
    }
}

fn outcome<T>(result: datafusion::common::Result<T>) -> Result<T, SourceError> {
    result.map_err(|error| match error.find_root() {
        DataFusionError::External(cause) => cause.downcast_ref::<SourceError>().unwrap().clone(),
        other => panic!("not an error of the source: {other}"),
    })
}

fn shared_postgres() -> Arc<dyn Source> {
    source("near", &crate::servers::postgres().parse().unwrap())
}

/// Freezes a server while it is unused, in mid-answer, and before its list is read anew: its own statements fail in
/// time, the other source never notices, and it is there again when it is thawed. Then kills it and starts it again.
async fn suffers(server: &mut Private, far: Arc<dyn Source>, recover: &str) {
    let near = shared_postgres();
    let witness = Witness::new(vec![near, far]);
    assert_eq!(witness.read(recover).await.unwrap(), 1);

    // In mid-answer: the first batch has come, the rest has not.
    let big = "SELECT id, pad FROM far.big";
    let mut stream = witness.statement(big, QueryContext::default()).await.execute_stream().await.unwrap();
    let first = stream.next().await.unwrap().unwrap();
    assert!(first.num_rows() > 0);
    server.freeze();
    let start = Instant::now();
    let mut rows = first.num_rows();
    let error = loop {
        match stream.next().await {
            Some(Ok(batch)) => rows += batch.num_rows(),
            Some(Err(error)) => break outcome::<()>(Err(error)).unwrap_err(),
            None => panic!("a frozen server ended its answer after {rows} rows"),
        }
    };
    assert_eq!((error.kind, error.source_name), (SourceErrorKind::Unreachable, Some(named("far"))));
    assert!(start.elapsed() < TOLD, "{:?}", start.elapsed());

    // While it is frozen: a new statement on a connection that rested, and the other source.
    let start = Instant::now();
    let (told, lived) = tokio::join!(witness.read(recover), async {
        let start = Instant::now();
        let near = witness.catalog.source("near").unwrap().check().await;
        (near.error, start.elapsed())
    });
    let told = told.unwrap_err().kind;
    assert!(matches!(told, SourceErrorKind::Unreachable | SourceErrorKind::Timeout), "{told:?}");
    assert!(start.elapsed() < TOLD, "{:?}", start.elapsed());
    assert!(lived.0.is_none() && lived.1 < Duration::from_secs(5), "{lived:?}");

    server.thaw();
    within(TOLD * 3, "it recovers without a restart", async || witness.read(recover).await.is_ok()).await;

    // Killed in mid-answer, started again.
    let mut stream = witness.statement(big, QueryContext::default()).await.execute_stream().await.unwrap();
    stream.next().await.unwrap().unwrap();
    server.kill();
    let error = loop {
        match stream.next().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => break outcome::<()>(Err(error)).unwrap_err(),
            None => panic!("a killed server ended its answer"),
        }
    };
    assert_eq!(error.kind, SourceErrorKind::Unreachable, "{error}");
    assert_eq!(witness.read(recover).await.unwrap_err().kind, SourceErrorKind::Unreachable);
    server.start().await;
    within(TOLD * 3, "it is read again", async || witness.read(recover).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_frozen_or_killed_fails_its_own_statements_and_recovers() {
    let mut server = Private::postgres(&[]).await;
    let fill = "CREATE TABLE big AS SELECT g AS id, repeat('x', 60) AS pad FROM generate_series(1, 500000::int8) g; \
                CREATE TABLE one AS SELECT 1 AS id; CHECKPOINT";
    server.client().await.batch_execute(fill).await.unwrap();
    let far = source("far", &server.config());
    suffers(&mut server, far, "SELECT id FROM far.one WHERE id > 0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mariadb_frozen_or_killed_fails_its_own_statements_and_recovers() {
    let mut server = Private::mariadb().await;
    let mut client = mysql_async::Conn::new(server.options()).await.unwrap();
    for sql in [
        "CREATE DATABASE port",
        "CREATE TABLE port.big (id bigint PRIMARY KEY, pad varchar(60) NOT NULL)",
        "INSERT INTO port.big SELECT seq, repeat('x', 60) FROM port.seq_1_to_500000",
        "CREATE TABLE port.one (id int PRIMARY KEY)",
        "INSERT INTO port.one VALUES (1)",
    ] {
        client.query_drop(sql).await.unwrap();
    }
    let config = MysqlConfig {
        host: "127.0.0.1".into(),
        port: server.port(),
        database: "port".into(),
        user: "root".into(),
        password: None,
        connections: 4.try_into().unwrap(),
        tls: MysqlTls::Disable,
        tls_ca: None,
        zero_dates: ZeroDates::Error,
        limits: portolan_catalog::limits::SourceLimits::default(),
        fallback: None,
        tables: TablePatterns::default(),
        columns: ColumnTypes::default(),
    };
    let far = Arc::new(MysqlSource::open(named("far"), &config));
    suffers(&mut server, far, "SELECT id FROM far.one WHERE id > 0").await;
}

/// Frozen before anybody asked it anything: whoever asks is told in time, and the list comes when it is thawed.
#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_is_frozen_from_the_start_is_told_in_time() {
    let server = Private::postgres(&[]).await;
    server.client().await.batch_execute("CREATE TABLE one AS SELECT 1 AS id").await.unwrap();
    server.freeze();
    let witness = Witness::new(vec![shared_postgres(), source("far", &server.config())]);
    let start = Instant::now();
    let near = witness.catalog.source("near").unwrap();
    let (told, near) = tokio::join!(witness.catalog.find_table("far", "one"), near.check());
    assert_eq!(told.map(drop).unwrap_err().kind, SourceErrorKind::Unreachable);
    assert!(start.elapsed() < TOLD, "{:?}", start.elapsed());
    assert!(near.error.is_none(), "{near:?}");
    server.thaw();
    within(TOLD * 3, "it is read", async || {
        matches!(witness.catalog.find_table("far", "one").await, Ok(Some(_)))
    })
    .await;
    assert_eq!(witness.read("SELECT id FROM far.one").await.unwrap(), 1);
}

/// A commit that waits for its standby becomes visible while the log stands still: the version must tell.
#[tokio::test(flavor = "multi_thread")]
async fn trap_w20_an_equal_log_position_with_other_data_is_another_version() {
    let server = Private::postgres(&["autovacuum=off", "checkpoint_timeout=1d"]).await;
    let admin = server.client().await;
    admin.batch_execute("CREATE TABLE one (id int4)").await.unwrap();
    admin.batch_execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await.unwrap();
    admin.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    within(Duration::from_secs(10), "a standby is demanded", async || {
        let names: String =
            server.client().await.query_one("SHOW synchronous_standby_names", &[]).await.unwrap().get(0);
        names == "nobody"
    })
    .await;
    let witness = Witness::new(vec![source("far", &server.config())]);
    let read = async || {
        let context = QueryContext::default();
        let as_of = context.as_of.clone();
        let rows =
            witness.statement("SELECT id FROM far.one WHERE id > 0", context).await.collect().await.unwrap();
        (rows.iter().map(|batch| batch.num_rows()).sum::<usize>(), as_of.snapshot().to_string())
    };
    let position = |version: &str| version.split(',').next().unwrap_or_default().to_owned();
    let writer = server.client().await;
    let commit = tokio::spawn(async move { writer.batch_execute("INSERT INTO one VALUES (1)").await });
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    within(Duration::from_secs(10), "the commit waits for its standby", async || {
        admin.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 1
    })
    .await;
    // Whatever else the server has to log is logged once the log stands still for two reads.
    let mut before = read().await;
    within(Duration::from_secs(10), "the log stands still", async || {
        let now = read().await;
        let still = position(&now.1) == position(&before.1);
        before = now;
        still
    })
    .await;
    assert_eq!(before.0, 0, "not visible while it waits");
    let release = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    admin.batch_execute(release).await.unwrap();
    commit.await.unwrap().unwrap();
    let after = read().await;
    assert_eq!(after.0, 1, "visible now");
    assert_eq!(position(&before.1), position(&after.1), "the log did not move");
    assert_ne!(before.1, after.1, "the version tells");
}
