//! Whether no two rows of an operator have the same values in some of its columns.
//!
//! By the source's own primary keys and by what groups; everything unknown is "may be".

use std::sync::Arc;

use datafusion::common::{JoinSide, JoinType};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;

use super::hands_on;
use super::joined::Joined;
use crate::federation::{FederatedScanExec, Fragment};

pub(super) fn unique(plan: &Arc<dyn ExecutionPlan>, columns: &[usize]) -> bool {
    if let Some(leaf) = plan.downcast_ref::<FederatedScanExec>() {
        return of_fragment(leaf.fragment(), columns);
    }
    if let Some(join) = Joined::of(plan) {
        return of_join(&join, columns);
    }
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let plain =
            |column: &usize| projection.expr().get(*column)?.expr.downcast_ref::<Column>().map(Column::index);
        return unique(projection.input(), &columns.iter().filter_map(plain).collect::<Vec<_>>());
    }
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        let columns: Vec<usize> = match filter.projection() {
            Some(shown) => columns.iter().filter_map(|column| shown.get(*column).copied()).collect(),
            None => columns.to_vec(),
        };
        return unique(filter.input(), &columns);
    }
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        let through = !matches!(aggregate.mode(), AggregateMode::Partial);
        let keys = aggregate.group_expr();
        return through && keys.is_single() && (0..keys.expr().len()).all(|key| columns.contains(&key));
    }
    let same = hands_on(plan)
        || plan.is::<SortExec>()
        || plan.is::<SortPreservingMergeExec>()
        || plan.is::<GlobalLimitExec>()
        || plan.is::<LocalLimitExec>();
    match plan.children().as_slice() {
        [child] if same && child.schema().fields().len() == plan.schema().fields().len() => {
            unique(child, columns)
        }
        _ => false,
    }
}

/// A table joined at the source has at most one partner for a row, so the keys of the first table stay unique.
fn of_fragment(fragment: &Fragment, columns: &[usize]) -> bool {
    if let Some(aggregate) = &fragment.aggregate {
        return (0..aggregate.groups.len()).all(|key| columns.contains(&key));
    }
    let named = |column: &usize| {
        let (place, field) = fragment.column(*fragment.projection.get(*column)?)?;
        (place == 0).then(|| field.name().as_str())
    };
    let names: Vec<&str> = columns.iter().filter_map(named).collect();
    let key = &fragment.table.primary_key;
    !key.is_empty() && key.iter().all(|column| names.contains(&column.as_str()))
}

fn of_join(join: &Joined<'_>, columns: &[usize]) -> bool {
    let of = |side: JoinSide| -> Vec<usize> {
        let origins = columns.iter().filter_map(|column| join.origin(*column));
        origins.filter(|(from, _)| *from == side).map(|(_, column)| column).collect()
    };
    let left = || unique(join.left, &of(JoinSide::Left));
    let right = || unique(join.right, &of(JoinSide::Right));
    match join.kind {
        JoinType::Inner => (join.right_is_unique() && left()) || (join.left_is_unique() && right()),
        JoinType::Left => join.right_is_unique() && left(),
        JoinType::Right => join.left_is_unique() && right(),
        JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => left(),
        JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => right(),
        JoinType::Full => false,
    }
}
