//! After a run: how many rows of a leaf were needed, and how many bytes those are, from what the operators above it
//! counted.
//!
//! A row is needed if it passes every condition above the leaf and has partners in the joins above; a group, a window
//! and a top-N need all rows they look at. It is told only where the counts prove it, or counts and keys that are unique
//! (the trust by which joins are made at a source). Where a join may have made several rows of one, a limit stopped an
//! operator before its end, or an operator did not count, nothing is said rather than a guess.

mod columns;
mod joined;
mod keys;

use std::sync::Arc;

use datafusion::common::JoinType;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::scalar_subquery::ScalarSubqueryExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::union::{InterleaveExec, UnionExec};
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};

pub(super) use self::columns::Columns;
use self::joined::Joined;
use super::FederatedScanExec;

/// Notes `minimal_rows` and `minimal_bytes` among the metrics of each leaf of which they are known. The plan was run to
/// its end, once, in batches of at most `batch_size` rows.
pub fn tell_minimum(plan: &Arc<dyn ExecutionPlan>, batch_size: usize) {
    let need = Need { rows: counted(plan), stopped: false };
    walk(plan, need, &columns::all(plan), batch_size);
}

/// What is known of the rows of an operator, from above.
#[derive(Debug, Clone, Copy)]
struct Need {
    /// So many of them survive all that is above.
    rows: Option<usize>,
    /// A limit above may have ended the operator before it was through.
    stopped: bool,
}

impl Need {
    const UNKNOWN: Self = Self { rows: None, stopped: true };
}

/// `wanted` are the operator's columns that somebody above looks at.
fn walk(plan: &Arc<dyn ExecutionPlan>, need: Need, wanted: &Columns, batch_size: usize) {
    if let Some(leaf) = plan.downcast_ref::<FederatedScanExec>() {
        if let Some(rows) = need.rows {
            leaf.tell_minimum(rows, wanted);
        }
        return;
    }
    let needs = below(plan, need, batch_size);
    let wanted = columns::below(plan, wanted);
    for ((child, need), wanted) in plan.children().into_iter().zip(needs).zip(wanted) {
        walk(child, need, &wanted, batch_size);
    }
}

/// What is known of each child's rows.
fn below(plan: &Arc<dyn ExecutionPlan>, need: Need, batch_size: usize) -> Vec<Need> {
    let children = plan.children();
    let all = !need.stopped && need.rows.is_some() && need.rows == counted(plan);
    if let Some(join) = Joined::of(plan) {
        let (left, right) = sides(&join, plan, need, batch_size);
        let stopped = need.stopped || plan.fetch().is_some();
        return vec![Need { rows: left, stopped }, Need { rows: right, stopped }];
    }
    if plan.is::<UnionExec>() || plan.is::<InterleaveExec>() {
        let part = |child: &&Arc<dyn ExecutionPlan>| match need.rows {
            Some(0) => Some(0),
            _ if all => counted(child),
            _ => None,
        };
        return children.iter().map(|child| Need { rows: part(child), ..need }).collect();
    }
    if plan.is::<ScalarSubqueryExec>() {
        // The first is the query, each other one a query of its own whose value it reads.
        let own = |child: &&Arc<dyn ExecutionPlan>| Need { rows: counted(child), stopped: false };
        return std::iter::once(need).chain(children.iter().skip(1).map(own)).collect();
    }
    match children.as_slice() {
        [child] => vec![only(plan, child, need, all)],
        _ => vec![Need::UNKNOWN; children.len()],
    }
}

/// What is known of the rows of an only child.
fn only(plan: &Arc<dyn ExecutionPlan>, child: &Arc<dyn ExecutionPlan>, need: Need, all: bool) -> Need {
    let limited = need.stopped || plan.fetch().is_some();
    if plan.is::<SortExec>() {
        // It reads to the end before it gives its first row, and a top-N looks at all of them.
        let rows = if limited { counted(child) } else { need.rows };
        return Need { rows, stopped: false };
    }
    if plan.is::<SortPreservingMergeExec>() {
        let rows = match limited {
            false => need.rows,
            true if child.is::<SortExec>() => counted(child),
            true => None,
        };
        return Need { rows, stopped: limited };
    }
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        // A group that is needed needs all of its rows; which rows a lost group had is not counted.
        let rows = if all && aggregate.limit_options().is_none() { counted(child) } else { None };
        return Need { rows, stopped: rows.is_none() };
    }
    if is_window(plan) {
        return Need { rows: if all { counted(child) } else { None }, stopped: limited };
    }
    if let Some(limit) = plan.downcast_ref::<GlobalLimitExec>() {
        // What is skipped is read as well.
        return Need { rows: need.rows.filter(|_| limit.skip() == 0), stopped: true };
    }
    if plan.is::<LocalLimitExec>() {
        return Need { rows: need.rows, stopped: true };
    }
    if plan.is::<FilterExec>() || hands_on(plan) {
        // Each row is one row below.
        return Need { rows: need.rows, stopped: limited };
    }
    Need::UNKNOWN
}

/// What is needed of the left, or build, and of the right, or probe side of a join.
fn sides(
    join: &Joined<'_>,
    plan: &Arc<dyn ExecutionPlan>,
    need: Need,
    batch_size: usize,
) -> (Option<usize>, Option<usize>) {
    let Some(rows) = need.rows else { return (None, None) };
    let ended = !need.stopped && plan.fetch().is_none();
    let given = counted(plan);
    // All pairs of rows that the keys make are needed, and nothing but keys made them.
    let whole = ended && given == Some(rows);
    let plain = whole && !join.is_filtered() && join.has_keys();
    let (left_rows, right_rows) = (counted(join.left), counted(join.right));
    // Of one row there is at most one partner.
    let one = |side: Option<usize>| ended && side.is_some_and(|rows| rows <= 1);
    let left_unique = one(left_rows) || join.left_is_unique();
    let right_unique = one(right_rows) || join.right_is_unique();
    // Partners of one row may come in several pieces, in which it is counted anew: only one piece is sure.
    let (hits, pairs) = join.matched().unzip();
    let in_one_piece = left_unique || pairs.is_some_and(|pairs| pairs <= batch_size);
    let hits = hits.filter(|_| in_one_piece);
    let one_each = left_unique || (hits.is_some() && hits == pairs);
    let (hits, pairs) = (hits.filter(|_| plain), pairs.filter(|_| plain));
    let none = (rows == 0).then_some(0);
    let few = |side: Option<usize>| none.or(side.filter(|rows| *rows <= 1));
    // Every row of this side is in what came, at least once.
    let outer = |side: Option<usize>, once: bool| {
        let once = once || (ended && given.is_some() && given == side);
        if once { Some(rows) } else { few(side).or(side.filter(|_| whole)) }
    };
    match join.kind {
        JoinType::Inner if join.is_product() => {
            (few(left_rows).or(left_rows.filter(|_| whole)), few(right_rows).or(right_rows.filter(|_| whole)))
        }
        JoinType::Inner => (
            if right_unique { Some(rows) } else { few(left_rows) },
            if one_each { Some(rows) } else { hits.or(few(right_rows)) },
        ),
        JoinType::Left => (outer(left_rows, right_unique), none.or(hits)),
        JoinType::Right => (none.or(pairs.filter(|_| right_unique)), outer(right_rows, left_unique)),
        JoinType::Full if whole => (left_rows, right_rows),
        JoinType::Full => (none, none),
        JoinType::LeftSemi => {
            let paired = (left_unique && right_unique).then_some(rows);
            (Some(rows), none.or(paired).or(hits))
        }
        JoinType::RightSemi => {
            let paired = (left_unique && right_unique).then_some(rows);
            (none.or(paired).or(pairs.filter(|_| right_unique)), Some(rows))
        }
        // The other side is what proves that a row has no partner: how much of it that takes is not counted.
        JoinType::LeftAnti | JoinType::LeftMark => (Some(rows), None),
        JoinType::RightAnti | JoinType::RightMark => (None, Some(rows)),
    }
}

/// Whether each row that comes is one that went in, and all do.
fn hands_on(plan: &Arc<dyn ExecutionPlan>) -> bool {
    matches!(plan.cardinality_effect(), CardinalityEffect::Equal) && !is_window(plan)
}

fn is_window(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.is::<WindowAggExec>() || plan.is::<BoundedWindowAggExec>()
}

/// The rows an operator gave, looked for below what only hands them on.
fn counted(plan: &Arc<dyn ExecutionPlan>) -> Option<usize> {
    if let Some(rows) = plan.metrics().and_then(|metrics| metrics.output_rows()) {
        return Some(rows);
    }
    let handed = hands_on(plan) && plan.fetch().is_none();
    plan.children().first().filter(|_| handed).and_then(|child| counted(child))
}
