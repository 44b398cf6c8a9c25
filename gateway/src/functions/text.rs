//! The text of values as PostgreSQL's casts and `concat` write it, where Arrow writes another.

use std::sync::Arc;

use bytes::BytesMut;
use datafusion::arrow::array::{Array, AsArray, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Float64Type, Int64Type, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::arithmetic::returned;
use super::span::Span;
use super::time::{DAY, session_zone, zoned};
use crate::error::{ErrorCode, QueryError};
use crate::pg::encode::calendar;
use crate::pg::style::Zone;

/// The text of dates, times, timestamps, floats, bytes and UUIDs, as a cast to text gives it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ToText(Signature);

/// The cast of dates, times, timestamps, floats, bytes and UUIDs to text.
pub(super) fn to_text() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(ToText(Signature::any(1, Volatility::Stable))))
}

impl ScalarUDFImpl for ToText {
    fn name(&self) -> &str {
        "to_text"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let Some(array) = arrays.first() else { return exec_err!("a cast has one argument") };
        let texts: Vec<Option<String>> = match array.data_type() {
            DataType::Timestamp(_, shown_zone) => {
                let session = session_zone(&args)?;
                let utc = match shown_zone {
                    Some(_) => cast(array, &zoned())?,
                    None => cast(array, &DataType::Timestamp(TimeUnit::Microsecond, None))?,
                };
                let with_zone = shown_zone.is_some();
                let mut texts = Vec::with_capacity(array.len());
                for value in utc.as_primitive::<TimestampMicrosecondType>() {
                    texts.push(
                        value.map(|value| stamp_text(value, with_zone.then_some(session))).transpose()?,
                    );
                }
                texts
            }
            DataType::Date32 => {
                let days = array.as_primitive::<Date32Type>().iter();
                days.map(|day| day.map(day_text).transpose()).collect::<Result<_>>()?
            }
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => {
                return returned(Arc::new(super::octet_text::texts(array)?), scalar);
            }
            DataType::Time32(_) | DataType::Time64(_) => {
                let micros = cast(array, &DataType::Time64(TimeUnit::Microsecond))?;
                let micros = micros.as_primitive::<Time64MicrosecondType>().iter();
                micros.map(|micros| micros.map(time_text)).collect()
            }
            // What concat makes of it; a cast has words of its own.
            DataType::Boolean => {
                let flags = array.as_boolean().iter();
                flags.map(|flag| flag.map(|flag| if flag { "t" } else { "f" }.to_owned())).collect()
            }
            DataType::Interval(_) => {
                use datafusion::arrow::datatypes::{IntervalMonthDayNanoType, IntervalUnit};
                let spans = cast(array, &DataType::Interval(IntervalUnit::MonthDayNano))?;
                let spans = spans.as_primitive::<IntervalMonthDayNanoType>().iter();
                let shown = spans.map(|span| {
                    span.map(|span| {
                        let micros = span.nanoseconds.div_euclid(1000);
                        Span { months: span.months, days: span.days, micros }.text()
                    })
                });
                shown.collect()
            }
            DataType::Duration(_) => {
                let micros =
                    cast(&cast(array, &DataType::Duration(TimeUnit::Microsecond))?, &DataType::Int64)?;
                let mut texts = Vec::with_capacity(array.len());
                for value in micros.as_primitive::<Int64Type>() {
                    if let Some(end @ (i64::MAX | i64::MIN)) = value {
                        texts.push(Some(if end > 0 { "infinity" } else { "-infinity" }.to_owned()));
                        continue;
                    }
                    let days = value.map(|value| i32::try_from(value / DAY)).transpose();
                    let days = days
                        .map_err(|_| QueryError::new(ErrorCode::DatetimeOverflow, "interval out of range"))?;
                    texts.push(
                        value
                            .zip(days)
                            .map(|(value, days)| Span { months: 0, days, micros: value % DAY }.text()),
                    );
                }
                texts
            }
            DataType::Float32 => {
                let floats = array.as_primitive::<datafusion::arrow::datatypes::Float32Type>();
                floats
                    .iter()
                    .map(|value| {
                        value.map(|value| {
                            float_text(f64::from(value), &value.to_string(), &format!("{value:e}"), 6)
                        })
                    })
                    .collect()
            }
            _ => {
                let floats = cast(array, &DataType::Float64)?;
                let floats = floats.as_primitive::<Float64Type>();
                floats
                    .iter()
                    .map(|value| {
                        value.map(|value| float_text(value, &value.to_string(), &format!("{value:e}"), 15))
                    })
                    .collect()
            }
        };
        returned(Arc::new(StringArray::from(texts)), scalar)
    }
}

/// A time of day, up to 24:00:00.
fn time_text(micros: i64) -> String {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let clock = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if fraction == 0 { clock } else { clock + format!(".{fraction:06}").trim_end_matches('0') }
}

fn day_text(days: i32) -> Result<String> {
    if !calendar::date_in_range(days) {
        return Err(QueryError::new(ErrorCode::DatetimeOverflow, "date out of range").into());
    }
    // As it is sent: chrono's years end before those of dates.
    let mut out = BytesMut::new();
    calendar::date(&mut out, days);
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn stamp_text(micros: i64, zone: Option<chrono_tz::Tz>) -> Result<String> {
    if !calendar::timestamp_in_range(micros) {
        return Err(QueryError::new(ErrorCode::DatetimeOverflow, "timestamp out of range").into());
    }
    // As it is sent: chrono's years end before those of timestamps.
    let mut out = BytesMut::new();
    calendar::timestamp(&mut out, micros, zone.map(Zone::Named), false);
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// Shortest digits; scientific below 10^-4 and from 10^digits on (PostgreSQL 17, float.c with ryu).
fn float_text(value: f64, plain: &str, scientific: &str, digits: i32) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity".into() } else { "-Infinity".into() };
    }
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return plain.to_owned() };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value != 0.0 && (exponent < -4 || exponent >= digits) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    plain.to_owned()
}
