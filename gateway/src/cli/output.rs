//! What the command line writes: logs and sentences to standard error, data to standard output.

use std::io::{IsTerminal as _, Write};
use std::process::ExitCode;

use portolan_catalog::source::SourceError;
use portolan_ingest::{ErrorClass, IngestError};
use tracing_subscriber::EnvFilter;

/// What is logged unless `PORTOLAN_LOG` says otherwise. The lake's kernel logs an error with a backtrace before it
/// gives it to us, who say it in a sentence.
const LOGGED: &str = "warn,buoyant_kernel=off,delta_kernel=off";

/// Sends logs to standard error: `PORTOLAN_LOG` chooses what, warnings are the default.
pub(super) fn start_logging() {
    let filter = EnvFilter::try_from_env("PORTOLAN_LOG").unwrap_or_else(|_| EnvFilter::new(LOGGED));
    // A second subscriber in one process (tests) is no reason to fail.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
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
    say(&format!("error: {}", sentence(error)));
    let hint = error.chain().find_map(|cause| {
        let source = cause.downcast_ref::<SourceError>().and_then(|error| error.hint.clone());
        source.or_else(|| cause.downcast_ref::<IngestError>().and_then(|error| error.hint.clone()))
    });
    if let Some(hint) = hint {
        say(&format!("hint: {hint}"));
    }
    ExitCode::FAILURE
}

/// The error and its causes, each once and without the backtrace that some carry below their first line.
fn sentence(error: &anyhow::Error) -> String {
    let mut said = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        let text = text.lines().next().unwrap_or_default().trim_end();
        if said.contains(text) {
            continue;
        }
        if !said.is_empty() {
            said.push_str(": ");
        }
        said.push_str(text);
    }
    said
}

/// Says what ingest could not do, and what to do about it, each sentence once: several jobs may meet one cause.
pub(super) fn ingest_failures(failures: &[IngestError]) {
    sentences(failures).iter().for_each(|sentence| say(sentence));
    for failure in failures {
        tracing::debug!(error = %failure, cause = ?failure.cause, "ingest failed");
    }
}

fn sentences(failures: &[IngestError]) -> Vec<String> {
    let mut said: Vec<String> = Vec::new();
    for failure in failures.iter().filter(|failure| failure.class != ErrorClass::Cancelled) {
        let hint = failure.hint.iter().map(|hint| format!("hint: {hint}"));
        for sentence in std::iter::once(format!("error: {failure}")).chain(hint) {
            if !said.contains(&sentence) {
                said.push(sentence);
            }
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_sentence_without_repetition() {
        let kernel = std::io::Error::other("bad json\n   0: some::frame\n   1: another");
        let source = std::io::Error::other("table \"gold.x\" cannot be read");
        let error = anyhow::Error::new(kernel).context(source.to_string()).context("ingest the feeds");
        assert_eq!(sentence(&error), "ingest the feeds: table \"gold.x\" cannot be read: bad json");
        let twice = anyhow::anyhow!("a port").context("open a port");
        assert_eq!(sentence(&twice), "open a port");
    }

    #[test]
    fn what_ingest_could_not_do_is_said_once_and_so_is_what_to_do() {
        let failure = |class, message: &str| {
            IngestError::new(class, message.to_owned()).with_hint("put the file back".to_owned())
        };
        let failures = [
            failure(ErrorClass::Data, "table \"gold.x\" cannot be read"),
            failure(ErrorClass::Cancelled, "stopped"),
            failure(ErrorClass::Data, "table \"gold.x\" cannot be read"),
            failure(ErrorClass::Data, "table \"gold.y\" cannot be made: table \"gold.x\" cannot be read"),
        ];
        assert_eq!(
            sentences(&failures),
            [
                "error: table \"gold.x\" cannot be read",
                "hint: put the file back",
                "error: table \"gold.y\" cannot be made: table \"gold.x\" cannot be read",
            ]
        );
    }
}
