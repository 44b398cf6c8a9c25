//! Floats that are compared where DataFusion takes columns only: `x + 0` becomes a column of the rows below.
//!
//! That is so in `NOT IN (SELECT …)`, whose null-aware join compares columns, in correlated conditions, which group an
//! aggregate by columns, and in `DISTINCT ON`. The columns a plan shows and their names stay what they were, except
//! that a correlated condition's rows have one more, which nobody above reads.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, Result};
use datafusion::logical_expr::expr::InSubquery;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Distinct, DistinctOn, Expr, Filter, LogicalPlan, LogicalPlanBuilder};

use super::{NAME, expressions, is_float, one_zero, wrap};
use crate::functions::correlate;

/// The name of a projected float; no column of a user's is called so.
const PROJECTED: &str = "\u{1}one_zero";
/// The name of one that an outer query's value is compared with.
const CORRELATED: &str = "\u{1}one_zero_correlated";

/// Expressions that become columns.
#[derive(Default)]
struct Computed(Vec<Expr>);

impl Computed {
    /// The column an expression becomes.
    fn column(&mut self, expr: Expr) -> Expr {
        let name = format!("{PROJECTED}{}", self.0.len());
        self.0.push(expr.alias(name.clone()));
        Expr::Column(Column::new_unqualified(name))
    }

    /// The rows with these columns, and the columns they had before.
    fn over(self, input: LogicalPlan) -> Result<(LogicalPlan, Vec<Expr>)> {
        let shown: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
        let all = shown.iter().cloned().chain(self.0);
        Ok((LogicalPlanBuilder::from(input).project(all)?.build()?, shown))
    }
}

/// The conditions of a filter.
pub(super) fn filter(filter: Filter) -> Result<Transformed<LogicalPlan>> {
    let node = expressions(LogicalPlan::Filter(filter))?;
    if !node.transformed {
        return Ok(node);
    }
    let LogicalPlan::Filter(filter) = node.data else { return Ok(node) };
    let mut computed = Computed::default();
    let conditions: Vec<Expr> = split_conjunction_owned(filter.predicate.clone())
        .into_iter()
        .map(|condition| match condition {
            Expr::InSubquery(membership) if membership.negated => {
                Expr::InSubquery(of_column(membership, &mut computed))
            }
            Expr::Not(inner) => Expr::Not(Box::new(match *inner {
                Expr::InSubquery(membership) if !membership.negated => {
                    Expr::InSubquery(of_column(membership, &mut computed))
                }
                other => other,
            })),
            other => other,
        })
        .collect();
    let (false, Some(predicate)) = (computed.0.is_empty(), conjunction(conditions)) else {
        let node = correlate::project_conditions(LogicalPlan::Filter(filter), CORRELATED)?;
        return Ok(Transformed::yes(node.data));
    };
    let (input, shown) = computed.over(Arc::unwrap_or_clone(filter.input))?;
    let filter = LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(input))?);
    let filter = correlate::project_conditions(filter, CORRELATED)?.data;
    Ok(Transformed::yes(LogicalPlanBuilder::from(filter).project(shown)?.build()?))
}

/// A membership of `x + 0` as one of a column.
fn of_column(membership: InSubquery, computed: &mut Computed) -> InSubquery {
    let is_ours = |expr: &Expr| matches!(expr, Expr::ScalarFunction(call) if call.func.name() == NAME);
    if !is_ours(&membership.expr) {
        return membership;
    }
    InSubquery { expr: Box::new(computed.column(*membership.expr)), ..membership }
}

/// `DISTINCT ON`: by keys that have one zero. What is shown of the first row is what it has.
pub(super) fn distinct_on(on: DistinctOn) -> Result<Transformed<LogicalPlan>> {
    let node = expressions(LogicalPlan::Distinct(Distinct::On(on)))?;
    let LogicalPlan::Distinct(Distinct::On(on)) = node.data else { return Ok(node) };
    let schema = Arc::clone(on.input.schema());
    let floats = on.on_expr.iter().any(|key| is_float(key, &schema));
    let by = on.sort_expr.iter().flatten().skip(on.on_expr.len()).any(|key| is_float(&key.expr, &schema));
    if !floats && !by {
        let same = LogicalPlan::Distinct(Distinct::On(on));
        return Ok(if node.transformed { Transformed::yes(same) } else { Transformed::no(same) });
    }
    let DistinctOn { on_expr, select_expr, mut sort_expr, input, .. } = on;
    let mut computed = Computed::default();
    let keys: Vec<Expr> = on_expr
        .into_iter()
        .map(|key| if is_float(&key, &schema) { computed.column(one_zero(key)) } else { key })
        .collect();
    // The first keys of the order are those of the groups.
    for (place, sort) in sort_expr.iter_mut().flatten().enumerate() {
        match keys.get(place) {
            Some(key) => sort.expr = key.clone(),
            None => {
                wrap(&mut sort.expr, &schema);
            }
        }
    }
    let (input, _) = computed.over(Arc::unwrap_or_clone(input))?;
    let on = DistinctOn::try_new(keys, select_expr, sort_expr, Arc::new(input))?;
    Ok(Transformed::yes(LogicalPlan::Distinct(Distinct::On(on))))
}
