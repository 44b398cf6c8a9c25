//! What one read of one source was estimated to give, gave, and need have given.
//!
//! Figures are for `EXPLAIN` and `system.fragments`; no plan rests on them, and none holds a secret.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use datafusion::arrow::array::{Array, RecordBatch};
use datafusion::arrow::datatypes::Schema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricValue, Time};

use super::FederatedScanExec;
use crate::source::SourceName;

/// Rows, and bytes of Arrow arrays; `None` for what is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Rows.
    pub rows: Option<usize>,
    /// Bytes that the rows take in memory, decoded.
    pub bytes: Option<usize>,
}

/// One read of one source.
#[derive(Debug, Clone)]
pub struct FragmentFigures {
    /// The source.
    pub source: SourceName,
    /// The text, or the words, that are sent.
    pub sent: String,
    /// What was rewritten, sent as a superset or kept here, each with the reason; empty if all was sent as it stands.
    pub verdicts: String,
    /// What joins told the source while the statement ran.
    pub runtime: Option<String>,
    /// The version that was read.
    pub as_of: Option<String>,
    /// Before the run, from what the source told of its table.
    pub estimated: Size,
    /// What came so far; nothing before the run.
    pub actual: Size,
    /// What was needed of it: known only after a whole run, and where counts prove it.
    pub minimal: Size,
    /// From asking to the first answer.
    pub first_byte: Option<Duration>,
    /// From asking to the last row, or until nobody wanted more; not known while it runs.
    pub took: Option<Duration>,
    /// How often it was asked for once more, before anything had come.
    pub retries: usize,
}

/// The reads of a plan, in its order.
#[must_use]
pub fn fragment_figures(plan: &Arc<dyn ExecutionPlan>) -> Vec<FragmentFigures> {
    let mut found = Vec::new();
    // It never fails: nothing in it does.
    let _ = plan.apply(|node| {
        found.extend(node.downcast_ref::<FederatedScanExec>().map(FederatedScanExec::figures));
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

/// The sum of a metric over all parts, if it was noted.
pub(super) fn sum_of(metrics: &ExecutionPlanMetricsSet, name: &str) -> Option<usize> {
    metrics
        .clone_inner()
        .sum(|metric| metric.value().name() == name)
        .map(|value: MetricValue| value.as_usize())
}

/// Notes the time from asking to the end of a read, whatever ends it.
#[derive(Debug)]
pub(super) struct Took {
    since: Option<Instant>,
    noted: Time,
}

impl Took {
    pub(super) fn noting(noted: Time) -> Self {
        Self { since: None, noted }
    }

    /// It is asked now, unless it was before. Gives when it was.
    pub(super) fn start(&mut self) -> Instant {
        *self.since.get_or_insert_with(Instant::now)
    }

    /// It has ended.
    pub(super) fn stop(&mut self) {
        if let Some(since) = self.since.take() {
            self.noted.add_elapsed(since);
        }
    }
}

impl Drop for Took {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Bytes that came, by column.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    columns: Arc<[AtomicUsize]>,
    all: Count,
}

impl Tally {
    pub(super) fn of(schema: &Schema) -> Self {
        Self { columns: schema.fields().iter().map(|_| AtomicUsize::new(0)).collect(), all: Count::new() }
    }

    pub(super) fn empty(&self) -> Self {
        Self { columns: self.columns.iter().map(|_| AtomicUsize::new(0)).collect(), all: Count::new() }
    }

    /// The same tally, whose sum is counted there as well.
    pub(super) fn counting(&self, all: Count) -> Self {
        Self { columns: Arc::clone(&self.columns), all }
    }

    pub(super) fn add(&self, batch: &RecordBatch) {
        for (count, column) in self.columns.iter().zip(batch.columns()) {
            let bytes = column.get_array_memory_size();
            count.fetch_add(bytes, Ordering::Relaxed);
            self.all.add(bytes);
        }
    }

    /// What some of the rows took of some of the columns, at the mean bytes per row of all that came.
    pub(super) fn share(&self, columns: impl Iterator<Item = usize>, rows: usize, came: usize) -> usize {
        let counts = columns.filter_map(|column| self.columns.get(column));
        let bytes: usize = counts.map(|count| count.load(Ordering::Relaxed)).sum();
        let share =
            u128::try_from(bytes).unwrap_or(u128::MAX).saturating_mul(u128::try_from(rows).unwrap_or(0));
        let share = share.checked_div(u128::try_from(came).unwrap_or(0)).unwrap_or(0);
        usize::try_from(share).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, Int64Array};

    use super::*;

    #[test]
    fn a_share_counts_the_columns_and_rows_asked_for() {
        let column = || Arc::new(Int64Array::from(vec![7; 100])) as ArrayRef;
        let batch = RecordBatch::try_from_iter([("a", column()), ("b", column())]).unwrap();
        let all = Count::new();
        let empty = Tally::of(&batch.schema());
        let tally = empty.counting(all.clone());
        tally.add(&batch);
        tally.add(&batch);
        let one = 2 * batch.column(0).get_array_memory_size();
        assert!(one >= 1_600);
        assert_eq!(all.value(), 2 * one);
        for (columns, rows, expected) in [
            (vec![0, 1], 200, 2 * one),
            (vec![1], 200, one),
            (vec![1], 50, one / 4),
            (vec![], 200, 0),
            (vec![0], 0, 0),
            (vec![9], 200, 0),
        ] {
            assert_eq!(empty.share(columns.into_iter(), rows, 200), expected);
        }
        assert_eq!(tally.share([0].into_iter(), 0, 0), 0, "nothing came");
        assert_eq!(tally.empty().share([0].into_iter(), 1, 1), 0);
    }
}
