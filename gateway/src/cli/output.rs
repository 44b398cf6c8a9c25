//! What the command line writes: logs and sentences to standard error, data to standard output.

use std::io::Write;
use std::process::ExitCode;

use portolan_catalog::source::SourceError;
use tracing_subscriber::EnvFilter;

/// Sends logs to standard error: `PORTOLAN_LOG` chooses what, warnings are the default.
pub(super) fn start_logging() {
    let filter = EnvFilter::try_from_env("PORTOLAN_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    // A second subscriber in one process (tests) is no reason to fail.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}

/// Writes a line for people. A closed pipe is no failure.
pub(super) fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Writes a line of data. A closed pipe is no failure.
pub(super) fn data(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Says what failed, why, and what to do.
pub(super) fn failed(error: &anyhow::Error) -> ExitCode {
    say(&format!("error: {error:#}"));
    if let Some(hint) = error.downcast_ref::<SourceError>().and_then(|error| error.hint.as_deref()) {
        say(&format!("hint: {hint}"));
    }
    ExitCode::FAILURE
}
