//! Values sent as text.

use arrow::datatypes::IntervalMonthDayNano;
use datafusion::scalar::ScalarValue;

use super::{calendar, list, number, unsupported};
use crate::pg::fault::Fault;
use crate::pg::style::Zone;
use crate::pgtypes::{input, oid};

/// The part of a bad value that an error repeats.
pub(super) fn shown(text: &str) -> &str {
    text.get(..text.floor_char_boundary(100)).unwrap_or(text)
}

fn syntax(type_oid: u32, text: &str) -> Fault {
    Fault::new(
        "22P02",
        format!("invalid input syntax for type {}: \"{}\"", oid::sql_name(type_oid), shown(text)),
    )
}

pub(super) fn decode(type_oid: u32, text: &str, zone: Zone) -> Result<ScalarValue, Fault> {
    if let Some(element) = oid::element_oid(type_oid) {
        return array(element, text, zone);
    }
    Ok(match type_oid {
        oid::BOOL => ScalarValue::Boolean(Some(boolean(text).ok_or_else(|| syntax(type_oid, text))?)),
        oid::INT2 => ScalarValue::Int16(Some(integer(type_oid, text)?)),
        oid::INT4 => ScalarValue::Int32(Some(integer(type_oid, text)?)),
        oid::INT8 => ScalarValue::Int64(Some(integer(type_oid, text)?)),
        oid::OID => ScalarValue::Int64(Some(i64::from(integer::<u32>(type_oid, text)?))),
        oid::FLOAT4 => {
            let value: f32 = float(type_oid, text)?;
            ScalarValue::Float32(Some(value))
        }
        oid::FLOAT8 => {
            let value: f64 = float(type_oid, text)?;
            ScalarValue::Float64(Some(value))
        }
        oid::NUMERIC => number::numeric(text).ok_or_else(|| syntax(type_oid, text))??,
        oid::BYTEA => ScalarValue::Binary(Some(input::bytea(text)?)),
        oid::DATE => ScalarValue::Date32(Some(calendar::date(text, zone)?)),
        oid::TIME => ScalarValue::Time64Microsecond(Some(input::time(text)?)),
        oid::TIMESTAMP => {
            ScalarValue::TimestampMicrosecond(Some(calendar::timestamp(text, zone, false)?), None)
        }
        oid::TIMESTAMPTZ => ScalarValue::TimestampMicrosecond(
            Some(calendar::timestamp(text, zone, true)?),
            Some("UTC".into()),
        ),
        oid::INTERVAL => {
            let value: IntervalMonthDayNano = calendar::interval(text)?;
            ScalarValue::IntervalMonthDayNano(Some(value))
        }
        oid::UUID => ScalarValue::FixedSizeBinary(16, Some(input::uuid(text)?.to_vec())),
        oid::JSON | oid::JSONB => {
            serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(|_| syntax(type_oid, text))?;
            ScalarValue::Utf8(Some(text.to_owned()))
        }
        oid::TEXT | oid::VARCHAR | oid::NAME | oid::UNKNOWN | oid::REGCLASS | oid::REGTYPE => {
            ScalarValue::Utf8(Some(text.to_owned()))
        }
        oid::BPCHAR => ScalarValue::Utf8(Some(super::unpadded(text).to_owned())),
        // One byte; what follows it is dropped (PostgreSQL 17, `char.c`, charin).
        oid::CHAR => ScalarValue::Utf8(Some(text.chars().take(1).collect())),
        other => return Err(unsupported(other)),
    })
}

/// PostgreSQL 17, `bool.c`: unique prefixes of the words count.
fn boolean(text: &str) -> Option<bool> {
    let text = text.trim().to_ascii_lowercase();
    match text.as_str() {
        "" | "o" => None,
        "1" | "on" => Some(true),
        "0" | "of" | "off" => Some(false),
        _ if "true".starts_with(&text) || "yes".starts_with(&text) => Some(true),
        _ if "false".starts_with(&text) || "no".starts_with(&text) => Some(false),
        _ => None,
    }
}

fn integer<T: std::str::FromStr<Err = std::num::ParseIntError>>(
    type_oid: u32,
    text: &str,
) -> Result<T, Fault> {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    let trimmed = text.trim();
    trimmed.parse::<T>().map_err(|error| {
        let overflow = matches!(error.kind(), PosOverflow | NegOverflow)
            && trimmed.trim_start_matches(['+', '-']).bytes().all(|byte| byte.is_ascii_digit());
        if overflow {
            let name = oid::sql_name(type_oid);
            Fault::new("22003", format!("value \"{}\" is out of range for type {name}", shown(text)))
        } else {
            syntax(type_oid, text)
        }
    })
}

fn float<T: std::str::FromStr + Into<f64> + Copy>(type_oid: u32, text: &str) -> Result<T, Fault> {
    let trimmed = text.trim();
    let value: T = trimmed.parse().map_err(|_| syntax(type_oid, text))?;
    let written_infinite = trimmed.trim_start_matches(['+', '-']).to_ascii_lowercase().starts_with("inf");
    let digits = trimmed.split(['e', 'E']).next().unwrap_or_default();
    let vanished = value.into() == 0.0 && digits.contains(|digit: char| ('1'..='9').contains(&digit));
    if vanished || value.into().is_infinite() && !written_infinite {
        let name = oid::sql_name(type_oid);
        return Err(Fault::new("22003", format!("\"{}\" is out of range for type {name}", shown(text))));
    }
    Ok(value)
}

/// `{a,"b",NULL}`: one dimension.
fn array(element: u32, text: &str, zone: Zone) -> Result<ScalarValue, Fault> {
    let mut elements = Vec::new();
    for item in input::array_items(text)? {
        elements.push(match item {
            Some(item) => decode(element, &item, zone)?,
            None => super::null(element)?,
        });
    }
    list(&elements, element)
}
