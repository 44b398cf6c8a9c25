//! Workers as processes: the same answers over none, one and three of them, what passes on the link to them, and what a
//! statement meets when one is frozen or killed.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use datafusion::arrow::array::{ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{Field, Schema};
use futures::TryStreamExt as _;
use portolan_catalog::lake::{Commit, Lake, TableOptions, TablePath};
use serde_json::json;
use tokio_postgres::NoTls;

use super::production::{address, server};
use super::{Demo, refusal, rows, until};

/// Rows of a file of the lake, and files of the table.
const ROWS: i64 = 25_000;
const FILES: i64 = 4;

/// A worker process on a port of its own.
struct Worker {
    child: Child,
    address: String,
}

impl Worker {
    fn start(lake: &Path, listen: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_portolan"))
            .args(["worker", "--json", "--listen", listen, "--lake"])
            .arg(lake)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        Self { address: ready["listen"].as_str().unwrap().to_owned(), child }
    }

    fn signal(&self, signal: &str) {
        assert!(
            Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap().success()
        );
    }

    /// Ends it without a word, and waits until it is gone.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port in front of another that hears everything that is said to it.
struct Tap {
    url: String,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    fn before(address: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let heard: Arc<Mutex<Vec<u8>>> = Arc::default();
        let (address, ears) = (address.to_owned(), Arc::clone(&heard));
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = TcpStream::connect(&address) else { continue };
                let (back, forth) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                let ears = Arc::clone(&ears);
                std::thread::spawn(move || pass(near, far, Some(&ears)));
                std::thread::spawn(move || pass(forth, back, None));
            }
        });
        Self { url, heard }
    }

    fn bytes(&self) -> usize {
        self.heard.lock().unwrap().len()
    }

    fn says(&self, text: &str) -> bool {
        let heard = self.heard.lock().unwrap();
        heard.windows(text.len()).any(|part| part.eq_ignore_ascii_case(text.as_bytes()))
    }
}

/// Passes bytes on until one side ends, and then ends the other.
fn pass(mut from: TcpStream, mut to: TcpStream, ears: Option<&Mutex<Vec<u8>>>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count) = from.read(&mut buffer) {
        if count == 0 || to.write_all(&buffer[..count]).is_err() {
            break;
        }
        if let Some(ears) = ears {
            ears.lock().unwrap().extend_from_slice(&buffer[..count]);
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

fn moves(file: i64) -> RecordBatch {
    let ids: Vec<i64> = (file * ROWS..(file + 1) * ROWS).collect();
    // Texts that nothing can make short.
    let mut state = u64::try_from(file + 1).unwrap();
    let mut noise = |_: &i64| {
        let words = (0..18).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            format!("{:016x}", state ^ (state >> 29))
        });
        words.collect::<String>()
    };
    let noise = StringArray::from_iter_values(ids.iter().map(&mut noise));
    let amounts = Decimal128Array::from_iter_values(ids.iter().map(|id| i128::from(id % 1_000)));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from(ids.clone()))),
        ("berth", Arc::new(Int64Array::from_iter_values(ids.iter().map(|id| id % 50)))),
        ("amount", Arc::new(amounts.with_precision_and_scale(12, 2).unwrap())),
        ("noise", Arc::new(noise)),
    ];
    let fields: Vec<Field> =
        columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    let columns = columns.into_iter().map(|(_, array)| array).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

async fn fill(lake: &Path) {
    let lake = Lake::open_local(lake).unwrap();
    let path = TablePath::new("silver", "moves");
    lake.ensure_table(&path, &moves(0).schema(), &TableOptions::default()).await.unwrap();
    for file in 0..FILES {
        let commit = Commit {
            pipeline: "test".into(),
            app_id: "test/moves".into(),
            seq: file + 1,
            interval: String::new(),
            counts: BTreeMap::new(),
            digest: None,
            origin: None,
        };
        lake.append(&path, vec![moves(file)], &commit).await.unwrap();
    }
}

/// A port with a lake and, if there is a password, a schema of the test's PostgreSQL.
fn port_file(folder: &Path, workers: &[String], postgres: Option<(&str, &str)>) -> PathBuf {
    std::fs::create_dir(folder.join("pipelines")).unwrap();
    std::fs::write(folder.join("pw"), "demo").unwrap();
    let mut sources = json!({});
    if let Some((role, password)) = postgres {
        let server = address(&server("POSTGRES"));
        std::fs::write(folder.join("canary"), password).unwrap();
        sources["pg"] = json!({"postgres": {
            "host": server.host, "port": server.port, "user": role, "database": "postgres",
            "schema": role, "password": {"file": "canary"},
        }});
    }
    let text = json!({
        "name": "workers", "pipelines": "pipelines", "sources": sources, "workers": workers,
        "users": {"demo": {"password": {"file": "pw"}}},
    });
    let file = folder.join("portolan.yaml");
    std::fs::write(&file, text.to_string()).unwrap();
    file
}

fn serve(file: &Path) -> Demo {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
    command.arg("serve").arg("--config").arg(file);
    Demo::run(command.arg("--data-dir").arg(file.with_file_name("data")))
}

async fn sorted(client: &tokio_postgres::Client, sql: &str) -> Vec<Vec<Option<String>>> {
    let mut found = rows(client, sql).await;
    found.sort_unstable();
    found
}

/// The value of one column of one row.
async fn value(client: &tokio_postgres::Client, sql: &str) -> String {
    rows(client, sql).await[0][0].clone().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_to_workers_is_neither_a_password_nor_text_for_a_source() {
    let directory = tempfile::tempdir().unwrap();
    let lake = directory.path().join("data/lake");
    fill(&lake).await;
    let role = format!("portolan_workers_{}", std::process::id());
    let password = "c4n4ry-of-the-workers";
    let (postgres, connection) = tokio_postgres::connect(&server("POSTGRES"), NoTls).await.unwrap();
    tokio::spawn(connection);
    let remove = format!("DROP SCHEMA IF EXISTS {role} CASCADE; DROP ROLE IF EXISTS {role}");
    postgres.batch_execute(&remove).await.unwrap();
    let made = format!(
        "CREATE ROLE {role} LOGIN PASSWORD '{password}'; CREATE SCHEMA {role}; \
         CREATE TABLE {role}.canary_berths AS SELECT g::int8 AS berth, 'berth ' || g AS named FROM generate_series(0, 60) g; \
         GRANT USAGE ON SCHEMA {role} TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA {role} TO {role}"
    );
    postgres.batch_execute(&made).await.unwrap();

    let workers: Vec<Worker> = (0..3).map(|_| Worker::start(&lake, "127.0.0.1:0")).collect();
    let taps: Vec<Tap> = workers.iter().map(|worker| Tap::before(&worker.address)).collect();
    let urls: Vec<String> = taps.iter().map(|tap| tap.url.clone()).collect();
    let gateway = serve(&port_file(directory.path(), &urls, Some((&role, password))));
    let client = gateway.connect("demo").await.unwrap();
    client.simple_query("SET portolan.worker_bytes = 1").await.unwrap();
    let statements = [
        "SELECT berth, count(*), sum(amount), min(noise) FROM silver.moves GROUP BY berth",
        "SELECT b.named, m.n FROM pg.canary_berths b JOIN (SELECT berth, count(*) AS n FROM silver.moves GROUP BY berth) m \
         ON m.berth = b.berth WHERE b.named <> 'berth 7'",
        "SELECT count(*) FROM silver.moves a JOIN silver.moves b ON a.id = b.id + 1 WHERE a.amount > 5",
        "SELECT left(noise, 1), count(*) FROM silver.moves WHERE id IN (SELECT berth FROM pg.canary_berths) GROUP BY 1",
    ];
    for sql in statements {
        client.simple_query("SET portolan.workers = 0").await.unwrap();
        let alone = sorted(&client, sql).await;
        assert!(!alone.is_empty(), "{sql}");
        for count in ["1", "3"] {
            client.simple_query(&format!("SET portolan.workers = {count}")).await.unwrap();
            assert_eq!(sorted(&client, sql).await, alone, "{sql} over {count}");
        }
    }
    let plan = rows(&client, &format!("EXPLAIN {}", statements[1])).await;
    let plan: Vec<String> = plan.into_iter().filter_map(|row| row[0].clone()).collect();
    assert!(plan.iter().any(|line| line.contains("Network")), "{plan:#?}");
    let sent = plan.iter().find(|line| line.contains("canary_berths")).unwrap_or_else(|| panic!("{plan:#?}"));
    assert!(sent.contains("SELECT") || sent.contains("COPY"), "{sent}");

    // The taps do hear plans, and none of this.
    let all = |text: &str| taps.iter().filter(|tap| tap.says(text)).count();
    assert_eq!(all("moves"), 3);
    for secret in [password, &role, "canary_berths", "SELECT ", "COPY (", "postgres"] {
        assert_eq!(all(secret), 0, "{secret} passes to workers");
    }
    let told =
        "SELECT count(*) FROM system.workers WHERE state = 'up' AND failures = 0 AND last_error IS NULL";
    assert_eq!(value(&client, told).await, "3");
    drop(client);
    assert_eq!(gateway.stop(), Some(0));
    postgres.batch_execute(&remove).await.unwrap();
    for worker in workers {
        worker.signal("-TERM");
        let mut worker = worker;
        assert!(worker.child.wait().unwrap().success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_killed_costs_no_row_or_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let lake = directory.path().join("data/lake");
    fill(&lake).await;
    let mut workers: Vec<Worker> = (0..3).map(|_| Worker::start(&lake, "127.0.0.1:0")).collect();
    let taps: Vec<Tap> = workers.iter().map(|worker| Tap::before(&worker.address)).collect();
    let urls: Vec<String> = taps.iter().map(|tap| tap.url.clone()).collect();
    let gateway = serve(&port_file(directory.path(), &urls, None));
    let client = gateway.connect("demo").await.unwrap();
    client.simple_query("SET portolan.worker_bytes = 1").await.unwrap();
    let groups = "SELECT berth, count(*), sum(amount), min(noise) FROM silver.moves GROUP BY berth";
    let expected = sorted(&client, groups).await;
    assert_eq!(expected.len(), 50);

    // A deadline holds although a worker is silent.
    workers[1].signal("-STOP");
    client.simple_query("SET statement_timeout = 1000").await.unwrap();
    let begun = Instant::now();
    let late = refusal(&client, groups).await;
    assert_eq!(late.code().code(), "57014", "{late:?}");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    client.simple_query("SET statement_timeout = 0").await.unwrap();
    workers[1].signal("-CONT");
    assert_eq!(sorted(&client, groups).await, expected);

    // It has its part of the statement, has not done it, and is gone: the statement is answered all the same.
    workers[1].signal("-STOP");
    let before = taps[1].bytes();
    let asked = tokio::spawn(async move { (sorted(&client, groups).await, client) });
    until("part for the worker", async || taps[1].bytes() > before + 500).await;
    assert!(!asked.is_finished());
    workers[1].kill();
    let (found, client) = asked.await.unwrap();
    assert_eq!(found, expected);
    let failures = format!("SELECT failures FROM system.workers WHERE url = '{}'", taps[1].url);
    assert_eq!(value(&client, &failures).await, "1");

    // The others go on without it, and it is used again when it is back.
    assert_eq!(sorted(&client, groups).await, expected);
    let state = format!("SELECT state FROM system.workers WHERE url = '{}'", taps[1].url);
    assert_eq!(value(&client, &state).await, "down");
    let place = workers[1].address.clone();
    workers[1] = Worker::start(&lake, &place);
    until("worker", async || {
        assert_eq!(sorted(&client, groups).await, expected);
        value(&client, &state).await == "up"
    })
    .await;

    // Killed after rows of the answer went out: an error that names it, never a short answer.
    let all = "SELECT id, noise FROM silver.moves UNION ALL SELECT id, noise FROM silver.moves \
               UNION ALL SELECT id, noise FROM silver.moves";
    let plan = rows(&client, &format!("EXPLAIN {all}")).await;
    assert!(
        plan.iter().any(|row| row[0].as_deref().is_some_and(|line| line.contains("Network"))),
        "{plan:?}"
    );
    let no_parameters: [&str; 0] = [];
    let answer = client.query_raw(all, no_parameters).await.unwrap();
    let mut answer = Box::pin(answer);
    assert!(answer.try_next().await.unwrap().is_some());
    workers[2].kill();
    let mut count = 1;
    let ended = loop {
        match answer.try_next().await {
            Ok(Some(_)) => count += 1,
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    assert!(count < FILES * ROWS * 3, "the whole answer had gone out already");
    let error = ended.unwrap_or_else(|| panic!("a short answer of {count} rows"));
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "58000", "{error:?}");
    assert!(error.message().contains(&taps[2].url) && error.hint().is_some(), "{error:?}");
    drop(answer);
    drop(client);
    assert_eq!(gateway.stop(), Some(0));
}

#[test]
fn a_worker_is_refused_where_others_could_reach_it() {
    let run = Command::new(env!("CARGO_BIN_EXE_portolan"))
        .args(["worker", "--listen", "0.0.0.0:0", "--lake", "nowhere"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert_eq!(run.status.code(), Some(2), "{said}");
    assert!(said.contains("cannot listen on 0.0.0.0:0") && said.contains("hint: "), "{said}");

    let directory = tempfile::tempdir().unwrap();
    let file = port_file(directory.path(), &["http://192.0.2.7:7001".to_owned()], None);
    let run =
        Command::new(env!("CARGO_BIN_EXE_portolan")).arg("serve").arg("--config").arg(file).output().unwrap();
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert_eq!(run.status.code(), Some(2), "{said}");
    assert!(
        said.contains("http://192.0.2.7:7001") && said.contains("TLS") && said.contains("hint: "),
        "{said}"
    );
}
