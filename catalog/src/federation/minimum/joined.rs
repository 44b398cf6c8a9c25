//! A join, whichever operator makes it: its sides, keys, further condition, and where its columns come from.

use std::sync::Arc;

use datafusion::common::{JoinSide, JoinType};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec};
use datafusion::physical_plan::metrics::MetricValue;

use super::keys::unique;

/// Pairs of equal keys: of the left, of the right.
type On = [(Arc<dyn PhysicalExpr>, Arc<dyn PhysicalExpr>)];

pub(super) struct Joined<'a> {
    pub(super) kind: JoinType,
    pub(super) left: &'a Arc<dyn ExecutionPlan>,
    pub(super) right: &'a Arc<dyn ExecutionPlan>,
    pub(super) on: &'a On,
    pub(super) filter: Option<&'a JoinFilter>,
    projection: Option<&'a [usize]>,
    hash: Option<&'a HashJoinExec>,
}

impl<'a> Joined<'a> {
    pub(super) fn of(plan: &'a Arc<dyn ExecutionPlan>) -> Option<Self> {
        if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
            return Some(Self {
                kind: *join.join_type(),
                left: join.left(),
                right: join.right(),
                on: join.on(),
                filter: join.filter(),
                projection: join.projection.as_deref(),
                hash: Some(join),
            });
        }
        if let Some(join) = plan.downcast_ref::<SortMergeJoinExec>() {
            return Some(Self {
                kind: join.join_type(),
                left: join.left(),
                right: join.right(),
                on: join.on(),
                filter: join.filter().as_ref(),
                projection: None,
                hash: None,
            });
        }
        if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
            return Some(Self {
                kind: *join.join_type(),
                left: join.left(),
                right: join.right(),
                on: &[],
                filter: join.filter(),
                projection: join.projection().as_deref(),
                hash: None,
            });
        }
        let join = plan.downcast_ref::<CrossJoinExec>()?;
        Some(Self {
            kind: JoinType::Inner,
            left: join.left(),
            right: join.right(),
            on: &[],
            filter: None,
            projection: None,
            hash: None,
        })
    }

    /// Whether a condition beside the keys decides. A condition that is always true is none.
    pub(super) fn is_filtered(&self) -> bool {
        self.filter.is_some_and(|filter| filter.expression().to_string() != "true")
    }

    pub(super) fn has_keys(&self) -> bool {
        !self.on.is_empty()
    }

    /// Whether each row is paired with each.
    pub(super) fn is_product(&self) -> bool {
        self.kind == JoinType::Inner && !self.has_keys() && !self.is_filtered()
    }

    /// Whether a row of the right has at most one partner in the left.
    pub(super) fn left_is_unique(&self) -> bool {
        let keys = self.on.iter().map(|(left, _)| left);
        self.has_keys() && unique(self.left, &columns_among(keys))
    }

    /// Whether a row of the left has at most one partner in the right.
    pub(super) fn right_is_unique(&self) -> bool {
        let keys = self.on.iter().map(|(_, right)| right);
        self.has_keys() && unique(self.right, &columns_among(keys))
    }

    /// Rows of the right that have equal keys in the left, a row once for each piece in which its partners came; and
    /// pairs of rows with equal keys. Counted before a further condition.
    pub(super) fn matched(&self) -> Option<(usize, usize)> {
        let mut found = None;
        for metric in self.hash?.metrics()?.iter() {
            if let MetricValue::Ratio { name, ratio_metrics } = metric.value()
                && name == "avg_fanout"
            {
                let (hits, pairs) = found.unwrap_or_default();
                found = Some((hits + ratio_metrics.total(), pairs + ratio_metrics.part()));
            }
        }
        found
    }

    /// Where a column of its rows comes from; `None` for the mark of a mark join.
    pub(super) fn origin(&self, output: usize) -> Option<(JoinSide, usize)> {
        let column = match self.projection {
            Some(shown) => *shown.get(output)?,
            None => output,
        };
        let width = |side: &Arc<dyn ExecutionPlan>| side.schema().fields().len();
        match self.kind {
            JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
                (column < width(self.left)).then_some((JoinSide::Left, column))
            }
            JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => {
                (column < width(self.right)).then_some((JoinSide::Right, column))
            }
            JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => {
                let left = width(self.left);
                Some(match column.checked_sub(left) {
                    None => (JoinSide::Left, column),
                    Some(column) => (JoinSide::Right, column),
                })
            }
        }
    }
}

/// The plain columns among keys.
fn columns_among<'a>(keys: impl Iterator<Item = &'a Arc<dyn PhysicalExpr>>) -> Vec<usize> {
    keys.filter_map(|key| key.downcast_ref::<Column>().map(Column::index)).collect()
}
