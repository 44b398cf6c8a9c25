//! From messages to batches: the columns every topic has, and the declared fields of the values.
//!
//! A message without a value – a tombstone – is a row whose fields are null. One that cannot be read is an error
//! that names table, partition and offset, or a row of nulls that is counted; it is never left out.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::array::{
    ArrayRef, BinaryBuilder, Int32Builder, Int64Builder, RecordBatch, RecordBatchOptions, StringBuilder,
    TimestampMicrosecondBuilder,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::arrow::error::ArrowError;
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Headers, Message};

use super::config::TopicConfig;
use crate::files::{Decoder, FileFormat, Misfit, OnMismatch, RawRecord, declared_fields, object_fields};
use crate::source::{COMMENT_KEY, PG_TYPE_KEY, SOURCE_TYPE_KEY};

/// Column of a message's partition.
pub(super) const PARTITION: &str = "_partition";
/// Column of a message's offset within its partition.
pub(super) const OFFSET: &str = "_offset";
/// Column of a message's time.
pub(super) const TIMESTAMP: &str = "_timestamp";
const KEY: &str = "_key";
const HEADERS: &str = "_headers";

/// Number of the columns that every topic has.
const OWN: usize = 5;

/// Rows and bytes after which a batch is full.
const BATCH_ROWS: usize = 8_192;
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// The columns of a topic's table.
pub(super) fn columns_of(topic: &TopicConfig) -> SchemaRef {
    let own = |name: &str, arrow: DataType, nullable: bool, more: &[(&str, &str)]| {
        let metadata: HashMap<String, String> =
            more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Field::new(name, arrow, nullable).with_metadata(metadata)
    };
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let mut fields = vec![
        own(PARTITION, DataType::Int32, false, &[(COMMENT_KEY, "partition of the topic")]),
        own(OFFSET, DataType::Int64, false, &[(COMMENT_KEY, "offset within the partition; not dense")]),
        own(TIMESTAMP, time, true, &[(COMMENT_KEY, "time of the message, to the millisecond")]),
        own(KEY, DataType::Binary, true, &[(COMMENT_KEY, "key of the message")]),
        own(
            HEADERS,
            DataType::Utf8,
            true,
            &[(COMMENT_KEY, "headers in order, as [{\"key\", \"value\"}]"), (PG_TYPE_KEY, "jsonb")],
        ),
    ];
    fields.extend(declared_fields(&topic.columns).into_iter().map(|field| {
        let mut metadata = field.metadata().clone();
        metadata.insert(SOURCE_TYPE_KEY.to_owned(), "json".to_owned());
        field.with_metadata(metadata)
    }));
    Arc::new(Schema::new(fields))
}

/// Whether a column's name belongs to every topic's table.
pub(super) fn is_own(name: &str) -> bool {
    [PARTITION, OFFSET, TIMESTAMP, KEY, HEADERS].contains(&name)
}

/// Collects messages into batches of the wanted columns.
pub(super) struct Rows {
    schema: SchemaRef,
    projection: Vec<usize>,
    on_mismatch: OnMismatch,
    partition: Int32Builder,
    offset: Int64Builder,
    timestamp: TimestampMicrosecondBuilder,
    key: BinaryBuilder,
    headers: StringBuilder,
    fields: Option<Decoder>,
    rows: usize,
    bytes: usize,
    mismatches: u64,
}

impl Rows {
    /// Rows with the columns of the projection, indices into [`columns_of`] the topic.
    pub(super) fn try_new(
        topic: &TopicConfig,
        whole: &SchemaRef,
        projection: &[usize],
    ) -> Result<Self, ArrowError> {
        let wanted: Vec<usize> = projection.iter().copied().filter(|index| *index >= OWN).collect();
        let configs: Vec<_> =
            wanted.iter().filter_map(|index| topic.columns.get(index - OWN).cloned()).collect();
        let fields = if wanted.is_empty() {
            None
        } else {
            let schema = Arc::new(whole.project(&wanted)?);
            Some(Decoder::try_new(schema, &FileFormat::Ndjson, &configs, topic.on_mismatch)?)
        };
        Ok(Self {
            schema: Arc::new(whole.project(projection)?),
            projection: projection.to_vec(),
            on_mismatch: topic.on_mismatch,
            partition: Int32Builder::new(),
            offset: Int64Builder::new(),
            timestamp: TimestampMicrosecondBuilder::new(),
            key: BinaryBuilder::new(),
            headers: StringBuilder::new(),
            fields,
            rows: 0,
            bytes: 0,
            mismatches: 0,
        })
    }

    /// Appends a message as one row.
    pub(super) fn append(&mut self, message: &BorrowedMessage<'_>) -> Result<(), Misfit> {
        self.partition.append_value(message.partition());
        self.offset.append_value(message.offset());
        if self.wants(2) {
            let micros = self.or_null(micros(message), TIMESTAMP)?;
            self.timestamp.append_option(micros);
        }
        if self.wants(3) {
            self.key.append_option(message.key());
            self.bytes += message.key().map_or(0, <[u8]>::len);
        }
        if self.wants(4) {
            let text = self.or_null(headers(message.headers()), HEADERS)?;
            self.bytes += text.as_ref().map_or(0, String::len);
            self.headers.append_option(text);
        }
        if let Some(decoder) = &mut self.fields {
            match message.payload() {
                None => decoder.append_nulls(),
                Some(payload) => {
                    self.bytes += payload.len();
                    let (fields, malformed) = match object_fields(payload) {
                        Ok(fields) => (fields, None),
                        Err(why) => (vec![], Some(why)),
                    };
                    decoder.append(&RawRecord {
                        file: Arc::default(),
                        record_no: 0,
                        payload: Bytes::copy_from_slice(payload),
                        fields,
                        malformed,
                    })?;
                }
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// A value of a column of our own, or null and counted if that is what was declared.
    fn or_null<T>(&mut self, value: Result<Option<T>, String>, column: &str) -> Result<Option<T>, Misfit> {
        match (value, self.on_mismatch) {
            (Ok(value), _) => Ok(value),
            (Err(what), OnMismatch::Error) => {
                // Of our own only a time can be out of a range.
                let code = (column == TIMESTAMP).then_some("22008");
                Err(Misfit { column: Some(column.to_owned()), what, code })
            }
            (Err(_), OnMismatch::Null) => {
                self.mismatches += 1;
                Ok(None)
            }
        }
    }

    fn wants(&self, column: usize) -> bool {
        self.projection.contains(&column)
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn is_full(&self) -> bool {
        self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }

    /// Messages and values that became null because they did not fit.
    pub(super) fn mismatches(&self) -> u64 {
        self.mismatches + self.fields.as_ref().map_or(0, Decoder::mismatches)
    }

    /// The rows collected so far as one batch; empty afterwards.
    pub(super) fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        let own: [ArrayRef; OWN] = [
            Arc::new(self.partition.finish()),
            Arc::new(self.offset.finish()),
            Arc::new(self.timestamp.finish().with_timezone("UTC")),
            Arc::new(self.key.finish()),
            Arc::new(self.headers.finish()),
        ];
        let mut fields = match &mut self.fields {
            Some(decoder) => decoder.finish()?.columns().to_vec(),
            None => vec![],
        }
        .into_iter();
        let columns: Vec<ArrayRef> = self
            .projection
            .iter()
            .filter_map(|index| own.get(*index).map(Arc::clone).or_else(|| fields.next()))
            .collect();
        self.bytes = 0;
        let options = RecordBatchOptions::new().with_row_count(Some(std::mem::take(&mut self.rows)));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
    }
}

/// The message's time in µs; none if its format is too old to have one.
fn micros(message: &BorrowedMessage<'_>) -> Result<Option<i64>, String> {
    match message.timestamp().to_millis() {
        None => Ok(None),
        Some(millis) => {
            millis.checked_mul(1_000).map(Some).ok_or_else(|| "timestamp out of range".to_owned())
        }
    }
}

/// Headers as JSON text, in order, as PostgreSQL writes jsonb. A value that is no text is told in base64.
fn headers(headers: Option<&BorrowedHeaders>) -> Result<Option<String>, String> {
    use base64::Engine;

    let Some(headers) = headers.filter(|headers| headers.count() > 0) else { return Ok(None) };
    let mut items = Vec::with_capacity(headers.count());
    for index in 0..headers.count() {
        // The library insists on UTF-8 names by panicking.
        let header = std::panic::catch_unwind(AssertUnwindSafe(|| headers.try_get(index)))
            .map_err(|_| "a header's name is not UTF-8".to_owned())?;
        let Some(header) = header else { continue };
        let key = serde_json::Value::from(header.key);
        items.push(match header.value.map(|value| (value, std::str::from_utf8(value))) {
            None => format!("{{\"key\": {key}, \"value\": null}}"),
            // PostgreSQL's text cannot hold NUL.
            Some((_, Ok(text))) if !text.contains('\0') => {
                format!("{{\"key\": {key}, \"value\": {}}}", serde_json::Value::from(text))
            }
            Some((bytes, _)) => {
                let encoded = base64::engine::general_purpose::STANDARD.encode(bytes);
                format!("{{\"key\": {key}, \"base64\": \"{encoded}\"}}")
            }
        });
    }
    Ok(Some(format!("[{}]", items.join(", "))))
}
