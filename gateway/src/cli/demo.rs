//! `portolan demo`: the whole product on one machine, from one seed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use clap::Args;
use portolan_catalog::Catalog;
use portolan_catalog::embedded::{EmbeddedConfig, EmbeddedPostgres};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::output;
use crate::admin;
use crate::demo::{DemoPlan, Feeds, catalog, load_operational, serve_weather};
use crate::engine::{Engine, EngineConfig};
use crate::mirror::{Names, SourceTables, model};
use crate::pg::bridge::Bridge;
use crate::pg::connections::Connections;
use crate::pg::listener::{FrontDoor, FrontDoorConfig};
use crate::pg::scram::{FixedCredentials, Verifier};
use crate::shadow::{Shadow, ShadowConfig};

/// The demo's one user, whose password is the same; the demo listens on loopback only.
const USER: &str = "demo";
/// Connections served at once.
const CONNECTIONS: usize = 200;
/// Memory all queries share.
const MEMORY_BYTES: usize = 2 << 30;

/// Queries that a newcomer can paste; each reads what the demo has.
const QUERIES: [&str; 5] = [
    "SELECT t.code, count(*) AS visits FROM tos.berth_visits v JOIN tos.berths b ON b.berth_id = v.berth_id \
     JOIN tos.terminals t ON t.terminal_id = b.terminal_id GROUP BY 1 ORDER BY 2 DESC",
    "SELECT date_trunc('month', end_time) AS month, sum(tonnes) AS tonnes, sum(teu) AS teu \
     FROM tos.cargo_operations WHERE end_time IS NOT NULL GROUP BY 1 ORDER BY 1",
    "SELECT time, wind_speed_ms, wind_gust_ms FROM weather.hourly ORDER BY wind_gust_ms DESC NULLS LAST LIMIT 5",
    "SELECT c.status, count(*) AS documents FROM tos.port_calls c \
     JOIN events.port_call_events e ON e.call = c.port_call_id GROUP BY 1 ORDER BY 2 DESC",
    "SELECT c.port_call_id, v.vessel_name, c.ata, w.wind_gust_ms, count(e.call) AS documents FROM tos.port_calls c \
     JOIN tos.vessels v ON v.vessel_id = c.vessel_id \
     JOIN weather.hourly w ON w.time = date_trunc('hour', c.ata) AT TIME ZONE 'UTC' \
     LEFT JOIN events.port_call_events e ON e.call = c.port_call_id \
     WHERE w.wind_gust_ms > 20 GROUP BY 1, 2, 3, 4 ORDER BY w.wind_gust_ms DESC LIMIT 5",
];

/// Arguments of `portolan demo`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  portolan demo --months 3 --seed 7\n  psql postgresql://demo:demo@127.0.0.1:5433/portolan"
)]
pub(super) struct DemoArgs {
    /// Months to simulate, up to --until
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=240))]
    months: u32,
    /// End of the simulation, UTC, such as 2026-11-01T00:00:00Z; the present hour by default
    #[arg(long)]
    until: Option<DateTime<Utc>>,
    /// Seed of the simulation
    #[arg(long)]
    seed: Option<u64>,
    /// Dirt of the feeds: 0 clean, 1 as measured on real feeds, up to 3
    #[arg(long)]
    dirt: Option<f64>,
    /// Where everything is kept
    #[arg(long, env = "PORTOLAN_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Forget what is there and simulate anew
    #[arg(long)]
    reset: bool,
    /// Port of the PostgreSQL protocol; 0 takes a free one
    #[arg(long, default_value_t = 5433)]
    pg_port: u16,
    /// Port of health and status; 0 takes a free one
    #[arg(long, default_value_t = 8080)]
    http_port: u16,
    /// Stop as soon as everything is ready
    #[arg(long)]
    exit_after_ready: bool,
    /// Write one JSON object to standard output when ready
    #[arg(long)]
    json: bool,
}

/// Runs the demo until Ctrl-C or SIGTERM, then drains.
pub(super) fn run(arguments: DemoArgs) -> anyhow::Result<ExitCode> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(Box::pin(serve(arguments)))
}

async fn serve(arguments: DemoArgs) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let pg = listen(arguments.pg_port, "--pg-port").await?;
    let http = listen(arguments.http_port, "--http-port").await?;
    let data_dir = data_dir(arguments.data_dir.clone())?;
    let feeds = Feeds::below(&data_dir);
    if arguments.reset {
        reset(&data_dir)?;
    }
    let plan = plan(&arguments, &feeds)?;

    step("simulating the port");
    let simulated = tokio::task::spawn_blocking({
        let (feeds, plan) = (feeds.clone(), plan.clone());
        move || feeds.ensure(&plan)
    })
    .await
    .context("simulate the port")??;

    step("starting the operational database and the catalog");
    let stop = CancellationToken::new();
    let executable = std::env::current_exe().context("find this program")?;
    let (operational, shadow) = tokio::join!(
        EmbeddedPostgres::start(EmbeddedConfig {
            name: "tos".to_owned(),
            data_dir: data_dir.join("tos"),
            executable: executable.clone(),
            database: "tos".to_owned(),
        }),
        Shadow::open(ShadowConfig {
            data_dir: data_dir.join("shadow"),
            executable,
            database: crate::session::CATALOG.to_owned(),
            deadline: Duration::from_secs(2),
        }),
    );
    let operational = operational?;
    let shadow = shadow.map_err(|error| anyhow::anyhow!(error.message))?;
    Box::pin(load_operational(&operational, &plan, simulated)).await?;
    let weather = serve_weather(&feeds, stop.clone()).await?;
    let sources = catalog(&plan, &feeds, operational.clone(), weather)?;

    step("opening the front doors");
    let names = Arc::new(Names::default());
    mirror(&sources, &shadow, &names).await?;
    let engine = Arc::new(Engine::open(EngineConfig {
        tables: Arc::new(SourceTables(Arc::clone(&sources))),
        semantics: None,
        system: Vec::new(),
        memory_bytes: MEMORY_BYTES,
        partitions: 2,
    })?);
    let connections = Connections::new(CONNECTIONS);
    let bridge = Bridge::new(engine, Some(Arc::clone(&shadow)), names, Arc::clone(&connections));
    let verifier = Verifier::from_password(USER).map_err(|fault| anyhow::anyhow!(fault.message))?;
    let credentials = FixedCredentials([(USER.to_owned(), verifier)].into());
    let door = FrontDoor::new(
        FrontDoorConfig::new(vec![crate::session::CATALOG.to_owned()], Arc::new(credentials)),
        Arc::new(bridge),
        connections,
    );
    let (pg_address, http_address) = (pg.local_addr()?, http.local_addr()?);
    let serving = tokio::spawn(door.serve(pg, stop.clone()));
    let watching = tokio::spawn({
        let (sources, stop) = (Arc::clone(&sources), stop.clone());
        async move { sources.watch(stop).await }
    });
    let administration = tokio::spawn(admin::serve(http, Arc::clone(&sources), stop.clone()));
    ready(&arguments, started, pg_address, http_address);
    if !arguments.exit_after_ready {
        interrupted().await?;
        output::say("stopping");
    }
    stop.cancel();
    let _ = tokio::join!(serving, watching, administration);
    shadow.shutdown().await;
    operational.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

async fn mirror(sources: &Catalog, shadow: &Shadow, names: &Names) -> anyhow::Result<()> {
    let tables = sources.tables().await;
    let mut schemas = sources.schema_names();
    schemas.insert("system".to_owned());
    let model = model(sources.generation(), &schemas, &tables, &[USER]);
    names.replace(&model);
    shadow
        .ensure(&model)
        .await
        .map_err(|error| anyhow::anyhow!(error.message))
        .context("mirror the catalog")?;
    Ok(())
}

async fn listen(port: u16, option: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(("127.0.0.1", port))
        .await
        .with_context(|| format!("port {port} cannot be opened; choose another with {option}"))
}

fn data_dir(chosen: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let directory = match chosen {
        Some(directory) => directory,
        None => std::env::home_dir()
            .context("no home directory is known; name a data directory with --data-dir")?
            .join(".local/share/portolan/demo"),
    };
    std::fs::create_dir_all(&directory).with_context(|| {
        format!("data directory \"{}\" is not writable; name another with --data-dir", directory.display())
    })?;
    directory.canonicalize().context("find the data directory")
}

/// Removes what the demo made, and nothing else that may be in the directory.
fn reset(data_dir: &std::path::Path) -> anyhow::Result<()> {
    for name in ["feeds", "feeds.draft", "tos", "shadow", "lake", "warehouse"] {
        let path = data_dir.join(name);
        if path.exists() {
            std::fs::remove_dir_all(&path).with_context(|| format!("remove \"{}\"", path.display()))?;
        }
    }
    Ok(())
}

/// The plan asked for; what was simulated before stays unless an option names something else.
fn plan(arguments: &DemoArgs, feeds: &Feeds) -> anyhow::Result<DemoPlan> {
    let present = feeds.plan()?;
    let now = Utc::now().duration_trunc(TimeDelta::hours(1)).context("read the clock")?;
    let until = arguments.until.or_else(|| present.as_ref().map(|plan| plan.until)).unwrap_or(now);
    let seed = arguments.seed.or_else(|| present.as_ref().map(|plan| plan.seed)).unwrap_or(1);
    let dirt = arguments.dirt.or_else(|| present.as_ref().map(|plan| plan.dirt)).unwrap_or(1.0);
    let wanted = DemoPlan::new(arguments.months, until, seed, dirt);
    if present.as_ref().is_some_and(|present| *present != wanted) {
        bail!(
            "the data directory holds another simulation; start once with --reset, or name another --data-dir"
        );
    }
    Ok(wanted)
}

fn step(what: &str) {
    output::say(&format!("{} {what}", Utc::now().format("%H:%M:%S")));
}

fn ready(arguments: &DemoArgs, started: Instant, pg: SocketAddr, http: SocketAddr) {
    let elapsed = started.elapsed().as_millis();
    if arguments.json {
        let line = serde_json::json!({
            "pg": pg.to_string(), "http": http.to_string(), "ready_ms": u64::try_from(elapsed).unwrap_or(u64::MAX),
        });
        output::data(&line.to_string());
    }
    output::say(&format!("ready after {elapsed} ms\n"));
    output::say(&format!("  PostgreSQL   psql postgresql://{USER}:{USER}@{pg}/portolan"));
    output::say(&format!("  health       http://{http}/livez  /readyz\n"));
    output::say("Queries to paste:");
    for query in QUERIES {
        output::say(&format!("  {query};"));
    }
}

/// Waits for Ctrl-C or SIGTERM.
async fn interrupted() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed.context("listen for Ctrl-C"),
        _ = terminate.recv() => Ok(()),
    }
}
