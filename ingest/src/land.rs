//! Sources into bronze: a whole snapshot as received, appended when it differs from the last one.
//!
//! The position of a snapshot is its digest, and every row carries it in `_pos`, so position and data are one commit
//! without an extra row: bronze holds exactly the records the source gave. Columns of the envelope start with an
//! underscore. Typed sources keep their columns; a timestamp without zone stays text until silver's SQL names the
//! zone, because the lake must not hold an instant nobody can place. Nothing here interprets a value.

mod documents;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use datafusion::arrow::array::{
    ArrayRef, Date32Array, Int64Array, RecordBatch, StringArray, StringBuilder, TimestampMicrosecondArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use futures::StreamExt;
use portolan_catalog::asof::SourceVersion;
use portolan_catalog::copies::Origin;
use portolan_catalog::federation::{Fragment, QueryContext};
use portolan_catalog::files::RawRecord;
use portolan_catalog::lake::{Commit, TableOptions, TablePath};
use sha2::{Digest as _, Sha256};

use crate::contract::storable;
use crate::crosswalk::hex;
use crate::digest::Digest;
use crate::error::{ErrorClass, IngestError, Result};
use crate::job::Ingest;
use crate::pipeline::model::{Pipeline, SourceMode, SourceSpec};
use crate::report::{HopReport, Interval, Progress, Report};

/// Rows per batch made of raw records.
const BATCH: usize = 16_384;

/// What a source gave: batches without envelope, and the digest that is their position.
struct Snapshot {
    batches: Vec<RecordBatch>,
    position: String,
}

/// Lands a pipeline's source. A snapshot that is already there is counted as duplicate and not written.
pub(crate) async fn land(
    ingest: &Ingest,
    pipeline: &Pipeline,
    spec: &SourceSpec,
    interval: Interval,
    run: &str,
    progress: &dyn Progress,
) -> Result<HopReport> {
    let read_at = Utc::now();
    let path = TablePath::new("bronze", &pipeline.bronze);
    let table = format!("bronze.{}", pipeline.bronze);
    let last = ingest.last_commit(&path).await?;
    let known = last.as_ref().and_then(|(_, record)| record.digest.clone());
    let version = cheap_version(ingest, spec).await?;
    if let (Some(version), Some((at, record))) = (&version, &last)
        && known.as_deref().is_some_and(|known| state_of(known) == version)
    {
        let rows = record.counts.get("written").copied().unwrap_or_default();
        return Ok(unchanged(table, *at, rows));
    }
    progress.begin(&format!("land {table}"), None);
    let snapshot = match spec.mode {
        SourceMode::Table => read_table(ingest, spec, version, progress).await?,
        SourceMode::Records => read_records(ingest, spec, version, progress).await?,
    };
    let rows: u64 = snapshot.batches.iter().map(|batch| batch.num_rows() as u64).sum();
    let same = known.as_deref().is_some_and(|known| content_of(known) == content_of(&snapshot.position));
    if let (true, Some((at, _))) = (same, &last) {
        progress.end();
        return Ok(unchanged(table, *at, rows));
    }
    let seq = last.as_ref().map_or(1, |(_, record)| record.seq + 1);
    let batches = envelope(&snapshot, spec, seq)?;
    let counts = Report { read: rows, written: rows, ..Report::default() };
    let Some(schema) = batches.first().map(RecordBatch::schema) else {
        progress.end();
        return Ok(unchanged(table, last.map_or(0, |(at, _)| at), 0));
    };
    let options = TableOptions { append_only: true, ..TableOptions::default() };
    ingest.lake().ensure_table(&path, &schema, &options).await?;
    let commit = Commit {
        pipeline: pipeline.name.clone(),
        app_id: format!("{}/bronze", pipeline.name),
        seq,
        interval: interval.text(),
        counts: BTreeMap::from([("read".to_owned(), rows), ("written".to_owned(), rows)]),
        digest: Some(snapshot.position),
        origin: Some(Origin { read_at, run: Some(run.to_owned()) }),
    };
    let outcome = ingest.lake().append(&path, batches, &commit).await?;
    progress.end();
    Ok(HopReport {
        hop: "bronze",
        table,
        counts,
        version: outcome.version(),
        changed: true,
        rules: BTreeMap::new(),
        warnings: BTreeMap::new(),
    })
}

/// The part of a position that stands for the source's state, such as names, sizes and times of files.
fn state_of(position: &str) -> &str {
    position.split(' ').next().unwrap_or(position)
}

/// The part of a position that stands for the records themselves: a file that was copied, touched or renamed gives
/// the same one.
fn content_of(position: &str) -> &str {
    position.rsplit(' ').next().unwrap_or(position)
}

fn unchanged(table: String, version: i64, rows: u64) -> HopReport {
    let counts = Report { read: rows, deduplicated: rows, ..Report::default() };
    HopReport {
        hop: "bronze",
        table,
        counts,
        version,
        changed: false,
        rules: BTreeMap::new(),
        warnings: BTreeMap::new(),
    }
}

/// The source's own content digest, where it has one; asking is cheaper than reading.
async fn cheap_version(ingest: &Ingest, spec: &SourceSpec) -> Result<Option<String>> {
    if let Some(files) = ingest.files(&spec.schema)
        && let SourceVersion::Digest(digest) = files.table_version(&spec.table).await?
    {
        return Ok(Some(format!("files:{digest}")));
    }
    Ok(None)
}

async fn read_table(
    ingest: &Ingest,
    spec: &SourceSpec,
    version: Option<String>,
    progress: &dyn Progress,
) -> Result<Snapshot> {
    let (source, table) = ingest.source_table(&spec.schema, &spec.table).await?;
    let projection = (0..table.arrow.fields().len()).collect();
    let columns = Arc::clone(&table.arrow);
    let fragment = Fragment { projection, ..Fragment::whole(table) };
    let mut stream = source.execute(&fragment, Arc::new(QueryContext::default())).await?;
    let mut batches = Vec::new();
    while let Some(batch) = stream.next().await {
        let batch = plain(&batch?)?;
        progress.advance(batch.num_rows() as u64);
        batches.push(batch);
    }
    if batches.is_empty() {
        // A table without rows is landed as such: what is made of it has none either.
        batches.push(plain(&RecordBatch::new_empty(columns))?);
    }
    let position = match version {
        Some(version) => version,
        None => format!("rows:{}", Digest::of(&batches)?),
    };
    Ok(Snapshot { batches, position })
}

/// Types the lake can hold exactly; wall-clock times as text.
fn plain(batch: &RecordBatch) -> Result<RecordBatch> {
    let mut fields = Vec::with_capacity(batch.num_columns());
    let mut arrays = Vec::with_capacity(batch.num_columns());
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        let kind = match field.data_type() {
            DataType::Timestamp(_, None) => DataType::Utf8,
            other => storable(other),
        };
        arrays.push(cast(array, &kind)?);
        fields.push(Field::new(field.name(), kind, true).with_metadata(field.metadata().clone()));
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
}

async fn read_records(
    ingest: &Ingest,
    spec: &SourceSpec,
    version: Option<String>,
    progress: &dyn Progress,
) -> Result<Snapshot> {
    let Some(files) = ingest.files(&spec.schema) else {
        return documents::read(ingest, spec, progress).await;
    };
    let mut stream = files.records(&spec.table)?.chunks(BATCH);
    let mut batches = Vec::new();
    let mut hash = Sha256::new();
    let mut first: Option<Arc<str>> = None;
    while let Some(chunk) = stream.next().await {
        let records: Vec<RawRecord> = chunk.into_iter().collect::<Result<_, _>>()?;
        for record in &records {
            let first = first.get_or_insert_with(|| Arc::clone(&record.file));
            if spec.one_file && *first != record.file {
                let message = format!(
                    "source table \"{}.{}\" has several files where a snapshot is one: \"{first}\", \"{}\"",
                    spec.schema, spec.table, record.file
                );
                return Err(IngestError::new(ErrorClass::Data, message).with_hint(
                    "keep each snapshot in a folder of its own, and run ingest once for each, oldest first",
                ));
            }
            hash.update(&record.payload);
            hash.update([0]);
        }
        progress.advance(records.len() as u64);
        batches.push(records_batch(&records)?);
    }
    if batches.is_empty() {
        if !spec.allow_empty {
            let message = format!("source table \"{}.{}\" gave no record", spec.schema, spec.table);
            return Err(IngestError::new(ErrorClass::Data, message).with_hint(
                "check that the folder holds its files and that path and root tag fit them; a feed that may be empty \
                 says allow_empty: true",
            ));
        }
        batches.push(records_batch(&[])?);
    }
    let content = format!("sha256:{}", hex(&hash.finalize()));
    let position = version.map_or_else(|| content.clone(), |state| format!("{state} {content}"));
    Ok(Snapshot { batches, position })
}

/// Columns: _file, _record_no, payload, fields (JSON object of the record's fields, for formats other than JSON).
fn records_batch(records: &[RawRecord]) -> Result<RecordBatch> {
    let mut payload = StringBuilder::new();
    let mut fields = StringBuilder::new();
    for record in records {
        let text = String::from_utf8_lossy(&record.payload);
        payload.append_value(&text);
        let is_json = text.trim_start().starts_with('{');
        if is_json || record.malformed.is_some() {
            fields.append_null();
        } else {
            let object: serde_json::Map<String, serde_json::Value> = record
                .fields
                .iter()
                .map(|(name, value)| {
                    (name.clone(), value.clone().map_or(serde_json::Value::Null, Into::into))
                })
                .collect();
            fields.append_value(serde_json::Value::Object(object).to_string());
        }
    }
    let numbers = records.iter().map(|record| i64::try_from(record.record_no).ok()).collect::<Int64Array>();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("_file", Arc::new(StringArray::from_iter_values(records.iter().map(|record| record.file.as_ref())))),
        ("_record_no", Arc::new(numbers)),
        ("payload", Arc::new(payload.finish())),
        ("fields", Arc::new(fields.finish())),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true)))?)
}

/// Puts the envelope before the columns: _src, _batch_seq, _row_no, _pos, _captured_at, _ingested_on.
fn envelope(snapshot: &Snapshot, spec: &SourceSpec, seq: i64) -> Result<Vec<RecordBatch>> {
    let now: DateTime<Utc> = Utc::now();
    let source = format!("{}.{}", spec.schema, spec.table);
    let day = i32::try_from(now.timestamp().div_euclid(86_400)).unwrap_or_default();
    let mut next = 1_i64;
    let mut out = Vec::with_capacity(snapshot.batches.len());
    for batch in &snapshot.batches {
        let rows = batch.num_rows();
        let end = next + i64::try_from(rows).unwrap_or_default();
        let mut columns: Vec<(String, ArrayRef)> = vec![
            ("_src".into(), Arc::new(StringArray::from(vec![source.as_str(); rows]))),
            ("_batch_seq".into(), Arc::new(Int64Array::from(vec![seq; rows]))),
            ("_row_no".into(), Arc::new((next..end).collect::<Int64Array>())),
            ("_pos".into(), Arc::new(StringArray::from(vec![snapshot.position.as_str(); rows]))),
            (
                "_captured_at".into(),
                Arc::new(
                    TimestampMicrosecondArray::from(vec![now.timestamp_micros(); rows]).with_timezone("UTC"),
                ),
            ),
            ("_ingested_on".into(), Arc::new(Date32Array::from(vec![day; rows]))),
        ];
        next = end;
        let mut fields: Vec<Field> =
            columns.iter().map(|(name, array)| Field::new(name, array.data_type().clone(), true)).collect();
        for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
            fields.push(field.as_ref().clone());
            columns.push((field.name().clone(), Arc::clone(array)));
        }
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        out.push(RecordBatch::try_new(schema, columns.into_iter().map(|(_, array)| array).collect())?);
    }
    Ok(out)
}
