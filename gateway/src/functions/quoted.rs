//! Quoted literals: text of the client's whose type the other side of an operator tells.
//!
//! Read once, as PostgreSQL reads the type's text, with its SQLSTATE when it cannot be read. It must never cast what
//! came from a column: that is no literal, and its text has a type.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, IntervalUnit};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Expr;

use super::literal;
use super::operators::{Kind, kind, scale_of};
use crate::error::{ErrorCode, QueryError};
use crate::pgtypes::PgType;

/// A quoted literal, whose type is still unknown.
pub(super) fn unknown(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) => Some(text),
        _ => None,
    }
}

/// A quoted literal as a value of a type, read as PostgreSQL reads it.
pub(super) fn read_literal(
    text: &str,
    wanted: &DataType,
    zone: chrono_tz::Tz,
) -> Result<Option<ScalarValue>> {
    if let Some(value) = super::opaque::read(text, wanted, zone)? {
        return Ok(Some(value));
    }
    let trimmed = text.trim();
    let source = ScalarValue::Utf8(Some(trimmed.to_owned()));
    let (target, state) = match kind(wanted) {
        Kind::Integer | Kind::Float => (wanted.clone(), ErrorCode::InvalidTextRepresentation),
        // Never fewer digits than the type has, so that it is rounded once and by the cast.
        Kind::Numeric => {
            (DataType::Decimal128(38, scale_of(wanted).max(10)), ErrorCode::InvalidTextRepresentation)
        }
        Kind::Interval if matches!(wanted, DataType::Interval(IntervalUnit::MonthDayNano)) => {
            return Ok(Some(span_value(text, wanted)?));
        }
        Kind::Date => {
            if let Some(end) = literal::infinite(text) {
                return Ok(Some(ScalarValue::Date32(Some(if end { i32::MAX } else { i32::MIN }))));
            }
            return Ok(Some(ScalarValue::Date32(Some(literal::date(text)?))));
        }
        Kind::Stamp => {
            let infinite = literal::infinite(text).map(|end| if end { i64::MAX } else { i64::MIN });
            let read = |finite: &dyn Fn() -> Result<i64, QueryError>| infinite.map_or_else(finite, Ok);
            return Ok(Some(match wanted {
                DataType::Timestamp(_, Some(named)) => ScalarValue::TimestampMicrosecond(
                    Some(read(&|| literal::timestamptz(text, zone))?),
                    Some(Arc::clone(named)),
                ),
                _ => ScalarValue::TimestampMicrosecond(Some(read(&|| literal::timestamp(text))?), None),
            }));
        }
        Kind::Bool => {
            let value = match trimmed.to_ascii_lowercase().as_str() {
                "t" | "true" | "y" | "yes" | "on" | "1" => true,
                "f" | "false" | "n" | "no" | "off" | "0" => false,
                _ => return Err(bad_text(text, wanted, ErrorCode::InvalidTextRepresentation).into()),
            };
            return Ok(Some(ScalarValue::Boolean(Some(value))));
        }
        _ => return Ok(None),
    };
    if kind(wanted) == Kind::Integer
        && let Ok(number) = trimmed.parse::<i128>()
        && source.cast_to(&target).map_or(true, |value| value.is_null())
    {
        let name = PgType::from_arrow(wanted).without_typmod().format();
        let message = format!("value \"{number}\" is out of range for type {name}");
        return Err(QueryError::new(ErrorCode::NumericOutOfRange, message).into());
    }
    match source.cast_to(&target) {
        Ok(value) if !value.is_null() => match leaves_range(trimmed, &value) {
            true => {
                let name = PgType::from_arrow(wanted).without_typmod().format();
                let shown: String = trimmed.chars().take(100).collect();
                let message = format!("\"{shown}\" is out of range for type {name}");
                Err(QueryError::new(ErrorCode::NumericOutOfRange, message).into())
            }
            false => Ok(Some(value)),
        },
        _ => Err(bad_text(text, wanted, state).into()),
    }
}

/// Whether digits became infinity, or zero though one of them is none.
fn leaves_range(text: &str, value: &ScalarValue) -> bool {
    let value = match value {
        ScalarValue::Float32(Some(value)) => f64::from(*value),
        ScalarValue::Float64(Some(value)) => *value,
        _ => return false,
    };
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let digits = mantissa.contains(|c: char| c.is_ascii_digit());
    value.is_infinite() && digits || value == 0.0 && mantissa.contains(|c: char| ('1'..='9').contains(&c))
}

/// An interval's text as a value.
fn span_value(text: &str, wanted: &DataType) -> Result<ScalarValue> {
    let span = super::span::interval(text)?;
    let nanos = span.micros.checked_mul(1000);
    let nanos = nanos.ok_or_else(|| bad_text(text, wanted, ErrorCode::DatetimeOverflow))?;
    Ok(ScalarValue::new_interval_mdn(span.months, span.days, nanos))
}

/// The literal is the client's own text, so the message may repeat it.
fn bad_text(text: &str, wanted: &DataType, code: ErrorCode) -> QueryError {
    let shown: String = text.chars().take(100).collect();
    let name = PgType::from_arrow(wanted).without_typmod().format();
    QueryError::new(code, format!("invalid input syntax for type {name}: \"{shown}\""))
}

/// Replaces a quoted literal by a value of the type, if the type says how it is read.
pub(super) fn typed(expr: Expr, wanted: &DataType, zone: chrono_tz::Tz) -> Result<Expr> {
    if let Some(text) = unknown(&expr)
        && kind(wanted) != Kind::Text
        && let Some(value) = read_literal(text, wanted, zone)?
    {
        return Ok(Expr::Literal(value, None));
    }
    Ok(expr)
}
