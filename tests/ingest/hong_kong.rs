//! The second port: feeds written by other people's systems, counted and added up by independent tools.
//!
//! The feeds are no part of the repository. A missing folder is a failure, never a silent pass.

mod evenings;
mod far;
mod readme;

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use datafusion::prelude::SessionContext;
use libtest_mimic::{Failed, Trial};
use portolan_catalog::lake::{Lake, LakeRoot, StoreLimits, TablePath};
use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::number;

/// First argument that makes this binary the program itself.
pub(crate) const AS_PROGRAM: &str = "portolan";

pub(crate) fn trials() -> Vec<Trial> {
    let run = |test: fn() -> Result<(), Failed>| move || test();
    vec![
        Trial::test("hong_kong_is_ingested_and_served_by_two_commands", run(two_commands)),
        Trial::test(
            "hong_kong_of_a_second_evening_compares_arrivals_with_etas",
            run(evenings::second_evening),
        ),
        Trial::test("hong_kong_keeps_its_lake_on_hdfs_with_the_same_numbers", run(far::on_hdfs)),
        Trial::test("hong_kong_takes_a_feed_that_the_readme_adds", run(readme::own_feed)),
        Trial::test("hong_kong_files_have_no_mistake_and_a_mistake_is_shown", run(mistakes)),
    ]
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

fn port_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/hong-kong/portolan.yaml")
}

/// The real feeds: in `PORTOLAN_SHARED_DATA`, or in `../shared/data` beside the repository.
fn feeds() -> Result<PathBuf, Failed> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let feeds = std::env::var_os("PORTOLAN_SHARED_DATA").map_or_else(beside, PathBuf::from).join("real");
    if feeds.is_dir() {
        return Ok(feeds);
    }
    let missing = feeds.display();
    Err(format!(
        "the real feeds are not at \"{missing}\": set PORTOLAN_SHARED_DATA to the folder that holds real/"
    )
    .into())
}

fn program(arguments: &[OsString]) -> Result<Command, Failed> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(AS_PROGRAM).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

fn ingest(config: &Path, data_dir: &Path, feeds: &Path) -> Result<(Output, serde_json::Value), Failed> {
    let arguments: [OsString; 7] = [
        "ingest".into(),
        "run".into(),
        "--config".into(),
        config.into(),
        "--data-dir".into(),
        data_dir.into(),
        feeds.into(),
    ];
    let output = program(&arguments)?.output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = serde_json::from_str(text.lines().last().unwrap_or_default())
        .map_err(|error| format!("{error}: {text} {}", String::from_utf8_lossy(&output.stderr)))?;
    Ok((output, told))
}

/// A serving process that is stopped whatever happens.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(config: &Path, data_dir: &Path, feeds: &Path) -> Result<(Serving, serde_json::Value), Failed> {
    let arguments: Vec<OsString> = vec![
        "serve".into(),
        "--config".into(),
        config.into(),
        "--data-dir".into(),
        data_dir.into(),
        "--pg-port=0".into(),
        "--flight-port=0".into(),
        "--http-port=0".into(),
        "--json".into(),
        feeds.into(),
    ];
    let mut child = program(&arguments)?.stderr(Stdio::inherit()).spawn()?;
    let out = child.stdout.take().ok_or("no standard output")?;
    let serving = Serving(child);
    let line = BufReader::new(out).lines().next().ok_or("serve ended without a word")??;
    Ok((serving, serde_json::from_str(&line)?))
}

/// Asks the process to stop; it drains and ends with 0.
fn stop(serving: &mut Serving) -> Result<(), Failed> {
    let asked = Command::new("kill").arg("-TERM").arg(serving.0.id().to_string()).status()?;
    let ended = serving.0.wait()?;
    if asked.success() && ended.code() == Some(0) {
        return Ok(());
    }
    Err(format!("serve ended with {ended}").into())
}

async fn connect(address: &str) -> Result<tokio_postgres::Client, Failed> {
    let (host, port) = address.split_once(':').ok_or("address")?;
    let login = format!("host={host} port={port} user=demo password=demo dbname=portolan");
    let (client, connection) = tokio_postgres::connect(&login, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn texts(client: &tokio_postgres::Client, sql: &str) -> Result<Vec<String>, Failed> {
    let messages = client.simple_query(sql).await.map_err(|error| {
        let said = error.as_db_error().map(|error| format!("{} {:?}", error.message(), error.hint()));
        format!("{sql}: {said:?} {error}")
    })?;
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            let cells: Vec<&str> = (0..row.len()).map(|at| row.get(at).unwrap_or("NULL")).collect();
            Some(cells.join("|"))
        }
        _ => None,
    });
    Ok(rows.collect())
}

fn expect(what: &str, found: &str, expected: &str) -> Result<(), Failed> {
    if found == expected { Ok(()) } else { Err(format!("{what}: expected {expected}, found {found}").into()) }
}

fn two_commands() -> Result<(), Failed> {
    let directory = tempfile::tempdir()?;
    let lake = LakeRoot::Directory(directory.path().join("lake"));
    ingested_and_served(&port_file(), directory.path(), &lake)
}

/// Ingests the feeds with a port's file, twice, and serves what came of it: the numbers are the same wherever the
/// lake lies.
fn ingested_and_served(config: &Path, directory: &Path, lake: &LakeRoot) -> Result<(), Failed> {
    let feeds = feeds()?;
    let (output, told) = ingest(config, directory, &feeds)?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    expect("status", told["status"].as_str().unwrap_or_default(), "ok")?;
    // Every record read is in bronze; 93 + 158 + 70 + 84 + 28,468.
    expect("read", &told["counts"]["bronze"]["read"].to_string(), "28873")?;
    expect("written", &told["counts"]["bronze"]["written"].to_string(), "28873")?;
    expect("quarantined", &told["counts"]["silver"]["quarantined"].to_string(), "0")?;
    // The same files elsewhere, with other times of modification, are the same feeds.
    let copy = tempfile::tempdir()?;
    copy_feeds(&feeds, copy.path())?;
    let (_, told) = ingest(config, directory, copy.path())?;
    expect("again", told["status"].as_str().unwrap_or_default(), "skipped")?;
    expect("written again", &told["counts"]["bronze"]["written"].to_string(), "0")?;
    expect("known", &told["counts"]["bronze"]["deduplicated"].to_string(), "28873")?;
    runtime()?.block_on(identities(lake))?;
    let (mut serving, ready) = serve(config, directory, &feeds)?;
    let address = ready["pg"].as_str().ok_or("no address")?.to_owned();
    runtime()?.block_on(Box::pin(asked(&address)))?;
    let asked = Command::new("kill").arg("-TERM").arg(serving.0.id().to_string()).status()?;
    let ended = serving.0.wait()?;
    if asked.success() && ended.code() == Some(0) {
        Ok(())
    } else {
        Err(format!("serve ended with {ended}").into())
    }
}

fn copy_feeds(from: &Path, to: &Path) -> Result<(), Failed> {
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        if path.is_dir() {
            copy_feeds(&path, to)?;
        } else if path.extension().is_some_and(|extension| extension == "xml" || extension == "txt") {
            // Reading and writing instead of copying: the copy must be as new as it is.
            std::fs::write(to.join(path.file_name().ok_or("no file name")?), std::fs::read(&path)?)?;
        }
    }
    Ok(())
}

/// The identities that were found with other tools, on the lake itself.
async fn identities(root: &LakeRoot) -> Result<(), Failed> {
    let lake = Lake::open_for_reading(root, StoreLimits::default())?;
    let context = SessionContext::new();
    for TablePath { zone, name } in lake.list().await? {
        let (_, provider) = lake.provider(&TablePath::new(&zone, &name), None).await?;
        context.register_table(format!("{zone}_{name}"), provider)?;
    }
    for (sql, expected) in [
        ("SELECT count(*) FROM bronze_hk_arrived", 93.0),
        ("SELECT count(*) FROM bronze_hk_due", 158.0),
        ("SELECT count(*) FROM bronze_hk_in_port", 70.0),
        ("SELECT count(*) FROM bronze_hk_departed", 84.0),
        ("SELECT count(*) FROM bronze_buoy_winds", 28_468.0),
        ("SELECT count(gust_ms) FROM silver_wind", 4_742.0),
        ("SELECT max(wind_ms) FROM silver_wind", 23.0),
        ("SELECT max(gust_ms) FROM silver_wind", 31.5),
        ("SELECT count(*) FROM silver_in_port WHERE imo_status = 'valid'", 56.0),
        ("SELECT count(*) FROM silver_in_port WHERE imo_status = 'temp'", 11.0),
        ("SELECT count(*) FROM silver_in_port WHERE imo_status = 'missing'", 3.0),
        ("SELECT count(*) FROM silver_arrival WHERE has_left", 59.0),
        (
            "SELECT count(*) FROM silver_arrival a JOIN silver_departure d ON d.call_sign = a.call_sign \
             AND d.departure_ts >= a.arrival_ts WHERE a.has_left",
            59.0,
        ),
        (
            "SELECT count(*) FROM silver_arrival a JOIN silver_in_port p ON p.call_sign = a.call_sign \
             AND p.arrival_ts = a.arrival_ts WHERE NOT a.has_left",
            34.0,
        ),
        ("SELECT count(*) FROM silver_due d JOIN silver_in_port p ON p.call_sign = d.call_sign", 0.0),
        ("SELECT count(*) FROM gold_call WHERE stay_h < 0", 0.0),
        // 93 told arrivals, 36 older ones still in port, 25 departures of unknown arrivals, 158 announced.
        ("SELECT count(*) FROM gold_call", 312.0),
        ("SELECT count(DISTINCT call_key) FROM gold_call", 312.0),
        ("SELECT count(*) FROM gold_vessel", 308.0),
        // 17 August 03:09 in Hong Kong.
        (
            "SELECT count(*) FROM silver_arrival WHERE call_sign = 'OZUU2' AND arrival_ts = '2025-08-16T19:09:00Z'",
            1.0,
        ),
        // Every spelling is reviewed, and one berth is one place.
        ("SELECT count(*) FROM silver_arrival WHERE place IS NULL", 0.0),
        ("SELECT count(*) FROM silver_departure WHERE place IS NULL", 0.0),
        ("SELECT count(*) FROM gold_call WHERE place IS NOT NULL AND area IS NULL", 0.0),
        ("SELECT count(*) FROM gold_vessel WHERE ship_class IS NULL", 0.0),
    ] {
        let found = number(&context, sql).await?;
        if (found - expected).abs() > 1e-9 {
            return Err(format!("{sql}: expected {expected}, found {found}").into());
        }
    }
    Ok(())
}

/// KPIs over the wire, against the numbers of other tools and against SQL written by hand.
async fn asked(address: &str) -> Result<(), Failed> {
    let client = connect(address).await?;
    readme::answers(&client).await?;
    for (sql, expected) in [
        (
            "SELECT MEASURE(arrivals), MEASURE(departures), MEASURE(due), MEASURE(stays), \
             round(MEASURE(stay_h), 3), MEASURE(arrivals_with_eta), MEASURE(arrival_dev_mean_h) FROM kpi.vessel_calls",
            "93|84|158|59|502.217|0|NULL",
        ),
        ("SELECT MEASURE(vessels), MEASURE(laid_up) FROM kpi.vessels_in_port", "70|LAID_UP"),
        (
            "SELECT MEASURE(hours), MEASURE(gust_max_ms), MEASURE(gale_h), MEASURE(closed_h) FROM kpi.wind",
            "WIND",
        ),
    ] {
        let expected = expected.replace("LAID_UP", LAID_UP).replace("WIND", WIND);
        expect(sql, &texts(&client, sql).await?.join("\n"), &expected)?;
    }
    // By hand and by KPI, the same rows.
    for (kpi, by_hand) in [
        (
            "SELECT place, MEASURE(vessels) AS n FROM kpi.vessels_in_port GROUP BY place ORDER BY n DESC, place",
            "SELECT place, count(*) AS n FROM gold.in_port GROUP BY place ORDER BY n DESC, place",
        ),
        (
            "SELECT area, MEASURE(vessels) AS n FROM kpi.vessels_in_port GROUP BY ROLLUP (area) ORDER BY n DESC, area",
            "SELECT area, count(*) AS n FROM gold.in_port GROUP BY ROLLUP (area) ORDER BY n DESC, area",
        ),
        (
            "SELECT day, MEASURE(arrivals), MEASURE(departures) FROM kpi.vessel_calls WHERE day >= DATE '2025-08-16' \
             AND day < DATE '2025-08-18' GROUP BY day ORDER BY day",
            "SELECT d, sum(a), sum(b) FROM (SELECT CAST(arrival_ts AT TIME ZONE 'Asia/Hong_Kong' AS date) AS d, 1 AS a, 0 AS b \
             FROM silver.arrival UNION ALL SELECT CAST(departure_ts AT TIME ZONE 'Asia/Hong_Kong' AS date), 0, 1 \
             FROM silver.departure) e GROUP BY d ORDER BY d",
        ),
        (
            "SELECT ship_class, MEASURE(arrivals) AS n FROM kpi.vessel_calls GROUP BY ship_class HAVING \
             MEASURE(arrivals) > 0 ORDER BY ship_class",
            "SELECT v.ship_class, count(*) FROM silver.arrival a JOIN gold.vessel v ON v.call_sign = a.call_sign \
             GROUP BY v.ship_class ORDER BY v.ship_class",
        ),
        // The report as it stands in the file, read live, and what was made of it.
        (
            "SELECT call_sign, arrival_time FROM hk.arrived ORDER BY call_sign",
            "SELECT call_sign, arrival_ts AT TIME ZONE 'Asia/Hong_Kong' FROM silver.arrival ORDER BY call_sign",
        ),
    ] {
        let (found, expected) = (texts(&client, kpi).await?, texts(&client, by_hand).await?);
        if found != expected || found.is_empty() {
            return Err(format!("{kpi}\n{found:?}\nbut by hand\n{expected:?}").into());
        }
    }
    let ledger = "SELECT count(*), sum(rows_read - rows_written - superseded - deduplicated - filtered - quarantined) \
                  FROM system.ledger WHERE hop = 'bronze'";
    expect(ledger, &texts(&client, ledger).await?.join("\n"), "10|0")?;
    let shown = "SELECT obj_description('kpi.vessels_in_port'::regclass)";
    let comment = texts(&client, shown).await?.join("\n");
    if comment.starts_with("Vessels in port") { Ok(()) } else { Err(format!("{shown}: {comment}").into()) }
}

/// Ships in port for more than 30 days; hours, strongest gust, gale and closed hours of the buoy's winds.
const LAID_UP: &str = "19";
const WIND: &str = "4746|31.5|7|204";

fn mistakes() -> Result<(), Failed> {
    let check = |file: &Path| -> Result<(Option<i32>, String), Failed> {
        let output = program(&["ingest".into(), "check".into(), file.into()])?.output()?;
        Ok((output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned()))
    };
    let (code, said) = check(&port_file())?;
    expect("check", &format!("{code:?} {said}"), "Some(0) ")?;
    let directory = tempfile::tempdir()?;
    let broken = directory.path().join("port");
    readme::copy(port_file().parent().ok_or("no folder")?, &broken)?;
    let change = |name: &str, from: &str, to: &str| -> Result<(), Failed> {
        let text = std::fs::read_to_string(broken.join(name))?;
        Ok(std::fs::write(broken.join(name), text.replace(from, to))?)
    };
    // A column nobody gives is found before a feed is read.
    change("pipelines/in_port.gold.sql", "s.agent", "s.agnet")?;
    let (code, said) = check(&broken.join("portolan.yaml"))?;
    if code != Some(2) || !said.contains("in_port.gold.sql:") || !said.contains("agnet") {
        return Err(format!("{code:?} {said}").into());
    }
    change("portolan.yaml", "      root: feeds", "      rooot: feeds")?;
    let (code, said) = check(&broken.join("portolan.yaml"))?;
    if code == Some(2) && said.contains("unknown key \"rooot\"") && said.contains("did you mean \"root\"?") {
        return Ok(());
    }
    Err(format!("{code:?} {said}").into())
}
