//! What a planned statement means in PostgreSQL where DataFusion's plan says otherwise, decided before types are coerced.
//!
//! Works on expressions with their input's types at hand and keeps every column's name. Columns of KPI views stay.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, ExprSchema, Result, ScalarValue, internal_err};
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::expr::{Between, Cast, InList, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, WindowFunctionDefinition, cast, lit,
};

use super::quoted::typed;
use super::type_planner::BARE_NUMERIC;
use super::{
    arithmetic, arrays, beside, beyond, branches, correlate, days, digits, elapsed, floats, frames,
    intervals, json, membership, moments, opaque, operators, padded, placed, reals, sets, spelled, text,
    time, trunc, truth, zeros, zoned,
};
use crate::error::{ErrorCode, QueryError};
use crate::pgtypes::PgType;

/// Rewrites every expression of a plan.
pub(crate) fn lower(plan: LogicalPlan, zone: chrono_tz::Tz) -> Result<LogicalPlan> {
    let done = sets::computed_below(plan)?.transform_up_with_subqueries(|node| {
        if matches!(node, LogicalPlan::TableScan(_) | LogicalPlan::Limit(_)) {
            return Ok(Transformed::no(node));
        }
        let settled = reals::inputs(node)?;
        let (node, settled) = (settled.data, settled.transformed);
        let node = match node {
            LogicalPlan::Union(union) => return Ok(Transformed::yes(branches::of_union(union, zone)?)),
            LogicalPlan::Sort(sort) => arrays::sorted(sort),
            other => other,
        };
        // A plan does not notice by itself that a column below it has another type by now.
        let node = node.recompute_schema()?;
        let schema = if node.inputs().is_empty() {
            node.schema().as_ref().clone()
        } else {
            merge_schema(&node.inputs())
        };
        opaque::check_join(&node, zone)?;
        let retyped = correlate::retyped(node, &schema)?;
        let (node, settled) = (retyped.data, settled || retyped.transformed);
        let names = NamePreserver::new(&node);
        let shown = !matches!(node, LogicalPlan::Filter(_) | LogicalPlan::Join(_));
        let node = node.map_expressions(|expr| {
            let name = names.save(&expr);
            let changed = expr
                .transform_down(|expr| beyond::settle(expr, &schema))?
                .transform_data(|expr| expr.transform_up(|expr| opaque::settle(expr, &schema, zone)))?
                .transform_data(|expr| expr.transform_up(|expr| settle(expr, &schema, zone)))?;
            let changed = if shown {
                changed.transform_data(|expr| expr.transform_up(|expr| truth::spelled(expr, &schema)))?
            } else {
                changed
            };
            Ok(if changed.transformed { changed.update_data(|expr| name.restore(expr)) } else { changed })
        })?;
        let node = if node.transformed { node.map_data(LogicalPlan::recompute_schema)? } else { node };
        let changed = node.transformed;
        let node = membership::spell_out(node.data)?;
        let changed = changed || settled || node.transformed;
        let mut node = correlate::project_conditions(node.data, correlate::NAME)?;
        node.transformed |= changed;
        Ok(node)
    })?;
    Ok(done.data)
}

/// Whether an expression reads a column of a KPI view.
pub(super) fn of_kpi(expr: &Expr, schema: &DFSchema) -> bool {
    expr.column_refs().into_iter().any(|column| {
        schema
            .field_from_column(column)
            .is_ok_and(|field| field.metadata().keys().any(|key| key.starts_with("kpi.")))
    })
}

/// First the types that values are compared in: what else is done depends on them.
fn settle(expr: Expr, schema: &DFSchema, zone: chrono_tz::Tz) -> Result<Transformed<Expr>> {
    reals::settle(expr, schema, zone)?
        .transform_data(|expr| padded::settle(expr, schema))?
        .transform_data(|expr| digits::settle(expr, schema))?
        .transform_data(|expr| placed::settle(expr, schema, zone))?
        .transform_data(|expr| rewrite(expr, schema, zone))
}

fn rewrite(expr: Expr, schema: &DFSchema, zone: chrono_tz::Tz) -> Result<Transformed<Expr>> {
    match expr {
        Expr::Cast(inner) => rewrite_cast(inner, schema, zone),
        // 1e15 is a whole number; a negative scale only loses digits in casts.
        Expr::Literal(ScalarValue::Decimal128(Some(value), _, scale), metadata) if scale < 0 => {
            let factor = 10_i128.checked_pow(u32::from(scale.unsigned_abs()));
            Ok(match factor.and_then(|factor| value.checked_mul(factor)) {
                Some(whole) => {
                    Transformed::yes(Expr::Literal(ScalarValue::Decimal128(Some(whole), 38, 0), metadata))
                }
                None => {
                    let kept = ScalarValue::Decimal128(Some(value), 38, scale);
                    Transformed::no(Expr::Literal(kept, metadata))
                }
            })
        }
        Expr::Between(Between { expr, negated, low, high }) => {
            let Ok(wanted) = expr.get_type(schema) else {
                return Ok(Transformed::no(Expr::Between(Between { expr, negated, low, high })));
            };
            json::refuse_comparison([expr.as_ref(), low.as_ref(), high.as_ref()], schema)?;
            let bounds = vec![*expr, typed(*low, &wanted, zone)?, typed(*high, &wanted, zone)?];
            match <[Expr; 3]>::try_from(operators::alike(bounds, schema)) {
                Ok([expr, low, high]) => {
                    let range = Between::new(Box::new(expr), negated, Box::new(low), Box::new(high));
                    Ok(Transformed::yes(beside::between(range, schema, zone)?))
                }
                Err(_) => internal_err!("three values became another number of values"),
            }
        }
        Expr::InList(InList { expr, list, negated }) => {
            let Ok(wanted) = expr.get_type(schema) else {
                return Ok(Transformed::no(Expr::InList(InList { expr, list, negated })));
            };
            json::refuse_comparison(list.iter().chain([expr.as_ref()]), schema)?;
            let mut values = vec![*expr];
            for item in list {
                values.push(typed(item, &wanted, zone)?);
            }
            let mut values = operators::alike(values, schema);
            let list = values.split_off(1);
            let Some(expr) = values.pop() else { return internal_err!("a list without its value") };
            let list = InList { expr: Box::new(expr), list, negated };
            Ok(Transformed::yes(beside::in_list(list, schema, zone)?))
        }
        Expr::BinaryExpr(comparison)
            if matches!(comparison.op, Operator::IsDistinctFrom | Operator::IsNotDistinctFrom) =>
        {
            operators::distinct(comparison, schema, zone)
        }
        Expr::BinaryExpr(comparison) if operators::is_between_kinds(&comparison, schema) => {
            let BinaryExpr { left, op, right } = comparison;
            Ok(Transformed::yes(operators::comparison(*left, op, *right, schema, zone)?))
        }
        Expr::BinaryExpr(binary) => rewrite_floats(binary, schema, zone),
        // The least integer has no negative; Arrow's wraps. A number's stays a constant, for sources and statistics.
        Expr::Negative(inner) if zeros::constant(&inner).is_none_or(|value| zeros::is_nan(&value)) => {
            let zero = match inner.get_type(schema) {
                Ok(DataType::Int16) => ScalarValue::Int16(Some(0)),
                Ok(DataType::Int32) => ScalarValue::Int32(Some(0)),
                Ok(DataType::Int64) => ScalarValue::Int64(Some(0)),
                Ok(DataType::Float32 | DataType::Float64) if !of_kpi(&inner, schema) => {
                    return Ok(Transformed::yes(floats::negated().call(vec![*inner])));
                }
                _ => return Ok(Transformed::no(Expr::Negative(inner))),
            };
            let subtract = arithmetic::checked(arithmetic::IntOperator::Subtract);
            Ok(Transformed::yes(subtract.call(vec![Expr::Literal(zero, None), *inner])))
        }
        Expr::Case(case) => branches::of_case(case, schema, zone)?.transform_data(|expr| match expr {
            Expr::Case(case) => Ok(beside::case(case, schema, zone)),
            other => Ok(Transformed::no(other)),
        }),
        Expr::InSubquery(membership) => beside::in_subquery(membership, schema, zone),
        Expr::ScalarFunction(call) => rewrite_call(call, schema, zone),
        Expr::AggregateFunction(mut call)
            if matches!(call.func.name(), "sum" | "avg") && spans(&call.params.args, schema) =>
        {
            let args = std::mem::take(&mut call.params.args);
            call.params.args = args.into_iter().map(moments::finite_difference).collect();
            Ok(Transformed::yes(Expr::AggregateFunction(call)))
        }
        Expr::WindowFunction(mut call)
            if matches!(call.fun.name(), "sum" | "avg") && spans(&call.params.args, schema) =>
        {
            let args = std::mem::take(&mut call.params.args);
            call.params.args = args.into_iter().map(moments::finite_difference).collect();
            Ok(Transformed::yes(Expr::WindowFunction(call)))
        }
        // Sums of int2 and int4 are int8 in both; ours, once its argument is coerced, could not tell them from int8.
        Expr::AggregateFunction(mut call)
            if call.func.name() == "sum" && small_integer(&call.params.args, schema) =>
        {
            call.func = sum_udaf();
            Ok(Transformed::yes(Expr::AggregateFunction(call)))
        }
        Expr::WindowFunction(mut call) => {
            let mut changed = intervals::order_by_length(&mut call, schema)?;
            changed |= frames::with_room(&mut call, schema, zone)?;
            if call.fun.name() == "sum" && small_integer(&call.params.args, schema) {
                (call.fun, changed) = (WindowFunctionDefinition::AggregateUDF(sum_udaf()), true);
            }
            Ok(Transformed::new_transformed(Expr::WindowFunction(call), changed))
        }
        other => Ok(Transformed::no(other)),
    }
}

/// Arithmetic with a float in it, so that it cannot leave its range unnoticed. What reads a KPI's column stays as it is:
/// grains are recognised by their shape.
fn rewrite_floats(binary: BinaryExpr, schema: &DFSchema, zone: chrono_tz::Tz) -> Result<Transformed<Expr>> {
    use DataType::{Decimal128, Float32, Float64, Int16, Int32, Int64};
    let arithmetic =
        matches!(binary.op, Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Divide);
    let kinds = arithmetic.then(|| (binary.left.get_type(schema).ok(), binary.right.get_type(schema).ok()));
    let Some((Some(left), Some(right))) = kinds else {
        return Ok(Transformed::no(Expr::BinaryExpr(binary)));
    };
    let float = |kind: &DataType| matches!(kind, Float32 | Float64);
    let number = |kind: &DataType| float(kind) || matches!(kind, Int16 | Int32 | Int64 | Decimal128(_, _));
    if !(float(&left) || float(&right))
        || !(number(&left) && number(&right))
        || of_kpi(&binary.left, schema)
        || of_kpi(&binary.right, schema)
    {
        return Ok(Transformed::no(Expr::BinaryExpr(binary)));
    }
    let wanted = if left == Float32 && right == Float32 { Float32 } else { Float64 };
    let side = |expr: Expr, kind: &DataType| -> Result<Expr> {
        if *kind == wanted {
            return Ok(expr);
        }
        let Expr::Cast(inner) = cast(expr, wanted.clone()) else { return Ok(lit(ScalarValue::Null)) };
        Ok(rewrite_cast(inner, schema, zone)?.data)
    };
    let arguments = vec![side(*binary.left, &left)?, side(*binary.right, &right)?];
    Ok(Transformed::yes(floats::checked(binary.op).call(arguments)))
}

/// Whether what is aggregated are differences of timestamps.
fn spans(args: &[Expr], schema: &DFSchema) -> bool {
    matches!(args.first().map(|arg| arg.get_type(schema)), Some(Ok(DataType::Duration(_))))
}

fn small_integer(args: &[Expr], schema: &DFSchema) -> bool {
    let data_type = args.first().and_then(|arg| arg.get_type(schema).ok());
    matches!(
        data_type,
        Some(DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16)
    )
}

fn rewrite_call(call: ScalarFunction, schema: &DFSchema, zone: chrono_tz::Tz) -> Result<Transformed<Expr>> {
    let kpi = call.args.iter().any(|arg| of_kpi(arg, schema));
    match (call.func.name(), call.args.as_slice()) {
        ("date_part", [unit, value]) if !kpi => {
            let part = time::date_part().call(vec![unit.clone(), value.clone()]);
            Ok(Transformed::yes(part))
        }
        // Of a date, it is that of its midnight where the session is.
        ("date_trunc", [unit, value]) if matches!(value.get_type(schema), Ok(DataType::Date32)) => {
            let midnight = if kpi {
                cast(value.clone(), time::zoned())
            } else {
                days::of_day(value.clone(), true, zone)
            };
            let args = vec![unit.clone(), midnight];
            if kpi || zone == chrono_tz::UTC {
                return Ok(Transformed::yes(trunc::date_trunc().call(args)));
            }
            rewrite_call(ScalarFunction { func: trunc::date_trunc(), args }, schema, zone)
        }
        ("coalesce" | "greatest" | "least" | "make_array", arguments)
            if !kpi && beside::differ(&arguments.iter().collect::<Vec<_>>(), schema) =>
        {
            let args = beside::alike(arguments.to_vec(), schema, zone);
            Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction { func: Arc::clone(&call.func), args })))
        }
        ("nullif", [value, other]) if !kpi => match beside::nullif(value, other, schema, zone)? {
            Some(expr) => Ok(Transformed::yes(expr)),
            None => Ok(Transformed::no(Expr::ScalarFunction(call))),
        },
        ("date_trunc", [unit, value])
            if !kpi && let Ok(of @ DataType::Timestamp(_, _)) = value.get_type(schema) =>
        {
            Ok(Transformed::yes(zoned::truncated(unit, value, &of, zone)))
        }
        ("concat" | "concat_ws", arguments)
            if arguments.iter().any(|argument| has_own_text(argument, schema)) =>
        {
            let args = arguments.iter().map(|argument| {
                if has_own_text(argument, schema) {
                    text::to_text().call(vec![argument.clone()])
                } else {
                    argument.clone()
                }
            });
            let call = ScalarFunction { func: Arc::clone(&call.func), args: args.collect() };
            Ok(Transformed::yes(Expr::ScalarFunction(call)))
        }
        ("repeat" | "lpad" | "rpad", [_, Expr::Literal(count, _), ..]) if too_long(count) => {
            Err(QueryError::new(ErrorCode::ProgramLimitExceeded, "requested length too large").into())
        }
        // As int4 from the start: below a cast the digits are no literal, and the type would change when it is folded.
        ("round", [value, Expr::Literal(ScalarValue::Int64(Some(digits)), _)])
            if i32::try_from(*digits).is_ok() =>
        {
            let digits = lit(i32::try_from(*digits).unwrap_or_default());
            let call = ScalarFunction { func: Arc::clone(&call.func), args: vec![value.clone(), digits] };
            Ok(Transformed::yes(Expr::ScalarFunction(call)))
        }
        ("round", [value]) if !kpi && is_float(value, schema) => {
            Ok(Transformed::yes(arithmetic::round_for_cast().call(vec![value.clone()])))
        }
        ("ceil" | "floor" | "trunc", [value]) if is_decimal(value, schema) => {
            // The next whole number may have a digit more than the column.
            let roomy = match value.get_type(schema)? {
                DataType::Decimal128(_, scale) => cast(value.clone(), DataType::Decimal128(38, scale)),
                _ => value.clone(),
            };
            let call = ScalarFunction { func: Arc::clone(&call.func), args: vec![roomy] };
            Ok(Transformed::yes(cast(Expr::ScalarFunction(call), DataType::Decimal128(38, 0))))
        }
        ("trunc", [value, Expr::Literal(digits, _)]) if is_decimal(value, schema) => {
            let scale = match digits {
                ScalarValue::Int64(Some(digits)) => i8::try_from(*digits).unwrap_or(0).clamp(0, 37),
                ScalarValue::Int32(Some(digits)) => i8::try_from(*digits).unwrap_or(0).clamp(0, 37),
                _ => return Ok(Transformed::no(Expr::ScalarFunction(call))),
            };
            Ok(Transformed::yes(cast(Expr::ScalarFunction(call), DataType::Decimal128(38, scale))))
        }
        // An empty array has no length and no dimensions.
        ("array_length" | "array_ndims", _) => {
            let length = cast(Expr::ScalarFunction(call), DataType::Int32);
            Ok(Transformed::yes(datafusion::functions::core::expr_fn::nullif(length, lit(0_i32))))
        }
        ("array_positions", _) => {
            let places = DataType::List(Arc::new(Field::new_list_field(DataType::Int32, true)));
            Ok(Transformed::yes(cast(Expr::ScalarFunction(call), places)))
        }
        ("gcd" | "lcm", arguments)
            if arguments.iter().all(|argument| matches!(argument.get_type(schema), Ok(DataType::Int32))) =>
        {
            Ok(Transformed::yes(cast(Expr::ScalarFunction(call), DataType::Int32)))
        }
        ("cardinality" | "array_position" | "regexp_count" | "regexp_instr", _) => {
            Ok(Transformed::yes(cast(Expr::ScalarFunction(call), DataType::Int32)))
        }
        _ => Ok(Transformed::no(Expr::ScalarFunction(call))),
    }
}

/// Longest text that a function may be asked to make of a short one, in repetitions or characters.
const LONGEST: i64 = 10_000_000;

fn too_long(count: &ScalarValue) -> bool {
    match count {
        ScalarValue::Int64(Some(count)) => *count > LONGEST,
        ScalarValue::Int32(Some(count)) => i64::from(*count) > LONGEST,
        _ => false,
    }
}

/// Types whose text `concat` makes otherwise in DataFusion.
fn has_own_text(expr: &Expr, schema: &DFSchema) -> bool {
    use DataType::{Boolean, Date32, Duration, Float32, Float64, Interval, Timestamp};
    matches!(
        expr.get_type(schema),
        Ok(Boolean | Date32 | Float32 | Float64 | Timestamp(_, _) | Interval(_) | Duration(_))
    )
}

fn is_float(expr: &Expr, schema: &DFSchema) -> bool {
    matches!(expr.get_type(schema), Ok(DataType::Float32 | DataType::Float64))
}

fn is_decimal(expr: &Expr, schema: &DFSchema) -> bool {
    matches!(expr.get_type(schema), Ok(DataType::Decimal128(_, _)))
}

/// Pairs of types PostgreSQL has no cast between. Between dates and int4 our own operators count in days.
fn no_cast(source: &DataType, target: &DataType) -> bool {
    use DataType::{Boolean, Date32, Decimal128, Float32, Float64, Int16, Int32, Int64, Timestamp};
    let number = |data_type: &DataType| {
        matches!(data_type, Int16 | Int32 | Int64 | Float32 | Float64 | Decimal128(_, _))
    };
    match (source, target) {
        (Date32, Int32) | (Int32, Date32) => false,
        (Date32 | Timestamp(_, _), Boolean) | (Boolean, Date32 | Timestamp(_, _)) => true,
        (Date32 | Timestamp(_, _), to) => number(to),
        (from, Date32 | Timestamp(_, _)) => number(from),
        _ => false,
    }
}

/// A cast that may fail, and so must be evaluated: the optimizer takes a cast of a column beside a constant away.
fn narrowed(expr: Expr, target: DataType) -> Expr {
    if expr.any_column_refs() { arithmetic::narrow(target).call(vec![expr]) } else { cast(expr, target) }
}

pub(super) fn rewrite_cast(inner: Cast, schema: &DFSchema, zone: chrono_tz::Tz) -> Result<Transformed<Expr>> {
    let Ok(source) = inner.expr.get_type(schema) else { return Ok(Transformed::no(Expr::Cast(inner))) };
    let target = inner.field.data_type().clone();
    let Cast { expr, field } = inner;
    let integer =
        |data_type: &DataType| matches!(data_type, DataType::Int16 | DataType::Int32 | DataType::Int64);
    if no_cast(&source, &target) {
        let name = |data_type: &DataType| PgType::from_arrow(data_type).without_typmod().format();
        let message = format!("cannot cast type {} to {}", name(&source), name(&target));
        return Err(QueryError::new(ErrorCode::CannotCoerce, message).into());
    }
    match (&source, &target) {
        // The nearest float of a written number is found from its digits.
        (DataType::Decimal128(_, _), DataType::Float64)
            if let Expr::Literal(ScalarValue::Decimal128(Some(value), _, scale), metadata) =
                expr.as_ref()
                && let Ok(value) = format!("{value}e{}", -i32::from(*scale)).parse::<f64>()
                && value.is_finite() =>
        {
            Ok(Transformed::yes(Expr::Literal(ScalarValue::Float64(Some(value)), metadata.clone())))
        }
        // An integer literal whose type was settled.
        (DataType::Int64, DataType::Int32)
            if let Expr::Literal(ScalarValue::Int64(Some(value)), metadata) = expr.as_ref()
                && let Ok(value) = i32::try_from(*value) =>
        {
            Ok(Transformed::yes(Expr::Literal(ScalarValue::Int32(Some(value)), metadata.clone())))
        }
        (DataType::Float64, DataType::Float32) if !of_kpi(&expr, schema) => {
            Ok(Transformed::yes(floats::narrow().call(vec![*expr])))
        }
        (DataType::Float32 | DataType::Float64, to) if integer(to) => {
            Ok(Transformed::yes(narrowed(arithmetic::round_for_cast().call(vec![*expr]), target)))
        }
        (DataType::Decimal128(_, scale), to) if integer(to) && *scale > 0 => {
            Ok(Transformed::yes(narrowed(arithmetic::round_for_cast().call(vec![*expr]), target)))
        }
        (DataType::Int64, DataType::Int32 | DataType::Int16)
        | (DataType::Int32, DataType::Int16)
        | (
            DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8,
            DataType::Int16 | DataType::Int32 | DataType::Int64,
        ) if expr.any_column_refs() && !of_kpi(&expr, schema) => {
            Ok(Transformed::yes(narrowed(*expr, target)))
        }
        // numeric without precision keeps what it is given.
        (DataType::Decimal128(_, _), to) if *to == BARE_NUMERIC => Ok(Transformed::yes(*expr)),
        (DataType::Int16 | DataType::Int32 | DataType::Int64, to) if *to == BARE_NUMERIC => {
            Ok(Transformed::yes(cast(*expr, DataType::Decimal128(19, 0))))
        }
        (_, to) if *to == BARE_NUMERIC => {
            beyond::check(&expr)?;
            let literal = DataType::Decimal128(38, 10);
            Ok(Transformed::yes(cast(typed(*expr, &literal, zone)?, literal)))
        }
        (DataType::Utf8, _) if let Expr::Literal(ScalarValue::Utf8(Some(_)), _) = expr.as_ref() => {
            Ok(Transformed::yes(cast(typed(*expr, &target, zone)?, target)))
        }
        (
            DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8,
            to @ (DataType::Date32 | DataType::Timestamp(TimeUnit::Microsecond, _)),
        ) if !of_kpi(&expr, schema) => Ok(Transformed::yes(spelled::read(*expr, to, zone))),
        // AT TIME ZONE is the only thing DataFusion plans as a cast to a zoned nanosecond timestamp.
        (
            DataType::Timestamp(_, _) | DataType::Date32,
            DataType::Timestamp(TimeUnit::Nanosecond, Some(asked)),
        ) if !of_kpi(&expr, schema) => {
            // A date is the instant of its midnight where the session is.
            let at = if source == DataType::Date32 { days::of_day(*expr, true, zone) } else { *expr };
            Ok(Transformed::yes(time::timezone().call(vec![lit(asked.as_ref()), at])))
        }
        // Between wall clock and instant lies the session's zone.
        (DataType::Timestamp(_, Some(_)), DataType::Timestamp(TimeUnit::Microsecond, None))
            if zone != chrono_tz::UTC && !of_kpi(&expr, schema) =>
        {
            Ok(Transformed::yes(cast(time::timezone().call(vec![lit(zone.name()), *expr]), target)))
        }
        (DataType::Timestamp(_, None), DataType::Timestamp(TimeUnit::Microsecond, Some(_)))
            if !of_kpi(&expr, schema) =>
        {
            Ok(Transformed::yes(days::as_instant(*expr, &source, true, zone)))
        }
        (DataType::Timestamp(_, _), DataType::Time64(_)) if !of_kpi(&expr, schema) => {
            Ok(Transformed::yes(zoned::time_of_day(*expr, &source, zone)))
        }
        (DataType::Duration(_) | DataType::Time64(_), DataType::Interval(_)) if !of_kpi(&expr, schema) => {
            Ok(Transformed::yes(elapsed::days_and_time().call(vec![*expr])))
        }
        (DataType::Timestamp(_, _), DataType::Date32) if !of_kpi(&expr, schema) => {
            Ok(Transformed::yes(days::day(*expr, &source, zone)))
        }
        (DataType::Date32, DataType::Timestamp(TimeUnit::Microsecond, to)) if !of_kpi(&expr, schema) => {
            Ok(Transformed::yes(days::of_day(*expr, to.is_some(), zone)))
        }
        (
            DataType::Timestamp(_, _)
            | DataType::Date32
            | DataType::Float32
            | DataType::Float64
            | DataType::Interval(_)
            | DataType::Duration(_),
            DataType::Utf8,
        ) => Ok(Transformed::yes(text::to_text().call(vec![*expr]))),
        _ => Ok(Transformed::no(Expr::Cast(Cast { expr, field }))),
    }
}
