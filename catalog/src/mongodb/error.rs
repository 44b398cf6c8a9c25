//! From the driver's errors to ours: kind by code, text without values, addresses or secrets.

use mongodb::error::{Error, ErrorKind};

use crate::source::{SourceError, SourceErrorKind, SourceName, is_broken};

/// Turns a driver error into ours. `action` completes the sentence "cannot …".
pub(super) fn server_error(source: &SourceName, action: &str, error: Error) -> SourceError {
    let cannot = format!("source \"{source}\": cannot {action}");
    let ours = match error.kind.as_ref() {
        ErrorKind::Command(command) => {
            // The server's message may quote a value; class and action say enough, the log has the rest.
            let (kind, said) = by_code(command.code);
            SourceError::new(kind, format!("{cannot}: {said}"))
                .with_remote_code(command.code.to_string())
                .with_transient(passes(command.code))
        }
        ErrorKind::Authentication { .. } => {
            SourceError::new(SourceErrorKind::Auth, format!("{cannot}: the server refused the credentials"))
        }
        // What kept each server from being reached is in the driver's text alone.
        ErrorKind::ServerSelection { message, .. } if message.contains("invalid peer certificate") => {
            SourceError::new(
                SourceErrorKind::Unreachable,
                format!("{cannot}: the server's certificate is not of this host, or not of an authority that is trusted"),
            )
            .with_hint(format!(
                "check hosts and tls_ca of sources.{source}; the certificate must name the host"
            ))
        }
        ErrorKind::ServerSelection { .. } | ErrorKind::DnsResolve { .. } => {
            SourceError::new(SourceErrorKind::Unreachable, format!("{cannot}: no server can be reached"))
                .with_hint("check hosts, replica_set and tls, and that the server runs")
        }
        ErrorKind::Io(cause) => {
            SourceError::new(SourceErrorKind::Unreachable, format!("{cannot}: connection lost"))
                .with_transient(is_broken(cause))
        }
        ErrorKind::ConnectionPoolCleared { .. } => {
            SourceError::new(SourceErrorKind::Unreachable, format!("{cannot}: connection lost"))
                .with_transient(true)
        }
        ErrorKind::SessionsNotSupported | ErrorKind::IncompatibleServer { .. } => SourceError::new(
            SourceErrorKind::Unsupported,
            format!("{cannot}: the server is too old or too plain"),
        )
        .with_hint("MongoDB 4.2 or later is needed, with sessions"),
        ErrorKind::InvalidArgument { .. } | ErrorKind::InvalidTlsConfig { .. } => {
            SourceError::new(SourceErrorKind::Remote, format!("{cannot}: the configuration is not accepted"))
        }
        _ => SourceError::new(
            SourceErrorKind::Remote,
            format!("{cannot}: the server's answer is not understood"),
        ),
    };
    ours.with_source(source).with_cause(error)
}

/// Whether what the server gave up may be asked of it once more: it is not to be reached, no primary any more, or on its way
/// down.
fn passes(code: i32) -> bool {
    matches!(code, 6 | 7 | 91 | 189 | 9001 | 10107 | 11600 | 11602 | 13435 | 13436)
}

fn by_code(code: i32) -> (SourceErrorKind, &'static str) {
    match code {
        50 => (SourceErrorKind::Cancelled, "the time for it is over"),
        13 => (SourceErrorKind::Auth, "permission denied"),
        18 => (SourceErrorKind::Auth, "the server refused the credentials"),
        26 => (SourceErrorKind::NotFound, "collection not found"),
        43 | 237 => (SourceErrorKind::Remote, "the server closed the cursor"),
        // Shutdown, step-down, not primary, host unreachable, network timeout.
        6 | 7 | 89 | 91 | 189 | 9001 | 10107 | 11600 | 11602 | 13435 | 13436 => {
            (SourceErrorKind::Unreachable, "the server is going away")
        }
        11601 => (SourceErrorKind::Remote, "the operation was interrupted"),
        _ => (SourceErrorKind::Remote, "the server reported an error"),
    }
}
