//! Which leaves a column of a plan comes from, so that rows without certain values need not be read.
//!
//! A row of the plan that nobody wants because of one column may be left out below as well, as long as every operator
//! between makes its other rows from other rows alone. Where that is not sure the way ends. Nothing here changes a
//! plan by itself; what is done at a leaf is the caller's.

use std::sync::Arc;

use datafusion::common::tree_node::TreeNode;
use datafusion::common::{JoinSide, JoinType, NullEquality, Result};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;

use crate::federation::FederatedScanExec;
use crate::federation::keys::KeysExec;

/// A leaf, its output column, and whether it is the column itself, not one that a join makes equal to it.
pub(in crate::federation) struct Reached<'a> {
    pub(in crate::federation) leaf: &'a FederatedScanExec,
    pub(in crate::federation) column: usize,
    pub(in crate::federation) itself: bool,
}

type Act<'a> = &'a mut dyn FnMut(Reached<'_>) -> Option<Arc<dyn ExecutionPlan>>;

/// Calls `act` with every leaf that a column comes from; the plan with what it put in their places, if it did.
pub(in crate::federation) fn at_leaves(
    plan: &Arc<dyn ExecutionPlan>,
    column: usize,
    act: Act<'_>,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    walk(plan, column, true, act)
}

fn walk(
    plan: &Arc<dyn ExecutionPlan>,
    column: usize,
    itself: bool,
    act: Act<'_>,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(leaf) = plan.downcast_ref::<FederatedScanExec>() {
        return Ok(act(Reached { leaf, column, itself }));
    }
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        return through_join(plan, join, column, itself, act);
    }
    let children = plan.children();
    let (Some(below), [child]) = (below(plan, column), children.as_slice()) else { return Ok(None) };
    match walk(child, below, itself, act)? {
        Some(child) => replace_children_if_necessary(Arc::clone(plan), vec![child]).map(Some),
        None => Ok(None),
    }
}

/// The column of the only input that a column is.
fn below(plan: &Arc<dyn ExecutionPlan>, column: usize) -> Option<usize> {
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        return index_of(&projection.expr().get(column)?.expr);
    }
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        return match filter.projection() {
            Some(shown) => shown.get(column).copied(),
            None => Some(column),
        };
    }
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        // A group without the value is another group; without grouping, or under grouping sets, all rows are one.
        let by = aggregate.group_expr();
        return if by.has_grouping_set() { None } else { index_of(&by.expr().get(column)?.0) };
    }
    let hands_on = plan.is::<KeysExec>()
        || plan.is::<RepartitionExec>()
        || plan.is::<CoalescePartitionsExec>()
        || plan.is::<SortExec>() && plan.fetch().is_none();
    hands_on.then_some(column)
}

fn through_join(
    plan: &Arc<dyn ExecutionPlan>,
    join: &HashJoinExec,
    column: usize,
    itself: bool,
    act: Act<'_>,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some((side, at)) = origin(join, column) else { return Ok(None) };
    let kept = match side {
        JoinSide::Left => matches!(
            join.join_type(),
            JoinType::Inner | JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark
        ),
        _ => matches!(
            join.join_type(),
            JoinType::Inner
                | JoinType::Right
                | JoinType::RightSemi
                | JoinType::RightAnti
                | JoinType::RightMark
        ),
    };
    if !kept {
        return Ok(None);
    }
    let (mut left, mut right) = (Arc::clone(join.left()), Arc::clone(join.right()));
    let mut changed = false;
    let mut into =
        |child: &mut Arc<dyn ExecutionPlan>, at: usize, itself: bool, act: Act<'_>| -> Result<()> {
            if let Some(new) = walk(child, at, itself, act)? {
                *child = new;
                changed = true;
            }
            Ok(())
        };
    match side {
        JoinSide::Left => into(&mut left, at, itself, act)?,
        _ => into(&mut right, at, itself, act)?,
    }
    // Rows of the other side with other values only ever meet rows that nobody wants.
    if join.null_equality() == NullEquality::NullEqualsNothing && !join.null_aware {
        for (one, two) in join.on() {
            match (side, index_of(one), index_of(two)) {
                (JoinSide::Left, Some(one), Some(two)) if one == at => into(&mut right, two, false, act)?,
                (JoinSide::Right, Some(one), Some(two)) if two == at => into(&mut left, one, false, act)?,
                _ => {}
            }
        }
    }
    if changed {
        replace_children_if_necessary(Arc::clone(plan), vec![left, right]).map(Some)
    } else {
        Ok(None)
    }
}

/// The side of a join that an output column is of, and its number there.
pub(in crate::federation) fn origin(join: &HashJoinExec, column: usize) -> Option<(JoinSide, usize)> {
    let joined = match &join.projection {
        Some(shown) => *shown.get(column)?,
        None => column,
    };
    let width = join.left().schema().fields().len();
    match join.join_type() {
        JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => {
            (joined < join.right().schema().fields().len()).then_some((JoinSide::Right, joined))
        }
        _ if joined < width => Some((JoinSide::Left, joined)),
        JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => {
            Some((JoinSide::Right, joined - width))
        }
        _ => None,
    }
}

pub(in crate::federation) fn index_of(expr: &Arc<dyn PhysicalExpr>) -> Option<usize> {
    expr.downcast_ref::<Column>().map(Column::index)
}

/// Whether a plan reads from any source.
pub(in crate::federation) fn reads_a_source(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    plan.exists(|node| Ok(node.is::<FederatedScanExec>()))
}
