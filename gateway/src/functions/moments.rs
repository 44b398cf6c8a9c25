//! Arithmetic of dates and timestamps that may be infinite (PostgreSQL 17, date.c and timestamp.c).
//!
//! Infinity stays where it is whatever is added to it, and the difference to it is an infinite interval: here the ends of
//! a duration's integer. Arrow adds to those ends as to any number. An infinite interval can be shown and compared; what
//! would calculate with one refuses it, so that it never becomes a finite one.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, DurationMicrosecondArray, Int32Array, TimestampMicrosecondArray,
};
use datafusion::arrow::compute::{cast, kernels::numeric};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, DurationMicrosecondType, Field, FieldRef, Int64Type, IntervalUnit, TimeUnit,
    TimestampMicrosecondType,
};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility, cast as as_type,
};

use super::arithmetic::{self, IntOperator, returned};
use super::lower::of_kpi;
use super::operators::{Kind, STAMP, kind, narrow};
use super::quoted::unknown;
use super::{days, literal, time, zoned};
use crate::error::{ErrorCode, QueryError};

/// What is calculated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Moment {
    /// A date some days later.
    LaterDay,
    /// A date some days earlier.
    EarlierDay,
    /// The days between two dates.
    DaysBetween,
    /// A timestamp an interval later.
    Later,
    /// A timestamp an interval earlier.
    Earlier,
    /// The interval between two timestamps.
    Between,
    /// An interval that has an end, to be calculated with.
    Finite,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Arithmetic {
    what: Moment,
    signature: Signature,
}

/// The function that calculates so.
pub(super) fn function(what: Moment) -> Arc<ScalarUDF> {
    let arguments = if what == Moment::Finite { 1 } else { 2 };
    Arc::new(ScalarUDF::from(Arithmetic {
        what,
        signature: Signature::any(arguments, Volatility::Immutable),
    }))
}

/// All of them.
pub(super) fn all() -> [Arc<ScalarUDF>; 7] {
    [
        Moment::LaterDay,
        Moment::EarlierDay,
        Moment::DaysBetween,
        Moment::Later,
        Moment::Earlier,
        Moment::Between,
        Moment::Finite,
    ]
    .map(function)
}

/// An interval that is calculated with; only a difference of timestamps may be infinite.
pub(super) fn finite(span: Expr, data_type: &DataType) -> Expr {
    if matches!(data_type, DataType::Duration(_)) { finite_difference(span) } else { span }
}

/// A difference of timestamps that is calculated with.
pub(super) fn finite_difference(span: Expr) -> Expr {
    function(Moment::Finite).call(vec![span])
}

/// Whether an expression may be infinite: it reads a column, is told later, or says so itself.
pub(super) fn may_be_infinite(expr: &Expr) -> bool {
    let found = expr.exists(|part| {
        Ok(match part {
            Expr::Column(_)
            | Expr::OuterReferenceColumn(..)
            | Expr::Placeholder(_)
            | Expr::ScalarSubquery(_) => true,
            Expr::Literal(ScalarValue::Utf8(Some(text)), _) => literal::infinite(text).is_some(),
            Expr::Literal(ScalarValue::Date32(Some(day)), _) => matches!(*day, i32::MIN | i32::MAX),
            Expr::Literal(ScalarValue::TimestampMicrosecond(Some(at), _), _) => is_end(*at),
            _ => false,
        })
    });
    found.unwrap_or(true)
}

/// Arithmetic of dates and timestamps, if there is one. What holds no infinity stays the engine's own expression, which
/// is folded, recognised and pruned by.
pub(super) fn planned(
    (left, left_type): (&Expr, &DataType),
    operator: Operator,
    (right, right_type): (&Expr, &DataType),
    schema: &DFSchema,
    zone: chrono_tz::Tz,
) -> Option<Expr> {
    if let Some(moved) = zoned::moved((left, left_type), operator, (right, right_type), schema, zone) {
        return Some(moved);
    }
    let plain = |expr: &Expr| of_kpi(expr, schema) || !may_be_infinite(expr);
    let plain = plain(left) && plain(right);
    let calculated = |left: Expr, right: Expr| {
        let what = match (operator, kind(right_type)) {
            (Operator::Plus, _) => Moment::Later,
            (_, Kind::Date | Kind::Stamp) => Moment::Between,
            _ => Moment::Earlier,
        };
        if plain {
            return Expr::BinaryExpr(BinaryExpr::new(Box::new(left), operator, Box::new(right)));
        }
        function(what).call(vec![left, right])
    };
    let (left, right) = (left.clone(), right.clone());
    // A date beside an interval or a timestamp is its midnight.
    let stamp = |day: Expr, like: &DataType| match plain {
        true => as_type(day, like.clone()),
        false => days::of_day(day, matches!(like, DataType::Timestamp(_, Some(_))), zone),
    };
    let int = |operator| if operator == Operator::Plus { IntOperator::Add } else { IntOperator::Subtract };
    let number = |expr: Expr| as_type(expr, DataType::Int32);
    Some(match (kind(left_type), operator, kind(right_type)) {
        (Kind::Date, Operator::Plus | Operator::Minus, Kind::Integer) => {
            let right = narrow(right);
            if plain {
                let moved = arithmetic::checked(int(operator)).call(vec![number(left), right]);
                return Some(as_type(moved, DataType::Date32));
            }
            let what = if operator == Operator::Plus { Moment::LaterDay } else { Moment::EarlierDay };
            function(what).call(vec![left, right])
        }
        (Kind::Integer, Operator::Plus, Kind::Date) => {
            let left = narrow(left);
            if plain {
                let moved = arithmetic::checked(IntOperator::Add).call(vec![left, number(right)]);
                return Some(as_type(moved, DataType::Date32));
            }
            function(Moment::LaterDay).call(vec![right, left])
        }
        (Kind::Date, Operator::Minus, Kind::Date) if plain => {
            arithmetic::checked(IntOperator::Subtract).call(vec![number(left), number(right)])
        }
        (Kind::Date, Operator::Minus, Kind::Date) => function(Moment::DaysBetween).call(vec![left, right]),
        (Kind::Date, Operator::Plus | Operator::Minus, Kind::Interval) => {
            calculated(stamp(left, &STAMP), right)
        }
        (Kind::Interval, Operator::Plus, Kind::Date) => calculated(stamp(right, &STAMP), left),
        (Kind::Interval, Operator::Plus, Kind::Stamp) => calculated(right, left),
        (Kind::Stamp, Operator::Minus, Kind::Date) => {
            let right = stamp(right, left_type);
            calculated(left, right)
        }
        (Kind::Date, Operator::Minus, Kind::Stamp) => calculated(stamp(left, right_type), right),
        (Kind::Stamp, Operator::Minus, Kind::Stamp) if left_type != right_type => {
            let zoned = |expr: Expr, of: &DataType| match plain {
                true => as_type(expr, time::zoned()),
                false => days::as_instant(expr, of, true, zone),
            };
            calculated(zoned(left, left_type), zoned(right, right_type))
        }
        (Kind::Stamp, Operator::Plus | Operator::Minus, Kind::Text) if unknown(&right).is_some() => {
            calculated(left, as_type(right, DataType::Interval(IntervalUnit::MonthDayNano)))
        }
        (Kind::Stamp, Operator::Plus | Operator::Minus, Kind::Interval)
        | (Kind::Stamp, Operator::Minus, Kind::Stamp) => calculated(left, right),
        _ => return None,
    })
}

const fn is_end(value: i64) -> bool {
    matches!(value, i64::MIN | i64::MAX)
}

fn out_of_range(what: &str) -> QueryError {
    QueryError::new(ErrorCode::DatetimeOverflow, format!("{what} out of range"))
}

impl ScalarUDFImpl for Arithmetic {
    fn name(&self) -> &str {
        match self.what {
            Moment::LaterDay => "later_day",
            Moment::EarlierDay => "earlier_day",
            Moment::DaysBetween => "days_between",
            Moment::Later => "later",
            Moment::Earlier => "earlier",
            Moment::Between => "between_moments",
            Moment::Finite => "finite_interval",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(match (self.what, types.first()) {
            (Moment::LaterDay | Moment::EarlierDay, _) => DataType::Date32,
            (Moment::DaysBetween, _) => DataType::Int32,
            (Moment::Between, _) => DataType::Duration(TimeUnit::Microsecond),
            (Moment::Later | Moment::Earlier, Some(DataType::Timestamp(_, zone))) => {
                DataType::Timestamp(TimeUnit::Microsecond, zone.clone())
            }
            (Moment::Finite, Some(kept)) => kept.clone(),
            _ => return plan_err!("{} has a timestamp", self.name()),
        })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.return_type(&types)?, nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let made = match (self.what, arrays.as_slice()) {
            (Moment::LaterDay, [day, by]) => moved(day, by, 1)?,
            (Moment::EarlierDay, [day, by]) => moved(day, by, -1)?,
            (Moment::DaysBetween, [left, right]) => days_between(left, right)?,
            (Moment::Later, [at, span]) => added(at, span, numeric::add)?,
            (Moment::Earlier, [at, span]) => added(at, span, numeric::sub)?,
            (Moment::Between, [left, right]) => between(left, right)?,
            (Moment::Finite, [span]) => checked(span)?,
            _ => return exec_err!("{} has other arguments", self.name()),
        };
        returned(made, scalar)
    }
}

fn moved(day: &ArrayRef, by: &ArrayRef, sign: i64) -> Result<ArrayRef> {
    let (day, by) = (cast(day, &DataType::Date32)?, cast(by, &DataType::Int64)?);
    let pairs = day.as_primitive::<Date32Type>().iter().zip(by.as_primitive::<Int64Type>());
    let moved = pairs.map(|(day, by)| {
        let Some((day, by)) = day.zip(by) else { return Ok(None) };
        let by = by.checked_mul(sign).ok_or_else(|| out_of_range("date"))?;
        days::moved(day, by).map(Some)
    });
    Ok(Arc::new(moved.collect::<Result<Date32Array, QueryError>>()?))
}

fn days_between(left: &ArrayRef, right: &ArrayRef) -> Result<ArrayRef> {
    let (left, right) = (cast(left, &DataType::Date32)?, cast(right, &DataType::Date32)?);
    let pairs = left.as_primitive::<Date32Type>().iter().zip(right.as_primitive::<Date32Type>());
    let between = pairs.map(|(left, right)| {
        let Some((left, right)) = left.zip(right) else { return Ok(None) };
        let infinite = |day: i32| matches!(day, i32::MIN | i32::MAX);
        if infinite(left) || infinite(right) {
            return Err(QueryError::new(ErrorCode::DatetimeOverflow, "cannot subtract infinite dates"));
        }
        left.checked_sub(right).map(Some).ok_or_else(|| out_of_range("date"))
    });
    Ok(Arc::new(between.collect::<Result<Int32Array, QueryError>>()?))
}

type Kernel = fn(
    &dyn datafusion::arrow::array::Datum,
    &dyn datafusion::arrow::array::Datum,
) -> std::result::Result<ArrayRef, datafusion::arrow::error::ArrowError>;

/// A finite timestamp is moved as Arrow does it, an infinite one stays.
fn added(at: &ArrayRef, span: &ArrayRef, kernel: Kernel) -> Result<ArrayRef> {
    let zone = match at.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let wanted = DataType::Timestamp(TimeUnit::Microsecond, zone);
    let at = cast(at, &wanted)?;
    let span = match span.data_type() {
        DataType::Duration(_) => cast(&checked(span)?, &DataType::Duration(TimeUnit::Microsecond))?,
        _ => Arc::clone(span),
    };
    let at = at.as_primitive::<TimestampMicrosecondType>();
    let any_end = at.iter().flatten().any(is_end);
    let finite: ArrayRef = if any_end {
        let finite = at.unary::<_, TimestampMicrosecondType>(|at| if is_end(at) { 0 } else { at });
        Arc::new(finite.with_data_type(wanted.clone()))
    } else {
        Arc::new(at.clone())
    };
    let moved = kernel(&finite, &span).map_err(|error| {
        tracing::debug!(error = %error, "a timestamp is moved out of its range");
        out_of_range("timestamp")
    })?;
    let moved = cast(&moved, &wanted)?;
    let moved_at = moved.as_primitive::<TimestampMicrosecondType>();
    let made = at.iter().zip(moved_at).map(|(at, moved)| match (at, moved) {
        (Some(at), Some(_)) if is_end(at) => Ok(Some(at)),
        // An end is infinity, which nothing finite becomes.
        (_, Some(moved)) if is_end(moved) => Err(out_of_range("timestamp")),
        (_, moved) => Ok(moved),
    });
    let made = made.collect::<Result<TimestampMicrosecondArray, QueryError>>()?;
    Ok(Arc::new(made.with_data_type(wanted)))
}

/// Of two timestamps of one kind. What is between an infinite one and another is infinite, unless both are the same.
fn between(left: &ArrayRef, right: &ArrayRef) -> Result<ArrayRef> {
    let plain = DataType::Timestamp(TimeUnit::Microsecond, None);
    let instants = |array: &ArrayRef| match array.data_type() {
        // The number itself, which is the same with a zone and without.
        DataType::Timestamp(TimeUnit::Microsecond, _) => cast(array, &DataType::Int64),
        _ => cast(array, &plain).and_then(|array| cast(&array, &DataType::Int64)),
    };
    let (left, right) = (instants(left)?, instants(right)?);
    let pairs = left.as_primitive::<Int64Type>().iter().zip(right.as_primitive::<Int64Type>());
    let between = pairs.map(|(left, right)| {
        let Some((left, right)) = left.zip(right) else { return Ok(None) };
        let found = match (left, right) {
            (i64::MAX, i64::MAX) | (i64::MIN, i64::MIN) => None,
            (i64::MAX, _) | (_, i64::MIN) => Some(i64::MAX),
            (i64::MIN, _) | (_, i64::MAX) => Some(i64::MIN),
            (left, right) => left.checked_sub(right).filter(|span| !is_end(*span)),
        };
        found.map(Some).ok_or_else(|| out_of_range("interval"))
    });
    Ok(Arc::new(between.collect::<Result<DurationMicrosecondArray, QueryError>>()?))
}

/// The spans themselves, if all have an end.
pub(super) fn checked(span: &ArrayRef) -> Result<ArrayRef> {
    if let Some(spans) = span.as_primitive_opt::<DurationMicrosecondType>()
        && spans.iter().flatten().any(is_end)
    {
        return Err(QueryError::unsupported("calculating with an infinite interval")
            .with_hint("leave infinite timestamps out: WHERE … < 'infinity'")
            .into());
    }
    Ok(Arc::clone(span))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::IntervalMonthDayNano;

    use super::*;

    fn stamps(values: &[i64]) -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(values.to_vec()))
    }

    fn state(result: Result<ArrayRef>) -> String {
        QueryError::from(result.unwrap_err()).code.sqlstate().to_owned()
    }

    /// PostgreSQL: `select 'infinity'::timestamp + interval '1 month'`, and of the others.
    #[test]
    fn infinity_stays_where_it_is() {
        let month =
            datafusion::arrow::array::IntervalMonthDayNanoArray::from(vec![
                IntervalMonthDayNano::new(1, 0, 0);
                3
            ]);
        let month: ArrayRef = Arc::new(month);
        let moved = added(&stamps(&[i64::MAX, 0, i64::MIN]), &month, numeric::add).unwrap();
        assert_eq!(
            moved.as_primitive::<TimestampMicrosecondType>().values().to_vec(),
            [i64::MAX, 31 * super::super::time::DAY, i64::MIN]
        );
        let late = stamps(&[i64::MAX - 1]);
        assert_eq!(state(added(&late, &month.slice(0, 1), numeric::add)), "22008");
    }

    #[test]
    fn what_lies_between_is_infinite_or_refused() {
        let made = between(&stamps(&[i64::MAX, i64::MIN, 5, 5, 7]), &stamps(&[5, 5, i64::MAX, i64::MIN, 5]));
        let made = made.unwrap();
        let spans = made.as_primitive::<DurationMicrosecondType>();
        assert_eq!(spans.values().to_vec(), [i64::MAX, i64::MIN, i64::MIN, i64::MAX, 2]);
        assert_eq!(state(between(&stamps(&[i64::MAX]), &stamps(&[i64::MAX]))), "22008");
        assert_eq!(state(checked(&made)), "0A000");
        assert!(checked(&made.slice(4, 1)).is_ok());
    }
}
