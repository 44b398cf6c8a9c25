//! Numeric literals as decimals with their own scale.

use arrow::datatypes::{DataType, i256};
use datafusion::scalar::ScalarValue;

use crate::pg::fault::Fault;

/// Digits an Arrow decimal can hold.
const MOST_DIGITS: usize = 76;

/// Reads `[-+]digits[.digits][e[-+]digits]`. `None` when it is not a number.
///
/// # Errors
/// 22003 for more than 76 digits, 0A000 for NaN and the infinities, which decimals here do not have.
pub(super) fn numeric(text: &str) -> Option<Result<ScalarValue, Fault>> {
    let text = text.trim();
    let lower = text.to_ascii_lowercase();
    if matches!(lower.trim_start_matches(['+', '-']), "nan" | "infinity" | "inf") {
        return Some(Err(Fault::unsupported(format_args!("numeric {lower}"))
            .with_hint("use double precision for values that are not numbers")));
    }
    let (mantissa, exponent) = match lower.split_once('e') {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (lower.as_str(), 0),
    };
    let (negative, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    Some(decimal(negative, whole, fraction, exponent))
}

fn decimal(negative: bool, whole: &str, fraction: &str, exponent: i64) -> Result<ScalarValue, Fault> {
    let overflow = || Fault::new("22003", "value overflows numeric format");
    let mut digits = format!("{whole}{fraction}");
    let mut scale = i64::try_from(fraction.len()).map_err(|_| overflow())?.saturating_sub(exponent);
    if scale < 0 {
        let zeros = usize::try_from(-scale).map_err(|_| overflow())?;
        if zeros > MOST_DIGITS {
            return Err(overflow());
        }
        digits.extend(std::iter::repeat_n('0', zeros));
        scale = 0;
    }
    let significant = digits.trim_start_matches('0').len().max(1);
    let scale_digits = usize::try_from(scale).map_err(|_| overflow())?;
    let precision = significant.max(scale_digits);
    if precision > MOST_DIGITS {
        return Err(overflow());
    }
    let sign = if negative { "-" } else { "" };
    let unscaled = format!("{sign}{digits}");
    let scale = i8::try_from(scale).map_err(|_| overflow())?;
    if precision <= 38 {
        let value = unscaled.parse::<i128>().map_err(|_| overflow())?;
        return Ok(ScalarValue::Decimal128(Some(value), u8::try_from(precision).unwrap_or(38), scale));
    }
    let value = i256::from_string(&unscaled).ok_or_else(overflow)?;
    Ok(ScalarValue::Decimal256(Some(value), u8::try_from(precision).unwrap_or(76), scale))
}

/// The decimal type that holds every element.
pub(super) fn common_decimal(elements: &[ScalarValue]) -> DataType {
    let (mut whole, mut scale) = (1_i16, 0_i16);
    for element in elements {
        if let DataType::Decimal128(p, s) | DataType::Decimal256(p, s) = element.data_type()
            && !element.is_null()
        {
            whole = whole.max(i16::from(p) - i16::from(s));
            scale = scale.max(i16::from(s));
        }
    }
    let precision = u8::try_from(whole + scale).unwrap_or(76);
    let scale = i8::try_from(scale).unwrap_or(0);
    if precision <= 38 {
        DataType::Decimal128(precision, scale)
    } else {
        DataType::Decimal256(precision.min(76), scale)
    }
}
