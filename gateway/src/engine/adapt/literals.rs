//! Quoted literals of bytes, numbers and arrays, read as PostgreSQL's input functions read them.

use datafusion::sql::sqlparser::ast::{Array, DataType, ExactNumberInfo, Expr, UnaryOperator, Value};

use super::forms::{cast, number, quoted, text};
use crate::error::QueryError;
use crate::pgtypes::input;

/// Most digits of a decimal of the engine.
const DIGITS: usize = 38;

/// The hexadecimal digits of a `bytea` text, in either of its formats.
pub(super) fn bytes(written: &str) -> Result<String, QueryError> {
    Ok(input::bytea(written)?.iter().map(|byte| format!("{byte:02x}")).collect())
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

/// Most digits of a number that the planner reads.
const PLANNED: usize = 76;

/// A number of more digits than the planner reads, kept as text until it is known what stands beside it
/// (`functions::beyond`).
pub(super) fn beyond(value: &Value) -> Option<Expr> {
    let Value::Number(written, _) = value else { return None };
    let written: String = written.chars().filter(|c| *c != '_').collect();
    let (mantissa, exponent) = written.split_once(['e', 'E']).unwrap_or((written.as_str(), "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}").trim_start_matches('0').len();
    // An exponent that is no number of its own has too many digits itself.
    let exponent: i64 = exponent.strip_prefix('+').unwrap_or(exponent).parse().unwrap_or(i64::from(i32::MAX));
    let scale = i64::try_from(fraction.len()).ok()?.saturating_sub(exponent);
    let behind = usize::try_from(scale).unwrap_or_default();
    (scale < i64::from(i8::MIN) || digits.max(behind) > PLANNED).then(|| keep(written))
}

/// The form in which a number is kept as text.
pub(super) fn keep(digits: String) -> Expr {
    cast(text(digits), DataType::Numeric(ExactNumberInfo::None))
}

/// The digits of a number that is kept as text.
pub(super) fn kept(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Nested(inner) => kept(inner),
        Expr::Cast { expr, data_type: DataType::Numeric(ExactNumberInfo::None), .. } => {
            let digits = quoted(expr)?;
            digits.ends_with(|c: char| c.is_ascii_digit() || c == '.').then(|| digits.trim().to_owned())
        }
        _ => None,
    }
}

/// A one-dimensional array text as an array of casts.
pub(super) fn array(written: &str, element: &DataType) -> Result<Expr, QueryError> {
    let item = |item: Option<String>| match item {
        Some(item) => cast(text(item), element.clone()),
        None => Expr::Value(Value::Null.into()),
    };
    let elem = input::array_items(written)?.into_iter().map(item).collect();
    Ok(Expr::Array(Array { elem, named: true }))
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn numbers_that_the_planner_cannot_read_are_kept_as_text() {
        let beyond = |written: &str| beyond(&Value::Number(written.to_owned(), false));
        let long = "1".repeat(77);
        for written in ["1e307", "1E+400", "1e-400", "1.5e-77", long.as_str(), "1e99999999999999999999"] {
            let kept_form = beyond(written);
            assert_eq!(kept_form.as_ref().and_then(kept).as_deref(), Some(written), "{written}");
        }
        for read in ["1", "1e38", "1e100", "1e-50", "0.5", "12345678901234567890123456789012345678901234"] {
            assert_eq!(beyond(read), None, "{read}");
        }
        assert_eq!(kept(&number("1")), None);
    }

    #[test]
    fn arrays_are_casts_of_their_elements() {
        let shown = |written: &str| array(written, &DataType::Text).map(|expr| expr.to_string());
        assert_eq!(
            shown("{a,\"b c\",NULL,\"NULL\"}").as_deref(),
            Ok("ARRAY[CAST('a' AS TEXT), CAST('b c' AS TEXT), NULL, CAST('NULL' AS TEXT)]")
        );
        assert_eq!(shown("{}").as_deref(), Ok("ARRAY[]"));
        assert_eq!(bytes("a\\001").as_deref(), Ok("6101"));
    }
}
