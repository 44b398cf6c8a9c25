//! Columns that a primary key in `GROUP BY` determines: PostgreSQL lets them stand beside it without being grouped by (17,
//! `pg_constraint.c`, `check_functional_grouping`), so they are said to be keys too.
//!
//! The groups are the same, because rows with the same key have the same columns, and so they are if the join shows
//! none of them. Nothing is told to the planner that it could draw conclusions from, and a table counts only if the key is
//! one that its store keeps. A column too many would change no group; one of another table would, so a name that two
//! relations have is left alone.

use std::collections::HashSet;
use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, GroupByExpr, Ident, ObjectName, OrderByExpr, OrderByKind, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, TableFactor, TableWithJoins, Visit, Visitor,
};
use portolan_catalog::source::TableDef;

use super::{fold, folded, groups};

/// The table a name in FROM stands for, if its key is kept.
type Known<'a> = &'a dyn Fn(&ObjectName) -> Option<Arc<TableDef>>;
/// Whether a function is an aggregate.
type Aggregates<'a> = &'a dyn Fn(&str) -> bool;

/// Completes the `GROUP BY` of a query that is no part of another one, and of the branches of its set operation.
pub(super) fn complete(query: &mut Query, known: Known<'_>, aggregates: Aggregates<'_>) {
    let order = match query.order_by.as_ref().map(|order| &order.kind) {
        Some(OrderByKind::Expressions(keys)) => keys.as_slice(),
        _ => &[],
    };
    match query.body.as_mut() {
        SetExpr::Select(select) => of_select(select, order, known, aggregates),
        other => of_branches(other, known, aggregates),
    }
}

fn of_branches(body: &mut SetExpr, known: Known<'_>, aggregates: Aggregates<'_>) {
    match body {
        SetExpr::Select(select) => of_select(select, &[], known, aggregates),
        SetExpr::SetOperation { left, right, .. } => {
            of_branches(left, known, aggregates);
            of_branches(right, known, aggregates);
        }
        _ => {}
    }
}

fn of_select(select: &mut Select, order: &[OrderByExpr], known: Known<'_>, aggregates: Aggregates<'_>) {
    let GroupByExpr::Expressions(keys, _) = &select.group_by else { return };
    let set = |key: &Expr| matches!(key, Expr::Rollup(_) | Expr::Cube(_) | Expr::GroupingSets(_));
    if keys.is_empty() || keys.iter().any(set) {
        return;
    }
    let mut relations = Vec::new();
    select.from.iter().for_each(|table| relations_of(table, known, &mut relations));
    let grouped: Vec<&Expr> = keys.iter().map(|key| groups::named(key, &select.projection)).collect();
    let mut named: Option<Names<'_>> = None;
    let mut determined = Vec::new();
    for relation in &relations {
        let Some(table) = &relation.table else { continue };
        let has = |column: &str| grouped.iter().any(|key| relation.is_column(key, table, column));
        let alone = relations.iter().filter(|other| other.name == relation.name).count() == 1;
        if !alone || table.primary_key.is_empty() || !table.primary_key.iter().all(|column| has(column)) {
            continue;
        }
        let named = named.get_or_insert_with(|| Names::of(select, order, aggregates));
        for field in table.arrow.fields() {
            if named.has(&relation.name, field.name()) && !has(field.name()) {
                let column = Ident::with_quote('"', field.name().clone());
                determined.push(Expr::CompoundIdentifier(vec![relation.shown.clone(), column]));
            }
        }
    }
    if let GroupByExpr::Expressions(keys, _) = &mut select.group_by {
        keys.extend(determined);
    }
}

/// One thing a FROM clause reads.
struct Relation {
    /// By what its columns are qualified, as it is written and as it is looked up.
    shown: Ident,
    name: String,
    table: Option<Arc<TableDef>>,
}

impl Relation {
    /// Whether an expression is a column of this relation. A bare name that another one has too is refused later.
    fn is_column(&self, expr: &Expr, table: &TableDef, column: &str) -> bool {
        match expr {
            Expr::Identifier(name) => fold(name) == column,
            Expr::Nested(inner) => self.is_column(inner, table, column),
            Expr::CompoundIdentifier(parts) => {
                let parts: Vec<String> = parts.iter().map(fold).collect();
                match parts.as_slice() {
                    [relation, name] => *relation == self.name && name == column,
                    [schema, relation, name] => {
                        *schema == table.schema && *relation == self.name && name == column
                    }
                    _ => false,
                }
            }
            _ => false,
        }
    }
}

fn relations_of(table: &TableWithJoins, known: Known<'_>, relations: &mut Vec<Relation>) {
    let factors = [&table.relation].into_iter().chain(table.joins.iter().map(|join| &join.relation));
    for factor in factors {
        let (alias, table) = match factor {
            TableFactor::Table { name, alias, args, .. } => {
                let renamed = alias.as_ref().is_some_and(|alias| !alias.columns.is_empty());
                let table = if args.is_some() || renamed { None } else { known(name) };
                let last = name.0.last().and_then(|part| part.as_ident());
                (alias.as_ref().map(|alias| &alias.name).or(last), table)
            }
            TableFactor::NestedJoin { table_with_joins, alias: None } => {
                relations_of(table_with_joins, known, relations);
                continue;
            }
            TableFactor::NestedJoin { alias, .. }
            | TableFactor::Derived { alias, .. }
            | TableFactor::UNNEST { alias, .. }
            | TableFactor::Function { alias, .. } => (alias.as_ref().map(|alias| &alias.name), None),
            _ => continue,
        };
        if let Some(name) = alias {
            relations.push(Relation { shown: name.clone(), name: fold(name), table });
        }
    }
}

/// The columns a query names outside of its aggregates.
struct Names<'a> {
    aggregates: Aggregates<'a>,
    /// Aggregates and subqueries around the place that is visited.
    within: usize,
    queries: usize,
    /// `*`, and the relations of `r.*`.
    all: bool,
    whole: HashSet<String>,
    bare: HashSet<String>,
    qualified: HashSet<(String, String)>,
}

impl<'a> Names<'a> {
    fn of(select: &Select, order: &[OrderByExpr], aggregates: Aggregates<'a>) -> Self {
        let mut names = Self {
            aggregates,
            within: 0,
            queries: 0,
            all: false,
            whole: HashSet::new(),
            bare: HashSet::new(),
            qualified: HashSet::new(),
        };
        for item in &select.projection {
            match item {
                SelectItem::Wildcard(_) => names.all = true,
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                    names.whole.extend(folded(name).pop());
                }
                item => names.visit(item),
            }
        }
        if let Some(Distinct::On(keys)) = &select.distinct {
            names.visit(keys);
        }
        names.visit(&select.having);
        names.visit(&select.named_window);
        order.iter().for_each(|key| names.visit(&key.expr));
        names
    }

    fn visit<T: Visit>(&mut self, part: &T) {
        let ControlFlow::Continue(()) = part.visit(self);
    }

    fn has(&self, relation: &str, column: &str) -> bool {
        self.all
            || self.whole.contains(relation)
            || self.bare.contains(column)
            || self.qualified.contains(&(relation.to_owned(), column.to_owned()))
    }

    /// An aggregate of this query; one in a subquery is computed from values that must be grouped here.
    fn is_aggregate(&self, expr: &Expr) -> bool {
        let Expr::Function(call) = expr else { return false };
        self.queries == 0
            && call.over.is_none()
            && folded(&call.name).last().is_some_and(|name| (self.aggregates)(name))
    }
}

impl Visitor for Names<'_> {
    type Break = Infallible;

    fn pre_visit_query(&mut self, _query: &Query) -> ControlFlow<Infallible> {
        self.queries += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<Infallible> {
        self.queries = self.queries.saturating_sub(1);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Infallible> {
        if self.is_aggregate(expr) {
            self.within += 1;
        }
        if self.within == 0 {
            match expr {
                Expr::Identifier(name) => {
                    self.bare.insert(fold(name));
                }
                Expr::CompoundIdentifier(parts) => {
                    if let [.., relation, name] = parts.as_slice() {
                        self.qualified.insert((fold(relation), fold(name)));
                    }
                }
                _ => {}
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Infallible> {
        if self.is_aggregate(expr) {
            self.within = self.within.saturating_sub(1);
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use portolan_catalog::source::TableKind;

    use super::super::parsed;
    use super::*;

    /// `s.t(id, name, "F k")` with the key `id`, and `s.p(a, b, id, c)` with the key `(a, b)`.
    fn known(name: &ObjectName) -> Option<Arc<TableDef>> {
        let (columns, key): (&[&str], &[&str]) = match folded(name).last()?.as_str() {
            "t" => (&["id", "name", "F k"], &["id"]),
            "p" => (&["a", "b", "id", "c"], &["a", "b"]),
            _ => return None,
        };
        let fields: Vec<Field> =
            columns.iter().map(|column| Field::new(*column, DataType::Int32, true)).collect();
        Some(Arc::new(TableDef {
            schema: "s".into(),
            name: folded(name).pop()?,
            arrow: Arc::new(Schema::new(fields)),
            comment: None,
            primary_key: key.iter().map(|column| (*column).to_owned()).collect(),
            foreign_keys: Vec::new(),
            row_estimate: None,
            kind: TableKind::Table,
        }))
    }

    /// What stands behind `GROUP BY` afterwards.
    fn grouped(sql: &str) -> String {
        let aggregate = |name: &str| matches!(name, "sum" | "count" | "max");
        let done = parsed::query(sql, |query| {
            complete(query, &known, &aggregate);
            Ok(())
        });
        let text = done.unwrap();
        let (_, by) = text.split_once("GROUP BY ").unwrap();
        by.to_owned()
    }

    #[test]
    fn what_a_key_determines_is_grouped_by_too() {
        for (sql, by) in [
            ("SELECT id, name, count(*) FROM t GROUP BY id", "id, t.\"name\""),
            ("SELECT x.name FROM s.t AS x GROUP BY x.id", "x.id, x.\"name\""),
            (
                "SELECT name FROM s.t GROUP BY s.t.id ORDER BY \"F k\"",
                "s.t.id, t.\"name\", t.\"F k\" ORDER BY \"F k\"",
            ),
            ("SELECT id, name FROM t GROUP BY 1", "1, t.\"name\""),
            ("SELECT t.* FROM t GROUP BY (t.id)", "(t.id), t.\"name\", t.\"F k\""),
            ("SELECT t.id, sum(name) FROM t GROUP BY t.id", "t.id"),
            ("SELECT t.id, sum(count(*)) OVER (PARTITION BY name) FROM t GROUP BY id", "id, t.\"name\""),
            ("SELECT c FROM p GROUP BY a, p.b", "a, p.b, p.\"c\""),
            ("SELECT name, c FROM t JOIN p ON t.id = p.c GROUP BY t.id", "t.id, t.\"name\""),
            (
                "SELECT 1 FROM t LEFT JOIN p ON true GROUP BY t.id HAVING max(c) > t.name",
                "t.id, t.\"name\" HAVING max(c) > t.name",
            ),
            ("SELECT (SELECT max(u.x + t.name) FROM u) FROM t GROUP BY t.id", "t.id, t.\"name\""),
        ] {
            assert_eq!(grouped(sql), by, "{sql}");
        }
    }

    #[test]
    fn what_no_key_determines_stays_as_it_is() {
        for (sql, by) in [
            ("SELECT id, name FROM t GROUP BY name", "name"),
            ("SELECT c FROM p GROUP BY a", "a"),
            ("SELECT name FROM u AS t GROUP BY t.id", "t.id"),
            ("SELECT y FROM t AS x(y, z, w) GROUP BY id", "id"),
            ("SELECT name FROM a.t, b.t GROUP BY t.id", "t.id"),
            ("SELECT name FROM t, u GROUP BY u.id", "u.id"),
            ("SELECT name FROM t GROUP BY id + 1", "id + 1"),
            ("SELECT name FROM t GROUP BY ROLLUP (id)", "ROLLUP (id)"),
        ] {
            assert_eq!(grouped(sql), by, "{sql}");
        }
    }
}
