//! Records as received from a source that keeps documents: column `doc` of its table, whole.
//!
//! A document is JSON; where it is a JSON string, somebody kept a record that was no document, and the string is what
//! was received. The snapshot's digest does not depend on the order the source gives them in.

use std::sync::Arc;

use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use futures::StreamExt as _;
use portolan_catalog::federation::{Fragment, QueryContext};
use sha2::{Digest as _, Sha256};

use super::Snapshot;
use crate::crosswalk::hex;
use crate::error::{ErrorClass, IngestError, Result};
use crate::job::Ingest;
use crate::pipeline::model::SourceSpec;
use crate::report::Progress;

/// The column that holds a document.
const DOCUMENT: &str = "doc";

pub(super) async fn read(ingest: &Ingest, spec: &SourceSpec, progress: &dyn Progress) -> Result<Snapshot> {
    let (source, table) = ingest.source_table(&spec.schema, &spec.table).await?;
    let Ok(column) = table.arrow.index_of(DOCUMENT) else {
        let message = format!("source table \"{}.{}\" has no records as received", spec.schema, spec.table);
        return Err(IngestError::new(ErrorClass::Config, message).with_hint(
            "read it with source: {table: ...}; records come from file sources, or from a column \"doc\"",
        ));
    };
    let fragment = Fragment { projection: vec![column], ..Fragment::whole(table) };
    let mut stream = source.execute(&fragment, Arc::new(QueryContext::default())).await?;
    let file = format!("{}.{}", spec.schema, spec.table);
    let mut batches = Vec::new();
    let mut digests = Vec::new();
    let mut next = 1_i64;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        let Some(documents) = batch.columns().first() else { continue };
        let documents = cast(documents, &DataType::Utf8)?;
        let documents = documents.as_string::<i32>();
        let payloads: Vec<String> = (0..documents.len())
            .map(|row| received(documents.is_valid(row).then(|| documents.value(row))))
            .collect();
        digests.extend(payloads.iter().map(Sha256::digest));
        progress.advance(payloads.len() as u64);
        batches.push(records(&file, &mut next, payloads)?);
    }
    if digests.is_empty() && !spec.allow_empty {
        let message = format!("source table \"{}.{}\" gave no record", spec.schema, spec.table);
        return Err(IngestError::new(ErrorClass::Data, message)
            .with_hint("check the source; a feed that may be empty says allow_empty: true"));
    }
    if batches.is_empty() {
        batches.push(records(&file, &mut next, Vec::new())?);
    }
    digests.sort_unstable();
    let mut hash = Sha256::new();
    for digest in &digests {
        hash.update(digest);
    }
    Ok(Snapshot { batches, position: format!("sha256:{}", hex(&hash.finalize())) })
}

/// The text that was received.
fn received(document: Option<&str>) -> String {
    let Some(document) = document else { return "null".to_owned() };
    match document.starts_with('"').then(|| serde_json::from_str::<String>(document)) {
        Some(Ok(text)) => text,
        _ => document.to_owned(),
    }
}

/// The columns of [`super::records_batch`].
fn records(file: &str, next: &mut i64, payloads: Vec<String>) -> Result<RecordBatch> {
    let rows = payloads.len();
    let end = *next + i64::try_from(rows).unwrap_or_default();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("_file", Arc::new(StringArray::from(vec![file; rows]))),
        ("_record_no", Arc::new((*next..end).collect::<Int64Array>())),
        ("payload", Arc::new(StringArray::from(payloads))),
        ("fields", Arc::new(StringArray::new_null(rows))),
    ];
    *next = end;
    Ok(RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_text_is_what_was_received() {
        assert_eq!(received(Some("{\"a\": 1}")), "{\"a\": 1}");
        assert_eq!(received(Some("\"{\\\"a\\\": 1\"")), "{\"a\": 1");
        assert_eq!(received(None), "null");
    }

    #[test]
    fn records_are_numbered_over_all_batches() {
        let mut next = 1;
        records("events.x", &mut next, vec!["a".to_owned(), "b".to_owned()]).unwrap();
        let second = records("events.x", &mut next, vec!["c".to_owned()]).unwrap();
        assert_eq!(second.column(1).as_primitive::<datafusion::arrow::datatypes::Int64Type>().value(0), 3);
    }
}
