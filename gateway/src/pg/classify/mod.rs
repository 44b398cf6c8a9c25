//! Decides who answers a statement, before anything is planned.
//!
//! Lexing follows PostgreSQL's rules and is linear; nothing here recurses on the client's text, so a hostile text
//! costs its length and no stack. When in doubt a statement belongs to the engine: a statement that names a gateway
//! relation must never be answered by the shadow catalog, which would return no rows.

pub mod command;
mod names;

use std::ops::Range;

pub use command::SessionCommand;

use crate::pg::fault::Fault;
use crate::pg::statement;
use crate::pg::statement::lex::{self, Kind, Token};
use crate::shadow::StatementError;

/// Sizes beyond which a text is refused before it is parsed.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of one message: 54000.
    pub bytes: usize,
    /// Tokens of one statement: 54000.
    pub tokens: usize,
    /// Nesting of brackets, CASE and unary operators: 54001.
    pub depth: usize,
    /// Binary operators in one chain, which a planner turns into a tree just as deep: 54001.
    pub chain: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 1 << 20, tokens: 400_000, depth: 200, chain: 2_000 }
    }
}

/// One statement of a simple query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementText {
    /// Bytes in the client's text, without the semicolon, leading and trailing space.
    pub range: Range<usize>,
    /// Characters before it: add to a position inside it.
    pub position_offset: usize,
}

/// Which names the gateway serves.
pub trait RelationNames: Send + Sync {
    /// Whether `schema.name` (unquoted, exact) is a relation of the gateway.
    fn has_relation(&self, schema: &str, name: &str) -> bool;
    /// Whether `schema` is one of the gateway's.
    fn has_schema(&self, schema: &str) -> bool;
    /// Whether PostgreSQL knows no such function but the engine does (lower case), e.g. `approx_distinct`.
    fn is_engine_function(&self, name: &str) -> bool;
}

/// Who answers.
#[derive(Debug, Clone, PartialEq)]
pub enum Class {
    /// Nothing but comments and space: EmptyQueryResponse.
    Empty,
    /// The session itself.
    Session(SessionCommand),
    /// No relation, and the engine knows everything in it.
    Constant,
    /// Relay to the shadow.
    Catalog,
    /// The engine.
    Data,
    /// Catalog and gateway relations in one statement.
    Mixed,
    /// No statement this server knows: the shadow's parser says what is wrong with it.
    Unparseable,
    /// Understood and refused (25006, 0A000, 55000); an aborted transaction's 25P02 comes first.
    Refused(StatementError),
}

/// Says what one statement is: a session command (`statement::session`) or whose it is. The text is cut into tokens
/// once, for both. `search_path` has the session's schemas, without `pg_catalog`.
///
/// # Errors
/// 54000 over [`Limits::bytes`] or [`Limits::tokens`], 54001 over [`Limits::depth`] or [`Limits::chain`], 42601 with
/// position for a malformed session command and for an unterminated string, comment or quoted name.
pub fn classify(
    sql: &str,
    search_path: &[String],
    names: &dyn RelationNames,
    limits: &Limits,
) -> Result<Class, Fault> {
    let tokens = lex::lex(sql)?;
    match statement::session(sql, &tokens)? {
        Some(class) => Ok(class),
        None => Ok(owner(sql, &tokens, search_path, names, limits)?),
    }
}

/// Who answers a statement that is no session command.
fn owner(
    sql: &str,
    tokens: &[Token],
    search_path: &[String],
    names: &dyn RelationNames,
    limits: &Limits,
) -> Result<Class, StatementError> {
    if sql.len() > limits.bytes {
        return Err(StatementError::new("54000", format!("statement is longer than {} bytes", limits.bytes))
            .with_hint("pass long lists as an array parameter"));
    }
    // Depth first: a long chain is told as what it is, not as many tokens.
    budget(sql, tokens, limits)?;
    if tokens.len() > limits.tokens {
        return Err(StatementError::new(
            "54000",
            format!("statement has more than {} tokens", limits.tokens),
        )
        .with_hint("pass long lists as an array parameter"));
    }
    let Some(first) = tokens.first() else { return Ok(Class::Empty) };
    let verb = lex::value(sql, first);
    if first.kind != Kind::Symbol(b'(')
        && !matches!(verb.as_str(), "select" | "values" | "with" | "table" | "explain")
    {
        return Ok(Class::Unparseable);
    }
    let found = names::find(sql, tokens, search_path, names);
    if found.gateway && found.catalog {
        return Ok(Class::Refused(
            StatementError::new("0A000", "joining system catalogs with other relations is not supported")
                .with_hint("query the catalog in a statement of its own"),
        ));
    }
    Ok(if found.gateway {
        Class::Data
    } else if found.catalog {
        Class::Catalog
    } else if found.unknown {
        // Nobody has it: the engine says so, and never depends on the shadow.
        Class::Data
    } else if found.engine_only {
        Class::Constant
    } else if found.postgres_only {
        Class::Catalog
    } else if found.engine_rows || is_plain(sql, tokens) {
        Class::Constant
    } else {
        Class::Catalog
    })
}

/// Whether a statement has nothing but literals and names for them: then the engine's answer is PostgreSQL's.
fn is_plain(sql: &str, tokens: &[Token]) -> bool {
    let mut alias = false;
    tokens.iter().enumerate().all(|(index, token)| match token.kind {
        Kind::Text | Kind::Number => !std::mem::take(&mut alias),
        Kind::Symbol(b',' | b'(' | b')') => !std::mem::take(&mut alias),
        Kind::Quoted => std::mem::take(&mut alias),
        Kind::Symbol(_) => false,
        Kind::Word if std::mem::take(&mut alias) => true,
        Kind::Word => match lex::value(sql, token).as_str() {
            "select" | "values" => index == 0,
            "as" => {
                alias = true;
                true
            }
            "null" | "true" | "false" => true,
            _ => false,
        },
    }) && !alias
}

/// Measures nesting and chains as a planner would build trees from them. One pass, constant stack.
fn budget(sql: &str, tokens: &[Token], limits: &Limits) -> Result<(), StatementError> {
    let (mut depth, mut prefixes) = (0_usize, 0_usize);
    // Links of the chain in each open bracket; a comma begins a new one.
    let mut chains = vec![0_usize];
    let mut cases = 0_usize;
    for (index, token) in tokens.iter().enumerate() {
        let mut link = false;
        let mut prefix = false;
        match token.kind {
            Kind::Symbol(b'(' | b'[') => {
                depth += 1;
                chains.push(0);
            }
            Kind::Symbol(b')' | b']') => {
                depth = depth.saturating_sub(1);
                if chains.len() > 1 {
                    chains.pop();
                }
            }
            Kind::Symbol(b',' | b';') => {
                if let Some(last) = chains.last_mut() {
                    *last = 0;
                }
            }
            Kind::Symbol(b'.') => {}
            Kind::Symbol(_) => {
                let after_operand = index.checked_sub(1).and_then(|before| tokens.get(before)).is_some_and(
                    |before| !matches!(before.kind, Kind::Symbol(symbol) if symbol != b')' && symbol != b']'),
                );
                link = after_operand;
                prefix = !after_operand;
            }
            Kind::Word => match lex::value(sql, token).as_str() {
                "and" | "or" | "union" | "intersect" | "except" | "join" | "is" | "like" | "ilike"
                | "collate" | "at" => {
                    link = true;
                }
                "not" => prefix = true,
                "case" => cases += 1,
                "end" => cases = cases.saturating_sub(1),
                _ => {}
            },
            Kind::Quoted | Kind::Text | Kind::Number => {}
        }
        prefixes = if prefix { prefixes + 1 } else { 0 };
        if let Some(last) = chains.last_mut()
            && link
        {
            *last += 1;
        }
        let deepest = depth + prefixes + cases;
        let longest = chains.last().copied().unwrap_or(0);
        if deepest > limits.depth || longest > limits.chain {
            return Err(StatementError {
                position: Some(lex::position(sql, token.range.start)),
                ..StatementError::new("54001", "stack depth limit exceeded")
            }
            .with_hint(
                "the expression is nested too deeply or has too many terms; use IN or an array parameter",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
