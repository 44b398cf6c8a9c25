//! A constant of SQL as a BSON value that compares with a column's values as the constant does here.
//!
//! Values travel typed, never as text. A constant without such a value keeps its condition here.

use datafusion::common::ScalarValue;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime};

use super::decimal::from_scaled;
use super::kind::Kind;
use crate::federation::Reason;

/// A constant, as one column's values meet it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Constant {
    /// NULL: no comparison with it is true or false.
    Null,
    Value(Bson),
    /// It lies strictly between this value and the next one the column may have: an instant within a millisecond.
    After(Bson),
    /// No value equals it, and order with it is not asked for: text that is no object id.
    Never,
}

/// The constant for a column of the kind.
pub(super) fn constant(kind: Kind, value: &ScalarValue) -> Result<Constant, Reason> {
    if value.is_null() {
        return Ok(Constant::Null);
    }
    let constant = match kind {
        Kind::Boolean => match value {
            ScalarValue::Boolean(Some(value)) => Some(Constant::Value(Bson::Boolean(*value))),
            _ => None,
        },
        Kind::Integer => number(value).or_else(|| finite(value)),
        Kind::Decimal => number(value),
        Kind::Float => finite(value),
        Kind::Text => text(value).map(|text| Constant::Value(Bson::String(text.to_owned()))),
        Kind::ObjectId => text(value).map(object_id),
        Kind::Instant => instant(value),
        Kind::Uuid => match value {
            ScalarValue::FixedSizeBinary(16, Some(bytes)) => Some(Constant::Value(Bson::Binary(Binary {
                subtype: BinarySubtype::Uuid,
                bytes: bytes.clone(),
            }))),
            _ => None,
        },
        Kind::Day | Kind::Stamp | Kind::Bytes | Kind::Document | Kind::List => None,
    };
    constant.ok_or_else(|| {
        format!("a column of this type is compared with a constant of type {} here", value.data_type()).into()
    })
}

/// The text of a text scalar that is not NULL.
pub(super) fn text(value: &ScalarValue) -> Option<&str> {
    match value {
        ScalarValue::Utf8(text) | ScalarValue::Utf8View(text) | ScalarValue::LargeUtf8(text) => {
            text.as_deref()
        }
        _ => None,
    }
}

/// Integers and decimals: MongoDB compares numbers of all types by value.
fn number(value: &ScalarValue) -> Option<Constant> {
    let integer = match value {
        ScalarValue::Int8(value) => i64::from((*value)?),
        ScalarValue::Int16(value) => i64::from((*value)?),
        ScalarValue::Int32(value) => i64::from((*value)?),
        ScalarValue::Int64(value) => (*value)?,
        ScalarValue::UInt8(value) => i64::from((*value)?),
        ScalarValue::UInt16(value) => i64::from((*value)?),
        ScalarValue::UInt32(value) => i64::from((*value)?),
        ScalarValue::UInt64(value) => {
            let value = i128::from((*value)?);
            return from_scaled(value, 0).map(|value| Constant::Value(Bson::Decimal128(value)));
        }
        ScalarValue::Decimal128(value, _, scale) => {
            return from_scaled((*value)?, *scale).map(|value| Constant::Value(Bson::Decimal128(value)));
        }
        _ => return None,
    };
    Some(Constant::Value(i32::try_from(integer).map_or(Bson::Int64(integer), Bson::Int32)))
}

/// Floats, where both sides agree on order: not around zero (-0 differs here), not at the ends.
fn finite(value: &ScalarValue) -> Option<Constant> {
    let value = match value {
        ScalarValue::Float64(value) => (*value)?,
        ScalarValue::Float32(value) => f64::from((*value)?),
        _ => return None,
    };
    (value.is_finite() && value != 0.0).then_some(Constant::Value(Bson::Double(value)))
}

/// Object ids are shown in lower case; other text equals none of them.
fn object_id(text: &str) -> Constant {
    let shown = text.len() == 24 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    match ObjectId::parse_str(text) {
        Ok(id) if shown => Constant::Value(Bson::ObjectId(id)),
        _ => Constant::Never,
    }
}

fn instant(value: &ScalarValue) -> Option<Constant> {
    let ScalarValue::TimestampMicrosecond(Some(micros), _) = value else { return None };
    // The extremes are infinities, which no date of BSON is.
    if matches!(*micros, i64::MIN | i64::MAX) {
        return None;
    }
    let millis = Bson::DateTime(DateTime::from_millis(micros.div_euclid(1_000)));
    Some(if micros.rem_euclid(1_000) == 0 { Constant::Value(millis) } else { Constant::After(millis) })
}
