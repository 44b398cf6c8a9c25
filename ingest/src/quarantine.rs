//! Refused rows as a lake table beside each target: what was refused, by which rule, with the row itself.
//!
//! Quarantine is written before its target, so a crash in between loses no refusal; writing it again is harmless.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::Utc;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::error::Result;
use crate::pipeline::model::TableSpec;

/// Columns: target, rule_id, severity, row_no, payload (the refused row as JSON), first_seen, status.
pub(crate) fn batch(
    spec: &TableSpec,
    refused: &[(String, i64)],
    bronze: &[RecordBatch],
) -> Result<RecordBatch> {
    let mut wanted: HashMap<i64, String> = refused.iter().map(|(_, id)| (*id, String::new())).collect();
    for batch in bronze {
        let Some(ids) =
            batch.column_by_name("row_id").and_then(|array| array.as_primitive_opt::<Int64Type>())
        else {
            continue;
        };
        for row in 0..batch.num_rows() {
            if let Some(slot) = wanted.get_mut(&ids.value(row)) {
                *slot = row_json(batch, row)?;
            }
        }
    }
    let now = Utc::now().timestamp_micros();
    let payload = refused.iter().map(|(_, id)| wanted.get(id).map(String::as_str)).collect::<StringArray>();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("target", Arc::new(StringArray::from(vec![spec.table.to_string(); refused.len()]))),
        ("rule_id", Arc::new(StringArray::from_iter_values(refused.iter().map(|(rule, _)| rule)))),
        ("severity", Arc::new(StringArray::from(vec!["quarantine"; refused.len()]))),
        ("row_no", Arc::new(Int64Array::from_iter_values(refused.iter().map(|(_, id)| *id)))),
        ("payload", Arc::new(payload)),
        (
            "first_seen",
            Arc::new(TimestampMicrosecondArray::from(vec![now; refused.len()]).with_timezone("UTC")),
        ),
        ("status", Arc::new(StringArray::from(vec!["open"; refused.len()]))),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true)))?)
}

fn row_json(batch: &RecordBatch, row: usize) -> Result<String> {
    let mut object = serde_json::Map::new();
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        if array.is_null(row) || (field.name().starts_with('_') && field.name() != "_src") {
            continue;
        }
        let formatter = ArrayFormatter::try_new(array, &FormatOptions::default())?;
        object.insert(field.name().clone(), formatter.value(row).to_string().into());
    }
    Ok(serde_json::Value::Object(object).to_string())
}
