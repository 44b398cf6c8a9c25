//! What one run of the production test has on the test servers: a database in PostgreSQL, MariaDB and MongoDB, two
//! topics and a lake, all under one name of its own.
//!
//! The servers are shared, so nothing is ever touched but names of this test; and a run that died cannot clean up
//! after itself, so each run removes what is named after runs that began hours ago.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mysql_async::prelude::Queryable;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::{administrator, server};

/// What all names begin with; the second of the start and the process follow.
const PREFIX: &str = "portolan_production_run_";

/// No run takes so long.
const OLD: Duration = Duration::from_secs(2 * 60 * 60);

/// A name for a run that begins at a time since 1970.
pub(super) fn name(begun: Duration, process: u32) -> String {
    format!("{PREFIX}{}_{process}", begun.as_secs())
}

/// The present, since 1970.
pub(super) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// Whether a name is that of a run that can no longer be under way.
fn is_left_over(name: &str, now: Duration) -> bool {
    let begun = name.strip_prefix(PREFIX).and_then(|rest| rest.split('_').next()?.parse().ok());
    begun.is_some_and(|begun| Duration::from_secs(begun) + OLD < now)
}

/// Names on all servers that `wanted` is true of, as `<kind> <name>`.
pub(super) async fn find(wanted: impl Fn(&str) -> bool) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for row in administrator().await.query("SELECT datname FROM pg_database", &[]).await.unwrap() {
        found.push(("postgres", row.get::<_, String>(0)));
    }
    let mut mysql = mysql().await;
    let databases: Vec<String> =
        mysql.query("SELECT schema_name FROM information_schema.schemata").await.unwrap();
    mysql.disconnect().await.unwrap();
    found.extend(databases.into_iter().map(|name| ("mysql", name)));
    let mongodb = mongodb::Client::with_uri_str(server("MONGODB")).await.unwrap();
    let databases = mongodb.list_database_names().await.unwrap();
    found.extend(databases.into_iter().map(|name| ("mongodb", name)));
    for file in hdfs().list_status("/", false).await.unwrap() {
        found.push(("hdfs", file.path.trim_start_matches('/').to_owned()));
    }
    let topics = tokio::task::spawn_blocking(|| {
        let consumer: BaseConsumer = kafka().set("group.id", PREFIX).create().unwrap();
        let metadata = consumer.fetch_metadata(None, Duration::from_secs(30)).unwrap();
        metadata.topics().iter().map(|topic| topic.name().to_owned()).collect::<Vec<_>>()
    });
    found.extend(topics.await.unwrap().into_iter().map(|name| ("kafka", name)));
    found.retain(|(_, name)| name.starts_with(PREFIX) && wanted(name));
    found
}

/// Removes what is named after a run, and after runs that died.
pub(super) async fn remove(run: &str) {
    let now = now();
    for (kind, name) in find(|name| name.starts_with(run) || is_left_over(name, now)).await {
        match kind {
            "postgres" => {
                let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
                administrator().await.batch_execute(&drop).await.unwrap();
            }
            "mysql" => {
                let mut mysql = mysql().await;
                mysql.query_drop(format!("DROP DATABASE IF EXISTS {name}")).await.unwrap();
                mysql.disconnect().await.unwrap();
            }
            "mongodb" => {
                let mongodb = mongodb::Client::with_uri_str(server("MONGODB")).await.unwrap();
                mongodb.database(&name).drop().await.unwrap();
            }
            "hdfs" => {
                hdfs().delete(&format!("/{name}"), true).await.unwrap();
            }
            _ => {
                let admin: AdminClient<DefaultClientContext> = kafka().create().unwrap();
                let patience = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
                for result in admin.delete_topics(&[name.as_str()], &patience).await.unwrap() {
                    result.unwrap();
                }
            }
        }
    }
}

async fn mysql() -> mysql_async::Conn {
    let options = mysql_async::Opts::from_url(&server("MYSQL")).unwrap();
    mysql_async::Conn::new(mysql_async::OptsBuilder::from_opts(options).prefer_socket(false)).await.unwrap()
}

fn hdfs() -> hdfs_native::Client {
    hdfs_native::ClientBuilder::new().with_url(server("HDFS")).build().unwrap()
}

fn kafka() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", server("KAFKA"));
    config
}

#[test]
fn only_runs_of_this_test_that_began_long_ago_are_left_over() {
    let now = Duration::from_secs(1_000_000);
    assert!(is_left_over(&name(Duration::from_secs(900_000), 7), now));
    assert!(is_left_over(&format!("{}_movements", name(Duration::from_secs(900_000), 7)), now));
    assert!(!is_left_over(&name(Duration::from_secs(999_000), 7), now));
    for others in ["postgres", "tos", "portolan_production_run_", "portolan_production_run_x_7"] {
        assert!(!is_left_over(others, now), "{others}");
    }
}
