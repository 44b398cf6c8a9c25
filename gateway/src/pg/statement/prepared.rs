//! PREPARE and EXECUTE: parameter types and arguments as bytes of the client's text.

use std::ops::Range;

use super::lex::{self, Kind};
use super::parser::Parser;
use crate::pg::classify::command::SessionCommand;
use crate::pg::fault::Fault;

impl Parser<'_> {
    pub(super) fn prepare(&mut self) -> Result<SessionCommand, Fault> {
        let name = self.name()?;
        let mut types = Vec::new();
        if self.symbol(b'(') {
            let list = self.bracketed()?;
            types = pieces(self.sql, list)?
                .into_iter()
                .map(|range| self.sql.get(range).unwrap_or_default().trim().to_owned())
                .collect();
        }
        self.expect("as")?;
        Ok(SessionCommand::Prepare { name, types, query: self.rest()? })
    }

    pub(super) fn execute(&mut self) -> Result<SessionCommand, Fault> {
        let name = self.name()?;
        let mut arguments = Vec::new();
        if self.symbol(b'(') {
            let list = self.bracketed()?;
            arguments = pieces(self.sql, list)?;
        }
        Ok(SessionCommand::Execute { name, arguments })
    }
}

/// The parts of a list at its top-level commas.
fn pieces(sql: &str, list: Range<usize>) -> Result<Vec<Range<usize>>, Fault> {
    let base = list.start;
    let text = sql.get(list).unwrap_or_default();
    let mut parts = Vec::new();
    let mut current: Option<Range<usize>> = None;
    let mut depth = 0;
    for token in lex::lex(text)? {
        let range = base + token.range.start..base + token.range.end;
        match token.kind {
            Kind::Symbol(b',') if depth == 0 => {
                parts.push(current.take().ok_or_else(|| {
                    Fault::new("42601", "syntax error at or near \",\"").at(lex::position(sql, range.start))
                })?);
                continue;
            }
            Kind::Symbol(b'(' | b'[') => depth += 1,
            Kind::Symbol(b')' | b']') => depth -= 1,
            _ => {}
        }
        let start = current.map_or(range.start, |range| range.start);
        current = Some(start..range.end);
    }
    parts.extend(current);
    Ok(parts)
}
