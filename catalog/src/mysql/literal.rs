//! The only place where names become MySQL text, and where constants become bound values.
//!
//! A name stands between backticks, in which only a backtick has a meaning, whatever `sql_mode` says. A constant is
//! never written into text: it is a placeholder, and its value travels in the binary protocol with its type.

use chrono::{Datelike as _, Timelike as _};
use mysql_async::Value;

/// Instants a TIMESTAMP column can hold, in microseconds: 1970-01-01 00:00:01 to 2038-01-19 03:14:07.
const TIMESTAMPS: std::ops::RangeInclusive<i64> = 1_000_000..=2_147_483_647_000_000;

/// Quotes a name, doubling backticks. A NUL, which no MySQL name can contain, is dropped.
#[must_use]
pub(super) fn quote_identifier(name: &str) -> String {
    let mut quoted = String::with_capacity(name.len() + 2);
    quoted.push('`');
    for character in name.chars() {
        match character {
            '`' => quoted.push_str("``"),
            '\0' => {}
            other => quoted.push(other),
        }
    }
    quoted.push('`');
    quoted
}

/// A date of the years 1 to 9999.
pub(super) fn date_value(days: i32) -> Option<Value> {
    let epoch = chrono::NaiveDate::from_ymd_opt(1970, 1, 1)?;
    let date = epoch.checked_add_signed(chrono::TimeDelta::days(i64::from(days)))?;
    Some(Value::Date(
        year(date)?,
        u8::try_from(date.month()).ok()?,
        u8::try_from(date.day()).ok()?,
        0,
        0,
        0,
        0,
    ))
}

/// A wall clock time of the years 1 to 9999.
pub(super) fn timestamp_value(micros: i64) -> Option<Value> {
    let time = chrono::DateTime::from_timestamp_micros(micros)?.naive_utc();
    Some(Value::Date(
        year(time.date())?,
        u8::try_from(time.month()).ok()?,
        u8::try_from(time.day()).ok()?,
        u8::try_from(time.hour()).ok()?,
        u8::try_from(time.minute()).ok()?,
        u8::try_from(time.second()).ok()?,
        time.nanosecond() / 1_000,
    ))
}

/// An instant that a TIMESTAMP column can hold; sessions run in UTC.
pub(super) fn instant_value(micros: i64) -> Option<Value> {
    if TIMESTAMPS.contains(&micros) { timestamp_value(micros) } else { None }
}

fn year(date: chrono::NaiveDate) -> Option<u16> {
    u16::try_from(date.year()).ok().filter(|year| (1..=9999).contains(year))
}

/// Bytes as hexadecimal digits, for `UNHEX(?)`.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Puts the decimal point into a scaled integer.
pub(super) fn point(digits: &str, scale: u8) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    let scale = usize::from(scale);
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backticks_are_doubled_and_nothing_else_changes() {
        assert_eq!(quote_identifier("a`b\"'\\;-- ?"), "`a``b\"'\\;-- ?`");
        assert_eq!(quote_identifier("a\0b"), "`ab`");
    }

    #[test]
    fn constants_are_the_same_value_or_none() {
        assert_eq!(date_value(0), Some(Value::Date(1970, 1, 1, 0, 0, 0, 0)));
        assert_eq!(date_value(2_932_896), Some(Value::Date(9999, 12, 31, 0, 0, 0, 0)));
        assert_eq!(date_value(2_932_897), None);
        assert_eq!(date_value(i32::MAX), None);
        assert_eq!(date_value(-719_163), None);
        assert_eq!(timestamp_value(-1), Some(Value::Date(1969, 12, 31, 23, 59, 59, 999_999)));
        assert_eq!(instant_value(-1), None);
        assert_eq!(instant_value(2_147_483_647_000_001), None);
        assert_eq!(
            (point("-5", 3), point("1200", 2), point("7", 0)),
            ("-0.005".into(), "12.00".into(), "7".into())
        );
        assert_eq!(hex(&[0, 255, 16]), "00ff10");
    }
}
