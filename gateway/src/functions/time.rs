//! Dates and times: `now()`, `date_part` and `timezone`, as PostgreSQL has them.
//!
//! Timestamps are microseconds. A timestamp with time zone is read in the session's zone, which travels in the
//! configuration; `now()` is the start of the statement, or of the transaction if the caller said so, and constant.

use std::sync::Arc;

use chrono::{DateTime, Datelike, NaiveDateTime, Timelike, Utc};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array, TimestampMicrosecondArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Int64Type, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::arithmetic::returned;
use super::days;
use crate::error::{ErrorCode, QueryError};
use crate::pgtypes::{PgType, clocks};

pub(super) fn zoned() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// `now()` and its other names.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Now(Signature, Vec<String>);

/// `now()`, constant within a statement.
pub(super) fn now() -> Arc<ScalarUDF> {
    let names = ["current_timestamp", "transaction_timestamp", "statement_timestamp"].map(str::to_owned);
    Arc::new(ScalarUDF::from(Now(Signature::nullary(Volatility::Stable), names.to_vec())))
}

impl ScalarUDFImpl for Now {
    fn name(&self) -> &str {
        "now"
    }

    fn aliases(&self) -> &[String] {
        &self.1
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(zoned())
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        Ok(match info.query_execution_start_time() {
            Some(start) => ExprSimplifyResult::Simplified(Expr::Literal(
                ScalarValue::TimestampMicrosecond(Some(start.timestamp_micros()), Some("UTC".into())),
                None,
            )),
            None => ExprSimplifyResult::Original(args),
        })
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        exec_err!("now() was not folded")
    }
}

pub(super) fn instant(micros: i64) -> Result<DateTime<Utc>> {
    DateTime::from_timestamp_micros(micros)
        .ok_or_else(|| QueryError::new(ErrorCode::DatetimeOverflow, "timestamp out of range").into())
}

pub(super) fn zone(name: &str) -> Result<chrono_tz::Tz> {
    let found = chrono_tz::TZ_VARIANTS.iter().find(|tz| tz.name().eq_ignore_ascii_case(name.trim()));
    found.copied().ok_or_else(|| {
        let shown: String = name.chars().take(60).collect();
        QueryError::new(ErrorCode::InvalidParameterValue, format!("time zone \"{shown}\" not recognized"))
            .into()
    })
}

pub(super) fn session_zone(args: &ScalarFunctionArgs) -> Result<chrono_tz::Tz> {
    zone(args.config_options.execution.time_zone.as_deref().unwrap_or("UTC"))
}

/// A time that fields are taken of.
enum Clock {
    At(NaiveDateTime),
    /// After all others, or before them.
    Infinite(bool),
}

impl Clock {
    fn part(&self, unit: &str) -> Result<Option<f64>> {
        match self {
            Self::At(clock) => part(unit, *clock).map(Some),
            Self::Infinite(last) => infinite_part(unit, *last),
        }
    }
}

/// Wall-clock time of a date or timestamp column, in the session's zone if it has one.
fn wall_clock(array: &ArrayRef, session: chrono_tz::Tz) -> Result<Vec<Option<Clock>>> {
    let array = &days::wall_clocks(array)?;
    let has_zone = matches!(array.data_type(), DataType::Timestamp(_, Some(_)));
    let unit = match array.data_type() {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        _ => DataType::Timestamp(TimeUnit::Microsecond, None),
    };
    let micros = cast(array, &unit)?;
    let micros = micros.as_primitive::<TimestampMicrosecondType>();
    micros
        .iter()
        .map(|value| {
            let Some(value) = value else { return Ok(None) };
            if matches!(value, i64::MIN | i64::MAX) {
                return Ok(Some(Clock::Infinite(value == i64::MAX)));
            }
            let clock = if has_zone { clocks::local(value, session) } else { value };
            Ok(Some(Clock::At(instant(clock)?.naive_utc())))
        })
        .collect()
}

/// `date_part(field, source)`, float8; also what EXTRACT is planned as.
#[derive(Debug, PartialEq, Eq, Hash)]
struct DatePart(Signature);

/// `date_part`.
pub(super) fn date_part() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(DatePart(Signature::any(2, Volatility::Stable))))
}

impl ScalarUDFImpl for DatePart {
    fn name(&self) -> &str {
        "date_part"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let [ColumnarValue::Scalar(unit), value] = args.args.as_slice() else {
            return Err(QueryError::unsupported("a field of date_part that is no constant").into());
        };
        let unit = match unit {
            ScalarValue::Utf8(Some(unit)) | ScalarValue::Utf8View(Some(unit)) => unit.to_ascii_lowercase(),
            _ => return exec_err!("date_part needs a field"),
        };
        let array = value.to_array(args.number_rows)?;
        let values: Vec<Option<f64>> = match array.data_type() {
            of if zone_part(&unit, 0).is_some()
                && matches!(of, DataType::Date32 | DataType::Timestamp(_, _)) =>
            {
                if !matches!(of, DataType::Timestamp(_, Some(_))) {
                    let of = PgType::from_arrow(of).without_typmod().format();
                    let message = format!("unit \"{unit}\" not supported for type {of}");
                    return Err(QueryError::new(ErrorCode::FeatureNotSupported, message).into());
                }
                let session = session_zone(&args)?;
                let instants = cast(&array, &zoned())?;
                let offsets = instants.as_primitive::<TimestampMicrosecondType>().iter().map(|at| {
                    let at = at.filter(|at| !matches!(*at, i64::MIN | i64::MAX))?;
                    zone_part(&unit, clocks::offset_at(session, at)).map(f64::from)
                });
                offsets.collect()
            }
            DataType::Date32 | DataType::Date64 | DataType::Timestamp(_, _) => {
                let instants = unit == "epoch";
                let session = if instants { chrono_tz::UTC } else { session_zone(&args)? };
                let mut values = Vec::with_capacity(array.len());
                for clock in wall_clock(&array, session)? {
                    values.push(clock.map(|clock| clock.part(&unit)).transpose()?.flatten());
                }
                values
            }
            DataType::Duration(_) => {
                let micros =
                    cast(&cast(&array, &DataType::Duration(TimeUnit::Microsecond))?, &DataType::Int64)?;
                let micros = micros.as_primitive::<Int64Type>();
                let mut values = Vec::with_capacity(array.len());
                for value in micros {
                    let part = |value: i64| match value {
                        i64::MIN | i64::MAX => infinite_span_part(&unit, value == i64::MAX),
                        value => span_part(&unit, 0, value / DAY, value % DAY).map(Some),
                    };
                    values.push(value.map(part).transpose()?.flatten());
                }
                values
            }
            DataType::Interval(_) => {
                use datafusion::arrow::datatypes::{IntervalMonthDayNanoType, IntervalUnit};
                let spans = cast(&array, &DataType::Interval(IntervalUnit::MonthDayNano))?;
                let spans = spans.as_primitive::<IntervalMonthDayNanoType>();
                let mut values = Vec::with_capacity(array.len());
                for span in spans {
                    let value = span.map(|span| {
                        span_part(&unit, span.months, i64::from(span.days), span.nanoseconds / 1000)
                    });
                    values.push(value.transpose()?);
                }
                values
            }
            DataType::Time32(_) | DataType::Time64(_) => {
                let micros = cast(&array, &DataType::Time64(TimeUnit::Microsecond))?;
                let micros = micros.as_primitive::<Time64MicrosecondType>().iter();
                let parts = micros.map(|micros| micros.map(|micros| day_part(&unit, micros)).transpose());
                parts.collect::<Result<_>>()?
            }
            _ => {
                return Err(QueryError::new(
                    ErrorCode::UndefinedFunction,
                    "date_part needs a date, a time, a timestamp or an interval",
                )
                .into());
            }
        };
        returned(Arc::new(Float64Array::from(values)), scalar)
    }
}

pub(super) const DAY: i64 = 86_400_000_000;

fn float(value: i64) -> f64 {
    // Exact below 2^53, which every field of a timestamp is; the epoch in µs loses nothing before the year 2255.
    let (high, low) = (value.div_euclid(1 << 31), value.rem_euclid(1 << 31));
    f64::from(i32::try_from(high).unwrap_or(i32::MAX)) * 2_147_483_648.0
        + f64::from(u32::try_from(low).unwrap_or(u32::MAX))
}

fn unknown_unit(unit: &str) -> datafusion::error::DataFusionError {
    let shown: String = unit.chars().take(40).collect();
    QueryError::new(
        ErrorCode::InvalidParameterValue,
        format!("unit \"{shown}\" not recognized for this type"),
    )
    .into()
}

/// What a unit tells of an offset in seconds, which only an instant has.
fn zone_part(unit: &str, seconds: i32) -> Option<i32> {
    Some(match unit {
        "timezone" => seconds,
        "timezone_hour" => seconds / 3600,
        "timezone_minute" => seconds / 60 % 60,
        _ => return None,
    })
}

fn part(unit: &str, clock: NaiveDateTime) -> Result<f64> {
    let micros = float(i64::from(clock.second()) * 1_000_000 + i64::from(clock.nanosecond() / 1000));
    let year = clock.year();
    // PostgreSQL has no year 0: 1 BC is −1.
    let shown_year = if year > 0 { year } else { year - 1 };
    Ok(match unit {
        "year" | "years" => f64::from(shown_year),
        "month" | "months" | "mon" => f64::from(clock.month()),
        "day" | "days" => f64::from(clock.day()),
        "hour" | "hours" => f64::from(clock.hour()),
        "minute" | "minutes" => f64::from(clock.minute()),
        "second" | "seconds" => micros / 1e6,
        "millisecond" | "milliseconds" => micros / 1e3,
        "microsecond" | "microseconds" => micros,
        "quarter" => f64::from((clock.month() - 1) / 3 + 1),
        "dow" => f64::from(clock.weekday().num_days_from_sunday()),
        "isodow" => f64::from(clock.weekday().number_from_monday()),
        "doy" => f64::from(clock.ordinal()),
        "week" => f64::from(clock.iso_week().week()),
        "isoyear" => f64::from(clock.iso_week().year()),
        "decade" => f64::from(year.div_euclid(10)),
        "century" => f64::from(if year > 0 { (year + 99) / 100 } else { -((99 - (year - 1)) / 100) }),
        "millennium" => f64::from(if year > 0 { (year + 999) / 1000 } else { -((999 - (year - 1)) / 1000) }),
        // 1970-01-01 is day 2440588.
        "julian" => {
            let at = clock.and_utc().timestamp_micros();
            float(at.div_euclid(DAY) + 2_440_588) + float(at.rem_euclid(DAY)) / float(DAY)
        }
        "epoch" => float(clock.and_utc().timestamp_micros()) / 1e6,
        other => return Err(unknown_unit(other)),
    })
}

fn span_part(unit: &str, months: i32, days: i64, micros: i64) -> Result<f64> {
    Ok(match unit {
        "year" | "years" => f64::from(months / 12),
        "month" | "months" | "mon" => f64::from(months % 12),
        "day" | "days" => float(days),
        "hour" | "hours" => float(micros / 3_600_000_000),
        "minute" | "minutes" => float(micros / 60_000_000 % 60),
        "second" | "seconds" => float(micros % 60_000_000) / 1e6,
        "millisecond" | "milliseconds" => float(micros % 60_000_000) / 1e3,
        "microsecond" | "microseconds" => float(micros % 60_000_000),
        // A year counts 365.25 days, a month 30 (PostgreSQL 17, timestamp.c, interval_part_common).
        "epoch" => {
            let months = f64::from(months / 12) * 31_557_600.0 + f64::from(months % 12) * 2_592_000.0;
            months + float(days) * 86_400.0 + float(micros) / 1e6
        }
        other => return Err(unknown_unit(other)),
    })
}

/// A field of a time of day, of which 24:00 is one (PostgreSQL 17, date.c, time_part_common).
fn day_part(unit: &str, micros: i64) -> Result<f64> {
    Ok(match unit {
        "hour" | "hours" => float(micros / 3_600_000_000),
        "minute" | "minutes" => float(micros / 60_000_000 % 60),
        "second" | "seconds" => float(micros % 60_000_000) / 1e6,
        "millisecond" | "milliseconds" => float(micros % 60_000_000) / 1e3,
        "microsecond" | "microseconds" => float(micros % 60_000_000),
        "epoch" => float(micros) / 1e6,
        "year" | "month" | "day" | "quarter" | "dow" | "isodow" | "doy" | "week" | "isoyear" | "decade"
        | "century" | "millennium" | "julian" | "timezone" | "timezone_hour" | "timezone_minute" => {
            let message = format!("unit \"{unit}\" not supported for type time without time zone");
            return Err(QueryError::new(ErrorCode::FeatureNotSupported, message).into());
        }
        other => return Err(unknown_unit(other)),
    })
}

const fn end(last: bool) -> f64 {
    if last { f64::INFINITY } else { f64::NEG_INFINITY }
}

/// A field of an infinite time: what only grows is infinite, what comes again is unknown (PostgreSQL 17, timestamp.c,
/// NonFiniteTimestampTzPart).
fn infinite_part(unit: &str, last: bool) -> Result<Option<f64>> {
    part(unit, NaiveDateTime::default())?;
    let grows = matches!(
        unit,
        "year" | "years" | "isoyear" | "decade" | "century" | "millennium" | "julian" | "epoch"
    );
    Ok(grows.then(|| end(last)))
}

/// A field of an infinite interval (PostgreSQL 17, timestamp.c, NonFiniteIntervalPart).
fn infinite_span_part(unit: &str, last: bool) -> Result<Option<f64>> {
    span_part(unit, 0, 0, 0)?;
    let grows = matches!(unit, "year" | "years" | "day" | "days" | "hour" | "hours" | "epoch");
    Ok(grows.then(|| end(last)))
}

/// `timezone(zone, timestamp)`: wall clock and instant, one into the other.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Timezone(Signature);

/// `timezone`, which AT TIME ZONE means.
pub(super) fn timezone() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Timezone(Signature::any(2, Volatility::Immutable))))
}

impl ScalarUDFImpl for Timezone {
    fn name(&self) -> &str {
        "timezone"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(match types.get(1) {
            Some(DataType::Timestamp(_, None)) => zoned(),
            _ => DataType::Timestamp(TimeUnit::Microsecond, None),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let [ColumnarValue::Scalar(name), value] = args.args.as_slice() else {
            return Err(QueryError::unsupported("a time zone that is no constant").into());
        };
        let (ScalarValue::Utf8(Some(name)) | ScalarValue::Utf8View(Some(name))) = name else {
            return Err(QueryError::unsupported("a time zone that is no name").into());
        };
        let tz = zone(clocks::abbreviated(name))?;
        let array = value.to_array(args.number_rows)?;
        if !matches!(array.data_type(), DataType::Date32 | DataType::Timestamp(_, _) | DataType::Null) {
            return Err(QueryError::new(
                ErrorCode::UndefinedFunction,
                "AT TIME ZONE needs a timestamp, a date or a quoted literal of one",
            )
            .into());
        }
        let to_wall = !matches!(array.data_type(), DataType::Timestamp(_, None));
        let array = days::wall_clocks(&array)?;
        let micros = match array.data_type() {
            DataType::Timestamp(TimeUnit::Microsecond, _) => array,
            _ if to_wall => cast(&array, &zoned())?,
            _ => cast(&array, &DataType::Timestamp(TimeUnit::Microsecond, None))?,
        };
        let mut values = Vec::with_capacity(micros.len());
        for value in micros.as_primitive::<TimestampMicrosecondType>() {
            let Some(value) = value else {
                values.push(None);
                continue;
            };
            if matches!(value, i64::MIN | i64::MAX) {
                values.push(Some(value));
                continue;
            }
            let made = if to_wall { clocks::local(value, tz) } else { clocks::instant_of(value, tz) };
            // The ends are infinity, which nothing finite becomes.
            if matches!(made, i64::MIN | i64::MAX) {
                return Err(QueryError::new(ErrorCode::DatetimeOverflow, "timestamp out of range").into());
            }
            values.push(Some(made));
        }
        let array = TimestampMicrosecondArray::from(values);
        let array: ArrayRef = if to_wall { Arc::new(array) } else { Arc::new(array.with_timezone("UTC")) };
        returned(array, scalar)
    }
}
