//! Dates and timestamps beside one another, the infinite ones too (PostgreSQL 17, date.c and timestamp.c).
//!
//! The ends of the integers are the infinities here. Arrow's casts know none: they multiply the days, or look for a year.
//! So each cast between the two kinds is a function of this file. A comparison never fails: PostgreSQL takes a date
//! beyond the last timestamp as later than all of them but infinity (date_cmp_timestamp_internal). Of a column and a
//! constant the constant is converted, so that sources, partitions and statistics still see a column and a literal.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Date32Array, TimestampMicrosecondArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Field, FieldRef, TimeUnit, TimestampMicrosecondType,
};
use datafusion::common::{DFSchema, Result, ScalarValue, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility, cast as cast_expr, lit,
};

use super::arithmetic::returned;
use super::operators::STAMP;
use super::time::{self, DAY, zoned};
use crate::error::{ErrorCode, QueryError};
use crate::pg::encode::calendar::date_in_range;
use crate::pgtypes::clocks;

/// What is made of a date that no timestamp holds, or of a timestamp within a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Ends {
    /// A cast: the date is refused, the timestamp's day is taken.
    Cast,
    /// The least value that is not before it: what `value < it` and `value >= it` may compare with.
    Upper,
    /// The greatest value that is not after it: what `value <= it` and `value > it` may compare with.
    Lower,
    /// A value that nothing else has, so that nothing is equal to it.
    Unlike,
}

impl Ends {
    const ALL: [Self; 4] = [Self::Cast, Self::Upper, Self::Lower, Self::Unlike];

    const fn name(self) -> &'static str {
        match self {
            Self::Cast => "cast",
            Self::Upper => "upper",
            Self::Lower => "lower",
            Self::Unlike => "unlike",
        }
    }

    /// How the right side of `left operator right` is converted to the left one's kind.
    const fn of_right_side(operator: Operator) -> Self {
        match operator {
            Operator::Lt | Operator::GtEq => Self::Upper,
            Operator::LtEq | Operator::Gt => Self::Lower,
            _ => Self::Unlike,
        }
    }
}

fn too_late() -> QueryError {
    QueryError::new(ErrorCode::DatetimeOverflow, "date out of range for timestamp")
}

/// The first instant of a day in a zone, microseconds since 1970.
fn instant_of_day(day: i32, zone: chrono_tz::Tz, ends: Ends) -> Result<i64, QueryError> {
    match day {
        i32::MAX => return Ok(i64::MAX),
        i32::MIN => return Ok(i64::MIN),
        _ => {}
    }
    let Some(micros) = i64::from(day).checked_mul(DAY) else {
        return match (ends, day > 0) {
            (Ends::Cast, _) => Err(too_late()),
            (Ends::Upper, true) => Ok(i64::MAX),
            (Ends::Lower, true) => Ok(i64::MAX - 1),
            // No timestamp is so early.
            (Ends::Lower, false) => Ok(i64::MIN),
            (Ends::Upper, false) | (Ends::Unlike, _) => Ok(i64::MIN + 1),
        };
    };
    let instant = clocks::instant_of(micros, zone);
    // The ends are infinity, which no day begins at.
    if matches!(instant, i64::MAX | i64::MIN) { Err(too_late()) } else { Ok(instant) }
}

/// The day of an instant in a zone, days since 1970. A day always fits: there are fewer than of instants.
fn day_of_instant(micros: i64, zone: chrono_tz::Tz, ends: Ends) -> Result<i32, QueryError> {
    match micros {
        i64::MAX => return Ok(i32::MAX),
        i64::MIN => return Ok(i32::MIN),
        _ => {}
    }
    let day = i32::try_from(clocks::local(micros, zone).div_euclid(DAY))
        .map_err(|_| QueryError::new(ErrorCode::DatetimeOverflow, "timestamp out of range"))?;
    if ends == Ends::Cast {
        return Ok(day);
    }
    // Where clocks are set back at midnight, a day begins at the second one and not with its date.
    let begins = |day: i32| instant_of_day(day, zone, Ends::Upper);
    let (day, begun) = match begins(day)? {
        late if late > micros => (day - 1, begins(day - 1)?),
        begun => (day, begun),
    };
    Ok(match ends {
        Ends::Upper if begun < micros => day + 1,
        Ends::Unlike if begun != micros => i32::MIN + 1,
        _ => day,
    })
}

/// Days as timestamps without time zone; timestamps as they are.
///
/// # Errors
/// 22008 for a day that no timestamp holds.
pub(super) fn wall_clocks(array: &ArrayRef) -> Result<ArrayRef> {
    let Some(days) = array.as_primitive_opt::<Date32Type>() else { return Ok(Arc::clone(array)) };
    let utc = chrono_tz::UTC;
    let instants = days.iter().map(|day| day.map(|day| instant_of_day(day, utc, Ends::Cast)).transpose());
    Ok(Arc::new(instants.collect::<Result<TimestampMicrosecondArray, QueryError>>()?))
}

/// A conversion: of a value, in a zone, with what is to be done at the ends.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Conversion {
    to: To,
    signature: Signature,
}

/// What is made of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum To {
    WallClock,
    Instant,
    Day,
}

fn conversion(to: To) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Conversion { to, signature: Signature::any(3, Volatility::Immutable) }))
}

/// All conversions.
pub(super) fn all() -> [Arc<ScalarUDF>; 3] {
    [To::WallClock, To::Instant, To::Day].map(conversion)
}

impl ScalarUDFImpl for Conversion {
    fn name(&self) -> &str {
        match self.to {
            To::WallClock => "wall_clock_of_day",
            To::Instant => "instant_of_day",
            To::Day => "day_of_instant",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(match self.to {
            To::WallClock => STAMP,
            To::Instant => zoned(),
            To::Day => DataType::Date32,
        })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let nullable = args.arg_fields.first().is_none_or(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.return_type(&[])?, nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value, zone, ends] = args.args.as_slice() else { return exec_err!("a conversion has a zone") };
        let (ColumnarValue::Scalar(ScalarValue::Utf8(Some(zone))), ColumnarValue::Scalar(ends)) =
            (zone, ends)
        else {
            return exec_err!("a conversion's zone is a constant");
        };
        let zone = time::zone(zone)?;
        let Some(ends) = Ends::ALL.into_iter().find(|known| *ends == ScalarValue::from(known.name())) else {
            return exec_err!("a conversion knows no such ends");
        };
        let scalar = matches!(value, ColumnarValue::Scalar(_));
        let array = value.to_array(args.number_rows)?;
        let made: ArrayRef = if self.to == To::Day {
            let unit = match array.data_type() {
                DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
                _ => STAMP,
            };
            let array = cast(&array, &unit)?;
            let instants = array.as_primitive::<TimestampMicrosecondType>().iter();
            let days = instants.map(|at| at.map(|at| day_of_instant(at, zone, ends)).transpose());
            Arc::new(days.collect::<Result<Date32Array, QueryError>>()?)
        } else {
            let array = cast(&array, &DataType::Date32)?;
            let days = array.as_primitive::<Date32Type>().iter();
            let instants = days.map(|day| day.map(|day| instant_of_day(day, zone, ends)).transpose());
            let instants = instants.collect::<Result<TimestampMicrosecondArray, QueryError>>()?;
            Arc::new(match self.to {
                To::Instant => instants.with_timezone("UTC"),
                _ => instants,
            })
        };
        returned(made, scalar)
    }
}

fn converted(value: Expr, to: To, zone: chrono_tz::Tz, ends: Ends) -> Expr {
    conversion(to).call(vec![value, lit(zone.name()), lit(ends.name())])
}

fn is_zoned(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(_, Some(_)))
}

/// A day as a timestamp without time zone, or as one with it.
pub(super) fn of_day(day: Expr, with_zone: bool, zone: chrono_tz::Tz) -> Expr {
    made_of_day(day, with_zone, zone, Ends::Cast)
}

fn made_of_day(day: Expr, with_zone: bool, zone: chrono_tz::Tz, ends: Ends) -> Expr {
    if with_zone {
        converted(day, To::Instant, zone, ends)
    } else {
        converted(day, To::WallClock, chrono_tz::UTC, ends)
    }
}

/// The day of a timestamp of a type.
pub(super) fn day(instant: Expr, data_type: &DataType, zone: chrono_tz::Tz) -> Expr {
    made_day(instant, data_type, zone, Ends::Cast)
}

fn made_day(instant: Expr, data_type: &DataType, zone: chrono_tz::Tz, ends: Ends) -> Expr {
    converted(instant, To::Day, if is_zoned(data_type) { zone } else { chrono_tz::UTC }, ends)
}

fn is_constant(expr: &Expr) -> bool {
    !expr.any_column_refs() && !expr.contains_outer()
}

/// `day operator instant` with both sides of one kind.
pub(super) fn compared(
    day: Expr,
    operator: Operator,
    instant: Expr,
    data_type: &DataType,
    zone: chrono_tz::Tz,
) -> (Expr, Expr) {
    if is_constant(&instant) && !is_constant(&day) {
        let ends = Ends::of_right_side(operator);
        return (day, made_day(instant, data_type, zone, ends));
    }
    let ends = Ends::of_right_side(operator.swap().unwrap_or(operator));
    (made_of_day(day, is_zoned(data_type), zone, ends), instant)
}

/// A timestamp with time zone beside one without. In UTC, where both are the same number, a column without loses nothing:
/// the zone is taken off the other one, which fails for no number.
pub(super) fn instants(instant: Expr, clock: Expr, zone: chrono_tz::Tz) -> (Expr, Expr) {
    if zone == chrono_tz::UTC && !is_constant(&clock) {
        return (cast_expr(instant, STAMP), clock);
    }
    (instant, as_instant(clock, &STAMP, true, zone))
}

/// Whether types that differ have a timestamp with time zone in common, or one without; `None` if they do not differ:
/// what differs is dates beside timestamps, and timestamps with and without time zone.
pub(super) fn common<'a>(types: impl Iterator<Item = &'a DataType>) -> Option<bool> {
    let (mut days, mut plain, mut with_zone) = (false, false, false);
    for data_type in types {
        match data_type {
            DataType::Date32 => days = true,
            DataType::Timestamp(_, None) => plain = true,
            DataType::Timestamp(_, Some(_)) => with_zone = true,
            _ => {}
        }
    }
    (days && (plain || with_zone) || plain && with_zone).then_some(with_zone)
}

/// Whether values are converted before they are compared or stand in one column.
pub(super) fn differ(values: &[&Expr], schema: &DFSchema) -> bool {
    let types: Vec<DataType> = values.iter().filter_map(|value| value.get_type(schema).ok()).collect();
    common(types.iter()).is_some()
}

/// A value as a timestamp; what is neither a date nor a timestamp stays.
pub(super) fn as_instant(value: Expr, data_type: &DataType, with_zone: bool, zone: chrono_tz::Tz) -> Expr {
    match data_type {
        DataType::Date32 => of_day(value, with_zone, zone),
        DataType::Timestamp(_, None) if with_zone => time::timezone().call(vec![lit(zone.name()), value]),
        _ => value,
    }
}

/// Values that are to have one type: timestamps if there is one among dates, with time zone if one has it.
pub(super) fn alike(values: Vec<Expr>, schema: &DFSchema, zone: chrono_tz::Tz) -> Vec<Expr> {
    let types: Vec<DataType> =
        values.iter().map(|value| value.get_type(schema).unwrap_or(DataType::Null)).collect();
    let Some(with_zone) = common(types.iter()) else { return values };
    values.into_iter().zip(&types).map(|(value, of)| as_instant(value, of, with_zone, zone)).collect()
}

/// What `value IN (SELECT column …)` compares the value with: the column as the value's type.
pub(super) fn member(
    column: Expr,
    column_type: &DataType,
    value_type: &DataType,
    zone: chrono_tz::Tz,
) -> Option<Expr> {
    Some(match (value_type, column_type) {
        (DataType::Date32, DataType::Timestamp(_, _)) => made_day(column, column_type, zone, Ends::Unlike),
        (DataType::Timestamp(_, _), DataType::Date32) => {
            made_of_day(column, is_zoned(value_type), zone, Ends::Unlike)
        }
        (DataType::Timestamp(_, Some(_)), DataType::Timestamp(_, None)) => {
            as_instant(column, column_type, true, zone)
        }
        (DataType::Timestamp(_, None), DataType::Timestamp(_, Some(_))) if zone == chrono_tz::UTC => {
            cast_expr(column, STAMP)
        }
        _ => return None,
    })
}

/// Days before or after a day; infinity stays (PostgreSQL 17, date.c, date_pli and date_mii).
pub(super) fn moved(day: i32, by: i64) -> Result<i32, QueryError> {
    if matches!(day, i32::MAX | i32::MIN) {
        return Ok(day);
    }
    let moved = i64::from(day).checked_add(by).and_then(|day| i32::try_from(day).ok());
    moved
        .filter(|day| date_in_range(*day) && !matches!(*day, i32::MAX | i32::MIN))
        .ok_or_else(|| QueryError::new(ErrorCode::DatetimeOverflow, "date out of range"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: i32 = 106_751_991;

    /// PostgreSQL: `select d = t, d < t, d > t` of the two columns.
    #[test]
    fn comparisons_are_postgresqls_at_every_end() {
        let utc = chrono_tz::UTC;
        let days = [i32::MIN, -2_440_588, -1, 0, 1, LAST, LAST + 1, 2_145_042_905, i32::MAX];
        let instants = [i64::MIN, -DAY, -1, 0, 1, DAY, i64::MAX - 1, i64::MAX];
        // Compared as numbers that overflow nothing.
        let of_day = |day: i32| match day {
            i32::MAX => i128::MAX,
            i32::MIN => i128::MIN,
            day => i128::from(day) * i128::from(DAY),
        };
        let of_instant = |at: i64| match at {
            i64::MAX => i128::MAX,
            i64::MIN => i128::MIN,
            at => i128::from(at),
        };
        for day in days {
            for at in instants {
                let right = of_instant(at).cmp(&of_day(day));
                let by = |ends| at.cmp(&instant_of_day(day, utc, ends).unwrap());
                assert_eq!(by(Ends::Upper).is_lt(), right.is_lt(), "{at} < {day}");
                assert_eq!(by(Ends::Upper).is_ge(), right.is_ge(), "{at} >= {day}");
                assert_eq!(by(Ends::Lower).is_le(), right.is_le(), "{at} <= {day}");
                assert_eq!(by(Ends::Lower).is_gt(), right.is_gt(), "{at} > {day}");
                assert_eq!(by(Ends::Unlike).is_eq(), right.is_eq(), "{at} = {day}");
                let left = right.reverse();
                let by = |ends| day.cmp(&day_of_instant(at, utc, ends).unwrap());
                assert_eq!(by(Ends::Upper).is_lt(), left.is_lt(), "{day} < {at}");
                assert_eq!(by(Ends::Upper).is_ge(), left.is_ge(), "{day} >= {at}");
                assert_eq!(by(Ends::Lower).is_le(), left.is_le(), "{day} <= {at}");
                assert_eq!(by(Ends::Lower).is_gt(), left.is_gt(), "{day} > {at}");
                assert_eq!(by(Ends::Unlike).is_eq(), left.is_eq(), "{day} = {at}");
            }
        }
    }

    #[test]
    fn casts_keep_infinity_and_refuse_what_has_no_place() {
        let utc = chrono_tz::UTC;
        assert_eq!(instant_of_day(i32::MAX, utc, Ends::Cast), Ok(i64::MAX));
        assert_eq!(instant_of_day(i32::MIN, utc, Ends::Cast), Ok(i64::MIN));
        assert_eq!(instant_of_day(LAST, utc, Ends::Cast), Ok(i64::from(LAST) * DAY));
        let refused = instant_of_day(LAST + 1, utc, Ends::Cast).unwrap_err();
        assert_eq!(
            (refused.code.sqlstate(), refused.message.as_str()),
            ("22008", "date out of range for timestamp")
        );
        assert_eq!(day_of_instant(i64::MAX, utc, Ends::Cast), Ok(i32::MAX));
        assert_eq!(day_of_instant(i64::MIN, utc, Ends::Cast), Ok(i32::MIN));
        assert_eq!(day_of_instant(-1, utc, Ends::Cast), Ok(-1));
        assert_eq!(moved(i32::MAX, -1), Ok(i32::MAX));
        assert_eq!(moved(2_145_042_905, 1).unwrap_err().code.sqlstate(), "22008");
    }

    /// A day begins where the zone says, also when its midnight is skipped or comes twice.
    #[test]
    fn days_begin_in_their_zone() {
        let paris = chrono_tz::Europe::Paris;
        let begin = instant_of_day(19_905, paris, Ends::Cast).unwrap();
        assert_eq!(begin, 19_905 * DAY - 2 * 3_600_000_000);
        assert_eq!(day_of_instant(begin, paris, Ends::Unlike), Ok(19_905));
        assert_eq!(day_of_instant(begin - 1, paris, Ends::Cast), Ok(19_904));
        assert_eq!(day_of_instant(begin + 1, paris, Ends::Upper), Ok(19_906));
        // Cuba sets its clocks back from one o'clock to midnight: 2024-11-03 begins twice, and PostgreSQL takes the later.
        let havana = chrono_tz::America::Havana;
        let second = instant_of_day(20_030, havana, Ends::Cast).unwrap();
        assert_eq!(second, 20_030 * DAY + 5 * 3_600_000_000);
        assert_eq!(day_of_instant(second - 1, havana, Ends::Cast), Ok(20_030));
        assert_eq!(day_of_instant(second - 1, havana, Ends::Lower), Ok(20_029));
        // Beyond the calendar's years, the zone's rule of 80,000 years before.
        assert!(instant_of_day(LAST, paris, Ends::Cast).is_ok());
    }
}
