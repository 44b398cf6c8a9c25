//! Which columns a lake table may have, and which it has.
//!
//! A type that Delta would store inexactly, or that would raise the table's protocol beyond reader 1, is refused
//! before anything is written: a zoneless timestamp silently turns on `timestampNtz` (reader 3, writer 7).

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use deltalake::DeltaTable;

use super::{TablePath, damaged};
use crate::source::{SourceError, SourceErrorKind};

/// Refuses columns the lake does not store exactly.
pub(super) fn check(path: &TablePath, schema: &Schema) -> Result<(), SourceError> {
    for field in schema.fields() {
        if let Some(reason) = refusal(field.data_type()) {
            return Err(SourceError::new(
                SourceErrorKind::Unsupported,
                format!("column \"{}\" of \"{path}\" cannot be stored in the lake: {reason}", field.name()),
            )
            .with_hint("use timestamptz with microseconds, signed integers, decimal, text, date or bytes"));
        }
    }
    Ok(())
}

fn refusal(data_type: &DataType) -> Option<&'static str> {
    match data_type {
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Decimal128(_, _)
        | DataType::Utf8
        | DataType::Binary
        | DataType::Date32 => None,
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if zone.as_ref() == "UTC" => None,
        DataType::Timestamp(_, _) => Some("a timestamp must be in UTC with microseconds"),
        DataType::List(item) => refusal(item.data_type()),
        DataType::Struct(fields) => fields.iter().find_map(|field| refusal(field.data_type())),
        _ => Some("its type has no exact form there"),
    }
}

/// The columns of an open table.
pub(super) fn of(path: &TablePath, table: &DeltaTable) -> Result<SchemaRef, SourceError> {
    let state = table.snapshot().map_err(|cause| damaged(path, cause))?;
    let stored = state.snapshot().arrow_schema();
    let fields: Vec<Field> = stored.fields().iter().map(|field| plain(field)).collect();
    Ok(Arc::new(Schema::new(fields)))
}

/// The same column with plain types: no views, no dictionaries, `UTC` as the only zone name.
fn plain(field: &Field) -> Field {
    let data_type = match field.data_type() {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::Dictionary(_, value) => value.as_ref().clone(),
        DataType::Timestamp(_, Some(_)) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        other => other.clone(),
    };
    Field::new(field.name(), data_type, field.is_nullable()).with_metadata(field.metadata().clone())
}

/// Checks that a table has exactly the wanted columns, by name, type and order.
pub(super) fn check_equal(path: &TablePath, wanted: &Schema, stored: &Schema) -> Result<(), SourceError> {
    let shape = |schema: &Schema| -> Vec<(String, DataType)> {
        schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect()
    };
    let (wanted, stored) = (shape(wanted), shape(stored));
    if wanted == stored {
        return Ok(());
    }
    let difference = wanted
        .iter()
        .find(|column| !stored.contains(column))
        .or_else(|| stored.iter().find(|column| !wanted.contains(column)))
        .map_or("the order of the columns", |(name, _)| name.as_str());
    Err(SourceError::new(
        SourceErrorKind::Conflict,
        format!(
            "table \"{path}\" has other columns than its contract; the first difference is \"{difference}\""
        ),
    )
    .with_hint("rebuild the table from bronze, or migrate it"))
}
