//! The walk over one statement's tokens that every command's grammar is written with.
//!
//! No recursion and no panic: a position past the end is "at end of input". Every error names its place.

use std::ops::Range;

use super::lex::{self, Kind, Token};
use crate::pg::fault::Fault;

/// Walks the tokens of one statement.
pub(super) struct Parser<'a> {
    pub(super) sql: &'a str,
    pub(super) tokens: &'a [Token],
    pub(super) at: usize,
}

impl Parser<'_> {
    pub(super) fn token(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    /// The next token if it is an unquoted word, folded.
    pub(super) fn peek_word(&self) -> Option<String> {
        self.token().filter(|token| token.kind == Kind::Word).map(|token| lex::value(self.sql, token))
    }

    pub(super) fn word(&mut self) -> Option<String> {
        let word = self.peek_word()?;
        self.at += 1;
        Some(word)
    }

    /// Consumes a keyword if it comes next.
    pub(super) fn accept(&mut self, keyword: &str) -> bool {
        let found = self.peek_word().is_some_and(|word| word == keyword);
        self.at += usize::from(found);
        found
    }

    pub(super) fn accept_any(&mut self, keywords: &[&str]) -> bool {
        keywords.iter().any(|keyword| self.accept(keyword))
    }

    pub(super) fn symbol(&mut self, symbol: u8) -> bool {
        let found = self.token().is_some_and(|token| token.kind == Kind::Symbol(symbol));
        self.at += usize::from(found);
        found
    }

    pub(super) fn expect(&mut self, keyword: &str) -> Result<(), Fault> {
        if self.accept(keyword) { Ok(()) } else { Err(self.syntax()) }
    }

    pub(super) fn expect_symbol(&mut self, symbol: u8) -> Result<(), Fault> {
        if self.symbol(symbol) { Ok(()) } else { Err(self.syntax()) }
    }

    /// A name, quoted or not.
    pub(super) fn name(&mut self) -> Result<String, Fault> {
        match self.token() {
            Some(token) if matches!(token.kind, Kind::Word | Kind::Quoted) => {
                let name = lex::value(self.sql, token);
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.syntax()),
        }
    }

    /// Any literal or word, with a sign before a number.
    pub(super) fn literal(&mut self) -> Result<String, Fault> {
        let negative = self.symbol(b'-');
        let _ = !negative && self.symbol(b'+');
        match self.token() {
            Some(token) if !matches!(token.kind, Kind::Symbol(_)) => {
                let value = lex::value(self.sql, token);
                self.at += 1;
                Ok(if negative { format!("-{value}") } else { value })
            }
            _ => Err(self.syntax()),
        }
    }

    pub(super) fn integer(&mut self) -> Option<i64> {
        let start = self.at;
        match self.literal().ok().and_then(|text| text.parse().ok()) {
            Some(value) => Some(value),
            None => {
                self.at = start;
                None
            }
        }
    }

    pub(super) fn is_end(&self) -> bool {
        self.token().is_none()
    }

    pub(super) fn end(&self) -> Result<(), Fault> {
        if self.is_end() { Ok(()) } else { Err(self.syntax()) }
    }

    pub(super) fn syntax(&self) -> Fault {
        match self.token() {
            Some(token) => {
                let text = self.sql.get(token.range.clone()).unwrap_or_default();
                let text = text.get(..text.floor_char_boundary(100)).unwrap_or(text);
                Fault::new("42601", format!("syntax error at or near \"{text}\""))
                    .at(lex::position(self.sql, token.range.start))
            }
            None => Fault::new("42601", "syntax error at end of input").at(self.sql.chars().count() + 1),
        }
    }

    /// Everything that is left, as bytes of the text.
    pub(super) fn rest(&mut self) -> Result<Range<usize>, Fault> {
        let start = self.token().map(|token| token.range.start).ok_or_else(|| self.syntax())?;
        self.at = self.tokens.len();
        Ok(start..self.tokens.last().map_or(start, |token| token.range.end))
    }

    /// What stands between the bracket just consumed and its partner, which is consumed too.
    pub(super) fn bracketed(&mut self) -> Result<Range<usize>, Fault> {
        let start = self.token().map(|token| token.range.start).ok_or_else(|| self.syntax())?;
        let mut depth = 0;
        while let Some(token) = self.token() {
            match token.kind {
                Kind::Symbol(b'(') => depth += 1,
                Kind::Symbol(b')') if depth == 0 => {
                    let end = token.range.start;
                    self.at += 1;
                    return Ok(start..end);
                }
                Kind::Symbol(b')') => depth -= 1,
                _ => {}
            }
            self.at += 1;
        }
        Err(self.syntax())
    }
}
