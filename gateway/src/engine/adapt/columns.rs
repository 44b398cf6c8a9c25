//! Names of the columns of what a FROM clause or a WITH reads, where PostgreSQL gives some that DataFusion does not: a
//! function's only column is called like the function or its alias, and a list of names may be shorter than the columns.
//!
//! A name that two columns have is marked on both: neither may be found by it, and `*` shows them all.

use std::collections::HashMap;

use datafusion::sql::sqlparser::ast::{
    Cte, Ident, ObjectName, SelectItem, SetExpr, TableAlias, TableAliasColumnDef, TableFactor,
};

use super::{fold, folded, marked, names};
use crate::error::{ErrorCode, QueryError};

/// The one function with rows that the engine has, beside `unnest`.
const SERIES: &str = "generate_series";

/// Names the column of a function in FROM (PostgreSQL 17, parse_relation.c, chooseScalarFunctionAlias).
pub(super) fn of_function(factor: &mut TableFactor) {
    match factor {
        TableFactor::Table { name, alias, args: Some(_), .. } | TableFactor::Function { name, alias, .. }
            if is_series(name) =>
        {
            // The planner looks for the first part as it is written.
            *name = Ident::new(SERIES).into();
            of_one_column(alias, SERIES);
        }
        TableFactor::UNNEST { array_exprs, alias, .. } if array_exprs.len() == 1 => {
            of_one_column(alias, "unnest");
        }
        _ => {}
    }
}

fn is_series(name: &ObjectName) -> bool {
    match folded(name).as_slice() {
        [function] => function == SERIES,
        [schema, function] => schema == "pg_catalog" && function == SERIES,
        _ => false,
    }
}

fn of_one_column(alias: &mut Option<TableAlias>, name: &str) {
    let alias = alias.get_or_insert_with(|| TableAlias {
        explicit: true,
        name: Ident::with_quote('"', name),
        columns: Vec::new(),
        at: None,
    });
    if alias.columns.is_empty() {
        alias.columns.push(column(alias.name.clone()));
    }
}

fn column(name: Ident) -> TableAliasColumnDef {
    TableAliasColumnDef { name, data_type: None }
}

/// Completes the list of a WITH query's column names, as far as its text tells how many there are.
pub(super) fn of_with(cte: &mut Cte) -> Result<(), QueryError> {
    let given = &mut cte.alias.columns;
    let Some(own) = (if given.is_empty() { None } else { of_body(&cte.query.body) }) else { return Ok(()) };
    if given.len() > own.len() {
        return Err(QueryError::new(
            ErrorCode::InvalidColumnReference,
            format!(
                "WITH query \"{}\" has {} columns available but {} columns specified",
                fold(&cte.alias.name),
                own.len(),
                given.len()
            ),
        ));
    }
    if given.len() < own.len() {
        let names = given.iter().map(|column| fold(&column.name));
        let names: Vec<String> = names.chain(own.into_iter().skip(given.len())).collect();
        *given = distinct(&names).into_iter().map(column).collect();
    }
    Ok(())
}

/// The names of a query's columns, if nothing has to be looked up for them.
fn of_body(body: &SetExpr) -> Option<Vec<String>> {
    match body {
        SetExpr::Select(select) => {
            let name = |item: &SelectItem| match item {
                SelectItem::UnnamedExpr(expr) => Some(names::figure(expr)),
                SelectItem::ExprWithAlias { alias, .. } => Some(fold(alias)),
                _ => None,
            };
            select.projection.iter().map(name).collect()
        }
        SetExpr::Values(values) => {
            let width = values.rows.first()?.content.len();
            Some((1..=width).map(|place| format!("column{place}")).collect())
        }
        SetExpr::SetOperation { left, .. } => of_body(left),
        SetExpr::Query(query) => of_body(&query.body),
        _ => None,
    }
}

/// Names as they are given to the planner, which wants no two alike.
pub(in crate::engine) fn distinct(names: &[String]) -> Vec<Ident> {
    let mut times: HashMap<&str, usize> = HashMap::new();
    for name in names {
        *times.entry(name).or_default() += 1;
    }
    let alone = |name: &String| times.get(name.as_str()) == Some(&1);
    let given = |(place, name): (usize, &String)| {
        if alone(name) { Ident::with_quote('"', name.clone()) } else { marked(name, place) }
    };
    names.iter().enumerate().map(given).collect()
}

#[cfg(test)]
mod tests {
    use super::super::parsed;
    use super::*;

    fn with(sql: &str) -> Result<String, String> {
        let done = parsed::query(sql, |query| {
            query.with.iter_mut().flat_map(|with| &mut with.cte_tables).try_for_each(of_with)
        });
        done.map(|text| text.replace(super::super::MARK, "#"))
    }

    #[test]
    fn what_is_not_named_keeps_its_name() {
        for (sql, expected) in [
            ("WITH t(a) AS (SELECT 1, 2 AS b) SELECT 1", "t (\"a\", \"b\")"),
            ("WITH t(a) AS (VALUES (1, 2, 3)) SELECT 1", "t (\"a\", \"column2\", \"column3\")"),
            ("WITH t(a) AS ((SELECT 1, b FROM u) UNION SELECT 2, 3) SELECT 1", "t (\"a\", \"b\")"),
            ("WITH t(b) AS (SELECT 1, b FROM u) SELECT 1", "t (\"b#0\", \"b#1\")"),
            ("WITH t(a, b) AS (SELECT 1, 2) SELECT 1", "t (a, b)"),
            ("WITH t(a) AS (SELECT * FROM u) SELECT 1", "t (a)"),
            ("WITH t AS (SELECT 1, 2) SELECT 1", "t AS"),
        ] {
            let changed = with(sql).unwrap();
            assert!(changed.starts_with(&format!("WITH {expected}")), "{sql}: {changed}");
        }
        assert_eq!(with("WITH t(a, b, c) AS (SELECT 1, 2) SELECT 1"), Err("42P10".to_owned()));
    }

    #[test]
    fn a_function_is_called_like_its_column() {
        for (sql, expected) in [
            ("generate_series(1, 3)", "generate_series(1, 3) AS \"generate_series\" (\"generate_series\")"),
            ("Generate_Series(1, 3) AS g", "generate_series(1, 3) AS g (g)"),
            ("pg_catalog.generate_series(1, 3) \"G\"", "generate_series(1, 3) \"G\" (\"G\")"),
            ("generate_series(1, 3) AS g(n)", "generate_series(1, 3) AS g (n)"),
            ("unnest(ARRAY[1]) AS u", "UNNEST(ARRAY[1]) AS u (u)"),
            ("unnest(ARRAY[1], ARRAY[2]) AS u", "UNNEST(ARRAY[1], ARRAY[2]) AS u"),
            ("t AS g", "t AS g"),
        ] {
            let changed = parsed::query(&format!("SELECT * FROM {sql}"), |query| {
                if let SetExpr::Select(select) = query.body.as_mut() {
                    select.from.iter_mut().for_each(|table| of_function(&mut table.relation));
                }
                Ok(())
            });
            assert_eq!(changed.as_deref(), Ok(format!("SELECT * FROM {expected}").as_str()), "{sql}");
        }
    }
}
