//! Reading dates and timestamps from text as PostgreSQL reads ISO forms (PostgreSQL 17, datetime.c, DecodeDateTime).
//!
//! A text without an offset means the session's zone where the type has one. Forms PostgreSQL also reads but that
//! depend on `DateStyle` or on the day (`01/02/2024`, `yesterday`) are refused, never guessed.

use std::sync::{Arc, PoisonError, RwLock};

use chrono::{NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};

use crate::error::{ErrorCode, QueryError};
use crate::pg::encode::calendar::date_in_range;
use crate::pgtypes::clocks;

/// The session's time zone, shared by the session and the planner of its expressions.
#[derive(Debug, Clone)]
pub(crate) struct SessionZone(Arc<RwLock<chrono_tz::Tz>>);

impl Default for SessionZone {
    fn default() -> Self {
        Self(Arc::new(RwLock::new(chrono_tz::UTC)))
    }
}

impl SessionZone {
    /// The zone in force.
    pub(crate) fn get(&self) -> chrono_tz::Tz {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows `SET TimeZone`; the name has been checked.
    pub(crate) fn set(&self, name: &str) {
        if let Ok(zone) = name.parse() {
            *self.0.write().unwrap_or_else(PoisonError::into_inner) = zone;
        }
    }
}

/// Wall-clock time and, if written, the zone it is in.
struct Written {
    /// The day as it is written; at 24:00 the clock is on the next one.
    day: NaiveDate,
    clock: NaiveDateTime,
    /// Days to be added to the clock, whose year is one that chrono has: calendars repeat after 400 years.
    later: i64,
    offset: Option<Offset>,
}

impl Written {
    /// An instant of the clock's, in microseconds since 1970, as it was written.
    fn micros(&self, clock: i64, text: &str, what: &str) -> Result<i64, QueryError> {
        let day = 86_400_000_000;
        let micros = self.later.checked_mul(day).and_then(|later| clock.checked_add(later));
        // The end of the integer is infinity.
        micros.filter(|micros| *micros < i64::MAX).ok_or_else(|| {
            let shown: String = text.chars().take(100).collect();
            QueryError::new(ErrorCode::DatetimeOverflow, format!("{what} out of range: \"{shown}\""))
        })
    }
}

enum Offset {
    Seconds(i32),
    Zone(chrono_tz::Tz),
}

fn bad(text: &str, type_name: &str) -> QueryError {
    let shown: String = text.chars().take(100).collect();
    QueryError::new(
        ErrorCode::InvalidDatetimeFormat,
        format!("invalid input syntax for type {type_name}: \"{shown}\""),
    )
    .with_hint("write dates as 2024-03-05 and times as 2024-03-05 10:11:12+00")
}

fn out_of_range(text: &str) -> QueryError {
    let shown: String = text.chars().take(100).collect();
    QueryError::new(ErrorCode::DatetimeOverflow, format!("date/time field value out of range: \"{shown}\""))
}

fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn parse(text: &str, type_name: &str) -> Result<Written, QueryError> {
    let trimmed = text.trim();
    let wrong = || bad(text, type_name);
    let date_end = trimmed.find(|c: char| c == 'T' || c == 't' || c.is_whitespace()).unwrap_or(trimmed.len());
    let (date, rest) = trimmed.split_at(date_end);
    let mut fields = date.split('-');
    let (year, month, day) = match (fields.next(), fields.next(), fields.next(), fields.next()) {
        (Some(year), Some(month), Some(day), None) if year.len() >= 4 => (year, month, day),
        (Some(all), None, None, None) if all.len() == 8 => (
            all.get(..4).ok_or_else(wrong)?,
            all.get(4..6).ok_or_else(wrong)?,
            all.get(6..).ok_or_else(wrong)?,
        ),
        _ => return Err(wrong()),
    };
    let (year, month, day): (i32, u32, u32) =
        (number(year).ok_or_else(wrong)?, number(month).ok_or_else(wrong)?, number(day).ok_or_else(wrong)?);
    let ages = if year > 200_000 { (year - 200_000) / 400 } else { 0 };
    let later = i64::from(ages) * 146_097;
    let date = NaiveDate::from_ymd_opt(year - ages * 400, month, day).filter(|_| year > 0);
    let date = date.ok_or_else(|| out_of_range(text))?;
    let rest = rest.trim_start_matches(['T', 't']).trim_start();
    if rest.is_empty() {
        return Ok(Written { day: date, clock: date.and_time(NaiveTime::MIN), later, offset: None });
    }
    let time_end = rest.find(|c: char| !(c.is_ascii_digit() || c == ':' || c == '.')).unwrap_or(rest.len());
    let (time, zone) = rest.split_at(time_end);
    let mut fields = time.split(':');
    let hour: u32 = number(fields.next().unwrap_or_default()).ok_or_else(wrong)?;
    let minute: u32 = number(fields.next().ok_or_else(wrong)?).ok_or_else(wrong)?;
    let (second, micros) = match fields.next() {
        None => (0, 0),
        Some(seconds) => {
            let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
            (number::<u32>(whole).ok_or_else(wrong)?, fraction_micros(fraction).ok_or_else(wrong)?)
        }
    };
    if fields.next().is_some() {
        return Err(wrong());
    }
    if hour > 24 || minute > 59 || second > 60 || hour == 24 && (minute, second, micros) != (0, 0, 0) {
        return Err(out_of_range(text));
    }
    let seconds = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
    let span = TimeDelta::seconds(seconds) + TimeDelta::microseconds(micros);
    let clock = date.and_time(NaiveTime::MIN).checked_add_signed(span).ok_or_else(|| out_of_range(text))?;
    Ok(Written { day: date, clock, later, offset: offset(zone.trim()).ok_or_else(wrong)? })
}

/// Microseconds of a fraction's digits, the seventh digit rounding.
fn fraction_micros(digits: &str) -> Option<i64> {
    if digits.is_empty() {
        return Some(0);
    }
    let value: f64 =
        format!("0.{digits}").parse().ok().filter(|_| digits.bytes().all(|b| b.is_ascii_digit()))?;
    format!("{:.0}", (value * 1e6).round_ties_even()).parse().ok()
}

/// The zone behind a time: none, `Z`, `+05`, `+0530`, `+05:30`, a name.
fn offset(text: &str) -> Option<Option<Offset>> {
    if text.is_empty() {
        return Some(None);
    }
    if text.eq_ignore_ascii_case("z") || text.eq_ignore_ascii_case("utc") || text.eq_ignore_ascii_case("gmt")
    {
        return Some(Some(Offset::Seconds(0)));
    }
    let sign = match text.bytes().next()? {
        b'+' => 1,
        b'-' => -1,
        _ => {
            let name = clocks::abbreviated(text);
            let found = chrono_tz::TZ_VARIANTS.iter().find(|tz| tz.name().eq_ignore_ascii_case(name));
            return found.map(|zone| Some(Offset::Zone(*zone)));
        }
    };
    let digits: String = text.get(1..)?.chars().filter(|c| *c != ':').collect();
    let part = |range: std::ops::Range<usize>| digits.get(range).map_or(Some(0), number::<i32>);
    let (hours, minutes, seconds) = match digits.len() {
        1 | 2 => (number::<i32>(&digits)?, 0, 0),
        4 => (part(0..2)?, part(2..4)?, 0),
        6 => (part(0..2)?, part(2..4)?, part(4..6)?),
        _ => return None,
    };
    (hours <= 15 && minutes < 60 && seconds < 60)
        .then_some(Some(Offset::Seconds(sign * (hours * 3600 + minutes * 60 + seconds))))
}

/// Whether a text means the time after all others, or the one before.
pub(super) fn infinite(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "infinity" | "+infinity" => Some(true),
        "-infinity" => Some(false),
        _ => None,
    }
}

/// A date, in days since 1970; a time behind it is ignored, as in PostgreSQL.
pub(super) fn date(text: &str) -> Result<i32, QueryError> {
    let written = parse(text, "date")?;
    let days = written.day.signed_duration_since(NaiveDate::default()).num_days() + written.later;
    i32::try_from(days).ok().filter(|days| date_in_range(*days) && *days < i32::MAX).ok_or_else(|| {
        let shown: String = text.chars().take(100).collect();
        QueryError::new(ErrorCode::DatetimeOverflow, format!("date out of range: \"{shown}\""))
    })
}

/// A timestamp without time zone, in microseconds; an offset is ignored, as in PostgreSQL.
pub(super) fn timestamp(text: &str) -> Result<i64, QueryError> {
    let written = parse(text, "timestamp without time zone")?;
    written.micros(written.clock.and_utc().timestamp_micros(), text, "timestamp")
}

/// A timestamp with time zone, in microseconds since 1970 UTC.
pub(super) fn timestamptz(text: &str, session: chrono_tz::Tz) -> Result<i64, QueryError> {
    let written = parse(text, "timestamp with time zone")?;
    let clock = written.clock;
    let micros = match written.offset {
        Some(Offset::Seconds(seconds)) => {
            (clock.and_utc() - TimeDelta::seconds(i64::from(seconds))).timestamp_micros()
        }
        Some(Offset::Zone(zone)) => instant_of(clock, zone),
        None => instant_of(clock, session),
    };
    written.micros(micros, text, "timestamp")
}

/// The instant of a wall-clock time.
pub(super) fn instant_of(clock: NaiveDateTime, zone: chrono_tz::Tz) -> i64 {
    clocks::instant_of(clock.and_utc().timestamp_micros(), zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_as_postgresql_reads_them() {
        let utc = chrono_tz::UTC;
        for (text, expected) in [
            ("2024-03-05", "2024-03-05T00:00:00+00:00"),
            ("20240305 10:11", "2024-03-05T10:11:00+00:00"),
            ("2024-03-05T10:11:12.5Z", "2024-03-05T10:11:12.500+00:00"),
            ("2024-03-05 10:11:12+02", "2024-03-05T08:11:12+00:00"),
            ("2024-03-05 10:11:12-0530", "2024-03-05T15:41:12+00:00"),
            ("2024-03-05 10:11 Asia/Hong_Kong", "2024-03-05T02:11:00+00:00"),
            ("2024-12-31 24:00", "2025-01-01T00:00:00+00:00"),
            ("2024-07-01 12:00 CET", "2024-07-01T11:00:00+00:00"),
            ("2024-07-01 12:00 eet", "2024-07-01T10:00:00+00:00"),
        ] {
            let micros = chrono::DateTime::parse_from_rfc3339(expected).unwrap().timestamp_micros();
            assert_eq!(timestamptz(text, utc), Ok(micros), "{text}");
        }
        for (text, state) in [
            ("2024-02-30", "22008"),
            ("01/02/2024", "22007"),
            ("yesterday", "22007"),
            ("2024-03-05 25:00", "22008"),
            ("294276-12-31", "22008"),
            ("294277-01-01", "22008"),
        ] {
            assert_eq!(timestamptz(text, utc).unwrap_err().code.sqlstate(), state, "{text}");
        }
        assert_eq!(timestamp("294247-01-10 04:00:54.775806"), Ok(i64::MAX - 1));
        assert_eq!(timestamp("294247-01-10 04:00:54.775807").unwrap_err().code.sqlstate(), "22008");
        assert_eq!(date("5874897-12-31"), Ok(2_145_042_905));
        assert_eq!(date("2024-02-28 24:00"), date("2024-02-28"));
        // An abbreviation is one offset all year, and a zone of that name is not meant.
        assert_eq!(timestamptz("2024-07-01 12:00 CET", utc), timestamptz("2024-07-01 11:00Z", utc));
        assert_eq!(date("5874898-01-01").unwrap_err().code.sqlstate(), "22008");
        let dakar = timestamptz("2024-07-01 12:00", chrono_tz::Europe::Paris).unwrap();
        assert_eq!(dakar, timestamptz("2024-07-01 10:00Z", utc).unwrap());
    }
}
