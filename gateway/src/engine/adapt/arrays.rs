//! `x = ANY ('{1,2}')` and its relatives with an array that is written out, as a list or as one comparison for each element.
//!
//! A quoted literal there is an array of what stands on the left (PostgreSQL 17, parse_oper.c, make_scalar_array_op), so
//! its elements are quoted literals beside it, read by the type they meet. A list is pushed down and pruned by, which a
//! function over an array is not. It must never take a text that has a type for a literal.

use datafusion::sql::sqlparser::ast::{Array, ArrayElemTypeDef, BinaryOperator, DataType, Expr, Value};

use super::forms::{cast, quoted, text};
use super::rows;
use crate::error::QueryError;
use crate::pgtypes::input;

/// Spells out one comparison with the elements of an array.
///
/// # Errors
/// 22P02 for a malformed array, 0A000 for one of more dimensions or with bounds.
pub(super) fn expression(expr: &mut Expr) -> Result<(), QueryError> {
    let (left, op, right, any) = match &*expr {
        Expr::AnyOp { left, compare_op, right, .. } => (left, compare_op, right, true),
        Expr::AllOp { left, compare_op, right } => (left, compare_op, right, false),
        _ => return Ok(()),
    };
    let listed = matches!((op, any), (BinaryOperator::Eq, true) | (BinaryOperator::NotEq, false));
    let items = match literal(right)? {
        Some(items) => items,
        None if listed => match elements(right) {
            Some(items) => items,
            None => return Ok(()),
        },
        None => return Ok(()),
    };
    *expr = match items.is_empty() {
        true => of_none(left, any),
        false if listed => Expr::InList { expr: left.clone(), list: items, negated: !any },
        false => {
            let compared = items.into_iter().map(|item| Expr::BinaryOp {
                left: left.clone(),
                op: op.clone(),
                right: Box::new(item),
            });
            let compared = compared.collect();
            if any { rows::any(compared) } else { rows::all(compared) }
        }
    };
    Ok(())
}

/// A comparison with no element at all, which is not unknown even of a null. Its left side is kept to be looked up.
fn of_none(left: &Expr, any: bool) -> Expr {
    let (op, answer) = if any { (BinaryOperator::And, false) } else { (BinaryOperator::Or, true) };
    Expr::Nested(Box::new(Expr::BinaryOp {
        left: Box::new(Expr::IsNull(Box::new(left.clone()))),
        op,
        right: Box::new(Expr::Value(Value::Boolean(answer).into())),
    }))
}

/// The elements of a quoted literal, quoted literals themselves.
fn literal(expr: &Expr) -> Result<Option<Vec<Expr>>, QueryError> {
    if let Expr::Nested(inner) = expr {
        return literal(inner);
    }
    let Some(written) = quoted(expr) else { return Ok(None) };
    let item = |item: Option<String>| item.map_or_else(|| Expr::Value(Value::Null.into()), text);
    Ok(Some(input::array_items(written)?.into_iter().map(item).collect()))
}

/// The elements of an array constructor that has some.
fn elements(expr: &Expr) -> Option<Vec<Expr>> {
    match expr {
        Expr::Array(Array { elem, .. }) if !elem.is_empty() => Some(elem.clone()),
        Expr::Nested(inner) => elements(inner),
        Expr::Cast { expr, data_type: DataType::Array(element), .. } => {
            let element = element_type(element)?.clone();
            Some(elements(expr)?.into_iter().map(|item| cast(item, element.clone())).collect())
        }
        _ => None,
    }
}

/// The type of an array type's elements.
pub(super) fn element_type(definition: &ArrayElemTypeDef) -> Option<&DataType> {
    match definition {
        ArrayElemTypeDef::SquareBracket(element, _) | ArrayElemTypeDef::AngleBracket(element) => {
            Some(element)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::parsed;
    use super::*;

    #[test]
    fn elements_are_compared_one_by_one() {
        for (sql, expected) in [
            ("a = ANY('{1,2}')", "a IN ('1', '2')"),
            ("a = SOME ('{1,NULL}')", "a IN ('1', NULL)"),
            ("a <> ALL ('{\"b c\",\"NULL\"}')", "a NOT IN ('b c', 'NULL')"),
            ("a = ANY(('{1}'))", "a IN ('1')"),
            ("a > ANY('{1,2}')", "a > '1' OR a > '2'"),
            ("a <= ALL('{1,2}')", "a <= '1' AND a <= '2'"),
            ("a = ALL('{1,2}')", "a = '1' AND a = '2'"),
            ("a <> ANY('{1,2}')", "a <> '1' OR a <> '2'"),
            ("a = ANY('{}')", "(a IS NULL AND false)"),
            ("a < ALL('{}')", "(a IS NULL OR true)"),
            ("a = ANY(ARRAY[1, 2])", "a IN (1, 2)"),
            ("a <> ALL(ARRAY[1]::int[])", "a NOT IN (CAST(1 AS INT))"),
            ("a > ANY(ARRAY[1, 2])", "a > ANY(ARRAY[1, 2])"),
            ("a = ANY(b)", "a = ANY(b)"),
            ("a = ANY('x'::text)", "a = ANY('x'::TEXT)"),
        ] {
            assert_eq!(parsed::expression(sql, expression).as_deref(), Ok(expected), "{sql}");
        }
        for (sql, state) in
            [("a = ANY('1,2')", "22P02"), ("a = ANY('{{1}}')", "0A000"), ("a > ALL('{1')", "22P02")]
        {
            assert_eq!(parsed::expression(sql, expression), Err(state.to_owned()), "{sql}");
        }
    }
}
