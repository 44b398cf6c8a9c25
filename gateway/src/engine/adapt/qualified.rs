//! Columns of tables around a subquery that are called as a column in it is.
//!
//! Where a column `berth` is in sight, the planner takes `berth.code` for a part of it and looks no further for a table
//! `berth` around the subquery. To PostgreSQL the name before the dot is a table's (PostgreSQL 17, parse_expr.c,
//! transformColumnRef). With one more name before it, it is a table's to the planner too. For statements that were
//! refused without it; where one name stands for tables of several schemas it stays, because a wrong schema names none.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, ObjectNamePart, Statement, TableFactor, Visit, VisitMut, Visitor, VisitorMut,
};

use super::{MARK, fold};

/// Names the schema of every column that is named with its table.
pub(in crate::engine) fn name_schemas(statement: &mut Statement) {
    let mut tables = Tables::default();
    let _: ControlFlow<()> = Visit::visit(statement, &mut tables);
    let _: ControlFlow<()> = VisitMut::visit(statement, &mut Naming(tables));
}

/// By name, the schema by which a table is in sight; none where names of two schemas meet.
#[derive(Debug, Default)]
struct Tables(BTreeMap<String, Option<Ident>>);

impl Tables {
    fn note(&mut self, name: String, schema: &Ident) {
        let same = |other: &Option<Ident>| other.as_ref().is_some_and(|other| fold(other) == fold(schema));
        let known = self.0.entry(name).or_insert_with(|| Some(schema.clone()));
        if !same(known) {
            *known = None;
        }
    }
}

impl Visitor for Tables {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        // What is called by an alias alone is found under any schema.
        let any = Ident::with_quote('"', MARK);
        match factor {
            TableFactor::Table { alias: Some(alias), .. }
            | TableFactor::Derived { alias: Some(alias), .. }
            | TableFactor::TableFunction { alias: Some(alias), .. }
            | TableFactor::Function { alias: Some(alias), .. }
            | TableFactor::UNNEST { alias: Some(alias), .. }
            | TableFactor::NestedJoin { alias: Some(alias), .. } => self.note(fold(&alias.name), &any),
            TableFactor::Table { name, alias: None, .. } => match name.0.as_slice() {
                [.., ObjectNamePart::Identifier(schema), ObjectNamePart::Identifier(table)] => {
                    self.note(fold(table), schema);
                }
                [ObjectNamePart::Identifier(table)] => self.note(fold(table), &any),
                _ => {}
            },
            _ => {}
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
            parts.insert(0, schema.clone());
        }
        ControlFlow::Continue(())
    }
}
