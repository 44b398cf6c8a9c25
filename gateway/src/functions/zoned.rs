//! What a timestamp with time zone is where the session is: its time of day, its hour, and itself some days later.
//!
//! A day or a month later it is the same time on the session's clocks, however many hours that is; an hour is cut off
//! without a look at the clock, which tells one of them twice a year (PostgreSQL 17, timestamp.c: timestamptz_pl_interval
//! and timestamptz_trunc; date.c: timestamptz_time). In UTC all of this is plain arithmetic, which stays the engine's own:
//! it is folded and pruned by.

use std::sync::Arc;

use chrono::{Months, NaiveDateTime, TimeDelta, Timelike};
use datafusion::arrow::array::{ArrayRef, AsArray, Time64MicrosecondArray, TimestampMicrosecondArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Field, FieldRef, IntervalMonthDayNano, IntervalMonthDayNanoType, TimeUnit,
    TimestampMicrosecondType,
};
use datafusion::common::{DFSchema, Result, ScalarValue, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility, cast as as_type, lit,
};

use super::arithmetic::returned;
use super::elapsed::SPAN;
use super::lower::of_kpi;
use super::operators::{Kind, STAMP, kind};
use super::quoted::unknown;
use super::{elapsed, literal, time, trunc};
use crate::error::{ErrorCode, QueryError};
use crate::pgtypes::clocks;

/// What is found of a timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum What {
    /// Itself an interval later.
    Later,
    /// Itself an interval earlier.
    Earlier,
    /// The first instant of its hour, minute, second or less.
    Start,
    /// Its time of day; an infinite one has none.
    TimeOfDay,
}

/// A function of a zone's name, a timestamp, and an interval or a unit.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Zoned {
    what: What,
    signature: Signature,
}

fn function(what: What) -> Arc<ScalarUDF> {
    let arguments = if what == What::TimeOfDay { 2 } else { 3 };
    Arc::new(ScalarUDF::from(Zoned { what, signature: Signature::any(arguments, Volatility::Immutable) }))
}

/// All of them.
pub(super) fn all() -> [Arc<ScalarUDF>; 4] {
    [What::Later, What::Earlier, What::Start, What::TimeOfDay].map(function)
}

/// A timestamp with time zone moved by days or months of the session's zone; `None` if it is nothing of the kind.
pub(super) fn moved(
    (left, left_type): (&Expr, &DataType),
    operator: Operator,
    (right, right_type): (&Expr, &DataType),
    schema: &DFSchema,
    zone: chrono_tz::Tz,
) -> Option<Expr> {
    let zoned = |of: &DataType| matches!(of, DataType::Timestamp(_, Some(_)));
    let (at, span, span_type) = match operator {
        Operator::Plus | Operator::Minus if zoned(left_type) => (left, right, right_type),
        Operator::Plus if zoned(right_type) => (right, left, left_type),
        _ => return None,
    };
    if zone == chrono_tz::UTC || of_kpi(left, schema) || of_kpi(right, schema) || is_time_only(span) {
        return None;
    }
    let span = match kind(span_type) {
        Kind::Interval => elapsed::as_interval(span.clone(), span_type),
        Kind::Text if unknown(span).is_some() => as_type(span.clone(), SPAN),
        _ => return None,
    };
    let what = if operator == Operator::Plus { What::Later } else { What::Earlier };
    Some(function(what).call(vec![lit(zone.name()), at.clone(), span]))
}

/// Whether an interval is a constant without days and months, which is as long everywhere.
fn is_time_only(span: &Expr) -> bool {
    matches!(
        span,
        Expr::Literal(
            ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano { months: 0, days: 0, .. })),
            _
        )
    )
}

/// `date_trunc(unit, at)`: a day of a timestamp with time zone, and what is longer, begins on the zone's clocks.
pub(super) fn truncated(unit: &Expr, at: &Expr, data_type: &DataType, zone: chrono_tz::Tz) -> Expr {
    if zone == chrono_tz::UTC || !matches!(data_type, DataType::Timestamp(_, Some(_))) {
        return trunc::date_trunc().call(vec![unit.clone(), at.clone()]);
    }
    let name = lit(zone.name());
    let (Expr::Literal(ScalarValue::Utf8(Some(text)), _)
    | Expr::Literal(ScalarValue::Utf8View(Some(text)), _)) = unit
    else {
        return on_the_clock(unit, at, name);
    };
    match length(text) {
        Some(_) => function(What::Start).call(vec![name, at.clone(), unit.clone()]),
        None => on_the_clock(unit, at, name),
    }
}

fn on_the_clock(unit: &Expr, at: &Expr, zone: Expr) -> Expr {
    let clock = time::timezone().call(vec![zone.clone(), at.clone()]);
    let cut = trunc::date_trunc().call(vec![unit.clone(), clock]);
    time::timezone().call(vec![zone, cut])
}

/// Microseconds of the units that a change of clocks does not cut in two.
fn length(unit: &str) -> Option<i64> {
    Some(match unit.to_ascii_lowercase().as_str() {
        "microsecond" | "microseconds" => 1,
        "millisecond" | "milliseconds" => 1_000,
        "second" | "seconds" => 1_000_000,
        "minute" | "minutes" => 60_000_000,
        "hour" | "hours" => 3_600_000_000,
        _ => return None,
    })
}

/// The time of day of a timestamp of a type.
pub(super) fn time_of_day(at: Expr, data_type: &DataType, zone: chrono_tz::Tz) -> Expr {
    let zone = if matches!(data_type, DataType::Timestamp(_, Some(_))) { zone } else { chrono_tz::UTC };
    function(What::TimeOfDay).call(vec![lit(zone.name()), at])
}

impl ScalarUDFImpl for Zoned {
    fn name(&self) -> &str {
        match self.what {
            What::Later => "zoned_later",
            What::Earlier => "zoned_earlier",
            What::Start => "zoned_start",
            What::TimeOfDay => "time_of_day",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(match self.what {
            What::TimeOfDay => DataType::Time64(TimeUnit::Microsecond),
            _ => time::zoned(),
        })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let nullable =
            self.what == What::TimeOfDay || args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.return_type(&[])?, nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let (Some(ColumnarValue::Scalar(ScalarValue::Utf8(Some(zone)))), Some(at)) =
            (args.args.first(), args.args.get(1))
        else {
            return exec_err!("a zone is a constant");
        };
        let zone = time::zone(zone)?;
        let at = at.to_array(args.number_rows)?;
        let instants =
            cast(&at, &if self.what == What::TimeOfDay { micros_of(at.data_type()) } else { time::zoned() })?;
        let instants = instants.as_primitive::<TimestampMicrosecondType>();
        let made: ArrayRef = match (self.what, args.args.get(2)) {
            (What::TimeOfDay, _) => {
                let times = instants.iter().map(|at| match at {
                    Some(at) if !is_end(at) => clock(at, zone).map(|clock| Some(micros_of_day(clock))),
                    _ => Ok(None),
                });
                Arc::new(times.collect::<Result<Time64MicrosecondArray, QueryError>>()?)
            }
            (
                What::Start,
                Some(ColumnarValue::Scalar(
                    ScalarValue::Utf8(Some(unit)) | ScalarValue::Utf8View(Some(unit)),
                )),
            ) => {
                let Some(length) = length(unit) else {
                    return exec_err!("no unit of an hour or less: {unit}");
                };
                let starts = instants.iter().map(|at| at.map(|at| started(at, length, zone)).transpose());
                zoned_array(starts.collect::<Result<_, QueryError>>()?)
            }
            (What::Later | What::Earlier, Some(span)) => {
                let spans = cast(&span.to_array(args.number_rows)?, &SPAN)?;
                let sign = if self.what == What::Later { 1 } else { -1 };
                let pairs = instants.iter().zip(spans.as_primitive::<IntervalMonthDayNanoType>());
                let moved = pairs.map(|(at, span)| {
                    at.zip(span).map(|(at, span)| shifted(at, span, sign, zone)).transpose()
                });
                zoned_array(moved.collect::<Result<_, QueryError>>()?)
            }
            _ => return exec_err!("{} has other arguments", self.name()),
        };
        returned(made, scalar)
    }
}

fn zoned_array(instants: TimestampMicrosecondArray) -> ArrayRef {
    Arc::new(instants.with_timezone("UTC"))
}

fn micros_of(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        _ => STAMP,
    }
}

const fn is_end(at: i64) -> bool {
    matches!(at, i64::MIN | i64::MAX)
}

fn out_of_range() -> QueryError {
    QueryError::new(ErrorCode::DatetimeOverflow, "timestamp out of range")
}

fn instant(micros: i64) -> Result<chrono::DateTime<chrono::Utc>, QueryError> {
    chrono::DateTime::from_timestamp_micros(micros).ok_or_else(out_of_range)
}

/// What the clocks of a zone say.
fn clock(micros: i64, zone: chrono_tz::Tz) -> Result<NaiveDateTime, QueryError> {
    Ok(instant(clocks::local(micros, zone))?.naive_utc())
}

fn micros_of_day(clock: NaiveDateTime) -> i64 {
    let time = clock.time();
    i64::from(time.num_seconds_from_midnight()) * 1_000_000 + i64::from(time.nanosecond() / 1_000)
}

/// Cut under the offset that the zone has at the instant itself.
fn started(micros: i64, length: i64, zone: chrono_tz::Tz) -> Result<i64, QueryError> {
    if is_end(micros) {
        return Ok(micros);
    }
    let offset = i64::from(clocks::offset_at(zone, micros)) * 1_000_000;
    let local = micros.checked_add(offset).ok_or_else(out_of_range)?;
    Ok(local.div_euclid(length) * length - offset)
}

/// Months first, then days, both on the zone's clocks, then the rest.
fn shifted(
    micros: i64,
    span: IntervalMonthDayNano,
    sign: i64,
    zone: chrono_tz::Tz,
) -> Result<i64, QueryError> {
    if is_end(micros) {
        return Ok(micros);
    }
    let IntervalMonthDayNano { months, days, nanoseconds } = span;
    let mut moved = micros;
    if months != 0 {
        let count = Months::new(months.unsigned_abs());
        let clock = clock(moved, zone)?;
        let forward = (months > 0) == (sign > 0);
        let clock = if forward { clock.checked_add_months(count) } else { clock.checked_sub_months(count) };
        moved = literal::instant_of(clock.ok_or_else(out_of_range)?, zone);
    }
    if days != 0 {
        let by = TimeDelta::try_days(i64::from(days) * sign);
        let clock = by.and_then(|by| clock(moved, zone).ok()?.checked_add_signed(by));
        moved = literal::instant_of(clock.ok_or_else(out_of_range)?, zone);
    }
    // What PostgreSQL keeps of an interval, and what a timestamp has, is microseconds.
    let rest = (nanoseconds / 1_000).checked_mul(sign);
    rest.and_then(|rest| moved.checked_add(rest)).filter(|at| !is_end(*at)).ok_or_else(out_of_range)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::fixture::Fixture;

    const PARIS: chrono_tz::Tz = chrono_tz::Europe::Paris;

    fn at(text: &str) -> i64 {
        chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros()
    }

    /// Expected values: PostgreSQL's, with TimeZone Europe/Paris.
    #[test]
    fn a_day_later_it_is_as_late_on_the_clock() {
        let span = |months, days, hours: i64| IntervalMonthDayNano {
            months,
            days,
            nanoseconds: hours * 3_600_000_000_000,
        };
        for (from, span, sign, to) in [
            ("2024-10-26T12:00:00+02:00", span(0, 1, 0), 1, "2024-10-27T12:00:00+01:00"),
            ("2024-10-26T12:00:00+02:00", span(0, 0, 24), 1, "2024-10-27T11:00:00+01:00"),
            ("2024-10-26T12:00:00+02:00", span(0, -1, 0), -1, "2024-10-27T12:00:00+01:00"),
            ("2024-03-30T12:00:00+01:00", span(1, 0, 0), 1, "2024-04-30T12:00:00+02:00"),
            ("2024-03-31T03:30:00+02:00", span(0, 1, 0), -1, "2024-03-30T03:30:00+01:00"),
            ("2024-10-27T02:30:00+02:00", span(1, 0, 0), 1, "2024-11-27T02:30:00+01:00"),
            // No clock says 02:30 on the day it is moved forward.
            ("2024-03-30T02:30:00+01:00", span(0, 1, 0), 1, "2024-03-31T03:30:00+02:00"),
            // It says so twice on the day it is moved back; the later one is meant.
            ("2024-10-26T02:30:00+02:00", span(0, 1, 0), 1, "2024-10-27T02:30:00+01:00"),
            ("2024-01-31T12:00:00+01:00", span(1, 1, 1), 1, "2024-03-01T13:00:00+01:00"),
            ("2024-03-31T12:00:00+02:00", span(1, 0, 0), -1, "2024-02-29T12:00:00+01:00"),
        ] {
            assert_eq!(shifted(at(from), span, sign, PARIS).unwrap(), at(to), "{from} {span:?} {sign}");
        }
        assert_eq!(shifted(i64::MAX, span(1, 0, 0), -1, PARIS).unwrap(), i64::MAX);
        assert!(shifted(at("2024-01-01T00:00:00Z"), span(i32::MAX, 0, 0), 1, PARIS).is_err());
        assert!(shifted(i64::MAX - 1, span(0, 0, 1), 1, PARIS).is_err());
    }

    #[test]
    fn an_hour_that_the_clock_tells_twice_is_two() {
        let hour = length("hour").unwrap();
        for (from, to) in [
            ("2024-10-27T00:30:00Z", "2024-10-27T00:00:00Z"),
            ("2024-10-27T01:30:00Z", "2024-10-27T01:00:00Z"),
            ("1969-12-31T23:59:59Z", "1969-12-31T23:00:00Z"),
        ] {
            assert_eq!(started(at(from), hour, PARIS).unwrap(), at(to), "{from}");
        }
        // Its clocks are half an hour beside the world's.
        let kolkata = chrono_tz::Asia::Kolkata;
        assert_eq!(started(at("2024-01-01T00:10:00Z"), hour, kolkata).unwrap(), at("2023-12-31T23:30:00Z"));
        assert_eq!(started(i64::MIN, hour, PARIS).unwrap(), i64::MIN);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn statements_are_answered_where_the_session_is() {
        let fixture = Fixture::open();
        // Row one of `t` is of 2024-03-05 10:11:12.5Z, its twin without a zone says the same.
        let first = "from t where i2 = 1";
        for (zone, sql, expected) in [
            ("Europe/Paris", "select tz::time, ts::time", "11:11:12.500|10:11:12.500"),
            ("UTC", "select tz::time, ts::time", "10:11:12.500|10:11:12.500"),
            ("Europe/Paris", "select (timestamptz '2024-10-27 00:30Z')::time", "02:30:00"),
            (
                "Europe/Paris",
                "select (timestamptz 'infinity')::time is null, (ts + interval '1 day')::time",
                "true|10:11:12.500",
            ),
            ("Europe/Paris", "select tz + interval '1 mon' = timestamptz '2024-04-05 09:11:12.5Z'", "true"),
            ("Europe/Paris", "select interval '26 days' + tz = timestamptz '2024-03-31 09:11:12.5Z'", "true"),
            ("Europe/Paris", "select tz + '26 days' = timestamptz '2024-03-31 09:11:12.5Z'", "true"),
            (
                "Europe/Paris",
                "select tz + interval '624 hours' = timestamptz '2024-03-31 10:11:12.5Z'",
                "true",
            ),
            ("UTC", "select tz + interval '1 mon' = timestamptz '2024-04-05 10:11:12.5Z'", "true"),
            ("Europe/Paris", "select tz - interval '-26 days' - interval '26 days' = tz", "true"),
            (
                "Europe/Paris",
                "select date_trunc('hour', timestamptz '2024-10-27 00:30Z') = timestamptz '2024-10-27 00:00Z'",
                "true",
            ),
            ("Europe/Paris", "select date_trunc('day', tz) = timestamptz '2024-03-04 23:00Z'", "true"),
            // What AT TIME ZONE makes is a wall clock also where it is calculated with.
            (
                "Europe/Paris",
                "select (tz at time zone 'Asia/Tokyo') + interval '1 day' = timestamp '2024-03-06 19:11:12.5'",
                "true",
            ),
            ("Europe/Paris", "select (tz at time zone 'Asia/Tokyo') - ts = interval '9 hours'", "true"),
            ("Europe/Paris", "select day at time zone 'UTC' = timestamp '2024-03-04 23:00'", "true"),
            ("Europe/Paris", "select ts::text::timestamptz = timestamptz '2024-03-05 09:11:12.5Z'", "true"),
            ("Europe/Paris", "select nullif(tz, '2024-03-05 11:11:12.5') is null", "true"),
        ] {
            fixture.session.settings().set("timezone", Some(zone)).unwrap();
            let sql = format!("{sql} {first}");
            let (_, rows) = fixture.one(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
            assert_eq!(rows, expected, "{zone}: {sql}");
        }
    }
}
