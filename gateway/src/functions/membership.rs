//! `IN (SELECT …)` where its third value counts: spelled out with `EXISTS`, because DataFusion's mark of a semi-join
//! knows only true and false, and its null-aware anti-join only compares columns.
//!
//! A membership that stands alone in a condition stays as it is, unless it is a `NOT IN` of a constant, or of a correlated
//! subquery: the anti-join asks whether any row of the whole subquery is null, not of those that an outer row sees. It
//! must never be spelled out over a grandparent's columns, which no plan can follow.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result, ScalarValue, Spans};
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    Expr, ExprSchemable, Filter, LogicalPlan, LogicalPlanBuilder, Subquery, lit, when,
};

/// The name of a subquery's column in a condition beside outer ones. Of one table an inner and an outer column have the
/// same name, and what takes the condition apart would compare the column with itself.
const MEMBER: &str = "\u{1}member";

/// Rewrites the memberships of a filter.
pub(super) fn spell_out(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Filter(mut filter) = node else { return Ok(Transformed::no(node)) };
    let is_membership = |expr: &Expr| Ok(matches!(expr, Expr::InSubquery(_) | Expr::SetComparison(_)));
    if !filter.predicate.exists(is_membership)? {
        return Ok(Transformed::no(LogicalPlan::Filter(filter)));
    }
    let schema = Arc::clone(filter.input.schema());
    let named = filter.predicate.transform_up(|expr| match expr {
        Expr::SetComparison(comparison) => of_named(comparison),
        Expr::InSubquery(membership) => of_written_rows(membership),
        other => Ok(Transformed::no(other)),
    })?;
    let mut changed = named.transformed;
    filter.predicate = named.data;
    let mut conditions = Vec::new();
    for condition in split_conjunction_owned(filter.predicate.clone()) {
        let alone = match &condition {
            Expr::InSubquery(_) => true,
            Expr::Not(inner) => matches!(inner.as_ref(), Expr::InSubquery(_)),
            _ => false,
        };
        let condition = if alone {
            alone_in_a_condition(condition, &schema)?
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

/// A constant, or a value of a correlated subquery, that is in no row, and of which no row is unknown.
fn alone_in_a_condition(condition: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let (membership, negated) = match &condition {
        Expr::InSubquery(membership) => (membership, membership.negated),
        Expr::Not(inner) => match inner.as_ref() {
            Expr::InSubquery(membership) => (membership, !membership.negated),
            _ => return Ok(Transformed::no(condition)),
        },
        _ => return Ok(Transformed::no(condition)),
    };
    let correlated = !membership.subquery.outer_ref_columns.is_empty();
    let joined = membership.expr.any_column_refs() && !correlated;
    if !negated || joined || membership.expr.contains_outer() {
        return Ok(Transformed::no(condition));
    }
    let Some(members) = members(&membership.subquery)? else { return Ok(Transformed::no(condition)) };
    let value = seen_from_within(membership.expr.as_ref().clone(), schema)?;
    let test = value.eq(member()).is_not_false();
    Ok(Transformed::yes(exists(members, test, true)?))
}

/// True, false or unknown, as the comparison with each row is.
fn three_valued(membership: InSubquery, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Some(members) = members(&membership.subquery)? else {
        return Ok(Transformed::no(Expr::InSubquery(membership)));
    };
    let known = !membership.expr.nullable(schema).unwrap_or(true)
        && membership.subquery.subquery.schema().fields().first().is_some_and(|field| !field.is_nullable());
    if known || membership.expr.contains_outer() {
        return Ok(Transformed::no(Expr::InSubquery(membership)));
    }
    let InSubquery { expr, negated, .. } = membership;
    let equal = seen_from_within(*expr, schema)?.eq(member());
    let unknown = Expr::Literal(ScalarValue::Boolean(None), None);
    let value = when(exists(members.clone(), equal.clone(), false)?, lit(!negated))
        .when(exists(members, equal.is_null(), false)?, unknown)
        .otherwise(lit(negated))?;
    Ok(Transformed::yes(value))
}

/// A value of the outer query, as a subquery names it.
fn seen_from_within(value: Expr, schema: &DFSchema) -> Result<Expr> {
    let outer = value.transform(|node| match node {
        Expr::Column(column) => {
            let (_, field) = schema.qualified_field_from_column(&column)?;
            Ok(Transformed::yes(Expr::OuterReferenceColumn(Arc::clone(field), column)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(outer.data)
}

/// The subquery's rows, with its one column under the name of [`member`].
fn members(subquery: &Subquery) -> Result<Option<LogicalPlan>> {
    let rows = &subquery.subquery;
    let mut columns = rows.schema().columns();
    let (Some(column), true) = (columns.pop(), columns.is_empty()) else { return Ok(None) };
    let column = Expr::Column(column).alias(MEMBER);
    Ok(Some(LogicalPlanBuilder::from(Arc::clone(rows)).project([column])?.build()?))
}

/// A comparison with `ANY` or `ALL` of a subquery, which DataFusion spells out itself.
fn of_named(comparison: SetComparison) -> Result<Transformed<Expr>> {
    let Some(members) = members(&comparison.subquery)? else {
        return Ok(Transformed::no(Expr::SetComparison(comparison)));
    };
    let subquery = Subquery { subquery: Arc::new(members), ..comparison.subquery };
    Ok(Transformed::yes(Expr::SetComparison(SetComparison { subquery, ..comparison })))
}

/// A membership in VALUES, which shows no expression that a join could be made of.
fn of_written_rows(membership: InSubquery) -> Result<Transformed<Expr>> {
    let rows = &membership.subquery.subquery;
    if !matches!(rows.as_ref(), LogicalPlan::Values(_)) {
        return Ok(Transformed::no(Expr::InSubquery(membership)));
    }
    let columns = rows.schema().columns().into_iter().map(Expr::Column);
    let shown = LogicalPlanBuilder::from(Arc::clone(rows)).project(columns)?.build()?;
    let subquery = Subquery { subquery: Arc::new(shown), ..membership.subquery };
    Ok(Transformed::yes(Expr::InSubquery(InSubquery { subquery, ..membership })))
}

/// The one column of [`members`].
fn member() -> Expr {
    Expr::Column(Column::new_unqualified(MEMBER))
}

/// Whether a subquery has a row that passes a test.
fn exists(rows: LogicalPlan, test: Expr, negated: bool) -> Result<Expr> {
    let plan = LogicalPlanBuilder::from(rows).filter(test)?.build()?;
    let outer_ref_columns = plan.all_out_ref_exprs();
    let subquery = Subquery { subquery: Arc::new(plan), outer_ref_columns, spans: Spans::new() };
    Ok(Expr::Exists(Exists::new(subquery, negated)))
}
