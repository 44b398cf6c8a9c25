//! From records to batches: every declared column by its path, read exactly from its text.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanBuilder, Date32Builder, Decimal128Builder, Float64Builder, Int16Builder, Int32Builder,
    Int64Builder, RecordBatch, RecordBatchOptions, StringBuilder, TimestampMicrosecondBuilder,
};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;

use super::column::ColumnType;
use super::json::at_path;
use super::value::{date, decimal, is_beyond, timestamp, timestamptz};
use super::{ColumnConfig, FileFormat, OnMismatch, RawRecord};

/// Rows of a batch.
pub(super) const BATCH_ROWS: usize = 8_192;

/// Collects records into batches of a declared schema.
pub(crate) struct Decoder {
    schema: SchemaRef,
    json: bool,
    on_mismatch: OnMismatch,
    columns: Vec<Column>,
    rows: usize,
    mismatches: u64,
}

/// Why a record does not fit its declaration; never tells a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// The column, unless the record as a whole cannot be read.
    pub(crate) column: Option<String>,
    /// What is wrong with it.
    pub(crate) what: String,
    /// Its SQLSTATE, if it is no other than a value that does not fit.
    pub(crate) code: Option<&'static str>,
}

struct Column {
    config: ColumnConfig,
    values: Values,
}

enum Values {
    Text(StringBuilder),
    Bool(BooleanBuilder),
    Int16(Int16Builder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    Float64(Float64Builder),
    Decimal(Decimal128Builder),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder),
}

impl Decoder {
    pub(crate) fn try_new(
        schema: SchemaRef,
        format: &FileFormat,
        columns: &[ColumnConfig],
        on_mismatch: OnMismatch,
    ) -> Result<Self, ArrowError> {
        let columns = columns
            .iter()
            .map(|config| Ok(Column { config: config.clone(), values: Values::of(config.column_type)? }))
            .collect::<Result<_, ArrowError>>()?;
        let json = matches!(format, FileFormat::Ndjson);
        Ok(Self { schema, json, on_mismatch, columns, rows: 0, mismatches: 0 })
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Values and whole records that became null because they did not fit.
    pub(crate) fn mismatches(&self) -> u64 {
        self.mismatches
    }

    /// Appends a row without a value.
    pub(crate) fn append_nulls(&mut self) {
        for column in &mut self.columns {
            column.values.append(None, &column.config);
        }
        self.rows += 1;
    }

    /// Appends a record as one row.
    pub(crate) fn append(&mut self, record: &RawRecord) -> Result<(), Misfit> {
        let strict = self.on_mismatch == OnMismatch::Error;
        if let Some(why) = &record.malformed {
            if strict {
                return Err(Misfit { column: None, what: why.clone(), code: None });
            }
            self.mismatches += 1;
            self.append_nulls();
            return Ok(());
        }
        for column in &mut self.columns {
            let text = text_of(record, &column.config, self.json);
            let misfit = |what: String, code| Misfit { column: Some(column.config.name.clone()), what, code };
            let fits = match &text {
                Ok(text) => column.values.append(text.as_deref(), &column.config),
                Err(why) if strict => return Err(misfit(why.clone(), None)),
                Err(_) => false,
            };
            if !fits {
                if strict {
                    let (name, of) = (&column.config.name, column.config.column_type.sql_name());
                    return Err(match text {
                        Ok(Some(text)) if is_beyond_calendar(text.trim(), &column.config) => {
                            misfit(format!("column \"{name}\" is out of range for {of}"), Some("22008"))
                        }
                        _ => misfit(format!("column \"{name}\" is not a {of}"), None),
                    });
                }
                self.mismatches += 1;
                column.values.append(None, &column.config);
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// The rows collected so far as one batch; the decoder is empty afterwards.
    pub(crate) fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        let columns: Vec<ArrayRef> = self
            .columns
            .iter_mut()
            .map(|column| column.values.finish())
            .zip(self.schema.fields())
            .map(|(array, field)| {
                // Builders of time know no zone.
                if array.data_type() == field.data_type() {
                    Ok(array)
                } else {
                    datafusion::arrow::compute::cast(&array, field.data_type())
                }
            })
            .collect::<Result<_, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(std::mem::take(&mut self.rows)));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
    }
}

/// The text of a column in a record: its declared path, missing codes taken out.
/// Whether a text is a time that no calendar here has.
fn is_beyond_calendar(text: &str, config: &ColumnConfig) -> bool {
    if config.time_format.is_some() {
        return false;
    }
    match config.column_type {
        ColumnType::Date => is_beyond(text, |text| date(text, None).is_some()),
        ColumnType::Timestamp => is_beyond(text, |text| timestamp(text, None).is_some()),
        ColumnType::TimestampTz => is_beyond(text, |text| timestamptz(text, None).is_some()),
        _ => false,
    }
}

fn text_of(record: &RawRecord, config: &ColumnConfig, json: bool) -> Result<Option<String>, String> {
    for path in config.from.as_deref().unwrap_or(&config.name).split('|') {
        let text = if path == "$" {
            Some(String::from_utf8_lossy(&record.payload).into_owned())
        } else if json {
            json_text(record, path, config.column_type)?
        } else {
            field_text(record, path)
        };
        if let Some(text) = text.filter(|text| !config.missing.contains(text)) {
            return Ok(Some(text));
        }
    }
    Ok(None)
}

fn json_text(record: &RawRecord, path: &str, column_type: ColumnType) -> Result<Option<String>, String> {
    let simple = !path.contains(['.', '[']) && column_type != ColumnType::Json;
    if simple {
        return Ok(named(record, path).flatten().map(str::to_owned));
    }
    let payload = std::str::from_utf8(&record.payload).map_err(|_| "not UTF-8".to_owned())?;
    let payload = payload.trim();
    match at_path(payload, path)? {
        None => Ok(None),
        Some(value) if column_type == ColumnType::Json && value.get() != "null" => {
            Ok(Some(value.get().to_owned()))
        }
        Some(value) => super::json::as_text(value),
    }
}

/// A field by name, or several fields of a text file joined by blanks.
fn field_text(record: &RawRecord, path: &str) -> Option<String> {
    if let Some(value) = named(record, path) {
        return value.map(str::to_owned);
    }
    if !path.contains(' ') {
        return None;
    }
    let parts: Option<Vec<&str>> = path.split_ascii_whitespace().map(|part| named(record, part)?).collect();
    Some(parts?.join(" "))
}

/// The last field of a name, as for duplicate keys of JSON objects.
fn named<'a>(record: &'a RawRecord, name: &str) -> Option<Option<&'a str>> {
    record.fields.iter().rev().find(|(field, _)| field == name).map(|(_, value)| value.as_deref())
}

impl Values {
    fn of(column_type: ColumnType) -> Result<Self, ArrowError> {
        Ok(match column_type {
            ColumnType::Text | ColumnType::Json => Self::Text(StringBuilder::new()),
            ColumnType::Bool => Self::Bool(BooleanBuilder::new()),
            ColumnType::Int16 => Self::Int16(Int16Builder::new()),
            ColumnType::Int32 => Self::Int32(Int32Builder::new()),
            ColumnType::Int64 => Self::Int64(Int64Builder::new()),
            ColumnType::Float64 => Self::Float64(Float64Builder::new()),
            ColumnType::Decimal(precision, scale) => {
                Self::Decimal(Decimal128Builder::new().with_precision_and_scale(precision, scale)?)
            }
            ColumnType::Date => Self::Date(Date32Builder::new()),
            ColumnType::Timestamp | ColumnType::TimestampTz => {
                Self::Timestamp(TimestampMicrosecondBuilder::new())
            }
        })
    }

    /// Appends a value; false, and nothing appended, if the text is no such value.
    fn append(&mut self, text: Option<&str>, config: &ColumnConfig) -> bool {
        /// Parses blank-trimmed text and appends it; a failed reading appends nothing.
        macro_rules! append {
            ($builder:expr, $parse:expr) => {{
                let read = match text {
                    None => None,
                    Some(text) => match $parse(text.trim()) {
                        Some(value) => Some(value),
                        None => return false,
                    },
                };
                $builder.append_option(read);
                true
            }};
        }
        let format = config.time_format.as_deref();
        match self {
            // PostgreSQL's text cannot hold NUL.
            Self::Text(_) if text.is_some_and(|text| text.contains('\0')) => false,
            Self::Text(builder) => {
                builder.append_option(text);
                true
            }
            Self::Bool(builder) => append!(builder, |text: &str| match text {
                "true" | "t" => Some(true),
                "false" | "f" => Some(false),
                _ => None,
            }),
            Self::Int16(builder) => append!(builder, |text: &str| text.parse().ok()),
            Self::Int32(builder) => append!(builder, |text: &str| text.parse().ok()),
            Self::Int64(builder) => append!(builder, |text: &str| text.parse().ok()),
            // One not-a-number, whatever sign it is written with.
            Self::Float64(builder) => append!(builder, |text: &str| {
                text.parse().ok().map(|value: f64| if value.is_nan() { f64::NAN } else { value })
            }),
            Self::Decimal(builder) => {
                let ColumnType::Decimal(precision, scale) = config.column_type else { return false };
                append!(builder, |text| decimal(text, precision, scale))
            }
            Self::Date(builder) => append!(builder, |text| date(text, format)),
            Self::Timestamp(builder) if config.column_type == ColumnType::TimestampTz => {
                append!(builder, |text| timestamptz(text, format))
            }
            Self::Timestamp(builder) => append!(builder, |text| timestamp(text, format)),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Bool(builder) => Arc::new(builder.finish()),
            Self::Int16(builder) => Arc::new(builder.finish()),
            Self::Int32(builder) => Arc::new(builder.finish()),
            Self::Int64(builder) => Arc::new(builder.finish()),
            Self::Float64(builder) => Arc::new(builder.finish()),
            Self::Decimal(builder) => Arc::new(builder.finish()),
            Self::Date(builder) => Arc::new(builder.finish()),
            Self::Timestamp(builder) => Arc::new(builder.finish()),
        }
    }
}
