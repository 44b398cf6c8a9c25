//! PostgreSQL's text of a value that came in its binary format, with the time zone UTC.
//!
//! Written from the server's rules and not with the gateway's encoder, so that a mistake there is seen here. A type
//! without a rule is a failure, never a guess.

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, TimeDelta};

use super::pg::Body;

/// The text of a binary value.
pub(crate) fn binary(oid: u32, value: &[u8]) -> String {
    let mut body = Body(value);
    let text = match oid {
        16 => if body.bytes(1) == [1] { "t" } else { "f" }.to_owned(),
        17 => bytea(body.bytes(value.len())),
        20 => body.i64().to_string(),
        21 => body.i16().to_string(),
        23 => body.i32().to_string(),
        26 => body.i32().cast_unsigned().to_string(),
        18 | 19 | 25 | 114 | 1042 | 1043 => utf8(body.bytes(value.len())),
        700 => float4(f32::from_be_bytes(body.bytes(4).try_into().unwrap())),
        701 => float8(f64::from_be_bytes(body.bytes(8).try_into().unwrap())),
        1082 => date(epoch().checked_add_signed(TimeDelta::days(i64::from(body.i32()))).unwrap()),
        1083 => time(body.i64()),
        1114 => timestamp(body.i64()),
        1184 => utc(&timestamp(body.i64())),
        1186 => {
            let (micros, days, months) = (body.i64(), body.i32(), body.i32());
            interval(months, days, micros)
        }
        1700 => numeric(&mut body),
        2950 => uuid(body.bytes(16)),
        3802 => {
            assert_eq!(body.bytes(1), [1], "the version of jsonb");
            utf8(body.bytes(value.len() - 1))
        }
        1000..=1003 | 1005 | 1007 | 1009 | 1014..=1016 | 1021 | 1022 | 1028 => array(&mut body),
        1115 | 1182 | 1183 | 1185 | 1187 | 1231 | 2951 | 3807 => array(&mut body),
        other => panic!("no rule for the binary format of the type with OID {other}"),
    };
    assert!(body.0.is_empty(), "bytes behind a value of the type with OID {oid}");
    text
}

fn utf8(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The text of a `bytea`, in hexadecimal.
pub(crate) fn bytea(bytes: &[u8]) -> String {
    format!("\\x{}", hex(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The text of a UUID's 16 bytes.
pub(crate) fn uuid(bytes: &[u8]) -> String {
    let text = hex(bytes);
    let parts = [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]];
    parts.join("-")
}

fn epoch() -> NaiveDate {
    NaiveDate::from_ymd_opt(2000, 1, 1).unwrap()
}

fn date(date: NaiveDate) -> String {
    let (year, rest) = (date.year(), date.format("%m-%d"));
    if year > 0 { format!("{year:04}-{rest}") } else { format!("{:04}-{rest} BC", 1 - year) }
}

fn fraction(micros: i64) -> String {
    if micros == 0 { String::new() } else { format!(".{micros:06}").trim_end_matches('0').to_owned() }
}

/// The text of microseconds since midnight.
pub(crate) fn time(micros: i64) -> String {
    let seconds = micros / 1_000_000;
    let clock = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    clock + &fraction(micros % 1_000_000)
}

/// The text of days since 1970.
pub(crate) fn date_since_1970(days: i32) -> String {
    date(NaiveDate::default().checked_add_signed(TimeDelta::days(i64::from(days))).unwrap())
}

/// The text of microseconds since 1970.
pub(crate) fn timestamp_since_1970(micros: i64) -> String {
    timestamp(micros - epoch().and_time(NaiveTime::MIN).and_utc().timestamp_micros())
}

/// A timestamp's text as one with the time zone UTC.
pub(crate) fn utc(text: &str) -> String {
    text.strip_suffix(" BC").map_or_else(|| format!("{text}+00"), |text| format!("{text}+00 BC"))
}

fn timestamp(micros: i64) -> String {
    match micros {
        i64::MAX => return "infinity".to_owned(),
        i64::MIN => return "-infinity".to_owned(),
        _ => {}
    }
    let start = epoch().and_time(NaiveTime::MIN).and_utc().timestamp_micros();
    let moment = DateTime::from_timestamp_micros(start + micros).unwrap().naive_utc();
    let day = date(moment.date());
    let clock = time((moment.time() - NaiveTime::MIN).num_microseconds().unwrap());
    day.strip_suffix(" BC").map_or_else(|| format!("{day} {clock}"), |day| format!("{day} {clock} BC"))
}

/// PostgreSQL's `interval_out` in the style `postgres`.
pub(crate) fn interval(months: i32, days: i32, micros: i64) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut negative = false;
    for (value, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if value != 0 {
            let plus = if negative && value > 0 { "+" } else { "" };
            let plural = if value == 1 { "" } else { "s" };
            parts.push(format!("{plus}{value} {unit}{plural}"));
            negative = value < 0;
        }
    }
    if micros != 0 || parts.is_empty() {
        let sign = match micros {
            ..0 => "-",
            _ if negative => "+",
            _ => "",
        };
        parts.push(format!("{sign}{}", time(micros.abs())));
    }
    parts.join(" ")
}

/// The text of a `real`.
pub(crate) fn float4(value: f32) -> String {
    float(&format!("{value:e}"), 6)
}

/// The text of a `double precision`.
pub(crate) fn float8(value: f64) -> String {
    float(&format!("{value:e}"), 15)
}

/// The shortest digits, in the notation `float8out` chooses: `limit` is the first exponent written with an `e`.
fn float(shortest: &str, limit: i32) -> String {
    let text = match shortest {
        "NaN" => return "NaN".to_owned(),
        "inf" => return "Infinity".to_owned(),
        "-inf" => return "-Infinity".to_owned(),
        text => text,
    };
    let (mantissa, exponent) = text.split_once('e').unwrap();
    let exponent: i32 = exponent.parse().unwrap();
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    if exponent < -4 || exponent >= limit {
        let plus = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{mantissa}e{plus}{:02}", exponent.abs());
    }
    let digits = mantissa.replace('.', "");
    let point = exponent + 1;
    match usize::try_from(point) {
        Ok(point) if point > 0 && point < digits.len() => {
            format!("{sign}{}.{}", &digits[..point], &digits[point..])
        }
        Ok(point) if point > 0 => format!("{sign}{digits:0<point$}"),
        _ => format!("{sign}0.{}{digits}", "0".repeat(usize::try_from(-point).unwrap())),
    }
}

fn numeric(body: &mut Body<'_>) -> String {
    let count = body.i16();
    let (weight, sign) = (i32::from(body.i16()), body.i16().cast_unsigned());
    let scale = usize::try_from(body.i16()).unwrap();
    let groups: Vec<i16> = (0..count).map(|_| body.i16()).collect();
    match sign {
        0xC000 => return "NaN".to_owned(),
        0xD000 => return "Infinity".to_owned(),
        0xF000 => return "-Infinity".to_owned(),
        _ => {}
    }
    assert!(groups.first() != Some(&0) && groups.last() != Some(&0), "zero groups are stripped");
    let group = |position: i32| {
        let index = usize::try_from(weight - position).ok();
        index.and_then(|index| groups.get(index)).copied().unwrap_or(0)
    };
    let whole: String = (0..=weight.max(0)).rev().map(|position| format!("{:04}", group(position))).collect();
    let whole = whole.trim_start_matches('0');
    let below = i32::try_from(scale.div_ceil(4)).unwrap();
    let decimals: String = (1..=below).map(|position| format!("{:04}", group(-position))).collect();
    let mut text = if sign == 0x4000 { "-".to_owned() } else { String::new() };
    text.push_str(if whole.is_empty() { "0" } else { whole });
    if scale > 0 {
        text.push('.');
        text.push_str(&decimals[..scale]);
    }
    text
}

fn array(body: &mut Body<'_>) -> String {
    let dimensions = body.i32();
    body.i32();
    let element = body.i32().cast_unsigned();
    let lengths: Vec<i32> = (0..dimensions)
        .map(|_| {
            let length = body.i32();
            assert_eq!(body.i32(), 1, "arrays start at 1");
            length
        })
        .collect();
    if lengths.is_empty() { "{}".to_owned() } else { nested(body, element, &lengths) }
}

fn nested(body: &mut Body<'_>, element: u32, lengths: &[i32]) -> String {
    let [length, deeper @ ..] = lengths else {
        return match usize::try_from(body.i32()) {
            Err(_) => "NULL".to_owned(),
            Ok(length) => quoted(binary(element, body.bytes(length))),
        };
    };
    let parts: Vec<String> = (0..*length).map(|_| nested(body, element, deeper)).collect();
    format!("{{{}}}", parts.join(","))
}

/// An element's text inside an array.
pub(crate) fn quoted(text: String) -> String {
    let special = |c: char| matches!(c, '{' | '}' | ',' | '"' | '\\') || c.is_ascii_whitespace();
    if text.is_empty() || text.eq_ignore_ascii_case("null") || text.contains(special) {
        return format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    }
    text
}
