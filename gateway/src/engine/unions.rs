//! A union of branches in which two columns are equal, or one is constant, said to have no order.
//!
//! DataFusion moves a sort below a union, into each branch; a branch that knows two of its columns to be equal is then
//! sorted by one of them, the union is said to be sorted by that one only, and the plan is refused. A column that is
//! another constant in each branch is left out of a sort's keys, while the branches' first rows under a LIMIT share one
//! threshold by the keys that are left, which drops rows of the wrong branch. Above this node nobody knows what the
//! branches know, and the sort stays above it, with all its keys.

use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};

/// Puts [`Unordered`] above the unions that need it.
#[derive(Debug)]
pub(crate) struct UnorderedUnions;

impl PhysicalOptimizerRule for UnorderedUnions {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let done = plan.transform_up(|node| {
            let ambiguous = node.is::<UnionExec>() && node.children().into_iter().any(knows_equals);
            Ok(if ambiguous { Transformed::yes(Unordered::over(node)) } else { Transformed::no(node) })
        })?;
        Ok(done.data)
    }

    fn name(&self) -> &'static str {
        "unordered_unions"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Whether a branch knows two of its columns to have the same values, or one to have one value.
fn knows_equals(branch: &Arc<dyn ExecutionPlan>) -> bool {
    let known = branch.equivalence_properties();
    !known.constants().is_empty() || known.eq_group().iter().any(|class| class.len() > 1)
}

/// The rows of its input, of which nothing is said.
#[derive(Debug)]
struct Unordered {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl Unordered {
    fn over(input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            input.output_partitioning().clone(),
            input.pipeline_behavior(),
            input.boundedness(),
        ));
        Arc::new(Self { input, properties })
    }
}

impl DisplayAs for Unordered {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unordered")
    }
}

impl ExecutionPlan for Unordered {
    fn name(&self) -> &str {
        "Unordered"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match <[Arc<dyn ExecutionPlan>; 1]>::try_from(children) {
            Ok([input]) => Ok(Self::over(input)),
            Err(_) => internal_err!("an unordered union has one input"),
        }
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }

    fn statistics_from_inputs(
        &self,
        input_stats: &[Arc<Statistics>],
        _args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        match input_stats {
            [only] => Ok(Arc::clone(only)),
            _ => internal_err!("an unordered union has one input"),
        }
    }
}
