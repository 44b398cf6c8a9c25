//! PostgreSQL's types, operators and functions where DataFusion's differ or are missing.
//!
//! A function that is reachable by name behaves as PostgreSQL's or is not registered; nothing is approximated.

mod aggregate;
mod arithmetic;
mod arrays;
mod beside;
mod beyond;
mod branches;
mod columns;
mod correlate;
mod days;
mod digits;
mod elapsed;
mod extreme;
mod floats;
mod found;
mod frames;
mod intervals;
mod json;
mod lettered;
mod literal;
mod lower;
mod membership;
mod moments;
mod octet_text;
mod octets;
mod only;
mod opaque;
mod operators;
mod padded;
mod parameters;
mod percentile;
mod placed;
mod qualifiers;
mod quoted;
mod reals;
mod refresh;
mod series;
mod sets;
mod span;
mod spelled;
mod summed;
mod text;
mod time;
mod trunc;
mod truth;
mod type_planner;
mod whole;
mod zeros;
mod zoned;

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::logical_expr::{AggregateUDF, Operator, ScalarUDF};

pub(crate) use found::found;
pub(crate) use intervals::compare_by_length;
pub(crate) use literal::SessionZone;
pub(crate) use lower::lower;
pub(crate) use only::{a_row, only_row, part_of};
pub(crate) use parameters::inferred;
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
        .map(lettered::as_postgresql)
        .map(octets::of_both)
        .collect();
    let signum = datafusion::functions::math::signum().as_ref().clone().with_aliases(["sign"]);
    functions.extend([time::now(), time::timezone(), arithmetic::modulo(), Arc::new(signum)]);
    functions.extend([octets::length(), whole::div()]);
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
    functions.extend([
        arithmetic::round_for_cast(),
        floats::narrow(),
        floats::negated(),
        Arc::new(zeros::function()),
    ]);
    functions.extend([trunc::date_trunc(), time::date_part(), text::to_text()]);
    functions.extend([digits::function(), padded::function()]);
    functions.extend([elapsed::days_and_time(), arrays::array_order()]);
    functions.extend(days::all());
    functions.extend(moments::all());
    functions.extend(spelled::all());
    functions.extend(zoned::all());
    functions.extend(octets::by_name());
    functions.extend([intervals::interval_value(), intervals::furthest(true), intervals::furthest(false)]);
    // Of those for texts and bytes a plan has one or the other, and only the first travel.
    functions.iter().map(octets::of_text).collect()
}

/// The aggregate functions of a session; ours come last and win.
pub(crate) fn aggregate() -> Vec<Arc<AggregateUDF>> {
    let mut functions = SessionStateDefaults::default_aggregate_functions();
    functions.extend(aggregate::all());
    functions.extend(extreme::all());
    functions.push(percentile::function());
    functions
}

/// The aggregate functions that a physical plan may hold, as [`by_name`]: those of [`aggregate`], and those that planning
/// puts in their places.
pub(crate) fn aggregate_by_name() -> Vec<Arc<AggregateUDF>> {
    let mut functions = aggregate();
    functions.extend(intervals::aggregates());
    functions
}

/// The expression planners of a session, ours first.
pub(crate) fn planners(zone: SessionZone) -> Vec<Arc<dyn ExprPlanner>> {
    let mut planners: Vec<Arc<dyn ExprPlanner>> = vec![
        Arc::new(operators::PgOperators(zone)),
        Arc::new(octets::OctetForms),
        Arc::new(qualifiers::TablesFirst),
    ];
    planners.extend(SessionStateDefaults::default_expr_planners());
    planners
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::new_null_array;
    use datafusion::arrow::datatypes::Field;
    use datafusion::common::ScalarValue;
    use datafusion::config::ConfigOptions;
    use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};

    use super::*;

    /// The optimizer asks what an expression is where a column is null and of no type; it may be told that there is no
    /// answer, but a panic is an error of the statement.
    #[test]
    fn no_function_panics_over_a_null_of_no_type() {
        let built_in: Vec<String> = scalar().iter().map(|function| function.name().to_owned()).collect();
        let null = ColumnarValue::Array(new_null_array(&DataType::Null, 1));
        let text = |text: &str| ColumnarValue::Scalar(ScalarValue::from(text));
        let number = ColumnarValue::Scalar(ScalarValue::Int64(Some(3)));
        let shapes: Vec<Vec<ColumnarValue>> = vec![
            vec![null.clone()],
            vec![null.clone(), null.clone()],
            vec![null.clone(), null.clone(), null.clone()],
            vec![null.clone(), number.clone()],
            vec![null.clone(), number.clone(), number],
            vec![text("Europe/Paris"), null.clone()],
            vec![text("Europe/Paris"), null.clone(), null.clone()],
            vec![text("Europe/Paris"), null.clone(), text("hour")],
            vec![text("hour"), null.clone()],
            vec![null, text("Europe/Paris"), text("cast")],
        ];
        let mut asked = 0;
        for function in
            by_name().into_iter().filter(|function| !built_in.iter().any(|name| name == function.name()))
        {
            for args in &shapes {
                let types: Vec<DataType> = args.iter().map(ColumnarValue::data_type).collect();
                let Ok(data_type) = function.return_type(&types) else { continue };
                let fields = types.into_iter().map(|of| Arc::new(Field::new("?", of, true)));
                let _answer_or_error = function.invoke_with_args(ScalarFunctionArgs {
                    args: args.clone(),
                    arg_fields: fields.collect(),
                    number_rows: 1,
                    return_field: Arc::new(Field::new("?", data_type, true)),
                    config_options: Arc::new(ConfigOptions::default()),
                });
                asked += 1;
            }
        }
        assert!(asked > 100, "{asked}");
    }
}
