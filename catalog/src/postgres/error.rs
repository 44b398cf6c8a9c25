//! From the driver's errors to ours: kind by SQLSTATE, text without values, DSN or secret.

use tokio_postgres::Error;

use super::tls;
use crate::source::{SourceError, SourceErrorKind, SourceName, is_broken};

/// Turns a driver error into ours. `action` completes the sentence "cannot …".
#[must_use]
pub fn server_error(source: Option<&SourceName>, action: &str, error: Error) -> SourceError {
    let subject = source.map_or_else(String::new, |name| format!("source \"{name}\": "));
    let ours = match error.code().map(tokio_postgres::error::SqlState::code) {
        Some(code) => {
            // The server's message may quote a value; class and action say enough, the log has the rest.
            let (kind, said) = by_sqlstate(code);
            SourceError::new(kind, format!("{subject}cannot {action}: {said}"))
                .with_remote_code(code)
                .with_transient(passes(code))
        }
        None if error.is_closed() || error.io_cause().is_some() => SourceError::new(
            SourceErrorKind::Unreachable,
            format!("{subject}cannot {action}: connection lost"),
        )
        .with_transient(error.is_closed() || error.io_cause().is_some_and(is_broken)),
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

/// Turns an error of dialling into ours.
pub(super) fn unreachable_or(name: &SourceName, error: Error) -> SourceError {
    if error.code().is_some() {
        return server_error(Some(name), "connect", error);
    }
    if let Some(said) = tls::failed(name, &error) {
        return said.with_source(name).with_cause(error);
    }
    SourceError::new(SourceErrorKind::Unreachable, format!("source \"{name}\" is unreachable"))
        .with_source(name)
        .with_hint(format!(
            "check host and port of sources.{name} and that the service runs; see system.sources"
        ))
        .with_transient(error.is_closed() || error.io_cause().is_some_and(is_broken))
        .with_cause(error)
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

/// Whether what the server gave up may be asked of it once more: it lost a connection, gave way to another statement, or
/// is on its way down or up.
fn passes(code: &str) -> bool {
    matches!(code, "08000" | "08001" | "08003" | "08006" | "40001" | "40P01" | "57P01" | "57P02" | "57P03")
}

/// What the system said of the connection, if it was that.
pub(super) trait IoCause {
    fn io_cause(&self) -> Option<&std::io::Error>;
}

impl IoCause for Error {
    fn io_cause(&self) -> Option<&std::io::Error> {
        std::error::Error::source(self)?.downcast_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::passes;

    #[test]
    fn only_what_passes_by_itself_is_asked_for_once_more() {
        for code in ["57P01", "57P02", "57P03", "40001", "40P01", "08006"] {
            assert!(passes(code), "{code}");
        }
        // Cancelled, dropped database, too many connections, a protocol that is not understood, a bad value.
        for code in ["57014", "57P04", "53300", "08P01", "22012", "42P01"] {
            assert!(!passes(code), "{code}");
        }
    }
}
