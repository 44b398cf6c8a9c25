//! Contracts: the columns a declared table must have, and bringing batches to exactly those types.
//!
//! A contract knows only types every reader can handle: a timestamp without zone, unsigned and time types cannot be
//! declared at all. Conforming never turns a value into NULL: what cannot be cast fails, so SQL has to say with
//! `parse_ts` and its siblings what happens to bad text, and a rule has to say what NULL means.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use portolan_catalog::source::COMMENT_KEY;

use crate::error::{ErrorClass, IngestError, Result};
use crate::yaml::{At, Node, Sink, nearest};

/// The type every instant has: microseconds, UTC.
pub(crate) fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// One declared column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: DataType,
    pub(crate) required: bool,
    pub(crate) comment: Option<String>,
}

/// The declared columns of a table, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Contract {
    pub(crate) columns: Vec<Column>,
}

const TYPE_NAMES: [&str; 8] =
    ["text", "boolean", "bigint", "double", "timestamptz", "date", "decimal(14,3)", "decimal(14,6)"];

/// The Arrow type of a type name, or the reason why there is none.
fn parse_type(name: &str) -> std::result::Result<DataType, (String, Option<String>)> {
    let kind = match name {
        "text" => DataType::Utf8,
        "boolean" => DataType::Boolean,
        "bigint" => DataType::Int64,
        "double" => DataType::Float64,
        "timestamptz" => instant(),
        "date" => DataType::Date32,
        "timestamp" | "datetime" => {
            return Err((
                "a timestamp without time zone cannot be stored".into(),
                Some("declare timestamptz and convert with parse_ts and the source's zone".into()),
            ));
        }
        other => {
            let inner = other.strip_prefix("decimal(").and_then(|rest| rest.strip_suffix(')'));
            let parts = inner.and_then(|inner| inner.split_once(','));
            let parsed =
                parts.and_then(|(p, s)| Some((p.trim().parse::<u8>().ok()?, s.trim().parse::<i8>().ok()?)));
            match parsed {
                Some((precision, scale)) if (1..=38).contains(&precision) && (0..=18).contains(&scale) => {
                    DataType::Decimal128(precision, scale)
                }
                _ => {
                    let hint = nearest(other, TYPE_NAMES.into_iter()).map_or_else(
                        || format!("known types: {}", TYPE_NAMES.join(", ")),
                        |near| format!("did you mean \"{near}\"?"),
                    );
                    return Err((format!("unknown type \"{other}\""), Some(hint)));
                }
            }
        }
    };
    Ok(kind)
}

impl Contract {
    /// Reads `name: {type, required, comment}` entries; mistakes go to the sink.
    pub(crate) fn read(entries: Vec<(At<String>, At<Node>)>, sink: &Sink<'_>) -> Self {
        let mut columns = Vec::with_capacity(entries.len());
        for (name, node) in entries {
            let Some(mut fields) = sink.fields(node, &format!("column \"{}\"", name.value)) else { continue };
            let kind = fields.required_text("type");
            let required = fields.flag("required");
            let comment = fields.text("comment").map(|text| text.value);
            fields.finish();
            let Some(kind) = kind else { continue };
            match parse_type(&kind.value) {
                Ok(kind) => columns.push(Column { name: name.value, kind, required, comment }),
                Err((message, hint)) => sink.report(&kind, message, hint),
            }
        }
        Self { columns }
    }

    /// A contract that declares what a schema is; comments come from the fields' metadata.
    pub(crate) fn of(schema: &Schema) -> Self {
        let columns = schema
            .fields()
            .iter()
            .map(|field| Column {
                name: field.name().clone(),
                kind: storable(field.data_type()),
                required: !field.is_nullable(),
                comment: field.metadata().get(COMMENT_KEY).cloned(),
            })
            .collect();
        Self { columns }
    }

    /// The schema batches of this contract have. All columns are nullable there: the required ones are checked.
    pub(crate) fn schema(&self) -> SchemaRef {
        let fields: Vec<Field> = self
            .columns
            .iter()
            .map(|column| {
                let field = Field::new(&column.name, column.kind.clone(), true);
                match &column.comment {
                    Some(text) => {
                        field.with_metadata(HashMap::from([(COMMENT_KEY.to_owned(), text.clone())]))
                    }
                    None => field,
                }
            })
            .collect();
        Arc::new(Schema::new(fields))
    }

    /// Mistakes of a planned schema against the contract, as text.
    pub(crate) fn mistakes(&self, planned: &Schema) -> Vec<String> {
        let mut found = Vec::new();
        for column in &self.columns {
            match planned.field_with_name(&column.name) {
                Err(_) => found.push(format!("the query does not give column \"{}\"", column.name)),
                Ok(field) if !castable(field.data_type(), &column.kind) => found.push(format!(
                    "column \"{}\" is {} in the query but {} in the contract",
                    column.name,
                    field.data_type(),
                    column.kind
                )),
                Ok(_) => {}
            }
        }
        found
    }

    /// The contract's columns of a batch, in the contract's types and order.
    pub(crate) fn conform(&self, batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
        let options = CastOptions { safe: false, ..CastOptions::default() };
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
        for column in &self.columns {
            let array = batch.column_by_name(&column.name).ok_or_else(|| {
                IngestError::new(ErrorClass::Schema, format!("the query gives no column \"{}\"", column.name))
            })?;
            let cast = cast_with_options(array, &column.kind, &options).map_err(|error| {
                IngestError::new(
                    ErrorClass::Schema,
                    format!("column \"{}\" does not fit {}", column.name, column.kind),
                )
                .with_cause(error)
            })?;
            arrays.push(cast);
        }
        Ok(RecordBatch::try_new(Arc::clone(schema), arrays)?)
    }
}

/// The storable type nearest to a planned one: text without views, instants in microseconds UTC.
pub(crate) fn storable(kind: &DataType) -> DataType {
    match kind {
        DataType::Utf8View | DataType::LargeUtf8 | DataType::Null => DataType::Utf8,
        DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::Int64,
        DataType::Float16 | DataType::Float32 => DataType::Float64,
        DataType::Timestamp(_, _) => instant(),
        other => other.clone(),
    }
}

/// Whether a planned type may become a declared one: same family, never text into anything else.
fn castable(from: &DataType, to: &DataType) -> bool {
    if from == to || *from == DataType::Null {
        return true;
    }
    let text = |kind: &DataType| matches!(kind, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8);
    if text(from) || text(to) {
        return text(from) && text(to);
    }
    match (from, to) {
        (DataType::Timestamp(_, zone), DataType::Timestamp(_, _)) => zone.is_some(),
        (from, DataType::Int64) => from.is_integer(),
        (from, DataType::Float64 | DataType::Decimal128(_, _)) => from.is_numeric(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_never_becomes_a_number_silently() {
        assert!(!castable(&DataType::Utf8, &DataType::Int64));
        assert!(castable(&DataType::Utf8View, &DataType::Utf8));
        assert!(!castable(&DataType::Timestamp(TimeUnit::Microsecond, None), &instant()));
        assert!(castable(&DataType::Int32, &DataType::Decimal128(14, 3)));
    }

    #[test]
    fn a_zoneless_timestamp_is_refused_with_its_place() {
        let path = std::path::Path::new("c.yaml");
        let sink = Sink::new(path);
        let root = sink.parse("columns:\n  ata: {type: timestamp}\n  eta: {type: timestmptz}\n").unwrap();
        let mut fields = sink.fields(root, "file").unwrap();
        let contract = Contract::read(fields.entries("columns"), &sink);
        assert!(contract.columns.is_empty());
        let lines: Vec<String> = sink.into_diagnostics().iter().map(ToString::to_string).collect();
        assert!(lines[0].starts_with("c.yaml:2:15: a timestamp without time zone"), "{}", lines[0]);
        assert!(lines[1].contains("did you mean \"timestamptz\"?"), "{}", lines[1]);
    }
}
