//! What the planner may assume of a fragment's answer: what the source counted, cut by what the conditions leave.
//!
//! Always inexact, so that it never answers a query; it only chooses join sides, the order of joins, and which lists of
//! keys are worth sending. Nothing here contacts a source: what sources told is in [`cache`], read behind.

mod cache;
mod sample;
mod selectivity;
mod width;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::Array;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};
use datafusion::logical_expr::Expr;

use super::{Fragment, FragmentExecutor, FragmentJoinKind, PushedFilter};
use crate::source::TableDef;

pub(crate) use cache::StatisticsCache;
pub(super) use width::bytes_of;

/// So many rows make a group, if nothing is known of its columns.
const GROUPING: f64 = 10.0;

/// One group in so many passes a condition over groups: they are asked for what stands out.
pub(super) const HAVING: f64 = 0.05;

/// What a source knows of the values of one column. Never exact.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ColumnSummary {
    /// The share of rows without a value, 0 to 1.
    pub nulls: f64,
    /// How many different values there are.
    pub distinct: Option<f64>,
    /// The most common values, each with its share of all rows.
    pub common: Vec<(ScalarValue, f64)>,
    /// Values in order that cut the others into parts of equal size, the least and the greatest included; at least
    /// two, or none.
    pub bounds: Vec<ScalarValue>,
    /// Mean bytes of a value, nulls counted as none, where its length varies.
    pub width: Option<f64>,
}

impl ColumnSummary {
    /// What is kept with files: how many rows they have, how many of them without a value, and the least and the
    /// greatest of the values.
    #[must_use]
    pub fn of_figures(
        rows: Option<u64>,
        nulls: Option<u64>,
        least: Option<ScalarValue>,
        greatest: Option<ScalarValue>,
    ) -> Self {
        let nulls = match (nulls, rows) {
            (Some(nulls), Some(rows)) if rows > 0 => (nulls as f64 / rows as f64).min(1.0),
            _ => 0.0,
        };
        let bounds = match (least, greatest) {
            (Some(least), Some(greatest)) if !least.is_null() && !greatest.is_null() => vec![least, greatest],
            _ => vec![],
        };
        Self { nulls, bounds, ..Self::default() }
    }
}

/// The least (`Ordering::Less`) or the greatest of some values; nothing of none, or of values without an order.
pub(crate) fn extreme(values: &dyn Array, wanted: Ordering) -> Option<ScalarValue> {
    if values.data_type().is_nested() || values.data_type().is_binary() {
        return None;
    }
    let mut found: Option<ScalarValue> = None;
    for index in (0..values.len()).filter(|index| values.is_valid(*index)) {
        let value = ScalarValue::try_from_array(values, index).ok()?;
        if found.as_ref().is_none_or(|found| value.partial_cmp(found) == Some(wanted)) {
            found = Some(value);
        }
    }
    found
}

/// What a source knows of one table. Never exact.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TableStatistics {
    /// Rows.
    pub rows: Option<u64>,
    /// By column name; columns of which nothing is known are left out.
    pub columns: BTreeMap<String, ColumnSummary>,
}

impl TableStatistics {
    /// Rows of the table, as the source counted them last.
    fn rows(&self, table: &TableDef) -> Option<f64> {
        self.rows.or(table.row_estimate).map(|rows| rows as f64)
    }

    /// How many different values a column has, if that is known or follows, and whether it was counted: a key is
    /// unique, and whole numbers have no more values than lie between the least and the greatest, but may have fewer.
    fn distinct(&self, table: &TableDef, column: &str) -> Option<(f64, bool)> {
        let rows = self.rows(table)?;
        if let [key] = table.primary_key.as_slice()
            && key == column
        {
            return Some((rows, true));
        }
        let summary = self.columns.get(column)?;
        let distinct = summary.distinct.or_else(|| selectivity::span(&summary.bounds))?;
        Some((distinct.clamp(1.0, rows.max(1.0)), summary.distinct.is_some()))
    }
}

/// One column of a fragment's answer.
#[derive(Debug, Clone)]
pub(super) struct Domain {
    /// Rows of the table it comes from.
    pub(super) table_rows: f64,
    /// Different values in that table; at most so many if they were not counted.
    pub(super) distinct: Option<f64>,
    /// Whether somebody counted them, or they follow from a key.
    pub(super) counted: bool,
}

impl Domain {
    /// How many values columns have together that are equal in a join: as many as the one that has most of those that
    /// were counted, because the others refer to it. Of values that nobody counted there may be fewer than could be, so
    /// they are no more than those of any other, and no more than their table has rows.
    pub(super) fn of_equal<'a>(columns: impl IntoIterator<Item = &'a Self>) -> Option<f64> {
        let (mut counted, mut bound): (Option<f64>, Option<f64>) = (None, None);
        for column in columns {
            let distinct = column.distinct.unwrap_or(column.table_rows);
            if column.counted {
                counted = Some(counted.map_or(distinct, |most| most.max(distinct)));
            } else {
                bound = Some(bound.map_or(distinct, |fewest| fewest.min(distinct)));
            }
        }
        counted.or(bound)
    }
}

/// A fragment's answer, estimated.
#[derive(Debug, Clone)]
pub(super) struct Estimate {
    pub(super) rows: f64,
    /// Per column of the answer; `None` for what is computed, or if nothing is known.
    pub(super) columns: Vec<Option<Domain>>,
}

/// The answer of a fragment, if the source counted its table's rows.
pub(super) fn estimate(fragment: &Fragment, executor: &dyn FragmentExecutor) -> Option<Estimate> {
    if !fragment.runs.is_empty() {
        let each: Option<Vec<Estimate>> = fragment.in_runs().map(|run| estimate(&run, executor)).collect();
        return each?.into_iter().reduce(|all, run| Estimate { rows: all.rows + run.rows, ..all });
    }
    let of = |table: &TableDef| executor.statistics(table).unwrap_or_default();
    let tables: Vec<Arc<TableStatistics>> = fragment.tables().into_iter().map(|table| of(table)).collect();
    let own = tables.first()?;
    let limit = fragment.limit.map(|limit| limit as f64);
    let Some(all) = own.rows(&fragment.table) else {
        let rows = limit.or(fragment.aggregate.as_ref().filter(|a| a.groups.is_empty()).map(|_| 1.0))?;
        return Some(Estimate { rows, columns: vec![] });
    };
    let mut rows = at_least_one(all, share_of(own, &fragment.filters));
    for (join, table) in fragment.joins.iter().zip(tables.iter().skip(1)) {
        // A joined table has at most one partner for a row, so it only ever takes rows away.
        let share = match join.kind {
            FragmentJoinKind::Left => 1.0,
            FragmentJoinKind::Inner => share_of(table, &join.filters),
            FragmentJoinKind::Semi | FragmentJoinKind::Anti => 0.5,
        };
        rows = at_least_one(rows, share);
    }
    let domain = |row: &usize| {
        let (place, field) = fragment.column(*row)?;
        let (table, known) = (*fragment.tables().get(place)?, tables.get(place)?);
        let (distinct, counted) = known.distinct(table, field.name()).unzip();
        Some(Domain { table_rows: known.rows(table)?, distinct, counted: counted.unwrap_or_default() })
    };
    let columns = match &fragment.aggregate {
        Some(aggregate) => {
            let groups: Vec<Option<Domain>> = aggregate.groups.iter().map(domain).collect();
            rows = groups_of(rows, &groups);
            if !fragment.having.is_empty() {
                rows = at_least_one(rows, HAVING);
            }
            groups.into_iter().chain(aggregate.calls.iter().map(|_| None)).collect()
        }
        None => fragment.projection.iter().map(domain).collect(),
    };
    Some(Estimate { rows: limit.map_or(rows, |limit| rows.min(limit)), columns })
}

/// How many groups rows make.
pub(super) fn groups_of(rows: f64, groups: &[Option<Domain>]) -> f64 {
    if groups.is_empty() {
        return 1.0;
    }
    let distinct: Option<f64> =
        groups.iter().map(|group| group.as_ref().and_then(|group| group.distinct)).product();
    match distinct {
        Some(distinct) => rows.min(distinct),
        None => at_least_one(rows, 1.0 / GROUPING),
    }
}

/// The share of its table's rows that a fragment's own conditions leave, 0 to 1, if its source counted them.
pub(crate) fn share_left(fragment: &Fragment, executor: &dyn FragmentExecutor) -> Option<f64> {
    let known = executor.statistics(&fragment.table)?;
    known.rows?;
    Some(share_of(&known, &fragment.filters))
}

/// The share of rows that conditions leave.
fn share_of(table: &TableStatistics, filters: &[PushedFilter]) -> f64 {
    let conditions: Vec<&Expr> = filters.iter().map(|filter| &filter.expr).collect();
    selectivity::share_of_all(&conditions, table)
}

/// A share of rows; of one row on, at least one is left.
fn at_least_one(rows: f64, share: f64) -> f64 {
    if rows < 1.0 { rows * share } else { (rows * share).max(1.0) }
}

/// Rows as a whole number.
pub(super) fn whole(rows: f64) -> Option<usize> {
    format!("{rows:.0}").parse().ok()
}

/// A table as it stands.
pub(super) fn table_statistics(table: &TableDef, executor: &dyn FragmentExecutor) -> Statistics {
    let known = executor.statistics(table).and_then(|known| known.rows).or(table.row_estimate);
    let mut statistics = Statistics::new_unknown(&table.arrow);
    if let Some(rows) = known.and_then(|rows| usize::try_from(rows).ok()) {
        statistics.num_rows = Precision::Inexact(rows);
    }
    statistics
}

/// A fragment's answer, as the engine's own planning sees it; `shown` are those of its columns that the schema has,
/// if not all in order. Bounds of columns are kept from it: it takes them for intervals in its own order of values,
/// which a source's order need not be, and fails if they are none.
pub(super) fn fragment_statistics(
    schema: &SchemaRef,
    fragment: &Fragment,
    executor: &dyn FragmentExecutor,
) -> Statistics {
    let mut statistics = Statistics::new_unknown(schema);
    let Some(estimate) = estimate(fragment, executor) else { return statistics };
    statistics.num_rows = whole(estimate.rows).map_or(Precision::Absent, Precision::Inexact);
    for (number, column) in statistics.column_statistics.iter_mut().enumerate() {
        let Some(domain) = estimate.columns.get(number).and_then(Option::as_ref) else { continue };
        let distinct = domain.distinct.and_then(|distinct| whole(distinct.min(estimate.rows)));
        *column = ColumnStatistics {
            distinct_count: distinct.map_or(Precision::Absent, Precision::Inexact),
            ..ColumnStatistics::new_unknown()
        };
    }
    statistics
}

#[cfg(test)]
mod tests;
