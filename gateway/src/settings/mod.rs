//! One table of settings behind SET, SHOW, RESET, `current_setting`, `pg_settings`, startup options and ParameterStatus.
//!
//! A name that is not in the table is refused with 42704 unless the shadow catalog vouched for it, a bad value with
//! 22023. What a setting promises is enforced here and read by everyone else from here; nothing of DataFusion's own
//! configuration can be named. SET follows the transaction: `begin` saves, `rollback` restores, SET LOCAL ends with it.

mod table;
mod value;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use table::SettingKind;
pub use table::{SettingDef, TABLE};

use crate::error::{ErrorCode, QueryError, nearest_hint};
use crate::pg::classify::command::quoted_names;

/// The settings of one session.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Values that RESET returns to: the table's defaults and what the client gave at startup.
    defaults: BTreeMap<String, String>,
    values: BTreeMap<String, String>,
    local: BTreeMap<String, String>,
    /// Values at BEGIN; `None` outside a transaction.
    saved: Option<BTreeMap<String, String>>,
    /// Settings of PostgreSQL we only keep, because the shadow catalog accepted them.
    foreign: BTreeMap<String, String>,
}

/// Savepoint of the settings, for `SAVEPOINT` and `ROLLBACK TO`.
#[derive(Debug, Clone)]
pub struct SettingsSnapshot {
    values: BTreeMap<String, String>,
    local: BTreeMap<String, String>,
    foreign: BTreeMap<String, String>,
}

impl Default for Settings {
    fn default() -> Self {
        let values: BTreeMap<String, String> =
            TABLE.iter().map(|def| (def.name.to_owned(), def.default.to_owned())).collect();
        Self {
            defaults: values.clone(),
            values,
            local: BTreeMap::new(),
            saved: None,
            foreign: BTreeMap::new(),
        }
    }
}

/// Settings that no answer depends on.
const BESIDE: &[&str] = &[
    "application_name",
    "client_min_messages",
    "statement_timeout",
    "lock_timeout",
    "idle_session_timeout",
    "idle_in_transaction_session_timeout",
    "transaction_timeout",
    "portolan.audit_per_mille",
    "portolan.max_staleness",
];

/// The row of the table for a name, whatever its case and spelling.
fn find(name: &str) -> Option<&'static SettingDef> {
    let name = match name.to_ascii_lowercase().as_str() {
        "time zone" => "timezone".to_owned(),
        "transaction isolation level" => "transaction_isolation".to_owned(),
        "session_authorization" | "session authorization" => "session_authorization".to_owned(),
        other => other.to_owned(),
    };
    TABLE.iter().find(|def| def.name.eq_ignore_ascii_case(&name))
}

fn unknown(name: &str) -> QueryError {
    let error = QueryError::new(
        ErrorCode::UndefinedObject,
        format!("unrecognized configuration parameter \"{}\"", name.replace('\0', "")),
    );
    match nearest_hint(name, TABLE.iter().map(|def| def.name), "setting") {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// The values of a SET as the one text a setting keeps: a list of names keeps their quotes, and what is no list takes
/// one value. What we do not own is PostgreSQL's to judge.
///
/// # Errors
/// 22023 for several values of a setting that takes one.
pub(crate) fn one_text(name: &str, values: &[String]) -> Result<String, QueryError> {
    match find(name).map(|def| def.kind) {
        Some(SettingKind::Names) => Ok(quoted_names(values)),
        None | Some(SettingKind::DateStyle) => Ok(values.join(", ")),
        Some(_) if values.len() > 1 => Err(QueryError::new(
            ErrorCode::InvalidParameterValue,
            format!("SET {} takes only one argument", name.replace('\0', "")),
        )),
        Some(_) => Ok(values.concat()),
    }
}

impl Settings {
    /// Whether a name is in our table; other PostgreSQL names are checked by the shadow catalog and kept with
    /// [`Settings::set_foreign`].
    #[must_use]
    pub fn is_owned(name: &str) -> bool {
        find(name).is_some()
    }

    /// The spelling of a name as PostgreSQL shows it.
    #[must_use]
    pub fn canonical(name: &str) -> Option<&'static str> {
        find(name).map(|def| def.name)
    }

    /// The value as SHOW prints it.
    ///
    /// # Errors
    /// 42704 for an unknown name.
    pub fn show(&self, name: &str) -> Result<String, QueryError> {
        if let Some(def) = find(name) {
            return Ok(self.value(def.name).to_owned());
        }
        let key = name.to_ascii_lowercase();
        self.local.get(&key).or_else(|| self.foreign.get(&key)).cloned().ok_or_else(|| unknown(name))
    }

    /// The value of a setting in the table; empty for a name that is not.
    #[must_use]
    pub fn value(&self, name: &str) -> &str {
        self.local.get(name).or_else(|| self.values.get(name)).map_or("", String::as_str)
    }

    /// `SET name = value`, `SET name TO DEFAULT` with `None`. Answers the value now in force.
    ///
    /// # Errors
    /// 42704 unknown name, 22023 bad value, 0A000 a value we do not support, 42501 or 55P02-like refusals as 42501.
    pub fn set(&mut self, name: &str, value: Option<&str>) -> Result<String, QueryError> {
        let def = find(name).ok_or_else(|| unknown(name))?;
        let value = self.check(def, value)?;
        self.local.remove(def.name);
        self.values.insert(def.name.to_owned(), value.clone());
        Ok(value)
    }

    /// `SET LOCAL`: in force until the transaction ends. Outside one it has no effect, which the caller warns about.
    ///
    /// # Errors
    /// As [`Settings::set`].
    pub fn set_local(&mut self, name: &str, value: Option<&str>) -> Result<String, QueryError> {
        let def = find(name).ok_or_else(|| unknown(name))?;
        let value = self.check(def, value)?;
        if self.saved.is_some() {
            self.local.insert(def.name.to_owned(), value.clone());
        }
        Ok(value)
    }

    fn check(&self, def: &SettingDef, value: Option<&str>) -> Result<String, QueryError> {
        if def.fixed {
            return Err(QueryError::new(
                ErrorCode::InsufficientPrivilege,
                format!("parameter \"{}\" cannot be changed", def.name),
            ));
        }
        // Nobody is a member of another role yet; the shadow catalog would obey any name.
        if let ("role", Some(role)) = (def.name, value)
            && role != "none"
            && role != self.value("session_authorization")
        {
            let shown: String = role.chars().filter(|c| *c != '\0').take(63).collect();
            return Err(QueryError::new(
                ErrorCode::InsufficientPrivilege,
                format!("permission denied to set role \"{shown}\""),
            ));
        }
        match value {
            None => Ok(self.defaults.get(def.name).cloned().unwrap_or_else(|| def.default.to_owned())),
            Some(value) => {
                let value = value::check(def, value)?;
                match def.only {
                    Some((values, hint)) if !values.contains(&value.as_str()) => {
                        Err(QueryError::unsupported(format!("\"{}\" = \"{value}\"", def.name))
                            .with_hint(hint))
                    }
                    _ => Ok(value),
                }
            }
        }
    }

    /// Keeps a setting of PostgreSQL that the shadow catalog accepted.
    pub fn set_foreign(&mut self, name: &str, value: &str) {
        self.foreign.insert(name.to_ascii_lowercase(), value.to_owned());
    }

    /// A startup parameter: becomes the value RESET returns to.
    ///
    /// # Errors
    /// As [`Settings::set`].
    pub fn set_startup(&mut self, name: &str, value: &str) -> Result<(), QueryError> {
        let value = self.set(name, Some(value))?;
        if let Some(def) = find(name) {
            self.defaults.insert(def.name.to_owned(), value);
        }
        Ok(())
    }

    /// Sets what the gateway itself decides (`is_superuser`, `role`, …), beyond the client's reach.
    pub fn set_fixed(&mut self, name: &str, value: &str) {
        if let Some(def) = find(name) {
            self.defaults.insert(def.name.to_owned(), value.to_owned());
            self.values.insert(def.name.to_owned(), value.to_owned());
        }
    }

    /// `RESET name`.
    ///
    /// # Errors
    /// 42704 for an unknown name.
    pub fn reset(&mut self, name: &str) -> Result<(), QueryError> {
        if find(name).is_none() && self.foreign.remove(&name.to_ascii_lowercase()).is_some() {
            return Ok(());
        }
        self.set(name, None).map(|_| ())
    }

    /// `RESET ALL`, and the part of `DISCARD ALL` that concerns settings.
    pub fn reset_all(&mut self) {
        self.values = self.defaults.clone();
        self.local.clear();
        self.foreign.clear();
    }

    /// A transaction begins.
    pub fn begin(&mut self) {
        if self.saved.is_none() {
            self.saved = Some(self.values.clone());
        }
    }

    /// The transaction commits: SETs stay, SET LOCALs end.
    pub fn commit(&mut self) {
        self.saved = None;
        self.local.clear();
    }

    /// The transaction is undone, and every SET in it.
    pub fn rollback(&mut self) {
        if let Some(saved) = self.saved.take() {
            self.values = saved;
        }
        self.local.clear();
    }

    /// The state a savepoint returns to.
    #[must_use]
    pub fn snapshot(&self) -> SettingsSnapshot {
        SettingsSnapshot {
            values: self.values.clone(),
            local: self.local.clone(),
            foreign: self.foreign.clone(),
        }
    }

    /// Returns to a savepoint.
    pub fn restore(&mut self, snapshot: SettingsSnapshot) {
        self.values = snapshot.values;
        self.local = snapshot.local;
        self.foreign = snapshot.foreign;
    }

    /// Name and value of every ParameterStatus, in PostgreSQL 17's set.
    #[must_use]
    pub fn reported(&self) -> Vec<(&'static str, String)> {
        TABLE
            .iter()
            .filter(|def| def.reported)
            .map(|def| (def.name, self.value(def.name).to_owned()))
            .collect()
    }

    /// PostgreSQL settings that differ from their defaults, for the relay.
    #[must_use]
    pub fn changed(&self) -> Vec<(String, String)> {
        let ours = TABLE
            .iter()
            .filter(|def| {
                !def.fixed && !def.name.starts_with("portolan.") && self.value(def.name) != def.default
            })
            .map(|def| (def.name.to_owned(), self.value(def.name).to_owned()));
        ours.chain(self.foreign.iter().map(|(name, value)| (name.clone(), value.clone()))).collect()
    }

    /// The settings that the shadow catalog is told. Role and encoding are not among them: it gets the role by itself,
    /// and always speaks UTF-8.
    #[must_use]
    pub fn for_shadow(&self) -> Vec<(String, String)> {
        let mut changed = self.changed();
        changed.retain(|(name, _)| {
            !name.starts_with("portolan.") && !matches!(name.as_str(), "role" | "client_encoding")
        });
        changed
    }

    /// The current role of a user who logged in: the user, unless SET ROLE.
    #[must_use]
    pub fn role_of(&self, user: &str) -> String {
        match self.value("role") {
            "" | "none" => user.to_owned(),
            role => role.to_owned(),
        }
    }

    /// Every setting with its present value, ordered by name: rows of `pg_settings` and `system.settings`.
    #[must_use]
    pub fn rows(&self) -> Vec<(&'static SettingDef, String)> {
        let mut rows: Vec<_> = TABLE.iter().map(|def| (def, self.value(def.name).to_owned())).collect();
        rows.sort_by_key(|(def, _)| def.name.to_ascii_lowercase());
        rows
    }

    /// The session's time zone: an IANA name.
    #[must_use]
    pub fn time_zone(&self) -> &str {
        value::zone_name(self.value("TimeZone"))
    }

    /// `statement_timeout`; `None` if off.
    #[must_use]
    pub fn statement_timeout(&self) -> Option<Duration> {
        value::duration(self.value("statement_timeout"))
    }

    /// Another time-out of the table; `None` if off.
    #[must_use]
    pub fn timeout(&self, name: &str) -> Option<Duration> {
        value::duration(self.value(name))
    }

    /// The schemas of `search_path`, folded and unquoted, in order; `"$user"` is left out.
    #[must_use]
    pub fn search_path(&self) -> Vec<String> {
        value::identifiers(self.value("search_path")).into_iter().filter(|name| name != "$user").collect()
    }

    /// `portolan.max_staleness`; `None` if nothing old is accepted.
    #[must_use]
    pub fn max_staleness(&self) -> Option<Duration> {
        value::duration(self.value("portolan.max_staleness"))
    }

    /// Every setting that an answer may depend on, with its value: all but those of which it is known that they change
    /// when a statement ends or what is said beside its rows.
    #[must_use]
    pub fn deciding(&self) -> Vec<(String, String)> {
        let owned = self.rows().into_iter().filter(|(def, _)| !BESIDE.contains(&def.name));
        let owned = owned.map(|(def, value)| (def.name.to_owned(), value));
        owned.chain(self.foreign.iter().map(|(name, value)| (name.clone(), value.clone()))).collect()
    }

    /// `portolan.pushdown`.
    #[must_use]
    pub fn pushdown(&self) -> bool {
        self.value("portolan.pushdown") == "on"
    }
}
