//! Transforms that SQL cannot say well: closures from weather samples, and weather's share of lost time.
//!
//! A transform reads named tables and gives one; it never touches a store.

pub(crate) mod attribution;
pub(crate) mod closures;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, TimestampMicrosecondType};

use crate::contract::instant;
use crate::error::{ErrorClass, IngestError, Result};
use crate::pipeline::model::{TableName, Zone};
use crate::yaml::Fields;
pub(crate) use closures::ClosureSpec;

/// A named transform with its settings.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Transform {
    /// Closure intervals of every channel, from hourly samples.
    Closures(ClosureSpec),
    /// Time lost by calls and its weather share; one row per call.
    Calls,
    /// The same for berth visits; one row per visit.
    Visits,
}

fn gold(name: &str) -> TableName {
    TableName { zone: Zone::Gold, name: name.to_owned() }
}

fn silver(name: &str) -> TableName {
    TableName { zone: Zone::Silver, name: name.to_owned() }
}

impl Transform {
    /// Reads a transform's key from a table's mapping; `None` when there is none.
    pub(crate) fn read(fields: &mut Fields<'_>) -> Option<Self> {
        if let Some(node) = fields.take("closures") {
            return closures::read(fields.sink, node).map(Self::Closures);
        }
        let emit = fields.text("attribution")?;
        match emit.value.as_str() {
            "calls" => Some(Self::Calls),
            "visits" => Some(Self::Visits),
            other => {
                fields.sink.report(&emit, format!("\"{other}\" is not one of: calls, visits"), None);
                None
            }
        }
    }

    /// Tables read, in the order [`Transform::run`] wants them.
    pub(crate) fn inputs(&self) -> Vec<TableName> {
        match self {
            Self::Closures(spec) => vec![spec.samples.clone()],
            Self::Calls | Self::Visits => vec![
                gold("call_clock"),
                gold("visit_clock"),
                gold("operation_clock"),
                silver("stoppage"),
                gold("closure_interval"),
                silver("weather_hour"),
            ],
        }
    }

    /// Makes the table from its inputs.
    pub(crate) fn run(&self, inputs: &[RecordBatch]) -> Result<RecordBatch> {
        match self {
            Self::Closures(spec) => {
                let [samples] = inputs else { return Err(IngestError::invariant("closures need one input")) };
                closures::run(spec, samples)
            }
            Self::Calls => attribution::run(inputs).map(|(calls, _)| calls),
            Self::Visits => attribution::run(inputs).map(|(_, visits)| visits),
        }
    }
}

/// A column by name, cast to a type.
fn column(batch: &RecordBatch, name: &str, kind: &DataType) -> Result<ArrayRef> {
    let array = batch.column_by_name(name).ok_or_else(|| {
        IngestError::new(ErrorClass::Schema, format!("a transform's input has no column \"{name}\""))
            .with_hint("see the input columns each transform needs in its documentation")
    })?;
    Ok(cast(array, kind)?)
}

/// Instants in microseconds.
fn instants(batch: &RecordBatch, name: &str) -> Result<Vec<Option<i64>>> {
    let array = column(batch, name, &instant())?;
    Ok(array.as_primitive::<TimestampMicrosecondType>().iter().collect())
}

fn texts(batch: &RecordBatch, name: &str) -> Result<Vec<Option<String>>> {
    let array = column(batch, name, &DataType::Utf8)?;
    Ok(array.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect())
}

fn numbers(batch: &RecordBatch, name: &str) -> Result<Vec<Option<f64>>> {
    let array = column(batch, name, &DataType::Float64)?;
    let array = array.as_primitive::<Float64Type>();
    Ok((0..array.len()).map(|row| array.is_valid(row).then(|| array.value(row))).collect())
}
