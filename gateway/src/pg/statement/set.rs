//! SET, and the names and modes it shares with SHOW, RESET and BEGIN.

use super::parser::Parser;
use super::refused;
use crate::pg::classify::Class;
use crate::pg::classify::command::{SessionCommand, TransactionModes};
use crate::pg::fault::Fault;

impl Parser<'_> {
    pub(super) fn set(&mut self) -> Result<Class, Fault> {
        if self.accept("constraints") {
            return Ok(refused("0A000", "SET CONSTRAINTS is not supported"));
        }
        if self.accept("transaction") {
            return self.set_transaction(false);
        }
        let local = self.accept("local");
        if !local && self.accept("session") {
            if self.accept("characteristics") {
                self.expect("as")?;
                self.expect("transaction")?;
                return self.set_transaction(true);
            }
            if self.accept("transaction") {
                return self.set_transaction(false);
            }
            if self.accept("authorization") {
                return self.assign(false, "session_authorization");
            }
        }
        if local && self.accept("transaction") {
            return self.set_transaction(false);
        }
        if self.accept("time") {
            self.expect("zone")?;
            return self.time_zone(local);
        }
        for (keyword, name) in [("names", "client_encoding"), ("schema", "search_path"), ("role", "role")] {
            let start = self.at;
            if self.accept(keyword) {
                // `SET role = x` is the plain form of the same setting.
                if self.symbol(b'=') || self.accept("to") {
                    self.at = start;
                    break;
                }
                return self.assign(local, name);
            }
        }
        let name = self.dotted()?;
        if !self.symbol(b'=') {
            self.expect("to")?;
        }
        self.assign(local, &name)
    }

    fn set_transaction(&mut self, session: bool) -> Result<Class, Fault> {
        if self.accept("snapshot") {
            return Ok(refused("0A000", "SET TRANSACTION SNAPSHOT is not supported"));
        }
        let modes = self.modes()?;
        Ok(Class::Session(SessionCommand::SetTransaction { session, modes }))
    }

    fn time_zone(&mut self, local: bool) -> Result<Class, Fault> {
        let name = "timezone".to_owned();
        if self.accept("local") || self.accept("default") {
            return Ok(Class::Session(SessionCommand::Set { local, name, values: None }));
        }
        let interval = self.accept("interval");
        let value = self.literal()?;
        if interval {
            while self.accept("hour") || self.accept("to") || self.accept("minute") {}
        }
        Ok(Class::Session(SessionCommand::Set { local, name, values: Some(vec![value]) }))
    }

    /// The value list behind `=` or `TO`.
    fn assign(&mut self, local: bool, name: &str) -> Result<Class, Fault> {
        let name = name.to_owned();
        if self.accept("default") {
            return Ok(Class::Session(SessionCommand::Set { local, name, values: None }));
        }
        let mut values = vec![self.literal()?];
        while self.symbol(b',') {
            values.push(self.literal()?);
        }
        Ok(Class::Session(SessionCommand::Set { local, name, values: Some(values) }))
    }

    /// `name` or `class.name`.
    fn dotted(&mut self) -> Result<String, Fault> {
        let mut name = self.name()?;
        while self.symbol(b'.') {
            name = format!("{name}.{}", self.name()?);
        }
        Ok(name.to_ascii_lowercase())
    }

    /// A setting's name as SHOW and RESET write it.
    pub(super) fn setting_name(&mut self) -> Result<String, Fault> {
        if self.accept("time") {
            self.expect("zone")?;
            return Ok("timezone".to_owned());
        }
        if self.accept("transaction") {
            self.expect("isolation")?;
            self.expect("level")?;
            return Ok("transaction_isolation".to_owned());
        }
        if self.accept("session") {
            self.expect("authorization")?;
            return Ok("session_authorization".to_owned());
        }
        self.dotted()
    }

    /// Transaction modes, with or without commas.
    pub(super) fn modes(&mut self) -> Result<TransactionModes, Fault> {
        let mut modes = TransactionModes::default();
        while !self.is_end() {
            if self.accept("isolation") {
                self.expect("level")?;
                let level = if self.accept("serializable") {
                    "serializable"
                } else if self.accept("repeatable") {
                    self.expect("read")?;
                    "repeatable read"
                } else {
                    self.expect("read")?;
                    if self.accept("uncommitted") {
                        "read uncommitted"
                    } else {
                        self.expect("committed")?;
                        "read committed"
                    }
                };
                modes.isolation = Some(level.to_owned());
            } else if self.accept("read") {
                let only = self.accept("only");
                if !only {
                    self.expect("write")?;
                }
                modes.read_only = Some(only);
            } else if self.accept("not") {
                self.expect("deferrable")?;
                modes.deferrable = Some(false);
            } else if self.accept("deferrable") {
                modes.deferrable = Some(true);
            } else {
                return Err(self.syntax());
            }
            let _ = self.symbol(b',');
        }
        Ok(modes)
    }
}
