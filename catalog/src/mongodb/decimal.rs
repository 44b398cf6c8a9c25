//! Decimal128 of BSON against scaled integers: exact both ways, or not at all.

use mongodb::bson::Decimal128;

/// Exponents are stored with this added.
const BIAS: i32 = 6_176;
/// Largest coefficient: 34 digits.
const MAX_COEFFICIENT: u128 = 10_u128.pow(34) - 1;

/// A finite value: sign, coefficient, exponent of ten; `None` for not-a-number and infinities.
fn parts(value: Decimal128) -> Option<(bool, u128, i32)> {
    let bits = u128::from_le_bytes(value.bytes());
    let negative = bits >> 127 == 1;
    if (bits >> 123) & 0b1111 == 0b1111 {
        return None;
    }
    // With these two bits set the coefficient is beyond 34 digits, which the standard reads as zero.
    if (bits >> 125) & 0b11 == 0b11 {
        return Some((negative, 0, 0));
    }
    let exponent = i32::try_from((bits >> 113) & 0x3FFF).ok()? - BIAS;
    let coefficient = bits & ((1 << 113) - 1);
    let coefficient = if coefficient > MAX_COEFFICIENT { 0 } else { coefficient };
    Some((negative, coefficient, exponent))
}

/// The value in units of 10^-scale; `None` if it is no number, has more decimals, or more digits than the precision.
pub(super) fn scaled(value: Decimal128, precision: u8, scale: i8) -> Option<i128> {
    let (negative, coefficient, exponent) = parts(value)?;
    if coefficient == 0 {
        return Some(0);
    }
    let mut digits = i128::try_from(coefficient).ok()?;
    let shift = exponent.checked_add(i32::from(scale))?;
    let power = 10_i128.checked_pow(shift.unsigned_abs());
    if shift >= 0 {
        digits = digits.checked_mul(power?)?;
    } else {
        let power = power?;
        if digits % power != 0 {
            return None;
        }
        digits /= power;
    }
    fits(if negative { -digits } else { digits }, precision)
}

/// An integer in units of 10^-scale, if it has the digits for it.
pub(super) fn scaled_integer(value: i64, precision: u8, scale: i8) -> Option<i128> {
    let power = 10_i128.checked_pow(u32::try_from(scale).ok()?)?;
    fits(i128::from(value).checked_mul(power)?, precision)
}

fn fits(value: i128, precision: u8) -> Option<i128> {
    let limit = 10_u128.checked_pow(u32::from(precision))?;
    (value.unsigned_abs() < limit).then_some(value)
}

/// The Decimal128 of a scaled integer; `None` if it takes more than 34 digits.
pub(super) fn from_scaled(value: i128, scale: i8) -> Option<Decimal128> {
    let mut coefficient = value.unsigned_abs();
    let mut exponent = -i32::from(scale);
    while coefficient > MAX_COEFFICIENT {
        if !coefficient.is_multiple_of(10) {
            return None;
        }
        coefficient /= 10;
        exponent += 1;
    }
    let exponent = u128::try_from(exponent.checked_add(BIAS)?).ok().filter(|exponent| *exponent < 12_288)?;
    let sign = if value < 0 { 1_u128 << 127 } else { 0 };
    Some(Decimal128::from_bytes((sign | (exponent << 113) | coefficient).to_le_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact_or_refused() {
        for (text, precision, scale, expected) in [
            ("1.50", 38, 10, Some(15_000_000_000)),
            ("-0", 38, 10, Some(0)),
            ("0E-6176", 38, 10, Some(0)),
            ("1E+3", 38, 10, Some(10_000_000_000_000)),
            ("0.0000000001", 38, 10, Some(1)),
            ("0.00000000001", 38, 10, None),
            ("0.10000000000000000", 38, 10, Some(1_000_000_000)),
            (
                "9999999999999999999999999999",
                38,
                10,
                Some(9_999_999_999_999_999_999_999_999_999 * 10_i128.pow(10)),
            ),
            ("10000000000000000000000000000", 38, 10, None),
            ("1E+6111", 38, 10, None),
            ("1E-6176", 38, 10, None),
            ("-99.99", 4, 2, Some(-9_999)),
            ("100", 4, 2, None),
            ("NaN", 38, 10, None),
            ("Infinity", 38, 10, None),
            ("-Infinity", 38, 10, None),
        ] {
            assert_eq!(scaled(text.parse().unwrap(), precision, scale), expected, "{text}");
        }
    }

    #[test]
    fn a_decimal_made_here_is_the_one_the_driver_reads() {
        for (value, scale, text) in [
            (150, 2, "1.50"),
            (-1, 10, "-1E-10"),
            (0, 0, "0"),
            (10_i128.pow(34), 0, "1.000000000000000000000000000000000E+34"),
        ] {
            assert_eq!(from_scaled(value, scale).unwrap().to_string(), text);
        }
        assert_eq!(from_scaled(10_i128.pow(37) + 1, 0), None);
        assert_eq!(scaled_integer(i64::MAX, 38, 10), Some(i128::from(i64::MAX) * 10_i128.pow(10)));
        assert_eq!(scaled_integer(1_000, 5, 2), None);
    }
}
