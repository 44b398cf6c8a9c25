//! Texts as parsed trees, for the tests of what changes them.

use datafusion::sql::sqlparser::ast::{Expr, Query, Statement};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use crate::error::QueryError;

/// An expression after a change, or the SQLSTATE of its refusal.
pub(super) fn expression(
    sql: &str,
    change: impl FnOnce(&mut Expr) -> Result<(), QueryError>,
) -> Result<String, String> {
    let parsed = Parser::new(&PostgreSqlDialect {}).try_with_sql(sql);
    let mut expr = parsed.and_then(|mut parser| parser.parse_expr()).unwrap();
    change(&mut expr).map_err(|error| error.code.sqlstate().to_owned())?;
    Ok(expr.to_string())
}

/// A query after a change, or the SQLSTATE of its refusal.
pub(super) fn query(
    sql: &str,
    change: impl FnOnce(&mut Query) -> Result<(), QueryError>,
) -> Result<String, String> {
    let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap();
    let Some(Statement::Query(query)) = statements.first_mut() else { panic!("no query: {sql}") };
    change(query).map_err(|error| error.code.sqlstate().to_owned())?;
    Ok(query.to_string())
}
