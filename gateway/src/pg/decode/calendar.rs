//! Dates, times and intervals from text: ISO 8601 and what PostgreSQL itself prints.
//!
//! PostgreSQL reads many more spellings; those are refused (22007) rather than guessed.

use arrow::datatypes::IntervalMonthDayNano;
use chrono::Utc;

use crate::pg::encode::calendar::{date_in_range, days_of, timestamp_in_range};
use crate::pg::fault::Fault;
use crate::pg::style::Zone;
use crate::pgtypes::clocks;

const DAY_MICROS: i64 = 86_400_000_000;

fn syntax(what: &str, text: &str) -> Fault {
    Fault::new("22007", format!("invalid input syntax for type {what}: \"{}\"", super::text::shown(text)))
}

fn out_of_range(text: &str) -> Fault {
    Fault::new("22008", format!("date/time field value out of range: \"{}\"", super::text::shown(text)))
}

/// `date`: days since 1970.
pub(super) fn date(text: &str, zone: Zone) -> Result<i32, Fault> {
    let trimmed = text.trim();
    match word(trimmed, zone) {
        Some(i64::MAX) => return Ok(i32::MAX),
        Some(i64::MIN) => return Ok(i32::MIN),
        Some(micros) => return i32::try_from(micros.div_euclid(DAY_MICROS)).map_err(|_| out_of_range(text)),
        None => {}
    }
    // A timestamp is a legal date: its time is dropped, but read.
    let Written { days, .. } = written(text, "date")?;
    i32::try_from(days).ok().filter(|days| date_in_range(*days)).ok_or_else(|| out_of_range(text))
}

/// `timestamp` (zone ignored) or `timestamptz`: microseconds since 1970.
pub(super) fn timestamp(text: &str, zone: Zone, zoned: bool) -> Result<i64, Fault> {
    let what = if zoned { "timestamp with time zone" } else { "timestamp" };
    let trimmed = text.trim();
    if let Some(micros) = word(trimmed, zone) {
        let special = micros == i64::MAX || micros == i64::MIN || trimmed.eq_ignore_ascii_case("epoch");
        return Ok(if zoned && !special { zone.instant_of(micros) } else { micros });
    }
    let Written { days, clock, offset } = written(text, what)?;
    let local = days
        .checked_mul(DAY_MICROS)
        .and_then(|day| day.checked_add(clock))
        .ok_or_else(|| out_of_range(text))?;
    let micros = match (zoned, offset) {
        (false, _) => local,
        (true, Some(zone)) => zone.instant_of(local),
        (true, None) => zone.instant_of(local),
    };
    if timestamp_in_range(micros) { Ok(micros) } else { Err(out_of_range(text)) }
}

/// A day, the microseconds of it, and the zone they are of, if one is written.
struct Written {
    days: i64,
    clock: i64,
    offset: Option<Zone>,
}

fn written(text: &str, what: &str) -> Result<Written, Fault> {
    let (trimmed, before_christ) = strip_era(text.trim());
    let (day, rest) = match trimmed.split_once(['T', ' ']) {
        Some((day, rest)) => (day, rest.trim_start()),
        None => (trimmed, ""),
    };
    let days = day_number(day, before_christ)
        .ok_or_else(|| syntax(what, text))?
        .ok_or_else(|| out_of_range(text))?;
    let (clock, offset) = split_zone(rest).ok_or_else(|| syntax(what, text))?;
    let clock = if clock.is_empty() { 0 } else { clock_micros(clock).ok_or_else(|| syntax(what, text))? };
    if clock > DAY_MICROS { Err(out_of_range(text)) } else { Ok(Written { days, clock, offset }) }
}

/// Special values, in local microseconds.
fn word(text: &str, zone: Zone) -> Option<i64> {
    let now = || {
        let micros = Utc::now().timestamp_micros();
        micros + i64::from(zone.offset_at(micros)) * 1_000_000
    };
    let midnight = |days: i64| now().div_euclid(DAY_MICROS) * DAY_MICROS + days * DAY_MICROS;
    Some(match text.to_ascii_lowercase().as_str() {
        "infinity" | "+infinity" => i64::MAX,
        "-infinity" => i64::MIN,
        "epoch" => 0,
        "now" => now(),
        "today" => midnight(0),
        "tomorrow" => midnight(1),
        "yesterday" => midnight(-1),
        _ => return None,
    })
}

fn strip_era(text: &str) -> (&str, bool) {
    match text.len().checked_sub(3).and_then(|at| text.split_at_checked(at)) {
        Some((rest, era)) if era.eq_ignore_ascii_case(" bc") => (rest.trim_end(), true),
        Some((rest, era)) if era.eq_ignore_ascii_case(" ad") => (rest.trim_end(), false),
        _ => (text, false),
    }
}

/// Outer `None`: not a date; inner `None`: no such day.
fn day_number(text: &str, before_christ: bool) -> Option<Option<i64>> {
    let parts: Vec<&str> = if text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        vec![text.get(..4)?, text.get(4..6)?, text.get(6..)?]
    } else {
        text.split(['-', '/']).collect()
    };
    let [year, month, day] = parts.as_slice() else { return None };
    if year.len() < 4 || [year, month, day].iter().any(|part| !part.bytes().all(|byte| byte.is_ascii_digit()))
    {
        return None;
    }
    let (year, month, day): (i64, i64, i64) = (year.parse().ok()?, month.parse().ok()?, day.parse().ok()?);
    if year == 0 || year > 6_000_000 {
        return Some(None);
    }
    let year = if before_christ { 1 - year } else { year };
    let leap = year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0);
    let length = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return Some(None),
    };
    Some((1..=length).contains(&day).then(|| days_of(year, month, day)))
}

/// Splits `12:00:00+05:30`, `12:00 UTC`, `12:00Z` into clock and zone.
fn split_zone(text: &str) -> Option<(&str, Option<Zone>)> {
    let Some(at) = text.find(|c: char| c == '+' || c == '-' || c.is_ascii_alphabetic()) else {
        return Some((text.trim_end(), None));
    };
    let (clock, zone) = text.split_at_checked(at)?;
    let clock = clock.trim_end();
    if let Some((sign, digits)) = zone.split_at_checked(1).filter(|(sign, _)| matches!(*sign, "+" | "-")) {
        let compact: String = digits.chars().filter(|c| *c != ':').collect();
        if compact.is_empty() || compact.len() > 6 || !compact.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let hours_width = if compact.len() % 2 == 1 { 1 } else { 2 };
        let (hours, rest) = compact.split_at_checked(hours_width)?;
        let hours: i32 = hours.parse().ok()?;
        let minutes: i32 = rest.get(..2).unwrap_or("0").parse().ok()?;
        let seconds: i32 = rest.get(2..4).unwrap_or("0").parse().ok()?;
        if hours > 15 || minutes > 59 || seconds > 59 {
            return None;
        }
        let east = hours * 3600 + minutes * 60 + seconds;
        return Some((clock, Some(Zone::Fixed(if sign == "-" { -east } else { east }))));
    }
    Some((clock, Some(Zone::parse(clocks::abbreviated(zone))?)))
}

/// `h[h]:mm[:ss[.ffffff]]` in microseconds; digits beyond the sixth are rounded.
fn clock_micros(text: &str) -> Option<i64> {
    let mut parts = text.split(':');
    let (hours, minutes) = (parts.next()?, parts.next()?);
    let seconds = parts.next().unwrap_or("0");
    if parts.next().is_some() || hours.is_empty() || minutes.is_empty() || seconds.is_empty() {
        return None;
    }
    let number = |part: &str| {
        part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse::<i64>().ok()).flatten()
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let seconds = seconds_micros(seconds)?;
    if minutes > 59 || seconds > 60_000_000 || hours > 2_500_000_000 {
        return None;
    }
    Some((hours * 60 + minutes) * 60_000_000 + seconds)
}

fn seconds_micros(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) || whole.len() > 12 {
        return None;
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let kept = fraction.get(..fraction.len().min(7)).unwrap_or_default();
    let tenths = format!("{kept:0<7}").parse::<i64>().ok()?;
    Some(whole * 1_000_000 + (tenths + 5) / 10)
}

/// `interval`, by the reader of literals.
pub(super) fn interval(text: &str) -> Result<IntervalMonthDayNano, Fault> {
    let span = crate::functions::interval(text)?;
    let nanos = span.micros.checked_mul(1000).ok_or_else(|| {
        Fault::new("22008", format!("interval field value out of range: \"{}\"", super::text::shown(text)))
    })?;
    Ok(IntervalMonthDayNano::new(span.months, span.days, nanos))
}
