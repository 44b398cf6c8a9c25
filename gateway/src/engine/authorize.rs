//! Which nodes a logical plan may hold: an allow-list, checked on the plan and not on the text.
//!
//! Reading only. Whatever writes, defines, copies or configures is refused here even if a statement found a way past
//! the parser's check.

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;

use crate::error::{ErrorCode, QueryError};

/// Refuses a plan that does anything but read.
pub(super) fn check(plan: &LogicalPlan) -> Result<(), QueryError> {
    let mut refused = false;
    plan.apply_with_subqueries(|node| {
        refused |= matches!(
            node,
            LogicalPlan::Dml(_)
                | LogicalPlan::Ddl(_)
                | LogicalPlan::Copy(_)
                | LogicalPlan::Statement(_)
                | LogicalPlan::DescribeTable(_)
                | LogicalPlan::Analyze(_)
                | LogicalPlan::Explain(_)
        );
        Ok(if refused { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })
    .map_err(QueryError::from)?;
    if refused {
        return Err(QueryError::new(
            ErrorCode::ReadOnlyTransaction,
            "cannot execute this statement in a read-only transaction",
        ));
    }
    Ok(())
}
