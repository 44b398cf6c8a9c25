//! What every connection is before it is used: read-only, UTC, utf8mb4, one `sql_mode`, bounded waits.
//!
//! The meaning of a rendered statement depends on these settings, so they are read back: a pooler between us and the
//! server may swallow them, and then the connection is refused.

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row};

use super::error::server_error;
use super::introspect::text;
use super::probe::FINGERPRINT;
use crate::source::{SourceError, SourceErrorKind, SourceName};

/// No mode that changes the meaning of text, of zero dates or of padding.
const SQL_MODE: &str = "ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION";

/// What the optimizers must not do. MySQL's moves conditions on a view of several SELECTs into each of them, and there
/// `CONVERT` may be taken for nothing though the columns' character sets differ (seen in 9.7), which loses rows. MariaDB's
/// keeps what a subquery gave by the outer values in their own collation: what was found for `a` is the answer for `A` and
/// `á` too, whatever bytes the subquery compares (seen in 10.11), which loses rows and makes some.
const SWITCHED_OFF: [&str; 2] = ["derived_condition_pushdown", "subquery_cache"];

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
    /// What it is, as far as its answers may depend on it; with the session's settings.
    pub(super) fingerprint: String,
}

/// Prepares a fresh connection, or refuses it.
pub(super) async fn prepare(conn: &mut Conn, name: &SourceName) -> Result<Server, SourceError> {
    let lost = |error| server_error(name, "prepare a connection", error);
    let said: Option<Row> = conn.query_first("SELECT @@version, @@global.log_bin").await.map_err(lost)?;
    let version = said.as_ref().and_then(|row| text(row, 0)).unwrap_or_default();
    let log = said.as_ref().and_then(|row| text(row, 1)).is_some_and(|value| value == "1");
    let maria = version.contains("MariaDB");
    let known = own_variables(conn).await.map_err(lost)?;
    let gtid_mode =
        || known.iter().any(|(name, mode)| name == "gtid_mode" && mode.eq_ignore_ascii_case("on"));
    let gtids = if maria { log } else { gtid_mode() };
    let own = own_settings(&known);
    conn.query_drop("SET NAMES utf8mb4 COLLATE utf8mb4_bin").await.map_err(lost)?;
    conn.query_drop(settings(maria)).await.map_err(lost)?;
    for (variable, value) in &own {
        conn.query_drop(format!("SET SESSION {variable} = {value}")).await.map_err(lost)?;
    }
    conn.query_drop("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        .await
        .map_err(lost)?;
    let row: Option<Row> = conn.query_first(read_back(maria)).await.map_err(lost)?;
    let taken: Vec<String> = (0..=WANTED.len())
        .map(|index| row.as_ref().and_then(|row| text(row, index)).unwrap_or_default())
        .collect();
    let fingerprint = row.as_ref().and_then(|row| text(row, WANTED.len() + 1)).unwrap_or_default();
    let mut swallowed = mismatch(&taken);
    if swallowed.is_none() && !own.is_empty() {
        let left = own_settings(&own_variables(conn).await.map_err(lost)?);
        swallowed = left.first().map(|(variable, _)| *variable);
    }
    match swallowed {
        None => Ok(Server { version, maria, gtids, fingerprint }),
        Some(setting) => {
            let message = format!("source \"{name}\" did not take the session setting {setting}");
            Err(SourceError::new(SourceErrorKind::Unsupported, message)
                .with_source(name)
                .with_hint("connect to the server itself, or to a pooler that keeps session settings"))
        }
    }
}

/// Variables that some servers have and some have not, and their values.
async fn own_variables(conn: &mut Conn) -> Result<Vec<(String, String)>, mysql_async::Error> {
    let rows: Vec<Row> = conn
        .query(
            "SHOW VARIABLES WHERE Variable_name IN \
             ('gtid_mode', 'optimizer_switch', 'information_schema_stats_expiry')",
        )
        .await?;
    Ok(rows.iter().filter_map(|row| Some((text(row, 0)?, text(row, 1)?))).collect())
}

/// What is still to be set of a server's own variables, as far as it has them.
fn own_settings(known: &[(String, String)]) -> Vec<(&'static str, String)> {
    let mut settings = Vec::new();
    for (name, value) in known {
        match name.as_str() {
            "optimizer_switch" => {
                let off: Vec<String> = switched_on(value).map(|switch| format!("{switch}=off")).collect();
                if !off.is_empty() {
                    settings.push(("optimizer_switch", format!("'{}'", off.join(","))));
                }
            }
            // Counts of rows would be as old as a day.
            "information_schema_stats_expiry" if value != "0" => {
                settings.push(("information_schema_stats_expiry", "0".to_owned()));
            }
            _ => {}
        }
    }
    settings
}

/// Those of [`SWITCHED_OFF`] that are on.
fn switched_on(optimizer: &str) -> impl Iterator<Item = &'static str> {
    SWITCHED_OFF
        .into_iter()
        .filter(|unwanted| optimizer.split(',').any(|switch| switch.strip_prefix(unwanted) == Some("=on")))
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
    format!("{sql}@@session.{read_only}, {FINGERPRINT}")
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
    fn a_servers_own_settings_are_those_it_has() {
        let told = |pairs: &[(&str, &str)]| -> Vec<(&'static str, String)> {
            let known: Vec<(String, String)> =
                pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            own_settings(&known)
        };
        let old = "index_merge=on,derived_merge=on";
        assert!(told(&[("gtid_mode", "ON"), ("optimizer_switch", old)]).is_empty());
        let new = "derived_merge=on,derived_condition_pushdown=on,hash_set_operations=on";
        assert_eq!(
            told(&[("optimizer_switch", new), ("information_schema_stats_expiry", "86400")]),
            [
                ("optimizer_switch", "'derived_condition_pushdown=off'".to_owned()),
                ("information_schema_stats_expiry", "0".to_owned()),
            ]
        );
        let of_maria = "subquery_cache=on,mrr=off";
        assert_eq!(
            told(&[("optimizer_switch", of_maria)]),
            [("optimizer_switch", "'subquery_cache=off'".to_owned())]
        );
        let set = "derived_merge=on,derived_condition_pushdown=off,subquery_cache=off";
        assert!(told(&[("optimizer_switch", set), ("information_schema_stats_expiry", "0")]).is_empty());
    }

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
