//! Correlated subqueries that the planner would take for others, put into forms that it takes apart rightly.
//!
//! An aggregate without GROUP BY has a row also where it aggregates none: `EXISTS (SELECT count(*) …)` is always true, and
//! `0 IN (SELECT count(*) …)` is where nothing is counted. DataFusion joins such a subquery to what has rows; only of a
//! scalar subquery it knows better. One that stands for a value and is no aggregate becomes one (`single`), and where it
//! takes none apart, the value is a column of the rows below (`columns`). It must never touch a subquery that is not
//! correlated: those are planned rightly, and sources are asked for less by them.

mod columns;
mod paired;
mod single;

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    BinaryExpr, Distinct, Expr, LogicalPlan, LogicalPlanBuilder, Operator, Subquery, lit,
};

use crate::error::QueryError;

/// The name of a column made here; no column of a user's is called so.
const HOLDS: &str = "\u{1}holds";

/// Rewrites the correlated subqueries of a plan.
pub(super) fn spelled_out(plan: LogicalPlan) -> Result<LogicalPlan> {
    let done = plan.transform_up_with_subqueries(|node| {
        let names = NamePreserver::new(&node);
        let node = node.map_expressions(|expr| {
            if !expr.exists(|part| Ok(is_subquery(part)))? {
                return Ok(Transformed::no(expr));
            }
            let name = names.save(&expr);
            let changed = expr.transform_up(of_one_row)?;
            Ok(if changed.transformed { changed.update_data(|expr| name.restore(expr)) } else { changed })
        })?;
        let node = if node.transformed { node.map_data(LogicalPlan::recompute_schema)? } else { node };
        node.transform_data(columns::values)
    })?;
    Ok(done.data)
}

fn is_subquery(expr: &Expr) -> bool {
    matches!(expr, Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_))
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
