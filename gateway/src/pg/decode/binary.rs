//! Values sent in binary; every length is checked, and nothing may be left over.

use arrow::datatypes::IntervalMonthDayNano;
use bytes::Buf;
use datafusion::scalar::ScalarValue;

use super::{list, null, number, unsupported};
use crate::pg::encode::calendar::{EPOCH_DAYS, EPOCH_MICROS, date_in_range, timestamp_in_range};
use crate::pg::fault::Fault;
use crate::pgtypes::oid;

/// Why a value was not decoded.
#[derive(Debug)]
pub(super) enum Problem {
    /// 22P03, with the parameter's number.
    Malformed,
    /// Anything else.
    Fault(Fault),
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<bytes::TryGetError> for Problem {
    fn from(_: bytes::TryGetError) -> Self {
        Self::Malformed
    }
}

fn range(what: &str) -> Problem {
    Problem::Fault(Fault::new("22008", format!("{what} out of range")))
}

pub(super) fn decode(type_oid: u32, mut bytes: &[u8]) -> Result<ScalarValue, Problem> {
    if let Some(element) = oid::element_oid(type_oid) {
        return array(element, bytes);
    }
    let value = match type_oid {
        oid::BOOL => ScalarValue::Boolean(Some(bytes.try_get_u8()? != 0)),
        oid::INT2 => ScalarValue::Int16(Some(bytes.try_get_i16()?)),
        oid::INT4 => ScalarValue::Int32(Some(bytes.try_get_i32()?)),
        oid::INT8 => ScalarValue::Int64(Some(bytes.try_get_i64()?)),
        oid::OID => ScalarValue::Int64(Some(i64::from(bytes.try_get_u32()?))),
        oid::FLOAT4 => ScalarValue::Float32(Some(bytes.try_get_f32()?)),
        oid::FLOAT8 => ScalarValue::Float64(Some(bytes.try_get_f64()?)),
        oid::NUMERIC => numeric(&mut bytes)?,
        oid::BYTEA => return Ok(ScalarValue::Binary(Some(bytes.to_vec()))),
        oid::DATE => match bytes.try_get_i32()? {
            infinite @ (i32::MAX | i32::MIN) => ScalarValue::Date32(Some(infinite)),
            days => {
                let days = days.checked_add(EPOCH_DAYS).filter(|days| date_in_range(*days));
                ScalarValue::Date32(Some(days.ok_or_else(|| range("date"))?))
            }
        },
        oid::TIME => {
            let micros = bytes.try_get_i64()?;
            if !(0..=86_400_000_000).contains(&micros) {
                return Err(range("time"));
            }
            ScalarValue::Time64Microsecond(Some(micros))
        }
        oid::TIMESTAMP => ScalarValue::TimestampMicrosecond(Some(timestamp(bytes.try_get_i64()?)?), None),
        oid::TIMESTAMPTZ => {
            ScalarValue::TimestampMicrosecond(Some(timestamp(bytes.try_get_i64()?)?), Some("UTC".into()))
        }
        oid::INTERVAL => {
            let nanos = bytes.try_get_i64()?.checked_mul(1000).ok_or_else(|| range("interval"))?;
            let days = bytes.try_get_i32()?;
            let months = bytes.try_get_i32()?;
            ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(months, days, nanos)))
        }
        oid::UUID => {
            let value: [u8; 16] = bytes.try_into().map_err(|_| Problem::Malformed)?;
            return Ok(ScalarValue::FixedSizeBinary(16, Some(value.to_vec())));
        }
        oid::JSONB => {
            if bytes.try_get_u8()? != 1 {
                return Err(Problem::Malformed);
            }
            return json(bytes);
        }
        oid::JSON => return json(bytes),
        oid::BPCHAR => return Ok(ScalarValue::Utf8(Some(super::unpadded(characters(bytes)?).to_owned()))),
        oid::TEXT | oid::VARCHAR | oid::NAME | oid::CHAR | oid::UNKNOWN => {
            return Ok(ScalarValue::Utf8(Some(characters(bytes)?.to_owned())));
        }
        other => return Err(unsupported(other).into()),
    };
    if bytes.has_remaining() { Err(Problem::Malformed) } else { Ok(value) }
}

fn characters(bytes: &[u8]) -> Result<&str, Problem> {
    let bad = |what: &str| Problem::Fault(Fault::new("22021", what.to_owned()));
    if bytes.contains(&0) {
        return Err(bad("invalid byte sequence for encoding \"UTF8\": 0x00"));
    }
    std::str::from_utf8(bytes).map_err(|_| bad("invalid byte sequence for encoding \"UTF8\""))
}

fn json(bytes: &[u8]) -> Result<ScalarValue, Problem> {
    let text = characters(bytes)?;
    serde_json::from_str::<serde::de::IgnoredAny>(text)
        .map_err(|_| Problem::Fault(Fault::new("22P02", "invalid input syntax for type json")))?;
    Ok(ScalarValue::Utf8(Some(text.to_owned())))
}

fn timestamp(micros: i64) -> Result<i64, Problem> {
    if micros == i64::MAX || micros == i64::MIN {
        return Ok(micros);
    }
    micros
        .checked_add(EPOCH_MICROS)
        .filter(|micros| timestamp_in_range(*micros))
        .ok_or_else(|| range("timestamp"))
}

fn numeric(bytes: &mut &[u8]) -> Result<ScalarValue, Problem> {
    let count = bytes.try_get_i16()?;
    let weight = i32::from(bytes.try_get_i16()?);
    let sign = bytes.try_get_u16()?;
    let scale = usize::try_from(bytes.try_get_i16()?).map_err(|_| Problem::Malformed)?;
    let sign = match sign {
        0 => "",
        0x4000 => "-",
        0xC000 | 0xD000 | 0xF000 => {
            return Err(Fault::unsupported("a numeric that is not a finite number")
                .with_hint("use double precision for it")
                .into());
        }
        _ => return Err(Problem::Malformed),
    };
    let mut groups = Vec::new();
    for _ in 0..count {
        let group = bytes.try_get_u16()?;
        if group > 9999 {
            return Err(Problem::Malformed);
        }
        groups.push(group);
    }
    if scale > 76 || weight > 20 {
        return Err(Fault::new("22003", "value overflows numeric format").into());
    }
    let group = |position: i32| {
        usize::try_from(weight - position).ok().and_then(|index| groups.get(index)).copied().unwrap_or(0)
    };
    let mut text = sign.to_owned();
    for position in (0..=weight.max(0)).rev() {
        text.push_str(&format!("{:04}", group(position)));
    }
    let mut fraction = String::new();
    for position in 1..=i32::try_from(scale.div_ceil(4)).unwrap_or(0) {
        fraction.push_str(&format!("{:04}", group(-position)));
    }
    fraction.truncate(scale);
    if !fraction.is_empty() {
        text.push('.');
        text.push_str(&fraction);
    }
    number::numeric(&text).ok_or(Problem::Malformed)?.map_err(Problem::Fault)
}

fn array(element: u32, mut bytes: &[u8]) -> Result<ScalarValue, Problem> {
    let dimensions = bytes.try_get_i32()?;
    let _has_null = bytes.try_get_i32()?;
    let sent = bytes.try_get_u32()?;
    if sent != element && !(sent == oid::UNKNOWN || text_like(sent) && text_like(element)) {
        return Err(Problem::Fault(
            Fault::new("42804", "binary data has array element type that differs from the parameter's")
                .with_detail(format!("{} instead of {}", oid::sql_name(sent), oid::sql_name(element))),
        ));
    }
    match dimensions {
        0 => return if bytes.has_remaining() { Err(Problem::Malformed) } else { Ok(list(&[], element)?) },
        1 => {}
        2..=6 => return Err(Fault::unsupported("an array parameter with more than one dimension").into()),
        _ => return Err(Problem::Malformed),
    }
    let count = usize::try_from(bytes.try_get_i32()?).map_err(|_| Problem::Malformed)?;
    let _lower_bound = bytes.try_get_i32()?;
    let mut elements = Vec::new();
    for _ in 0..count {
        let length = bytes.try_get_i32()?;
        if length == -1 {
            elements.push(null(element)?);
            continue;
        }
        let length = usize::try_from(length).map_err(|_| Problem::Malformed)?;
        let (value, rest) = bytes.split_at_checked(length).ok_or(Problem::Malformed)?;
        bytes = rest;
        elements.push(decode(element, value)?);
    }
    if bytes.has_remaining() { Err(Problem::Malformed) } else { Ok(list(&elements, element)?) }
}

fn text_like(type_oid: u32) -> bool {
    matches!(type_oid, oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::NAME)
}
