//! Puts metric groups side by side: a null-safe full join on keys and grouping id.
//!
//! SQL text cannot say a null-safe full join (the unparser drops it), so a stitch must never be sent to a source; it is
//! built from plans of different scans, which keeps it here.

use std::sync::Arc;

use datafusion::common::{Column, NullEquality};
use datafusion::error::Result;
use datafusion::functions::expr_fn::coalesce;
use datafusion::logical_expr::{Expr, Join, JoinConstraint, JoinType, LogicalPlan, LogicalPlanBuilder};

/// A lowered metric group: unqualified columns, keys first.
#[derive(Debug)]
pub(crate) struct Lowered {
    pub(crate) plan: LogicalPlan,
    /// Key columns, the grouping id last if there is one.
    pub(crate) keys: Vec<String>,
    /// Value columns.
    pub(crate) values: Vec<String>,
}

/// An unqualified column.
pub(crate) fn column(name: &str) -> Expr {
    Expr::Column(Column::from_name(name))
}

/// A join on equal columns where NULL equals NULL.
pub(crate) fn null_safe(
    left: LogicalPlan,
    right: LogicalPlan,
    on: Vec<(Expr, Expr)>,
    kind: JoinType,
) -> Result<LogicalPlan> {
    let join = Join::try_new(
        Arc::new(left),
        Arc::new(right),
        on,
        None,
        kind,
        JoinConstraint::On,
        NullEquality::NullEqualsNull,
        false,
    )?;
    Ok(LogicalPlan::Join(join))
}

/// Stitches groups; the result has the keys of the first.
pub(crate) fn stitch(groups: Vec<Lowered>) -> Result<Option<Lowered>> {
    let mut groups = groups.into_iter();
    let Some(mut all) = groups.next() else { return Ok(None) };
    for next in groups {
        if all.keys.is_empty() {
            all.plan = LogicalPlanBuilder::new(all.plan).cross_join(next.plan)?.build()?;
            all.values.extend(next.values);
            continue;
        }
        let on = all.keys.iter().zip(&next.keys).map(|(left, right)| (column(left), column(right))).collect();
        let joined = null_safe(all.plan, next.plan, on, JoinType::Full)?;
        all.values.extend(next.values);
        let keys = all
            .keys
            .iter()
            .zip(&next.keys)
            .map(|(left, right)| coalesce(vec![column(left), column(right)]).alias(left));
        let out: Vec<Expr> = keys.chain(all.values.iter().map(|name| column(name))).collect();
        all.plan = LogicalPlanBuilder::new(joined).project(out)?.build()?;
    }
    Ok(Some(all))
}
