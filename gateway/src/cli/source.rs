//! `portolan source`: contacts the configured sources and says how they do, without starting a gateway.
//!
//! It opens no embedded warehouse, which belongs to the gateway that runs. What it finds changed goes to the kept schemas
//! beside that gateway's data, where the gateway notices it; a gateway elsewhere is told with `portolan_refresh`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use futures::future::join_all;
use portolan_catalog::registry::CatalogSource;
use portolan_catalog::source::HealthState;

use super::output;
use crate::project::{Overrides, Project};

/// How long one source may take.
const WAIT: Duration = Duration::from_secs(20);

/// Arguments of `portolan source`.
#[derive(Debug, Args)]
pub(super) struct SourceArgs {
    #[command(subcommand)]
    command: SourceCommand,
}

#[derive(Debug, Subcommand)]
enum SourceCommand {
    /// Contact every source, or those that are named, and list their tables again: `portolan source check ops`
    Check {
        /// Names of sources; all if none is given
        names: Vec<String>,
        /// The port's file
        #[arg(long, default_value = "portolan.yaml")]
        config: PathBuf,
        /// Where the gateway keeps its data
        #[arg(long, env = "PORTOLAN_DATA_DIR")]
        data_dir: Option<PathBuf>,
    },
}

/// Runs the command: 0 all up, 1 one is down, 2 a mistake in the configuration or an unknown name.
pub(super) fn run(arguments: &SourceArgs) -> anyhow::Result<ExitCode> {
    let SourceCommand::Check { names, config, data_dir } = &arguments.command;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    let entered = runtime.enter();
    let overrides = Overrides { feeds: &[], data_dir: data_dir.as_deref() };
    let opened = Project::read(config, overrides).and_then(|project| project.open_sources());
    let catalog = match opened {
        Ok(catalog) => catalog,
        Err(error) => {
            output::say(&format!("error: {error}"));
            if let Some(hint) = &error.hint {
                output::say(&format!("hint: {hint}"));
            }
            return Ok(ExitCode::from(2));
        }
    };
    let known = catalog.sources();
    for name in names {
        if !known.iter().any(|source| source.name().as_str() == name) {
            let all: Vec<&str> = known.iter().map(|source| source.name().as_str()).collect();
            output::say(&format!("error: there is no source \"{name}\""));
            output::say(&format!("hint: sources are {}", all.join(", ")));
            return Ok(ExitCode::from(2));
        }
    }
    let asked: Vec<Arc<CatalogSource>> = known
        .into_iter()
        .filter(|source| names.is_empty() || names.iter().any(|name| name == source.name().as_str()))
        .collect();
    drop(entered);
    let found = runtime.block_on(join_all(asked.iter().map(|source| check(source))));
    // A driver's thread that still waits for a silent server must not hold the answer back.
    runtime.shutdown_background();
    let mut all_up = true;
    for (lines, up) in found {
        all_up &= up;
        for line in lines {
            output::data(&line);
        }
    }
    Ok(if all_up { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is said of a source, and whether it is up.
async fn check(source: &CatalogSource) -> (Vec<String>, bool) {
    let (name, kind) = (source.name(), source.source().kind());
    let before = source.tables_read_at().map_or_else(
        || "never listed before".to_owned(),
        |at| format!("listed before at {}", at.format("%Y-%m-%d %H:%M:%S UTC")),
    );
    let silent = || (vec![format!("{name} {kind} down: no answer within {} s", WAIT.as_secs())], false);
    let Ok(health) = tokio::time::timeout(WAIT, source.check()).await else { return silent() };
    let down = |error: &str, hint: Option<String>| {
        let mut lines = vec![format!("{name} {kind} down: {error}"), format!("  {before}")];
        lines.extend(hint.map(|hint| format!("  hint: {hint}")));
        (lines, false)
    };
    if health.state == HealthState::Down {
        let error = health.error.unwrap_or_else(|| "it does not answer".to_owned());
        return down(&error, source.health().report().hint);
    }
    let state = if health.state == HealthState::Degraded { "degraded" } else { "up" };
    let version = health.server_version.map_or_else(String::new, |version| format!(" ({version})"));
    match tokio::time::timeout(WAIT, source.refresh()).await {
        Err(_) => silent(),
        Ok(Err(error)) => down(&error.message, error.hint),
        Ok(Ok(found)) => {
            let plural = if found.tables == 1 { "" } else { "s" };
            let mut lines =
                vec![format!("{name} {kind} {state}{version}: {} table{plural}, {before}", found.tables)];
            if found.known_before && found.changes.is_empty() {
                lines.push("  nothing has changed".to_owned());
            }
            lines.extend(found.changes.iter().map(|change| format!("  {change}")));
            let misdeclared = source.source().misdeclared();
            lines.extend(misdeclared.iter().map(|line| format!("  not as configured: {line}")));
            (lines, true)
        }
    }
}
