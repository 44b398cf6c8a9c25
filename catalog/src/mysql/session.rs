//! What every connection is before it is used: read-only, UTC, utf8mb4, one `sql_mode`, bounded waits.
//!
//! The meaning of a rendered statement depends on these settings, so they are read back: a pooler between us and the
//! server may swallow them, and then the connection is refused.

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row};

use super::error::server_error;
use super::introspect::text;
use crate::source::{SourceError, SourceErrorKind, SourceName};

/// No mode that changes the meaning of text, of zero dates or of padding.
const SQL_MODE: &str = "ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION";

/// Settings as they must be, by the name of the variable; the transaction's is named differently per server.
const WANTED: [(&str, &str); 10] = [
    ("time_zone", "+00:00"),
    ("sql_mode", SQL_MODE),
    ("character_set_client", "utf8mb4"),
    ("character_set_results", "utf8mb4"),
    ("collation_connection", "utf8mb4_bin"),
    ("autocommit", "1"),
    // A server-wide limit would cut answers short without a word.
    ("sql_select_limit", "18446744073709551615"),
    // Bytes of a text that count when it is ordered: `select` sends no longer ones.
    ("max_sort_length", "1024"),
    ("lock_wait_timeout", "10"),
    ("net_write_timeout", "600"),
];

/// What a server said about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    /// `@@version`, verbatim.
    pub(super) version: String,
    pub(super) maria: bool,
    /// Whether every change gets a GTID.
    pub(super) gtids: bool,
}

/// Prepares a fresh connection, or refuses it.
pub(super) async fn prepare(conn: &mut Conn, name: &SourceName) -> Result<Server, SourceError> {
    let lost = |error| server_error(name, "prepare a connection", error);
    let said: Option<Row> = conn.query_first("SELECT @@version, @@global.log_bin").await.map_err(lost)?;
    let version = said.as_ref().and_then(|row| text(row, 0)).unwrap_or_default();
    let log = said.as_ref().and_then(|row| text(row, 1)).is_some_and(|value| value == "1");
    let maria = version.contains("MariaDB");
    let gtids = if maria {
        log
    } else {
        let mode: Option<Row> = conn.query_first("SELECT @@global.gtid_mode").await.map_err(lost)?;
        mode.and_then(|row| text(&row, 0)).is_some_and(|mode| mode.eq_ignore_ascii_case("on"))
    };
    conn.query_drop("SET NAMES utf8mb4 COLLATE utf8mb4_bin").await.map_err(lost)?;
    conn.query_drop(settings(maria)).await.map_err(lost)?;
    conn.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        .await
        .map_err(lost)?;
    let row: Option<Row> = conn.query_first(read_back(maria)).await.map_err(lost)?;
    let taken: Vec<String> = (0..=WANTED.len())
        .map(|index| row.as_ref().and_then(|row| text(row, index)).unwrap_or_default())
        .collect();
    match mismatch(&taken) {
        None => Ok(Server { version, maria, gtids }),
        Some(setting) => {
            let message = format!("source \"{name}\" did not take the session setting {setting}");
            Err(SourceError::new(SourceErrorKind::Unsupported, message)
                .with_source(name)
                .with_hint("connect to the server itself, or to a pooler that keeps session settings"))
        }
    }
}

fn settings(maria: bool) -> String {
    let deadline = if maria { "max_statement_time" } else { "max_execution_time" };
    format!(
        "SET SESSION time_zone = '+00:00', sql_mode = '{SQL_MODE}', autocommit = 1, \
         sql_select_limit = 18446744073709551615, lock_wait_timeout = 10, innodb_lock_wait_timeout = 10, \
         net_write_timeout = 600, max_sort_length = 1024, wait_timeout = 3600, {deadline} = 0"
    )
}

fn read_back(maria: bool) -> String {
    let read_only = if maria { "tx_read_only" } else { "transaction_read_only" };
    let mut sql = String::from("SELECT ");
    for (variable, _) in WANTED {
        sql.push_str(&format!("@@session.{variable}, "));
    }
    format!("{sql}@@session.{read_only}")
}

/// The first setting that is not as it must be; the last one told is whether the session is read-only.
fn mismatch(taken: &[String]) -> Option<&'static str> {
    for (index, (variable, wanted)) in WANTED.into_iter().enumerate() {
        let taken = taken.get(index).map_or("", String::as_str);
        let same = if variable == "sql_mode" { same_set(taken, wanted) } else { taken == wanted };
        if !same {
            return Some(variable);
        }
    }
    if taken.get(WANTED.len()).is_some_and(|value| value == "1") {
        None
    } else {
        Some("transaction_read_only")
    }
}

fn same_set(one: &str, other: &str) -> bool {
    let set = |text: &str| text.split(',').map(str::to_owned).collect::<std::collections::BTreeSet<_>>();
    set(one) == set(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_was_swallowed_is_found() {
        let good: Vec<String> =
            WANTED.iter().map(|(_, value)| (*value).to_owned()).chain(["1".to_owned()]).collect();
        assert_eq!(mismatch(&good), None);
        for (index, (variable, _)) in WANTED.iter().enumerate() {
            let mut bad = good.clone();
            bad[index] = "other".into();
            assert_eq!(mismatch(&bad), Some(*variable));
        }
        let mut writable = good;
        writable[WANTED.len()] = "0".into();
        assert_eq!(mismatch(&writable), Some("transaction_read_only"));
        assert_eq!(mismatch(&[]), Some("time_zone"));
        assert!(same_set("STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION,ONLY_FULL_GROUP_BY", SQL_MODE));
    }
}
