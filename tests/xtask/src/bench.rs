//! `cargo x bench`: builds the gateway in release, brings the servers up, and hands both to a benchmark.
//!
//! A benchmark is a Python program of its own with a pinned environment, so that nothing of the rivals it is measured
//! beside is ever linked into the product. It must never be part of the tests: it takes minutes and says ratios.

use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Subcommand;

use crate::{cargo, python, root, servers, target_folder};

/// What is measured.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Bench {
    /// TPC-H over PostgreSQL, MariaDB and Delta at once, beside bare DataFusion, the wire, one store alone, and DuckDB
    #[command(after_help = "Examples:\n  cargo x bench federation --times 9 --markdown figures.md\n  \
                            cargo x bench federation --scale 1 --only a --queries 1-6,14 --no-cases\n  \
                            cargo x bench federation --only \"\" --no-outage (the named cases alone)\n  \
                            cargo x bench federation --baseline ratios.json --save ratios.json")]
    Federation {
        /// Handed to the benchmark: --scale, --times, --only, --queries, --no-cases, --no-outage, --markdown, --save, --baseline
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

pub(crate) fn run(what: &Bench) -> Result<()> {
    let Bench::Federation { arguments } = what;
    let python = python("tests/bench/federation")?;
    cargo(&["build", "--release", "--locked"], &[])?;
    let servers = servers::Use::begin()?;
    let root = root()?;
    let mut command = Command::new(python);
    command
        .arg(root.join("tests/bench/federation/main.py"))
        .arg("--gateway")
        .arg(target_folder()?.join("release/portolan"))
        .arg("--folder")
        .arg(servers.home().join("bench"))
        .args(arguments)
        .envs(servers.variables()?);
    let status = command.status().context("run the benchmark")?;
    if !status.success() {
        bail!("the benchmark failed: {status}");
    }
    Ok(())
}
