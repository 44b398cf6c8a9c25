//! Statements the session itself answers, and those it refuses, told by their first words.
//!
//! Runs before anything is planned, on tokens, without recursion. Everything that is not a session command or a write
//! is left to [`crate::pg::classify`]. A malformed session command is a syntax error with its place, as in PostgreSQL.

mod copy;
pub(crate) mod lex;
mod set;

use std::ops::Range;

use lex::{Kind, Token};

use crate::pg::classify::command::{FetchDirection, SessionCommand};
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

/// A session command or a refusal; `None` for a statement that somebody must plan.
///
/// # Errors
/// 42601 for a malformed session command.
pub fn session(sql: &str) -> Result<Option<Class>, Fault> {
    // A long statement is no session command unless it begins like one; lexing it whole is linear anyway.
    let tokens = lex::lex(sql)?;
    let mut parser = Parser { sql, tokens: &tokens, at: 0 };
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

pub(super) fn read_only(command: &str) -> Class {
    refused("25006", format!("cannot execute {command} in a read-only transaction"))
}

/// Walks the tokens of one statement.
pub(super) struct Parser<'a> {
    pub(super) sql: &'a str,
    tokens: &'a [Token],
    at: usize,
}

impl Parser<'_> {
    fn token(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    /// The next token if it is an unquoted word, folded.
    fn peek_word(&self) -> Option<String> {
        self.token().filter(|token| token.kind == Kind::Word).map(|token| lex::value(self.sql, token))
    }

    fn word(&mut self) -> Option<String> {
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

    fn accept_any(&mut self, keywords: &[&str]) -> bool {
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

    fn integer(&mut self) -> Option<i64> {
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

    fn end(&self) -> Result<(), Fault> {
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
    fn rest(&mut self) -> Result<Range<usize>, Fault> {
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
            "with" | "select" | "explain" => return Ok(self.hidden_write()),
            _ => return Ok(self.write(verb)),
        };
        Ok(Some(Class::Session(command)))
    }

    fn chain(&mut self) -> Result<bool, Fault> {
        if !self.accept("and") {
            return Ok(false);
        }
        let no = self.accept("no");
        self.expect("chain")?;
        Ok(!no)
    }

    fn declare(&mut self) -> Result<SessionCommand, Fault> {
        let name = self.name()?;
        let (mut binary, mut scroll) = (false, None);
        loop {
            if self.accept("binary") {
                binary = true;
            } else if self.accept("no") {
                self.expect("scroll")?;
                scroll = Some(false);
            } else if self.accept("scroll") {
                scroll = Some(true);
            } else if !self.accept_any(&["insensitive", "asensitive"]) {
                break;
            }
        }
        self.expect("cursor")?;
        let hold = self.accept("with");
        if hold || self.accept("without") {
            self.expect("hold")?;
        }
        self.expect("for")?;
        Ok(SessionCommand::Declare { name, binary, scroll, hold, query: self.rest()? })
    }

    fn fetch(&mut self, only_move: bool) -> Result<SessionCommand, Fault> {
        let start = self.at;
        let direction = self.direction();
        let _ = self.accept_any(&["from", "in"]);
        // A cursor may be called like a direction: `FETCH next` reads from the cursor "next".
        let (direction, name) = match self.name() {
            Ok(name) => (direction, name),
            Err(fault) => {
                let end = self.at;
                self.at = start;
                match self.name() {
                    Ok(name) if self.is_end() && !matches!(name.as_str(), "from" | "in") => {
                        (FetchDirection::Forward(1), name)
                    }
                    _ => {
                        self.at = end;
                        return Err(fault);
                    }
                }
            }
        };
        Ok(SessionCommand::Fetch { only_move, direction, name })
    }

    fn direction(&mut self) -> FetchDirection {
        if let Some(count) = self.integer() {
            return FetchDirection::Forward(count);
        }
        let start = self.at;
        let Some(word) = self.word() else { return FetchDirection::Forward(1) };
        match word.as_str() {
            "next" => FetchDirection::Forward(1),
            "prior" => FetchDirection::Backward(1),
            "first" => FetchDirection::Absolute(1),
            "last" => FetchDirection::Absolute(-1),
            "all" => FetchDirection::ForwardAll,
            "absolute" => FetchDirection::Absolute(self.integer().unwrap_or(1)),
            "relative" => FetchDirection::Relative(self.integer().unwrap_or(1)),
            "forward" if self.accept("all") => FetchDirection::ForwardAll,
            "forward" => FetchDirection::Forward(self.integer().unwrap_or(1)),
            "backward" if self.accept("all") => FetchDirection::BackwardAll,
            "backward" => FetchDirection::Backward(self.integer().unwrap_or(1)),
            _ => {
                self.at = start;
                FetchDirection::Forward(1)
            }
        }
    }

    fn prepare(&mut self) -> Result<SessionCommand, Fault> {
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

    fn execute(&mut self) -> Result<SessionCommand, Fault> {
        let name = self.name()?;
        let mut arguments = Vec::new();
        if self.symbol(b'(') {
            let list = self.bracketed()?;
            arguments = pieces(self.sql, list)?;
        }
        Ok(SessionCommand::Execute { name, arguments })
    }

    fn lock(&mut self) -> Result<Class, Fault> {
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

    /// A write inside a query: `WITH x AS (INSERT …)`, `WITH … INSERT`, `SELECT … FOR UPDATE`.
    fn hidden_write(&self) -> Option<Class> {
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
    fn write(&mut self, verb: &str) -> Option<Class> {
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

#[cfg(test)]
mod tests;
