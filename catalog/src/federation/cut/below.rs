//! Looking for a leaf below an operator, through what neither drops nor makes rows.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, internal_err};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CastExpr, Column};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::projection::ProjectionExec;

use crate::federation::FederatedScanExec;

/// A leaf, and what the operator above sees of it.
pub(super) struct Below<'a> {
    pub(super) leaf: &'a FederatedScanExec,
    /// Per column of the operator above, the leaf's output column it is; `None` for what is computed on the way.
    pub(super) columns: Vec<Option<usize>>,
    /// The same for columns that are cast on the way, with the types they are cast to, in that order.
    pub(super) cast: Vec<Option<(usize, Vec<DataType>)>>,
    /// Whether the final half of an aggregate is on the way: it merges nothing, each group is one row already.
    pub(super) finished: bool,
}

/// The leaf below, if nothing but projections and the final half of its own aggregate is between.
pub(super) fn below(plan: &Arc<dyn ExecutionPlan>) -> Option<Below<'_>> {
    if let Some(leaf) = plan.downcast_ref::<FederatedScanExec>() {
        let columns: Vec<Option<usize>> = (0..leaf.schema().fields().len()).map(Some).collect();
        let cast = uncast(&columns);
        return leaf.may_grow().then_some(Below { leaf, columns, cast, finished: false });
    }
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let inner = below(projection.input())?;
        let columns = projection
            .expr()
            .iter()
            .map(|shown| shown.expr.downcast_ref::<Column>())
            .map(|column| column.and_then(|column| inner.columns.get(column.index()).copied().flatten()))
            .collect();
        let cast = projection.expr().iter().map(|shown| cast_below(&shown.expr, &inner)).collect();
        return Some(Below { columns, cast, ..inner });
    }
    let last = plan.downcast_ref::<AggregateExec>()?;
    if !matches!(last.mode(), AggregateMode::Final | AggregateMode::FinalPartitioned) {
        return None;
    }
    let inner = below(last.input())?;
    if inner.finished || inner.leaf.fragment().aggregate.is_none() {
        return None;
    }
    let groups = last.group_expr().expr().len();
    let mut columns: Vec<Option<usize>> = (0..groups).map(Some).collect();
    let mut state = groups;
    for call in last.aggr_expr() {
        let states = call.state_fields().ok()?.len();
        // A function with one state that is its result: count, sum, min, max.
        let same = states == 1
            && last.schema().fields().get(columns.len()).is_some_and(|result| {
                inner.leaf.schema().fields().get(state).is_some_and(|s| s.data_type() == result.data_type())
            });
        columns.push(same.then_some(state));
        state += states;
    }
    let cast = uncast(&columns);
    Some(Below { leaf: inner.leaf, columns, cast, finished: true })
}

fn uncast(columns: &[Option<usize>]) -> Vec<Option<(usize, Vec<DataType>)>> {
    columns.iter().map(|column| column.map(|column| (column, vec![]))).collect()
}

/// The leaf's column under the casts of an expression; the planner computes a cast once that several aggregates share.
fn cast_below(expr: &Arc<dyn PhysicalExpr>, inner: &Below<'_>) -> Option<(usize, Vec<DataType>)> {
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        let (column, mut types) = cast_below(cast.expr(), inner)?;
        types.push(cast.cast_type().clone());
        return Some((column, types));
    }
    inner.cast.get(expr.downcast_ref::<Column>()?.index())?.clone()
}

/// The same operators over another leaf.
pub(super) fn over(
    plan: &Arc<dyn ExecutionPlan>,
    leaf: &Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    if plan.is::<FederatedScanExec>() {
        return Ok(Arc::clone(leaf));
    }
    let children = plan.children();
    let [child] = children.as_slice() else {
        return internal_err!("an operator above a federated leaf has one input");
    };
    let child = over(child, leaf)?;
    replace_children_if_necessary(Arc::clone(plan), vec![child])
}
