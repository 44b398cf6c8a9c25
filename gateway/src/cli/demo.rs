//! `portolan demo`: the whole product on one machine, from one seed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use clap::Args;
use portolan_catalog::embedded::{EmbeddedConfig, EmbeddedPostgres};
use portolan_ingest::Interval;
use portolan_simulator::Port;
use tokio_util::sync::CancellationToken;

use super::output;
use super::process::{Doors, interrupted, open_shadow};
use super::steps::Steps;
use crate::demo::{DemoPlan, Feeds, Keeping, catalog, keep, load_operational, serve_weather, shipped_kpis};
use crate::pg::scram::Verifier;
use crate::scaleout::WorkerUrl;
use crate::serve::{Limits, ServeConfig, Serving};
use crate::shadow::Shadow;
use crate::system::ledger_tables;

/// The demo's one user, whose password is the same; the demo listens on loopback only.
const USER: &str = "demo";

/// Queries that a newcomer can paste; each reads what the demo has.
const QUERIES: [&str; 5] = [
    // KPIs: each a number with a definition, whatever it is grouped by.
    "SELECT CASE WHEN GROUPING(terminal) = 1 THEN 'port' ELSE coalesce(terminal, 'not berthed') END AS terminal, \
     MEASURE(calls) AS calls, MEASURE(cargo_tonnes) AS tonnes, MEASURE(teu) AS teu, \
     round(MEASURE(waiting_mean_h), 1) AS waiting_h, round(MEASURE(weather_share), 1) AS weather_pct \
     FROM kpi.port_calls GROUP BY ROLLUP (terminal) ORDER BY calls DESC",
    "SELECT month, MEASURE(calls) AS calls, MEASURE(discharged_t) AS discharged_t, MEASURE(loaded_t) AS loaded_t, \
     round(MEASURE(waiting_p90_h), 1) AS waiting_p90_h FROM kpi.port_calls GROUP BY month ORDER BY month",
    // Star, port-management system and weather API in one statement.
    "SELECT t.terminal_code, v.vessel_name, c.status, f.waiting_h, w.wind_gust_ms, f.ata_pbp_ts \
     FROM warehouse.fact_cargo_operation f JOIN warehouse.dim_terminal t ON t.terminal_key = f.terminal_key \
     JOIN tos.port_calls c ON c.port_call_id = f.port_call_id JOIN tos.vessels v ON v.vessel_id = c.vessel_id \
     JOIN weather.hourly w ON w.time = date_trunc('hour', f.ata_pbp_ts) \
     WHERE f.is_call_row AND f.waiting_h IS NOT NULL ORDER BY f.waiting_h DESC LIMIT 5",
    "SELECT c.status, count(DISTINCT c.port_call_id) AS calls, count(*) AS documents FROM tos.port_calls c \
     JOIN events.port_call_events e ON e.call = c.port_call_id GROUP BY c.status ORDER BY documents DESC",
    // What became of every row that ingest read.
    "SELECT hop, sum(rows_read) AS read, sum(rows_written) AS written, sum(superseded) AS superseded, \
     sum(deduplicated) AS deduplicated, sum(filtered) AS filtered, sum(quarantined) AS quarantined \
     FROM system.ledger GROUP BY hop ORDER BY hop",
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
    /// A worker over the same lake, such as http://127.0.0.1:7001; may be given several times
    #[arg(long = "worker", value_name = "URL")]
    workers: Vec<WorkerUrl>,
    #[command(flatten)]
    doors: Doors,
    /// Stop as soon as everything is ready
    #[arg(long)]
    exit_after_ready: bool,
}

/// Runs the demo until Ctrl-C or SIGTERM, then drains.
pub(super) fn run(arguments: DemoArgs) -> anyhow::Result<ExitCode> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(Box::pin(serve(arguments)))
}

async fn serve(arguments: DemoArgs) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let listeners = arguments.doors.listen().await?;
    let data_dir = data_dir(arguments.data_dir.clone())?;
    let feeds = Feeds::below(&data_dir);
    if arguments.reset {
        reset(&data_dir)?;
    }
    let plan = plan(&arguments, &feeds)?;
    let steps = Steps::new();

    steps.next("simulating the port and starting its databases");
    let stores = stores(&data_dir, &feeds, &plan).await?;

    steps.next("loading the port-management system");
    let stop = CancellationToken::new();
    Box::pin(load_operational(&stores.operational, &plan, stores.simulated)).await?;
    let weather = serve_weather(&feeds, stop.clone()).await?;
    let keeping = Keeping::open(&data_dir, stores.warehouse.clone())?;
    let (catalog, events) = catalog(&plan, &feeds, stores.operational.clone(), weather, keeping.sources()?)?;

    steps.next("ingesting: bronze, silver, gold, star");
    let interval = Interval { start: plan.from()?, end: plan.until };
    let failures = Box::pin(keep(&keeping, &catalog, events, interval, &steps)).await?;

    steps.next("opening the front doors");
    let verifier = Verifier::from_password(USER).map_err(|fault| anyhow::anyhow!(fault.message))?;
    let config = ServeConfig {
        catalog,
        kpis: Some(shipped_kpis()?),
        system: ledger_tables(&keeping.warehouse),
        shadow: Arc::clone(&stores.shadow),
        users: BTreeMap::from([(USER.to_owned(), verifier)]),
        limits: Limits::default(),
        workers: arguments.workers.clone(),
    };
    let serving = Serving::open(config, listeners, stop.clone()).await?;
    steps.done();
    output::ingest_failures(&failures);
    if !failures.is_empty() {
        output::say("note: everything else is served; see system.runs");
    }
    ready(&arguments, started, &serving);
    if !arguments.exit_after_ready {
        interrupted().await?;
        output::say("stopping");
    }
    serving.drain().await;
    tokio::join!(stores.shadow.shutdown(), stores.operational.shutdown(), stores.warehouse.shutdown());
    // Whoever only wanted the data is told that some of it is missing.
    if arguments.exit_after_ready && !failures.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// The started stores, and the port if it was simulated now.
struct Stores {
    simulated: Option<Port>,
    operational: EmbeddedPostgres,
    warehouse: EmbeddedPostgres,
    shadow: Arc<Shadow>,
}

/// Simulates while the databases start: neither waits for the other.
async fn stores(data_dir: &Path, feeds: &Feeds, plan: &DemoPlan) -> anyhow::Result<Stores> {
    let executable = std::env::current_exe().context("find this program")?;
    let embedded = |name: &str| EmbeddedConfig {
        name: name.to_owned(),
        data_dir: data_dir.join(name),
        executable: executable.clone(),
        database: name.to_owned(),
    };
    let simulation = tokio::task::spawn_blocking({
        let (feeds, plan) = (feeds.clone(), plan.clone());
        move || feeds.ensure(&plan)
    });
    let (simulated, operational, warehouse, shadow) = tokio::join!(
        simulation,
        EmbeddedPostgres::start(embedded("tos")),
        EmbeddedPostgres::start(embedded("warehouse")),
        open_shadow(data_dir, executable.clone()),
    );
    Ok(Stores {
        simulated: simulated.context("simulate the port")??,
        operational: operational?,
        warehouse: warehouse?,
        shadow: shadow?,
    })
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
fn reset(data_dir: &Path) -> anyhow::Result<()> {
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

fn ready(arguments: &DemoArgs, started: Instant, serving: &Serving) {
    arguments.doors.announce("ready", &format!("{USER}:{USER}"), started, serving);
    output::say("\nQueries to paste:");
    for query in QUERIES {
        output::say(&format!("  {query};"));
    }
}
