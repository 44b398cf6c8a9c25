//! `IS TRUE` and its like where their value is shown or grouped by.
//!
//! DataFusion plans them as never null and executes them as perhaps null, and refuses the plan for it, so they are spelled
//! out. Conditions on columns of KPI views must stay as they are: the KPI language recognises its own forms.

use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::Expr;

use super::lower::of_kpi;

/// `value IS TRUE`, `IS NOT FALSE` and the like as what they say of a value and of its being known.
pub(super) fn spelled(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let (inner, wanted) = match &expr {
        Expr::IsTrue(inner) | Expr::IsNotTrue(inner) => (inner, true),
        Expr::IsFalse(inner) | Expr::IsNotFalse(inner) => (inner, false),
        Expr::IsUnknown(inner) => return Ok(Transformed::yes(inner.as_ref().clone().is_null())),
        Expr::IsNotUnknown(inner) => return Ok(Transformed::yes(inner.as_ref().clone().is_not_null())),
        _ => return Ok(Transformed::no(expr)),
    };
    if of_kpi(inner, schema) || inner.is_volatile() {
        return Ok(Transformed::no(expr));
    }
    let value = inner.as_ref().clone();
    let is = if wanted { value.clone() } else { Expr::Not(Box::new(value.clone())) };
    Ok(Transformed::yes(if matches!(expr, Expr::IsTrue(_) | Expr::IsFalse(_)) {
        value.is_not_null().and(is)
    } else {
        value.is_null().or(Expr::Not(Box::new(is)))
    }))
}
