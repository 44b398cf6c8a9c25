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
    },
}

/// Runs the command: 0 clean, 1 findings, 2 unreadable files.
pub(super) fn run(arguments: &KpiArgs) -> anyhow::Result<ExitCode> {
    let KpiCommand::Check { paths } = &arguments.command;
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
