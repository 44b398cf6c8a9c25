//! PostgreSQL's types, operators and functions where DataFusion's differ or are missing.
//!
//! A function that is reachable by name behaves as PostgreSQL's or is not registered; nothing is approximated.

mod aggregate;
mod arithmetic;
mod lower;
mod operators;
mod time;
mod type_planner;

use std::sync::Arc;

use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};

pub(crate) use lower::lower;
pub(crate) use type_planner::PgTypePlanner;

/// DataFusion's functions that PostgreSQL has under another meaning, or that reach into the engine.
const UNREACHABLE: &[&str] = &[
    "arrow_cast",
    "arrow_typeof",
    "arrow_metadata",
    "arrow_field",
    "arrow_try_cast",
    "to_char",
    "to_date",
    "to_timestamp",
    "to_timestamp_seconds",
    "to_timestamp_millis",
    "to_timestamp_micros",
    "to_timestamp_nanos",
    "to_unixtime",
    "from_unixtime",
    "to_time",
    "to_local_time",
    "now",
    "union_extract",
    "union_tag",
    "version",
    "get_field",
    "date_format",
    "datepart",
];

/// The scalar functions of a session.
pub(crate) fn scalar() -> Vec<Arc<ScalarUDF>> {
    let mut functions: Vec<_> = SessionStateDefaults::default_scalar_functions()
        .into_iter()
        .filter(|function| !UNREACHABLE.contains(&function.name()))
        .collect();
    functions.extend([time::now(), time::timezone()]);
    functions
}

/// The aggregate functions of a session; ours come last and win.
pub(crate) fn aggregate() -> Vec<Arc<AggregateUDF>> {
    let mut functions = SessionStateDefaults::default_aggregate_functions();
    functions.extend(aggregate::all());
    functions
}

/// The expression planners of a session, ours first.
pub(crate) fn planners() -> Vec<Arc<dyn ExprPlanner>> {
    let mut planners: Vec<Arc<dyn ExprPlanner>> = vec![Arc::new(operators::PgOperators)];
    planners.extend(SessionStateDefaults::default_expr_planners());
    planners
}
