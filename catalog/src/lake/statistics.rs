//! What a table's log tells of its rows and values: rows, nulls, the least and the greatest of each column.
//!
//! Read from the actions of a table that is open anyway; no data file is looked into, and the log is not read again.
//! Figures of files that were written without them are missing, so nothing here is exact.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::Schema;
use datafusion::common::Column;
use datafusion::common::pruning::PruningStatistics as _;
use deltalake::DeltaTable;
use deltalake::kernel::LogDataHandler;
use deltalake::kernel::scalars::ScalarExt as _;

use crate::federation::{ColumnSummary, TableStatistics, extreme};

/// Files whose nulls are counted: each is taken apart by itself.
const FILES: usize = 2_000;
/// Columns that are looked at: behind them a writer keeps no figures by default.
const COLUMNS: usize = 32;

/// The figures of an open table with these columns; no rows if its log keeps none.
pub(super) fn of(table: &DeltaTable, columns: &Schema) -> TableStatistics {
    let Ok(state) = table.snapshot() else { return TableStatistics::default() };
    let log = state.log_data();
    let counted: Option<Vec<u64>> =
        log.iter().map(|file| file.num_records().and_then(|rows| u64::try_from(rows).ok())).collect();
    let rows = counted.map(|files| files.into_iter().sum::<u64>());
    let mut known = TableStatistics { rows, ..TableStatistics::default() };
    let nulls = nulls(&log);
    for field in columns.fields().iter().take(COLUMNS) {
        let column = Column::from_name(field.name());
        let nulls = nulls.get(field.name()).copied();
        // Of one value a file. A text is cut there to its first characters, which is as good for a share.
        let end =
            |values: Option<ArrayRef>, wanted| extreme(&values?, wanted)?.cast_to(field.data_type()).ok();
        let least = end(log.min_values(&column), Ordering::Less);
        let greatest = end(log.max_values(&column), Ordering::Greater);
        let summary = ColumnSummary::of_figures(rows, nulls, least, greatest);
        if summary != ColumnSummary::default() {
            known.columns.insert(field.name().clone(), summary);
        }
    }
    known
}

/// Nulls of each column in all files, by the columns' names.
fn nulls(log: &LogDataHandler<'_>) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    if log.num_files() > FILES {
        return all;
    }
    for file in log.iter() {
        let Some(serde_json::Value::Object(counts)) = file.null_counts().map(|counts| counts.to_json())
        else {
            continue;
        };
        for (name, count) in counts {
            *all.entry(name).or_insert(0_u64) += count.as_u64().unwrap_or_default();
        }
    }
    all
}
