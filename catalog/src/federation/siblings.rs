//! Tells each leaf how many others of its plan read the same source, so that a source can give all of them one
//! snapshot.
//!
//! The rule runs after all others: the leaves are those that will run. It counts too many rather than too few: a plan
//! that may read a leaf again has as many leaves as anybody can count.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::config::ConfigOptions;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;

use super::FederatedScanExec;
use crate::source::SourceName;

/// More leaves than a plan has.
const MANY: usize = usize::MAX / 2;
/// Operators that may read an input again.
const REPEATING: [&str; 2] = ["RecursiveQueryExec", "NestedLoopJoinExec"];

#[derive(Debug)]
pub(super) struct Siblings;

impl PhysicalOptimizerRule for Siblings {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut leaves: BTreeMap<SourceName, usize> = BTreeMap::new();
        let mut repeats = false;
        plan.apply(|node| {
            if let Some(leaf) = node.downcast_ref::<FederatedScanExec>() {
                *leaves.entry(leaf.source().clone()).or_default() += 1;
            }
            repeats |= REPEATING.contains(&node.name());
            Ok(TreeNodeRecursion::Continue)
        })?;
        if !repeats && leaves.values().all(|count| *count == 1) {
            return Ok(plan);
        }
        let told = plan.transform_up(|node| {
            let Some(leaf) = node.downcast_ref::<FederatedScanExec>() else {
                return Ok(Transformed::no(node));
            };
            let others = match leaves.get(leaf.source()) {
                Some(_) if repeats => MANY,
                Some(count) => count - 1,
                None => 0,
            };
            let told: Arc<dyn ExecutionPlan> = Arc::new(leaf.among(others));
            Ok(Transformed::yes(told))
        })?;
        Ok(told.data)
    }

    fn name(&self) -> &'static str {
        "federation_siblings"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
