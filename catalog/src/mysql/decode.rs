//! Binary rows to Arrow batches: every value exactly, or an error that names `source.table.column`.
//!
//! Before the first row the columns the server announces are held against the table's definition, so a column that
//! was altered meanwhile is an error and never a value of another meaning.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{DataType, Field, SchemaRef, TimeUnit};
use mysql_async::consts::ColumnType;
use mysql_async::{Column, Row, Value};

use self::builder::Builder;
use super::column::{AS_TEXT_KEY, base, is_flag};
use super::config::ZeroDates;
use crate::declared::DeclaredType;
use crate::federation::Fragment;
use crate::source::{SOURCE_TYPE_KEY, SourceError, SourceErrorKind, SourceName, TableDef};

mod builder;

/// Rows per batch at most.
const BATCH_ROWS: usize = 8_192;
/// Bytes of values per batch at most.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// The character set number of bytes without one.
const BINARY_CHARSET: u16 = 63;

/// Why a value cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// The value is of another kind than the column's type.
    OtherKind,
    /// The value is outside the Arrow type.
    OutOfRange,
    /// The number is neither 0 nor 1, which stand for false and true.
    NoFlag,
    /// A date with a zero month or day.
    ZeroDate,
    /// A date no calendar has, such as the 31st of February.
    NoDate,
    /// Text that is not valid, or may have lost a character in its conversion.
    BadText,
}

/// Decodes the rows of one statement.
pub(super) struct Decoder {
    source: SourceName,
    table: Arc<TableDef>,
    schema: SchemaRef,
    zero_dates: ZeroDates,
    builders: Vec<Builder>,
    /// Tables and fields that the columns come from, where they are known.
    origins: Vec<Option<(String, Field)>>,
    rows: usize,
    bytes: usize,
    nulled: u64,
}

impl Decoder {
    pub(super) fn new(
        source: SourceName,
        table: Arc<TableDef>,
        schema: SchemaRef,
        zero_dates: ZeroDates,
    ) -> Result<Self, SourceError> {
        let mut builders = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            let builder = Builder::of(field).ok_or_else(|| {
                let path = format!("{source}.{}.{}", table.name, field.name());
                let message = format!("column \"{path}\" has a type no MySQL value becomes");
                SourceError::new(SourceErrorKind::Unsupported, message).with_source(&source)
            })?;
            builders.push(builder);
        }
        let origins = Vec::new();
        Ok(Self { source, table, schema, zero_dates, builders, origins, rows: 0, bytes: 0, nulled: 0 })
    }

    /// The same, of which errors name the columns that a fragment reads.
    pub(super) fn reading(self, fragment: &Fragment) -> Self {
        let origin =
            |output| fragment.origin(output).map(|(table, field)| (table.name.clone(), field.clone()));
        Self { origins: (0..self.builders.len()).map(origin).collect(), ..self }
    }

    /// Zero dates that became null so far.
    pub(super) fn nulled(&self) -> u64 {
        self.nulled
    }

    /// Holds the announced columns against the promised ones.
    pub(super) fn expect(&self, announced: &[Column]) -> Result<(), SourceError> {
        // Rows without columns are counted by a constant.
        let wanted = self.schema.fields();
        if wanted.is_empty() {
            return if announced.len() == 1 { Ok(()) } else { Err(self.changed("its columns")) };
        }
        if wanted.len() != announced.len() {
            return Err(self.changed("its columns"));
        }
        for (field, column) in wanted.iter().zip(announced) {
            if !same_kind(field, column) {
                return Err(self.changed(&format!("\"{}\"", field.name())));
            }
        }
        Ok(())
    }

    /// Takes one row; returns a batch when it is full.
    pub(super) fn push(&mut self, row: &Row) -> Result<Option<RecordBatch>, SourceError> {
        for index in 0..self.builders.len() {
            let value = row.as_ref(index).unwrap_or(&Value::NULL);
            self.bytes += weight(value);
            let Some(builder) = self.builders.get_mut(index) else { continue };
            match builder.append(value) {
                Ok(()) => {}
                Err(Flaw::ZeroDate) if self.zero_dates == ZeroDates::Null => {
                    builder.append_null();
                    self.nulled += 1;
                }
                Err(flaw) => return Err(self.misfit(index, flaw)),
            }
        }
        self.rows += 1;
        if self.rows >= BATCH_ROWS || self.bytes >= BATCH_BYTES { self.flush().map(Some) } else { Ok(None) }
    }

    /// The rest, once the answer has ended.
    pub(super) fn finish(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        if self.rows == 0 { Ok(None) } else { self.flush().map(Some) }
    }

    fn flush(&mut self) -> Result<RecordBatch, SourceError> {
        let columns: Vec<ArrayRef> = self.builders.iter_mut().map(Builder::finish).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        (self.rows, self.bytes) = (0, 0);
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|error| self.changed("its columns").with_cause(error))
    }

    fn changed(&self, what: &str) -> SourceError {
        let message = format!(
            "table \"{}.{}\" has changed: {what} differ from what was known",
            self.source, self.table.name
        );
        // The table is read anew at the next look-up, as for a column that is gone.
        SourceError::new(SourceErrorKind::NotFound, message)
            .with_source(&self.source)
            .with_hint("run the query again")
    }

    fn misfit(&self, index: usize, flaw: Flaw) -> SourceError {
        let origin = self.origins.get(index).and_then(Option::as_ref);
        let (table, column) = match (origin, self.schema.fields().get(index)) {
            (Some((table, field)), _) => (table.as_str(), field.name().as_str()),
            (None, field) => (self.table.name.as_str(), field.map_or("?", |field| field.name().as_str())),
        };
        let path = format!("{}.{table}.{column}", self.source);
        // What the configuration says of the column, and what the column is.
        let declared = origin.and_then(|(_, field)| {
            Some((DeclaredType::of(field)?.line(table, column), field.metadata().get(SOURCE_TYPE_KEY)?))
        });
        let (message, hint) = match flaw {
            Flaw::OtherKind => return self.changed(&format!("values of \"{column}\"")),
            Flaw::OutOfRange => (
                format!("a value of column \"{path}\" does not fit its type"),
                match declared {
                    Some((line, is)) => {
                        format!("correct {line} of source \"{}\": the column is {is} there", self.source)
                    }
                    None => "expose a view that casts the column".to_owned(),
                },
            ),
            Flaw::NoFlag => (
                format!("a value of column \"{path}\" is neither 0 nor 1, and the column is declared bool"),
                match declared {
                    Some((line, _)) => {
                        format!("take {line} from source \"{}\" to read the column's numbers", self.source)
                    }
                    None => "correct the row at the source".to_owned(),
                },
            ),
            Flaw::ZeroDate => (
                format!("a date of column \"{path}\" has a zero month or day"),
                format!("write zero_dates: null in sources.{} to read such dates as null", self.source),
            ),
            Flaw::NoDate => (
                format!("a date of column \"{path}\" is in no calendar"),
                "correct the row at the source".to_owned(),
            ),
            Flaw::BadText => (
                format!("a text of column \"{path}\" cannot be read exactly as Unicode"),
                "expose a view that converts the column to utf8mb4".to_owned(),
            ),
        };
        SourceError::new(SourceErrorKind::Data, message).with_source(&self.source).with_hint(hint)
    }
}

/// Bytes a value takes, about.
fn weight(value: &Value) -> usize {
    match value {
        Value::Bytes(bytes) => bytes.len() + 16,
        _ => 8,
    }
}

/// Whether the announced column can carry the field's values with their meaning.
fn same_kind(field: &Field, column: &Column) -> bool {
    use ColumnType as Wire;
    let wire = column.column_type();
    let text = || column.character_set() != BINARY_CHARSET || matches!(wire, Wire::MYSQL_TYPE_JSON);
    let bytes_like = matches!(
        wire,
        Wire::MYSQL_TYPE_STRING
            | Wire::MYSQL_TYPE_VAR_STRING
            | Wire::MYSQL_TYPE_VARCHAR
            | Wire::MYSQL_TYPE_BLOB
            | Wire::MYSQL_TYPE_TINY_BLOB
            | Wire::MYSQL_TYPE_MEDIUM_BLOB
            | Wire::MYSQL_TYPE_LONG_BLOB
            | Wire::MYSQL_TYPE_SET
            | Wire::MYSQL_TYPE_ENUM
            | Wire::MYSQL_TYPE_GEOMETRY
            | Wire::MYSQL_TYPE_VECTOR
            | Wire::MYSQL_TYPE_JSON
    );
    match field.data_type() {
        DataType::Boolean if is_flag(field) => wire == Wire::MYSQL_TYPE_TINY,
        DataType::Boolean => wire == Wire::MYSQL_TYPE_BIT,
        DataType::UInt64 if base(field) == "bit" => wire == Wire::MYSQL_TYPE_BIT,
        // A sum of integers is a decimal there.
        DataType::Int64 if base(field).is_empty() && wire == Wire::MYSQL_TYPE_NEWDECIMAL => true,
        DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::UInt64 => matches!(
            wire,
            Wire::MYSQL_TYPE_TINY
                | Wire::MYSQL_TYPE_SHORT
                | Wire::MYSQL_TYPE_INT24
                | Wire::MYSQL_TYPE_LONG
                | Wire::MYSQL_TYPE_LONGLONG
                | Wire::MYSQL_TYPE_YEAR
        ),
        DataType::Float32 => wire == Wire::MYSQL_TYPE_FLOAT,
        DataType::Float64 => wire == Wire::MYSQL_TYPE_DOUBLE,
        DataType::Decimal128(..) | DataType::Decimal256(..) => {
            matches!(wire, Wire::MYSQL_TYPE_NEWDECIMAL | Wire::MYSQL_TYPE_DECIMAL)
        }
        DataType::Date32 => matches!(wire, Wire::MYSQL_TYPE_DATE | Wire::MYSQL_TYPE_NEWDATE),
        DataType::Timestamp(TimeUnit::Microsecond, None) => wire == Wire::MYSQL_TYPE_DATETIME,
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => wire == Wire::MYSQL_TYPE_TIMESTAMP,
        DataType::Interval(_) => wire == Wire::MYSQL_TYPE_TIME,
        DataType::Utf8View => bytes_like && (text() || field.metadata().contains_key(AS_TEXT_KEY)),
        DataType::Binary => bytes_like && !text(),
        _ => false,
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
