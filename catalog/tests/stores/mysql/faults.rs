//! Cancel, deadline, broken connections and slots.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, TryStreamExt as _};
use portolan_catalog::config::MysqlConfig;
use portolan_catalog::federation::{Fragment, QueryContext};
use portolan_catalog::kills::Kills;
use portolan_catalog::mysql::{MysqlSource, ZeroDates};
use portolan_catalog::source::{Source as _, SourceErrorKind, TableDef};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::fixture::{Database, Session, open, read, shown, source_error, table};

const PATIENCE: Duration = Duration::from_secs(20);

/// A million rows of about 100 bytes, and a minute of nothing.
async fn views(database: &mut Database) {
    database
        .run(
            "CREATE TABLE ten (d INT);
             INSERT INTO ten VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9);
             CREATE VIEW many AS SELECT a.d + 10 * b.d + 100 * c.d + 1000 * d.d + 10000 * e.d + 100000 * f.d AS n,
               repeat('x', 100) AS t FROM ten a, ten b, ten c, ten d, ten e, ten f;
             CREATE VIEW slow AS SELECT sleep(60) AS s FROM ten;
",
        )
        .await;
}

/// Waits until the server runs so many statements of the query; returns how long that took.
async fn until_running(database: &mut Database, query: &str, count: u64) -> Duration {
    let started = Instant::now();
    while database.running(query).await != count {
        assert!(started.elapsed() < PATIENCE, "never {count} statements of {query}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    started.elapsed()
}

async fn until_free(source: &MysqlSource, count: usize) {
    let started = Instant::now();
    while source.free_connections() != count {
        assert!(started.elapsed() < PATIENCE, "{} connections free", source.free_connections());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Starts reading a table in a task of its own, which ends with all rows' number.
fn start(
    source: &Arc<MysqlSource>,
    definition: &Arc<TableDef>,
    context: QueryContext,
) -> tokio::task::JoinHandle<Result<usize, portolan_catalog::source::SourceError>> {
    let (source, fragment) = (Arc::clone(source), Fragment::whole(Arc::clone(definition)));
    tokio::spawn(async move {
        let stream = source.executor().execute(&fragment, Arc::new(context)).await?;
        let batches: Vec<_> = stream.try_collect().await.map_err(|error| source_error(&error))?;
        Ok(batches.iter().map(|batch| batch.num_rows()).sum())
    })
}

#[tokio::test]
async fn a_dropped_or_cancelled_statement_is_gone_from_the_server_within_a_second() {
    let mut database = Database::new().await;
    views(&mut database).await;
    let source = database.source();
    let slow = table(&source, "slow").await;
    for way in ["drop", "cancel"] {
        let context = QueryContext::default();
        let (query, cancel) = (context.query.to_string(), context.cancel.clone());
        let reading = start(&source, &slow, context);
        until_running(&mut database, &query, 1).await;
        if way == "drop" {
            reading.abort();
        } else {
            cancel.cancel();
        }
        let took = until_running(&mut database, &query, 0).await;
        assert!(took < Duration::from_secs(1), "{way}: {took:?}");
        until_free(&source, 4).await;
    }
    // In the middle of a large answer that nobody reads on.
    let context = Arc::new(QueryContext::default());
    let query = context.query.to_string();
    let many = Fragment::whole(table(&source, "many").await);
    let mut stream = source.executor().execute(&many, context).await.unwrap();
    stream.next().await.unwrap().unwrap();
    until_running(&mut database, &query, 1).await;
    drop(stream);
    let took = until_running(&mut database, &query, 0).await;
    assert!(took < Duration::from_secs(1), "{took:?}");
    until_free(&source, 4).await;
    // What was stopped is counted once the server showed its end.
    let (started, seen) = (Instant::now(), Kills { verified: Some(3), failed: Some(0) });
    while source.kills() != seen {
        assert!(started.elapsed() < PATIENCE, "{:?}", source.kills());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(shown(&read(&source, &Fragment::whole(table(&source, "ten").await)).await.unwrap()).len(), 10);
    database.finish().await;
}

#[tokio::test]
async fn the_server_itself_keeps_the_deadline() {
    let mut database = Database::new().await;
    views(&mut database).await;
    let source = database.source();
    let (slow, ten) = (table(&source, "slow").await, table(&source, "ten").await);
    let started = Instant::now();
    let deadline = Some(started + Duration::from_millis(300));
    let error = start(&source, &slow, QueryContext { deadline, ..QueryContext::default() })
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Cancelled, "{error}");
    assert!(error.remote_code.is_some());
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    // The next statement has no deadline, or its own.
    assert_eq!(start(&source, &ten, QueryContext::default()).await.unwrap().unwrap(), 10);
    database.finish().await;
}

#[tokio::test]
async fn an_answer_of_many_batches_is_whole_and_bounded() {
    let mut database = Database::new().await;
    views(&mut database).await;
    let source = database.source();
    let many = Fragment::whole(table(&source, "many").await);
    let mut stream = source.executor().execute(&many, Arc::default()).await.unwrap();
    let (mut rows, mut sum) = (0, 0_i64);
    while let Some(batch) = stream.next().await {
        let batch = batch.unwrap();
        assert!(batch.num_rows() <= 8_192);
        rows += batch.num_rows();
        let numbers =
            datafusion::arrow::compute::cast(batch.column(0), &datafusion::arrow::datatypes::DataType::Int64)
                .unwrap();
        let numbers = numbers.as_any().downcast_ref::<datafusion::arrow::array::Int64Array>().unwrap();
        sum += numbers.values().iter().sum::<i64>();
    }
    assert_eq!((rows, sum), (1_000_000, 499_999_500_000));
    database.finish().await;
}

/// Passes connections on to the server until it is told to cut them.
async fn proxy(server: (String, u16), cut: CancellationToken) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (server, cut) = (server.clone(), cut.clone());
            tokio::spawn(async move {
                let Ok(mut upstream) = TcpStream::connect(server).await else { return };
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut client, &mut upstream) => {}
                    () = cut.cancelled() => {}
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error_and_never_short() {
    let mut database = Database::new().await;
    views(&mut database).await;
    let cut = CancellationToken::new();
    let port = proxy(database.address(), cut.clone()).await;
    let source = open("ops", &MysqlConfig { host: "127.0.0.1".into(), port, ..database.config() });
    let many = Fragment::whole(table(&source, "many").await);
    let mut stream = source.executor().execute(&many, Arc::default()).await.unwrap();
    let mut rows = stream.next().await.unwrap().unwrap().num_rows();
    cut.cancel();
    let error = loop {
        match stream.next().await {
            Some(Ok(batch)) => rows += batch.num_rows(),
            Some(Err(error)) => break source_error(&error),
            None => panic!("{rows} rows, then a plain end"),
        }
    };
    assert_eq!(error.kind, SourceErrorKind::Unreachable, "{error}");
    assert!(stream.next().await.is_none());
    until_free(&source, 4).await;
    database.finish().await;
}

#[tokio::test]
async fn connections_that_the_server_closed_are_replaced() {
    let mut database = Database::new().await;
    views(&mut database).await;
    let source = database.source();
    let ten = Fragment::whole(table(&source, "ten").await);
    read(&source, &ten).await.unwrap();
    let sql = format!(
        "SELECT group_concat(id) FROM information_schema.processlist WHERE db = '{}' AND id <> connection_id()",
        database.name
    );
    let ids: String = {
        use mysql_async::prelude::Queryable as _;
        database.admin.query_first(sql).await.unwrap().unwrap()
    };
    for id in ids.split(',') {
        database.run(&format!("KILL {id}")).await;
    }
    // A connection that rested is tried before it is used.
    assert_eq!(shown(&read(&source, &ten).await.unwrap()).len(), 10);
    assert_eq!(source.check().await.error, None);
    database.finish().await;
}

/// With one connection a join of several leaves is right, and nothing can be written.
#[tokio::test]
async fn one_connection_is_enough_and_it_is_read_only() {
    let mut database = Database::new().await;
    database
        .run(
            "CREATE TABLE t (k INT, v VARCHAR(9));
             INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c');
             CREATE FUNCTION sneak() RETURNS INT DETERMINISTIC BEGIN INSERT INTO t VALUES (9, 'z'); RETURN 1; END;
             CREATE VIEW writes AS SELECT 1 AS one;
",
        )
        .await;
    let config = MysqlConfig { connections: 1.try_into().unwrap(), ..database.config() };
    let session = Session::new(vec![open("ops", &config)]);
    let sql = "SELECT a.v, e.v FROM t a JOIN t b ON a.k = b.k JOIN t c ON b.k = c.k JOIN t d ON c.k = d.k JOIN t e ON d.k = e.k";
    assert_eq!(session.same(sql).await, ["a|a", "b|b", "c|c"]);
    until_free(&session.sources[0], 1).await;
    database.run("CREATE OR REPLACE VIEW writes AS SELECT sneak() AS one").await;
    let error = session.rows("SELECT one FROM writes", true).await.unwrap_err();
    assert!(error.contains("the session is read-only"), "{error}");
    assert_eq!(database.number("SELECT count(*) FROM t").await, 3);
    drop(database.session(ZeroDates::Error));
    database.finish().await;
}
