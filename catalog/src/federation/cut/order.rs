//! The order in which tables of several sources are joined.
//!
//! The engine keeps the order of the statement and only chooses which of two sides builds. Between sources that costs
//! rows: a table fetched before the one that would have named its keys is fetched whole. So inner joins (and semi-joins
//! on one of their tables) are taken apart; [`search`] finds in which order to fetch the tables, each asked only for
//! the keys that those before it left, and which joins read them in that order; [`build`] makes them. Inner joins
//! commute, so the rows are the same; conditions that can fail are not moved, and without an estimate for every table
//! nothing is.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{JoinSide, JoinType, NullEquality, Result};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::projection::ProjectionExec;

use crate::federation::failing::never_fails;
use crate::federation::measure::{Measure, heard_by, measure};

use super::reach::index_of;
use super::sides::chosen;

mod build;
mod search;

/// Puts every group of inner joins into a better order.
pub(super) fn ordered(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    if plan.is::<HashJoinExec>()
        && let Some(better) = Cluster::of(&plan).map(|cluster| cluster.rebuilt(&plan)).transpose()?.flatten()
    {
        return Ok(better);
    }
    let children: Vec<Arc<dyn ExecutionPlan>> =
        plan.children().into_iter().map(|child| ordered(Arc::clone(child))).collect::<Result<_>>()?;
    if children.is_empty() { Ok(plan) } else { chosen(replace_children_if_necessary(plan, children)?) }
}

/// Tables joined by equal columns. Columns of all tables are numbered through.
#[derive(Debug, Clone, Default)]
struct Cluster {
    relations: Vec<Relation>,
    /// Pairs of equal columns.
    equal: Vec<(usize, usize)>,
    /// Further conditions, over the numbered columns.
    filters: Vec<Arc<dyn PhysicalExpr>>,
    /// What the joins show.
    shown: Vec<usize>,
}

/// One table, or whatever else is joined.
#[derive(Debug, Clone)]
struct Relation {
    plan: Arc<dyn ExecutionPlan>,
    /// The number of its first column.
    first: usize,
    width: usize,
    measure: Measure,
    /// Per column, the share of what is fetched that keys of it thin.
    heard: Vec<f64>,
    /// Whether a semi-join was moved to it.
    reduced: bool,
}

impl Relation {
    fn has(&self, column: usize) -> bool {
        self.at(column).is_some()
    }

    /// The number that a column has in it, if it is one of its own.
    fn at(&self, column: usize) -> Option<usize> {
        column.checked_sub(self.first).filter(|at| *at < self.width)
    }
}

impl Cluster {
    /// The joins at the top of a plan, if there is something to choose and every table has an estimate.
    fn of(plan: &Arc<dyn ExecutionPlan>) -> Option<Self> {
        let mut cluster = Self::default();
        cluster.shown = cluster.gather(plan)?;
        cluster.note_who_hears()?;
        let some_choice = cluster.relations.len() > 2
            || cluster.relations.len() == 2 && cluster.relations.iter().any(|one| one.reduced);
        some_choice.then_some(cluster)
    }

    /// Takes a plan apart; its output columns by number. `None` if a part has no estimate.
    fn gather(&mut self, plan: &Arc<dyn ExecutionPlan>) -> Option<Vec<usize>> {
        if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
            let before = self.clone();
            let taken = match join.join_type() {
                JoinType::Inner => self.inner(join)?,
                JoinType::LeftSemi => self.semi(join)?,
                _ => None,
            };
            if let Some(columns) = taken {
                return Some(columns);
            }
            *self = before;
        }
        if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
            let columns: Option<Vec<usize>> =
                projection.expr().iter().map(|shown| index_of(&shown.expr)).collect();
            if let Some(columns) = columns {
                let inner = self.gather(projection.input())?;
                return columns.into_iter().map(|column| inner.get(column).copied()).collect();
            }
        }
        let measure = measure(plan)?;
        let first = self.relations.last().map_or(0, |last| last.first + last.width);
        let width = plan.schema().fields().len();
        let relation =
            Relation { plan: Arc::clone(plan), first, width, measure, heard: vec![], reduced: false };
        self.relations.push(relation);
        Some((first..first + width).collect())
    }

    /// An inner join on equal columns: outer `None` without an estimate, inner `None` if it must stay as it is.
    #[expect(clippy::option_option, reason = "both absences mean something else")]
    fn inner(&mut self, join: &HashJoinExec) -> Option<Option<Vec<usize>>> {
        if join.null_equality() != NullEquality::NullEqualsNothing || join.null_aware {
            return Some(None);
        }
        let (left, right) = (self.gather(join.left())?, self.gather(join.right())?);
        for (one, two) in join.on() {
            let (Some(one), Some(two)) =
                (index_of(one).and_then(|n| left.get(n)), index_of(two).and_then(|n| right.get(n)))
            else {
                return Some(None);
            };
            self.equal.push((*one, *two));
        }
        if let Some(filter) = join.filter() {
            let numbers: Option<Vec<usize>> = filter
                .column_indices()
                .iter()
                .map(|column| match column.side {
                    JoinSide::Left => left.get(column.index).copied(),
                    JoinSide::Right => right.get(column.index).copied(),
                    JoinSide::None => None,
                })
                .collect();
            let moved = numbers.and_then(|numbers| {
                renumbered(filter.expression(), |n| Some(Column::new("", *numbers.get(n)?)))
            });
            match moved.filter(|moved| never_fails(moved, &|_| false)) {
                Some(moved) => self.filters.push(moved),
                None => return Some(None),
            }
        }
        let all = [left, right].concat();
        Some(match &join.projection {
            Some(shown) => shown.iter().map(|index| all.get(*index).copied()).collect(),
            None => Some(all),
        })
    }

    /// A semi-join whose keys are all of one table belongs to that table, if it is asked for fewer rows than it has.
    #[expect(clippy::option_option, reason = "both absences mean something else")]
    fn semi(&mut self, join: &HashJoinExec) -> Option<Option<Vec<usize>>> {
        let always = |filter: &Arc<dyn PhysicalExpr>| {
            filter.downcast_ref::<Literal>().is_some_and(|l| *l.value() == true.into())
        };
        if join.null_equality() != NullEquality::NullEqualsNothing
            || join.null_aware
            || join.filter().is_some_and(|filter| !always(filter.expression()))
        {
            return Some(None);
        }
        let left = self.gather(join.left())?;
        let keys: Option<Vec<usize>> =
            join.on().iter().map(|(key, _)| index_of(key).and_then(|n| left.get(n)).copied()).collect();
        let Some(keys) = keys else { return Some(None) };
        let Some(owner) = self.relations.iter_mut().find(|one| keys.first().is_some_and(|key| one.has(*key)))
        else {
            return Some(None);
        };
        let asking = measure(join.right())?;
        if keys.iter().any(|key| !owner.has(*key)) || asking.rows > owner.measure.rows {
            return Some(None);
        }
        let asked = asking.fetched;
        let on = keys.iter().zip(join.on()).map(|(key, (_, right))| {
            let at = key - owner.first;
            let name = owner.plan.schema().field(at).name().clone();
            (Arc::new(Column::new(&name, at)) as Arc<dyn PhysicalExpr>, Arc::clone(right))
        });
        let kept =
            owner.measure.kept_by(&keys.iter().map(|key| key - owner.first).collect::<Vec<_>>(), &asking);
        let Ok(reduced) = join
            .builder()
            .with_projection(None)
            .with_on(on.collect())
            .with_filter(None)
            .with_new_children(vec![Arc::clone(&owner.plan), Arc::clone(join.right())])
            .and_then(|builder| builder.recompute_properties().build_exec())
        else {
            return Some(None);
        };
        owner.plan = reduced;
        owner.reduced = true;
        // The keys that are asked for are fetched, and then only what they leave.
        owner.measure.fetched = owner.measure.fetched.min(kept) + asked;
        owner.measure.rows = kept;
        Some(match &join.projection {
            Some(shown) => shown.iter().map(|index| left.get(*index).copied()).collect(),
            None => Some(left),
        })
    }

    /// Notes which columns' keys thin what is fetched.
    fn note_who_hears(&mut self) -> Option<()> {
        for relation in &mut self.relations {
            relation.heard = vec![0.0; relation.width];
            for column in self.equal.iter().flat_map(|(one, two)| [*one, *two]) {
                let Some(at) = relation.at(column) else { continue };
                let rows = heard_by(&relation.plan, at).ok()?;
                if let Some(heard) = relation.heard.get_mut(at) {
                    *heard = (rows / relation.measure.fetched.max(1.0)).min(1.0);
                }
            }
        }
        Some(())
    }

    /// The relation a column belongs to.
    fn owner(&self, column: usize) -> Option<usize> {
        self.relations.iter().position(|one| one.has(column))
    }
}

/// The expression over other columns.
fn renumbered(
    expr: &Arc<dyn PhysicalExpr>,
    column: impl Fn(usize) -> Option<Column>,
) -> Option<Arc<dyn PhysicalExpr>> {
    let mut known = true;
    let moved = Arc::clone(expr).transform(|node| {
        let Some(old) = node.downcast_ref::<Column>() else { return Ok(Transformed::no(node)) };
        match column(old.index()) {
            Some(new) => Ok(Transformed::yes(Arc::new(new) as Arc<dyn PhysicalExpr>)),
            None => {
                known = false;
                Ok(Transformed::no(node))
            }
        }
    });
    moved.ok().map(|moved| moved.data).filter(|_| known)
}
