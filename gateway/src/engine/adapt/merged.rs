//! The merged column of a RIGHT or FULL join with `USING`, spelled out.
//!
//! DataFusion takes a bare name of `USING` for the left table's column, which is null where the left side has no row. In
//! PostgreSQL it is the right one's in a RIGHT join, and the first that is not null in a FULL one (PostgreSQL 17,
//! parse_clause.c, buildMergedJoinVar). Such a FROM clause gets conditions in the place of `USING`, and the bare names of
//! its query what they stand for. What cannot be told from the text alone is refused by name, never guessed.

use std::convert::Infallible;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Distinct, ExceptSelectItem, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentList, FunctionArguments, Ident, JoinConstraint, JoinOperator, ObjectName, ObjectNamePart,
    OrderByExpr, OrderByKind, Query, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr,
    TableFactor, TableWithJoins, VisitMut, WildcardAdditionalOptions,
};

use super::{fold, names, outside};
use crate::error::QueryError;

/// A bare name of `USING`.
struct Merged {
    name: String,
    value: Expr,
    /// The tables it is a column of, by their places in the FROM clause.
    tables: Vec<usize>,
}

/// Which rows of a join show without a partner.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// None, or the left side's.
    Left,
    Right,
    Full,
}

/// Spells out the joins of a query that is no part of another one, and of the branches of its set operation.
pub(super) fn spell_out(query: &mut Query) -> Result<(), QueryError> {
    let order = query.order_by.as_mut().and_then(|order| match &mut order.kind {
        OrderByKind::Expressions(keys) => Some(keys),
        OrderByKind::All(_) => None,
    });
    match query.body.as_mut() {
        SetExpr::Select(select) => of_select(select, order),
        other => of_branches(other),
    }
}

fn of_branches(body: &mut SetExpr) -> Result<(), QueryError> {
    match body {
        SetExpr::Select(select) => of_select(select, None),
        SetExpr::SetOperation { left, right, .. } => {
            of_branches(left)?;
            of_branches(right)
        }
        _ => Ok(()),
    }
}

fn of_select(select: &mut Select, order: Option<&mut Vec<OrderByExpr>>) -> Result<(), QueryError> {
    let lone = select.from.len() == 1;
    let (mut merged, mut tables) = (Vec::new(), Vec::new());
    for table in &mut select.from {
        if nested_needs(&table.relation) || table.joins.iter().any(|join| nested_needs(&join.relation)) {
            return Err(refused("RIGHT or FULL JOIN … USING in parentheses"));
        }
        if needs(table) {
            let (found, of) = of_table(table)?;
            merged.extend(found);
            tables = of;
        }
    }
    if merged.is_empty() {
        return Ok(());
    }
    let mut shown = Vec::with_capacity(select.projection.len());
    for item in std::mem::take(&mut select.projection) {
        match item {
            SelectItem::Wildcard(options) if lone && options == WildcardAdditionalOptions::default() => {
                shown.extend(wildcard(&merged, &tables));
            }
            SelectItem::Wildcard(_) => return Err(refused("SELECT * over RIGHT or FULL JOIN … USING here")),
            SelectItem::UnnamedExpr(mut expr) => {
                let before = expr.clone();
                replace(&mut expr, &merged);
                shown.push(if expr == before {
                    SelectItem::UnnamedExpr(expr)
                } else {
                    let alias = Ident::with_quote('"', names::figure(&before));
                    SelectItem::ExprWithAlias { expr, alias }
                });
            }
            SelectItem::ExprWithAlias { mut expr, alias } => {
                replace(&mut expr, &merged);
                shown.push(SelectItem::ExprWithAlias { expr, alias });
            }
            other => shown.push(other),
        }
    }
    select.projection = shown;
    if let Some(Distinct::On(keys)) = &mut select.distinct {
        keys.iter_mut().for_each(|key| replace(key, &merged));
    }
    if let Some(condition) = &mut select.selection {
        replace(condition, &merged);
    }
    replace(&mut select.group_by, &merged);
    if let Some(condition) = &mut select.having {
        replace(condition, &merged);
    }
    select.named_window.iter_mut().for_each(|window| replace(window, &merged));
    for key in order.into_iter().flatten() {
        // An output's name goes before a column's where it stands alone.
        let of_output = |name: &Ident| {
            select.projection.iter().any(
                |item| matches!(item, SelectItem::ExprWithAlias { alias, .. } if fold(alias) == fold(name)),
            )
        };
        if !matches!(&key.expr, Expr::Identifier(name) if of_output(name)) {
            replace(&mut key.expr, &merged);
        }
    }
    Ok(())
}

fn refused(what: &str) -> QueryError {
    QueryError::unsupported(what).with_hint("write the condition with ON and the merged column as coalesce")
}

fn kind(operator: &JoinOperator) -> Option<Kind> {
    match operator {
        JoinOperator::Join(_)
        | JoinOperator::Inner(_)
        | JoinOperator::Left(_)
        | JoinOperator::LeftOuter(_)
        | JoinOperator::CrossJoin(_) => Some(Kind::Left),
        JoinOperator::Right(_) | JoinOperator::RightOuter(_) => Some(Kind::Right),
        JoinOperator::FullOuter(_) => Some(Kind::Full),
        _ => None,
    }
}

fn constraint(operator: &mut JoinOperator) -> Option<&mut JoinConstraint> {
    match operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::CrossJoin(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint) => Some(constraint),
        _ => None,
    }
}

/// Whether some merged column is not the left side's, or two have one name.
fn needs(table: &TableWithJoins) -> bool {
    let mut using = 0;
    let mut outer = false;
    for join in &table.joins {
        if let JoinOperator::Join(one)
        | JoinOperator::Inner(one)
        | JoinOperator::Left(one)
        | JoinOperator::LeftOuter(one)
        | JoinOperator::Right(one)
        | JoinOperator::RightOuter(one)
        | JoinOperator::FullOuter(one) = &join.join_operator
            && matches!(one, JoinConstraint::Using(_) | JoinConstraint::Natural)
        {
            using += 1;
            outer |= kind(&join.join_operator) != Some(Kind::Left);
        }
    }
    using > 0 && outer
}

fn nested_needs(factor: &TableFactor) -> bool {
    match factor {
        TableFactor::NestedJoin { table_with_joins, .. } => {
            needs(table_with_joins)
                || nested_needs(&table_with_joins.relation)
                || table_with_joins.joins.iter().any(|join| nested_needs(&join.relation))
        }
        _ => false,
    }
}

/// By what a table's columns are qualified.
fn qualifier(factor: &TableFactor) -> Result<Vec<Ident>, QueryError> {
    let (alias, name) = match factor {
        TableFactor::Table { alias, name, .. } => (alias, Some(name)),
        TableFactor::Derived { alias, .. } | TableFactor::Function { alias, .. } => (alias, None),
        _ => return Err(refused("RIGHT or FULL JOIN … USING with this kind of table")),
    };
    if let Some(alias) = alias {
        return Ok(vec![alias.name.clone()]);
    }
    let parts = name.map(|name| name.0.iter().map(ObjectNamePart::as_ident).collect::<Option<Vec<_>>>());
    match parts.flatten() {
        Some(parts) => Ok(parts.into_iter().cloned().collect()),
        None => Err(refused("RIGHT or FULL JOIN … USING with a table without a name")),
    }
}

fn column(qualifier: &[Ident], name: &Ident) -> Expr {
    Expr::CompoundIdentifier(qualifier.iter().chain([name]).cloned().collect())
}

/// The merged columns of a FROM clause's item, in the order in which `*` shows them, and its tables.
fn of_table(table: &mut TableWithJoins) -> Result<(Vec<Merged>, Vec<Vec<Ident>>), QueryError> {
    let mut tables = vec![qualifier(&table.relation)?];
    let mut merged: Vec<Merged> = Vec::new();
    for join in &mut table.joins {
        let right = qualifier(&join.relation)?;
        let Some(kind) = kind(&join.join_operator) else {
            return Err(refused("this kind of join beside RIGHT or FULL JOIN … USING"));
        };
        match constraint(&mut join.join_operator) {
            Some(JoinConstraint::Natural) => {
                return Err(QueryError::unsupported("NATURAL beside a RIGHT or FULL JOIN")
                    .with_hint("name the columns with USING"));
            }
            Some(JoinConstraint::On(condition)) => replace(condition, &merged),
            Some(constraint @ JoinConstraint::Using(_)) => {
                let JoinConstraint::Using(columns) = std::mem::replace(constraint, JoinConstraint::None)
                else {
                    continue;
                };
                let (mut conditions, mut first) = (Vec::new(), Vec::new());
                for name in &columns {
                    let [ObjectNamePart::Identifier(name)] = name.0.as_slice() else {
                        return Err(refused("a qualified name in USING"));
                    };
                    let known = merged.iter().position(|other| other.name == fold(name));
                    let before = match (known, tables.as_slice()) {
                        (Some(at), _) => merged.remove(at),
                        (None, [only]) => {
                            Merged { name: fold(name), value: column(only, name), tables: vec![0] }
                        }
                        _ => return Err(refused("USING a column of one of several tables")),
                    };
                    let other = column(&right, name);
                    conditions.push(binary(before.value.clone(), BinaryOperator::Eq, other.clone()));
                    let value = match kind {
                        Kind::Left => before.value,
                        Kind::Right => other,
                        Kind::Full => coalesce(before.value, other),
                    };
                    let of = before.tables.into_iter().chain([tables.len()]).collect();
                    first.push(Merged { name: before.name, value, tables: of });
                }
                first.append(&mut merged);
                merged = first;
                let all = conditions.into_iter().reduce(|one, two| binary(one, BinaryOperator::And, two));
                if let Some(all) = all {
                    *constraint = JoinConstraint::On(all);
                }
            }
            _ => {}
        }
        tables.push(right);
    }
    Ok((merged, tables))
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

fn coalesce(left: Expr, right: Expr) -> Expr {
    let args = [left, right].map(|value| FunctionArg::Unnamed(FunctionArgExpr::Expr(value)));
    Expr::Function(Function {
        name: ObjectName::from(Ident::new("coalesce")),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.into(),
            clauses: vec![],
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: vec![],
    })
}

/// What `*` shows: the merged columns, then what else each table has.
fn wildcard(merged: &[Merged], tables: &[Vec<Ident>]) -> Vec<SelectItem> {
    let named = |column: &Merged| Ident::with_quote('"', column.name.clone());
    let first = merged
        .iter()
        .map(|column| SelectItem::ExprWithAlias { expr: column.value.clone(), alias: named(column) });
    let rest = tables.iter().enumerate().map(|(place, table)| {
        let mut shown = merged.iter().filter(|column| column.tables.contains(&place)).map(named);
        let opt_except = shown
            .next()
            .map(|first_element| ExceptSelectItem { first_element, additional_elements: shown.collect() });
        let name = ObjectName(table.iter().cloned().map(ObjectNamePart::Identifier).collect());
        let options = WildcardAdditionalOptions { opt_except, ..WildcardAdditionalOptions::default() };
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options)
    });
    first.chain(rest).collect()
}

/// Puts the values of merged columns in the places of their bare names, outside of subqueries.
fn replace<T: VisitMut>(tree: &mut T, merged: &[Merged]) {
    let Ok(()) = outside::each(tree, |expr| {
        if let Expr::Identifier(name) = &*expr
            && let Some(column) = merged.iter().find(|column| column.name == fold(name))
        {
            *expr = column.value.clone();
        }
        Ok::<(), Infallible>(())
    });
}

#[cfg(test)]
mod tests {
    use super::super::parsed;
    use super::*;

    #[test]
    fn bare_names_are_what_they_stand_for() {
        for (sql, expected) in [
            (
                "SELECT id FROM l FULL JOIN r USING (id) WHERE id > 1 ORDER BY id",
                "SELECT coalesce(l.id, r.id) AS \"id\" FROM l FULL JOIN r ON l.id = r.id WHERE \
                 coalesce(l.id, r.id) > 1 ORDER BY id",
            ),
            (
                "SELECT id + 1, l.id FROM l RIGHT JOIN s.r USING (id) ORDER BY id",
                "SELECT s.r.id + 1 AS \"?column?\", l.id FROM l RIGHT JOIN s.r ON l.id = s.r.id ORDER BY s.r.id",
            ),
            (
                "SELECT * FROM l FULL JOIN r USING (a, b)",
                "SELECT coalesce(l.a, r.a) AS \"a\", coalesce(l.b, r.b) AS \"b\", l.* EXCEPT (\"a\", \"b\"), \
                 r.* EXCEPT (\"a\", \"b\") FROM l FULL JOIN r ON l.a = r.a AND l.b = r.b",
            ),
            (
                "SELECT id FROM l FULL JOIN r USING (id) LEFT JOIN q USING (id)",
                "SELECT coalesce(l.id, r.id) AS \"id\" FROM l FULL JOIN r ON l.id = r.id LEFT JOIN q ON \
                 coalesce(l.id, r.id) = q.id",
            ),
            (
                "SELECT id FROM l FULL JOIN r USING (id) WHERE EXISTS (SELECT 1 FROM q WHERE id = 1)",
                "SELECT coalesce(l.id, r.id) AS \"id\" FROM l FULL JOIN r ON l.id = r.id WHERE EXISTS \
                 (SELECT 1 FROM q WHERE id = 1)",
            ),
            ("SELECT id FROM l LEFT JOIN r USING (id)", "SELECT id FROM l LEFT JOIN r USING(id)"),
        ] {
            assert_eq!(parsed::query(sql, spell_out).as_deref(), Ok(expected), "{sql}");
        }
    }

    #[test]
    fn what_the_text_does_not_tell_is_refused() {
        for sql in [
            "SELECT a FROM l NATURAL FULL JOIN r",
            "SELECT id FROM l JOIN m ON l.a = m.a FULL JOIN r USING (id)",
            "SELECT id FROM q JOIN (l FULL JOIN r USING (id)) USING (id)",
        ] {
            assert_eq!(parsed::query(sql, spell_out), Err("0A000".to_owned()), "{sql}");
        }
    }
}
