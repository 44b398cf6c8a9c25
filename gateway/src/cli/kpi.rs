//! `portolan kpi`: checks definitions without touching a store.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};

use super::output;

/// Arguments of `portolan kpi`.
#[derive(Debug, Args)]
pub(super) struct KpiArgs {
    #[command(subcommand)]
    command: KpiCommand,
}

#[derive(Debug, Subcommand)]
enum KpiCommand {
    /// Report every mistake of every file: `portolan kpi check kpis/`
    Check {
        /// Files, or folders of `*.yaml`.
        #[arg(default_value = "kpis")]
        paths: Vec<PathBuf>,
        #[command(flatten)]
        later: LaterOptions,
    },
    #[command(hide = true)]
    Test(Later),
    #[command(hide = true)]
    Query(Later),
    #[command(hide = true)]
    Diff(Later),
    #[command(hide = true)]
    Docs(Later),
    #[command(hide = true)]
    Import(Later),
    #[command(hide = true)]
    Export(Later),
}

/// Whatever follows a subcommand that is not there yet.
#[derive(Debug, Args)]
struct Later {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    rest: Vec<String>,
}

/// Options of `check` that are not there yet: known, so that they are refused by name.
#[derive(Debug, Args)]
struct LaterOptions {
    #[arg(long, hide = true)]
    live: bool,
    #[arg(long, hide = true)]
    strict: bool,
    #[arg(long, hide = true, default_value = "text")]
    format: String,
}

impl LaterOptions {
    /// The first option that asks for what is not there, and what to do instead.
    fn refused(&self) -> Option<(&'static str, &'static str)> {
        if self.live {
            return Some((
                "check --live",
                "start the gateway: a KPI whose columns are missing says so when it is asked for",
            ));
        }
        if self.strict {
            return Some((
                "check --strict",
                "give the model status: certified, which turns missing units into errors",
            ));
        }
        (self.format != "text")
            .then_some(("check --format", "read the text: one line a finding begins with file:line:column"))
    }
}

/// Runs the command: 0 clean, 1 findings, 2 unreadable files.
pub(super) fn run(arguments: &KpiArgs) -> anyhow::Result<ExitCode> {
    let paths = match &arguments.command {
        KpiCommand::Check { paths, later } => match later.refused() {
            None => paths,
            Some((what, hint)) => return Ok(not_yet(what, hint, &[])),
        },
        KpiCommand::Test(Later { rest }) => {
            let hint = "keys of joins are guarded while a query runs, and check reads every file";
            return Ok(not_yet("test", hint, rest));
        }
        KpiCommand::Query(Later { rest }) => {
            let hint = "ask in SQL: SELECT month, MEASURE(calls) FROM kpi.port_calls GROUP BY month";
            return Ok(not_yet("query", hint, rest));
        }
        KpiCommand::Diff(Later { rest }) => {
            return Ok(not_yet("diff", "compare the files with git diff", rest));
        }
        KpiCommand::Docs(Later { rest }) => {
            let hint = "docs/kpis.md describes the language, system.kpis lists what is served";
            return Ok(not_yet("docs", hint, rest));
        }
        KpiCommand::Import(Later { rest }) | KpiCommand::Export(Later { rest }) => {
            let hint = "write the file by hand: docs/kpis.md shows every key";
            return Ok(not_yet("import and export", hint, rest));
        }
    };
    let files = match read(paths) {
        Ok(files) => files,
        Err(error) => {
            output::say(&format!("error: {error:#}"));
            return Ok(ExitCode::from(2));
        }
    };
    let loaded = portolan_semantic::load(&files);
    if !loaded.diagnostics.is_empty() {
        output::data(portolan_semantic::render_text(&loaded.diagnostics).trim_end());
    }
    let count = loaded.diagnostics.len();
    output::say(&format!("{} files, {count} findings", files.len()));
    Ok(if count == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Refuses by name: exit code 2, as any command line that cannot be carried out.
fn not_yet(what: &str, hint: &str, rest: &[String]) -> ExitCode {
    tracing::debug!(what, ?rest, "refused");
    output::say(&format!("error: \"portolan kpi {what}\" is not supported yet\nhint: {hint}"));
    ExitCode::from(2)
}

fn read(paths: &[PathBuf]) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            files.extend(folder(path)?);
        } else {
            files.push(path.clone());
        }
    }
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let text =
                std::fs::read_to_string(&path).with_context(|| format!("read \"{}\"", path.display()))?;
            Ok((path, text))
        })
        .collect()
}

fn folder(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(path).with_context(|| format!("read \"{}\"", path.display()))?;
    Ok(entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect())
}
