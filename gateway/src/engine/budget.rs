//! What a statement may cost before anyone has understood it: bytes and depth, counted on the characters.
//!
//! Parser and planner recurse once per operator of a chain such as `1+1+…`, so the chain's length is a depth like
//! that of parentheses. Counting needs no stack; whatever is over the budget is refused with 54000 or 54001.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, ObjectName, Query, Select, Statement, Visit, Visitor,
};

use crate::error::{ErrorCode, QueryError, too_deep};

/// Largest statement, in bytes.
pub(super) const MAX_BYTES: usize = 1 << 20;
/// Deepest nesting plus longest operator chain of one statement.
pub(super) const MAX_DEPTH: usize = 2_000;
/// Deepest nesting of parentheses.
const MAX_PARENTHESES: usize = 200;

/// Tables that a statement may read once its `WITH` queries are written out. A query that is read twice is planned
/// twice, so twenty lines may be a million reads.
const MAX_READS: usize = 1_000;

/// Subqueries in expressions of one another, `WITH` queries written out. The checks of a plan walk through each level
/// twice for every level above it, and nobody can interrupt them.
const MAX_LEVELS: usize = 8;

/// Columns of one target list, as in PostgreSQL.
pub(super) const MAX_COLUMNS: usize = 1_664;

/// Elements of a `CUBE`, as in PostgreSQL.
const MAX_CUBE: usize = 12;

/// Sets of one `GROUP BY`, as in PostgreSQL.
const MAX_SETS: usize = 4_096;

/// Columns of all sets of one `GROUP BY`. Each is an expression of its own in every plan that is made of the statement,
/// which nobody counts.
const MAX_SET_COLUMNS: usize = 16_384;

/// Refuses statements whose `WITH` queries or sets of groups multiply, whose subqueries are too deep or whose lists are
/// too wide, before anything walks through what they become.
pub(super) fn check_reads(statement: &Statement) -> Result<(), QueryError> {
    let mut reads = Reads { scopes: vec![Scope::default()] };
    match statement.visit(&mut reads) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// The error of a target list that is too wide.
pub(super) fn too_many_columns() -> QueryError {
    let message = format!("target lists can have at most {MAX_COLUMNS} entries");
    QueryError::new(ErrorCode::TooManyColumns, message)
}

fn too_many_reads() -> QueryError {
    QueryError::new(ErrorCode::StatementTooComplex, "statement is too complex")
        .with_detail(format!("it reads more than {MAX_READS} tables once its WITH queries are written out"))
        .with_hint("read each WITH query fewer times, or nest fewer of them")
}

fn too_large_a_cube() -> QueryError {
    let message = format!("CUBE is limited to {MAX_CUBE} elements");
    QueryError::new(ErrorCode::TooManyColumns, message)
}

fn too_many_sets() -> QueryError {
    let message = format!("too many grouping sets present (maximum {MAX_SETS})");
    QueryError::new(ErrorCode::StatementTooComplex, message)
}

fn too_many_grouped(sets: usize, columns: usize) -> QueryError {
    QueryError::new(ErrorCode::StatementTooComplex, "statement is too complex")
        .with_detail(format!(
            "its GROUP BY is {sets} sets of up to {columns} columns, {MAX_SET_COLUMNS} together are allowed"
        ))
        .with_hint("group by fewer columns, or name the sets that are needed with GROUPING SETS")
}

/// How many sets a `ROLLUP` or `CUBE` inside of `GROUPING SETS` is, which has to be written out; `before` are there already.
pub(super) fn inner_sets(cube: bool, elements: &[Vec<Expr>], before: usize) -> Result<usize, QueryError> {
    if cube && elements.len() > MAX_CUBE {
        return Err(too_large_a_cube());
    }
    let sets = if cube { 1 << elements.len() } else { elements.len().saturating_add(1) };
    if sets.saturating_add(before) > MAX_SETS {
        return Err(too_many_sets());
    }
    let columns: usize = elements.iter().map(Vec::len).sum();
    if sets.saturating_mul(columns) > MAX_SET_COLUMNS {
        return Err(too_many_grouped(sets, columns));
    }
    Ok(sets)
}

/// Refuses a `GROUP BY` that is more sets than PostgreSQL takes, or than a plan should hold.
pub(super) fn check_sets(select: &Select) -> Result<(), QueryError> {
    let GroupByExpr::Expressions(expressions, _) = &select.group_by else { return Ok(()) };
    let mut sets = 1_usize;
    let mut columns: HashSet<&Expr> = HashSet::new();
    for expr in expressions {
        let (more, elements) = match expr {
            Expr::Cube(elements) if elements.len() > MAX_CUBE => return Err(too_large_a_cube()),
            Expr::Cube(elements) => (1 << elements.len(), elements),
            Expr::Rollup(elements) => (elements.len() + 1, elements),
            Expr::GroupingSets(elements) => (elements.len(), elements),
            plain => {
                columns.insert(plain);
                continue;
            }
        };
        sets = sets.saturating_mul(more);
        if sets > MAX_SETS {
            return Err(too_many_sets());
        }
        columns.extend(elements.iter().flatten());
    }
    if sets > 1 && sets.saturating_mul(columns.len()) > MAX_SET_COLUMNS {
        return Err(too_many_grouped(sets, columns.len()));
    }
    Ok(())
}

/// What a query costs: tables read, and levels of subqueries in its expressions.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    reads: usize,
    levels: usize,
}

/// One query, and what its `WITH` queries cost by name.
#[derive(Debug, Default)]
struct Scope {
    /// Names of the `WITH` queries that are not visited yet, the next one last.
    waiting: Vec<String>,
    known: HashMap<String, Cost>,
    cost: Cost,
    /// Subqueries of this query's expressions that are being visited.
    within: usize,
}

impl Scope {
    fn add(&mut self, part: Cost) {
        self.cost.reads = self.cost.reads.saturating_add(part.reads);
        self.cost.levels = self.cost.levels.max(self.within.saturating_add(part.levels));
    }
}

fn is_subquery(expr: &Expr) -> bool {
    matches!(expr, Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. })
}

/// Counts from the inside out; queries are visited with their `WITH` queries first, in order.
struct Reads {
    scopes: Vec<Scope>,
}

impl Visitor for Reads {
    type Break = QueryError;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<QueryError> {
        let named = query.with.iter().flat_map(|with| &with.cte_tables);
        let waiting = named.rev().map(|table| table.alias.name.value.to_ascii_lowercase()).collect();
        self.scopes.push(Scope { waiting, ..Scope::default() });
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<QueryError> {
        let mut cost = self.scopes.pop().map_or_else(Cost::default, |scope| scope.cost);
        cost.reads = cost.reads.max(1);
        let Some(outer) = self.scopes.last_mut() else { return ControlFlow::Continue(()) };
        match outer.waiting.pop() {
            Some(name) => {
                outer.known.insert(name, cost);
            }
            None => outer.add(cost),
        }
        if cost.reads > MAX_READS {
            return ControlFlow::Break(too_many_reads());
        }
        if cost.levels > MAX_LEVELS { ControlFlow::Break(too_deep()) } else { ControlFlow::Continue(()) }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<QueryError> {
        if is_subquery(expr)
            && let Some(scope) = self.scopes.last_mut()
        {
            scope.within += 1;
            scope.add(Cost::default());
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<QueryError> {
        if is_subquery(expr)
            && let Some(scope) = self.scopes.last_mut()
        {
            scope.within = scope.within.saturating_sub(1);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<QueryError> {
        if select.projection.len() > MAX_COLUMNS {
            return ControlFlow::Break(too_many_columns());
        }
        match check_sets(select) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<QueryError> {
        let name = relation.to_string().to_ascii_lowercase();
        let known =
            self.scopes.iter().rev().find_map(|scope| scope.known.get(name.trim_matches('"')).copied());
        if let Some(scope) = self.scopes.last_mut() {
            scope.add(known.unwrap_or(Cost { reads: 1, levels: 0 }));
        }
        ControlFlow::Continue(())
    }
}

/// Refuses statements that are too large or too deep.
pub(super) fn check(sql: &str) -> Result<(), QueryError> {
    if sql.len() > MAX_BYTES {
        return Err(QueryError::new(ErrorCode::ProgramLimitExceeded, "statement is too large")
            .with_detail(format!("{} bytes of at most {MAX_BYTES}", sql.len()))
            .with_hint("load long lists into VALUES of several statements"));
    }
    if let Some(at) = sql.find('\0') {
        return Err(QueryError::new(
            ErrorCode::CharacterNotInRepertoire,
            "invalid byte sequence for encoding \"UTF8\": 0x00",
        )
        .at(sql.get(..at).map_or(0, |before| before.chars().count()) + 1));
    }
    if depth(sql) > MAX_DEPTH {
        return Err(too_deep());
    }
    Ok(())
}

/// An upper bound of the tree's depth: the longest run of operators between commas of one parenthesis level, plus the
/// level. Words that chain (AND, OR, NOT, UNION, CASE …) count like operators.
fn depth(sql: &str) -> usize {
    let mut levels = vec![0usize];
    let mut deepest = 0usize;
    let mut bytes = sql.bytes().peekable();
    let mut word = String::new();
    while let Some(byte) = bytes.next() {
        if byte.is_ascii_alphabetic() || byte == b'_' {
            word.push(char::from(byte.to_ascii_lowercase()));
            if bytes.peek().is_none_or(|next| !(next.is_ascii_alphanumeric() || *next == b'_')) {
                let chains = matches!(
                    word.as_str(),
                    "and"
                        | "or"
                        | "not"
                        | "union"
                        | "intersect"
                        | "except"
                        | "case"
                        | "when"
                        | "join"
                        | "is"
                        | "like"
                        | "ilike"
                        | "between"
                        | "collate"
                );
                if chains && let Some(level) = levels.last_mut() {
                    *level += 1;
                }
                word.clear();
            }
            deepest = deepest.max(levels.iter().sum());
            continue;
        }
        word.clear();
        match byte {
            b'-' if bytes.peek() == Some(&b'-') => {
                for inside in bytes.by_ref() {
                    if inside == b'\n' {
                        break;
                    }
                }
            }
            b'/' if bytes.peek() == Some(&b'*') => {
                let mut before = 0;
                for inside in bytes.by_ref() {
                    if before == b'*' && inside == b'/' {
                        break;
                    }
                    before = inside;
                }
            }
            b'\'' | b'"' => {
                while let Some(inside) = bytes.next() {
                    if inside == byte {
                        if bytes.peek() == Some(&byte) {
                            bytes.next();
                        } else {
                            break;
                        }
                    }
                }
            }
            b'(' | b'[' => {
                levels.push(1);
                if levels.len() > MAX_PARENTHESES {
                    return usize::MAX;
                }
            }
            b')' | b']' if levels.len() > 1 => {
                let inner = levels.pop().unwrap_or_default();
                deepest = deepest.max(levels.iter().sum::<usize>() + inner);
            }
            b',' => {
                deepest = deepest.max(levels.iter().sum());
                let nested = usize::from(levels.len() > 1);
                if let Some(level) = levels.last_mut() {
                    *level = nested;
                }
            }
            b'+' | b'-' | b'*' | b'/' | b'%' | b'<' | b'>' | b'=' | b'|' | b'^' | b'~' | b'&' | b'#'
            | b':' => {
                if let Some(level) = levels.last_mut() {
                    *level += 1;
                }
            }
            _ => {}
        }
    }
    deepest.max(levels.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_chains_and_deep_nests_are_too_deep_and_long_lists_are_not() {
        let chain = format!("select 1{}", "+1".repeat(100_000));
        assert_eq!(check(&chain).unwrap_err().code.sqlstate(), "54001");
        let ors = format!("select 1 where {}", "a = 1 or ".repeat(3_000));
        assert_eq!(check(&ors).unwrap_err().code.sqlstate(), "54001");
        let nest = format!("select {}1{}", "(".repeat(300), ")".repeat(300));
        assert_eq!(check(&nest).unwrap_err().code.sqlstate(), "54001");
        let list = format!("select 1 in ({}0)", "-1, ".repeat(50_000));
        assert!(check(&list).is_ok());
        assert!(check(&format!("select '{}'", "+".repeat(50_000))).is_ok());
        assert_eq!(check(&" ".repeat(MAX_BYTES + 1)).unwrap_err().code.sqlstate(), "54000");
        assert_eq!(check("select '\0'").unwrap_err().code.sqlstate(), "22021");
    }
}
