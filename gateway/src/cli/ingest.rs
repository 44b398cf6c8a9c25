//! `portolan ingest`: runs the pipelines of a configured port, and checks its files.
//!
//! What happened to every row is told on standard error. When standard output is not a terminal, its last line is one
//! JSON object, also after a failure, for whoever schedules the command.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use portolan_ingest::{Attempt, ErrorClass, IngestError, Interval, Report, RunReport, load_pipelines};
use serde_json::json;

use super::output;
use super::steps::Steps;
use crate::project::{Overrides, Project};

/// Arguments of `portolan ingest`.
#[derive(Debug, Args)]
pub(super) struct IngestArgs {
    #[command(subcommand)]
    command: IngestCommand,
}

#[derive(Debug, Subcommand)]
enum IngestCommand {
    /// Land the feeds and remake what they change
    #[command(
        after_help = "Example:\n  portolan ingest run --config examples/hong-kong/portolan.yaml feeds/2025-08-18"
    )]
    Run(RunArgs),
    /// Report every mistake of a port's file, its pipelines and KPIs, or of a folder of pipelines
    #[command(after_help = "Example:\n  portolan ingest check examples/hong-kong/portolan.yaml")]
    Check {
        /// A port's file, or a folder of pipelines
        #[arg(default_value = "portolan.yaml")]
        path: PathBuf,
    },
}

/// Arguments of `portolan ingest run`.
#[derive(Debug, Args)]
struct RunArgs {
    /// The port's file
    #[arg(long, default_value = "portolan.yaml")]
    config: PathBuf,
    /// Folder of the feeds instead of the one in the file; `<source>=<folder>` when several sources read files
    feeds: Vec<String>,
    /// Where lake and warehouse are kept
    #[arg(long, env = "PORTOLAN_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Run one pipeline only, and what rests on it
    #[arg(long)]
    pipeline: Option<String>,
    /// Start of the data interval, inclusive, UTC; recorded with what is written
    #[arg(long)]
    interval_start: Option<DateTime<Utc>>,
    /// End of the data interval, exclusive, UTC; the present by default
    #[arg(long)]
    interval_end: Option<DateTime<Utc>>,
    /// Write the JSON object to a terminal too
    #[arg(long)]
    json: bool,
}

/// Runs the command; exit codes are those of the failure's class.
pub(super) fn run(arguments: &IngestArgs) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        IngestCommand::Check { path } => Ok(runtime()?.block_on(Box::pin(check(path)))),
        IngestCommand::Run(arguments) => {
            let executable = std::env::current_exe()?;
            let runtime = runtime()?;
            let outcome = runtime.block_on(Box::pin(execute(arguments, &executable)));
            let as_json = arguments.json || !std::io::stdout().is_terminal();
            Ok(finish(outcome, as_json))
        }
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

async fn execute(arguments: &RunArgs, executable: &Path) -> Result<Attempt, IngestError> {
    let overrides = Overrides { feeds: &arguments.feeds, data_dir: arguments.data_dir.as_deref() };
    let project = Project::read(&arguments.config, overrides)?;
    if let Some((source, folder)) = project.missing_folders().first() {
        let message = format!("the folder of source \"{source}\" is not there: \"{}\"", folder.display());
        let config = arguments.config.display();
        return Err(IngestError::new(ErrorClass::Config, message).with_hint(format!(
            "name the folder the feeds are in: portolan ingest run --config {config} <folder>"
        )));
    }
    // Nothing is landed for tables that cannot be made.
    Box::pin(project.check_plans()).await?;
    let interval = Interval {
        start: arguments.interval_start.unwrap_or(DateTime::UNIX_EPOCH),
        end: arguments.interval_end.unwrap_or_else(Utc::now),
    };
    let steps = Steps::new();
    steps.next("opening lake and warehouse");
    let stores = project.open(executable).await.inspect_err(|_| steps.done())?;
    steps.next("ingesting");
    let outcome = match &arguments.pipeline {
        Some(name) => {
            let run = Box::pin(stores.ingest.run(name, interval, &steps)).await;
            run.map(|run| Attempt { reports: vec![run], failures: Vec::new() })
        }
        None => Ok(Box::pin(stores.ingest.attempt(interval, &steps)).await),
    };
    stores.shutdown().await;
    steps.done();
    let attempt = outcome?;
    fates(&attempt.reports);
    output::say(&format!("kept in {}", project.data_dir.display()));
    Ok(attempt)
}

/// One line per table: what became of every row read.
fn fates(reports: &[RunReport]) {
    let columns = ["read", "written", "superseded", "duplicate", "filtered", "quarantined"];
    output::say(&line("table", &columns.map(str::to_owned), ""));
    for hop in reports.iter().flat_map(|report| &report.hops) {
        let c = &hop.counts;
        let counts = [c.read, c.written, c.superseded, c.deduplicated, c.filtered, c.quarantined];
        let note = if hop.changed { "" } else { "  up to date" };
        output::say(&line(&hop.table, &counts.map(|count| count.to_string()), note));
        for (rule, rows) in &hop.rules {
            output::say(&format!("    rule {rule}: {rows}"));
        }
        for (rule, rows) in &hop.warnings {
            output::say(&format!("    rule {rule} warns: {rows}"));
        }
    }
}

fn line(table: &str, cells: &[String], note: &str) -> String {
    let cells: String = cells.iter().map(|cell| format!(" {cell:>11}")).collect();
    format!("{table:<28}{cells}{note}")
}

fn finish(outcome: Result<Attempt, IngestError>, as_json: bool) -> ExitCode {
    let (reports, failures) = match outcome {
        Ok(Attempt { reports, failures }) => (reports, failures),
        Err(error) => (Vec::new(), vec![error]),
    };
    output::ingest_failures(&failures);
    let mut body = done(&reports);
    let mut code = ExitCode::SUCCESS;
    if let Some(error) = failures.first() {
        code = ExitCode::from(error.class.exit_code());
        body["status"] = json!("failed");
        body["error"] = json!({"class": error.class.name(), "message": error.message, "hint": error.hint});
    }
    if as_json {
        output::data(&body.to_string());
    }
    code
}

/// `{status, run_id, counts: {bronze, silver, …}, runs, error}`.
fn done(reports: &[RunReport]) -> serde_json::Value {
    let mut hops: BTreeMap<&str, Report> = BTreeMap::new();
    for hop in reports.iter().flat_map(|report| &report.hops) {
        hops.entry(hop.hop).or_default().add(&hop.counts);
    }
    let counts: BTreeMap<&str, serde_json::Value> = hops
        .into_iter()
        .map(|(hop, c)| {
            let fates = json!({
                "read": c.read, "written": c.written, "superseded": c.superseded, "deduplicated": c.deduplicated,
                "filtered": c.filtered, "quarantined": c.quarantined,
            });
            (hop, fates)
        })
        .collect();
    let changed = reports.iter().flat_map(|report| &report.hops).any(|hop| hop.changed);
    json!({
        "status": if changed { "ok" } else { "skipped" },
        "run_id": reports.first().map(|report| &report.run_id),
        "counts": counts,
        "runs": reports.iter().map(RunReport::to_json).collect::<Vec<_>>(),
        "error": null,
    })
}

/// 0 without mistakes, 2 with any.
async fn check(path: &Path) -> ExitCode {
    let mistakes = if path.is_dir() { check_folder(path).await } else { check_project(path).await };
    for mistake in &mistakes {
        output::data(mistake);
    }
    if mistakes.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(2) }
}

async fn check_folder(folder: &Path) -> Vec<String> {
    let (pipelines, mut mistakes) = load_pipelines(folder);
    if mistakes.is_empty() {
        match Box::pin(pipelines.check_plans()).await {
            Ok(found) => mistakes = found,
            Err(error) => return vec![told(&error)],
        }
    }
    output::say(&format!("{} pipelines, {} mistakes", pipelines.names().len(), mistakes.len()));
    mistakes.iter().map(ToString::to_string).collect()
}

async fn check_project(file: &Path) -> Vec<String> {
    let project = match Project::read(file, Overrides::default()) {
        Ok(project) => project,
        Err(error) => return vec![told(&error)],
    };
    let mut mistakes = Vec::new();
    if let Err(error) = Box::pin(project.check_plans()).await {
        mistakes.push(told(&error));
    }
    let mut kpis = 0;
    if let Some(loaded) = &project.kpis {
        kpis = loaded.model.models.len();
        let text = portolan_semantic::render_text(&loaded.diagnostics);
        if !text.is_empty() {
            mistakes.push(text.trim_end().to_owned());
        }
    }
    let pipelines = project.pipeline_names().len();
    output::say(&format!("port \"{}\": {pipelines} pipelines, {kpis} kpi models", project.name));
    mistakes
}

fn told(error: &IngestError) -> String {
    match &error.hint {
        Some(hint) => format!("{}\nhint: {hint}", error.message),
        None => error.message.clone(),
    }
}
