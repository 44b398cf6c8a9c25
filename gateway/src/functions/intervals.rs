//! Intervals are compared by their lengths, as in PostgreSQL: a day is 24 hours and a month 30 days.
//!
//! Arrow compares months, days and time one after the other, so `24:00:00` was not `1 day`. Wherever a plan compares
//! intervals, keys of joins, groups, orders and windows included, it compares `interval_value(x)`. Works on types that
//! are settled, after the analyser; only the order of a window is changed before, because the analyser refuses it. What
//! is shown stays an interval that was there: of a group the first. What compares intervals in a way that is not known
//! here is refused, never answered in Arrow's order.

mod choice;
mod groups;
mod length;

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue, internal_err};
use datafusion::logical_expr::expr::{
    AggregateFunction, Between, Case, InList, InSubquery, ScalarFunction, SetComparison, WindowFunction,
};
use datafusion::logical_expr::{
    AggregateUDF, BinaryExpr, Distinct, Expr, ExprSchemable, LogicalPlan, Operator, Projection, Subquery,
    WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition, when,
};

use super::columns::ComparedBy;
use super::zeros::is_comparison;
use crate::error::QueryError;
pub(super) use choice::all as aggregates;
use choice::{Choice, chosen};
use length::SPAN;
pub(super) use length::{furthest, interval_value};

/// Intervals, and what they are compared by.
const BY_LENGTH: ComparedBy = ComparedBy {
    name: length::NAME,
    call: |span| interval_value().call(vec![span]),
    concerns: gives_span,
    wrap,
    compare: |expr, schema, _| compared(expr, schema),
};

/// Compares intervals by their lengths wherever a plan compares them.
///
/// # Errors
/// 0A000 for what compares them in a way that is not known here.
pub(crate) fn compare_by_length(plan: LogicalPlan) -> Result<LogicalPlan> {
    let done = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::TableScan(_) | LogicalPlan::Limit(_) => Ok(Transformed::no(node)),
        LogicalPlan::Distinct(Distinct::All(input)) => groups::distinct(input),
        LogicalPlan::Distinct(Distinct::On(on)) => BY_LENGTH.distinct_on(on),
        LogicalPlan::Filter(filter) => BY_LENGTH.filter(filter),
        LogicalPlan::Aggregate(aggregate) => groups::grouped(aggregate),
        LogicalPlan::RecursiveQuery(query)
            if query.is_distinct && query.schema.fields().iter().any(|field| is_span(field.data_type())) =>
        {
            Err(refused("a recursive UNION"))
        }
        LogicalPlan::Sort(mut sort) => {
            let schema = Arc::clone(sort.input.schema());
            let mut changed = false;
            for key in &mut sort.expr {
                changed |= wrap(&mut key.expr, &schema);
            }
            let node = BY_LENGTH.expressions(LogicalPlan::Sort(sort))?;
            Ok(if changed { Transformed::yes(node.data) } else { node })
        }
        LogicalPlan::Join(mut join) => {
            let mut changed = false;
            for (left, right) in &mut join.on {
                if either(left, join.left.schema(), right, join.right.schema()) {
                    make_length(left);
                    make_length(right);
                    changed = true;
                }
            }
            let node = BY_LENGTH.expressions(LogicalPlan::Join(join))?;
            Ok(if changed { Transformed::yes(node.data) } else { node })
        }
        other => BY_LENGTH.expressions(other),
    })?;
    Ok(done.data)
}

/// Whether values of a type are compared by length: intervals, and lists of them.
fn is_span(data_type: &DataType) -> bool {
    match data_type {
        DataType::Interval(_) => true,
        DataType::List(item) => is_span(item.data_type()),
        _ => false,
    }
}

fn gives_span(expr: &Expr, schema: &DFSchema) -> bool {
    expr.get_type(schema).is_ok_and(|of| is_span(&of))
}

/// Whether an interval is on one side at least; the other is one too, or a difference of times.
fn either(left: &Expr, left_schema: &DFSchema, right: &Expr, right_schema: &DFSchema) -> bool {
    gives_span(left, left_schema) || gives_span(right, right_schema)
}

fn make_length(expr: &mut Expr) {
    let inner = std::mem::take(expr);
    *expr = interval_value().call(vec![inner]);
}

/// Puts its length in the place of an interval; false for anything else.
fn wrap(expr: &mut Expr, schema: &DFSchema) -> bool {
    let span = gives_span(expr, schema);
    if span {
        make_length(expr);
    }
    span
}

fn refused(what: &str) -> DataFusionError {
    QueryError::unsupported(format!("{what} of intervals"))
        .with_hint("compare extract(epoch from …), where a year counts 365.25 days")
        .into()
}

fn binary(left: Expr, op: Operator, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
}

/// A comparison of intervals as one of their lengths.
fn compared(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::BinaryExpr(comparison)
            if is_comparison(comparison.op)
                && either(&comparison.left, schema, &comparison.right, schema) =>
        {
            let BinaryExpr { mut left, op, mut right } = comparison;
            make_length(&mut left);
            make_length(&mut right);
            Ok(Transformed::yes(binary(*left, op, *right)))
        }
        Expr::Between(mut between) if gives_span(&between.expr, schema) => {
            let Between { expr, low, high, .. } = &mut between;
            for side in [expr, low, high] {
                make_length(side);
            }
            Ok(Transformed::yes(Expr::Between(between)))
        }
        Expr::InList(InList { mut expr, mut list, negated }) if gives_span(&expr, schema) => {
            make_length(&mut expr);
            list.iter_mut().for_each(make_length);
            Ok(Transformed::yes(Expr::InList(InList { expr, list, negated })))
        }
        Expr::InSubquery(InSubquery { mut expr, subquery, negated }) if gives_span(&expr, schema) => {
            make_length(&mut expr);
            let subquery = of_lengths(subquery)?;
            Ok(Transformed::yes(Expr::InSubquery(InSubquery { expr, subquery, negated })))
        }
        Expr::SetComparison(SetComparison { mut expr, subquery, op, quantifier })
            if gives_span(&expr, schema) =>
        {
            make_length(&mut expr);
            let subquery = of_lengths(subquery)?;
            Ok(Transformed::yes(Expr::SetComparison(SetComparison { expr, subquery, op, quantifier })))
        }
        Expr::Case(Case { expr: Some(mut base), mut when_then_expr, else_expr })
            if gives_span(&base, schema) =>
        {
            make_length(&mut base);
            when_then_expr.iter_mut().for_each(|(when, _)| make_length(when));
            Ok(Transformed::yes(Expr::Case(Case { expr: Some(base), when_then_expr, else_expr })))
        }
        Expr::ScalarFunction(call) => of_call(call, schema),
        Expr::AggregateFunction(call) => of_aggregate(call, schema),
        Expr::WindowFunction(call) => of_window(call, schema),
        other => Ok(Transformed::no(other)),
    }
}

/// The rows of a subquery of one column with its length in the column's place.
fn of_lengths(subquery: Subquery) -> Result<Subquery> {
    let schema = Arc::clone(subquery.subquery.schema());
    let mut columns = schema.columns();
    let (Some(column), true) = (columns.pop(), columns.is_empty()) else {
        return internal_err!("a membership is one in a single column");
    };
    let mut member = Expr::Column(column.clone());
    make_length(&mut member);
    let member = member.alias_qualified(column.relation, column.name);
    let plan = LogicalPlan::Projection(Projection::try_new(vec![member], Arc::clone(&subquery.subquery))?);
    Ok(Subquery { subquery: Arc::new(plan), ..subquery })
}

fn of_call(mut call: ScalarFunction, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let types: Vec<DataType> =
        call.args.iter().map(|arg| arg.get_type(schema)).collect::<Result<_>>().unwrap_or_default();
    if !types.iter().any(is_span) {
        return Ok(Transformed::no(Expr::ScalarFunction(call)));
    }
    let lists = types.iter().any(|of| matches!(of, DataType::List(_)) && is_span(of));
    match call.func.name() {
        "nullif" => {
            let [value, other] = call.args.as_slice() else {
                return internal_err!("nullif has two arguments");
            };
            let (mut left, mut right) = (value.clone(), other.clone());
            make_length(&mut left);
            make_length(&mut right);
            let nothing = Expr::Literal(ScalarValue::try_from(&value.get_type(schema)?)?, None);
            Ok(Transformed::yes(when(left.eq(right), nothing).otherwise(value.clone())?))
        }
        name @ ("greatest" | "least" | "array_max" | "array_min") => {
            let longest = matches!(name, "greatest" | "array_max");
            Ok(Transformed::yes(furthest(longest).call(call.args)))
        }
        // The list and what is looked for.
        "array_has" | "array_position" | "array_positions" => {
            for (argument, _) in call.args.iter_mut().zip(&types).filter(|(_, of)| is_span(of)) {
                make_length(argument);
            }
            Ok(Transformed::yes(Expr::ScalarFunction(call)))
        }
        name if lists && !looks_at_no_value(name) => Err(refused(&format!("{name} over a list"))),
        _ => Ok(Transformed::no(Expr::ScalarFunction(call))),
    }
}

/// Functions that take lists apart or put them together whatever is in them, and our own of intervals.
fn looks_at_no_value(function: &str) -> bool {
    matches!(
        function,
        length::NAME
            | "make_array"
            | "array_append"
            | "array_prepend"
            | "array_concat"
            | "array_element"
            | "array_slice"
            | "array_length"
            | "array_ndims"
            | "array_repeat"
            | "array_reverse"
            | "array_to_string"
            | "cardinality"
            | "coalesce"
            | "concat"
            | "empty"
            | "longest_interval"
            | "shortest_interval"
            | "to_text"
    )
}

/// `min` or `max` of intervals, as the aggregate that chooses by length.
fn extreme(name: &str, args: &[Expr], schema: &DFSchema) -> Result<Option<Arc<AggregateUDF>>> {
    let choice = match name {
        "min" => Choice::Shortest,
        "max" => Choice::Longest,
        _ => return Ok(None),
    };
    match args.first().map(|arg| arg.get_type(schema)).transpose()? {
        Some(of) if of == SPAN => Ok(Some(chosen(choice))),
        Some(of) if is_span(&of) => Err(refused(&format!("{name} of lists"))),
        _ => Ok(None),
    }
}

fn of_aggregate(mut call: AggregateFunction, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let mut changed = false;
    for key in &mut call.params.order_by {
        changed |= wrap(&mut key.expr, schema);
    }
    if let Some(extreme) = extreme(call.func.name(), &call.params.args, schema)? {
        call.func = extreme;
        call.params.distinct = false;
        changed = true;
    } else if call.params.distinct && call.params.args.iter().any(|arg| gives_span(arg, schema)) {
        if call.func.name() != "count" {
            return Err(refused(&format!("{}(DISTINCT …)", call.func.name())));
        }
        for argument in &mut call.params.args {
            changed |= wrap(argument, schema);
        }
    }
    Ok(Transformed::new_transformed(Expr::AggregateFunction(call), changed))
}

fn of_window(mut call: Box<WindowFunction>, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let mut changed = order_by_length(&mut call, schema)?;
    for part in &mut call.params.partition_by {
        changed |= wrap(part, schema);
    }
    if let WindowFunctionDefinition::AggregateUDF(function) = &call.fun
        && let Some(extreme) = extreme(function.name(), &call.params.args, schema)?
    {
        call.fun = WindowFunctionDefinition::AggregateUDF(extreme);
        changed = true;
    }
    Ok(Transformed::new_transformed(Expr::WindowFunction(call), changed))
}

/// Orders a window by the lengths of its intervals; asked for before frames are coerced as well, which refuses them.
///
/// # Errors
/// 0A000 for a frame of rows that are so much longer or shorter.
pub(super) fn order_by_length(call: &mut WindowFunction, schema: &DFSchema) -> Result<bool> {
    let mut changed = false;
    for key in &mut call.params.order_by {
        changed |= wrap(&mut key.expr, schema);
    }
    let frame = &call.params.window_frame;
    let distance = |bound: &WindowFrameBound| match bound {
        WindowFrameBound::Preceding(value) | WindowFrameBound::Following(value) => !value.is_null(),
        WindowFrameBound::CurrentRow => false,
    };
    if changed
        && frame.units == WindowFrameUnits::Range
        && (distance(&frame.start_bound) || distance(&frame.end_bound))
    {
        return Err(refused("a RANGE frame with a distance"));
    }
    Ok(changed)
}
