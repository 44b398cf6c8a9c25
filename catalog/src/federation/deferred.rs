//! Nothing below the probe side of a join starts before the join asks for it.
//!
//! Operators that merge several streams into one start to read in `execute`, before anybody polls. Below the probe
//! side of a join that would send statements which an empty build side makes needless, and before the join has told
//! what it learned from its build side. A [`DeferredExec`] puts them off to the first poll. It must never change a row.

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::config::ConfigOptions;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::{CardinalityEffect, replace_children_if_necessary};
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::TryStreamExt;

use super::cut::reach::reads_a_source;

/// Puts the start of what is below off to the first poll.
#[derive(Debug)]
pub(super) struct DeferredExec {
    input: Arc<dyn ExecutionPlan>,
}

impl DisplayAs for DeferredExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeferredExec")
    }
}

impl ExecutionPlan for DeferredExec {
    fn name(&self) -> &'static str {
        "DeferredExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(Self { input })),
            _ => internal_err!("a deferred start has one input"),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = Arc::clone(&self.input);
        let started = futures::stream::once(async move { input.execute(partition, context) });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.input.schema(), started.try_flatten())))
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        input_stats: &[Arc<Statistics>],
        _args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        match input_stats {
            [input] => Ok(Arc::clone(input)),
            _ => internal_err!("a deferred start has one input"),
        }
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }
}

/// Defers what starts by itself below the probe side of a join that reads a source. Runs after all other rules.
#[derive(Debug)]
pub(super) struct Defer;

impl PhysicalOptimizerRule for Defer {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        deferred(plan, false)
    }

    fn name(&self) -> &'static str {
        "federation_defer"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn deferred(plan: Arc<dyn ExecutionPlan>, probed: bool) -> Result<Arc<dyn ExecutionPlan>> {
    let joins = plan.is::<HashJoinExec>() || plan.is::<NestedLoopJoinExec>() || plan.is::<CrossJoinExec>();
    let children = plan
        .children()
        .into_iter()
        .enumerate()
        .map(|(index, child)| deferred(Arc::clone(child), probed || joins && index == 1))
        .collect::<Result<Vec<_>>>()?;
    let eager = plan.is::<CoalescePartitionsExec>() || plan.is::<SortPreservingMergeExec>();
    let plan = if children.is_empty() { plan } else { replace_children_if_necessary(plan, children)? };
    if probed && eager && reads_a_source(&plan)? {
        return Ok(Arc::new(DeferredExec { input: plan }));
    }
    Ok(plan)
}
