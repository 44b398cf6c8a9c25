//! Columns of tables around a subquery that are called as a column in it is.
//!
//! Where a column `berth` is in sight, the planner takes `berth.code` for a part of it and looks no further for a table
//! `berth` around the subquery. To PostgreSQL the name before the dot is a table's (PostgreSQL 17, parse_expr.c,
//! transformColumnRef). With one more name before it, it is a table's to the planner too. For statements that were
//! refused without it; where one name stands for tables of several schemas it stays, because a wrong schema names none.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Statement, TableFactor, Visit, VisitMut, Visitor, VisitorMut,
};

use super::ranges::known_as;
use super::{MARK, fold};

/// Names the schema of every column that is named with its table.
pub(in crate::engine) fn name_schemas(statement: &mut Statement) {
    let mut tables = Tables::default();
    let _: ControlFlow<()> = Visit::visit(statement, &mut tables);
    let _: ControlFlow<()> = VisitMut::visit(statement, &mut Naming(tables));
}

/// By name, the schema by which a table is in sight; none where names of two schemas meet.
#[derive(Debug, Default)]
struct Tables(BTreeMap<String, Option<String>>);

impl Visitor for Tables {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let Some((name, table)) = known_as(factor) {
            let schema = table.and_then(|table| table.into_iter().rev().nth(1));
            // What has none is found under any.
            let schema = Some(schema.unwrap_or_else(|| MARK.to_string()));
            let known = self.0.entry(name).or_insert_with(|| schema.clone());
            if *known != schema {
                *known = None;
            }
        }
        ControlFlow::Continue(())
    }
}

struct Naming(Tables);

impl VisitorMut for Naming {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::CompoundIdentifier(parts) = expr
            && let [table, _] = parts.as_slice()
            && let Some(Some(schema)) = self.0.0.get(&fold(table))
        {
            parts.insert(0, Ident::with_quote('"', schema.as_str()));
        }
        ControlFlow::Continue(())
    }
}
