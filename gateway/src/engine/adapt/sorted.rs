//! Names in the expressions of ORDER BY: a name that stands alone is an output's, one in an expression a column's.
//!
//! DataFusion looks for an output everywhere: `SELECT g AS id … ORDER BY id + 0` was sorted by `g` (PostgreSQL 17,
//! parse_clause.c, findTargetlistEntrySQL92). The outputs of a statement get other names for as long as it is planned, if an
//! expression has theirs. In a query inside of another one, which knows them by their names, the column is qualified.

use std::convert::Infallible;

use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, Ident, ObjectNamePart, OrderByExpr, OrderByKind, Query, Select, SelectItem, SetExpr,
    TableFactor,
};

use super::{fold, forms, marked, outside};

/// Puts the place of an output where ORDER BY says the same expression as a `SELECT DISTINCT`, which may be sorted by what
/// it shows. DataFusion knows an output by its name, and it has another one here.
pub(super) fn by_place(query: &mut Query) {
    let (SetExpr::Select(select), Some(order)) = (query.body.as_ref(), &mut query.order_by) else { return };
    let (Some(Distinct::Distinct), OrderByKind::Expressions(keys)) = (&select.distinct, &mut order.kind)
    else {
        return;
    };
    for key in keys {
        if matches!(key.expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_)) {
            continue;
        }
        let outputs = select.projection.iter().map(|item| match item {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
            _ => None,
        });
        // Behind a `*` nobody knows the place.
        let mut outputs = outputs.map_while(|expr| expr);
        if let Some(place) = outputs.position(|expr| *expr == key.expr) {
            key.expr = forms::number(place.saturating_add(1).to_string());
        }
    }
}

/// Lets no name in an expression of a statement's ORDER BY be an output's.
pub(super) fn rename(query: &mut Query) {
    let (SetExpr::Select(select), Some(order)) = (query.body.as_mut(), &mut query.order_by) else { return };
    let OrderByKind::Expressions(keys) = &mut order.kind else { return };
    for (place, item) in select.projection.iter_mut().enumerate() {
        let Some(name) = renamed(item).filter(|name| has_in_expression(keys, name)) else { continue };
        let other = marked(&name, place);
        for key in keys.iter_mut() {
            if matches!(&key.expr, Expr::Identifier(alone) if fold(alone) == name) {
                key.expr = Expr::Identifier(other.clone());
            }
        }
        if let SelectItem::ExprWithAlias { alias, .. } = item {
            *alias = other;
        }
    }
}

fn has_in_expression(keys: &[OrderByExpr], name: &str) -> bool {
    let is_name = |expr: &Expr| matches!(expr, Expr::Identifier(found) if fold(found) == name);
    keys.iter()
        .filter(|key| !matches!(key.expr, Expr::Identifier(_)))
        .any(|key| outside::any(&key.expr, is_name))
}

/// Qualifies the columns in the ORDER BY of a query inside of another one.
pub(super) fn qualify(query: &mut Query) {
    let (SetExpr::Select(select), Some(order)) = (query.body.as_ref(), &mut query.order_by) else { return };
    let (Some(table), OrderByKind::Expressions(keys)) = (only_table(select), &mut order.kind) else { return };
    let outputs: Vec<String> = select.projection.iter().filter_map(renamed).collect();
    if outputs.is_empty() {
        return;
    }
    let qualified = |expr: &mut Expr| {
        if let Expr::Identifier(name) = &*expr
            && outputs.contains(&fold(name))
        {
            let parts = table.iter().cloned().chain([name.clone()]).collect();
            *expr = Expr::CompoundIdentifier(parts);
        }
        Ok::<(), Infallible>(())
    };
    for key in keys {
        if !matches!(key.expr, Expr::Identifier(_)) {
            let Ok(()) = outside::each(&mut key.expr, qualified);
        }
    }
}

/// The name of an output that is not the column of that name.
fn renamed(item: &SelectItem) -> Option<String> {
    let SelectItem::ExprWithAlias { expr, alias } = item else { return None };
    let itself = match expr {
        Expr::Identifier(name) => fold(name) == fold(alias),
        Expr::CompoundIdentifier(parts) => parts.last().is_some_and(|name| fold(name) == fold(alias)),
        _ => false,
    };
    (!itself).then(|| fold(alias))
}

/// What qualifies the columns of the one table that is read.
fn only_table(select: &Select) -> Option<Vec<Ident>> {
    let [table] = select.from.as_slice() else { return None };
    if !table.joins.is_empty() {
        return None;
    }
    match &table.relation {
        TableFactor::Table { alias: Some(alias), args: None, .. }
        | TableFactor::Derived { alias: Some(alias), .. } => Some(vec![alias.name.clone()]),
        TableFactor::Table { name, alias: None, args: None, .. } => {
            name.0.iter().map(|part| ObjectNamePart::as_ident(part).cloned()).collect()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::parsed;
    use super::*;

    #[test]
    fn a_name_in_an_expression_is_a_columns() {
        for (sql, expected) in [
            ("SELECT g AS id FROM t ORDER BY id + 0, id", "SELECT g AS id FROM t ORDER BY t.id + 0, id"),
            ("SELECT g AS id FROM s.t AS x ORDER BY -id", "SELECT g AS id FROM s.t AS x ORDER BY -x.id"),
            ("SELECT id FROM t ORDER BY id + 0", "SELECT id FROM t ORDER BY id + 0"),
            ("SELECT t.id AS id FROM t ORDER BY id + 0", "SELECT t.id AS id FROM t ORDER BY id + 0"),
            (
                "SELECT g AS id FROM t ORDER BY (SELECT max(id) FROM u)",
                "SELECT g AS id FROM t ORDER BY (SELECT max(id) FROM u)",
            ),
        ] {
            let changed = parsed::query(sql, |query| {
                qualify(query);
                Ok(())
            });
            assert_eq!(changed.as_deref(), Ok(expected));
        }
    }

    #[test]
    fn distinct_outputs_are_sorted_by_their_places() {
        for (sql, by) in [
            ("SELECT DISTINCT a, lower(b) FROM t ORDER BY lower(b) DESC, a", "2 DESC, a"),
            ("SELECT DISTINCT count(*) AS n FROM t GROUP BY a ORDER BY count(*)", "1"),
            ("SELECT DISTINCT *, a + 1 FROM t ORDER BY a + 1", "a + 1"),
            ("SELECT DISTINCT a FROM t ORDER BY a + 1", "a + 1"),
            ("SELECT a + 1 FROM t ORDER BY a + 1", "a + 1"),
        ] {
            let changed = parsed::query(sql, |query| {
                by_place(query);
                Ok(())
            });
            let changed = changed.unwrap();
            assert_eq!(changed.rsplit_once("ORDER BY ").unwrap().1, by, "{sql}");
        }
    }

    #[test]
    fn a_statements_outputs_give_way() {
        for (sql, expected) in [
            (
                "SELECT g AS id, a FROM t ORDER BY id + 0, id DESC, a",
                "SELECT g AS \"id\u{1}0\", a FROM t ORDER BY id + 0, \"id\u{1}0\" DESC, a",
            ),
            ("SELECT g AS id FROM t ORDER BY id DESC", "SELECT g AS id FROM t ORDER BY id DESC"),
            ("SELECT id AS id FROM t ORDER BY -id", "SELECT id AS id FROM t ORDER BY -id"),
        ] {
            let changed = parsed::query(sql, |query| {
                rename(query);
                Ok(())
            });
            assert_eq!(changed.as_deref(), Ok(expected));
        }
    }
}
