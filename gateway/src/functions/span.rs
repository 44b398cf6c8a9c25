//! Intervals from and to text (PostgreSQL 17, datetime.c, DecodeInterval, DecodeISO8601Interval and EncodeInterval).
//!
//! Three fields that are never carried into each other: months, days and microseconds. Forms that need
//! `IntervalStyle` other than `postgres` to be read are refused, never guessed.

use crate::error::{ErrorCode, QueryError};

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// Months, days, microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    pub(crate) months: i32,
    pub(crate) days: i32,
    pub(crate) micros: i64,
}

/// A number as written: its whole part and its fraction, both with the number's sign.
#[derive(Debug, Clone, Copy)]
struct Amount {
    whole: i64,
    fraction: f64,
}

impl Amount {
    fn read(text: &str) -> Option<Self> {
        let (sign, digits) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() && fraction.is_empty() || !is_digits(whole) || !is_digits(fraction) {
            return None;
        }
        let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let fraction: f64 = if fraction.is_empty() { 0.0 } else { format!("0.{fraction}").parse().ok()? };
        let signed = if sign < 0 { -fraction } else { fraction };
        Some(Self { whole: sign * whole, fraction: signed })
    }
}

/// A whole number near a small float.
fn rounded(value: f64) -> Option<i64> {
    format!("{:.0}", value.round_ties_even()).parse().ok()
}

impl Span {
    fn add_micros(&mut self, whole: i64, unit: i64, fraction: f64) -> Option<()> {
        let parts = fraction * unit as f64;
        self.micros = self.micros.checked_add(whole.checked_mul(unit)?)?.checked_add(rounded(parts)?)?;
        Some(())
    }

    /// Days with a fraction; the fraction becomes time.
    fn add_days(&mut self, whole: i64, fraction: f64) -> Option<()> {
        self.days = self.days.checked_add(i32::try_from(whole).ok()?)?;
        self.add_micros(0, DAY, fraction)
    }

    fn add(&mut self, amount: Amount, unit: &str) -> Option<()> {
        let Amount { whole, fraction } = amount;
        match unit {
            "us" | "usec" | "usecs" | "microsecond" | "microseconds" => self.add_micros(whole, 1, fraction),
            "ms" | "msec" | "msecs" | "millisecond" | "milliseconds" => {
                self.add_micros(whole, 1000, fraction)
            }
            "s" | "sec" | "secs" | "second" | "seconds" => self.add_micros(whole, SECOND, fraction),
            "m" | "min" | "mins" | "minute" | "minutes" => self.add_micros(whole, 60 * SECOND, fraction),
            "h" | "hr" | "hrs" | "hour" | "hours" => self.add_micros(whole, 3600 * SECOND, fraction),
            "d" | "day" | "days" => self.add_days(whole, fraction),
            "w" | "week" | "weeks" => {
                let days = fraction * 7.0;
                self.add_days(whole.checked_mul(7)?.checked_add(rounded(days.trunc())?)?, days.fract())
            }
            "mon" | "mons" | "month" | "months" => {
                self.months = self.months.checked_add(i32::try_from(whole).ok()?)?;
                let days = fraction * 30.0;
                self.add_days(rounded(days.trunc())?, days.fract())
            }
            "y" | "yr" | "yrs" | "year" | "years" => self.add_years(whole, fraction, 1),
            "dec" | "decs" | "decade" | "decades" => self.add_years(whole, fraction, 10),
            "c" | "cent" | "century" | "centuries" => self.add_years(whole, fraction, 100),
            "mil" | "mils" | "millennium" | "millennia" => self.add_years(whole, fraction, 1000),
            _ => None,
        }
    }

    fn add_years(&mut self, whole: i64, fraction: f64, years: i64) -> Option<()> {
        let months = whole.checked_mul(12 * years)?;
        let part = rounded(fraction * 12.0 * years as f64)?;
        self.months = self.months.checked_add(i32::try_from(months.checked_add(part)?).ok()?)?;
        Some(())
    }

    /// `[-]H:MM[:SS[.f]]`.
    fn add_clock(&mut self, text: &str) -> Option<()> {
        let (sign, clock) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text.strip_prefix('+').unwrap_or(text)),
        };
        let mut fields = clock.split(':');
        let (hours, minutes) = (Amount::read(fields.next()?)?, Amount::read(fields.next()?)?);
        let seconds = fields.next().map_or(Some(Amount { whole: 0, fraction: 0.0 }), Amount::read)?;
        let plain = hours.fraction == 0.0 && minutes.fraction == 0.0 && fields.next().is_none();
        if !plain || minutes.whole > 59 || seconds.whole > 60 || clock.contains(['-', '+']) {
            return None;
        }
        let micros = hours.whole.checked_mul(3600)?.checked_add(minutes.whole * 60 + seconds.whole)?;
        let micros = micros.checked_mul(SECOND)?.checked_add(rounded(seconds.fraction * 1e6)?)?;
        self.micros = self.micros.checked_add(sign * micros)?;
        Some(())
    }

    fn opposite(self) -> Option<Self> {
        let Self { months, days, micros } = self;
        Some(Self { months: months.checked_neg()?, days: days.checked_neg()?, micros: micros.checked_neg()? })
    }

    /// Every field with the other sign.
    ///
    /// # Errors
    /// 22008 when a field has none.
    pub(crate) fn negated(self) -> Result<Self, QueryError> {
        self.opposite().ok_or_else(|| QueryError::new(ErrorCode::DatetimeOverflow, "interval out of range"))
    }

    /// The text in `IntervalStyle` `postgres`.
    pub(crate) fn text(self) -> String {
        let mut parts: Vec<String> = Vec::new();
        let mut negative = false;
        for (value, unit) in [(self.months / 12, "year"), (self.months % 12, "mon"), (self.days, "day")] {
            if value != 0 {
                let plus = if negative && value > 0 { "+" } else { "" };
                let plural = if value == 1 { "" } else { "s" };
                parts.push(format!("{plus}{value} {unit}{plural}"));
                negative = value < 0;
            }
        }
        if self.micros != 0 || parts.is_empty() {
            let sign = match self.micros {
                ..0 => "-",
                _ if negative => "+",
                _ => "",
            };
            let micros = self.micros.unsigned_abs();
            let seconds = micros / 1_000_000;
            let clock = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
            let fraction = format!(".{:06}", micros % 1_000_000);
            parts.push(format!("{sign}{clock}{}", fraction.trim_end_matches('0').trim_end_matches('.')));
        }
        parts.join(" ")
    }
}

/// Cuts `1day`, `-3` and `02:00` apart where letters and digits meet.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for part in text.split([' ', '\t', '\n', ',']).filter(|part| !part.is_empty() && *part != "@") {
        let mut word = String::new();
        for character in part.chars() {
            let letter = character.is_ascii_alphabetic();
            if word.chars().last().is_some_and(|last| last.is_ascii_alphabetic() != letter) {
                words.push(std::mem::take(&mut word));
            }
            word.push(character.to_ascii_lowercase());
        }
        words.push(word);
    }
    words
}

fn read(text: &str) -> Option<Span> {
    let trimmed = text.trim();
    if let Some(designators) = trimmed.strip_prefix(['P', 'p']) {
        return read_iso(designators);
    }
    let mut span = Span::default();
    let words = words(trimmed);
    let mut words = words.iter().map(String::as_str).peekable();
    let (mut seen, mut ago) = (false, false);
    while let Some(word) = words.next() {
        if word == "ago" && seen && words.peek().is_none() {
            ago = true;
        } else if word.contains(':') {
            span.add_clock(word)?;
        } else if let Some(amount) = Amount::read(word) {
            match words.peek() {
                Some(unit) if unit.starts_with(|c: char| c.is_ascii_alphabetic()) && *unit != "ago" => {
                    span.add(amount, unit)?;
                    words.next();
                }
                // A number alone is seconds, and only at the end.
                None => span.add(amount, "s")?,
                Some(_) => return None,
            }
        } else {
            // Years and months: `1-2`.
            let (sign, plain) = word.strip_prefix('-').map_or((1, word), |rest| (-1, rest));
            let (years, months) = plain.split_once('-')?;
            let (years, months): (i32, i32) = (years.parse().ok()?, months.parse().ok()?);
            if !(0..12).contains(&months) {
                return None;
            }
            span.months = span.months.checked_add(sign * years.checked_mul(12)?.checked_add(months)?)?;
        }
        seen = true;
    }
    match (seen, ago) {
        (false, _) => None,
        (true, false) => Some(span),
        (true, true) => span.opposite(),
    }
}

/// What follows the `P` of `P1Y2M3DT4H5M6S`.
fn read_iso(designators: &str) -> Option<Span> {
    let mut span = Span::default();
    let (mut number, mut time, mut seen) = (String::new(), false, false);
    for character in designators.chars() {
        match character.to_ascii_uppercase() {
            'T' if number.is_empty() && !time => time = true,
            '0'..='9' | '.' | '-' | '+' => number.push(character),
            letter => {
                let unit = match (letter, time) {
                    ('Y', false) => "year",
                    ('M', false) => "month",
                    ('W', false) => "week",
                    ('D', false) => "day",
                    ('H', true) => "hour",
                    ('M', true) => "minute",
                    ('S', true) => "second",
                    _ => return None,
                };
                span.add(Amount::read(&std::mem::take(&mut number))?, unit)?;
                seen = true;
            }
        }
    }
    (seen && number.is_empty()).then_some(span)
}

/// Reads an interval.
///
/// # Errors
/// 22007 for a text that is none, or that does not fit.
pub(crate) fn interval(text: &str) -> Result<Span, QueryError> {
    read(text).ok_or_else(|| {
        let shown: String = text.chars().take(100).collect();
        QueryError::new(
            ErrorCode::InvalidDatetimeFormat,
            format!("invalid input syntax for type interval: \"{shown}\""),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected texts: PostgreSQL's `select interval '…'`.
    #[test]
    fn intervals_are_read_and_shown_as_postgresql_does() {
        for (text, shown) in [
            ("1 day 02:03:04", "1 day 02:03:04"),
            ("1 year 2 months", "1 year 2 mons"),
            ("-1 day", "-1 days"),
            ("-1 day 02:00", "-1 days +02:00:00"),
            ("100 hours", "100:00:00"),
            ("1.5 hours", "01:30:00"),
            ("1.5 days", "1 day 12:00:00"),
            ("1.5 months", "1 mon 15 days"),
            ("1.5 years", "1 year 6 mons"),
            ("1.3 years", "1 year 4 mons"),
            ("2 millennia", "2000 years"),
            ("1 dec 1 c", "110 years"),
            ("1 week", "7 days"),
            ("90 minutes", "01:30:00"),
            ("1day 2h", "1 day 02:00:00"),
            ("1 day ago", "-1 days"),
            ("5", "00:00:05"),
            ("0.25 s", "00:00:00.25"),
            ("1-2", "1 year 2 mons"),
            ("P1Y2M3DT4H5M6.5S", "1 year 2 mons 3 days 04:05:06.5"),
            ("-00:00:01", "-00:00:01"),
        ] {
            assert_eq!(interval(text).map(Span::text).as_deref(), Ok(shown), "{text}");
        }
        for text in ["", "x", "1 fortnight", "1 2 days", "day", "P", "1:2:3:4", "P1H"] {
            assert_eq!(interval(text).unwrap_err().code.sqlstate(), "22007", "{text}");
        }
    }
}
