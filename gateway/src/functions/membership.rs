//! `IN (SELECT …)` where its third value counts: spelled out with `EXISTS`, because DataFusion's mark of a semi-join
//! knows only true and false, and its null-aware anti-join only compares columns.
//!
//! A membership that stands alone in a condition stays as it is, unless it compares a constant with `NOT IN`. It must
//! never be spelled out over a grandparent's columns, which no plan can follow.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue, Spans};
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    Expr, ExprSchemable, Filter, LogicalPlan, LogicalPlanBuilder, Subquery, lit, when,
};

/// Rewrites the memberships of a filter.
pub(super) fn spell_out(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Filter(filter) = node else { return Ok(Transformed::no(node)) };
    let is_membership = |expr: &Expr| Ok(matches!(expr, Expr::InSubquery(_)));
    if !filter.predicate.exists(is_membership)? {
        return Ok(Transformed::no(LogicalPlan::Filter(filter)));
    }
    let schema = Arc::clone(filter.input.schema());
    let mut changed = false;
    let mut conditions = Vec::new();
    for condition in split_conjunction_owned(filter.predicate.clone()) {
        let alone = match &condition {
            Expr::InSubquery(_) => true,
            Expr::Not(inner) => matches!(inner.as_ref(), Expr::InSubquery(_)),
            _ => false,
        };
        let condition = if alone {
            alone_in_a_condition(condition)?
        } else {
            condition.transform_up(|expr| match expr {
                Expr::InSubquery(membership) => three_valued(membership, &schema),
                other => Ok(Transformed::no(other)),
            })?
        };
        changed |= condition.transformed;
        conditions.push(condition.data);
    }
    match conjunction(conditions) {
        Some(predicate) if changed => {
            Ok(Transformed::yes(LogicalPlan::Filter(Filter::try_new(predicate, filter.input)?)))
        }
        _ => Ok(Transformed::no(LogicalPlan::Filter(filter))),
    }
}

/// A constant that is in no row, and of which no row is unknown.
fn alone_in_a_condition(condition: Expr) -> Result<Transformed<Expr>> {
    let (membership, negated) = match &condition {
        Expr::InSubquery(membership) => (membership, membership.negated),
        Expr::Not(inner) => match inner.as_ref() {
            Expr::InSubquery(membership) => (membership, !membership.negated),
            _ => return Ok(Transformed::no(condition)),
        },
        _ => return Ok(Transformed::no(condition)),
    };
    if !negated || membership.expr.any_column_refs() || membership.expr.contains_outer() {
        return Ok(Transformed::no(condition));
    }
    let Some(member) = member(membership) else { return Ok(Transformed::no(condition)) };
    let test = membership.expr.as_ref().clone().eq(member).is_not_false();
    Ok(Transformed::yes(exists(&membership.subquery, test, true)?))
}

/// True, false or unknown, as the comparison with each row is.
fn three_valued(membership: InSubquery, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Some(member) = member(&membership) else {
        return Ok(Transformed::no(Expr::InSubquery(membership)));
    };
    let known = !membership.expr.nullable(schema).unwrap_or(true)
        && membership.subquery.subquery.schema().fields().first().is_some_and(|field| !field.is_nullable());
    if known || membership.expr.contains_outer() {
        return Ok(Transformed::no(Expr::InSubquery(membership)));
    }
    let InSubquery { expr, subquery, negated } = membership;
    let outer = expr.transform(|node| match node {
        Expr::Column(column) => {
            let (_, field) = schema.qualified_field_from_column(&column)?;
            Ok(Transformed::yes(Expr::OuterReferenceColumn(Arc::clone(field), column)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    let equal = outer.data.eq(member);
    let unknown = Expr::Literal(ScalarValue::Boolean(None), None);
    let value = when(exists(&subquery, equal.clone(), false)?, lit(!negated))
        .when(exists(&subquery, equal.is_null(), false)?, unknown)
        .otherwise(lit(negated))?;
    Ok(Transformed::yes(value))
}

/// The subquery's one column.
fn member(membership: &InSubquery) -> Option<Expr> {
    let mut columns = membership.subquery.subquery.schema().columns();
    if columns.len() == 1 { columns.pop().map(Expr::Column) } else { None }
}

/// Whether the subquery has a row that passes a test.
fn exists(subquery: &Subquery, test: Expr, negated: bool) -> Result<Expr> {
    let plan = LogicalPlanBuilder::from(Arc::clone(&subquery.subquery)).filter(test)?.build()?;
    let outer_ref_columns = plan.all_out_ref_exprs();
    let subquery = Subquery { subquery: Arc::new(plan), outer_ref_columns, spans: Spans::new() };
    Ok(Expr::Exists(Exists::new(subquery, negated)))
}
