//! Who tells keys to whom: build sides of joins to leaves that the join's own filter does not reach.
//!
//! A join reads its build side before it asks its probe side, so the keys are complete by then. The engine's own filter
//! of a join goes to one leaf by one way, and holds no long list; whatever else a row of the probe side is made of, and
//! what may be more, is told here. It runs after the sides are chosen, from the top down, because what a leaf is told
//! by one join leaves it fewer keys to tell by the next. It must never put keys where a row without them could still be
//! in the answer: that is for [`super::reach`] to know.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::common::{JoinType, NullEquality, Result};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::joins::HashJoinExec;

use super::reach::{Reached, at_leaves, index_of};
use crate::federation::keys::{Keys, KeysExec};
use crate::federation::measure::{Measure, is_told, measure};
use crate::federation::runtime::hears;
use crate::federation::{FederatedScanExec, Fragment};

/// Rows of a build side for which the engine's own list is surely enough, though they are an estimate.
const FEW: f64 = 1_000.0;

/// Lets every join tell what its own filter cannot.
pub(super) fn told(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    below(plan, &mut Thinned::default())
}

fn below(plan: Arc<dyn ExecutionPlan>, thinned: &mut Thinned) -> Result<Arc<dyn ExecutionPlan>> {
    let mut plan = plan;
    if let Some(join) = plan.downcast_ref::<HashJoinExec>()
        && let Some(telling) = telling(&plan, join, thinned)?
    {
        plan = telling;
    }
    let children: Vec<Arc<dyn ExecutionPlan>> =
        plan.children().into_iter().map(|child| below(Arc::clone(child), thinned)).collect::<Result<_>>()?;
    if children.is_empty() { Ok(plan) } else { replace_children_if_necessary(plan, children) }
}

/// The share of its rows that a leaf is left with by what joins tell it, as far as that can be estimated.
#[derive(Debug, Default)]
struct Thinned(BTreeMap<*const Fragment, f64>);

impl Thinned {
    /// Whether a leaf would be told the values of a key, as far as that can be known; notes what they leave of it.
    fn tells(
        &mut self,
        side: &Arc<dyn ExecutionPlan>,
        build: &Measure,
        key: usize,
        found: &Reached<'_>,
    ) -> Option<bool> {
        let domain = found.leaf.estimate()?.columns.into_iter().nth(found.column)??;
        let values = self.values(side, build, key)?;
        let would = is_told(values, domain.table_rows);
        if would {
            let all = domain.distinct.unwrap_or(domain.table_rows).max(1.0);
            *self.0.entry(std::ptr::from_ref(found.leaf.fragment())).or_insert(1.0) *=
                (values / all).min(1.0);
        }
        Some(would)
    }

    fn share(&self, leaf: &FederatedScanExec) -> f64 {
        self.0.get(&std::ptr::from_ref(leaf.fragment())).copied().unwrap_or(1.0)
    }

    /// How many values a build side has of a key: no more than its leaf has rows, once that is thinned itself.
    fn values(&self, side: &Arc<dyn ExecutionPlan>, build: &Measure, key: usize) -> Option<f64> {
        let mut values = build.values(key).map_or(build.rows, |(values, _)| values);
        at_leaves(side, key, &mut |found| {
            if let Some(estimate) = found.leaf.estimate().filter(|_| found.itself) {
                values = values.min(estimate.rows * self.share(found.leaf));
            }
            None
        })
        .ok()?;
        Some(values)
    }
}

/// The join with keys noted on its build side and heard of on its probe side, if there is somebody to hear.
fn telling(
    plan: &Arc<dyn ExecutionPlan>,
    join: &HashJoinExec,
    thinned: &mut Thinned,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
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
            if !hears(found.leaf, found.column) {
                return None;
            }
            let build = (*build).as_ref();
            let would = build.and_then(|build| thinned.tells(join.left(), build, key, &found));
            // The engine's own list does if there are surely few keys, or more than the leaf would be told.
            let is_enough = build.is_some_and(|build| build.rows <= FEW) || would == Some(false);
            if is_enough && found.itself && reached == Some(std::ptr::from_ref(found.leaf.fragment())) {
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
