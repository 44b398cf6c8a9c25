//! Statements that write, which every session refuses with 25006 as a read-only PostgreSQL does.
//!
//! Told by tokens alone, so that a write is refused before anybody parses or plans it, also inside a query.

use super::lex::{self, Kind};
use super::parser::Parser;
use super::refused;
use crate::pg::classify::Class;
use crate::pg::classify::command::SessionCommand;
use crate::pg::fault::Fault;

pub(super) fn read_only(command: &str) -> Class {
    refused("25006", format!("cannot execute {command} in a read-only transaction"))
}

impl Parser<'_> {
    /// A write inside a query: `WITH x AS (INSERT …)`, `WITH … INSERT`, `SELECT … FOR UPDATE`.
    pub(super) fn hidden_write(&self) -> Option<Class> {
        let word = |index: usize| {
            self.tokens
                .get(index)
                .filter(|token| token.kind == Kind::Word)
                .map(|token| lex::value(self.sql, token))
        };
        for (index, token) in self.tokens.iter().enumerate() {
            if matches!(token.kind, Kind::Symbol(b'(' | b')')) {
                let next = word(index + 1);
                // `insert` as a name would be followed by something else than INTO.
                let follows = word(index + 2).unwrap_or_default();
                match next.as_deref() {
                    Some("insert") if follows == "into" => return Some(read_only("INSERT")),
                    Some("merge") if follows == "into" => return Some(read_only("MERGE")),
                    Some("delete") if follows == "from" => return Some(read_only("DELETE")),
                    Some("update") if word(index + 3).is_some_and(|word| word == "set") => {
                        return Some(read_only("UPDATE"));
                    }
                    _ => {}
                }
            }
        }
        let last: Vec<String> =
            (self.tokens.len().saturating_sub(6)..self.tokens.len()).filter_map(word).collect();
        last.windows(2).find_map(|pair| match pair {
            [left, right] if left == "for" && matches!(right.as_str(), "update" | "share") => {
                Some(read_only(&format!("SELECT FOR {}", right.to_uppercase())))
            }
            [left, right] if left == "for" && matches!(right.as_str(), "key" | "no") => {
                Some(read_only(if right == "key" {
                    "SELECT FOR KEY SHARE"
                } else {
                    "SELECT FOR NO KEY UPDATE"
                }))
            }
            _ => None,
        })
    }

    /// Statements that write; `None` for anything else.
    pub(super) fn write(&mut self, verb: &str) -> Option<Class> {
        let object = |parser: &mut Self, verb: &str| {
            let noise =
                ["temp", "temporary", "unlogged", "local", "global", "or", "replace", "unique", "recursive"];
            while parser.accept_any(&noise) {}
            let object = parser.word().unwrap_or_default().to_ascii_uppercase();
            let second = match object.as_str() {
                "MATERIALIZED" | "FOREIGN" | "EVENT" | "ACCESS" | "USER"
                    if verb != "DROP" || object != "USER" =>
                {
                    parser.word().unwrap_or_default().to_ascii_uppercase()
                }
                _ => String::new(),
            };
            [verb, &object, &second]
                .iter()
                .filter(|part| !part.is_empty())
                .copied()
                .collect::<Vec<_>>()
                .join(" ")
        };
        let name = match verb {
            "insert" | "update" | "delete" | "merge" | "grant" | "revoke" | "comment" | "analyze"
            | "analyse" | "vacuum" | "reindex" | "cluster" | "checkpoint" | "load" | "listen" | "notify" => {
                verb.to_ascii_uppercase()
            }
            "truncate" => "TRUNCATE TABLE".to_owned(),
            "create" | "alter" | "drop" => object(self, &verb.to_ascii_uppercase()),
            "refresh" => "REFRESH MATERIALIZED VIEW".to_owned(),
            "import" => "IMPORT FOREIGN SCHEMA".to_owned(),
            "reassign" => "REASSIGN OWNED".to_owned(),
            "security" => "SECURITY LABEL".to_owned(),
            _ => return None,
        };
        Some(read_only(&name))
    }

    pub(super) fn lock(&mut self) -> Result<Class, Fault> {
        let _ = self.accept("table");
        let _ = self.accept("only");
        loop {
            self.name()?;
            while self.symbol(b'.') {
                self.name()?;
            }
            if !self.symbol(b',') {
                break;
            }
        }
        if self.accept("in") && self.accept("access") && self.accept("share") && self.accept("mode") {
            let _ = self.accept("nowait");
            return Ok(Class::Session(SessionCommand::LockAccessShare));
        }
        Ok(read_only("LOCK TABLE"))
    }
}
