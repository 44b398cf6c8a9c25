//! Bind's values as typed scalars, from text and binary.
//!
//! A value is decoded by the type its statement has, never by what it looks like, and never becomes SQL text. Bad
//! text is 22P02 (22007 for dates), bad bytes are 22P03, a value beyond its type is 22003 or 22008, as in PostgreSQL.

#![warn(clippy::indexing_slicing)]

mod binary;
mod calendar;
mod number;
mod text;

use std::sync::Arc;

use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::scalar::ScalarValue;

use crate::pg::backend::Format;
use crate::pg::fault::Fault;
use crate::pg::style::Zone;
use crate::pgtypes::oid;

/// Decodes one value. `index` is the parameter's number from 0; `zone` reads timestamps without one.
///
/// # Errors
/// As the module says; 0A000 for a type without a decoder, named.
pub fn decode(
    type_oid: u32,
    format: Format,
    value: Option<&[u8]>,
    index: usize,
    zone: Zone,
) -> Result<ScalarValue, Fault> {
    let Some(value) = value else { return null(type_oid) };
    match format {
        Format::Text => {
            let value = std::str::from_utf8(value)
                .map_err(|_| Fault::new("22021", "invalid byte sequence for encoding \"UTF8\""))?;
            if value.as_bytes().contains(&0) {
                return Err(Fault::new("22021", "invalid byte sequence for encoding \"UTF8\": 0x00"));
            }
            text::decode(type_oid, value, zone)
        }
        Format::Binary => binary::decode(type_oid, value).map_err(|problem| match problem {
            binary::Problem::Malformed => {
                Fault::new("22P03", format!("incorrect binary data format in bind parameter {}", index + 1))
            }
            binary::Problem::Fault(fault) => fault,
        }),
    }
}

/// The typed NULL of a wire type.
fn null(type_oid: u32) -> Result<ScalarValue, Fault> {
    ScalarValue::try_from(&arrow_type(type_oid)?).map_err(|_| unsupported(type_oid))
}

/// The Arrow type a wire type is decoded to.
fn arrow_type(type_oid: u32) -> Result<DataType, Fault> {
    if let Some(element) = oid::element_oid(type_oid) {
        return Ok(DataType::new_list(arrow_type(element)?, true));
    }
    Ok(match type_oid {
        oid::BOOL => DataType::Boolean,
        oid::INT2 => DataType::Int16,
        oid::INT4 => DataType::Int32,
        oid::INT8 | oid::OID => DataType::Int64,
        oid::FLOAT4 => DataType::Float32,
        oid::FLOAT8 => DataType::Float64,
        oid::NUMERIC => DataType::Decimal128(38, 10),
        oid::BYTEA => DataType::Binary,
        oid::UUID => DataType::FixedSizeBinary(16),
        oid::DATE => DataType::Date32,
        oid::TIME => DataType::Time64(TimeUnit::Microsecond),
        oid::TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, None),
        oid::TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC"))),
        oid::INTERVAL => DataType::Interval(IntervalUnit::MonthDayNano),
        oid::TEXT
        | oid::VARCHAR
        | oid::BPCHAR
        | oid::NAME
        | oid::CHAR
        | oid::UNKNOWN
        | oid::JSON
        | oid::JSONB
        | oid::REGCLASS
        | oid::REGTYPE => DataType::Utf8,
        other => return Err(unsupported(other)),
    })
}

fn unsupported(type_oid: u32) -> Fault {
    Fault::unsupported(format_args!("a parameter of type {}", oid::sql_name(type_oid)))
        .with_hint("cast the parameter to a type that is, for example text")
}

/// A value of `character(n)` as sources give them: blanks at its end count in no comparison and are no part of its text.
fn unpadded(text: &str) -> &str {
    text.trim_end_matches(' ')
}

/// An array of decoded elements; numerics are brought to one precision and scale.
fn list(elements: &[ScalarValue], element: u32) -> Result<ScalarValue, Fault> {
    let data_type =
        if element == oid::NUMERIC { number::common_decimal(elements) } else { arrow_type(element)? };
    let cast: Vec<ScalarValue> = elements
        .iter()
        .map(|value| {
            if element == oid::NUMERIC {
                value.cast_to(&data_type).map_err(|_| Fault::new("22003", "numeric field overflow"))
            } else {
                Ok(value.clone())
            }
        })
        .collect::<Result<_, _>>()?;
    Ok(ScalarValue::List(ScalarValue::new_list_nullable(&cast, &data_type)))
}

#[cfg(test)]
mod tests;
