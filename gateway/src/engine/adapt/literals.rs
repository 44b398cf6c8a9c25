//! Quoted literals of bytes, numbers and arrays, read as PostgreSQL's input functions read them.

use datafusion::sql::sqlparser::ast::{Array, DataType, ExactNumberInfo, Expr, UnaryOperator, Value};

use super::forms::{cast, number, text};
use crate::error::{ErrorCode, QueryError};

/// Most digits of a decimal of the engine.
const DIGITS: usize = 38;

fn malformed(message: String) -> QueryError {
    QueryError::new(ErrorCode::InvalidTextRepresentation, message)
}

fn shown(written: &str) -> String {
    written.chars().take(100).collect()
}

/// The hexadecimal digits of a `bytea` text, in either of its formats (PostgreSQL 17, bytea.c, byteain).
pub(super) fn bytes(written: &str) -> Result<String, QueryError> {
    if let Some(digits) = written.strip_prefix("\\x") {
        let digits: String = digits.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        if let Some(wrong) = digits.chars().find(|c| !c.is_ascii_hexdigit()) {
            return Err(malformed(format!("invalid hexadecimal digit: \"{wrong}\"")));
        }
        if !digits.len().is_multiple_of(2) {
            return Err(malformed("invalid hexadecimal data: odd number of digits".to_owned()));
        }
        return Ok(digits);
    }
    let wrong = || malformed("invalid input syntax for type bytea".to_owned());
    let mut hex = String::new();
    let mut rest = written.bytes();
    while let Some(byte) = rest.next() {
        let byte = match byte {
            b'\\' => match rest.next().ok_or_else(wrong)? {
                b'\\' => b'\\',
                high @ b'0'..=b'3' => {
                    let (middle, low) = (rest.next().ok_or_else(wrong)?, rest.next().ok_or_else(wrong)?);
                    if !matches!((middle, low), (b'0'..=b'7', b'0'..=b'7')) {
                        return Err(wrong());
                    }
                    (high - b'0') * 64 + (middle - b'0') * 8 + (low - b'0')
                }
                _ => return Err(wrong()),
            },
            byte => byte,
        };
        hex.push_str(&format!("{byte:02x}"));
    }
    Ok(hex)
}

/// A `numeric` literal with the digits it is written with; `None` leaves the text to the cast, which refuses it.
pub(super) fn decimal(written: &str) -> Option<Expr> {
    let trimmed = written.trim();
    let (negative, unsigned) = match trimmed.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, trimmed.strip_prefix('+').unwrap_or(trimmed)),
    };
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let exponent: i32 =
        exponent.strip_prefix('+').unwrap_or(exponent).parse().ok().filter(|e| (-99..99).contains(e))?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let scale = i32::try_from(fraction.len()).ok()? - exponent;
    let (digits, scale) = match usize::try_from(scale) {
        Ok(scale) => (format!("{digits:0>width$}", width = scale + 1), scale),
        Err(_) => (format!("{digits}{}", "0".repeat(usize::try_from(-scale).ok()?)), 0),
    };
    let digits = format!("{:0>width$}", digits.trim_start_matches('0'), width = scale + 1);
    if digits.len() > DIGITS {
        return None;
    }
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let plain = if scale == 0 {
        cast(
            number(whole),
            DataType::Numeric(ExactNumberInfo::PrecisionAndScale(u64::try_from(whole.len()).ok()?, 0)),
        )
    } else {
        number(format!("{whole}.{fraction}"))
    };
    Some(if negative { Expr::UnaryOp { op: UnaryOperator::Minus, expr: Box::new(plain) } } else { plain })
}

/// A one-dimensional array text as an array of casts (PostgreSQL 17, arrayfuncs.c, array_in).
pub(super) fn array(written: &str, element: &DataType) -> Result<Expr, QueryError> {
    let wrong = || malformed(format!("malformed array literal: \"{}\"", shown(written)));
    let inner = written.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).ok_or_else(wrong)?;
    let mut elem = Vec::new();
    let mut rest = inner.trim_start().chars().peekable();
    while rest.peek().is_some() {
        let (mut item, mut was_quoted) = (String::new(), false);
        loop {
            match rest.next() {
                None | Some(',') => break,
                Some('{') => return Err(QueryError::unsupported("a literal of an array of arrays")),
                Some('}') => return Err(wrong()),
                Some('\\') => item.push(rest.next().ok_or_else(wrong)?),
                Some('"') => {
                    was_quoted = true;
                    loop {
                        match rest.next().ok_or_else(wrong)? {
                            '"' => break,
                            '\\' => item.push(rest.next().ok_or_else(wrong)?),
                            other => item.push(other),
                        }
                    }
                }
                Some(other) => item.push(other),
            }
        }
        let bare = item.trim();
        elem.push(if was_quoted {
            cast(text(item), element.clone())
        } else if bare.eq_ignore_ascii_case("null") {
            Expr::Value(Value::Null.into())
        } else if bare.is_empty() {
            return Err(wrong());
        } else {
            cast(text(bare), element.clone())
        });
    }
    if inner.trim_end().ends_with(',') {
        return Err(wrong());
    }
    Ok(Expr::Array(Array { elem, named: true }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_in_both_formats() {
        assert_eq!(bytes("\\x00Ff").as_deref(), Ok("00Ff"));
        assert_eq!(bytes("a\\\\b\\001").as_deref(), Ok("615c6201"));
        for wrong in ["\\x0", "\\xzz", "\\9", "\\4", "\\00"] {
            assert_eq!(bytes(wrong).unwrap_err().code.sqlstate(), "22P02", "{wrong}");
        }
    }

    #[test]
    fn numbers_keep_the_digits_they_are_written_with() {
        let shown = |written: &str| decimal(written).map(|expr| expr.to_string());
        for (written, expected) in [
            ("1.50", "1.50"),
            ("-0.5", "-0.5"),
            (".5", "0.5"),
            ("1e3", "CAST(1000 AS NUMERIC(4,0))"),
            ("1.25e1", "12.5"),
            ("1e-3", "0.001"),
            ("007", "CAST(7 AS NUMERIC(1,0))"),
            ("0", "CAST(0 AS NUMERIC(1,0))"),
        ] {
            assert_eq!(shown(written).as_deref(), Some(expected), "{written}");
        }
        for none in ["", "abc", "1.2.3", "NaN", "1e999", "--1"] {
            assert_eq!(shown(none), None, "{none}");
        }
    }

    #[test]
    fn arrays_are_read_with_their_quotes() {
        let shown = |written: &str| array(written, &DataType::Text).map(|expr| expr.to_string());
        assert_eq!(
            shown("{a,\"b c\",NULL,\"NULL\"}").as_deref(),
            Ok("ARRAY[CAST('a' AS TEXT), CAST('b c' AS TEXT), NULL, CAST('NULL' AS TEXT)]")
        );
        assert_eq!(shown("{}").as_deref(), Ok("ARRAY[]"));
        for wrong in ["{a", "a}", "{a,}", "{,a}", "{a}}"] {
            assert_eq!(shown(wrong).unwrap_err().code.sqlstate(), "22P02", "{wrong}");
        }
        assert_eq!(shown("{{1}}").unwrap_err().code.sqlstate(), "0A000");
    }
}
