//! `GROUP BY` as PostgreSQL reads it (17, parse_clause.c, transformGroupClause): parentheses around keys say nothing, an
//! element of a set may be several keys, and a number in it is the place of a result column.
//!
//! DataFusion takes such a number for a constant, which would be one group, and refuses the others as its own mistakes.
//! What no row can be grouped by, the value of a window function, is refused here too, in PostgreSQL's words.

use std::collections::HashSet;

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, ObjectNamePart, Select, SelectItem,
    Value,
};

use super::super::budget;
use super::outside;
use crate::error::{ErrorCode, QueryError};

/// Writes out the keys of a `GROUP BY`, and refuses a window function among them.
pub(super) fn write_out(select: &mut Select) -> Result<(), QueryError> {
    let Select { group_by: GroupByExpr::Expressions(keys, _), projection, .. } = select else {
        return Ok(());
    };
    let projection: &[SelectItem] = projection;
    let written = std::mem::take(keys);
    let some = !written.is_empty();
    for key in written {
        match key {
            Expr::Rollup(elements) => {
                let elements = elements_of(elements, projection)?;
                keys.push(if elements.iter().all(|element| element.len() == 1) {
                    Expr::Rollup(elements)
                } else {
                    Expr::GroupingSets(rolled_up(&elements))
                });
            }
            Expr::Cube(elements) => {
                let elements = elements_of(elements, projection)?;
                keys.push(if elements.iter().all(|element| element.len() == 1) {
                    Expr::Cube(elements)
                } else {
                    Expr::GroupingSets(cubed(&elements))
                });
            }
            Expr::GroupingSets(sets) => {
                let mut all = Vec::with_capacity(sets.len());
                let mut inside = 0;
                for set in sets {
                    let Some((cube, elements)) = inner(&set) else {
                        all.push(without_repeats(element_of(set, projection)?));
                        continue;
                    };
                    let elements = elements_of(elements, projection)?;
                    inside += budget::inner_sets(cube, &elements, inside)?;
                    all.extend(if cube { cubed(&elements) } else { rolled_up(&elements) });
                }
                keys.push(Expr::GroupingSets(all));
            }
            key => flat(key, keys),
        }
    }
    // One group, of no rows as well, which DataFusion takes for no GROUP BY at all.
    if some && keys.is_empty() {
        keys.push(Expr::GroupingSets(vec![Vec::new()]));
    }
    if keys.iter().any(|key| has_window(named(key, projection))) {
        let message = "window functions are not allowed in GROUP BY";
        return Err(QueryError::new(ErrorCode::WindowingError, message));
    }
    budget::check_sets(select)
}

/// The keys inside of a key's parentheses.
fn flat(key: Expr, keys: &mut Vec<Expr>) {
    match key {
        Expr::Tuple(parts) => parts.into_iter().for_each(|part| flat(part, keys)),
        Expr::Nested(inner) if matches!(*inner, Expr::Tuple(_) | Expr::Nested(_)) => flat(*inner, keys),
        key => keys.push(key),
    }
}

/// The elements of `ROLLUP` and `CUBE`.
fn elements_of(elements: Vec<Vec<Expr>>, projection: &[SelectItem]) -> Result<Vec<Vec<Expr>>, QueryError> {
    elements.into_iter().map(|element| element_of(element, projection)).collect()
}

/// The keys of one element, those that are places among them.
fn element_of(element: Vec<Expr>, projection: &[SelectItem]) -> Result<Vec<Expr>, QueryError> {
    let mut keys = Vec::with_capacity(element.len());
    element.into_iter().for_each(|key| flat(key, &mut keys));
    for key in &mut keys {
        if let Some(expr) = placed(key, projection)? {
            *key = expr.clone();
        }
    }
    Ok(keys)
}

/// The elements of `ROLLUP (…)` or `CUBE (…)` in the place of a set, which the parser reads as a function.
fn inner(set: &[Expr]) -> Option<(bool, Vec<Vec<Expr>>)> {
    let [Expr::Function(call)] = set else { return None };
    let [ObjectNamePart::Identifier(name)] = call.name.0.as_slice() else { return None };
    let cube = match name.value.to_ascii_lowercase().as_str() {
        "cube" if name.quote_style.is_none() => true,
        "rollup" if name.quote_style.is_none() => false,
        _ => return None,
    };
    let FunctionArguments::List(list) = &call.args else { return None };
    let element = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(vec![expr.clone()]),
        _ => None,
    };
    Some((cube, list.args.iter().map(element).collect::<Option<_>>()?))
}

/// What a number among the keys of a set stands for.
fn placed<'a>(key: &Expr, projection: &'a [SelectItem]) -> Result<Option<&'a Expr>, QueryError> {
    let Expr::Value(value) = key else { return Ok(None) };
    let Value::Number(digits, _) = &value.value else { return Ok(None) };
    let Ok(place) = digits.parse::<usize>() else {
        return Err(QueryError::new(ErrorCode::SyntaxError, "non-integer constant in GROUP BY"));
    };
    match item(place, projection) {
        Some(expr) => Ok(Some(expr)),
        None if projection.iter().all(is_one) => Err(QueryError::new(
            ErrorCode::InvalidColumnReference,
            format!("GROUP BY position {place} is not in select list"),
        )),
        None => Err(QueryError::unsupported("a position in ROLLUP, CUBE or GROUPING SETS beside *")
            .with_hint("name the column")),
    }
}

/// The sets of `ROLLUP`: all elements, then one less each time.
fn rolled_up(elements: &[Vec<Expr>]) -> Vec<Vec<Expr>> {
    let set = |count| without_repeats(elements.iter().take(count).flatten().cloned().collect());
    (0..=elements.len()).rev().map(set).collect()
}

/// The sets of `CUBE`, each of its elements in or out; their number is bounded before anything is adapted.
fn cubed(elements: &[Vec<Expr>]) -> Vec<Vec<Expr>> {
    let mut sets: Vec<Vec<Expr>> = vec![Vec::new()];
    for element in elements {
        let with: Vec<Vec<Expr>> =
            sets.iter().map(|set| set.iter().chain(element).cloned().collect()).collect();
        sets.extend(with);
    }
    sets.into_iter().map(without_repeats).collect()
}

/// A set by a column twice is the set by it once.
fn without_repeats(set: Vec<Expr>) -> Vec<Expr> {
    let mut seen = HashSet::with_capacity(set.len());
    set.into_iter().filter(|key| seen.insert(key.clone())).collect()
}

/// What a key stands for: itself, or the item at its position.
pub(super) fn named<'a>(key: &'a Expr, projection: &'a [SelectItem]) -> &'a Expr {
    let Expr::Value(value) = key else { return key };
    let Value::Number(digits, _) = &value.value else { return key };
    digits.parse::<usize>().ok().and_then(|place| item(place, projection)).unwrap_or(key)
}

/// The item at a place, counted from one.
fn item(place: usize, projection: &[SelectItem]) -> Option<&Expr> {
    // The items before a wildcard keep their places; one behind it is at another.
    match projection.get(..place)? {
        [before @ .., SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }]
            if before.iter().all(is_one) =>
        {
            Some(expr)
        }
        _ => None,
    }
}

fn is_one(item: &SelectItem) -> bool {
    matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. })
}

fn has_window(expr: &Expr) -> bool {
    outside::any(expr, |expr| matches!(expr, Expr::Function(call) if call.over.is_some()))
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::ast::SetExpr;

    use super::super::parsed;
    use super::*;

    fn written(sql: &str) -> Result<String, String> {
        parsed::query(sql, |query| match query.body.as_mut() {
            SetExpr::Select(select) => write_out(select),
            _ => Ok(()),
        })
    }

    #[test]
    fn elements_of_several_keys_and_places_are_written_out() {
        for (by, expected) in [
            ("(a, b), c", "a, b, c"),
            ("((a, (b, c)))", "a, b, c"),
            ("(), a", "a"),
            ("(), ()", "GROUPING SETS (())"),
            ("(a)", "(a)"),
            ("ROLLUP (a, b)", "ROLLUP (a, b)"),
            ("ROLLUP ((a, b), c)", "GROUPING SETS ((a, b, c), (a, b), ())"),
            ("ROLLUP ((a, b), (b, c))", "GROUPING SETS ((a, b, c), (a, b), ())"),
            ("CUBE ((a, b), c)", "GROUPING SETS ((), (a, b), (c), (a, b, c))"),
            ("ROLLUP (1, 2)", "ROLLUP (a, b + 1)"),
            (
                "GROUPING SETS (ROLLUP (a, b), CUBE ((a, 2), c), c)",
                "GROUPING SETS ((a, b), (a), (), (), (a, b + 1), (c), (a, b + 1, c), (c))",
            ),
            ("c, GROUPING SETS ((1, 2), ())", "c, GROUPING SETS ((a, b + 1), ())"),
        ] {
            let sql = format!("SELECT a, b + 1 AS x, count(*) FROM t GROUP BY {by}");
            let expected = format!("SELECT a, b + 1 AS x, count(*) FROM t GROUP BY {expected}");
            assert_eq!(written(&sql).as_deref(), Ok(expected.as_str()), "{by}");
        }
    }

    #[test]
    fn what_stands_for_nothing_is_refused() {
        for (sql, state) in [
            ("SELECT a FROM t GROUP BY ROLLUP (2)", "42P10"),
            ("SELECT a FROM t GROUP BY ROLLUP (0)", "42P10"),
            ("SELECT a FROM t GROUP BY ROLLUP (1.5)", "42601"),
            ("SELECT *, a FROM t GROUP BY ROLLUP (2)", "0A000"),
            (
                "SELECT a FROM t GROUP BY GROUPING SETS (CUBE (a, b, c, d, e, f, g, h, i, j, k, l, m))",
                "54011",
            ),
            (
                "SELECT a FROM t GROUP BY GROUPING SETS (CUBE (a, b, c, d, e, f, g, h, i, j, k, l), CUBE (a))",
                "54001",
            ),
            ("SELECT a, rank() OVER () FROM t GROUP BY ROLLUP (a, 2)", "42P20"),
            ("SELECT a, rank() OVER () FROM t GROUP BY a, 2", "42P20"),
        ] {
            assert_eq!(written(sql), Err(state.to_owned()), "{sql}");
        }
    }
}
