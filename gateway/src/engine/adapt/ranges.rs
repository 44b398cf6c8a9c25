//! Names of what a FROM clause reads: each may stand there once (PostgreSQL 17, parse_relation.c,
//! checkNameSpaceConflicts).
//!
//! The planner would find out only where two columns of one name meet, and say something else then.

use datafusion::sql::sqlparser::ast::{TableFactor, TableWithJoins};

use super::{fold, folded};
use crate::error::{ErrorCode, QueryError};

/// A name in a FROM clause; with the whole name of the table it is short for, if it is no alias.
pub(super) type Seen = (String, Option<Vec<String>>);

/// Checks that no name stands for two things.
pub(super) fn distinct(from: &[TableWithJoins]) -> Result<(), QueryError> {
    let mut seen = Vec::new();
    for table in from {
        joined(table, &mut seen)?;
    }
    Ok(())
}

fn joined(table: &TableWithJoins, seen: &mut Vec<Seen>) -> Result<(), QueryError> {
    factor(&table.relation, seen)?;
    table.joins.iter().try_for_each(|join| factor(&join.relation, seen))
}

fn factor(factor: &TableFactor, seen: &mut Vec<Seen>) -> Result<(), QueryError> {
    if let TableFactor::NestedJoin { table_with_joins, alias } = factor {
        // A join under an alias hides the names inside; they must still differ from each other.
        let mut hidden = Vec::new();
        joined(table_with_joins, if alias.is_some() { &mut hidden } else { &mut *seen })?;
    }
    known_as(factor).map_or(Ok(()), |(name, table)| take(name, table, seen))
}

/// What a part of a FROM clause is known as, if anything, and as in [`Seen`].
pub(super) fn known_as(factor: &TableFactor) -> Option<Seen> {
    match factor {
        TableFactor::Table { name, alias: None, .. } => {
            let whole = folded(name);
            Some((whole.last()?.clone(), Some(whole)))
        }
        TableFactor::Table { alias, .. }
        | TableFactor::Derived { alias, .. }
        | TableFactor::UNNEST { alias, .. }
        | TableFactor::Function { alias, .. }
        | TableFactor::TableFunction { alias, .. }
        | TableFactor::NestedJoin { alias, .. } => Some((fold(&alias.as_ref()?.name), None)),
        _ => None,
    }
}

/// Two tables of one name in different schemas may stand beside each other without aliases.
fn take(name: String, table: Option<Vec<String>>, seen: &mut Vec<Seen>) -> Result<(), QueryError> {
    let conflict = seen.iter().any(|(other, whole)| {
        *other == name
            && match (whole, &table) {
                (Some(whole), Some(table)) => whole == table,
                _ => true,
            }
    });
    if conflict {
        let message = format!("table name \"{name}\" specified more than once");
        return Err(QueryError::new(ErrorCode::DuplicateAlias, message)
            .with_hint("give one of them another name with AS"));
    }
    seen.push((name, table));
    Ok(())
}
