//! Joins of two tables that one statement can reach.
//!
//! A join moves only where it cannot multiply rows: the joined table's keys are unique, or only asked for. More rows
//! than the larger input would come back otherwise, and fetching both would have been cheaper. Null-aware joins (`NOT
//! IN`) and joins with further conditions stay.

use std::sync::Arc;

use datafusion::common::{JoinType, NullEquality, Result};
use datafusion::optimizer::Optimizer;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion_federation::FederationProvider;

use super::below::{Below, below, over};
use super::passed;
use crate::federation::leaf::KeptFilter;
use crate::federation::{FederatedScanExec, Fragment, FragmentJoin, FragmentJoinKind, Reason};

/// What one statement can reach: the identity by which datafusion-federation tells providers apart.
struct ComputeContext(Option<String>);

impl FederationProvider for ComputeContext {
    fn name(&self) -> &'static str {
        "portolan"
    }

    fn compute_context(&self) -> Option<String> {
        self.0.clone()
    }

    fn optimizer(&self) -> Option<Arc<Optimizer>> {
        None
    }
}

fn same_context(left: &FederatedScanExec, right: &FederatedScanExec) -> bool {
    let [left, right] = [left, right].map(|leaf| ComputeContext(leaf.executor().compute_context()));
    let (known, left, right): (bool, &dyn FederationProvider, &dyn FederationProvider) =
        (left.0.is_some(), &left, &right);
    known && left == right
}

/// Replaces a join of two leaves by one leaf.
pub(super) fn cut(node: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(join) = node.downcast_ref::<HashJoinExec>() else { return Ok(None) };
    let (Some(left), Some(right)) = (below(join.left()), below(join.right())) else { return Ok(None) };
    if !same_context(left.leaf, right.leaf) {
        return Ok(None);
    }
    match joined(join, &left, &right) {
        Ok((fragment, notes)) => {
            let notes = left.leaf.kept().iter().chain(right.leaf.kept()).cloned().chain(notes);
            Ok(Some(Arc::new(left.leaf.asking(fragment, join.schema())?.noting(notes))))
        }
        Err(reason) => {
            let kind = format!("{} join", join.join_type()).to_lowercase();
            let leaf = left.leaf.noting([KeptFilter::kept_operator(kind, reason)]);
            let leaf: Arc<dyn ExecutionPlan> = Arc::new(leaf);
            let children = vec![over(join.left(), &leaf)?, Arc::clone(join.right())];
            replace_children_if_necessary(Arc::clone(node), children).map(Some)
        }
    }
}

/// One side of a join: its fragment, and per column of the side the row's column it is.
struct Side<'a> {
    fragment: &'a Fragment,
    rows: Vec<usize>,
    keys: Vec<usize>,
}

impl<'a> Side<'a> {
    fn of(
        below: &'a Below<'_>,
        keys: impl Iterator<Item = &'a Arc<dyn PhysicalExpr>>,
    ) -> std::result::Result<Self, Reason> {
        let fragment = below.leaf.fragment();
        if fragment.aggregate.is_some() || fragment.limit.is_some() {
            return Err("one side is grouped or limited already".into());
        }
        let rows: Option<Vec<usize>> = below
            .columns
            .iter()
            .map(|output| output.and_then(|output| fragment.projection.get(output).copied()))
            .collect();
        let rows = rows.ok_or(Reason::Borrowed("computed columns are joined here"))?;
        let keys: Option<Vec<usize>> = keys
            .map(|key| key.downcast_ref::<Column>().and_then(|column| rows.get(column.index()).copied()))
            .collect();
        let keys = keys.ok_or(Reason::Borrowed("computed keys are joined here"))?;
        Ok(Self { fragment, rows, keys })
    }

    fn single(&self) -> bool {
        self.fragment.joins.is_empty()
    }

    /// Whether a row of the other side has at most one partner here.
    fn unique(&self) -> bool {
        let table = &self.fragment.table;
        let names: Vec<&str> = self
            .keys
            .iter()
            .filter_map(|key| table.arrow.fields().get(*key))
            .map(|f| f.name().as_str())
            .collect();
        self.single()
            && !table.primary_key.is_empty()
            && table.primary_key.iter().all(|column| names.contains(&column.as_str()))
    }
}

fn joined(
    join: &HashJoinExec,
    left: &Below<'_>,
    right: &Below<'_>,
) -> std::result::Result<(Fragment, Vec<KeptFilter>), Reason> {
    if join.null_aware {
        return Err("NOT IN with a subquery is not NOT EXISTS".into());
    }
    if join.filter().is_some()
        || join.null_equality() != NullEquality::NullEqualsNothing
        || join.on().is_empty()
    {
        return Err("its condition is more than equal keys".into());
    }
    let sides = (
        Side::of(left, join.on().iter().map(|(left, _)| left))?,
        Side::of(right, join.on().iter().map(|(_, right)| right))?,
    );
    let (left_side, right_side) = (&sides.0, &sides.1);
    let multiplies = Reason::Borrowed("it may return more rows than its larger side has");
    let (kind, swapped) = match join.join_type() {
        JoinType::Inner if right_side.unique() => (FragmentJoinKind::Inner, false),
        JoinType::Inner if left_side.unique() => (FragmentJoinKind::Inner, true),
        JoinType::Left if right_side.unique() => (FragmentJoinKind::Left, false),
        JoinType::Right if left_side.unique() => (FragmentJoinKind::Left, true),
        JoinType::Inner | JoinType::Left | JoinType::Right => return Err(multiplies),
        JoinType::LeftSemi => (FragmentJoinKind::Semi, false),
        JoinType::RightSemi => (FragmentJoinKind::Semi, true),
        JoinType::LeftAnti => (FragmentJoinKind::Anti, false),
        JoinType::RightAnti => (FragmentJoinKind::Anti, true),
        _ => return Err("this kind of join is made here".into()),
    };
    let (base, other) = if swapped { (right_side, left_side) } else { (left_side, right_side) };
    if !other.single() {
        return Err("one side is joined already".into());
    }
    let mut notes = Vec::new();
    let mut on = Vec::new();
    for (base_key, other_key) in base.keys.iter().zip(&other.keys) {
        let (Some((_, one)), Some((_, two))) =
            (base.fragment.column(*base_key), other.fragment.column(*other_key))
        else {
            return Err("its keys are not columns".into());
        };
        if let Some(words) = passed(left.leaf.executor().join_verdict(one, two))? {
            notes.push(KeptFilter::rewritten_operator(format!("{} = {}", one.name(), two.name()), words));
        }
        on.push((*base_key, *other_key));
    }
    let width = base.fragment.width();
    let of_base = |rows: &[usize]| rows.to_vec();
    let of_other = |rows: &[usize]| rows.iter().map(|row| width + row).collect::<Vec<_>>();
    let all: Vec<usize> = match (kind.shows_columns(), swapped) {
        (false, _) => of_base(&base.rows),
        (true, false) => [of_base(&base.rows), of_other(&other.rows)].concat(),
        (true, true) => [of_other(&other.rows), of_base(&base.rows)].concat(),
    };
    let projection = match &join.projection {
        Some(shown) => shown.iter().map(|index| all.get(*index).copied()).collect::<Option<Vec<_>>>(),
        None => Some(all),
    };
    let projection = projection.ok_or(Reason::Borrowed("its columns are not known"))?;
    let mut joins = base.fragment.joins.clone();
    joins.push(FragmentJoin {
        kind,
        table: Arc::clone(&other.fragment.table),
        filters: other.fragment.filters.clone(),
        on,
    });
    let epoch = base.fragment.epoch.min(other.fragment.epoch);
    Ok((Fragment { projection, joins, epoch, ..base.fragment.clone() }, notes))
}
