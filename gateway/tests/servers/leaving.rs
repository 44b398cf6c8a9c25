//! A client that cancels, goes, or runs out of time takes its statement along, at the server that runs it.

use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable as _;
use tokio_postgres::NoTls;

use super::super::{rows, until};
use super::Port;

/// The source's own work ends within this time.
const GONE: Duration = Duration::from_secs(1);

impl Port {
    /// Statements of the gateway that a server runs now, on this test's database.
    async fn running(&self, server: &str) -> i64 {
        if server == "port" {
            let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                       AND application_name LIKE 'portolan/%' AND state = 'active' AND query LIKE '%slow%'";
            return self.postgres.query_one(sql, &[]).await.unwrap().get(0);
        }
        let sql = format!(
            "SELECT count(*) FROM information_schema.processlist WHERE db = '{}' AND info LIKE '%slow%' \
             AND id <> connection_id()",
            self.name
        );
        self.mysql.get_conn().await.unwrap().query_first(sql).await.unwrap().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_cancels_goes_or_is_late_takes_the_statement_along_at_the_server() {
    let port = Port::make("leaving").await;
    port.postgres
        .batch_execute(&format!(
            "CREATE VIEW port.slow AS SELECT pg_sleep(60)::text AS pad FROM port.hard; GRANT SELECT ON port.slow TO {}",
            port.name
        ))
        .await
        .unwrap();
    let mut session = port.mysql.get_conn().await.unwrap();
    let view = format!("CREATE VIEW {0}.slow AS SELECT sleep(60) AS pad FROM {0}.berth", port.name);
    session.query_drop(view).await.unwrap();
    drop(session);
    let gateway = port.serve();
    for source in ["port", "my"] {
        for way in ["cancel", "go", "late"] {
            let (client, door) = gateway.connect_by("demo").await;
            if way == "late" {
                client.batch_execute("SET statement_timeout = '2s'").await.unwrap();
            }
            let cancel = client.cancel_token();
            let sql = format!("SELECT pad FROM {source}.slow");
            let waiting = tokio::spawn(async move { client.simple_query(&sql).await.map(|rows| rows.len()) });
            if way != "late" {
                until("the statement at the server", async || port.running(source).await == 1).await;
            }
            match way {
                "cancel" => cancel.cancel_query(NoTls).await.unwrap(),
                // Without its connection, whose end would be asked to wait for the answer.
                "go" => door.abort(),
                _ => {}
            }
            let error = waiting.await.unwrap().unwrap_err();
            let left = Instant::now();
            if way != "go" {
                assert_eq!(error.code().map(|code| code.code()), Some("57014"), "{source} {way}: {error:?}");
            }
            while port.running(source).await != 0 {
                assert!(left.elapsed() < GONE, "{source} {way}: it still runs at the server");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
    // Whoever was late may have been ended by the server itself, which nobody had to stop.
    let (client, _door) = gateway.connect_by("demo").await;
    let seen = "SELECT count(*) FROM system.sources WHERE name IN ('port', 'my') AND kills_verified >= 2 \
                AND kills_failed = 0 AND slots_used = 0";
    until("the ends that were seen", async || rows(&client, seen).await == [[Some("2".to_owned())]]).await;
    drop(client);
    assert_eq!(gateway.stop(), Some(0));
    port.remove().await;
}
