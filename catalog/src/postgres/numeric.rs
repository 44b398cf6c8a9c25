//! `numeric` on the wire and in Arrow: base-10000 digits to and from scaled integers, exactly or not at all.
//!
//! Layout (PostgreSQL 17, numeric.c, `numeric_send`): digit count, weight of the first digit, sign word, display
//! scale, then digits; all big-endian 16-bit words.

use datafusion::arrow::datatypes::i256;

use crate::declared::{DeclaredType, UNDECIDED};

const NEGATIVE: u16 = 0x4000;
const POSITIVE: u16 = 0x0000;

/// Why a value has no exact counterpart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Misfit {
    /// NaN or an infinity.
    NotANumber,
    /// More digits, before or behind the point, than the column has.
    TooManyDigits,
    /// The bytes are no numeric.
    Malformed,
}

/// A numeric's sign, exponent and digits; the value is ± digits × 10000^exponent, digits as one number.
struct Words<'a> {
    negative: bool,
    /// Power of 10000 of the last digit.
    exponent: i32,
    digits: &'a [u8],
}

fn words(bytes: &[u8]) -> Result<Words<'_>, Misfit> {
    let (head, digits) = bytes.split_at_checked(8).ok_or(Misfit::Malformed)?;
    let word = |at: usize| match (head.get(at), head.get(at + 1)) {
        (Some(high), Some(low)) => Ok([*high, *low]),
        _ => Err(Misfit::Malformed),
    };
    let count = u16::from_be_bytes(word(0)?);
    let weight = i16::from_be_bytes(word(2)?);
    let negative = match u16::from_be_bytes(word(4)?) {
        POSITIVE => false,
        NEGATIVE => true,
        _ => return Err(Misfit::NotANumber),
    };
    if digits.len() != usize::from(count) * 2 {
        return Err(Misfit::Malformed);
    }
    Ok(Words { negative, exponent: i32::from(weight) - i32::from(count) + 1, digits })
}

/// The value × 10^scale as an integer of at most `precision` digits.
pub(super) fn decode_128(bytes: &[u8], precision: u8, scale: i8) -> Result<i128, Misfit> {
    let Words { negative, exponent, digits } = words(bytes)?;
    // Nine digits and their alignment fit without overflow; more take the wide road.
    if digits.len() > 18 {
        let wide = decode_256(bytes, precision, scale)?;
        return wide.to_i128().ok_or(Misfit::TooManyDigits);
    }
    let mut value = 0_i128;
    for pair in digits.as_chunks::<2>().0 {
        value = value * 10_000 + i128::from(u16::from_be_bytes(*pair));
    }
    let power = exponent * 4 + i32::from(scale);
    let value = if value == 0 {
        0
    } else if power >= 0 {
        let factor = u32::try_from(power).ok().and_then(|power| 10_i128.checked_pow(power));
        factor.and_then(|factor| value.checked_mul(factor)).ok_or(Misfit::TooManyDigits)?
    } else {
        let divisor = 10_i128.checked_pow(power.unsigned_abs()).ok_or(Misfit::TooManyDigits)?;
        if value % divisor != 0 {
            return Err(Misfit::TooManyDigits);
        }
        value / divisor
    };
    let limit = 10_i128.checked_pow(u32::from(precision)).ok_or(Misfit::TooManyDigits)?;
    if value >= limit {
        return Err(Misfit::TooManyDigits);
    }
    Ok(if negative { -value } else { value })
}

/// As [`decode_128`], for up to 76 digits.
pub(super) fn decode_256(bytes: &[u8], precision: u8, scale: i8) -> Result<i256, Misfit> {
    let Words { negative, exponent, digits } = words(bytes)?;
    let ten_thousand = i256::from_i128(10_000);
    let mut value = i256::ZERO;
    for pair in digits.as_chunks::<2>().0 {
        value = value
            .checked_mul(ten_thousand)
            .and_then(|value| value.checked_add(i256::from_i128(i128::from(u16::from_be_bytes(*pair)))))
            .ok_or(Misfit::TooManyDigits)?;
    }
    let ten = i256::from_i128(10);
    let power = exponent * 4 + i32::from(scale);
    if value != i256::ZERO {
        let factor = ten.checked_pow(power.unsigned_abs()).ok_or(Misfit::TooManyDigits)?;
        value = if power >= 0 {
            value.checked_mul(factor).ok_or(Misfit::TooManyDigits)?
        } else if value.checked_rem(factor) == Some(i256::ZERO) {
            value.checked_div(factor).ok_or(Misfit::TooManyDigits)?
        } else {
            return Err(Misfit::TooManyDigits);
        };
    }
    let limit = ten.checked_pow(u32::from(precision)).ok_or(Misfit::TooManyDigits)?;
    if value >= limit {
        return Err(Misfit::TooManyDigits);
    }
    Ok(if negative { value.wrapping_neg() } else { value })
}

/// Digits that a value needs before and behind its point; `None` if it is no number.
fn needed(bytes: &[u8]) -> Option<(i32, i32)> {
    let Words { exponent, digits, .. } = words(bytes).ok()?;
    let digits: Vec<u16> = digits.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
    let count = i32::try_from(digits.len()).ok()?;
    let place = |at: usize| Some((exponent + count - 1 - i32::try_from(at).ok()?, *digits.get(at)?));
    let Some(first) = digits.iter().position(|digit| *digit != 0) else { return Some((0, 0)) };
    let (power, digit) = place(first)?;
    let before = if power < 0 { 0 } else { power * 4 + i32::try_from(digit.checked_ilog10()?).ok()? + 1 };
    let (power, digit) = place(digits.iter().rposition(|digit| *digit != 0)?)?;
    let zeros = [10, 100, 1_000].iter().map(|unit| i32::from(digit % unit == 0)).sum::<i32>();
    Some((before, if power < 0 { -4 * power - zeros } else { 0 }))
}

/// What to declare for a column of so many digits so that it takes a value, too: text if no decimal does. All its digits
/// are `kept`, or else as many as 38 allow.
pub(super) fn fitting(value: &[u8], precision: u8, scale: i8, kept: bool) -> DeclaredType {
    let Some((before, behind)) = needed(value) else { return DeclaredType::Text };
    let (scale, room) = (i32::from(scale), i32::from(precision) - i32::from(scale));
    let (digits, places) = if !kept && before + behind <= 38 {
        (38, behind.max(scale.min(38 - before)))
    } else if before.max(room) + behind.max(scale) <= 76 {
        (before.max(room) + behind.max(scale), behind.max(scale))
    } else {
        (76, behind.max(scale.min(76 - before)))
    };
    let places = match (u8::try_from(digits), u8::try_from(places)) {
        (Ok(digits), Ok(places)) if (digits, places) != UNDECIDED => i32::from(places),
        _ if before < 38 => places + 1,
        _ => places - 1,
    };
    match (u8::try_from(digits), i8::try_from(places)) {
        (Ok(digits), Ok(places)) if before + i32::from(places) <= 76 && behind <= i32::from(places) => {
            DeclaredType::Numeric(digits, places)
        }
        _ => DeclaredType::Text,
    }
}

/// Writes `value` / 10^scale. Scales of -38 to 76 are in range.
pub(super) fn encode(value: &str, scale: i8, out: &mut Vec<u8>) {
    let (negative, digits) = value.strip_prefix('-').map_or((false, value), |digits| (true, digits));
    let mut text = digits.as_bytes().to_vec();
    let fraction = usize::try_from(scale).unwrap_or_default();
    text.extend(std::iter::repeat_n(b'0', usize::from(scale.min(0).unsigned_abs())));
    // Align the decimal point on a boundary of four digits, on both sides.
    let behind = fraction.next_multiple_of(4);
    text.extend(std::iter::repeat_n(b'0', behind - fraction));
    let missing = text.len().next_multiple_of(4).max(behind) - text.len();
    let mut padded = vec![b'0'; missing];
    padded.extend(text);
    let words: Vec<u16> = padded
        .as_chunks::<4>()
        .0
        .iter()
        .map(|four| four.iter().fold(0_u16, |word, digit| word * 10 + u16::from(digit.saturating_sub(b'0'))))
        .collect();
    let before = words.len() - behind / 4;
    let first = words.iter().position(|word| *word != 0).unwrap_or(words.len());
    let last = words.iter().rposition(|word| *word != 0).map_or(first, |last| last + 1);
    let kept = words.get(first..last).unwrap_or_default();
    let in_words = |count: usize| i16::try_from(count).unwrap_or(i16::MAX);
    let weight = if kept.is_empty() { 0 } else { in_words(before) - 1 - in_words(first) };
    out.extend(in_words(kept.len()).to_be_bytes());
    out.extend(weight.to_be_bytes());
    out.extend((if negative && !kept.is_empty() { NEGATIVE } else { POSITIVE }).to_be_bytes());
    out.extend(in_words(fraction).to_be_bytes());
    for word in kept {
        out.extend(word.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(value: i128, scale: i8) -> Vec<u8> {
        let mut out = Vec::new();
        encode(&value.to_string(), scale, &mut out);
        out
    }

    #[test]
    fn encoding_and_decoding_are_inverse() {
        let values = [0, 1, -1, 9, 10_000, 99_999_999, -123_456_789, 10_i128.pow(37), -(10_i128.pow(38) - 1)];
        for value in values {
            for scale in 0..=20_i8 {
                assert_eq!(decode_128(&wire(value, scale), 38, scale), Ok(value), "{value} {scale}");
                let wide = decode_256(&wire(value, scale), 76, scale).unwrap();
                assert_eq!(wide, i256::from_i128(value), "{value} {scale}");
            }
        }
    }

    #[test]
    fn a_wire_value_is_postgres_own() {
        // SELECT numeric_send(12345.678): 3 digits, weight 1, positive, scale 3, then 1, 2345, 6780.
        assert_eq!(wire(12_345_678, 3), [0, 3, 0, 1, 0, 0, 0, 3, 0, 1, 9, 41, 26, 124]);
        assert_eq!(wire(0, 3), [0, 0, 0, 0, 0, 0, 0, 3]);
    }

    #[test]
    fn a_type_is_named_that_takes_the_value() {
        let of = |value: &str, scale: i8, (precision, places): (u8, i8), kept: bool| {
            let mut out = Vec::new();
            encode(value, scale, &mut out);
            fitting(&out, precision, places, kept).to_string()
        };
        let bare = (38, 10);
        assert_eq!(of("12345678901", 11, bare, false), "numeric(38,11)");
        assert_eq!(
            of("12345678901234567890", 20, bare, false),
            "numeric(38,19)",
            "a last zero is not needed"
        );
        assert_eq!(of("12345678901234567891", 20, bare, false), "numeric(38,20)");
        assert_eq!(of("-100000000000000000000000000000", 0, bare, false), "numeric(38,8)");
        assert_eq!(of(&"9".repeat(38), 0, bare, false), "numeric(38,0)");
        assert_eq!(of(&"9".repeat(39), 0, bare, false), "numeric(49,10)");
        assert_eq!(of(&"9".repeat(70), 0, bare, false), "numeric(76,6)");
        assert_eq!(of(&"9".repeat(76), 76, bare, false), "numeric(76,76)");
        assert_eq!(of(&"9".repeat(77), 0, bare, false), "text");
        assert_eq!(of("1", 38, (60, 22), true), "numeric(76,39)", "(76,38) is no column's");
        assert_eq!(of(&"9".repeat(76), 38, bare, false), "text");
        assert_eq!(of("12345", 3, (6, 2), true), "numeric(7,3)", "what was declared stays possible");
        assert_eq!(of("1234567", 0, (6, 2), true), "numeric(9,2)");
        assert_eq!(fitting(&[0, 0, 0, 0, 0xC0, 0, 0, 0], 38, 10, false), DeclaredType::Text);
    }

    #[test]
    fn what_does_not_fit_is_never_rounded() {
        assert_eq!(decode_128(&wire(12_345_678, 3), 38, 2), Err(Misfit::TooManyDigits));
        assert_eq!(decode_128(&wire(12_345_678, 3), 7, 3), Err(Misfit::TooManyDigits));
        assert_eq!(decode_128(&wire(12_345_678, 3), 8, 3), Ok(12_345_678));
        assert_eq!(decode_128(&wire(12_000, 3), 2, 0), Ok(12));
        for sign in [0xC0, 0xD0, 0xF0] {
            assert_eq!(decode_128(&[0, 0, 0, 0, sign, 0, 0, 0], 38, 0), Err(Misfit::NotANumber));
        }
        assert_eq!(decode_128(&[0, 2, 0, 0, 0, 0, 0, 0, 0, 1], 38, 0), Err(Misfit::Malformed));
    }
}
