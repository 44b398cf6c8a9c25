//! What the footers of Parquet files tell of a table's values, taken when a footer is looked into anyway.
//!
//! Kept for a limited number of files, because ten thousand footers hold more than a plan is worth. Never exact: a file
//! may have been written without figures.

use std::cmp::Ordering;

use datafusion::arrow::datatypes::Schema;
use datafusion::common::ScalarValue;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::file::metadata::ParquetMetaData;

use super::parquet::Footer;
use crate::federation::{ColumnSummary, TableStatistics, extreme};

/// What one file tells of one column.
#[derive(Debug, Clone, Default)]
pub(super) struct Figures {
    nulls: Option<u64>,
    least: Option<ScalarValue>,
    greatest: Option<ScalarValue>,
}

/// The figures of one file's columns, in their order. `stored` are its columns as they are written.
pub(super) fn of_file(metadata: &ParquetMetaData, stored: &Schema) -> Vec<Figures> {
    let parquet = metadata.file_metadata().schema_descr();
    let of_column = |name: &str| {
        let converter = StatisticsConverter::try_new(name, stored, parquet).ok()?;
        let groups = || metadata.row_groups().iter();
        let nulls = converter.row_group_null_counts(groups()).ok()?;
        Some(Figures {
            nulls: nulls.iter().sum(),
            least: extreme(&converter.row_group_mins(groups()).ok()?, Ordering::Less),
            greatest: extreme(&converter.row_group_maxes(groups()).ok()?, Ordering::Greater),
        })
    };
    stored.fields().iter().map(|field| of_column(field.name()).unwrap_or_default()).collect()
}

/// What all files of a table tell of it.
pub(super) fn of_table(columns: &Schema, footers: &[Footer]) -> TableStatistics {
    let rows = footers.iter().map(|footer| footer.rows).sum();
    let mut known = TableStatistics { rows: Some(rows), ..TableStatistics::default() };
    for field in columns.fields() {
        let mut whole = Figures { nulls: Some(0), ..Figures::default() };
        for footer in footers {
            let none = Figures::default();
            let of_file = match footer.schema.index_of(field.name()) {
                Ok(at) => footer.figures.get(at).unwrap_or(&none),
                // A file without the column has nulls in its place.
                Err(_) => &Figures { nulls: Some(footer.rows), ..Figures::default() },
            };
            whole.nulls = whole.nulls.zip(of_file.nulls).map(|(all, more)| all.saturating_add(more));
            whole.least = further(whole.least, &of_file.least, Ordering::Less);
            whole.greatest = further(whole.greatest, &of_file.greatest, Ordering::Greater);
        }
        let shown = |value: Option<ScalarValue>| value?.cast_to(field.data_type()).ok();
        let summary =
            ColumnSummary::of_figures(Some(rows), whole.nulls, shown(whole.least), shown(whole.greatest));
        if summary != ColumnSummary::default() {
            known.columns.insert(field.name().clone(), summary);
        }
    }
    known
}

/// Of two values the one that lies further out; the one there is, if there is but one.
fn further(one: Option<ScalarValue>, two: &Option<ScalarValue>, wanted: Ordering) -> Option<ScalarValue> {
    match (one, two) {
        (Some(one), Some(two)) => Some(if two.partial_cmp(&one) == Some(wanted) { two.clone() } else { one }),
        (one, two) => one.or_else(|| two.clone()),
    }
}
