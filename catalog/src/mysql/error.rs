//! From the driver's errors to ours: kind by the server's error number, text without values, DSN or secret.

use mysql_async::{DriverError, Error, IoError};

use super::shape::Part;
use crate::federation::Fragment;
use crate::registry::is_refusal;
use crate::source::{SourceError, SourceErrorKind, SourceName, is_broken};

/// Turns a driver error into ours. `action` completes the sentence "cannot …".
pub(super) fn server_error(source: &SourceName, action: &str, error: Error) -> SourceError {
    let said = |what: &str| format!("source \"{source}\": cannot {action}: {what}");
    let ours = match &error {
        // The server's message may quote a value; number and class say enough, the log has the rest.
        Error::Server(server) => {
            let (kind, what) = by_number(server.code, &server.state);
            let ours = SourceError::new(kind, said(what));
            let ours = ours
                .with_remote_code(format!("{}/{}", server.state, server.code))
                .with_transient(passes(server.code, &server.state));
            if kind == SourceErrorKind::Unreachable {
                ours.with_hint("run the query again; see system.sources")
            } else {
                ours
            }
        }
        Error::Driver(DriverError::NoClientSslFlagFromServer) => SourceError::new(
            SourceErrorKind::Unsupported,
            said("the server offers no TLS, which its configuration asks for"),
        )
        .with_hint(format!("switch TLS on at the server, or write tls: disable in sources.{source}")),
        Error::Io(_) if is_tls(&error) => SourceError::new(SourceErrorKind::Unreachable, said("TLS failed"))
            .with_hint(format!("check the server's certificate and tls_ca of sources.{source}")),
        Error::Driver(DriverError::ConnectionClosed) | Error::Io(_) => {
            SourceError::new(SourceErrorKind::Unreachable, said("connection lost"))
                .with_hint("run the query again; see system.sources")
                .with_transient(is_cut(&error))
        }
        Error::Driver(
            DriverError::UnknownAuthPlugin { .. }
            | DriverError::MysqlOldPasswordDisabled
            | DriverError::CleartextPluginDisabled,
        ) => SourceError::new(
            SourceErrorKind::Auth,
            said("the account logs in with a method that is not supported"),
        )
        .with_hint("use mysql_native_password, caching_sha2_password or ed25519"),
        Error::Driver(_) | Error::Other(_) | Error::Url(_) => {
            SourceError::new(SourceErrorKind::Remote, said("the answer was not understood"))
        }
    };
    ours.with_source(source).with_cause(error)
}

/// Whether an error comes from the encryption, such as a certificate for another name; the driver wraps some of them.
pub(super) fn is_tls(error: &Error) -> bool {
    match error {
        Error::Io(IoError::Tls(_)) => true,
        Error::Io(IoError::Io(error)) => error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()),
        _ => false,
    }
}

/// Whether a connection was refused, or broke.
pub(super) fn is_cut(error: &Error) -> bool {
    match error {
        Error::Driver(DriverError::ConnectionClosed) => true,
        Error::Io(IoError::Io(error)) => is_broken(error),
        _ => false,
    }
}

/// Whether what the server gave up may be asked of it once more: it closed the connection, somebody killed it, or the
/// statement gave way to another one.
fn passes(number: u16, state: &str) -> bool {
    matches!(number, 1053 | 1152 | 1158..=1161 | 1184 | 1213 | 1927 | 3169 | 4031)
        || matches!(state, "40001" | "08S01")
}

/// The server's number for a sum beyond the largest integer, which is how a guarded date says that it is none.
pub(super) const OUT_OF_RANGE: u16 = 1690;

/// What a statement asked, for the errors it may meet.
#[derive(Debug, Default)]
pub(super) struct Asked {
    table: String,
    /// Names whose dates it checks.
    guarded: Vec<String>,
    /// What it has beside columns.
    parts: Vec<Part>,
}

impl Asked {
    /// What a fragment asks; `guarded` are the names whose dates its statement checks.
    pub(super) fn of(fragment: &Fragment, guarded: &[String]) -> Self {
        Self { table: fragment.table.name.clone(), guarded: guarded.to_vec(), parts: Part::all_of(fragment) }
    }
}

/// An error while a table was read.
pub(super) fn read_error(source: &SourceName, asked: &Asked, error: Error) -> SourceError {
    let Asked { table, guarded, parts } = asked;
    let Error::Server(server) = &error else { return server_error(source, "read a table", error) };
    let code = format!("{}/{}", server.state, server.code);
    if server.code == OUT_OF_RANGE && !guarded.is_empty() {
        // Only the guard adds numbers, and the server quotes its expression.
        let named = guarded.iter().map(|name| last(name)).find(|name| server.message.contains(name));
        let place = named.map_or_else(
            || format!("table \"{source}.{table}\""),
            |name| format!("column \"{source}.{table}.{}\"", unquoted(name)),
        );
        return SourceError::new(
            SourceErrorKind::Data,
            format!("a date of {place} is zero or in no calendar"),
        )
        .with_source(source)
        .with_hint(format!("correct the row, or write zero_dates: null in sources.{source} for zero dates"))
        .with_remote_code(code)
        .with_cause(error);
    }
    let (kind, _) = by_number(server.code, &server.state);
    let words: Vec<&str> = parts.iter().map(|part| part.words()).collect();
    let message = format!("source \"{source}\" refused a statement on \"{table}\" with {}", words.join(", "));
    let refused = SourceError::new(kind, message)
        .with_hint("run the query again, it is evaluated here then; see system.pushdown")
        .with_remote_code(code);
    if is_refusal(&refused) && !words.is_empty() {
        return refused.with_source(source).with_cause(error);
    }
    server_error(source, "read a table", error)
}

/// The name between the backticks.
fn unquoted(name: &str) -> String {
    let inner = name.strip_prefix('`').and_then(|name| name.strip_suffix('`')).unwrap_or(name);
    inner.replace("``", "`")
}

/// A quoted column's name without its table's alias.
fn last(name: &str) -> &str {
    name.find('`').and_then(|start| name.get(start..)).unwrap_or(name)
}

fn by_number(number: u16, state: &str) -> (SourceErrorKind, &'static str) {
    match number {
        1044 | 1045 | 1130 | 1142 | 1143 | 1227 | 1251 | 1370 | 1698 | 1820 | 1862 | 3118 | 4151 => {
            (SourceErrorKind::Auth, "access denied")
        }
        1049 | 1051 | 1054 | 1146 | 1356 | 1109 | 1932 => {
            (SourceErrorKind::NotFound, "database, table or column not found")
        }
        1317 => (SourceErrorKind::Cancelled, "the statement was cancelled at the server"),
        1969 | 3024 | 1907 => (SourceErrorKind::Cancelled, "the statement took too long"),
        1205 | 1213 => (SourceErrorKind::Conflict, "a concurrent change holds a lock"),
        1040 | 1203 | 1226 => (SourceErrorKind::Unreachable, "the server has no free connection"),
        1053 | 1152 | 1158..=1161 | 1184 | 1927 | 3169 | 4031 => {
            (SourceErrorKind::Unreachable, "the server closed the connection")
        }
        1792 | 1290 => (SourceErrorKind::Unsupported, "the session is read-only"),
        3159 => (SourceErrorKind::Unsupported, "the server takes encrypted connections only, see tls"),
        _ => match state.get(..2) {
            Some("08") => (SourceErrorKind::Unreachable, "the server closed the connection"),
            Some("22") => (SourceErrorKind::Data, "the server refused a value"),
            Some("28") => (SourceErrorKind::Auth, "access denied"),
            _ => (SourceErrorKind::Remote, "the server reported an error"),
        },
    }
}

#[cfg(test)]
mod tests {
    use mysql_async::ServerError;

    use super::*;

    #[test]
    fn numbers_become_kinds_and_messages_stay_in_the_log() {
        let name = SourceName::try_new("ops").unwrap();
        for (code, state, kind) in [
            (1045, "28000", SourceErrorKind::Auth),
            (1054, "42S22", SourceErrorKind::NotFound),
            (1146, "42S02", SourceErrorKind::NotFound),
            (1317, "70100", SourceErrorKind::Cancelled),
            (1969, "70100", SourceErrorKind::Cancelled),
            (3024, "HY000", SourceErrorKind::Cancelled),
            (1213, "40001", SourceErrorKind::Conflict),
            (1040, "08004", SourceErrorKind::Unreachable),
            (4031, "HY000", SourceErrorKind::Unreachable),
            (3159, "HY000", SourceErrorKind::Unsupported),
            (1264, "22003", SourceErrorKind::Data),
            (1064, "42000", SourceErrorKind::Remote),
        ] {
            let server = ServerError { code, message: "secret 'value'".into(), state: state.into() };
            let error = server_error(&name, "read a table", Error::Server(server));
            assert_eq!(error.kind, kind, "{code}");
            assert_eq!(error.remote_code.as_deref(), Some(format!("{state}/{code}").as_str()));
            assert!(!error.to_string().contains("secret"), "{error}");
            assert_eq!(error.hint.is_some(), kind == SourceErrorKind::Unreachable, "{error:?}");
            assert_eq!(error.transient, matches!(code, 1213 | 4031), "{error:?}");
        }
    }

    #[test]
    fn what_was_asked_is_named_when_it_is_refused() {
        let name = SourceName::try_new("ops").unwrap();
        let asked = Asked {
            table: "calls".into(),
            guarded: vec!["t0.`d`".into(), "t1.`a``t`".into()],
            parts: vec![Part::Conditions, Part::Aggregate, Part::Order],
        };
        let said = |code, state: &str, message: &str| {
            let server = ServerError { code, message: message.into(), state: state.into() };
            read_error(&name, &asked, Error::Server(server))
        };
        let error = said(1690, "22003", "BIGINT value is out of range in '1 + (`t1`.`a``t` <=> 1)'");
        assert_eq!(error.kind, SourceErrorKind::Data);
        assert_eq!(error.message, "a date of column \"ops.calls.a`t\" is zero or in no calendar");
        let error = said(1305, "42000", "FUNCTION nope does not exist");
        assert!(is_refusal(&error), "{error:?}");
        assert_eq!(
            error.message,
            "source \"ops\" refused a statement on \"calls\" with conditions, aggregates, order by"
        );
        assert_eq!(said(1054, "42S22", "Unknown column").kind, SourceErrorKind::NotFound);
        assert_eq!(said(1142, "42000", "denied").kind, SourceErrorKind::Auth);
    }
}
