//! Structs, maps and unions as `jsonb` text, in PostgreSQL's layout: `{"a": [1, 2], "cc": 1.50}`.
//!
//! Keys are ordered by length, then bytes, as `jsonb` stores them.

use arrow::array::{Array, AsArray, StructArray};
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::BytesMut;

use crate::pg::encode::ColumnEncoder;
use crate::pg::fault::Fault;
use crate::pg::style::Style;

/// Appends the JSON of one value.
///
/// # Errors
/// 0A000 for a type without a JSON form.
pub(crate) fn write(out: &mut String, array: &dyn Array, row: usize, style: &Style) -> Result<(), Fault> {
    if array.is_null(row) {
        out.push_str("null");
        return Ok(());
    }
    match array.data_type() {
        DataType::Struct(_) => object(out, array.as_struct(), row, style),
        DataType::Map(_, _) => {
            let entries = array.as_map().value(row);
            let [keys, values] = entries.columns() else { return Err(Fault::unsupported("this map")) };
            let options = FormatOptions::default();
            let names = ArrayFormatter::try_new(keys.as_ref(), &options).map_err(|error| internal(&error))?;
            let mut members: Vec<(String, usize)> =
                (0..entries.len()).map(|index| (names.value(index).to_string(), index)).collect();
            members.sort_by(|left, right| key_order(&left.0, &right.0));
            out.push('{');
            for (index, (name, at)) in members.iter().enumerate() {
                member(out, index, name);
                write(out, values.as_ref(), *at, style)?;
            }
            out.push('}');
            Ok(())
        }
        DataType::Union(_, _) => {
            let union = array.as_union();
            let child = union.value(row);
            write(out, child.as_ref(), 0, style)
        }
        DataType::List(_) => elements(out, array.as_list::<i32>().value(row).as_ref(), style),
        DataType::LargeList(_) => elements(out, array.as_list::<i64>().value(row).as_ref(), style),
        DataType::FixedSizeList(_, _) => elements(out, array.as_fixed_size_list().value(row).as_ref(), style),
        DataType::Boolean => {
            out.push_str(if array.as_boolean().value(row) { "true" } else { "false" });
            Ok(())
        }
        other => scalar(out, array, row, style, other),
    }
}

fn scalar(
    out: &mut String,
    array: &dyn Array,
    row: usize,
    style: &Style,
    data_type: &DataType,
) -> Result<(), Fault> {
    let one = array.slice(row, 1);
    let pg = crate::pgtypes::PgType::from_arrow(data_type);
    let encoder = ColumnEncoder::for_json(&one, pg)?;
    let mut text = BytesMut::new();
    encoder.text(0, style, &mut text)?;
    let text = String::from_utf8_lossy(&text);
    let number = data_type.is_numeric() && !text.contains(['N', 'I']);
    if number {
        // jsonb stores numerics: no exponent.
        match text.parse::<f64>() {
            Ok(value) if text.contains('e') => out.push_str(&value.to_string()),
            _ => out.push_str(&text),
        }
    } else {
        out.push_str(&serde_json::Value::from(text.as_ref()).to_string());
    }
    Ok(())
}

fn object(out: &mut String, array: &StructArray, row: usize, style: &Style) -> Result<(), Fault> {
    let mut members: Vec<(&str, &dyn Array)> =
        array.column_names().into_iter().zip(array.columns().iter().map(AsRef::as_ref)).collect();
    members.sort_by(|left, right| key_order(left.0, right.0));
    out.push('{');
    for (index, (name, column)) in members.into_iter().enumerate() {
        member(out, index, name);
        write(out, column, row, style)?;
    }
    out.push('}');
    Ok(())
}

fn elements(out: &mut String, values: &dyn Array, style: &Style) -> Result<(), Fault> {
    out.push('[');
    for index in 0..values.len() {
        if index > 0 {
            out.push_str(", ");
        }
        write(out, values, index, style)?;
    }
    out.push(']');
    Ok(())
}

fn member(out: &mut String, index: usize, name: &str) {
    if index > 0 {
        out.push_str(", ");
    }
    out.push_str(&serde_json::Value::from(name).to_string());
    out.push_str(": ");
}

fn key_order(left: &str, right: &str) -> std::cmp::Ordering {
    left.len().cmp(&right.len()).then_with(|| left.as_bytes().cmp(right.as_bytes()))
}

fn internal(error: &arrow::error::ArrowError) -> Fault {
    tracing::error!(%error, "json encoding failed");
    Fault::new("XX000", "internal error")
}
