//! COPY: its source, target and options in both spellings.

use super::parser::Parser;
use super::write::read_only;
use super::{lex, refused};
use crate::pg::classify::Class;
use crate::pg::classify::command::{CopySource, SessionCommand};
use crate::pg::fault::Fault;

type Options = Vec<(String, Option<String>)>;

impl Parser<'_> {
    pub(super) fn copy(&mut self) -> Result<Class, Fault> {
        let mut options = Options::new();
        if self.accept("binary") {
            options.push(("binary".to_owned(), None));
        }
        let source = if self.symbol(b'(') {
            CopySource::Query(self.bracketed()?)
        } else {
            let start = self.start()?;
            self.name()?;
            while self.symbol(b'.') {
                self.name()?;
            }
            let name = start..self.last_end();
            let mut columns = Vec::new();
            if self.symbol(b'(') {
                loop {
                    columns.push(self.name()?);
                    if !self.symbol(b',') {
                        break;
                    }
                }
                self.expect_symbol(b')')?;
            }
            CopySource::Relation { name, columns }
        };
        if self.accept("from") {
            return Ok(read_only("COPY FROM"));
        }
        self.expect("to")?;
        if self.accept("program") {
            return Ok(refused("42501", "permission denied to COPY to or from an external program"));
        }
        if !self.accept("stdout") && !self.accept("stdin") {
            self.literal()?;
            return Ok(Class::Refused(
                crate::shadow::StatementError::new("42501", "permission denied to COPY to a file")
                    .with_hint("use COPY TO STDOUT, or psql's \\copy command"),
            ));
        }
        let _ = self.accept("with");
        if self.symbol(b'(') {
            self.new_options(&mut options)?;
        } else {
            self.legacy_options(&mut options)?;
        }
        Ok(Class::Session(SessionCommand::CopyTo { source, options }))
    }

    fn start(&self) -> Result<usize, Fault> {
        self.token().map(|token| token.range.start).ok_or_else(|| self.syntax())
    }

    fn last_end(&self) -> usize {
        self.at.checked_sub(1).and_then(|at| self.tokens.get(at)).map_or(0, |token| token.range.end)
    }

    fn new_options(&mut self, options: &mut Options) -> Result<(), Fault> {
        loop {
            let name = self.name()?.to_ascii_lowercase();
            let value = if self.symbol(b'*') {
                Some("*".to_owned())
            } else if self.symbol(b'(') {
                let range = self.bracketed()?;
                Some(self.sql.get(range).unwrap_or_default().to_owned())
            } else if self.token().is_some_and(|token| !matches!(token.kind, lex::Kind::Symbol(b',' | b')')))
            {
                Some(self.literal()?)
            } else {
                None
            };
            options.push((name, value));
            if !self.symbol(b',') {
                break;
            }
        }
        self.expect_symbol(b')')
    }

    fn legacy_options(&mut self, options: &mut Options) -> Result<(), Fault> {
        while !self.is_end() {
            let name = self.name()?.to_ascii_lowercase();
            match name.as_str() {
                "binary" | "csv" | "header" => options.push((name, None)),
                "delimiter" | "delimiters" | "null" | "quote" | "escape" | "encoding" => {
                    let _ = self.accept("as");
                    let name = if name == "delimiters" { "delimiter".to_owned() } else { name };
                    options.push((name, Some(self.literal()?)));
                }
                "force" => {
                    self.expect("quote")?;
                    let mut columns = Vec::new();
                    if self.symbol(b'*') {
                        columns.push("*".to_owned());
                    } else {
                        loop {
                            columns.push(self.name()?);
                            if !self.symbol(b',') {
                                break;
                            }
                        }
                    }
                    options.push(("force_quote".to_owned(), Some(columns.join(","))));
                }
                _ => {
                    self.at -= 1;
                    return Err(self.syntax());
                }
            }
        }
        Ok(())
    }
}
