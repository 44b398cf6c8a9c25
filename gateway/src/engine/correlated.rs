//! Correlated subqueries that the planner would take for others, put into forms that it takes apart rightly.
//!
//! An aggregate without GROUP BY has a row also where it aggregates none: `EXISTS (SELECT count(*) …)` is always true, and
//! `0 IN (SELECT count(*) …)` is where nothing is counted. DataFusion joins such a subquery to what has rows; only of a
//! scalar subquery it knows better. And its anti-join for `NOT IN` asks whether any row of the whole subquery is null, not
//! of those that an outer row sees. It must never touch a subquery that is not correlated: those are planned rightly,
//! and sources are asked for less by them.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result, Spans};
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    BinaryExpr, Distinct, Expr, Filter, LogicalPlan, LogicalPlanBuilder, Operator, Subquery, lit,
};

use crate::error::QueryError;

/// Names of columns made here; no column of a user's is called so.
const HOLDS: &str = "\u{1}holds";
const MEMBER: &str = "\u{1}among";

/// Rewrites the correlated subqueries of a plan.
pub(super) fn spelled_out(plan: LogicalPlan) -> Result<LogicalPlan> {
    let done = plan.transform_up_with_subqueries(|node| {
        let names = NamePreserver::new(&node);
        let node = node.map_expressions(|expr| {
            let name = names.save(&expr);
            let changed = expr.transform_up(of_one_row)?;
            Ok(if changed.transformed { changed.update_data(|expr| name.restore(expr)) } else { changed })
        })?;
        let node = if node.transformed { node.map_data(LogicalPlan::recompute_schema)? } else { node };
        let changed = node.transformed;
        let mut node = none_among(node.data)?;
        node.transformed |= changed;
        Ok(node)
    })?;
    Ok(done.data)
}

/// How many rows a subquery has for each outer row.
enum Rows {
    /// As many as it finds.
    Any,
    One,
    /// One if a condition on the aggregates below it holds.
    If(Expr, Arc<LogicalPlan>),
    /// One that LIMIT or OFFSET may take away.
    Limited,
}

fn rows(plan: &Arc<LogicalPlan>) -> Rows {
    match plan.as_ref() {
        LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty() => Rows::One,
        LogicalPlan::Projection(projection) => rows(&projection.input),
        LogicalPlan::SubqueryAlias(alias) => rows(&alias.input),
        LogicalPlan::Distinct(Distinct::All(input)) => rows(input),
        LogicalPlan::Sort(sort) => rows(&sort.input),
        LogicalPlan::Limit(limit) => match rows(&limit.input) {
            Rows::Any => Rows::Any,
            _ => Rows::Limited,
        },
        LogicalPlan::Filter(filter) => match rows(&filter.input) {
            Rows::One if matches!(filter.input.as_ref(), LogicalPlan::Aggregate(_)) => {
                Rows::If(filter.predicate.clone(), Arc::clone(&filter.input))
            }
            Rows::Any => Rows::Any,
            _ => Rows::Limited,
        },
        _ => Rows::Any,
    }
}

/// A subquery of one row, as the value of that row.
fn of_one_row(expr: Expr) -> Result<Transformed<Expr>> {
    match expr {
        Expr::Exists(Exists { subquery, negated }) if !subquery.outer_ref_columns.is_empty() => {
            Ok(match rows(&subquery.subquery) {
                Rows::Any => Transformed::no(Expr::Exists(Exists { subquery, negated })),
                Rows::One => Transformed::yes(lit(!negated)),
                Rows::If(condition, groups) if !condition.contains_outer() => {
                    let plan = LogicalPlanBuilder::from(groups).project([condition.alias(HOLDS)])?.build()?;
                    let holds = Expr::ScalarSubquery(Subquery { subquery: Arc::new(plan), ..subquery });
                    Transformed::yes(if negated { holds.is_not_true() } else { holds.is_true() })
                }
                Rows::If(..) | Rows::Limited => return Err(refused("EXISTS").into()),
            })
        }
        Expr::InSubquery(InSubquery { expr, subquery, negated })
            if !subquery.outer_ref_columns.is_empty() =>
        {
            Ok(match rows(&subquery.subquery) {
                Rows::Any => Transformed::no(Expr::InSubquery(InSubquery { expr, subquery, negated })),
                Rows::One => {
                    let op = if negated { Operator::NotEq } else { Operator::Eq };
                    Transformed::yes(compared(expr, op, subquery))
                }
                Rows::If(..) | Rows::Limited => return Err(refused("IN").into()),
            })
        }
        Expr::SetComparison(SetComparison { expr, subquery, op, quantifier })
            if !subquery.outer_ref_columns.is_empty() =>
        {
            Ok(match rows(&subquery.subquery) {
                Rows::Any => {
                    Transformed::no(Expr::SetComparison(SetComparison { expr, subquery, op, quantifier }))
                }
                Rows::One => Transformed::yes(compared(expr, op, subquery)),
                Rows::If(..) | Rows::Limited => return Err(refused("ANY or ALL").into()),
            })
        }
        other => Ok(Transformed::no(other)),
    }
}

fn compared(left: Box<Expr>, op: Operator, subquery: Subquery) -> Expr {
    Expr::BinaryExpr(BinaryExpr { left, op, right: Box::new(Expr::ScalarSubquery(subquery)) })
}

fn refused(what: &str) -> QueryError {
    QueryError::unsupported(format!("{what} of a correlated aggregate with HAVING, LIMIT or OFFSET"))
        .with_hint("compare the aggregate itself, as in (SELECT count(*) …) > 0")
}

/// `NOT IN` that stands alone in a condition: no row that an outer one sees is equal, or may be.
fn none_among(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Filter(filter) = node else { return Ok(Transformed::no(node)) };
    let schema = Arc::clone(filter.input.schema());
    let mut changed = false;
    let mut conditions = Vec::new();
    for condition in split_conjunction_owned(filter.predicate.clone()) {
        let condition = match condition {
            Expr::InSubquery(membership) if membership.negated => not_among(membership, &schema)?,
            Expr::Not(inner) => match *inner {
                Expr::InSubquery(membership) if !membership.negated => {
                    let InSubquery { expr, subquery, .. } = membership;
                    not_among(InSubquery { expr, subquery, negated: true }, &schema)?
                }
                other => Transformed::no(Expr::Not(Box::new(other))),
            },
            other => Transformed::no(other),
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

fn not_among(membership: InSubquery, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let rows = &membership.subquery.subquery;
    let mut columns = rows.schema().columns();
    let (Some(column), true, false, false) = (
        columns.pop(),
        columns.is_empty(),
        membership.subquery.outer_ref_columns.is_empty(),
        membership.expr.contains_outer(),
    ) else {
        return Ok(Transformed::no(Expr::InSubquery(membership)));
    };
    let outer = membership.expr.as_ref().clone().transform(|node| match node {
        Expr::Column(column) => {
            let (_, field) = schema.qualified_field_from_column(&column)?;
            Ok(Transformed::yes(Expr::OuterReferenceColumn(Arc::clone(field), column)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    // Under a name of its own: of one table an inner and an outer column have the same.
    let test = outer.data.eq(Expr::Column(Column::new_unqualified(MEMBER))).is_not_false();
    let plan = LogicalPlanBuilder::from(Arc::clone(rows))
        .project([Expr::Column(column).alias(MEMBER)])?
        .filter(test)?
        .build()?;
    let outer_ref_columns = plan.all_out_ref_exprs();
    let subquery = Subquery { subquery: Arc::new(plan), outer_ref_columns, spans: Spans::new() };
    Ok(Transformed::yes(Expr::Exists(Exists::new(subquery, true))))
}
