//! What the planner may assume of a fragment's answer: the source's own counts, cut by the usual guesses.
//!
//! Always inexact, so that it never answers a query; it only chooses join sides.

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Statistics;
use datafusion::common::stats::Precision;

use super::{Fragment, FragmentJoinKind};
use crate::source::TableDef;

/// One row in so many passes a filter.
const SELECTIVITY: u64 = 5;
/// So many rows make a group.
const GROUPING: u64 = 10;

/// A table as it stands.
pub(super) fn table_statistics(table: &TableDef) -> Statistics {
    with_rows(&table.arrow, table.row_estimate)
}

/// A fragment's answer.
pub(super) fn fragment_statistics(schema: &SchemaRef, fragment: &Fragment) -> Statistics {
    with_rows(schema, estimated_rows(fragment))
}

/// Rows of a fragment's answer, if the source counted its table's.
pub(super) fn estimated_rows(fragment: &Fragment) -> Option<u64> {
    let filtered = |rows: u64, filters: usize| {
        (0..filters).fold(rows, |rows, _| if rows == 0 { 0 } else { (rows / SELECTIVITY).max(1) })
    };
    let own = fragment.table.row_estimate.map(|rows| filtered(rows, fragment.filters.len()));
    // A joined table has at most one partner for a row, so it only ever takes rows away.
    let joined = own.map(|rows| {
        fragment.joins.iter().fold(rows, |rows, join| match join.kind {
            FragmentJoinKind::Left => rows,
            FragmentJoinKind::Inner => filtered(rows, join.filters.len()),
            FragmentJoinKind::Semi | FragmentJoinKind::Anti => {
                if rows == 0 {
                    0
                } else {
                    (rows / 2).max(1)
                }
            }
        })
    });
    let grouped = match &fragment.aggregate {
        Some(aggregate) if aggregate.groups.is_empty() => Some(1),
        Some(_) => joined.map(|rows| if rows == 0 { 0 } else { (rows / GROUPING).max(1) }),
        None => joined,
    };
    match (grouped, fragment.limit.and_then(|limit| u64::try_from(limit).ok())) {
        (Some(rows), Some(limit)) => Some(rows.min(limit)),
        (rows, limit) => rows.or(limit),
    }
}

fn with_rows(schema: &SchemaRef, rows: Option<u64>) -> Statistics {
    let mut statistics = Statistics::new_unknown(schema);
    if let Some(rows) = rows.and_then(|rows| usize::try_from(rows).ok()) {
        statistics.num_rows = Precision::Inexact(rows);
    }
    statistics
}
