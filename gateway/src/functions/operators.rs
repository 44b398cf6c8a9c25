//! PostgreSQL's operators, decided where the client's expression is planned and both sides have types.
//!
//! A quoted literal takes the other side's type, as PostgreSQL's unknown does; an integer literal is int4 if it fits;
//! a pair of types PostgreSQL has no operator for is refused with 42883 instead of being cast. Everything that means
//! the same in both stays DataFusion's own expression, so that pruning, push-down and KPI grains still see it.

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr, RawWindowExpr};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator, cast};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::arithmetic::{self, IntOperator};
use super::intervals::interval_value;
use super::literal::SessionZone;
use super::lower::of_kpi;
use super::quoted::{typed, unknown};
use super::zeros::is_comparison;
use super::{arrays, beyond, days, digits, elapsed, floats, json, moments, opaque, parameters, reals, text};
use crate::error::{ErrorCode, QueryError};
use crate::pgtypes::PgType;

/// The planner of operators and of window functions' types.
#[derive(Debug)]
pub(super) struct PgOperators(pub(super) SessionZone);

/// The kinds of types between which operators exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Integer,
    Numeric,
    Float,
    Text,
    Bool,
    Date,
    Stamp,
    Time,
    Interval,
    Bytes,
    Uuid,
    Other,
}

pub(super) fn kind(data_type: &DataType) -> Kind {
    match data_type {
        DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32 => Kind::Integer,
        DataType::UInt64
        | DataType::Decimal32(_, _)
        | DataType::Decimal64(_, _)
        | DataType::Decimal128(_, _)
        | DataType::Decimal256(_, _) => Kind::Numeric,
        DataType::Float16 | DataType::Float32 | DataType::Float64 => Kind::Float,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Kind::Text,
        DataType::Boolean => Kind::Bool,
        DataType::Date32 | DataType::Date64 => Kind::Date,
        DataType::Timestamp(_, _) => Kind::Stamp,
        DataType::Time32(_) | DataType::Time64(_) => Kind::Time,
        DataType::Interval(_) | DataType::Duration(_) => Kind::Interval,
        DataType::FixedSizeBinary(16) => Kind::Uuid,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            Kind::Bytes
        }
        DataType::Dictionary(_, value) => kind(value),
        _ => Kind::Other,
    }
}

fn is_number(kind: Kind) -> bool {
    matches!(kind, Kind::Integer | Kind::Numeric | Kind::Float)
}

/// An integer literal becomes int4 if it fits.
pub(super) fn narrow(expr: Expr) -> Expr {
    match &expr {
        Expr::Literal(ScalarValue::Int64(Some(value)), metadata) => match i32::try_from(*value) {
            Ok(value) => Expr::Literal(ScalarValue::Int32(Some(value)), metadata.clone()),
            Err(_) => expr,
        },
        _ => expr,
    }
}

pub(super) fn no_operator(left: &DataType, symbol: &str, right: &DataType) -> QueryError {
    let name = |data_type: &DataType| PgType::from_arrow(data_type).without_typmod().format();
    QueryError::new(
        ErrorCode::UndefinedFunction,
        format!("operator does not exist: {} {symbol} {}", name(left), name(right)),
    )
    .with_hint(
        "no operator matches the given name and argument types; you might need to add explicit type casts",
    )
}

fn binary(left: Expr, operator: Operator, right: Expr) -> PlannerResult<RawBinaryExpr> {
    PlannerResult::Planned(Expr::BinaryExpr(BinaryExpr::new(Box::new(left), operator, Box::new(right))))
}

pub(super) const STAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// Value and scale of a constant numeric.
fn constant(expr: &Expr) -> Option<(i128, i8)> {
    match expr {
        Expr::Literal(ScalarValue::Decimal128(Some(value), _, scale), _) => Some((*value, *scale)),
        Expr::Literal(ScalarValue::Int64(Some(value)), _) => Some((i128::from(*value), 0)),
        Expr::Literal(ScalarValue::Int32(Some(value)), _) => Some((i128::from(*value), 0)),
        Expr::Cast(inner) if kind(inner.field.data_type()) == Kind::Integer => constant(&inner.expr),
        Expr::Cast(inner) if matches!(inner.field.data_type(), DataType::Decimal128(_, 0)) => {
            constant(&inner.expr).filter(|(_, scale)| *scale == 0)
        }
        _ => None,
    }
}

fn is_nonzero_literal(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(ScalarValue::Float64(Some(value)), _) => *value != 0.0,
        other => constant(other).is_some_and(|(value, _)| value != 0),
    }
}

pub(super) fn scale_of(data_type: &DataType) -> i8 {
    match data_type {
        DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) | DataType::Decimal128(_, scale) => {
            *scale
        }
        _ => 0,
    }
}

fn compare(
    raw: RawBinaryExpr,
    operator: Operator,
    (left, right): (&DataType, &DataType),
    schema: &DFSchema,
    zone: chrono_tz::Tz,
) -> Result<PlannerResult<RawBinaryExpr>> {
    let symbol = match operator {
        Operator::NotEq => "<>".to_owned(),
        Operator::IsDistinctFrom | Operator::IsNotDistinctFrom => "=".to_owned(),
        operator => operator.to_string(),
    };
    let RawBinaryExpr { left: left_expr, right: right_expr, .. } = raw;
    json::refuse_comparison([&left_expr, &right_expr], schema)?;
    if unknown(&right_expr).is_some() || unknown(&left_expr).is_some() {
        let array = if matches!(left, DataType::List(_)) { left } else { right };
        let compared = arrays::are_compared(array, operator, array);
        let typed_right = typed(right_expr, left, zone)?;
        let typed_left = typed(left_expr, right, zone)?;
        if compared {
            return Ok(PlannerResult::Planned(arrays::comparison(typed_left, operator, typed_right)));
        }
        return Ok(binary(typed_left, operator, typed_right));
    }
    let (left_kind, right_kind) = (kind(left), kind(right));
    let same = left_kind == right_kind
        || is_number(left_kind) && is_number(right_kind)
        || matches!((left_kind, right_kind), (Kind::Date, Kind::Stamp) | (Kind::Stamp, Kind::Date))
        || left_kind == Kind::Other
        || right_kind == Kind::Other;
    if !same {
        return Err(no_operator(left, &symbol, right).into());
    }
    if arrays::are_compared(left, operator, right) {
        return Ok(PlannerResult::Planned(arrays::comparison(left_expr, operator, right_expr)));
    }
    // Dates and wall-clock times are compared in the other side's unit, never in nanoseconds.
    let zoned = |data_type: &DataType| matches!(data_type, DataType::Timestamp(_, Some(_)));
    let kpi = of_kpi(&left_expr, schema) || of_kpi(&right_expr, schema);
    let (left_expr, right_expr) = match (left_kind, right_kind) {
        (Kind::Date, Kind::Stamp) if !kpi => days::compared(left_expr, operator, right_expr, right, zone),
        (Kind::Stamp, Kind::Date) if !kpi => {
            let swapped = operator.swap().unwrap_or(operator);
            let (day, instant) = days::compared(right_expr, swapped, left_expr, left, zone);
            (instant, day)
        }
        (Kind::Date, Kind::Stamp) => (cast(left_expr, right.clone()), right_expr),
        // As floats: an infinity is no decimal.
        (Kind::Float, Kind::Numeric) => (left_expr, cast(right_expr, DataType::Float64)),
        (Kind::Numeric, Kind::Float) => (cast(left_expr, DataType::Float64), right_expr),
        (Kind::Stamp, Kind::Date) => (left_expr, cast(right_expr, left.clone())),
        // A day is 24 hours and a month 30 days where intervals are compared.
        (Kind::Interval, Kind::Interval) => {
            (interval_value().call(vec![left_expr]), interval_value().call(vec![right_expr]))
        }
        (Kind::Stamp, Kind::Stamp) if !kpi && zoned(left) && !zoned(right) => {
            days::instants(left_expr, right_expr, zone)
        }
        (Kind::Stamp, Kind::Stamp) if !kpi && zoned(right) && !zoned(left) => {
            let (instant, clock) = days::instants(right_expr, left_expr, zone);
            (clock, instant)
        }
        (Kind::Stamp, Kind::Stamp) if zoned(left) && !zoned(right) => {
            (left_expr, cast(right_expr, left.clone()))
        }
        (Kind::Stamp, Kind::Stamp) if zoned(right) && !zoned(left) => {
            (cast(left_expr, right.clone()), right_expr)
        }
        _ => (left_expr, right_expr),
    };
    Ok(binary(left_expr, operator, right_expr))
}

/// `IS [NOT] DISTINCT FROM`, which no planner of operators is asked about.
pub(super) fn distinct(
    comparison: BinaryExpr,
    schema: &DFSchema,
    zone: chrono_tz::Tz,
) -> Result<Transformed<Expr>> {
    let (Ok(left), Ok(right)) = (comparison.left.get_type(schema), comparison.right.get_type(schema)) else {
        return Ok(Transformed::no(Expr::BinaryExpr(comparison)));
    };
    if left == DataType::Null || right == DataType::Null {
        return Ok(Transformed::no(Expr::BinaryExpr(comparison)));
    }
    let BinaryExpr { left: left_expr, op, right: right_expr } = comparison.clone();
    let raw = RawBinaryExpr { op: BinaryOperator::Eq, left: *left_expr, right: *right_expr };
    match compare(raw, op, (&left, &right), schema, zone)? {
        PlannerResult::Planned(expr) => Ok(Transformed::yes(expr)),
        PlannerResult::Original(_) => Ok(Transformed::no(Expr::BinaryExpr(comparison))),
    }
}

/// `left operator right` of values whose types are known.
pub(super) fn comparison(
    left: Expr,
    operator: Operator,
    right: Expr,
    schema: &DFSchema,
    zone: chrono_tz::Tz,
) -> Result<Expr> {
    let types = (left.get_type(schema)?, right.get_type(schema)?);
    let raw = RawBinaryExpr { op: BinaryOperator::Eq, left, right };
    Ok(match compare(raw, operator, (&types.0, &types.1), schema, zone)? {
        PlannerResult::Planned(expr) => expr,
        PlannerResult::Original(RawBinaryExpr { left, right, .. }) => {
            Expr::BinaryExpr(BinaryExpr::new(Box::new(left), operator, Box::new(right)))
        }
    })
}

/// Whether a comparison's sides have got other types than it was planned for, as results that are settled later have.
pub(super) fn is_between_kinds(comparison: &BinaryExpr, schema: &DFSchema) -> bool {
    let BinaryExpr { left, op, right } = comparison;
    is_comparison(*op)
        && days::differ(&[left, right], schema)
        && !of_kpi(left, schema)
        && !of_kpi(right, schema)
}

/// Values that are compared with one another, as floats if one of them is a float.
pub(super) fn alike(values: Vec<Expr>, schema: &DFSchema) -> Vec<Expr> {
    let kinds: Vec<Kind> =
        values.iter().map(|value| value.get_type(schema).map_or(Kind::Other, |of| kind(&of))).collect();
    if !kinds.contains(&Kind::Float) {
        return values;
    }
    let float = |(value, kind)| if kind == Kind::Numeric { cast(value, DataType::Float64) } else { value };
    values.into_iter().zip(kinds).map(float).collect()
}

fn calculate(
    raw: RawBinaryExpr,
    operator: Operator,
    (left, right): (&DataType, &DataType),
    schema: &DFSchema,
    zone: chrono_tz::Tz,
) -> Result<PlannerResult<RawBinaryExpr>> {
    let RawBinaryExpr { left: left_expr, right: right_expr, .. } = raw;
    // A quoted literal beside a number is that number; one that is added to an interval, or taken from a date or from a
    // timestamp, is another of it.
    let like = |other: &DataType| match (kind(other), operator) {
        (Kind::Integer | Kind::Numeric | Kind::Float, _) => Some(other.clone()),
        (Kind::Interval, Operator::Plus | Operator::Minus) => Some(elapsed::SPAN),
        (Kind::Date | Kind::Stamp, Operator::Minus) => Some(other.clone()),
        _ => None,
    };
    let (left_expr, left) = match unknown(&left_expr).and_then(|_| like(right)) {
        Some(of) => (typed(left_expr, &of, zone)?, of),
        None => (left_expr, left.clone()),
    };
    let (right_expr, right) = match unknown(&right_expr).and_then(|_| like(&left)) {
        Some(of) => (typed(right_expr, &of, zone)?, of),
        None => (right_expr, right.clone()),
    };
    let (left_kind, right_kind) = (kind(&left), kind(&right));
    let int_operator = match operator {
        Operator::Plus => Some(IntOperator::Add),
        Operator::Minus => Some(IntOperator::Subtract),
        Operator::Multiply => Some(IntOperator::Multiply),
        _ => None,
    };
    if is_number(left_kind) && is_number(right_kind) {
        if left_kind == Kind::Float || right_kind == Kind::Float {
            return Ok(match operator {
                Operator::Modulo => return Err(no_operator(&left, "%", &right).into()),
                Operator::Divide if !is_nonzero_literal(&right_expr) => {
                    let narrow = left == DataType::Float32 && right == DataType::Float32;
                    let wanted = if narrow { DataType::Float32 } else { DataType::Float64 };
                    let arguments = vec![cast(left_expr, wanted.clone()), cast(right_expr, wanted)];
                    PlannerResult::Planned(floats::checked(operator).call(arguments))
                }
                _ => binary(left_expr, operator, right_expr),
            });
        }
        if left_kind == Kind::Numeric || right_kind == Kind::Numeric {
            if operator == Operator::Divide {
                let scale = match (constant(&left_expr), constant(&right_expr)) {
                    (Some(left), Some(right)) if right.0 != 0 => arithmetic::constant_scale(left, right),
                    _ => scale_of(&left).max(scale_of(&right)).max(16),
                };
                let call =
                    arithmetic::numeric_divide(scale).call(vec![narrow(left_expr), narrow(right_expr)]);
                return Ok(PlannerResult::Planned(call));
            }
            return Ok(binary(narrow(left_expr), operator, narrow(right_expr)));
        }
        let (left_expr, right_expr) = (narrow(left_expr), narrow(right_expr));
        return Ok(match int_operator {
            Some(checked) => {
                PlannerResult::Planned(arithmetic::checked(checked).call(vec![left_expr, right_expr]))
            }
            None => binary(left_expr, operator, right_expr),
        });
    }
    let moment = moments::planned((&left_expr, &left), operator, (&right_expr, &right), schema, zone);
    if let Some(expr) = moment {
        return Ok(PlannerResult::Planned(expr));
    }
    let kpi = of_kpi(&left_expr, schema) || of_kpi(&right_expr, schema);
    let (left_expr, right_expr) = match !kpi && elapsed::mixed([&left, &right].into_iter()) {
        true => (elapsed::as_interval(left_expr, &left), elapsed::as_interval(right_expr, &right)),
        false => (moments::finite(left_expr, &left), moments::finite(right_expr, &right)),
    };
    Ok(match (left_kind, operator, right_kind) {
        (Kind::Text | Kind::Bool, _, other) | (other, _, Kind::Text | Kind::Bool) if other != Kind::Other => {
            return Err(no_operator(&left, &operator.to_string(), &right).into());
        }
        (
            Kind::Date | Kind::Stamp,
            Operator::Plus | Operator::Multiply | Operator::Divide | Operator::Modulo,
            Kind::Date | Kind::Stamp,
        )
        | (Kind::Integer | Kind::Numeric | Kind::Float, _, Kind::Date | Kind::Stamp | Kind::Time)
        | (Kind::Date | Kind::Stamp | Kind::Time, _, Kind::Integer | Kind::Numeric | Kind::Float) => {
            return Err(no_operator(&left, &operator.to_string(), &right).into());
        }
        (Kind::Interval, Operator::Multiply | Operator::Divide, _)
        | (_, Operator::Multiply, Kind::Interval) => {
            return Err(QueryError::unsupported("an interval multiplied or divided by a number")
                .with_hint("calculate with extract(epoch from …)")
                .into());
        }
        _ => binary(left_expr, operator, right_expr),
    })
}

/// Puts the operand in the place of a cast to a bare numeric, whose type operators would not know.
fn settle(expr: Expr, schema: &DFSchema) -> Expr {
    match expr {
        Expr::Cast(inner) if *inner.field.data_type() == super::type_planner::BARE_NUMERIC => {
            match inner.expr.get_type(schema) {
                Ok(DataType::Decimal128(_, _)) => *inner.expr,
                Ok(DataType::Int16 | DataType::Int32 | DataType::Int64) => {
                    cast(*inner.expr, DataType::Decimal128(19, 0))
                }
                Ok(of @ (DataType::Float32 | DataType::Float64)) => cast(*inner.expr, digits::bare(&of)),
                // The digits of a parameter are known with its value.
                _ if matches!(*inner.expr, Expr::Placeholder(_)) => {
                    cast(*inner.expr, DataType::Decimal128(38, 10))
                }
                _ => Expr::Cast(inner),
            }
        }
        other => other,
    }
}

/// `||` with one side that is text: the other side's text is what a cast gives.
fn concatenate(raw: RawBinaryExpr, left: &DataType, right: &DataType) -> PlannerResult<RawBinaryExpr> {
    let odd = |data_type: &DataType| {
        matches!(kind(data_type), Kind::Stamp | Kind::Float | Kind::Interval)
            || *data_type == DataType::Date32
    };
    let RawBinaryExpr { op, left: left_expr, right: right_expr } = raw;
    let (left_expr, right_expr) = match (kind(left), kind(right)) {
        (Kind::Text, _) if odd(right) => (left_expr, text::to_text().call(vec![right_expr])),
        (_, Kind::Text) if odd(left) => (text::to_text().call(vec![left_expr]), right_expr),
        _ => return PlannerResult::Original(RawBinaryExpr { op, left: left_expr, right: right_expr }),
    };
    binary(left_expr, Operator::StringConcat, right_expr)
}

impl ExprPlanner for PgOperators {
    fn plan_binary_op(&self, raw: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let RawBinaryExpr { op, left, right } = raw;
        let raw = RawBinaryExpr { op, left: settle(left, schema), right: settle(right, schema) };
        let raw = beyond::operands(parameters::beside(raw, schema), schema)?;
        let (Ok(left), Ok(right)) = (raw.left.get_type(schema), raw.right.get_type(schema)) else {
            return Ok(PlannerResult::Original(raw));
        };
        // A parameter that has no type yet has it from elsewhere, or is text.
        let open =
            |expr: &Expr| matches!(expr, Expr::Placeholder(placeholder) if placeholder.field.is_none());
        if open(&raw.left) || open(&raw.right) {
            return Ok(PlannerResult::Original(raw));
        }
        if left == DataType::Null || right == DataType::Null {
            let RawBinaryExpr { op, left, right } = raw;
            return Ok(PlannerResult::Original(RawBinaryExpr {
                op,
                left: narrow(left),
                right: narrow(right),
            }));
        }
        let (raw, left, right) = reals::planned(raw, left, right);
        let (zone, types) = (self.0.get(), (&left, &right));
        match raw.op {
            BinaryOperator::Eq => compare(raw, Operator::Eq, types, schema, zone),
            BinaryOperator::NotEq => compare(raw, Operator::NotEq, types, schema, zone),
            BinaryOperator::Lt => compare(raw, Operator::Lt, types, schema, zone),
            BinaryOperator::LtEq => compare(raw, Operator::LtEq, types, schema, zone),
            BinaryOperator::Gt => compare(raw, Operator::Gt, types, schema, zone),
            BinaryOperator::GtEq => compare(raw, Operator::GtEq, types, schema, zone),
            BinaryOperator::Plus => calculate(raw, Operator::Plus, types, schema, zone),
            BinaryOperator::Minus => calculate(raw, Operator::Minus, types, schema, zone),
            BinaryOperator::Multiply => calculate(raw, Operator::Multiply, types, schema, zone),
            BinaryOperator::Divide => calculate(raw, Operator::Divide, types, schema, zone),
            BinaryOperator::Modulo => calculate(raw, Operator::Modulo, types, schema, zone),
            BinaryOperator::StringConcat => match opaque::concatenate(raw, &left, &right, zone)? {
                PlannerResult::Original(raw) => Ok(concatenate(raw, &left, &right)),
                planned => Ok(planned),
            },
            BinaryOperator::AtArrow | BinaryOperator::ArrowAt | BinaryOperator::PGOverlap => {
                opaque::contained(raw, &left, &right, zone)
            }
            _ => Ok(PlannerResult::Original(raw)),
        }
    }

    fn plan_window(&self, raw: RawWindowExpr) -> Result<PlannerResult<RawWindowExpr>> {
        let wanted = match raw.func_def.name() {
            "row_number" | "rank" | "dense_rank" => DataType::Int64,
            "ntile" => DataType::Int32,
            _ => return Ok(PlannerResult::Original(raw)),
        };
        let RawWindowExpr {
            func_def,
            args,
            partition_by,
            order_by,
            window_frame,
            filter,
            null_treatment,
            distinct,
        } = raw;
        let params = WindowFunctionParams {
            args,
            partition_by,
            order_by,
            window_frame,
            filter,
            null_treatment,
            distinct,
        };
        let call = Expr::WindowFunction(Box::new(WindowFunction { fun: func_def, params }));
        Ok(PlannerResult::Planned(cast(call, wanted)))
    }
}
