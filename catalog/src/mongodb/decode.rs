//! From raw BSON documents to batches, without a document in between.
//!
//! Every value becomes its column's type exactly, or is a misfit: then the query fails, naming
//! `source.table.column`, or where that is declared the value is NULL and counted. Nothing is rounded or clipped.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{FieldRef, SchemaRef};
use mongodb::bson::{RawBsonRef, RawDocument};

use super::builder::{Builder, Flaw};
use crate::config::OnMismatch;
use crate::source::{SourceError, SourceErrorKind};

/// Rows per batch at most.
const BATCH_ROWS: usize = 8_192;
/// Bytes of documents per batch at most, one document aside.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// One column that is read, by its path through nested documents.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) field: FieldRef,
    pub(super) path: Vec<String>,
}

/// Decodes the documents of one answer.
pub(super) struct Decoder {
    /// `source.table`, for messages.
    table: String,
    schema: SchemaRef,
    on_mismatch: OnMismatch,
    columns: Vec<Column>,
    /// Columns by the first step of their path.
    by_name: HashMap<String, Vec<usize>>,
    rows: usize,
    bytes: usize,
    misfits: u64,
}

struct Column {
    name: String,
    /// Steps after the first.
    steps: Vec<String>,
    builder: Builder,
}

impl Decoder {
    /// A decoder of batches of the schema. The wanted columns are those of the schema, in order, and then others
    /// that are only checked.
    pub(super) fn new(
        table: String,
        schema: SchemaRef,
        wanted: Vec<Wanted>,
        on_mismatch: OnMismatch,
    ) -> Result<Self, SourceError> {
        let mut columns = Vec::with_capacity(wanted.len());
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, Wanted { field, path }) in wanted.into_iter().enumerate() {
            let name = field.name().clone();
            let builder = Builder::of(&field).ok_or_else(|| {
                let message = format!("column \"{table}.{name}\" has a type no MongoDB value becomes");
                SourceError::new(SourceErrorKind::Unsupported, message)
            })?;
            let mut steps = path.into_iter();
            by_name.entry(steps.next().unwrap_or_default()).or_default().push(index);
            columns.push(Column { name, steps: steps.collect(), builder });
        }
        Ok(Self { table, schema, on_mismatch, columns, by_name, rows: 0, bytes: 0, misfits: 0 })
    }

    /// Appends a document as one row.
    pub(super) fn push(&mut self, document: &RawDocument) -> Result<(), SourceError> {
        let mut values: Vec<Option<RawBsonRef<'_>>> = vec![None; self.columns.len()];
        for element in document {
            let (name, value) = element.map_err(|_| malformed(&self.table))?;
            for index in self.by_name.get(name).into_iter().flatten() {
                // The first of fields of one name, as the server takes it.
                if let Some(slot) = values.get_mut(*index) {
                    slot.get_or_insert(value);
                }
            }
        }
        for (column, value) in self.columns.iter_mut().zip(values) {
            let appended = match walk(value, &column.steps) {
                Ok(value) => column.builder.append(value.filter(|value| !matches!(value, RawBsonRef::Null))),
                Err(flaw) => Err(flaw),
            };
            let Err(flaw) = appended else { continue };
            if flaw == Flaw::Malformed {
                return Err(malformed(&self.table));
            }
            if self.on_mismatch == OnMismatch::Error {
                return Err(misfit(&self.table, &column.name, &column.builder, &flaw));
            }
            self.misfits += 1;
            if !matches!(flaw, Flaw::Item(_)) {
                // A list has its row already.
                column.builder.append_null();
            }
        }
        self.rows += 1;
        self.bytes += document.as_bytes().len();
        Ok(())
    }

    pub(super) fn is_full(&self) -> bool {
        self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES
    }

    /// Values that became NULL so far.
    pub(super) fn misfits(&self) -> u64 {
        self.misfits
    }

    /// The rows collected so far; the decoder is empty afterwards. `None` without rows.
    pub(super) fn finish(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        if rows == 0 {
            return Ok(None);
        }
        let shown = self.schema.fields().len();
        let mut arrays: Vec<ArrayRef> =
            self.columns.iter_mut().map(|column| column.builder.finish()).collect();
        arrays.truncate(shown);
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options).map(Some).map_err(
            |error| {
                let message = format!("documents of \"{}\" do not make a batch", self.table);
                SourceError::new(SourceErrorKind::Data, message).with_cause(error)
            },
        )
    }
}

/// Follows a path below a value. A missing or null step gives nothing; a step into anything but a document is a misfit.
fn walk<'a>(value: Option<RawBsonRef<'a>>, steps: &[String]) -> Result<Option<RawBsonRef<'a>>, Flaw> {
    let mut value = value;
    for step in steps {
        value = match value {
            None | Some(RawBsonRef::Null) => return Ok(None),
            Some(RawBsonRef::Document(document)) => document.get(step).map_err(|_| Flaw::Malformed)?,
            Some(other) => return Err(Flaw::Type(super::kind::type_name(other))),
        };
    }
    Ok(value)
}

fn malformed(table: &str) -> SourceError {
    SourceError::new(SourceErrorKind::Remote, format!("a document of \"{table}\" is malformed"))
}

fn misfit(table: &str, column: &str, builder: &Builder, flaw: &Flaw) -> SourceError {
    let path = format!("{table}.{column}");
    let declare = "declare the column's type, or on_mismatch: null, in the source's tables:";
    let (kind, code, message) = match flaw {
        Flaw::Item(inner) => return misfit(table, column, builder, inner),
        Flaw::Type(found) => (
            SourceErrorKind::Remote,
            None,
            format!("a value of type {found} does not fit column \"{path}\" of type {}", builder.sql_name()),
        ),
        Flaw::Range => (
            SourceErrorKind::Data,
            Some("22003"),
            format!("a value does not fit column \"{path}\" of type {} exactly", builder.sql_name()),
        ),
        Flaw::Time => (
            SourceErrorKind::Data,
            Some("22008"),
            format!("an instant of column \"{path}\" is out of the range of {}", builder.sql_name()),
        ),
        Flaw::Nul => {
            (SourceErrorKind::Data, Some("22021"), format!("a text of column \"{path}\" contains NUL"))
        }
        Flaw::Malformed => return malformed(table),
    };
    let error = SourceError::new(kind, message).with_hint(declare);
    match code {
        Some(code) => error.with_remote_code(code),
        None => error,
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
