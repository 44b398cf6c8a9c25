//! What a few rows of a table tell of its values, where the source keeps no statistics of them.
//!
//! Read behind a query that read the table, once in a while: some rows from each end of its key, so that a table in the
//! order of time shows old and new ones. Only columns with few values are judged by it, and the ends of what is ordered;
//! of a column with many values a sample says little. It never fails a query: without a sample there is a guess.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::arrow::array::{Array, RecordBatch};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use futures::TryStreamExt as _;

use super::{ColumnSummary, TableStatistics};
use crate::federation::{Fragment, FragmentExecutor, FragmentSort, QueryContext, Verdict};
use crate::source::{SourceError, TableDef};

/// Rows from each end.
const ROWS: usize = 500;
/// A column that has one value in so many rows has few values.
const REPEATED: usize = 10;
/// The sample is given up after this.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is known, and what a sample adds for columns of which no values are known.
///
/// # Errors
/// What the source says; nothing is known then but what was before.
pub(super) async fn with_sample(
    known: TableStatistics,
    table: &Arc<TableDef>,
    executor: &dyn FragmentExecutor,
) -> Result<TableStatistics, SourceError> {
    let columns: Vec<usize> = (0..table.arrow.fields().len())
        .filter(|index| {
            let field = table.arrow.field(*index);
            let told = known.columns.get(field.name());
            is_plain(field.data_type())
                && told.is_none_or(|told| told.distinct.is_none() && told.common.is_empty())
        })
        .collect();
    if columns.is_empty() || known.rows.is_none_or(|rows| rows == 0) {
        return Ok(known);
    }
    let asked = fragments(table, &columns, executor);
    let both_ends = asked.len() > 1;
    let mut rows = Vec::new();
    for fragment in asked {
        let context = QueryContext { deadline: Some(Instant::now() + PATIENCE), ..QueryContext::default() };
        let batches = executor.execute(&fragment, Arc::new(context)).await?;
        let read = tokio::time::timeout(PATIENCE, batches.try_collect::<Vec<RecordBatch>>()).await;
        // A value that cannot be read is for the queries that want it to tell.
        let Ok(Ok(read)) = read else { return Ok(known) };
        rows.extend(read);
    }
    Ok(merged(known, table, &columns, &rows, both_ends))
}

/// The smallest and the largest keys, if the source orders by the key; else whatever comes first.
fn fragments(table: &Arc<TableDef>, columns: &[usize], executor: &dyn FragmentExecutor) -> Vec<Fragment> {
    let first =
        Fragment { projection: columns.to_vec(), limit: Some(ROWS), ..Fragment::whole(Arc::clone(table)) };
    let key = match table.primary_key.as_slice() {
        [key, ..] => table.arrow.column_with_name(key),
        [] => None,
    };
    let Some((at, field)) = key.filter(|(_, field)| field.data_type().is_integer()) else {
        return vec![first];
    };
    let mut projection = columns.to_vec();
    let column = projection.iter().position(|column| *column == at).unwrap_or_else(|| {
        projection.push(at);
        projection.len() - 1
    });
    let ends: Option<Vec<Fragment>> = [false, true]
        .into_iter()
        .map(|descending| {
            let sort = FragmentSort { column, descending, nulls_first: descending };
            let sorts = matches!(executor.sort_verdict(field, &sort), Verdict::Exact | Verdict::Rewrite(_));
            sorts.then(|| Fragment { projection: projection.clone(), sort: vec![sort], ..first.clone() })
        })
        .collect();
    ends.unwrap_or_else(|| vec![first])
}

fn is_plain(data_type: &DataType) -> bool {
    data_type.is_integer()
        || matches!(
            data_type,
            DataType::Utf8
                | DataType::LargeUtf8
                | DataType::Utf8View
                | DataType::Boolean
                | DataType::Date32
                | DataType::Timestamp(..)
                | DataType::Decimal128(..)
        )
}

fn merged(
    mut known: TableStatistics,
    table: &TableDef,
    columns: &[usize],
    rows: &[RecordBatch],
    both_ends: bool,
) -> TableStatistics {
    for (place, index) in columns.iter().enumerate() {
        let name = table.arrow.field(*index).name();
        let before = known.columns.get(name).cloned().unwrap_or_default();
        if let Some(after) = summary(before, rows, place, both_ends) {
            known.columns.insert(name.clone(), after);
        }
    }
    known
}

/// One column of the sample; `None` if it says nothing.
fn summary(
    before: ColumnSummary,
    rows: &[RecordBatch],
    place: usize,
    both_ends: bool,
) -> Option<ColumnSummary> {
    let mut values: HashMap<ScalarValue, usize> = HashMap::new();
    let (mut count, mut nulls) = (0_usize, 0_usize);
    for column in rows.iter().filter_map(|batch| batch.columns().get(place)) {
        for row in 0..column.len() {
            count += 1;
            if column.is_null(row) {
                nulls += 1;
            } else if let Ok(value) = ScalarValue::try_from_array(column, row) {
                *values.entry(value).or_default() += 1;
            }
        }
    }
    if values.is_empty() {
        return None;
    }
    // One row more than there are: what was not seen may still be there.
    let of_all = |seen: usize| seen as f64 / (count + 1) as f64;
    let mut after = ColumnSummary { nulls: of_all(nulls), ..before };
    if values.len() * REPEATED <= count - nulls {
        after.distinct = Some(values.len() as f64);
        after.bounds = vec![];
        after.common = values.into_iter().map(|(value, seen)| (value, of_all(seen))).collect();
        after.common.sort_by(|one, two| two.1.total_cmp(&one.1));
    } else if both_ends && after.bounds.is_empty() {
        let mut ordered: Vec<ScalarValue> = values.into_keys().collect();
        let is_text = ordered.first().is_some_and(|value| value.data_type().is_string());
        ordered.sort_by(|one, two| one.partial_cmp(two).unwrap_or(std::cmp::Ordering::Equal));
        if let ([least, .., greatest], false) = (ordered.as_slice(), is_text) {
            after.bounds = vec![least.clone(), greatest.clone()];
        }
    }
    Some(after)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    fn rows(columns: Vec<ArrayRef>) -> Vec<RecordBatch> {
        let named = columns.into_iter().enumerate().map(|(at, column)| (at.to_string(), column));
        vec![RecordBatch::try_from_iter(named).unwrap()]
    }

    #[test]
    fn few_values_are_known_and_of_many_only_the_ends() {
        let flags: StringArray = (0..99).map(|n| (n % 10 != 9).then_some(["R", "A", "N"][n % 3])).collect();
        let keys: Int64Array = (0..99).map(|n| Some(n * 7)).collect();
        let texts: StringArray = (0..99).map(|n| Some(format!("note {n}"))).collect();
        let sample = rows(vec![Arc::new(flags), Arc::new(keys), Arc::new(texts)]);
        let flag = summary(ColumnSummary::default(), &sample, 0, true).unwrap();
        assert_eq!((flag.distinct, flag.common.len()), (Some(3.0), 3));
        assert!((flag.nulls - 0.09).abs() < 1e-9, "{flag:?}");
        assert!((flag.common.iter().map(|(_, share)| share).sum::<f64>() - 0.9).abs() < 1e-9, "{flag:?}");
        let key = summary(ColumnSummary::default(), &sample, 1, true).unwrap();
        assert_eq!((key.distinct, key.bounds), (None, vec![0_i64.into(), 686_i64.into()]));
        assert!(summary(ColumnSummary::default(), &sample, 1, false).unwrap().bounds.is_empty());
        assert!(summary(ColumnSummary::default(), &sample, 2, true).unwrap().bounds.is_empty());
        assert_eq!(summary(ColumnSummary::default(), &[], 0, true), None);
    }

    #[test]
    fn what_the_source_told_of_the_ends_stays() {
        let keys: Int64Array = (10..90).map(Some).collect();
        let told = ColumnSummary { bounds: vec![0_i64.into(), 100_i64.into()], ..ColumnSummary::default() };
        let after = summary(told.clone(), &rows(vec![Arc::new(keys)]), 0, true).unwrap();
        assert_eq!(after.bounds, told.bounds);
    }
}
