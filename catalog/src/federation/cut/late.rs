//! DataFusion's push-down of projections, kept from computing what a filter would take away.
//!
//! Where a projection has fewer columns than its input and all that the filter below it tests, the engine swaps the two.
//! Then `SELECT id, 1 / a … WHERE a <> 0` divides by zero. While that rule works, each filter is behind a screen that
//! lets columns through and nothing that is computed. No screen must stay in a plan: it cannot be executed.

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_err};
use datafusion::config::ConfigOptions;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::{ProjectionExec, try_embed_projection};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};

/// The rule that this is about, restricted; any other as it is.
pub(super) fn computing(
    rule: Arc<dyn PhysicalOptimizerRule + Send + Sync>,
) -> Arc<dyn PhysicalOptimizerRule + Send + Sync> {
    if rule.name() == "ProjectionPushdown" { Arc::new(Late(rule)) } else { rule }
}

#[derive(Debug)]
struct Late(Arc<dyn PhysicalOptimizerRule + Send + Sync>);

impl PhysicalOptimizerRule for Late {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let screened = plan
            .transform_up(|node| {
                Ok(if node.is::<FilterExec>() {
                    Transformed::yes(Arc::new(Screen { filter: node }) as Arc<dyn ExecutionPlan>)
                } else {
                    Transformed::no(node)
                })
            })
            .data()?;
        let optimized = self.0.optimize(screened, config)?;
        optimized
            .transform_up(|node| {
                Ok(match node.downcast_ref::<Screen>() {
                    Some(screen) => Transformed::yes(Arc::clone(&screen.filter)),
                    None => Transformed::no(node),
                })
            })
            .data()
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}

/// Stands before a filter while projections are pushed down.
#[derive(Debug)]
struct Screen {
    filter: Arc<dyn ExecutionPlan>,
}

impl DisplayAs for Screen {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Screen")
    }
}

impl ExecutionPlan for Screen {
    fn name(&self) -> &'static str {
        "Screen"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.filter.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.filter]
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
            (Some(filter), true) => Ok(Arc::new(Self { filter })),
            _ => internal_err!("a screen stands before one filter"),
        }
    }

    fn execute(&self, _partition: usize, _context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        internal_err!("a screen stayed before a filter")
    }

    fn try_swapping_with_projection(
        &self,
        projection: &ProjectionExec,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let plain = |expr: &Arc<dyn PhysicalExpr>| expr.is::<Column>() || expr.is::<Literal>();
        let computes = projection.expr().iter().any(|shown| !plain(&shown.expr));
        match self.filter.downcast_ref::<FilterExec>() {
            // The columns that it needs, and no more, are still all that the filter lets through.
            Some(filter) if computes => try_embed_projection(projection, filter),
            _ => self.filter.try_swapping_with_projection(projection),
        }
    }
}
