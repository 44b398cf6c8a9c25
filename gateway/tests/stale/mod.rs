//! Old answers on real servers: a PostgreSQL that is killed and a MariaDB that is frozen, at every door.
//!
//! The servers are of this test alone. What a client gets for a source that is down is rows of before with a warning
//! that says so, if it asked for that, else the error.

#[path = "../../../catalog/tests/stores/faults/private.rs"]
mod private;

use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use arrow_flight::sql::client::FlightSqlServiceClient;
use datafusion::arrow::util::pretty::pretty_format_batches;
use futures::TryStreamExt as _;
use mysql_async::prelude::Queryable as _;
use serde_json::json;
use tokio_postgres::error::DbError;
use tokio_postgres::{AsyncMessage, Client, NoTls};
use tonic::transport::{Channel, Endpoint};

use super::{Demo, refusal, rows, until};
use private::Private;

/// Where the shared test servers are, whose programs are used.
mod addresses {
    pub(super) fn postgres() -> String {
        crate::production::server("POSTGRES")
    }

    pub(super) fn mysql() -> String {
        crate::production::server("MYSQL")
    }
}

const PG: &str = "SELECT a, b FROM pg.t ORDER BY a";
const MY: &str = "SELECT a, b FROM my.t ORDER BY a";

fn port_file(directory: &Path, pg: u16, my: u16) -> PathBuf {
    std::fs::create_dir(directory.join("pipelines")).unwrap();
    let text = json!({
        "name": "stale",
        "pipelines": "pipelines",
        "users": {"demo": {"password": {"env": "PORTOLAN_PASSWORD"}}},
        "sources": {
            "pg": {"postgres": {"host": "127.0.0.1", "port": pg, "user": "portolan", "database": "postgres"}},
            "my": {"mysql": {"host": "127.0.0.1", "port": my, "user": "root", "database": "port"}},
        },
    });
    let file = directory.join("portolan.yaml");
    std::fs::write(&file, text.to_string()).unwrap();
    file
}

/// A client that hears what it is told beside the rows.
struct Listener {
    client: Client,
    heard: Arc<Mutex<Vec<DbError>>>,
}

impl Listener {
    async fn connect(gateway: &Demo, options: &str) -> Self {
        let (host, port) = gateway.pg.split_once(':').unwrap();
        let text =
            format!("host={host} port={port} user=demo password=demo dbname=portolan options='{options}'");
        let (client, mut connection) = tokio_postgres::connect(&text, NoTls).await.unwrap();
        let heard: Arc<Mutex<Vec<DbError>>> = Arc::default();
        let notices = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notice(notice) = message {
                    notices.lock().unwrap().push(notice);
                }
            }
        });
        Self { client, heard }
    }

    /// The one warning since it was last asked for; `None` if there was nothing.
    fn warning(&self) -> Option<DbError> {
        let mut heard = self.heard.lock().unwrap();
        assert!(heard.len() < 2, "{heard:?}");
        heard.pop()
    }

    /// Asserts that the answer was said to be old, because this source is down.
    fn was_warned(&self, source: &str, what: &str) {
        let warning = self.warning().unwrap_or_else(|| panic!("{what}: no warning"));
        assert_eq!((warning.code().code(), warning.severity()), ("01000", "WARNING"), "{what}: {warning:?}");
        let begins = format!("source \"{source}\" is down: this answer was read ");
        assert!(warning.message().starts_with(&begins), "{what}: {warning:?}");
        assert!(warning.message().ends_with(" ago"), "{what}: {warning:?}");
        assert!(
            warning.detail().is_some_and(|detail| detail.contains("; data of 20")),
            "{what}: {warning:?}"
        );
        assert!(warning.hint().is_some_and(|hint| hint.contains("max_staleness")), "{what}: {warning:?}");
    }
}

type Flight = FlightSqlServiceClient<Channel>;

async fn flight(gateway: &Demo) -> Flight {
    let channel =
        Endpoint::from_shared(format!("http://{}", gateway.flight)).unwrap().connect().await.unwrap();
    let mut client = FlightSqlServiceClient::new(channel);
    client.handshake("demo", "demo").await.unwrap();
    client
}

/// The rows as a table, and the header that says that they are old.
async fn fetched(client: &mut Flight, sql: &str) -> (String, Option<String>) {
    let info = client.execute(sql.to_owned(), None).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let stream = client.do_get(ticket).await.unwrap();
    let told = stream.headers().get("portolan-stale").map(|value| value.to_str().unwrap().to_owned());
    let batches: Vec<_> = stream.try_collect().await.unwrap();
    (pretty_format_batches(&batches).unwrap().to_string(), told)
}

async fn copied(client: &Client, sql: &str) -> String {
    let chunks: Vec<_> = client.copy_out(sql).await.unwrap().try_collect().await.unwrap();
    chunks.iter().map(|chunk| String::from_utf8_lossy(chunk).into_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_before_stand_in_for_servers_that_are_killed_or_frozen() {
    let mut pg = Private::postgres(&[]).await;
    let my = Private::mariadb().await;
    let fill = "CREATE TABLE t (a int4, b text); INSERT INTO t VALUES (1, 'one'), (2, 'two')";
    pg.client().await.batch_execute(fill).await.unwrap();
    let mut maria = mysql_async::Conn::new(mysql_async::Opts::from(my.options())).await.unwrap();
    for sql in [
        "CREATE DATABASE port",
        "CREATE TABLE port.t (a int PRIMARY KEY, b varchar(9) NOT NULL)",
        "INSERT INTO port.t VALUES (1, 'one'), (2, 'two')",
    ] {
        maria.query_drop(sql).await.unwrap();
    }
    maria.disconnect().await.unwrap();

    let directory = tempfile::tempdir().unwrap();
    let file = port_file(directory.path(), pg.config().get_ports()[0], my.port());
    let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
    command.arg("serve").arg("--config").arg(&file).arg("--data-dir").arg(directory.path().join("data"));
    let gateway = Demo::run(command.env("PORTOLAN_PASSWORD", "demo"));
    let patient = Listener::connect(&gateway, "-c portolan.max_staleness=1h").await;
    let strict = Listener::connect(&gateway, "").await;
    let mut by_flight = flight(&gateway).await;
    fetched(&mut by_flight, "SET portolan.max_staleness = '1 h'").await;
    fetched(&mut by_flight, "SET timezone = 'UTC'").await;

    // While both are well: kept, and nobody is told anything.
    let before = rows(&patient.client, PG).await;
    assert_eq!(before.len(), 2);
    assert_eq!(rows(&patient.client, MY).await, before);
    let prepared = patient.client.prepare("SELECT b FROM pg.t WHERE a = $1").await.unwrap();
    let bound = patient.client.query(&prepared, &[&2_i32]).await.unwrap();
    assert_eq!(bound[0].get::<_, String>(0), "two");
    let copy = format!("COPY ({PG}) TO STDOUT");
    assert_eq!(copied(&patient.client, &copy).await, "1\tone\n2\ttwo\n");
    let (table, told) = fetched(&mut by_flight, PG).await;
    assert_eq!((table.lines().count(), told), (6, None));
    assert!(patient.warning().is_none());

    pg.kill();
    assert_eq!(rows(&patient.client, PG).await, before);
    patient.was_warned("pg", "simple");
    let bound = patient.client.query(&prepared, &[&2_i32]).await.unwrap();
    assert_eq!(bound[0].get::<_, String>(0), "two");
    patient.was_warned("pg", "extended");
    let other = patient.client.query(&prepared, &[&1_i32]).await.unwrap_err();
    assert_eq!(other.code().map(|code| code.code()), Some("HV00N"), "another value is another statement");
    assert_eq!(copied(&patient.client, &copy).await, "1\tone\n2\ttwo\n");
    patient.was_warned("pg", "copy");
    let (again, told) = fetched(&mut by_flight, PG).await;
    assert_eq!(again, table);
    let told = told.unwrap();
    assert!(told.starts_with("source \"pg\" is down: ") && told.contains("; stale_seconds="), "{told}");
    // The other source goes on, and is not old.
    assert_eq!(rows(&patient.client, MY).await, before);
    assert!(patient.warning().is_none());

    let refused = refusal(&strict.client, PG).await;
    assert_eq!(refused.code().code(), "HV00N");
    let hint = refused.hint().unwrap_or_default();
    assert!(hint.contains("ago is kept: SET portolan.max_staleness"), "{hint}");
    assert!(strict.warning().is_none());
    let yes = vec![vec![Some("t".to_owned())]];
    let told = "SELECT count(*) = 4 AND min(stale_seconds) > 0 AND min(as_of) LIKE 'pg=%' FROM system.answers \
                WHERE stale_from = 'answer' AND stale_sources = 'pg'";
    assert_eq!(rows(&patient.client, told).await, yes);
    let from = "SELECT stale_from IS NOT NULL FROM system.sources WHERE name = 'pg'";
    assert_eq!(rows(&patient.client, from).await, yes);
    assert!(
        gateway.get("/metrics").contains("portolan_stale_answers_total{source=\"pg\",from=\"answer\"} 4")
    );

    // It is there again, and so are its rows of now.
    pg.start().await;
    pg.client().await.batch_execute("INSERT INTO t VALUES (3, 'three')").await.unwrap();
    until("answer of now", async || {
        let found = rows(&patient.client, PG).await;
        patient.warning().is_none() && found.len() == 3
    })
    .await;
    let no = vec![vec![Some("f".to_owned())]];
    assert_eq!(rows(&patient.client, from).await, no);

    // One that says nothing any more is found out, and replaced as well.
    my.freeze();
    assert_eq!(rows(&patient.client, MY).await, before);
    patient.was_warned("my", "frozen");
    my.thaw();
    until("answer of now", async || {
        rows(&patient.client, MY).await;
        patient.warning().is_none()
    })
    .await;
    drop((patient, strict, prepared));
    assert_eq!(gateway.stop(), Some(0));
}
