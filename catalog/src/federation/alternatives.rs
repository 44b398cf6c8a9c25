//! Several filters of which one must hold, as one filter that sources understand and servers can use.
//!
//! Each partition of a join has a filter of its own, alike but for its values: a range and a list over the same keys.
//! Their OR would be long and would use no index, so ranges become one range and lists one list. The result may let
//! more rows through than the OR, never fewer.

use std::cmp::Ordering;
use std::collections::HashSet;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::utils::{conjunction, disjunction, split_conjunction};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, lit};

/// The filters joined by OR, or something wider; `None` if there is none.
pub(super) fn any_of(branches: Vec<Expr>) -> Option<Expr> {
    let parts: Vec<Vec<&Expr>> = branches.iter().map(split_conjunction).collect();
    let (first, others) = parts.split_first()?;
    if others.is_empty() {
        return branches.into_iter().next();
    }
    let merged: Vec<Expr> =
        first.iter().filter_map(|part| range(part, others).or_else(|| list(part, others))).collect();
    conjunction(merged).or_else(|| disjunction(branches))
}

fn bound(part: &Expr) -> Option<(&Expr, Operator, &ScalarValue)> {
    let Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::GtEq | Operator::LtEq), right }) = part
    else {
        return None;
    };
    match right.as_ref() {
        Expr::Literal(value, _) if !value.is_null() => Some((left, *op, value)),
        _ => None,
    }
}

/// The least of the lower bounds of one expression, or the greatest of its upper ones.
fn range(part: &Expr, others: &[Vec<&Expr>]) -> Option<Expr> {
    let (tested, op, value) = bound(part)?;
    let keep = if op == Operator::GtEq { Ordering::Less } else { Ordering::Greater };
    let mut outermost = value;
    for other in others {
        let value = other.iter().find_map(|part| {
            let (of, way, value) = bound(part)?;
            (of == tested && way == op).then_some(value)
        })?;
        if value.partial_cmp(outermost)? == keep {
            outermost = value;
        }
    }
    Some(Expr::BinaryExpr(BinaryExpr::new(Box::new(tested.clone()), op, Box::new(lit(outermost.clone())))))
}

/// The values of all lists of one expression.
fn list(part: &Expr, others: &[Vec<&Expr>]) -> Option<Expr> {
    let Expr::InList(InList { expr: tested, list, negated: false }) = part else { return None };
    let mut seen: HashSet<&Expr> = list.iter().collect();
    let mut values: Vec<&Expr> = list.iter().collect();
    for other in others {
        let more = other.iter().find_map(|part| match part {
            Expr::InList(InList { expr, list, negated: false }) if expr == tested => Some(list),
            _ => None,
        })?;
        values.extend(more.iter().filter(|value| seen.insert(value)));
    }
    let values = values.into_iter().cloned().collect();
    Some(Expr::InList(InList::new(tested.clone(), values, false)))
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::col;

    use super::*;

    fn branch(low: i64, high: i64, values: &[i64]) -> Expr {
        let range = col("k").gt_eq(lit(low)).and(col("k").lt_eq(lit(high)));
        range.and(col("k").in_list(values.iter().map(|value| lit(*value)).collect(), false))
    }

    #[test]
    fn ranges_and_lists_over_one_key_become_one() {
        assert_eq!(
            any_of(vec![branch(3, 9, &[3, 9]), branch(1, 5, &[1, 5])]),
            Some(branch(1, 9, &[3, 9, 1, 5]))
        );
        assert_eq!(any_of(vec![branch(3, 9, &[3, 9])]), Some(branch(3, 9, &[3, 9])));
        assert_eq!(any_of(vec![]), None);
    }

    #[test]
    fn what_one_filter_lacks_is_not_asked_of_all() {
        let ranged = col("k").gt_eq(lit(2_i64)).and(col("k").lt_eq(lit(20_i64)));
        let both = any_of(vec![branch(3, 9, &[3, 9]), ranged]);
        assert_eq!(both, Some(col("k").gt_eq(lit(2_i64)).and(col("k").lt_eq(lit(20_i64)))));
        let unlike = vec![col("k").eq(lit(1_i64)), col("j").eq(lit(1_i64))];
        assert_eq!(any_of(unlike.clone()), disjunction(unlike));
    }
}
