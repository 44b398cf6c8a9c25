//! The demo as a newcomer meets it: started as a process, asked through the PostgreSQL protocol, killed and stopped.
//! What it meets of bad weather is in [`hardship`].

#![expect(clippy::unwrap_used, clippy::panic, reason = "every function of this file is part of a test")]

mod drift;
mod grafana;
mod hardship;
mod production;
mod servers;
mod stale;
mod workers;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio_postgres::error::DbError;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// A running command that serves, and what it said so far.
struct Demo {
    child: Child,
    pg: String,
    flight: String,
    http: String,
    said: Arc<Mutex<Vec<String>>>,
}

impl Demo {
    /// Starts one month of a dirty port and waits for its line of JSON.
    fn start(data_dir: &Path) -> Self {
        let months = ["demo", "--months", "1", "--until", "2026-11-01T00:00:00Z", "--seed", "7"];
        Self::run(Command::new(env!("CARGO_BIN_EXE_portolan")).args(months).arg("--data-dir").arg(data_dir))
    }

    /// Starts a command that serves, on free ports.
    fn run(command: &mut Command) -> Self {
        let mut child = command
            .args(["--pg-port", "0", "--flight-port", "0", "--http-port", "0", "--json"])
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let errors = BufReader::new(child.stderr.take().unwrap()).lines();
        let said: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in errors.map_while(Result::ok) {
                heard.lock().unwrap().push(line);
            }
        });
        let Some(line) = lines.next() else {
            let _ = child.wait();
            panic!("it ended early: {:?}", said.lock().unwrap())
        };
        let ready: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        let address = |key: &str| ready[key].as_str().unwrap().to_owned();
        Self { pg: address("pg"), flight: address("flight"), http: address("http"), child, said }
    }

    /// Everything it said to people so far.
    fn said(&self) -> String {
        self.said.lock().unwrap().join("\n")
    }

    /// The queries it offers to paste, once it has said them.
    async fn queries(&self, count: usize) -> Vec<String> {
        let mut found = Vec::new();
        until("queries to paste", async || {
            let said = self.said();
            let lines = said.lines().filter(|line| line.starts_with("  SELECT"));
            found = lines.map(|line| line.trim().trim_end_matches(';').to_owned()).collect();
            found.len() >= count
        })
        .await;
        found
    }

    async fn connect(&self, password: &str) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(&self.parameters(password), NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// A client, and the task of its connection, which may be ended in the middle of an answer.
    async fn connect_by(&self, password: &str) -> (Client, tokio::task::JoinHandle<()>) {
        let (client, connection) = tokio_postgres::connect(&self.parameters(password), NoTls).await.unwrap();
        (client, tokio::spawn(async move { drop(connection.await) }))
    }

    fn parameters(&self, password: &str) -> String {
        let (host, port) = self.pg.split_once(':').unwrap();
        format!("host={host} port={port} user=demo password={password} dbname=portolan")
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.http).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Asks the process to stop and returns its exit code.
    fn stop(mut self) -> Option<i32> {
        let asked = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status().unwrap();
        assert!(asked.success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until a condition holds; half a minute is more than any of them needs.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < Duration::from_secs(30), "no {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn rows(client: &Client, sql: &str) -> Vec<Vec<Option<String>>> {
    let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let mut rows = Vec::new();
    for message in messages {
        if let SimpleQueryMessage::Row(row) = message {
            rows.push((0..row.len()).map(|index| row.get(index).map(str::to_owned)).collect());
        }
    }
    rows
}

async fn refusal(client: &Client, sql: &str) -> DbError {
    let Err(error) = client.simple_query(sql).await else { panic!("accepted: {sql}") };
    error.as_db_error().unwrap_or_else(|| panic!("{sql}: {error:?}")).clone()
}

async fn sqlstate(client: &Client, sql: &str) -> String {
    refusal(client, sql).await.code().code().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_answers_survives_a_kill_and_stops_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let demo = Demo::start(directory.path());
    let Err(refused) = demo.connect("wrong").await else { panic!("a wrong password was taken") };
    assert_eq!(refused.as_db_error().unwrap().code().code(), "28P01");

    let client = demo.connect("demo").await.unwrap();
    for query in demo.queries(5).await {
        assert!(!rows(&client, &query).await.is_empty(), "no rows: {query}");
    }
    let counted = rows(&client, "SELECT count(*), count(DISTINCT port_call_id) FROM tos.port_calls").await;
    assert_eq!(counted[0][0], counted[0][1]);

    // What was pushed down and what was not must be the same rows.
    let filtered =
        "SELECT vessel_id, vessel_name FROM tos.vessels WHERE gt > 20000 AND vessel_name >= 'M' ORDER BY 1";
    let pushed = rows(&client, filtered).await;
    client.simple_query("SET portolan.pushdown = off").await.unwrap();
    assert_eq!(rows(&client, filtered).await, pushed);
    assert!(!pushed.is_empty());
    client.simple_query("RESET portolan.pushdown").await.unwrap();

    // A KPI is the same number whatever asks for it: the measure, the flat view's rows, and SQL on the star.
    let total = rows(&client, "SELECT MEASURE(calls), MEASURE(cargo_tonnes) FROM kpi.port_calls").await;
    let flat = "SELECT sum(cargo_tonnes) FROM kpi_flat.port_calls__month WHERE cargo_tonnes IS NOT NULL";
    assert_eq!(rows(&client, flat).await[0][0], total[0][1]);
    let star = "SELECT count(DISTINCT port_call_id) FROM warehouse.fact_cargo_operation WHERE ata_pbp_ts IS NOT NULL";
    assert_eq!(rows(&client, star).await[0][0], total[0][0]);
    let described = rows(
        &client,
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute \
         WHERE attrelid = 'kpi.port_calls'::regclass AND attnum > 0 AND attname = 'cargo_tonnes'",
    )
    .await;
    assert_eq!(described.len(), 1);

    // Every panel of the shipped dashboard has rows, and no macro is left in its text.
    let terminals: Vec<String> =
        rows(&client, &grafana::variable()).await.into_iter().filter_map(|row| row[0].clone()).collect();
    let panels = grafana::statements("2026-10-01T00:00:00Z", "2026-11-01T00:00:00Z", &terminals);
    assert_eq!(panels.len(), 20);
    for (title, sql) in panels {
        assert!(!sql.contains('$'), "{title}: {sql}");
        let found = rows(&client, &sql).await;
        // A source that is well has no error to show; every KPI of this month has a value somewhere.
        let whole = found.iter().any(|row| row.iter().all(Option::is_some));
        assert!(whole || title == "Sources" && !found.is_empty(), "{title}: {sql}");
    }
    // Days, as docs/clients.md says, beside the dashboard's weeks.
    let days = "SELECT floor(extract(epoch from time)/86400)*86400 AS \"time\", MEASURE(calls) FROM kpi.port_calls \
                WHERE time BETWEEN '2026-10-01T00:00:00Z' AND '2026-10-31T23:59:59Z' GROUP BY 1 ORDER BY 1";
    assert_eq!(rows(&client, days).await.len(), 31);

    // Every row that ingest read has one fate.
    let lost = "SELECT count(*) FROM system.ledger WHERE rows_read <> rows_written + superseded + deduplicated \
                + filtered + quarantined";
    assert_eq!(rows(&client, lost).await, [[Some("0".to_owned())]]);
    assert!(!rows(&client, "SELECT * FROM system.runs").await.is_empty());
    let sources = rows(&client, "SELECT name, kind FROM system.sources ORDER BY 1").await;
    assert_eq!(sources.len(), 6, "{sources:?}");
    for table in ["kpis", "settings", "queries"] {
        assert!(!rows(&client, &format!("SELECT * FROM system.{table}")).await.is_empty(), "system.{table}");
    }
    assert!(!rows(&client, "SELECT rule_id, sum(rows) FROM system.quarantine GROUP BY 1").await.is_empty());
    let zones = "SELECT nspname FROM pg_namespace WHERE nspname IN ('bronze', 'silver', 'gold', 'warehouse', 'kpi', \
                 'kpi_flat', 'system')";
    assert_eq!(rows(&client, zones).await.len(), 7);

    // The catalog is PostgreSQL's own.
    let comments = "SELECT col_description('tos.port_calls'::regclass, attnum) FROM pg_attribute \
                    WHERE attrelid = 'tos.port_calls'::regclass AND attname = 'ata'";
    let comment = rows(&client, comments).await;
    assert!(comment[0][0].as_ref().is_some_and(|text| text.contains("pilot boarding place")), "{comment:?}");

    for (sql, state) in [
        ("SELECT 1 +", "42601"),
        ("SELECT * FROM nowhere", "42P01"),
        ("SELECT vessel_nam FROM tos.vessels", "42703"),
        ("SELECT 1 / 0", "22012"),
        ("DELETE FROM tos.vessels", "25006"),
        ("SELECT no_such_function(1)", "42883"),
        ("SET no_such_setting = 1", "42704"),
    ] {
        assert_eq!(sqlstate(&client, sql).await, state, "{sql}");
    }
    let long = format!("SELECT {}1", "1+".repeat(100_000));
    assert_eq!(sqlstate(&client, &long).await, "54001");
    assert_eq!(rows(&client, "SELECT 1").await, [[Some("1".to_owned())]]);

    // Killed without warning; the next start finds everything and the same rows.
    let before = rows(&client, "SELECT sum(tonnes), count(*) FROM tos.cargo_operations").await;
    drop(demo);
    let demo = Demo::start(directory.path());
    let client = demo.connect("demo").await.unwrap();
    assert_eq!(rows(&client, "SELECT sum(tonnes), count(*) FROM tos.cargo_operations").await, before);

    let figures = demo.get("/metrics");
    for line in [
        "portolan_queries_total{protocol=\"postgres\",ended=\"done\"} 1",
        "portolan_connections{protocol=\"postgres\"} 1",
        "portolan_connections{protocol=\"flight\"} 0",
        "# HELP portolan_source_up ",
        "portolan_source_up{source=\"tos\",kind=\"postgres\"} 1",
        "portolan_query_duration_seconds_count 1",
    ] {
        assert!(figures.contains(line), "{line} in {figures}");
    }
    let health = demo.get("/readyz");
    assert!(health.contains("200 OK") && health.contains("tos postgres"), "{health}");
    drop(client);
    assert_eq!(demo.stop(), Some(0));
}

#[test]
fn mistakes_on_the_command_line_are_sentences() {
    let run =
        |arguments: &[&str]| Command::new(env!("CARGO_BIN_EXE_portolan")).args(arguments).output().unwrap();
    let unknown = run(&["demo", "--sead", "7"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("--seed"), "{unknown:?}");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let busy = run(&["demo", "--pg-port", &port]);
    assert_eq!(busy.status.code(), Some(1));
    let said = String::from_utf8_lossy(&busy.stderr);
    assert!(said.contains(&port) && said.contains("--pg-port"), "{said}");

    let file = tempfile::NamedTempFile::new().unwrap();
    let below = file.path().join("below");
    let unwritable = run(&[
        "demo",
        "--pg-port",
        "0",
        "--flight-port",
        "0",
        "--http-port",
        "0",
        "--data-dir",
        below.to_str().unwrap(),
    ]);
    assert_eq!(unwritable.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&unwritable.stderr).contains("--data-dir"), "{unwritable:?}");
}
