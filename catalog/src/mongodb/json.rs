//! A BSON value as text: relaxed extended JSON, version 2.
//!
//! Nothing is lost: what JSON has no form for becomes an object with a `$` key, as MongoDB's own tools write it.
//! Integers keep every digit.

use std::fmt::Write as _;

use base64::Engine as _;
use chrono::{DateTime, SecondsFormat};
use mongodb::bson::RawBsonRef;

/// Nesting that is followed; MongoDB itself refuses documents deeper than 100.
const MAX_DEPTH: usize = 128;

/// The text of a value; `None` if it is malformed or nested too deeply.
pub(super) fn text(value: RawBsonRef<'_>) -> Option<String> {
    let mut out = String::new();
    write(&mut out, value, 0)?;
    Some(out)
}

fn string(out: &mut String, text: &str) -> Option<()> {
    out.push_str(&serde_json::to_string(text).ok()?);
    Some(())
}

/// `{"<key>":"<text>"}`.
fn wrapped(out: &mut String, key: &str, text: &str) -> Option<()> {
    out.push('{');
    string(out, key)?;
    out.push(':');
    string(out, text)?;
    out.push('}');
    Some(())
}

fn write(out: &mut String, value: RawBsonRef<'_>, depth: usize) -> Option<()> {
    if depth > MAX_DEPTH {
        return None;
    }
    match value {
        RawBsonRef::Null => out.push_str("null"),
        RawBsonRef::Boolean(value) => out.push_str(if value { "true" } else { "false" }),
        RawBsonRef::Int32(value) => write!(out, "{value}").ok()?,
        RawBsonRef::Int64(value) => write!(out, "{value}").ok()?,
        RawBsonRef::Double(value) if value.is_finite() => out.push_str(&serde_json::to_string(&value).ok()?),
        RawBsonRef::Double(value) if value.is_nan() => wrapped(out, "$numberDouble", "NaN")?,
        RawBsonRef::Double(value) => {
            wrapped(out, "$numberDouble", if value > 0.0 { "Infinity" } else { "-Infinity" })?;
        }
        RawBsonRef::String(text) => string(out, text)?,
        RawBsonRef::Document(document) => {
            out.push('{');
            for (index, item) in document.iter_elements().enumerate() {
                let item = item.ok()?;
                if index > 0 {
                    out.push(',');
                }
                string(out, item.key())?;
                out.push(':');
                write(out, item.value().ok()?, depth + 1)?;
            }
            out.push('}');
        }
        RawBsonRef::Array(array) => {
            out.push('[');
            for (index, item) in array.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(out, item.ok()?, depth + 1)?;
            }
            out.push(']');
        }
        RawBsonRef::ObjectId(id) => wrapped(out, "$oid", &id.to_hex())?,
        RawBsonRef::DateTime(at) => date(out, at.timestamp_millis())?,
        RawBsonRef::Decimal128(value) => wrapped(out, "$numberDecimal", &value.to_string())?,
        RawBsonRef::Symbol(text) => wrapped(out, "$symbol", text)?,
        RawBsonRef::JavaScriptCode(code) => wrapped(out, "$code", code)?,
        RawBsonRef::Binary(binary) => {
            let bytes = base64::engine::general_purpose::STANDARD.encode(binary.bytes);
            let subtype = u8::from(binary.subtype);
            write!(out, "{{\"$binary\":{{\"base64\":\"{bytes}\",\"subType\":\"{subtype:02x}\"}}}}").ok()?;
        }
        RawBsonRef::Timestamp(at) => {
            write!(out, "{{\"$timestamp\":{{\"t\":{},\"i\":{}}}}}", at.time, at.increment).ok()?;
        }
        RawBsonRef::RegularExpression(regex) => {
            out.push_str("{\"$regularExpression\":{\"pattern\":");
            string(out, regex.pattern)?;
            out.push_str(",\"options\":");
            string(out, regex.options)?;
            out.push_str("}}");
        }
        RawBsonRef::JavaScriptCodeWithScope(code) => {
            out.push_str("{\"$code\":");
            string(out, code.code)?;
            out.push_str(",\"$scope\":");
            write(out, RawBsonRef::Document(code.scope), depth + 1)?;
            out.push('}');
        }
        RawBsonRef::MinKey => out.push_str("{\"$minKey\":1}"),
        RawBsonRef::MaxKey => out.push_str("{\"$maxKey\":1}"),
        RawBsonRef::Undefined => out.push_str("{\"$undefined\":true}"),
        // Deprecated long ago, and its parts are not public in the driver.
        RawBsonRef::DbPointer(_) => return None,
    }
    Some(())
}

/// ISO 8601 for the years 1970 to 9999, else milliseconds since 1970.
fn date(out: &mut String, millis: i64) -> Option<()> {
    match DateTime::from_timestamp_millis(millis).filter(|_| (0..=253_402_300_799_999).contains(&millis)) {
        Some(at) => wrapped(out, "$date", &at.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
        None => {
            out.push_str("{\"$date\":");
            wrapped(out, "$numberLong", &millis.to_string())?;
            out.push('}');
            Some(())
        }
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::oid::ObjectId;
    use mongodb::bson::{Bson, DateTime, RawDocumentBuf, Timestamp, doc};

    use super::*;

    #[test]
    fn every_value_has_its_text() {
        let document = doc! {
            "i": 1, "l": i64::MAX, "d": 1.0, "z": -0.0, "n": f64::NAN, "f": f64::NEG_INFINITY,
            "s": "a\"\n", "nested": { "a": [1, null, true] }, "o": ObjectId::from_bytes([0xAB; 12]),
            "at": DateTime::from_millis(1_500), "old": DateTime::from_millis(-1),
            "t": Bson::Timestamp(Timestamp { time: 7, increment: 9 }), "min": Bson::MinKey,
        };
        let raw = RawDocumentBuf::from_document(&document).unwrap();
        let expected = "{\"i\":1,\"l\":9223372036854775807,\"d\":1.0,\"z\":-0.0,\
            \"n\":{\"$numberDouble\":\"NaN\"},\"f\":{\"$numberDouble\":\"-Infinity\"},\"s\":\"a\\\"\\n\",\
            \"nested\":{\"a\":[1,null,true]},\"o\":{\"$oid\":\"abababababababababababab\"},\
            \"at\":{\"$date\":\"1970-01-01T00:00:01.500Z\"},\"old\":{\"$date\":{\"$numberLong\":\"-1\"}},\
            \"t\":{\"$timestamp\":{\"t\":7,\"i\":9}},\"min\":{\"$minKey\":1}}";
        let shown = text(RawBsonRef::Document(&raw)).unwrap();
        assert_eq!(shown, expected);
        serde_json::from_str::<serde_json::Value>(&shown).unwrap();
    }
}
