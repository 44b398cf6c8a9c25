//! What a server meets that nobody wishes it: crowds, damaged files, sources that are down, mistakes in its files.
//!
//! Each costs what it is about and nothing else, says so in a sentence with a hint, and is over when its cause is.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use chrono::{TimeZone as _, Utc};
use futures::future::join_all;
use portolan_simulator::{SimConfig, simulate, weather_router};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Demo, refusal, rows, sqlstate, until};

/// Sockets that knock at once.
const CROWD: usize = 500;
/// Connections the door admits.
const ADMITTED: usize = 200;

/// Knocks as a client does, and returns the socket with the tag of the first answer: `R` asks for a password, `E` is a
/// refusal, whose text comes too.
async fn knock(address: &str) -> (TcpStream, u8, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let body = b"\0\x03\0\0user\0demo\0database\0portolan\0\0";
    let length = u32::try_from(body.len() + 4).unwrap();
    stream.write_all(&[&length.to_be_bytes()[..], body].concat()).await.unwrap();
    let tag = stream.read_u8().await.unwrap();
    let mut text = Vec::new();
    if tag == b'E' {
        stream.read_to_end(&mut text).await.unwrap();
    }
    (stream, tag, String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_at_once_are_served_or_told_and_others_come_after_them() {
    let directory = tempfile::tempdir().unwrap();
    let demo = Demo::start(directory.path());
    let mut inside = Vec::new();
    for _ in 0..10 {
        inside.push(demo.connect("demo").await.unwrap());
    }
    let crowd = join_all((0..CROWD).map(|_| knock(&demo.pg))).await;
    let asked = crowd.iter().filter(|(_, tag, _)| *tag == b'R').count();
    let told = crowd.iter().filter(|(_, tag, text)| *tag == b'E' && text.contains("53300")).count();
    assert_eq!((asked, told), (ADMITTED - inside.len(), CROWD - asked));
    // Those within go on, all at once, and the gateway is as ready as before.
    let answers = inside.iter().map(|client| rows(client, "SELECT count(*) > 0 FROM tos.terminals"));
    assert!(join_all(answers).await.iter().all(|answer| *answer == [[Some("t".to_owned())]]));
    assert!(demo.get("/readyz").contains("200 OK"));
    drop(crowd);
    // After they left, others are welcome.
    until("welcome", async || demo.connect("demo").await.is_ok()).await;
    drop(inside);
    assert_eq!(demo.stop(), Some(0));
}

/// The one file of a folder with this extension.
fn only(folder: &Path, extension: &str) -> std::path::PathBuf {
    let mut found = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    found.find(|path| path.extension().is_some_and(|own| own == extension)).unwrap()
}

/// What a server said until it was ready; it is ready for us before all of it is read.
async fn all_said(demo: &Demo) -> String {
    until("the last sentence", async || demo.said().contains("ready after")).await;
    demo.said()
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_files_cost_their_own_tables_and_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let demo = Demo::start(directory.path());
    let client = demo.connect("demo").await.unwrap();
    let visits = rows(&client, "SELECT count(*) FROM gold.visit").await;
    drop(client);
    assert_eq!(demo.stop(), Some(0));

    // A feed cut off in the middle, and a commit that nobody can read.
    let ais = only(&directory.path().join("feeds/ais"), "parquet");
    let whole = std::fs::read(&ais).unwrap();
    std::fs::write(&ais, &whole[..whole.len() / 2]).unwrap();
    let log = directory.path().join("lake/gold/visit/_delta_log/00000000000000000001.json");
    std::fs::write(&log, "{\"add\": {}}\ngarbage").unwrap();

    let demo = Demo::start(directory.path());
    let said = all_said(&demo).await;
    for sentence in [
        "\"gold/visit/_delta_log/00000000000000000001.json\" is damaged in line 2",
        "hint: put the file back from a copy, or move",
        "\"ais/ais_positions.parquet\" is not readable parquet",
        "hint: it is damaged or cut off",
    ] {
        assert_eq!(said.matches(sentence).count(), 1, "{sentence} in {said}");
    }
    assert!(!said.contains(" 0: "), "a backtrace: {said}");

    let client = demo.connect("demo").await.unwrap();
    let lost = refusal(&client, "SELECT count(*) FROM gold.visit").await;
    assert!(lost.code().code().starts_with("HV"), "{lost:?}");
    assert!(lost.message().contains("gold/visit/_delta_log") && lost.hint().is_some(), "{lost:?}");
    let lost = refusal(&client, "SELECT count(*) FROM events.ais_positions").await;
    assert!(lost.code().code().starts_with("HV"), "{lost:?}");
    assert!(lost.message().contains("ais/ais_positions.parquet") && lost.hint().is_some(), "{lost:?}");
    for table in
        ["gold.call", "bronze.ais_positions", "events.port_call_events", "warehouse.fact_cargo_operation"]
    {
        let found = rows(&client, &format!("SELECT count(*) > 0 FROM {table}")).await;
        assert_eq!(found, [[Some("t".to_owned())]], "{table}");
    }
    assert!(!rows(&client, "SELECT MEASURE(calls) FROM kpi.port_calls").await.is_empty());
    let failed = "SELECT count(DISTINCT pipeline) FROM system.runs WHERE status = 'failed' AND error <> '' \
                  AND error_class IN ('data', 'transient')";
    assert_eq!(rows(&client, failed).await, [[Some("2".to_owned())]]);
    drop(client);
    assert_eq!(demo.stop(), Some(0));

    // The hints help.
    std::fs::write(&ais, &whole).unwrap();
    std::fs::rename(directory.path().join("lake/gold/visit"), directory.path().join("visit")).unwrap();
    let demo = Demo::start(directory.path());
    let said = all_said(&demo).await;
    assert!(!said.contains("error:"), "{said}");
    let client = demo.connect("demo").await.unwrap();
    assert_eq!(rows(&client, "SELECT count(*) FROM gold.visit").await, visits);
    assert_ne!(rows(&client, "SELECT count(*) FROM events.ais_positions").await, [[Some("0".to_owned())]]);
    drop(client);
    assert_eq!(demo.stop(), Some(0));
}

/// A port with a weather API at some port of this machine, a folder of documents, and a KPI file with a mistake.
fn port_file(directory: &Path, weather: u16) -> std::path::PathBuf {
    for folder in ["pipelines", "feeds", "kpis"] {
        std::fs::create_dir(directory.join(folder)).unwrap();
    }
    std::fs::write(directory.join("feeds/a.ndjson"), "{\"note\": \"first\"}\n").unwrap();
    std::fs::write(directory.join("kpis/calls.yaml"), "model: calls\nmeasrues: []\n").unwrap();
    std::fs::write(directory.join("pw"), "demo").unwrap();
    let text = format!(
        "name: p\npipelines: pipelines\nkpis: kpis\nusers: {{demo: {{password: {{file: pw}}}}}}\nsources:\n\
         \x20 weather:\n    rest:\n      url: http://127.0.0.1:{weather}\n      from: 2026-10-01\n      \
         until: 2026-10-02\n      stations: [{{name: SNDKR, latitude: 14.68, longitude: -17.42}}]\n\
         \x20 notes:\n    files:\n      root: feeds\n      tables:\n        notes:\n          path: \"*.ndjson\"\n\
         \x20         format: ndjson\n          columns: [{{name: note, type: text, from: note}}]\n"
    );
    let file = directory.join("portolan.yaml");
    std::fs::write(&file, text).unwrap();
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_starts_without_its_weather_and_with_a_broken_kpi_and_the_weather_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    // A port that was free a moment ago: nobody listens there.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    drop(silent);
    let file = port_file(directory.path(), port);
    let data = directory.path().join("data");
    let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
    let demo = Demo::run(command.arg("serve").arg("--config").arg(&file).arg("--data-dir").arg(&data));
    let client = demo.connect("demo").await.unwrap();
    let said = demo.said();
    let mistake = "calls.yaml:2:1: error[KPI001]: unknown key \"measrues\"";
    assert!(said.contains(mistake) && said.contains("measures"), "{said}");

    let hours = "SELECT count(*) FROM weather.hourly";
    let down = refusal(&client, hours).await;
    assert!(down.code().code().starts_with("HV"), "{down:?}");
    assert!(down.message().contains("weather") && down.hint().is_some(), "{down:?}");
    assert_eq!(rows(&client, "SELECT note FROM notes.notes").await, [[Some("first".to_owned())]]);
    let told = "SELECT state, last_error IS NOT NULL FROM system.sources WHERE name = 'weather'";
    assert_eq!(rows(&client, told).await, [[Some("down".to_owned()), Some("t".to_owned())]]);

    // It comes, at the same address, and nobody has to start anything again.
    let from = Utc.with_ymd_and_hms(2026, 10, 1, 0, 0, 0).unwrap();
    let to = Utc.with_ymd_and_hms(2026, 10, 3, 0, 0, 0).unwrap();
    let config = SimConfig { from, to, seed: 7, dirt: 0.0, ais_secs: None, traffic: 1.0 };
    let simulated = simulate(&config, &|_, _, _| {}).unwrap();
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let router = weather_router(Arc::clone(&simulated.weather));
    tokio::spawn(async move { axum::serve(listener, router).await });
    until("weather", async || client.simple_query(hours).await.is_ok()).await;
    assert_eq!(rows(&client, hours).await, [[Some("48".to_owned())]]);
    drop(client);
    assert_eq!(demo.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_statements_are_refused_and_the_demo_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let demo = Demo::start(directory.path());
    let client = demo.connect("demo").await.unwrap();
    let long = format!("SELECT '{}'", "x".repeat(10 << 20));
    assert_eq!(sqlstate(&client, &long).await, "54000");
    let missing = refusal(&client, "SELECT date_trunk('day', ata) FROM tos.port_calls").await;
    assert_eq!(missing.code().code(), "42883");
    assert!(missing.hint().is_some_and(|hint| hint.contains("\"date_trunc\"")), "{missing:?}");
    // NUL is no character of a text, in a parameter as in a result.
    let nul = client.query("SELECT code FROM tos.terminals WHERE code = $1", &[&"T\0C"]).await.unwrap_err();
    assert_eq!(nul.as_db_error().unwrap().code().code(), "22021", "{nul:?}");
    let mut flight = flight_client(&demo).await;
    for (sql, state) in [("SELECT 'a\0b'", "22021"), (long.as_str(), "54000")] {
        let Err(error) = flight.execute(sql.to_owned(), None).await else { panic!("accepted: {state}") };
        assert!(error.to_string().contains(state), "{state} in {error}");
    }
    // The catalog's process dies: data is answered meanwhile, and the catalog again soon.
    let catalog = "SELECT count(*) > 0 FROM pg_class";
    assert_eq!(rows(&client, catalog).await, [[Some("t".to_owned())]]);
    let shadow = shadow_child(&demo);
    assert!(Command::new("kill").args(["-9", &shadow]).status().unwrap().success());
    assert_eq!(rows(&client, "SELECT count(*) > 0 FROM tos.terminals").await, [[Some("t".to_owned())]]);
    until("catalog", async || client.simple_query(catalog).await.is_ok()).await;
    assert_eq!(demo.stop(), Some(0));
}

async fn flight_client(
    demo: &Demo,
) -> arrow_flight::sql::client::FlightSqlServiceClient<tonic::transport::Channel> {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", demo.flight)).unwrap();
    let channel = endpoint.connect().await.unwrap();
    let mut client = arrow_flight::sql::client::FlightSqlServiceClient::new(channel);
    client.handshake("demo", "demo").await.unwrap();
    client
}

/// The process id of the demo's catalog: its child whose command line names the shadow's directory.
fn shadow_child(demo: &Demo) -> String {
    let parent = demo.child.id().to_string();
    let listed = Command::new("ps").args(["-o", "pid=,args=", "--ppid", &parent]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let line = listed.lines().find(|line| line.contains("/shadow")).unwrap_or_else(|| panic!("{listed}"));
    line.split_whitespace().next().unwrap_or_default().to_owned()
}
