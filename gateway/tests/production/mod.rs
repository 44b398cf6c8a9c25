//! The production mode on real servers: the same port, filled into MariaDB, MongoDB and Kafka, kept on HDFS and in
//! PostgreSQL, all as `deploy/portolan.yaml` declares them, gives the numbers of the demo of the same seed.

mod stores;

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use futures::FutureExt as _;
use portolan::demo::{Feeds, serve_weather};
use serde_json::{Value, json};
use tokio_postgres::{Client, NoTls};
use tokio_util::sync::CancellationToken;

use super::{Demo, rows, until};

/// A server's URL in parts.
pub(super) struct Address {
    pub(super) user: String,
    pub(super) password: String,
    pub(super) host: String,
    pub(super) port: u16,
}

/// The URL that `PORTOLAN_TEST_<NAME>_URL` has, or that `cargo x up` wrote down.
#[expect(clippy::disallowed_methods, reason = "the test servers are told by environment")]
pub(super) fn server(name: &str) -> String {
    let variable = format!("PORTOLAN_TEST_{name}_URL");
    if let Ok(url) = std::env::var(&variable) {
        return url;
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(std::env::home_dir()?.join(".cache"))).unwrap();
    let known = std::fs::read_to_string(cache.join("portolan/servers/env")).unwrap_or_default();
    let url = known.lines().find_map(|line| line.strip_prefix(&variable)?.strip_prefix('='));
    url.unwrap_or_else(|| panic!("{variable} is not set: run `cargo x up`")).to_owned()
}

pub(super) fn address(url: &str) -> Address {
    let (_, rest) = url.split_once("://").unwrap();
    let (account, place) = rest.split_once('@').unwrap();
    let (user, password) = account.split_once(':').unwrap();
    let (host, port) = place.split('/').next().unwrap().split_once(':').unwrap();
    let owned = str::to_owned;
    Address { user: owned(user), password: owned(password), host: owned(host), port: port.parse().unwrap() }
}

/// The production file with the test servers' addresses.
struct Production {
    file: PathBuf,
    data_dir: PathBuf,
    passwords: [(&'static str, String); 4],
}

impl Production {
    /// Everything on the servers is called `name`.
    fn write(folder: &Path, name: &str, weather: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let shipped = root.join("deploy/portolan.yaml");
        let text = std::fs::read_to_string(&shipped).unwrap();
        let mut file: Value = portolan_catalog::yaml::parse(&shipped, &text).unwrap();
        let (postgres, mysql) = (address(&server("POSTGRES")), address(&server("MYSQL")));
        for key in ["pipelines", "kpis"] {
            file[key] = json!(root.join("deploy").join(file[key].as_str().unwrap()));
        }
        file["lake"] = json!(format!("{}/{name}", server("HDFS")));
        let place = &mut file["warehouse"]["postgres"];
        place["host"] = json!(postgres.host);
        place["port"] = json!(postgres.port);
        place["user"] = json!(postgres.user);
        place["database"] = json!(name);
        let place = &mut file["sources"]["tos"]["mysql"];
        place["host"] = json!(mysql.host);
        place["port"] = json!(mysql.port);
        place["user"] = json!(mysql.user);
        place["database"] = json!(name);
        let mongodb = server("MONGODB");
        let (hosts, options) = mongodb.strip_prefix("mongodb://").unwrap().split_once("/?").unwrap();
        let place = &mut file["sources"]["events"]["mongodb"];
        place["database"] = json!(name);
        let (account, hosts) =
            hosts.split_once('@').map_or((None, hosts), |(account, hosts)| (Some(account), hosts));
        place["hosts"] = json!(hosts.split(',').collect::<Vec<_>>());
        let set = options.split('&').find_map(|option| option.strip_prefix("replicaSet="));
        if let Some(set) = set {
            place["replica_set"] = json!(set);
        }
        let (user, password) = account.and_then(|account| account.split_once(':')).unzip();
        match user {
            Some(user) => place["user"] = json!(user),
            None => {
                let place = place.as_object_mut().unwrap();
                place.remove("user");
                place.remove("password");
            }
        }
        for (source, table) in [("ais", "ais_positions"), ("movements", "vessel_movements")] {
            let place = &mut file["sources"][source]["kafka"];
            place["brokers"] = json!([server("KAFKA")]);
            place["topics"][table]["topic"] = json!(format!("{name}_{source}"));
        }
        let place = &mut file["sources"]["weather"]["rest"];
        place["url"] = json!(weather);
        place["from"] = json!("2026-10-01");
        place["until"] = json!("2026-11-01");
        let path = folder.join("portolan.yaml");
        std::fs::write(&path, file.to_string()).unwrap();
        let passwords = [
            ("POSTGRES_PASSWORD", postgres.password),
            ("MARIADB_PASSWORD", mysql.password),
            ("MONGODB_PASSWORD", password.unwrap_or_default().to_owned()),
            ("PORTOLAN_PASSWORD", "demo".to_owned()),
        ];
        Self { file: path, data_dir: folder.join("data"), passwords }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portolan"));
        command
            .args(arguments)
            .arg(&self.file)
            .envs(self.passwords.iter().map(|(name, value)| (name, value)));
        command
    }

    fn run(&self, mut command: Command) -> String {
        let Output { status, stderr, stdout } = command.output().unwrap();
        let said = String::from_utf8_lossy(&stderr).into_owned() + &String::from_utf8_lossy(&stdout);
        assert!(status.success(), "{}: {said}", self.file.display());
        said
    }

    fn serve(&self) -> Demo {
        let mut command = self.command(&["serve", "--config"]);
        command.arg("--data-dir").arg(&self.data_dir);
        Demo::run(&mut command)
    }
}

async fn administrator() -> Client {
    let (client, connection) = tokio_postgres::connect(&server("POSTGRES"), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Equal texts, or numbers that differ by less than the order of a sum does.
fn same(left: &[Vec<Option<String>>], right: &[Vec<Option<String>>]) -> bool {
    let near = |(left, right): (&Option<String>, &Option<String>)| {
        let numbers = left
            .as_ref()
            .zip(right.as_ref())
            .and_then(|(left, right)| Some((left.parse::<f64>().ok()?, right.parse::<f64>().ok()?)));
        left == right
            || numbers.is_some_and(|(left, right)| (left - right).abs() <= 1e-9 * left.abs().max(1.0))
    };
    left.len() == right.len()
        && left
            .iter()
            .zip(right)
            .all(|(left, right)| left.len() == right.len() && left.iter().zip(right).all(near))
}

/// Statements over the movements that tell a lost, doubled or changed message.
const MOVEMENTS: [&str; 4] = [
    "SELECT count(*), count(DISTINCT event_id), count(event_time), min(event_time), max(event_time), count(imo_no), \
     count(schema_version), sum(berth_visit_id) FROM movements.vessel_movements",
    "SELECT service, event, classifier, reporter, phase, count(*) FROM movements.vessel_movements \
     GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5",
    "SELECT event_id, movement_id, event_time, record_time, imo_no, mmsi, vessel_name FROM movements.vessel_movements \
     WHERE port_call_id = 'SNDKR26000100' ORDER BY 1",
    "SELECT b.berth_no, count(*) FROM movements.vessel_movements m JOIN tos.berth_visits v ON v.visit_id = \
     m.berth_visit_id AND v.all_fast = m.event_time AT TIME ZONE 'UTC' JOIN tos.berths b ON b.berth_id = v.berth_id \
     WHERE m.service = 'ALL_FAST' AND m.reporter = 'portauthority' GROUP BY 1 ORDER BY 1",
];

#[tokio::test(flavor = "multi_thread")]
async fn production_on_real_servers_gives_the_demos_numbers() {
    let name = stores::name(stores::now(), std::process::id());
    let run = AssertUnwindSafe(Box::pin(compare(&name))).catch_unwind().await;
    // Whatever came of it, nothing stays on servers that others use.
    stores::remove(&name).await;
    if let Err(failed) = run {
        std::panic::resume_unwind(failed);
    }
    until("end of what was made", async || stores::find(|found| found.starts_with(&name)).await.is_empty())
        .await;
}

async fn compare(name: &str) {
    let directory = tempfile::tempdir().unwrap();
    let demo = Demo::start(&directory.path().join("demo"));
    let stop = CancellationToken::new();
    let weather = serve_weather(&Feeds::below(&directory.path().join("demo")), stop.clone()).await.unwrap();
    administrator().await.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    let production = Production::write(directory.path(), name, &format!("http://{weather}"));

    let mut fill = production.command(&["simulate", "--to"]);
    fill.args(["--months", "1", "--until", "2026-11-01T00:00:00Z", "--seed", "7"]);
    let said = production.run(fill);
    for source in ["tos", "events", "ais", "movements"] {
        assert!(said.contains(&format!("source \"{source}\": ")), "{said}");
    }
    let mut ingest = production.command(&["ingest", "run", "--config"]);
    ingest.arg("--data-dir").arg(&production.data_dir);
    production.run(ingest);

    let served = production.serve();
    let (ours, theirs) = (served.connect("demo").await.unwrap(), demo.connect("demo").await.unwrap());
    let kinds = rows(&ours, "SELECT name, kind FROM system.sources ORDER BY 1").await;
    let told: Vec<String> = kinds.iter().map(|row| format!("{:?} {:?}", row[0], row[1])).collect();
    for kind in ["mysql", "mongodb", "kafka", "postgres", "rest"] {
        assert!(
            told.iter().any(|told| told.contains(&format!("\"{kind}\""))),
            "{kind} is not among {told:?}"
        );
    }
    let mut queries = demo.queries(5).await;
    assert_eq!(queries.len(), 5);
    queries.extend(MOVEMENTS.map(str::to_owned));
    let kpis = rows(
        &theirs,
        "SELECT name FROM system.kpis WHERE role IN ('measure', 'metric') AND error IS NULL ORDER BY 1",
    )
    .await;
    assert!(kpis.len() >= 14, "{kpis:?}");
    for kpi in kpis.iter().filter_map(|row| row[0].as_ref()) {
        queries.push(format!("SELECT MEASURE({kpi}) FROM kpi.port_calls"));
        queries.push(format!(
            "SELECT terminal, MEASURE({kpi}) FROM kpi.port_calls GROUP BY terminal ORDER BY 1"
        ));
    }
    let mut different = Vec::new();
    for query in &queries {
        let (mut production, mut demo) = (rows(&ours, query).await, rows(&theirs, query).await);
        // Rows that tie in the order asked for come in any.
        production.sort();
        demo.sort();
        assert!(!demo.is_empty(), "{query}");
        if !same(&production, &demo) {
            different.push(format!("{query}\nproduction {production:?}\ndemo       {demo:?}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    drop((ours, theirs));
    assert_eq!(served.stop(), Some(0));
    stop.cancel();
}
