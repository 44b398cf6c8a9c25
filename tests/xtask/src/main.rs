//! `cargo x`: the developer's and the CI's commands. Builds in seconds, because it knows no other crate of ours.
//!
//! It must never depend on the rest of the workspace: `cargo x fmt` would then first build the query engine. Each
//! command is a list of cargo invocations, printed before it runs, so that anyone can run them by hand. What tests need
//! of real servers is started by `servers`.

mod bench;
mod mutants;
mod seed;
mod servers;
mod traps;

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use servers::Choice;

#[derive(Debug, Parser)]
#[command(name = "cargo x", about = "Commands for working on Portolan", version)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Format every file
    Fmt,
    /// Formatting, spelling and lints of the whole workspace; a warning fails
    Check,
    /// Every test of the workspace; starts the servers first, and leaves them up
    #[command(after_help = "Examples:\n  cargo x test\n  cargo x test --test edges\n  cargo x test -- scram")]
    Test {
        /// Handed to `cargo test` as they are
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// What CI runs: check, then test; stops the servers that it started
    Ci,
    /// Ask generated queries of every store, of a plain PostgreSQL, and in every way that must give one answer
    #[command(after_help = "Examples:\n  cargo x oracle --queries 50000 --seed 1\n  \
                            cargo x oracle --queries 1 --seed 1 --first 4711 --thorough\n  \
                            cargo x oracle --hostile 100000\n\n\
                            The last line is `N queries, D differences`; it fails if there are any.")]
    Oracle {
        /// --queries N --seed S [--first I] [--most D] [--thorough], or --hostile N, or --pressure
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// List the tests that hold what went wrong elsewhere, and what has none yet
    Traps,
    /// Take each rewrite of pushed work away, and look whether a test notices
    #[command(after_help = "Examples:\n  cargo x mutants\n  cargo x mutants mysql-text mongodb-\n\n\
                            The last line is `N mutants, S survived`; it fails if any did.")]
    Mutants(mutants::Plan),
    /// Measure against the right limit, in one run, and check every answer
    Bench {
        #[command(subcommand)]
        what: bench::Bench,
    },
    /// Start real servers for the tests, install what is missing
    #[command(after_help = "Examples:\n  cargo x up\n  cargo x up --only mysql,kafka\n\n\
                            A server that PORTOLAN_TEST_<NAME>_URL names is used and not started.")]
    Up {
        #[command(flatten)]
        choice: Choice,
        /// First of 13 ports in a row; by default free ones, kept from one start to the next
        #[arg(long, value_name = "PORT")]
        port_base: Option<u16>,
    },
    /// Start the servers and fill them with a simulated port
    Seed(seed::Plan),
    /// Stop the servers that `up` started
    Down {
        #[command(flatten)]
        choice: Choice,
        /// Clear their data and logs as well
        #[arg(long)]
        wipe: bool,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().task {
        Task::Fmt => cargo(&["fmt", "--all"], &[]),
        Task::Check => check(),
        Task::Test { arguments } => test(&arguments, false),
        Task::Ci => {
            check()?;
            test(&[], true)
        }
        Task::Oracle { arguments } => oracle(&arguments),
        Task::Traps => list_traps(),
        Task::Mutants(plan) => mutants::run(&plan),
        Task::Bench { what } => bench::run(&what),
        Task::Up { choice, port_base } => servers::up(&choice, port_base).map(drop),
        Task::Seed(plan) => seed::seed(&root()?, &plan, &|line| cargo(line, &[])),
        Task::Down { choice, wipe } => servers::down(&choice, wipe),
    }
}

fn check() -> Result<()> {
    cargo(&["fmt", "--all", "--check"], &[])?;
    spelling()?;
    cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"], &[])
}

/// Every text of the repository, by the words of `typos.toml`. The checker is a pinned package of Python's, because
/// that installs in a second and building it takes minutes.
fn spelling() -> Result<()> {
    let checker = python("tests/spelling")?.with_file_name("typos");
    writeln!(std::io::stderr(), "> typos").context("write to stderr")?;
    let mut command = Command::new(&checker);
    let status =
        command.current_dir(root()?).status().with_context(|| format!("run {}", checker.display()))?;
    if !status.success() {
        bail!("words that typos.toml does not allow");
    }
    Ok(())
}

/// Always the whole workspace. A selection with `-p` unifies the features of shared dependencies differently, and
/// cargo would build DataFusion and everything below it a second time. `tidy` stops the servers in the end, however
/// the tests ended.
fn test(arguments: &[String], tidy: bool) -> Result<()> {
    python_environment()?;
    let servers = servers::Use::begin()?;
    let mut line = vec!["test", "--workspace", "--locked"];
    line.extend(arguments.iter().map(String::as_str));
    let outcome = servers.variables().and_then(|variables| cargo(&line, &variables));
    let stopped = if tidy { servers.end() } else { Ok(()) };
    outcome.and(stopped)
}

/// The whole workspace again, for the same reason as in [`test`].
fn oracle(arguments: &[String]) -> Result<()> {
    let servers = servers::Use::begin()?;
    let mut line = vec!["test", "--quiet", "--workspace", "--locked", "--test", "differential", "--", "ask"];
    line.extend(arguments.iter().map(String::as_str));
    cargo(&line, &servers.variables()?)
}

fn list_traps() -> Result<()> {
    let mut files = Vec::new();
    let mut folders: Vec<_> = ["catalog", "gateway", "ingest", "semantic", "simulator", "tests"]
        .map(|name| root().map(|root| root.join(name)))
        .into_iter()
        .collect::<Result<_>>()?;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()?)?.display().to_string();
                files.push((name, std::fs::read_to_string(&path)?));
            }
        }
    }
    files.sort();
    write!(std::io::stdout(), "{}", traps::listing(&traps::found(&files))).context("write the list")
}

/// Makes the environment of the Python clients before anything is compiled, so that what keeps it from being made is
/// told at once. The test that needs it calls the same script.
fn python_environment() -> Result<()> {
    python("tests/python").map(drop)
}

/// The Python of the pinned environment of a folder, made if it is not there.
fn python(folder: &str) -> Result<PathBuf> {
    let root = root()?;
    let script = root.join("tests/python/environment.sh");
    let mut command = Command::new(&script);
    command.arg(root.join(folder)).stderr(Stdio::inherit());
    let made = command.output().with_context(|| format!("run {}", script.display()))?;
    if !made.status.success() {
        bail!(
            "the Python environment of {folder} cannot be made; it needs python3 with venv, and a package index"
        );
    }
    let path = String::from_utf8(made.stdout).context("read the environment's path")?;
    Ok(PathBuf::from(path.trim_end()))
}

/// The workspace's root.
fn root() -> Result<PathBuf> {
    // As cargo runs this: one target folder may serve several clones, of which another one may have built it.
    let built = || PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let here = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(built, PathBuf::from);
    here.ancestors()
        .nth(2)
        .map(Path::to_path_buf)
        .context("find the workspace: this crate is not two folders below its root")
}

/// Runs cargo in the workspace's root, whatever folder the command was given in.
fn cargo(arguments: &[&str], variables: &[(String, String)]) -> Result<()> {
    let shown = format!("cargo {}", arguments.join(" "));
    writeln!(std::io::stderr(), "> {shown}").context("write to stderr")?;
    let mut command = unobserved("cargo");
    command.args(arguments).current_dir(root()?);
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    let status = command.status().with_context(|| format!("run {shown}"))?;
    if !status.success() {
        bail!("{shown} failed: {status}");
    }
    Ok(())
}

/// A command that does not see what cargo told this program.
fn unobserved(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| describes_this_crate(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    command
}

/// Where cargo builds.
fn target_folder() -> Result<PathBuf> {
    let root = root()?;
    Ok(std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder)))
}

/// What `cargo run` tells this program of itself. Build scripts below would see it change (ring's asks for it), and
/// everything that stands on them would be built anew whenever `cargo x` and plain cargo take turns.
fn describes_this_crate(name: &str) -> bool {
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"]
        .iter()
        .any(|start| name.starts_with(start))
        || matches!(name, "CARGO" | "CARGO_PRIMARY_PACKAGE" | "OUT_DIR")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_below_does_not_see_what_cargo_above_told_us() {
        assert!(describes_this_crate("CARGO_MANIFEST_DIR") && describes_this_crate("CARGO_PKG_NAME"));
        for kept in ["CARGO_HOME", "CARGO_TARGET_DIR", "CARGO_TERM_COLOR", "CARGO_BUILD_JOBS", "PATH"] {
            assert!(!describes_this_crate(kept), "{kept}");
        }
    }

    #[test]
    fn arguments_of_test_reach_cargo_untouched() {
        let parsed = Arguments::try_parse_from(["x", "test", "--test", "edges", "--", "--nocapture"]);
        match parsed.map(|found| found.task) {
            Ok(Task::Test { arguments }) => assert_eq!(arguments, ["--test", "edges", "--", "--nocapture"]),
            other => panic!("read as {other:?}"),
        }
    }

    #[test]
    fn what_is_not_there_is_a_usage_error() {
        assert!(Arguments::try_parse_from(["x", "bench", "everything"]).is_err());
    }
}
