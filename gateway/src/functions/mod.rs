//! PostgreSQL's types, operators and functions where DataFusion's differ or are missing.
//!
//! A function that is reachable by name behaves as PostgreSQL's or is not registered; nothing is approximated.

mod aggregate;
mod arithmetic;
mod branches;
mod correlate;
mod extreme;
mod floats;
mod lists;
mod literal;
mod lower;
mod membership;
mod operators;
mod quoted;
mod refresh;
mod series;
mod span;
mod text;
mod time;
mod trunc;
mod type_planner;
mod zeros;

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::logical_expr::{AggregateUDF, Operator, ScalarUDF};

pub(crate) use lists::optimizer_rules;
pub(crate) use literal::SessionZone;
pub(crate) use lower::lower;
pub(crate) use refresh::refresh;
pub(crate) use series::table_functions;
pub(crate) use span::{Span, interval};
pub(crate) use type_planner::PgTypePlanner;
pub(crate) use zeros::one_zero_each;

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
    "generate_series",
    "range",
    "row",
    "struct",
    "named_struct",
];

/// Functions of PostgreSQL that are refused by name, because an approximation would be a wrong answer.
pub(crate) const REFUSED: &[&str] = &[
    "to_char",
    "to_date",
    "to_timestamp",
    "to_number",
    "age",
    "justify_hours",
    "justify_days",
    "make_timestamp",
    "make_timestamptz",
    "make_interval",
    "width_bucket",
    "mode",
    "percentile_disc",
    "format",
    "json_build_object",
    "jsonb_build_object",
    "clock_timestamp",
    "timeofday",
    "localtimestamp",
    "localtime",
    "setseed",
    "any_value",
    "array",
    "array_dims",
    "array_fill",
    "array_lower",
    "array_upper",
    "bit_count",
    "convert_from",
    "convert_to",
    "current_setting",
    "div",
    "gen_random_uuid",
    "generate_series",
    "get_byte",
    "isfinite",
    "json_agg",
    "json_object_agg",
    "jsonb_agg",
    "jsonb_array_elements",
    "jsonb_array_length",
    "jsonb_build_array",
    "jsonb_extract_path_text",
    "jsonb_object_agg",
    "jsonb_object_keys",
    "jsonb_typeof",
    "justify_interval",
    "make_time",
    "min_scale",
    "normalize",
    "num_nonnulls",
    "num_nulls",
    "parse_ident",
    "pg_backend_pid",
    "pg_typeof",
    "quote_ident",
    "quote_literal",
    "quote_nullable",
    "regexp_matches",
    "regexp_split_to_array",
    "regexp_split_to_table",
    "regexp_substr",
    "row",
    "row_to_json",
    "scale",
    "string_to_table",
    "to_json",
    "to_jsonb",
    "trim_scale",
    "unistr",
    "variance",
    "version",
    "xmlagg",
];

/// The scalar functions of a session.
pub(crate) fn scalar() -> Vec<Arc<ScalarUDF>> {
    let mut functions: Vec<_> = SessionStateDefaults::default_scalar_functions()
        .into_iter()
        .filter(|function| !UNREACHABLE.contains(&function.name()))
        .map(floats::in_domain)
        .collect();
    let signum = datafusion::functions::math::signum().as_ref().clone().with_aliases(["sign"]);
    functions.extend([time::now(), time::timezone(), arithmetic::modulo(), Arc::new(signum)]);
    functions
}

/// The functions that a physical plan may hold and that their names tell whole, for plans that are told to another
/// process by name: those of [`scalar`], and those that planning puts in the place of operators and casts. Of two with one
/// name the last is meant. What has more to it than a name (the scale of a quotient) is not among them.
pub(crate) fn by_name() -> Vec<Arc<ScalarUDF>> {
    use arithmetic::IntOperator;
    let mut functions = scalar();
    functions.extend(
        [IntOperator::Add, IntOperator::Subtract, IntOperator::Multiply, IntOperator::Modulo]
            .map(arithmetic::checked),
    );
    functions
        .extend([Operator::Plus, Operator::Minus, Operator::Multiply, Operator::Divide].map(floats::checked));
    functions.extend([DataType::Int16, DataType::Int32, DataType::Int64].map(arithmetic::narrow));
    functions.extend([arithmetic::round_for_cast(), floats::narrow(), Arc::new(zeros::function())]);
    functions.extend([trunc::date_trunc(), time::date_part(), time::interval_value(), text::to_text()]);
    functions
}

/// The aggregate functions of a session; ours come last and win.
pub(crate) fn aggregate() -> Vec<Arc<AggregateUDF>> {
    let mut functions = SessionStateDefaults::default_aggregate_functions();
    functions.extend(aggregate::all());
    functions.extend(extreme::all());
    functions
}

/// The expression planners of a session, ours first.
pub(crate) fn planners(zone: SessionZone) -> Vec<Arc<dyn ExprPlanner>> {
    let mut planners: Vec<Arc<dyn ExprPlanner>> = vec![Arc::new(operators::PgOperators(zone))];
    planners.extend(SessionStateDefaults::default_expr_planners());
    planners
}
