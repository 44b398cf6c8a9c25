//! `portolan simulate`: the simulated port as feeds in a folder, or in the stores that a port's file names.
//!
//! What `portolan demo` keeps in embedded stores, for whoever has servers to fill. A store that holds something else
//! is refused, never overwritten.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use clap::Args;
use portolan_simulator::weather_router;
use tokio::net::TcpListener;

use super::output;
use super::process::interrupted;
use crate::demo::{DemoPlan, Feeds, fill_stores};
use crate::project::{Overrides, Project};

/// Arguments of `portolan simulate`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  portolan simulate --to feeds --months 3 --seed 7\n  portolan simulate --to deploy/portolan.yaml --weather 127.0.0.1:8081"
)]
pub(super) struct SimulateArgs {
    /// A folder for the feeds, or a port's file whose stores are filled
    #[arg(long, value_name = "FOLDER|FILE")]
    to: PathBuf,
    /// Months to simulate, up to --until
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=240))]
    months: u32,
    /// End of the simulation, UTC, such as 2026-11-01T00:00:00Z; the present hour by default
    #[arg(long)]
    until: Option<DateTime<Utc>>,
    /// Seed of the simulation
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Dirt of the feeds: 0 clean, 1 as measured on real feeds, up to 3
    #[arg(long, default_value_t = 1.0)]
    dirt: f64,
    /// Then serve the simulated weather at this address, until Ctrl-C
    #[arg(long, value_name = "ADDRESS")]
    weather: Option<String>,
}

/// Simulates and fills. A mistake in the port's file is exit code 2.
pub(super) fn run(arguments: &SimulateArgs) -> anyhow::Result<ExitCode> {
    let until = match arguments.until {
        Some(until) => until,
        None => Utc::now().duration_trunc(TimeDelta::hours(1)).context("read the clock")?,
    };
    let plan = DemoPlan::new(arguments.months, until, arguments.seed, arguments.dirt);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    if !is_file_of_a_port(&arguments.to) {
        Feeds::below(&arguments.to).ensure(&plan)?;
        output::say(&format!("feeds are in \"{}\"", Feeds::below(&arguments.to).folder().display()));
        if arguments.weather.is_some() {
            bail!("--weather goes with a port's file");
        }
        return Ok(ExitCode::SUCCESS);
    }
    let project = match Project::read(&arguments.to, Overrides::default()) {
        Ok(project) => project,
        Err(error) => {
            output::say(&format!("error: {error}"));
            return Ok(ExitCode::from(error.class.exit_code()));
        }
    };
    runtime.block_on(Box::pin(fill(arguments, &project, &plan)))
}

fn is_file_of_a_port(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

async fn fill(arguments: &SimulateArgs, project: &Project, plan: &DemoPlan) -> anyhow::Result<ExitCode> {
    // A busy address is told before anything is written.
    let listener = match &arguments.weather {
        Some(address) => {
            Some(TcpListener::bind(address).await.with_context(|| format!("listen on \"{address}\""))?)
        }
        None => None,
    };
    let port = Feeds::again(plan)?;
    for (source, got) in fill_stores(project.sources(), plan, &port).await? {
        output::say(&format!("source \"{source}\": {got}"));
    }
    if let Some(listener) = listener {
        output::say(&format!("weather at http://{}", listener.local_addr()?));
        let router = weather_router(Arc::clone(&port.weather));
        tokio::select! {
            served = axum::serve(listener, router).into_future() => served.context("serve the weather")?,
            ended = interrupted() => ended?,
        }
    }
    Ok(ExitCode::SUCCESS)
}
