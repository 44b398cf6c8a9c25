//! Joins that end with their statement.
//!
//! A task can be stopped only where it yields, and a join that compares a whole build side with one batch and finds
//! nothing yields only when it is through: minutes, during which cancel, deadline and a gone client would be noise. So
//! every such loop gets something to trip over: the join's filter asks, each time it is evaluated, whether the statement
//! is over, and is an error if so. Joins that multiply rows hand out batch after batch without ever waiting for an
//! input; what they hand out costs the task's budget, so that they yield.
//!
//! It changes no row: the filter says what it said, and a join without one gets `true` where the loop needs it.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Instant;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{FieldRef, Schema};
use datafusion::common::JoinType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::lit;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder, SortMergeJoinExec,
};
use tokio_util::sync::CancellationToken;

use super::execute::timed_out;
use super::once::OnceExec;
use crate::error::{QueryError, cancelled};

/// When a statement must end.
#[derive(Debug, Clone)]
pub(super) struct Until {
    /// Cancelled by the client, by its going, or at the end.
    pub(super) stop: CancellationToken,
    /// When its time is over.
    pub(super) deadline: Option<Instant>,
}

impl Until {
    fn check(&self) -> Result<(), QueryError> {
        // The deadline first: its timer may be waiting for the very thread that asks.
        if self.deadline.is_some_and(|at| Instant::now() >= at) {
            return Err(timed_out());
        }
        if self.stop.is_cancelled() { Err(cancelled()) } else { Ok(()) }
    }
}

/// The same plan with joins that end when the statement must.
pub(super) fn interruptible(plan: Arc<dyn ExecutionPlan>, until: Until) -> Result<Arc<dyn ExecutionPlan>> {
    let until = Arc::new(until);
    let guarded = plan.transform_up(|plan| match guard(&plan, &until)? {
        Some(join) => Ok(Transformed::yes(Arc::new(CooperativeExec::new(join)) as _)),
        None => Ok(Transformed::no(plan)),
    })?;
    Ok(guarded.data)
}

/// The join with a filter that asks; `None` for what is no join.
fn guard(plan: &Arc<dyn ExecutionPlan>, until: &Arc<Until>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let asking = |filter: Option<&JoinFilter>| match filter {
        Some(filter) => JoinFilter::new(
            Arc::new(Asking { inner: Arc::clone(filter.expression()), until: Arc::clone(until) }),
            filter.column_indices().to_vec(),
            Arc::clone(filter.schema()),
        ),
        None => JoinFilter::new(
            Arc::new(Asking { inner: lit(true), until: Arc::clone(until) }),
            Vec::new(),
            Arc::new(Schema::empty()),
        ),
    };
    if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
        let filter = asking(join.filter());
        let guarded: Arc<dyn ExecutionPlan> =
            Arc::new(NestedLoopJoinExecBuilder::from(join).with_filter(Some(filter)).build()?);
        let once: Arc<dyn ExecutionPlan> = Arc::new(OnceExec::new(Arc::clone(join.left())));
        return replace_children_if_necessary(guarded, vec![once, Arc::clone(join.right())]).map(Some);
    }
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        // A join that only marks rows may compare for long and hand out nothing even without a filter.
        let marks = matches!(
            join.join_type(),
            JoinType::LeftSemi
                | JoinType::LeftAnti
                | JoinType::LeftMark
                | JoinType::RightSemi
                | JoinType::RightAnti
                | JoinType::RightMark
        );
        if join.null_aware || (join.filter().is_none() && !marks) {
            return Ok(Some(Arc::clone(plan)));
        }
        return join.builder().with_filter(Some(asking(join.filter()))).build_exec().map(Some);
    }
    if let Some(join) = plan.downcast_ref::<SortMergeJoinExec>() {
        let Some(filter) = join.filter() else { return Ok(Some(Arc::clone(plan))) };
        let guarded = SortMergeJoinExec::try_new(
            Arc::clone(join.left()),
            Arc::clone(join.right()),
            join.on().to_vec(),
            Some(asking(Some(filter))),
            join.join_type(),
            join.sort_options().to_vec(),
            join.null_equality(),
        )?;
        return Ok(Some(Arc::new(guarded)));
    }
    Ok(plan.downcast_ref::<CrossJoinExec>().map(|_| Arc::clone(plan)))
}

/// An expression that is an error once the statement is over, and itself until then.
#[derive(Debug)]
struct Asking {
    inner: Arc<dyn PhysicalExpr>,
    until: Arc<Until>,
}

impl PartialEq for Asking {
    fn eq(&self, other: &Self) -> bool {
        self.inner.eq(&other.inner)
    }
}

impl Eq for Asking {}

impl Hash for Asking {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl fmt::Display for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

impl PhysicalExpr for Asking {
    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        self.until.check()?;
        self.inner.evaluate(batch)
    }

    fn return_field(&self, input_schema: &Schema) -> Result<FieldRef> {
        self.inner.return_field(input_schema)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let inner = children.into_iter().next().unwrap_or_else(|| Arc::clone(&self.inner));
        Ok(Arc::new(Self { inner, until: Arc::clone(&self.until) }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}
