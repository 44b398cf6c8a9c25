//! Texts of bytes, UUIDs, times of day and arrays, read as PostgreSQL's input functions read them.
//!
//! One reader for literals, casts and parameters. It must never guess: what it cannot read has PostgreSQL's message and
//! SQLSTATE, or is refused by name where PostgreSQL reads more forms than we do.

use crate::error::{ErrorCode, QueryError};

/// Microseconds of a day: `24:00:00`, the last time of day there is.
const DAY: i64 = 86_400_000_000;

/// The part of a bad text that an error repeats.
fn shown(text: &str) -> String {
    text.chars().take(100).collect()
}

fn unreadable(type_name: &str, text: &str) -> QueryError {
    let message = format!("invalid input syntax for type {type_name}: \"{}\"", shown(text));
    QueryError::new(ErrorCode::InvalidTextRepresentation, message)
}

/// A `bytea` in its hexadecimal or its escape format (PostgreSQL 17, bytea.c, byteain).
///
/// # Errors
/// 22023 for a bad digit or an odd number of them, 22P02 for a bad escape.
pub(crate) fn bytea(text: &str) -> Result<Vec<u8>, QueryError> {
    if let Some(digits) = text.strip_prefix("\\x") {
        return hexadecimal(digits);
    }
    let wrong = || {
        let message = "invalid input syntax for type bytea";
        QueryError::new(ErrorCode::InvalidTextRepresentation, message)
            .with_hint("write bytes as '\\x00ff'; a backslash outside that form is written twice")
    };
    let octal = |byte: u8, most: u8| (b'0'..=most).contains(&byte).then(|| byte - b'0').ok_or_else(wrong);
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let mut next = || rest.next().ok_or_else(wrong);
        bytes.push(match next()? {
            b'\\' => b'\\',
            high => octal(high, b'3')? * 64 + octal(next()?, b'7')? * 8 + octal(next()?, b'7')?,
        });
    }
    Ok(bytes)
}

/// Pairs of hexadecimal digits, with white space between pairs.
fn hexadecimal(digits: &str) -> Result<Vec<u8>, QueryError> {
    let wrong = |message: String| QueryError::new(ErrorCode::InvalidParameterValue, message);
    let digit = |character: char| {
        let value = character.to_digit(16).and_then(|value| u8::try_from(value).ok());
        value.ok_or_else(|| wrong(format!("invalid hexadecimal digit: \"{character}\"")))
    };
    let mut bytes = Vec::with_capacity(digits.len() / 2);
    let mut rest = digits.chars();
    while let Some(first) = rest.next() {
        if matches!(first, ' ' | '\n' | '\t' | '\r') {
            continue;
        }
        let high = digit(first)?;
        let second =
            rest.next().ok_or_else(|| wrong("invalid hexadecimal data: odd number of digits".to_owned()))?;
        bytes.push(high * 16 + digit(second)?);
    }
    Ok(bytes)
}

/// A `uuid`: 32 hexadecimal digits of either case, a hyphen allowed behind each four, braces around all of it
/// (PostgreSQL 17, uuid.c, string_to_uuid). White space is none of it.
///
/// # Errors
/// 22P02.
pub(crate) fn uuid(text: &str) -> Result<[u8; 16], QueryError> {
    read_uuid(text).ok_or_else(|| unreadable("uuid", text))
}

fn read_uuid(text: &str) -> Option<[u8; 16]> {
    let inner = match text.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}')?,
        None => text,
    };
    let mut rest = inner.chars().peekable();
    let mut value = [0_u8; 16];
    for (index, byte) in value.iter_mut().enumerate() {
        let mut digit = || u8::try_from(rest.next()?.to_digit(16)?).ok();
        *byte = digit()? * 16 + digit()?;
        if index % 2 == 1 && index < 15 {
            rest.next_if_eq(&'-');
        }
    }
    rest.next().is_none().then_some(value)
}

/// A `time` without time zone, in microseconds since midnight; 24:00 is one, and a zone behind it is ignored
/// (PostgreSQL 17, datetime.c, DecodeTimeOnly).
///
/// # Errors
/// 22007 for what is no time of a form read here, 22008 for a time beyond the day.
pub(crate) fn time(text: &str) -> Result<i64, QueryError> {
    let Some(read) = clock(text.trim()) else {
        let message = format!("invalid input syntax for type time: \"{}\"", shown(text));
        return Err(
            QueryError::new(ErrorCode::InvalidDatetimeFormat, message).with_hint("write times as 10:11:12.5")
        );
    };
    read.ok_or_else(|| {
        let message = format!("date/time field value out of range: \"{}\"", shown(text));
        QueryError::new(ErrorCode::DatetimeOverflow, message)
    })
}

/// Outer `None`: no time; inner `None`: a time no day has.
fn clock(text: &str) -> Option<Option<i64>> {
    if text.eq_ignore_ascii_case("allballs") {
        return Some(Some(0));
    }
    let text = text.strip_prefix(['T', 't']).unwrap_or(text);
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == ':' || c == '.')).unwrap_or(text.len());
    let (digits, behind) = text.split_at_checked(end)?;
    let afternoon = match behind.trim_start().to_ascii_lowercase().as_str() {
        "am" => Some(false),
        "pm" => Some(true),
        zone if is_zone(zone) => None,
        _ => return None,
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let (hour, minute, second) = match whole.split(':').collect::<Vec<_>>().as_slice() {
        [hour, minute] if fraction.is_empty() => (number(hour)?, number(minute)?, 0),
        [hour, minute, second] => (number(hour)?, number(minute)?, number(second)?),
        [all] if matches!(all.len(), 4 | 6) => {
            let part = |from: usize| number(all.get(from..from + 2)?);
            (part(0)?, part(2)?, if all.len() == 6 { part(4)? } else { 0 })
        }
        _ => return None,
    };
    let micros = fraction_micros(fraction)?;
    let hour = match afternoon {
        Some(_) if hour > 12 => return Some(None),
        Some(false) if hour == 12 => 0,
        Some(true) if hour != 12 => hour + 12,
        _ => hour,
    };
    if hour > 24 || minute > 59 || second > 60 {
        return Some(None);
    }
    let total = ((hour * 60 + minute) * 60 + second) * 1_000_000 + micros;
    Some((total <= DAY).then_some(total))
}

fn number(digits: &str) -> Option<i64> {
    let plain = !digits.is_empty() && digits.len() <= 9 && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// Microseconds of a fraction's digits, the seventh digit rounding.
fn fraction_micros(digits: &str) -> Option<i64> {
    if digits.is_empty() {
        return Some(0);
    }
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let value: f64 = plain.then(|| format!("0.{digits}").parse().ok()).flatten()?;
    format!("{:.0}", (value * 1e6).round_ties_even()).parse().ok()
}

/// Whether nothing is written behind a time, or a zone that says nothing of its own: `Z`, `+02`, `-05:30`.
fn is_zone(text: &str) -> bool {
    if matches!(text, "" | "z" | "utc" | "gmt") {
        return true;
    }
    let Some(digits) = text.strip_prefix(['+', '-']) else { return false };
    let (hours, minutes) = digits.split_once(':').unwrap_or((digits, "0"));
    let small = |part: &str, most: i64| number(part).is_some_and(|value| value <= most);
    hours.len() <= 2 && minutes.len() <= 2 && small(hours, 15) && small(minutes, 59)
}

/// The elements of a one-dimensional array's text, none for NULL (PostgreSQL 17, arrayfuncs.c, array_in).
///
/// # Errors
/// 22P02; 0A000 for more dimensions and for explicit bounds.
pub(crate) fn array_items(text: &str) -> Result<Vec<Option<String>>, QueryError> {
    let wrong = || {
        let message = format!("malformed array literal: \"{}\"", shown(text));
        QueryError::new(ErrorCode::InvalidTextRepresentation, message)
    };
    let trimmed = text.trim();
    if trimmed.starts_with('[') {
        return Err(QueryError::unsupported("a literal of an array with explicit bounds")
            .with_hint("write the elements alone, as in '{1,2}'"));
    }
    let inner = trimmed.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).ok_or_else(wrong)?;
    let mut items = Vec::new();
    let mut rest = inner.trim_start().chars().peekable();
    if rest.peek().is_none() {
        return Ok(items);
    }
    loop {
        while rest.next_if(|c| c.is_ascii_whitespace()).is_some() {}
        let mut item = String::new();
        if rest.next_if_eq(&'"').is_some() {
            loop {
                match rest.next().ok_or_else(wrong)? {
                    '"' => break,
                    '\\' => item.push(rest.next().ok_or_else(wrong)?),
                    other => item.push(other),
                }
            }
            while rest.next_if(|c| c.is_ascii_whitespace()).is_some() {}
            items.push(Some(item));
        } else {
            let mut escaped = false;
            while let Some(next) = rest.next_if(|c| *c != ',') {
                match next {
                    '{' => {
                        return Err(QueryError::unsupported("a literal of an array of arrays")
                            .with_hint("write ARRAY[ARRAY[1, 2], ARRAY[3, 4]]"));
                    }
                    '"' | '}' => return Err(wrong()),
                    '\\' => {
                        escaped = true;
                        item.push(rest.next().ok_or_else(wrong)?);
                    }
                    other => item.push(other),
                }
            }
            item.truncate(item.trim_end().len());
            if item.is_empty() {
                return Err(wrong());
            }
            items.push((escaped || !item.eq_ignore_ascii_case("null")).then_some(item));
        }
        match rest.next() {
            None => return Ok(items),
            Some(',') => {}
            Some(_) => return Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state<T: std::fmt::Debug>(read: Result<T, QueryError>) -> String {
        let error = read.unwrap_err();
        format!("{} {}", error.code.sqlstate(), error.message)
    }

    #[test]
    fn bytes_are_read_in_both_formats() {
        for (text, expected) in [
            ("\\x00Ff", &[0, 255][..]),
            ("\\x 00 ff", &[0, 255]),
            ("\\x", &[]),
            ("", &[]),
            ("a\\\\b\\001", b"a\\b\x01"),
            ("\\377é", &[255, 0xc3, 0xa9]),
        ] {
            assert_eq!(bytea(text).as_deref(), Ok(expected), "{text}");
        }
        for (text, expected) in [
            ("\\x0", "22023 invalid hexadecimal data: odd number of digits"),
            ("\\xzz", "22023 invalid hexadecimal digit: \"z\""),
            ("\\x0é", "22023 invalid hexadecimal digit: \"é\""),
            ("\\9", "22P02 invalid input syntax for type bytea"),
            ("\\400", "22P02 invalid input syntax for type bytea"),
            ("\\00", "22P02 invalid input syntax for type bytea"),
            ("a\\", "22P02 invalid input syntax for type bytea"),
        ] {
            assert_eq!(state(bytea(text)), expected, "{text}");
        }
    }

    #[test]
    fn uuids_are_read_in_every_form() {
        let expected = uuid::Uuid::parse_str("550e8400-e29b-41d4-a716-446655440000").unwrap().into_bytes();
        for text in [
            "550e8400-e29b-41d4-a716-446655440000",
            "550E8400-E29B-41D4-A716-446655440000",
            "550e8400e29b41d4a716446655440000",
            "{550e8400-e29b-41d4-a716-446655440000}",
            "550e-8400-e29b-41d4-a716-4466-5544-0000",
            "550e8400e29b-41d4a716446655440000",
        ] {
            assert_eq!(super::uuid(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "x",
            " 550e8400-e29b-41d4-a716-446655440000",
            "550e8400-e29b-41d4-a716-446655440000 ",
            "{550e8400-e29b-41d4-a716-446655440000",
            "550e84-00e29b41d4a716446655440000",
            "550e8400-e29b-41d4-a716-446655440000-",
            "550e8400-e29b-41d4-a716-44665544000g",
            "urn:uuid:550e8400-e29b-41d4-a716-446655440000",
        ] {
            assert_eq!(
                state(super::uuid(text)),
                format!("22P02 invalid input syntax for type uuid: \"{text}\"")
            );
        }
    }

    #[test]
    fn times_of_day_end_with_24_o_clock() {
        let micros = |hour: i64, minute: i64, second: i64| ((hour * 60 + minute) * 60 + second) * 1_000_000;
        for (text, expected) in [
            ("24:00", micros(24, 0, 0)),
            ("24:00:00.0", micros(24, 0, 0)),
            ("23:59:60", micros(24, 0, 0)),
            ("23:59:59.9999999", micros(24, 0, 0)),
            ("10:5", micros(10, 5, 0)),
            (" T10:11:12.5 ", micros(10, 11, 12) + 500_000),
            ("10:11:12.1234567", micros(10, 11, 12) + 123_457),
            ("101112", micros(10, 11, 12)),
            ("1011", micros(10, 11, 0)),
            ("10:11 PM", micros(22, 11, 0)),
            ("12:00 am", 0),
            ("12:00pm", micros(12, 0, 0)),
            ("10:11:12+02", micros(10, 11, 12)),
            ("10:11-05:30", micros(10, 11, 0)),
            ("10:11Z", micros(10, 11, 0)),
            ("allballs", 0),
        ] {
            assert_eq!(time(text), Ok(expected), "{text}");
        }
        for (text, expected) in [
            ("24:01", "22008"),
            ("25:00", "22008"),
            ("24:00:00.000001", "22008"),
            ("23:59:60.5", "22008"),
            ("10:60", "22008"),
            ("10:11:61", "22008"),
            ("13:00 PM", "22008"),
            ("", "22007"),
            ("10", "22007"),
            ("abc", "22007"),
            ("-1:00", "22007"),
            ("10:11 XX", "22007"),
            ("10:11:12:13", "22007"),
        ] {
            assert!(state(time(text)).starts_with(expected), "{text}");
        }
    }

    #[test]
    fn arrays_are_read_with_their_quotes() {
        let some = |items: &[&str]| items.iter().map(|item| Some((*item).to_owned())).collect::<Vec<_>>();
        assert_eq!(array_items("{1,2}"), Ok(some(&["1", "2"])));
        assert_eq!(array_items(" { a , \"b c\" ,\"\\\"\\\\\",\\,} "), Ok(some(&["a", "b c", "\"\\", ","])));
        assert_eq!(array_items("{NULL,\"NULL\"}"), Ok(vec![None, Some("NULL".to_owned())]));
        assert_eq!(array_items("{}"), Ok(vec![]));
        assert_eq!(array_items("{ }"), Ok(vec![]));
        for text in ["1,2", "{a", "a}", "{a,}", "{,a}", "{a}}", "{a\"b\"}", "{\"a\"b}", ""] {
            assert_eq!(state(array_items(text)), format!("22P02 malformed array literal: \"{text}\""));
        }
        for text in ["{{1}}", "[0:0]={1}"] {
            assert!(state(array_items(text)).starts_with("0A000"), "{text}");
        }
    }
}
