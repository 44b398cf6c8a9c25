//! The state of a connection's transaction: status byte, savepoints, and what ROLLBACK must undo.
//!
//! The server is read-only, so a transaction here is a status, a set of settings and the life of its cursors. Texts
//! and codes are PostgreSQL's (PostgreSQL 17, `xact.c`).

use std::collections::BTreeMap;

use pgwire::messages::response::TransactionStatus;

use crate::pg::fault::Fault;

/// Settings that differ from the defaults.
pub(crate) type Settings = BTreeMap<String, String>;

/// Where the connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Idle,
    Block,
    Failed,
}

#[derive(Debug)]
struct Savepoint {
    name: String,
    settings: Settings,
    local: BTreeMap<String, Option<String>>,
}

/// What the settings must become; applied by the caller.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ending {
    /// The tag to send.
    pub(crate) tag: &'static str,
    /// The notice to send before it.
    pub(crate) notice: Option<Fault>,
    /// Settings to put back.
    pub(crate) restore: Option<Settings>,
    /// Whether a block ended (cursors close).
    pub(crate) ended: bool,
}

/// The transaction of one connection.
#[derive(Debug)]
pub(crate) struct Transaction {
    status: Status,
    /// Several statements in one Query run in an implicit block.
    pub(crate) implicit: bool,
    begun: Option<Settings>,
    /// Values before SET LOCAL; `None` is the default.
    local: BTreeMap<String, Option<String>>,
    savepoints: Vec<Savepoint>,
}

impl Default for Transaction {
    fn default() -> Self {
        Self {
            status: Status::Idle,
            implicit: false,
            begun: None,
            local: BTreeMap::new(),
            savepoints: Vec::new(),
        }
    }
}

impl Transaction {
    pub(crate) fn status(&self) -> Status {
        self.status
    }

    /// Savepoints that are open.
    pub(crate) fn depth(&self) -> usize {
        self.savepoints.len()
    }

    /// What ReadyForQuery says.
    pub(crate) fn wire(&self) -> TransactionStatus {
        match self.status {
            Status::Idle => TransactionStatus::Idle,
            Status::Block => TransactionStatus::Transaction,
            Status::Failed => TransactionStatus::Error,
        }
    }

    /// `state` of `pg_stat_activity` between statements.
    pub(crate) fn idle_word(&self) -> &'static str {
        match self.status {
            Status::Idle => "idle",
            Status::Block => "idle in transaction",
            Status::Failed => "idle in transaction (aborted)",
        }
    }

    /// Whether cursors may live: an explicit block or the implicit one of a multi-statement Query.
    pub(crate) fn in_block(&self) -> bool {
        self.status == Status::Block || self.implicit
    }

    /// Remembers what an error would have to undo; called before the first change outside a block.
    pub(crate) fn remember(&mut self, settings: impl FnOnce() -> Settings) {
        if self.begun.is_none() {
            self.begun = Some(settings());
        }
    }

    /// BEGIN. Returns the warning, if any; `true` when a block began.
    pub(crate) fn begin(&mut self, settings: impl FnOnce() -> Settings) -> (bool, Option<Fault>) {
        if self.status != Status::Idle {
            return (false, Some(Fault::warning("25001", "there is already a transaction in progress")));
        }
        self.remember(settings);
        self.status = Status::Block;
        (true, None)
    }

    /// COMMIT; in a failed block it is a ROLLBACK.
    pub(crate) fn commit(&mut self, current: impl FnOnce() -> Settings) -> Ending {
        match self.status {
            Status::Failed => self.rollback(),
            Status::Idle => Ending {
                tag: "COMMIT",
                notice: Some(Fault::warning("25P01", "there is no transaction in progress")),
                ..self.settle(current)
            },
            Status::Block => Ending { tag: "COMMIT", ended: true, ..self.settle(current) },
        }
    }

    /// The end of a statement (or of an implicit block) outside a block: SET LOCAL is undone.
    pub(crate) fn settle(&mut self, current: impl FnOnce() -> Settings) -> Ending {
        self.status = Status::Idle;
        self.begun = None;
        self.savepoints.clear();
        let local = std::mem::take(&mut self.local);
        if local.is_empty() {
            return Ending::default();
        }
        let mut settings = current();
        for (name, value) in local {
            match value {
                Some(value) => settings.insert(name, value),
                None => settings.remove(&name),
            };
        }
        Ending { restore: Some(settings), ..Ending::default() }
    }

    /// ROLLBACK.
    pub(crate) fn rollback(&mut self) -> Ending {
        let notice = (self.status == Status::Idle && !self.implicit)
            .then(|| Fault::warning("25P01", "there is no transaction in progress"));
        let ended = self.status != Status::Idle || self.implicit;
        self.status = Status::Idle;
        self.local.clear();
        self.savepoints.clear();
        Ending { tag: "ROLLBACK", notice, restore: self.begun.take(), ended }
    }

    /// An error: a block fails; outside one everything since its start is undone.
    pub(crate) fn fail(&mut self) -> Ending {
        if self.status == Status::Idle {
            return Ending { notice: None, ..self.rollback() };
        }
        self.status = Status::Failed;
        Ending::default()
    }

    /// Notes SET or SET LOCAL before it happens. Returns the warning for SET LOCAL outside a block.
    pub(crate) fn note_set(
        &mut self,
        name: &str,
        local: bool,
        current: impl Fn() -> Settings,
    ) -> Option<Fault> {
        self.remember(&current);
        let name = name.to_ascii_lowercase();
        if !local {
            self.local.remove(&name);
            return None;
        }
        if !self.in_block() {
            return Some(Fault::warning("25P01", "SET LOCAL can only be used in transaction blocks"));
        }
        self.local.entry(name).or_insert_with_key(|name| {
            current().into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        });
        None
    }

    /// SAVEPOINT.
    ///
    /// # Errors
    /// 25P01 outside a block.
    pub(crate) fn savepoint(&mut self, name: &str, current: impl FnOnce() -> Settings) -> Result<(), Fault> {
        self.require("SAVEPOINT")?;
        self.savepoints.push(Savepoint {
            name: name.to_owned(),
            settings: current(),
            local: self.local.clone(),
        });
        Ok(())
    }

    /// RELEASE SAVEPOINT.
    ///
    /// # Errors
    /// 25P01 outside a block, 3B001 unknown.
    pub(crate) fn release(&mut self, name: &str) -> Result<(), Fault> {
        self.require("RELEASE SAVEPOINT")?;
        let at = self.find(name)?;
        self.savepoints.truncate(at);
        Ok(())
    }

    /// ROLLBACK TO SAVEPOINT: the block lives again; returns the settings to put back.
    ///
    /// # Errors
    /// 25P01 outside a block, 3B001 unknown.
    pub(crate) fn rollback_to(&mut self, name: &str) -> Result<Settings, Fault> {
        self.require("ROLLBACK TO SAVEPOINT")?;
        let at = self.find(name)?;
        self.savepoints.truncate(at + 1);
        self.status = Status::Block;
        match self.savepoints.last() {
            Some(savepoint) => {
                self.local = savepoint.local.clone();
                Ok(savepoint.settings.clone())
            }
            None => Err(no_savepoint(name)),
        }
    }

    fn find(&self, name: &str) -> Result<usize, Fault> {
        self.savepoints.iter().rposition(|savepoint| savepoint.name == name).ok_or_else(|| no_savepoint(name))
    }

    /// # Errors
    /// 25P01 outside a block.
    pub(crate) fn require(&self, command: &str) -> Result<(), Fault> {
        if self.status == Status::Idle {
            return Err(Fault::new("25P01", format!("{command} can only be used in transaction blocks")));
        }
        Ok(())
    }
}

fn no_savepoint(name: &str) -> Fault {
    Fault::new("3B001", format!("savepoint \"{name}\" does not exist"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(value: &str) -> Settings {
        Settings::from([("timezone".to_owned(), value.to_owned())])
    }

    #[test]
    fn begin_and_commit_warn_as_postgres_does() {
        let mut transaction = Transaction::default();
        assert_eq!(transaction.commit(Settings::new).notice.unwrap().sqlstate, "25P01");
        assert_eq!(transaction.begin(Settings::new), (true, None));
        assert_eq!(transaction.begin(Settings::new).1.unwrap().sqlstate, "25001");
        assert_eq!(transaction.wire(), TransactionStatus::Transaction);
        assert_eq!(transaction.commit(Settings::new).tag, "COMMIT");
        assert_eq!(transaction.rollback().notice.unwrap().sqlstate, "25P01");
    }

    #[test]
    fn a_failed_block_commits_as_rollback_and_restores() {
        let mut transaction = Transaction::default();
        transaction.begin(|| settings("UTC"));
        transaction.fail();
        assert_eq!(transaction.wire(), TransactionStatus::Error);
        let ending = transaction.commit(|| settings("Asia/Tokyo"));
        assert_eq!((ending.tag, ending.restore), ("ROLLBACK", Some(settings("UTC"))));
    }

    #[test]
    fn set_local_ends_with_the_block_and_set_does_not() {
        let mut transaction = Transaction::default();
        assert_eq!(transaction.note_set("TimeZone", true, Settings::new).unwrap().sqlstate, "25P01");
        transaction.settle(Settings::new);
        transaction.begin(|| settings("UTC"));
        assert_eq!(transaction.note_set("TimeZone", true, || settings("UTC")), None);
        assert_eq!(transaction.commit(|| settings("Asia/Tokyo")).restore, Some(settings("UTC")));
        transaction.begin(|| settings("UTC"));
        transaction.note_set("TimeZone", true, || settings("UTC"));
        transaction.note_set("TimeZone", false, || settings("A"));
        assert_eq!(transaction.commit(|| settings("B")).restore, None);
    }

    #[test]
    fn savepoints_nest_and_revive_a_failed_block() {
        let mut transaction = Transaction::default();
        assert_eq!(transaction.savepoint("a", Settings::new).unwrap_err().sqlstate, "25P01");
        transaction.begin(Settings::new);
        transaction.savepoint("a", || settings("1")).unwrap();
        transaction.savepoint("b", || settings("2")).unwrap();
        transaction.fail();
        assert_eq!(transaction.rollback_to("a").unwrap(), settings("1"));
        assert_eq!(transaction.status(), Status::Block);
        assert_eq!(transaction.rollback_to("b").unwrap_err().sqlstate, "3B001");
        assert_eq!(transaction.rollback_to("a").unwrap(), settings("1"));
        transaction.release("a").unwrap();
        assert_eq!(transaction.release("a").unwrap_err().sqlstate, "3B001");
    }
}
