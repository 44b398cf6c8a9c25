//! `portolan serve`: answers SQL about a configured port until it is told to stop.
//!
//! Opens what the configuration names and hands it to [`crate::serve`], which the demo does as well. An embedded
//! warehouse belongs to one process, so whoever wants to ingest while serving does it here, with `--ingest-every-mins`;
//! else `portolan ingest run` with the same file does it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use chrono::{DateTime, Utc};
use clap::Args;
use portolan_catalog::Catalog;
use portolan_ingest::{Ingest, IngestError, Interval, NoProgress};
use portolan_semantic::{KpiModel, render_text};
use secrecy::ExposeSecret as _;
use tokio_util::sync::CancellationToken;

use super::output;
use super::process::{Doors, interrupted, open_shadow};
use super::steps::Steps;
use crate::pg::scram::Verifier;
use crate::project::{Overrides, Project, Stores};
use crate::serve::{Limits, Listeners, ServeConfig, Serving};
use crate::shadow::Shadow;
use crate::system::ledger_tables;

/// How long the greeting waits for the lake to say whether it is empty.
const LIST_WAIT: Duration = Duration::from_secs(2);

/// Arguments of `portolan serve`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  portolan serve --config examples/hong-kong/portolan.yaml feeds/2025-08-18"
)]
pub(super) struct ServeArgs {
    /// The port's file
    #[arg(long, default_value = "portolan.yaml")]
    config: PathBuf,
    /// Folder of the feeds instead of the one in the file; `<source>=<folder>` when several sources read files
    feeds: Vec<String>,
    /// Where lake and warehouse are kept
    #[arg(long, env = "PORTOLAN_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Ingest at start, and again after so many minutes, while serving
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    ingest_every_mins: Option<u32>,
    #[command(flatten)]
    doors: Doors,
}

/// Serves until Ctrl-C or SIGTERM, then drains. A mistake in the configuration is exit code 2.
pub(super) fn run(arguments: &ServeArgs) -> anyhow::Result<ExitCode> {
    let overrides = Overrides { feeds: &arguments.feeds, data_dir: arguments.data_dir.as_deref() };
    let project = match Project::read(&arguments.config, overrides) {
        Ok(project) => project,
        Err(error) => return Ok(refused(&error)),
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(Box::pin(serve(arguments, &project)))
}

fn refused(error: &IngestError) -> ExitCode {
    output::say(&format!("error: {error}"));
    if let Some(hint) = &error.hint {
        output::say(&format!("hint: {hint}"));
    }
    ExitCode::from(error.class.exit_code())
}

async fn serve(arguments: &ServeArgs, project: &Project) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let listeners = arguments.doors.listen().await?;
    let users = verifiers(project)?;
    let steps = Steps::new();
    steps.next("opening lake and warehouse");
    let executable = std::env::current_exe().context("find this program")?;
    let stores = match project.open(&executable).await {
        Ok(stores) => stores,
        Err(error) => {
            steps.done();
            return Ok(refused(&error));
        }
    };
    steps.next("opening the front doors");
    let outcome = Box::pin(open(project, &stores, users, listeners, executable)).await;
    steps.done();
    let (serving, shadow) = match outcome {
        Ok(opened) => opened,
        Err(error) => {
            stores.shutdown().await;
            return Err(error);
        }
    };
    ready(arguments, project, &stores, started, &serving).await;
    let stop = CancellationToken::new();
    let ingesting = arguments.ingest_every_mins.map(|mins| {
        let every = Duration::from_secs(u64::from(mins) * 60);
        let (ingest, catalog) = (Arc::clone(&stores.ingest), Arc::clone(&stores.catalog));
        tokio::spawn(Box::pin(keep_ingesting(ingest, catalog, every, stop.clone())))
    });
    let ended = interrupted().await;
    output::say("stopping");
    stop.cancel();
    if let Some(ingesting) = ingesting {
        // It ends at its next await; a run that is cut off is taken up by the next one.
        let _ = ingesting.await;
    }
    serving.drain().await;
    tokio::join!(shadow.shutdown(), stores.shutdown());
    ended.map(|()| ExitCode::SUCCESS)
}

async fn open(
    project: &Project,
    stores: &Stores,
    users: BTreeMap<String, Verifier>,
    listeners: Listeners,
    executable: PathBuf,
) -> anyhow::Result<(Serving, Arc<Shadow>)> {
    let shadow = open_shadow(&project.data_dir, executable).await?;
    let kpis = project.kpis.as_ref().map(|loaded| {
        if !loaded.diagnostics.is_empty() {
            // A mistake costs the KPIs it is in, not the port.
            output::say(render_text(&loaded.diagnostics).trim_end());
        }
        Arc::clone(&loaded.model)
    });
    let config = ServeConfig {
        catalog: Arc::clone(&stores.catalog),
        kpis,
        system: ledger_tables(&stores.warehouse),
        shadow: Arc::clone(&shadow),
        users,
        limits: Limits::default(),
        workers: project.workers.clone(),
    };
    match Serving::open(config, listeners, CancellationToken::new()).await {
        Ok(serving) => Ok((serving, shadow)),
        Err(error) => {
            shadow.shutdown().await;
            Err(error)
        }
    }
}

/// Ingests again and again. A failure is told, and the next turn begins anew.
async fn keep_ingesting(
    ingest: Arc<Ingest>,
    catalog: Arc<Catalog>,
    every: Duration,
    stop: CancellationToken,
) {
    loop {
        let interval = Interval { start: DateTime::UNIX_EPOCH, end: Utc::now() };
        let attempt = tokio::select! {
            () = stop.cancelled() => return,
            attempt = Box::pin(ingest.attempt(interval, &NoProgress)) => attempt,
        };
        let changed = attempt.reports.iter().flat_map(|run| &run.hops).filter(|hop| hop.changed).count();
        tracing::info!(tables = changed, "ingested");
        for error in &attempt.failures {
            let hint = error.hint.as_deref().unwrap_or_default();
            tracing::error!(class = error.class.name(), error = %error, hint, "ingest failed");
        }
        // Asking for the tables is what makes new ones known to those who browse.
        catalog.refresh();
        catalog.tables().await;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
    }
}

/// What proves each user's password. A secret may hold the password, or its SCRAM-SHA-256 verifier.
fn verifiers(project: &Project) -> anyhow::Result<BTreeMap<String, Verifier>> {
    anyhow::ensure!(
        !project.users.is_empty(),
        "nobody may log in: name users in the configuration, as in users: {{ reader: {{ password: {{ env: READER }} }} }}"
    );
    let mut verifiers = BTreeMap::new();
    for (user, secret) in &project.users {
        let secret = secret.resolve().with_context(|| format!("read the password of user \"{user}\""))?;
        let text = secret.expose_secret();
        let verifier = match Verifier::parse(text) {
            Some(verifier) => verifier,
            None => Verifier::from_password(text).map_err(|fault| anyhow::anyhow!(fault.message))?,
        };
        verifiers.insert(user.clone(), verifier);
    }
    Ok(verifiers)
}

async fn ready(
    arguments: &ServeArgs,
    project: &Project,
    stores: &Stores,
    started: Instant,
    serving: &Serving,
) {
    let user = project.users.keys().next().map_or("user", String::as_str);
    arguments.doors.announce(&format!("port \"{}\" is ready", project.name), user, started, serving);
    output::say(&format!("  kept in      {}\n", project.data_dir.display()));
    for (source, root) in project.missing_folders() {
        output::say(&format!(
            "note: the folder of source \"{source}\" is not there: {}; its tables cannot be read, what was ingested can",
            root.display()
        ));
    }
    let listed = tokio::time::timeout(LIST_WAIT, stores.lake.list()).await;
    if arguments.ingest_every_mins.is_none() && matches!(listed, Ok(Ok(tables)) if tables.is_empty()) {
        let config = arguments.config.display();
        output::say(&format!(
            "note: the lake is empty; fill it: portolan ingest run --config {config} <folder>"
        ));
    }
    let models = project.kpis.as_ref().map(|loaded| loaded.model.models.as_slice()).unwrap_or_default();
    if !models.is_empty() {
        output::say("Queries to paste:");
    }
    for query in models.iter().filter_map(example) {
        output::say(&format!("  {query};"));
    }
}

/// A query that a newcomer can paste: a model's first measures by its first dimension.
fn example(model: &KpiModel) -> Option<String> {
    let measures: Vec<String> =
        model.measures.iter().take(2).map(|measure| format!("MEASURE({})", measure.name)).collect();
    let by = model.dimensions.first()?;
    let columns = measures.join(", ");
    (!measures.is_empty()).then(|| {
        format!("SELECT {by}, {columns} FROM kpi.{} GROUP BY {by} ORDER BY {by}", model.name, by = by.name)
    })
}
