//! How wide rows are, as Arrow arrays: by their types, and by what the source told of texts.

use datafusion::arrow::datatypes::DataType;

use super::{Fragment, FragmentExecutor, TableStatistics};

/// Bytes of a text or the like of which nothing is known.
const TEXT: f64 = 32.0;
/// A value of so many bytes lies in the view itself.
const INLINE: f64 = 12.0;

/// Bytes that so many rows of a fragment's answer take.
pub(crate) fn bytes_of(fragment: &Fragment, executor: &dyn FragmentExecutor, rows: f64) -> Option<usize> {
    let schema = fragment.schema().ok()?;
    let known: Vec<TableStatistics> = fragment
        .tables()
        .into_iter()
        .map(|table| executor.statistics(table).map(|known| (*known).clone()).unwrap_or_default())
        .collect();
    let row: Vec<usize> = match &fragment.aggregate {
        Some(aggregate) => aggregate.groups.clone(),
        None => fragment.projection.clone(),
    };
    // What is computed has no column in the row.
    let told = |output: usize| {
        let (place, field) = fragment.column(*row.get(output)?)?;
        known.get(place)?.columns.get(field.name())?.width
    };
    let width: f64 =
        schema.fields().iter().enumerate().map(|(at, field)| width(field.data_type(), told(at))).sum();
    super::whole(rows * width)
}

/// Bytes of one value; `told` is its mean length if its length varies.
pub(super) fn width(ty: &DataType, told: Option<f64>) -> f64 {
    let length = told.unwrap_or(TEXT);
    match ty {
        DataType::Null => 0.0,
        DataType::Boolean => 0.125,
        DataType::Utf8View | DataType::BinaryView => 16.0 + if length > INLINE { length } else { 0.0 },
        DataType::LargeUtf8 | DataType::LargeBinary => 8.0 + length,
        DataType::FixedSizeBinary(size) => f64::from(*size),
        other => match other.primitive_width().and_then(|width| u32::try_from(width).ok()) {
            Some(width) => f64::from(width),
            None => 4.0 + length,
        },
    }
}
