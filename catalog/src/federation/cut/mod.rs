//! Where a plan is cut: whole sub-plans above a leaf move into its fragment.
//!
//! The rule runs before all other physical rules, after the last logical one: filters, projections and limits are in
//! the leaves by then, and an aggregate still is a partial and a final half. Work moves only if the source's executor
//! proved it; what the source sends is then finished by the very operator that would have done the whole: the partial
//! half of an aggregate goes, the final half stays (so an average is a sum and a count, finished here); a top-N stays
//! and sorts N rows again. Hence types, names and order are ours by construction, and nothing depends on a source's
//! order. It must never move an operator across one that drops or makes rows.

mod aggregate;
mod below;
mod having;
mod join;
mod late;
mod order;
pub(super) mod reach;
mod sides;
mod tell;
mod topn;

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::config::ConfigOptions;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::ExecutionPlan;

use super::deferred::Defer;
use super::siblings::Siblings;
use super::{Reason, Verdict, unique};

/// The engine's physical rules, with the cut before them; after them the leaves are counted, and what may not start by
/// itself is put off.
#[must_use]
pub fn physical_optimizer_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules: Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> = vec![Arc::new(Cut)];
    let engine = PhysicalOptimizer::new().rules.into_iter();
    rules.extend(engine.map(unique::restricted).map(sides::staying).map(late::computing));
    rules.push(Arc::new(Siblings));
    rules.push(Arc::new(Defer));
    rules
}

/// What one step makes of an operator; nothing if it is not the step's.
type Step = fn(&Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>>;

const STEPS: [Step; 4] = [join::cut, aggregate::cut, having::cut, topn::cut];

fn stepped(plan: Arc<dyn ExecutionPlan>, steps: &[Step]) -> Result<Arc<dyn ExecutionPlan>> {
    let moved = plan.transform_up(|node| {
        for step in steps {
            if let Some(moved) = step(&node)? {
                return Ok(Transformed::yes(moved));
            }
        }
        Ok(Transformed::no(node))
    })?;
    Ok(moved.data)
}

/// Moves work into fragments, from the leaves up.
#[derive(Debug)]
struct Cut;

impl PhysicalOptimizerRule for Cut {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        // What goes to a source whole is one table when joins are put in order.
        let moved = stepped(plan, &STEPS)?;
        tell::told(stepped(order::ordered(moved)?, &STEPS)?)
    }

    fn name(&self) -> &'static str {
        "federation_cut"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The words of a verdict that lets work go down, if there are any; the reason of one that does not.
fn passed(verdict: Verdict) -> std::result::Result<Option<Reason>, Reason> {
    match verdict {
        Verdict::Exact => Ok(None),
        Verdict::Rewrite(words) => Ok(Some(words)),
        Verdict::Superset(reason) | Verdict::Keep(reason) => Err(reason),
    }
}
