//! Integers, floats and numerics as PostgreSQL prints and packs them.
//!
//! Floats follow PostgreSQL 17, `float.c` and `ryu`: shortest digits that read back, scientific below 1e-4 and from
//! 1e6 (float4) or 1e15 (float8). Numerics are written from the unscaled integer, never through a float.

use std::io::Write;

use bytes::{BufMut, BytesMut};

/// Decimal digits of an integer.
pub(crate) fn integer(out: &mut BytesMut, value: i64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        if let Some(slot) = digits.get_mut(at) {
            *slot = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        }
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        out.put_u8(b'-');
    }
    out.put_slice(digits.get(at..).unwrap_or_default());
}

/// `float8` text; `extra_digits` is `extra_float_digits`.
pub(crate) fn float8(out: &mut BytesMut, value: f64, extra_digits: i32) {
    if special(out, value.is_nan(), value.is_infinite(), value.is_sign_negative()) {
        return;
    }
    if extra_digits > 0 {
        let precise = |digits: usize| format!("{value:.digits$e}");
        let mut text = format!("{value:e}");
        // Below 2^53 no midpoint between floats is short enough to be a shortest form.
        if value.abs() >= 9_007_199_254_740_992.0 {
            text = open_interval(text, precise, |text| text.parse() == Ok(value));
        }
        layout(out, &text, 15);
    } else {
        rounded(out, value, usize::try_from(15 + extra_digits).unwrap_or(1).max(1));
    }
}

/// `float4` text.
pub(crate) fn float4(out: &mut BytesMut, value: f32, extra_digits: i32) {
    if special(out, value.is_nan(), value.is_infinite(), value.is_sign_negative()) {
        return;
    }
    if extra_digits > 0 {
        let precise = |digits: usize| format!("{value:.digits$e}");
        let mut text = format!("{value:e}");
        // As above; for float4 the bound is 2^24.
        if value.abs() >= 16_777_216.0 {
            text = open_interval(text, precise, |text| text.parse() == Ok(value));
        }
        layout(out, &text, 6);
    } else {
        rounded(out, f64::from(value), usize::try_from(6 + extra_digits).unwrap_or(1).max(1));
    }
}

fn special(out: &mut BytesMut, nan: bool, infinite: bool, negative: bool) -> bool {
    let text: &[u8] = match (nan, infinite, negative) {
        (true, ..) => b"NaN",
        (_, true, true) => b"-Infinity",
        (_, true, false) => b"Infinity",
        _ => return false,
    };
    out.put_slice(text);
    true
}

/// PostgreSQL does not use a form that lies exactly between two floats, although it reads back by the rule for ties
/// (`d2s.c`: acceptBounds is false): such a form gets more digits until it is inside.
fn open_interval(
    shortest: String,
    precise: impl Fn(usize) -> String,
    reads_back: impl Fn(&str) -> bool,
) -> String {
    let mut candidate = shortest;
    for digits in 1..17 {
        if is_inside(&candidate, &reads_back) {
            break;
        }
        candidate = trimmed(&precise(digits));
    }
    candidate
}

/// Whether the form still reads back when it is nudged up and down.
fn is_inside(candidate: &str, reads_back: &impl Fn(&str) -> bool) -> bool {
    let Some((mantissa, exponent)) = candidate.split_once('e') else { return true };
    let pointed = if mantissa.contains('.') { mantissa.to_owned() } else { format!("{mantissa}.") };
    let above = format!("{pointed}{:0>30}e{exponent}", 1);
    let mut below = pointed.into_bytes();
    for byte in below.iter_mut().rev() {
        match byte {
            b'0' => *byte = b'9',
            b'1'..=b'9' => {
                *byte -= 1;
                break;
            }
            _ => {}
        }
    }
    let below = format!("{}{}e{exponent}", String::from_utf8_lossy(&below), "9".repeat(30));
    reads_back(candidate) && reads_back(&above) && reads_back(&below)
}

fn trimmed(scientific: &str) -> String {
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific.to_owned() };
    let mantissa =
        if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
    format!("{mantissa}e{exponent}")
}

/// C's `%.{digits}g`.
fn rounded(out: &mut BytesMut, value: f64, digits: usize) {
    let text = format!("{value:.*e}", digits - 1);
    layout(out, &trimmed(&text), i32::try_from(digits).unwrap_or(15));
}

/// Lays out `d.ddde±x` as PostgreSQL does; scientific when the exponent is below -4 or at least `limit`.
fn layout(out: &mut BytesMut, scientific: &str, limit: i32) {
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        return out.put_slice(scientific.as_bytes());
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    out.put_slice(sign.as_bytes());
    if exponent < -4 || exponent >= limit {
        let sign = if exponent < 0 { '-' } else { '+' };
        let _ = write!(out.writer(), "{mantissa}e{sign}{:02}", exponent.unsigned_abs());
        return;
    }
    let digits: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).collect();
    if exponent < 0 {
        out.put_slice(b"0.");
        out.put_bytes(b'0', usize::try_from(-exponent - 1).unwrap_or(0));
        out.put_slice(&digits);
        return;
    }
    let whole = usize::try_from(exponent).unwrap_or(0) + 1;
    if digits.len() <= whole {
        out.put_slice(&digits);
        out.put_bytes(b'0', whole - digits.len());
    } else {
        let (left, right) = digits.split_at(whole);
        out.put_slice(left);
        out.put_u8(b'.');
        out.put_slice(right);
    }
}

/// Writes the digits of an unscaled value into `buffer` and returns them.
pub(crate) fn digits_of(value: u128, buffer: &mut [u8; 40]) -> &[u8] {
    let mut at = buffer.len();
    let mut rest = value;
    // Most values fit 64 bits, where division is much cheaper.
    while rest > u128::from(u64::MAX) {
        at -= 1;
        if let Some(slot) = buffer.get_mut(at) {
            *slot = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        }
        rest /= 10;
    }
    let mut rest = u64::try_from(rest).unwrap_or(0);
    loop {
        at -= 1;
        if let Some(slot) = buffer.get_mut(at) {
            *slot = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        }
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    buffer.get(at..).unwrap_or_default()
}

/// `numeric` text from the digits of the unscaled value; the scale is kept (`1.50`), a negative one adds zeros.
pub(crate) fn numeric_text(out: &mut BytesMut, negative: bool, digits: &[u8], scale: i8) {
    if negative {
        out.put_u8(b'-');
    }
    if scale <= 0 {
        out.put_slice(digits);
        if digits != b"0" {
            out.put_bytes(b'0', usize::from(scale.unsigned_abs()));
        }
        return;
    }
    let scale = usize::from(scale.unsigned_abs());
    if digits.len() > scale {
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        out.put_slice(whole);
        out.put_u8(b'.');
        out.put_slice(fraction);
    } else {
        out.put_slice(b"0.");
        out.put_bytes(b'0', scale - digits.len());
        out.put_slice(digits);
    }
}

/// `numeric` in binary: groups of four digits, zero groups stripped at both ends, display scale kept.
pub(crate) fn numeric_binary(out: &mut BytesMut, negative: bool, digits: &[u8], scale: i8) {
    // `exponent` is the power of ten of the last digit; pad so that groups align on the decimal point.
    let trailing = if scale <= 0 { usize::from(scale.unsigned_abs()) } else { 0 };
    let fraction = usize::try_from(scale).unwrap_or(0);
    let pad_right = trailing + (4 - fraction % 4) % 4;
    let fraction_groups = fraction.div_ceil(4);
    let total = digits.len() + pad_right;
    let pad_left = (4 - total % 4) % 4;
    let padded = std::iter::repeat_n(0, pad_left)
        .chain(digits.iter().map(|digit| u16::from(digit - b'0')))
        .chain(std::iter::repeat_n(0, pad_right));
    let mut groups: Vec<u16> = Vec::with_capacity(total / 4 + 1);
    let mut group = 0;
    for (index, digit) in padded.enumerate() {
        group = group * 10 + digit;
        if index % 4 == 3 {
            groups.push(group);
            group = 0;
        }
    }
    let whole_groups = i64::try_from(groups.len()).unwrap_or(0) - i64::try_from(fraction_groups).unwrap_or(0);
    let leading = groups.iter().take_while(|group| **group == 0).count();
    let kept = groups.get(leading..).unwrap_or_default();
    let ending = kept.iter().rev().take_while(|group| **group == 0).count();
    let kept = kept.get(..kept.len() - ending).unwrap_or_default();
    let weight = if kept.is_empty() { 0 } else { whole_groups - 1 - i64::try_from(leading).unwrap_or(0) };
    out.put_i16(i16::try_from(kept.len()).unwrap_or(0));
    out.put_i16(i16::try_from(weight).unwrap_or(0));
    out.put_u16(if negative && !kept.is_empty() { 0x4000 } else { 0 });
    out.put_i16(i16::try_from(fraction).unwrap_or(0));
    for group in kept {
        out.put_u16(*group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(write: impl FnOnce(&mut BytesMut)) -> String {
        let mut out = BytesMut::new();
        write(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    // Expected texts are PostgreSQL 15's.
    #[test]
    fn floats_match_postgres() {
        for (value, text) in [
            (1e15, "1e+15"),
            (1e14, "100000000000000"),
            (123_456_789_012_345.6, "123456789012345.6"),
            (1e-5, "1e-05"),
            (1e-4, "0.0001"),
            (0.1, "0.1"),
            (-0.0, "-0"),
            (5e-324, "5e-324"),
            (1.5e300, "1.5e+300"),
            (1e23, "9.999999999999999e+22"),
            (9.5367431640625e-7, "9.5367431640625e-07"),
            (9_007_199_254_740_993.0, "9.007199254740992e+15"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(shown(|out| float8(out, value, 1)), text);
        }
        for (value, text) in [
            (1e6_f32, "1e+06"),
            (123_456.0, "123456"),
            (8.589_973e9, "8.589974e+09"),
            (1e-45, "1e-45"),
            (63_579_008.0, "6.3579008e+07"),
        ] {
            assert_eq!(shown(|out| float4(out, value, 1)), text);
        }
        assert_eq!(shown(|out| float8(out, 0.1 + 0.2, 0)), "0.3");
        assert_eq!(shown(|out| float8(out, 1.0 / 3.0, 0)), "0.333333333333333");
        assert_eq!(shown(|out| float4(out, 1.0 / 3.0, 0)), "0.333333");
    }

    #[test]
    fn numerics_keep_their_scale() {
        let mut buffer = [0; 40];
        for (value, scale, text) in [
            (150_u128, 2, "1.50"),
            (5, 3, "0.005"),
            (0, 2, "0.00"),
            (12, -3, "12000"),
            (0, -3, "0"),
            (u128::MAX / 2, 10, "17014118346046923173168730371.5884105727"),
        ] {
            let digits = digits_of(value, &mut buffer);
            assert_eq!(shown(|out| numeric_text(out, false, digits, scale)), text);
        }
    }

    #[test]
    fn binary_numerics_match_postgres() {
        // Bytes of numeric_send in PostgreSQL 15.
        let mut buffer = [0; 40];
        for (value, negative, scale, hex) in [
            (150_u128, false, 2, "00020000000000020001 1388"),
            (12_345_678, true, 4, "00020000400000 0404d2162e"),
            (10_000, false, 0, "0001000100000000 0001"),
            (5, false, 3, "0001ffff00000003 0032"),
            (0, false, 2, "0000000000000002"),
            (12, false, -3, "0002000100000000 00 0107d0"),
        ] {
            let digits = digits_of(value, &mut buffer);
            let mut out = BytesMut::new();
            numeric_binary(&mut out, negative, digits, scale);
            let got: String = out.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(got, hex.replace(' ', ""), "{value} scale {scale}");
        }
    }
}
