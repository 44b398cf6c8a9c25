//! DataFusion's push-down of filters through operators, kept to plans in which a column's name says which column it is.
//!
//! On their way to a child filters look their columns up by name. Where a child has two columns of one name, as after
//! a join of a table with itself, a filter of the second would land on the first and drop its rows. Such a child ends
//! the way; what is below it is a plan of its own. Filters that end here stay where they were, so no row is lost.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;

/// The rules that push filters down.
const RULES: [&str; 2] = ["FilterPushdown", "FilterPushdown(Post)"];

/// A rule under this restriction, if it needs it.
pub(super) fn restricted(
    rule: Arc<dyn PhysicalOptimizerRule + Send + Sync>,
) -> Arc<dyn PhysicalOptimizerRule + Send + Sync> {
    if RULES.contains(&rule.name()) { Arc::new(Restricted(rule)) } else { rule }
}

struct Restricted(Arc<dyn PhysicalOptimizerRule + Send + Sync>);

impl fmt::Debug for Restricted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Restricted").field(&self.0.name()).finish()
    }
}

impl PhysicalOptimizerRule for Restricted {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if below_is_unique(plan.as_ref()) {
            return self.0.optimize(plan, config);
        }
        let children = plan
            .children()
            .into_iter()
            .map(|child| self.optimize(Arc::clone(child), config))
            .collect::<Result<Vec<_>>>()?;
        replace_children_if_necessary(plan, children)
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}

/// Whether no operator below this one has two columns of one name.
fn below_is_unique(plan: &dyn ExecutionPlan) -> bool {
    plan.children().into_iter().all(|child| {
        let schema = child.schema();
        let mut names = HashSet::new();
        schema.fields().iter().all(|field| names.insert(field.name().as_str()))
            && below_is_unique(child.as_ref())
    })
}
