//! Who tells keys to whom: build sides of joins to leaves that the join's own filter does not reach.
//!
//! A join reads its build side before it asks its probe side, so the keys are complete by then. The engine's own filter
//! of a join goes to one leaf by one way, and holds no long list; whatever else a row of the probe side is made of, and
//! what may be more, is told here. It runs after
//! the sides are chosen and must never put keys where a row without them could still be in the answer: that is for
//! [`super::reach`] to know.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::common::{JoinType, NullEquality, Result};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::joins::HashJoinExec;

use super::reach::{Reached, at_leaves, index_of};
use crate::federation::Fragment;
use crate::federation::keys::{Keys, KeysExec};
use crate::federation::measure::{Measure, is_told, measure};
use crate::federation::runtime::hears;

/// Rows of a build side for which the engine's own list is surely enough, though they are an estimate.
const FEW: f64 = 1_000.0;

/// Lets every join tell what its own filter cannot.
pub(super) fn told(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let mut plan = plan;
    if let Some(join) = plan.downcast_ref::<HashJoinExec>()
        && let Some(telling) = telling(&plan, join)?
    {
        plan = telling;
    }
    let children: Vec<Arc<dyn ExecutionPlan>> =
        plan.children().into_iter().map(|child| told(Arc::clone(child))).collect::<Result<_>>()?;
    if children.is_empty() { Ok(plan) } else { replace_children_if_necessary(plan, children) }
}

/// The join with keys noted on its build side and heard of on its probe side, if there is somebody to hear.
fn telling(plan: &Arc<dyn ExecutionPlan>, join: &HashJoinExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    // Of these, no row of the probe side without a partner shows.
    let asks = matches!(
        join.join_type(),
        JoinType::Inner
            | JoinType::Left
            | JoinType::LeftSemi
            | JoinType::LeftAnti
            | JoinType::LeftMark
            | JoinType::RightSemi
    );
    if !asks || join.null_aware || join.null_equality() != NullEquality::NullEqualsNothing {
        return Ok(None);
    }
    let keys: Vec<Option<(usize, usize)>> =
        join.on().iter().map(|(one, two)| Some((index_of(one)?, index_of(two)?))).collect();
    // Only where a leaf asks: most joins have none that could hear.
    let build = LazyCell::new(|| measure(join.left()));
    let reached = filtered_by_itself(join, &keys)?;
    let mut right = Arc::clone(join.right());
    let mut noted: BTreeMap<usize, Arc<Keys>> = BTreeMap::new();
    for (key, probed) in keys.into_iter().flatten() {
        let schema = join.left().schema();
        let known = noted.get(&key).map(Arc::clone);
        let Some(values) = known.or_else(|| Keys::of(schema.fields().get(key)?.data_type())) else {
            continue;
        };
        let heard = at_leaves(&right, probed, &mut |found| {
            let same = found.itself && reached == Some(std::ptr::from_ref(found.leaf.fragment()));
            if !hears(found.leaf, found.column) || same && is_enough((*build).as_ref(), key, &found) {
                return None;
            }
            let mut leaf = found.leaf.clone();
            leaf.runtime.hear(found.column, Arc::clone(&values));
            Some(Arc::new(leaf))
        })?;
        if let Some(heard) = heard {
            right = heard;
            noted.insert(key, values);
        }
    }
    if noted.is_empty() {
        return Ok(None);
    }
    let left = Arc::new(KeysExec::new(Arc::clone(join.left()), noted.into_iter().collect()));
    replace_children_if_necessary(Arc::clone(plan), vec![left, right]).map(Some)
}

/// Whether the engine's own list does for a leaf, as far as that can be known: there are few keys, or more than the leaf
/// would be told.
fn is_enough(build: Option<&Measure>, key: usize, found: &Reached<'_>) -> bool {
    let Some(build) = build else { return false };
    let keys = build.values(key).map_or(build.rows, |(values, _)| values);
    let probed = found.leaf.estimate();
    let table = probed.as_ref().and_then(|probed| probed.columns.get(found.column)?.as_ref());
    build.rows <= FEW || table.is_some_and(|table| !is_told(keys, table.table_rows))
}

/// The leaf that the join's own filter reaches: the one that all of its keys are of.
fn filtered_by_itself(
    join: &HashJoinExec,
    keys: &[Option<(usize, usize)>],
) -> Result<Option<*const Fragment>> {
    let mut all = BTreeSet::new();
    for key in keys {
        let mut reached = None;
        if let Some((_, probed)) = key {
            at_leaves(join.right(), *probed, &mut |found| {
                if found.itself {
                    reached = Some(std::ptr::from_ref(found.leaf.fragment()));
                }
                None
            })?;
        }
        all.insert(reached);
    }
    let marks = *join.join_type() == JoinType::LeftMark;
    Ok(all.first().copied().flatten().filter(|_| all.len() == 1 && !marks))
}
