//! Statements the session itself answers, and those it refuses, told by their first words.
//!
//! Runs before anything is planned, on tokens, without recursion. Everything that is not a session command or a write
//! is left to [`crate::pg::classify`]. A malformed session command is a syntax error with its place, as in PostgreSQL.

mod copy;
mod cursor;
pub(crate) mod lex;
mod parser;
mod prepared;
mod set;
mod write;

use std::ops::Range;

use lex::Kind;
use parser::Parser;

use crate::pg::classify::command::SessionCommand;
use crate::pg::classify::{Class, StatementText};
use crate::pg::fault::Fault;
use crate::shadow::StatementError;

/// Most tokens of one text.
const MAX_TOKENS: usize = 400_000;

/// Cuts a text into statements at semicolons; statements without a token are left out.
///
/// # Errors
/// 42601 for what is not closed, 54000 for too many tokens.
pub fn split(sql: &str) -> Result<Vec<StatementText>, Fault> {
    let tokens = lex::lex(sql)?;
    if tokens.len() > MAX_TOKENS {
        return Err(Fault::new("54000", format!("statement has more than {MAX_TOKENS} tokens"))
            .with_hint("pass long lists as an array parameter"));
    }
    let mut statements = Vec::new();
    let mut current: Option<Range<usize>> = None;
    let mut counted = (0, 0);
    let mut finish = |range: Option<Range<usize>>| {
        if let Some(range) = range {
            let (bytes, characters) = counted;
            let more = sql.get(bytes..range.start).map_or(0, |text| text.chars().count());
            counted = (range.start, characters + more);
            statements.push(StatementText { position_offset: counted.1, range });
        }
    };
    for token in &tokens {
        if token.kind == Kind::Symbol(b';') {
            finish(current.take());
        } else {
            let start = current.map_or(token.range.start, |range| range.start);
            current = Some(start..token.range.end);
        }
    }
    finish(current);
    Ok(statements)
}

/// A session command or a refusal; `None` for a statement that somebody must plan. `tokens` are those of `sql`.
///
/// # Errors
/// 42601 for a malformed session command.
pub(crate) fn session(sql: &str, tokens: &[lex::Token]) -> Result<Option<Class>, Fault> {
    let mut parser = Parser { sql, tokens, at: 0 };
    let Some(verb) = parser.word() else {
        return Ok(tokens.is_empty().then_some(Class::Empty));
    };
    let Some(result) = parser.statement(&verb)? else { return Ok(None) };
    if let Class::Session(_) = result {
        parser.end()?;
    }
    Ok(Some(result))
}

pub(super) fn refused(code: &str, message: impl Into<String>) -> Class {
    Class::Refused(StatementError::new(code, message))
}

impl Parser<'_> {
    fn statement(&mut self, verb: &str) -> Result<Option<Class>, Fault> {
        let command = match verb {
            "begin" => {
                let _ = self.accept_any(&["work", "transaction"]);
                SessionCommand::Begin { start: false, modes: self.modes()? }
            }
            "start" => {
                self.expect("transaction")?;
                SessionCommand::Begin { start: true, modes: self.modes()? }
            }
            "commit" | "end" => {
                if self.accept("prepared") {
                    return Ok(Some(refused("55000", "prepared transactions are disabled")));
                }
                let _ = self.accept_any(&["work", "transaction"]);
                SessionCommand::Commit { chain: self.chain()? }
            }
            "rollback" | "abort" => {
                if self.accept("prepared") {
                    return Ok(Some(refused("55000", "prepared transactions are disabled")));
                }
                let _ = self.accept_any(&["work", "transaction"]);
                if self.accept("to") {
                    let _ = self.accept("savepoint");
                    SessionCommand::RollbackTo(self.name()?)
                } else {
                    SessionCommand::Rollback { chain: self.chain()? }
                }
            }
            "savepoint" => SessionCommand::Savepoint(self.name()?),
            "release" => {
                let _ = self.accept("savepoint");
                SessionCommand::Release(self.name()?)
            }
            "set" => return self.set().map(Some),
            "show" => SessionCommand::Show { name: self.setting_name()? },
            "reset" => {
                let name = self.setting_name()?;
                SessionCommand::Reset { name: (name != "all").then_some(name) }
            }
            "discard" => {
                let what = self.word().ok_or_else(|| self.syntax())?;
                match what.as_str() {
                    "all" | "plans" | "sequences" | "temp" => {
                        SessionCommand::Discard(what.to_ascii_uppercase())
                    }
                    "temporary" => SessionCommand::Discard("TEMP".to_owned()),
                    _ => {
                        self.at -= 1;
                        return Err(self.syntax());
                    }
                }
            }
            "declare" => self.declare()?,
            "fetch" | "move" => self.fetch(verb == "move")?,
            "close" => {
                let name = self.name()?;
                SessionCommand::Close((name != "all").then_some(name))
            }
            "prepare" => {
                if self.accept("transaction") {
                    return Ok(Some(refused("55000", "prepared transactions are disabled")));
                }
                self.prepare()?
            }
            "execute" => self.execute()?,
            "deallocate" => {
                let _ = self.accept("prepare");
                let name = self.name()?;
                SessionCommand::Deallocate((name != "all").then_some(name))
            }
            "copy" => return self.copy().map(Some),
            "unlisten" => {
                if !self.symbol(b'*') {
                    self.name()?;
                }
                SessionCommand::Unlisten
            }
            "lock" => return self.lock().map(Some),
            "do" | "call" => {
                return Ok(Some(Class::Refused(
                    StatementError::new("0A000", format!("{} is not supported", verb.to_uppercase()))
                        .with_hint("this server has no procedures"),
                )));
            }
            "explain" if self.explains_kpis() => {
                return Ok(Some(Class::Refused(
                    StatementError::new("0A000", "EXPLAIN KPI is not supported yet").with_hint(
                        "use EXPLAIN, which shows what a KPI is computed from; its definition is in system.kpis",
                    ),
                )));
            }
            "with" | "select" | "explain" => return Ok(self.hidden_write()),
            _ => return Ok(self.write(verb)),
        };
        Ok(Some(Class::Session(command)))
    }

    /// `EXPLAIN KPI …` and `EXPLAIN (…, KPI, …)`.
    fn explains_kpis(&mut self) -> bool {
        let start = self.at;
        let _ = self.accept_any(&["analyze", "verbose"]);
        let mut found = self.accept("kpi");
        if !found && self.symbol(b'(') {
            while let Some(word) = self.word() {
                found |= word == "kpi";
                let _ = self.word();
                if !self.symbol(b',') {
                    break;
                }
            }
        }
        self.at = start;
        found
    }

    fn chain(&mut self) -> Result<bool, Fault> {
        if !self.accept("and") {
            return Ok(false);
        }
        let no = self.accept("no");
        self.expect("chain")?;
        Ok(!no)
    }
}

#[cfg(test)]
mod tests;
