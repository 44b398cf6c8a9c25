//! From the driver's errors to ours: kind by SQLSTATE, text without values, DSN or secret.

use tokio_postgres::Error;

use crate::source::{SourceError, SourceErrorKind, SourceName};

/// Turns a driver error into ours. `action` completes the sentence "cannot …".
#[must_use]
pub fn server_error(source: Option<&SourceName>, action: &str, error: Error) -> SourceError {
    let subject = source.map_or_else(String::new, |name| format!("source \"{name}\": "));
    let ours = match error.code().map(tokio_postgres::error::SqlState::code) {
        Some(code) => {
            // The server's message may quote a value; class and action say enough, the log has the rest.
            let (kind, said) = by_sqlstate(code);
            SourceError::new(kind, format!("{subject}cannot {action}: {said}")).with_remote_code(code)
        }
        None if error.is_closed() || error.source_is_io() => SourceError::new(
            SourceErrorKind::Unreachable,
            format!("{subject}cannot {action}: connection lost"),
        ),
        None => SourceError::new(SourceErrorKind::Remote, format!("{subject}cannot {action}: {error}")),
    };
    let ours = match source {
        Some(name) if ours.kind == SourceErrorKind::Unreachable => {
            ours.with_source(name).with_hint("run the query again; see system.sources")
        }
        Some(name) => ours.with_source(name),
        None => ours,
    };
    ours.with_cause(error)
}

pub(super) fn by_sqlstate(code: &str) -> (SourceErrorKind, &'static str) {
    match code {
        "57014" => (SourceErrorKind::Cancelled, "the statement was cancelled or timed out"),
        "42501" => (SourceErrorKind::Auth, "permission denied"),
        "28P01" | "28000" => (SourceErrorKind::Auth, "the server refused the credentials"),
        "3D000" | "3F000" | "42P01" | "42703" => {
            (SourceErrorKind::NotFound, "database, table or column not found")
        }
        "40001" | "40P01" | "23505" => (SourceErrorKind::Conflict, "a concurrent change won"),
        "53300" => (SourceErrorKind::Unreachable, "the server has no free connection"),
        _ => match code.get(..2) {
            Some("08" | "57") => (SourceErrorKind::Unreachable, "the server closed the connection"),
            Some("22") => (SourceErrorKind::Data, "the server refused a value"),
            Some("23") => (SourceErrorKind::Data, "a constraint was violated"),
            _ => (SourceErrorKind::Remote, "the server reported an error"),
        },
    }
}

trait IoCause {
    fn source_is_io(&self) -> bool;
}

impl IoCause for Error {
    fn source_is_io(&self) -> bool {
        std::error::Error::source(self).is_some_and(|cause| cause.is::<std::io::Error>())
    }
}
