//! An operator whose errors are told in the form that travels. It is the operator in everything else, so that what was
//! measured there is found at its place.

use std::fmt;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use datafusion_distributed::BroadcastExec;
use futures::TryStreamExt as _;

use super::failure::tell;

#[derive(Debug)]
struct RetoldExec(Arc<dyn ExecutionPlan>);

/// A stage whose errors are told. Its head is replaced when it is asked for rows if it deals them out; then what is below
/// the head tells them.
pub(super) fn telling(stage: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    if !stage.is::<RepartitionExec>() && !stage.is::<BroadcastExec>() {
        return Ok(Arc::new(RetoldExec(stage)));
    }
    let below: Vec<Arc<dyn ExecutionPlan>> = stage
        .children()
        .into_iter()
        .map(|child| -> Arc<dyn ExecutionPlan> { Arc::new(RetoldExec(Arc::clone(child))) })
        .collect();
    replace_children_if_necessary(stage, below)
}

impl DisplayAs for RetoldExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt_as(format, f)
    }
}

impl ExecutionPlan for RetoldExec {
    fn name(&self) -> &'static str {
        "RetoldExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.0.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.0.children()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.0.apply_expressions(f)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self(replace_children_if_necessary(Arc::clone(&self.0), children)?)))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = self.0.execute(partition, context).map_err(|error| tell(&error))?;
        let schema = rows.schema();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows.map_err(|error| tell(&error)))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        self.0.metrics()
    }
}
