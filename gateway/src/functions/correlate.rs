//! Correlated conditions put into the only form that DataFusion takes apart rightly: a column equal to an outer value.
//!
//! Its decorrelation also takes a cast of a column, but then groups an aggregate by the column and not by the cast: a
//! subquery per day was answered once per instant. A condition on an expression becomes one on a projected column.

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, Result};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{BinaryExpr, Expr, Filter, LogicalPlan, LogicalPlanBuilder, Operator};

/// The name of a projected expression; no column of a user's is called so.
pub(super) const NAME: &str = "\u{1}correlated";

/// An inner expression that is no column, compared with an outer one.
fn is_computed(inner: &Expr, outer: &Expr) -> bool {
    !matches!(inner, Expr::Column(_))
        && !inner.contains_outer()
        && inner.any_column_refs()
        && outer.contains_outer()
}

/// Rewrites a filter whose conditions compare computed values with outer ones; the columns they become are named after
/// `prefix`, which none of its input is.
pub(super) fn project_conditions(node: LogicalPlan, prefix: &str) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Filter(filter) = node else { return Ok(Transformed::no(node)) };
    if !filter.predicate.contains_outer() {
        return Ok(Transformed::no(LogicalPlan::Filter(filter)));
    }
    let mut computed = Vec::new();
    let mut name = |expr: Expr| {
        let alias = format!("{prefix}{}", computed.len());
        computed.push(expr.alias(alias.clone()));
        Box::new(Expr::Column(Column::new_unqualified(alias)))
    };
    let mut conditions = Vec::new();
    for condition in split_conjunction_owned(filter.predicate.clone()) {
        conditions.push(match condition {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) if is_computed(&left, &right) => {
                Expr::BinaryExpr(BinaryExpr { left: name(*left), op: Operator::Eq, right })
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) if is_computed(&right, &left) => {
                Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right: name(*right) })
            }
            other => other,
        });
    }
    if computed.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Filter(filter)));
    }
    let input = filter.input.as_ref().clone();
    let columns: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
    let plan = LogicalPlanBuilder::from(input).project(columns.into_iter().chain(computed))?.build()?;
    let Some(predicate) = conjunction(conditions) else {
        return Ok(Transformed::no(LogicalPlan::Filter(filter)));
    };
    let filter = Filter::try_new(predicate, plan.into())?;
    Ok(Transformed::yes(LogicalPlan::Filter(filter)))
}
