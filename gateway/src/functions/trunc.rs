//! `date_trunc` on the whole range of timestamps (PostgreSQL 17, timestamp.c, timestamp_trunc).
//!
//! DataFusion's counts nanoseconds for weeks and longer units and so refuses every column in which one instant lies
//! before 1678, as a mistyped year does.

use std::sync::Arc;

use chrono::{Datelike, NaiveDate, TimeDelta};
use datafusion::arrow::array::{Array, AsArray, TimestampMicrosecondArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::arithmetic::returned;
use super::days;
use super::time::DAY;
use crate::error::{ErrorCode, QueryError};

#[derive(Debug, PartialEq, Eq, Hash)]
struct DateTrunc(Signature);

/// `date_trunc(unit, timestamp)`, in microseconds and with the timestamp's zone.
pub(super) fn date_trunc() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(DateTrunc(Signature::any(2, Volatility::Immutable))))
}

fn in_micros(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        _ => DataType::Timestamp(TimeUnit::Microsecond, None),
    }
}

impl ScalarUDFImpl for DateTrunc {
    fn name(&self) -> &str {
        "date_trunc"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(in_micros(types.get(1).unwrap_or(&DataType::Null)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let [ColumnarValue::Scalar(unit), value] = args.args.as_slice() else {
            return Err(QueryError::unsupported("a unit of date_trunc that is no constant").into());
        };
        let (ScalarValue::Utf8(Some(unit)) | ScalarValue::Utf8View(Some(unit))) = unit else {
            return exec_err!("date_trunc needs a unit");
        };
        let unit = unit.to_ascii_lowercase();
        let array = value.to_array(args.number_rows)?;
        let wanted = in_micros(array.data_type());
        let array = cast(&days::wall_clocks(&array)?, &wanted)?;
        let mut values = Vec::with_capacity(array.len());
        for micros in array.as_primitive::<TimestampMicrosecondType>() {
            values.push(micros.map(|micros| truncated(&unit, micros)).transpose()?);
        }
        // Under its zone's name and not cast to it, which infinity would not survive.
        returned(Arc::new(TimestampMicrosecondArray::from(values).with_data_type(wanted)), scalar)
    }
}

fn truncated(unit: &str, micros: i64) -> Result<i64> {
    if matches!(micros, i64::MIN | i64::MAX) {
        return Ok(micros);
    }
    let whole = |length: i64| micros.div_euclid(length) * length;
    let days = micros.div_euclid(DAY);
    Ok(match unit {
        "microsecond" | "microseconds" => micros,
        "millisecond" | "milliseconds" => whole(1_000),
        "second" | "seconds" => whole(1_000_000),
        "minute" | "minutes" => whole(60_000_000),
        "hour" | "hours" => whole(3_600_000_000),
        "day" | "days" => whole(DAY),
        // 1970-01-01 was a Thursday.
        "week" | "weeks" => (days - (days + 3).rem_euclid(7)) * DAY,
        _ => first_day(unit, days)?,
    })
}

/// The first instant of a month or a longer unit.
fn first_day(unit: &str, days: i64) -> Result<i64> {
    let out_of_range = || QueryError::new(ErrorCode::DatetimeOverflow, "timestamp out of range");
    let date = TimeDelta::try_days(days).and_then(|days| NaiveDate::default().checked_add_signed(days));
    let date = date.ok_or_else(out_of_range)?;
    let (year, month) = (date.year(), date.month());
    // The year 0 is 1 BC; centuries and millennia begin with a year 1 and have no zeroth.
    let since = |years: i32| {
        if year > 0 {
            (year - 1).div_euclid(years) * years + 1
        } else {
            -((years - year) / years) * years + 1
        }
    };
    let (year, month) = match unit {
        "month" | "months" => (year, month),
        "quarter" => (year, (month - 1) / 3 * 3 + 1),
        "year" | "years" => (year, 1),
        "decade" | "decades" => (year.div_euclid(10) * 10, 1),
        "century" | "centuries" => (since(100), 1),
        "millennium" | "millennia" => (since(1000), 1),
        other => {
            let shown: String = other.chars().take(40).collect();
            return Err(QueryError::new(
                ErrorCode::InvalidParameterValue,
                format!("unit \"{shown}\" not recognized for type timestamp"),
            )
            .into());
        }
    };
    let first = NaiveDate::from_ymd_opt(year, month, 1).ok_or_else(out_of_range)?;
    Ok(first.signed_duration_since(NaiveDate::default()).num_days() * DAY)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, Date32Array};

    use super::*;

    /// Expected values: PostgreSQL's `select date_trunc(…)`.
    #[test]
    fn every_unit_is_cut_over_the_whole_range() {
        let micros = |text: &str| super::super::literal::timestamp(text).unwrap();
        for (unit, text, expected) in [
            ("week", "1000-01-01 05:00", "0999-12-30"),
            ("month", "1000-01-31 05:00", "1000-01-01"),
            ("week", "2024-08-29 13:04:05", "2024-08-26"),
            ("quarter", "2024-08-29", "2024-07-01"),
            ("year", "9999-12-31", "9999-01-01"),
            ("decade", "2024-08-29", "2020-01-01"),
            ("century", "2000-08-29", "1901-01-01"),
            ("century", "2001-08-29", "2001-01-01"),
            ("millennium", "2024-08-29", "2001-01-01"),
            ("hour", "1969-12-31 23:59:59.9", "1969-12-31 23:00"),
            ("second", "1969-12-31 23:59:59.9", "1969-12-31 23:59:59"),
        ] {
            assert_eq!(truncated(unit, micros(text)).unwrap(), micros(expected), "{unit} of {text}");
        }
        assert!(truncated("fortnight", 0).is_err());
    }

    /// PostgreSQL: `select date_trunc('month', 'infinity'::timestamp)`, and of a date.
    #[test]
    fn what_is_infinite_stays() {
        for unit in ["month", "week", "hour"] {
            assert_eq!(truncated(unit, i64::MAX).unwrap(), i64::MAX);
            assert_eq!(truncated(unit, i64::MIN).unwrap(), i64::MIN);
        }
        let dates: ArrayRef =
            Arc::new(Date32Array::from(vec![Some(i32::MAX), Some(i32::MIN), Some(1), None]));
        let found = days::wall_clocks(&dates).unwrap();
        let expected = TimestampMicrosecondArray::from(vec![Some(i64::MAX), Some(i64::MIN), Some(DAY), None]);
        assert_eq!(found.as_primitive::<TimestampMicrosecondType>(), &expected);
        let beyond: ArrayRef = Arc::new(Date32Array::from(vec![i32::MAX - 1]));
        assert!(days::wall_clocks(&beyond).is_err());
    }
}
