//! What no row can be grouped by: the value of a window function, which is known only once rows are grouped.
//!
//! DataFusion refuses it without saying what it is.

use datafusion::sql::sqlparser::ast::{Expr, GroupByExpr, Select, SelectItem, Value};

use super::outside;
use crate::error::{ErrorCode, QueryError};

/// Refuses a `GROUP BY` with a window function in it, or with the position of one.
pub(super) fn check(select: &Select) -> Result<(), QueryError> {
    let GroupByExpr::Expressions(keys, _) = &select.group_by else { return Ok(()) };
    if keys.iter().any(|key| has_window(named(key, select))) {
        let message = "window functions are not allowed in GROUP BY";
        return Err(QueryError::new(ErrorCode::WindowingError, message));
    }
    Ok(())
}

/// What a key stands for: itself, or the item at its position.
fn named<'a>(key: &'a Expr, select: &'a Select) -> &'a Expr {
    let Expr::Value(value) = key else { return key };
    let Value::Number(digits, _) = &value.value else { return key };
    let place = digits.parse::<usize>().ok().and_then(|place| place.checked_sub(1));
    // The items before a wildcard keep their places; one behind it is at another.
    match place.and_then(|place| select.projection.get(..=place)) {
        Some([before @ .., SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }])
            if before.iter().all(is_one) =>
        {
            expr
        }
        _ => key,
    }
}

fn is_one(item: &SelectItem) -> bool {
    matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. })
}

fn has_window(expr: &Expr) -> bool {
    outside::any(expr, |expr| matches!(expr, Expr::Function(call) if call.over.is_some()))
}
