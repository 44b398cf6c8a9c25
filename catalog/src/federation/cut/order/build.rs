//! The joins in their new order, under the schema of the old ones.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::common::{JoinType, NullEquality, Result};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};

use super::search::{Class, Tree};
use super::{Cluster, Relation, ordered, renumbered};
use crate::federation::FederatedScanExec;

/// What is joined so far: a plan, per column of it the number of the column it is, and the relations in it.
struct Joined {
    plan: Arc<dyn ExecutionPlan>,
    columns: Vec<usize>,
    relations: Vec<usize>,
}

impl Joined {
    fn at(&self, column: usize) -> Option<usize> {
        self.columns.iter().position(|one| *one == column)
    }

    fn column(&self, at: usize) -> Arc<dyn PhysicalExpr> {
        Arc::new(Column::new(self.plan.schema().field(at).name(), at))
    }
}

impl Cluster {
    /// The same rows under the same columns as the plan this was taken from; `None` if its order stays.
    pub(super) fn rebuilt(self, old: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(join) = old.downcast_ref::<HashJoinExec>() else { return Ok(None) };
        let Some(classes) = self.classes() else { return Ok(None) };
        let Some(tree) = self.best_tree(&classes) else { return Ok(None) };
        let mut making = Making {
            cluster: &self,
            classes: &classes,
            mode: *join.partition_mode(),
            names: HashSet::new(),
            filters: self.filters.clone(),
        };
        let Some(joined) = making.tree(&tree)? else { return Ok(None) };
        let filters = making.filters;
        if !filters.is_empty() {
            return Ok(None);
        }
        let schema = old.schema();
        let shown: Option<Vec<ProjectionExpr>> = self
            .shown
            .iter()
            .zip(schema.fields())
            .map(|(column, field)| {
                let at = joined.at(*column)?;
                Some(ProjectionExpr { expr: joined.column(at), alias: field.name().clone() })
            })
            .collect();
        let Some(shown) = shown.filter(|shown| shown.len() == schema.fields().len()) else { return Ok(None) };
        Ok(Some(Arc::new(ProjectionExec::try_new(shown, joined.plan)?)))
    }
}

/// The joins of one cluster, while they are made.
struct Making<'a> {
    cluster: &'a Cluster,
    classes: &'a [Class],
    mode: PartitionMode,
    /// Names of columns that are taken.
    names: HashSet<String>,
    /// Conditions that are still to be tested.
    filters: Vec<Arc<dyn PhysicalExpr>>,
}

impl Making<'_> {
    /// `None` if no columns connect two sides.
    fn tree(&mut self, tree: &Tree) -> Result<Option<Joined>> {
        let (left, right) = match tree {
            Tree::One(index) => {
                let relation = self.cluster.relations.get(*index);
                return relation.map(|relation| alone(*index, relation, &mut self.names)).transpose();
            }
            Tree::Join(left, right) => (self.tree(left)?, self.tree(right)?),
        };
        let (Some(left), Some(right)) = (left, right) else { return Ok(None) };
        let on: Vec<_> = self
            .classes
            .iter()
            .filter_map(|class| {
                let at = |joined: &Joined| class.columns.iter().find_map(|column| joined.at(*column));
                Some((left.column(at(&left)?), right.column(at(&right)?)))
            })
            .collect();
        if on.is_empty() {
            return Ok(None);
        }
        let all = [left.columns.as_slice(), right.columns.as_slice()].concat();
        let relations = [left.relations.as_slice(), right.relations.as_slice()].concat();
        let wanted = |column: &usize| self.is_wanted(*column, &all, &relations);
        let kept: Vec<usize> = (0..all.len()).filter(|at| all.get(*at).is_some_and(wanted)).collect();
        let columns = kept.iter().filter_map(|at| all.get(*at)).copied().collect();
        let plan = HashJoinExec::try_new(
            left.plan,
            right.plan,
            on,
            None,
            &JoinType::Inner,
            Some(kept),
            self.mode,
            NullEquality::NullEqualsNothing,
            false,
        )?;
        let mut joined = Joined { plan: Arc::new(plan), columns, relations };
        self.filters = joined.filtered(std::mem::take(&mut self.filters))?;
        Ok(Some(joined))
    }

    /// Whether a column is shown in the end, tested by a condition to come, or a key of a join to come; `all` are the
    /// columns, and `relations` the relations, that are joined by now.
    fn is_wanted(&self, column: usize, all: &[usize], relations: &[usize]) -> bool {
        let outside = |one: &usize| self.cluster.owner(*one).is_some_and(|owner| !relations.contains(&owner));
        let tested = || self.filters.iter().any(|filter| numbers(filter).contains(&column));
        let joins = || {
            self.classes.iter().any(|class| {
                // One of the equal columns is enough.
                all.iter().find(|one| class.columns.contains(one)) == Some(&column)
                    && class.columns.iter().any(outside)
            })
        };
        self.cluster.shown.contains(&column) || tested() || joins()
    }
}

impl Joined {
    /// Tests what can be tested by now; the conditions that are left.
    fn filtered(&mut self, filters: Vec<Arc<dyn PhysicalExpr>>) -> Result<Vec<Arc<dyn PhysicalExpr>>> {
        let mut left = Vec::new();
        for filter in filters {
            let schema = self.plan.schema();
            let known = |number: usize| {
                let at = self.at(number)?;
                Some(Column::new(schema.field(at).name(), at))
            };
            match renumbered(&filter, known) {
                Some(predicate) => {
                    self.plan = Arc::new(FilterExec::try_new(predicate, Arc::clone(&self.plan))?);
                }
                None => left.push(filter),
            }
        }
        Ok(left)
    }
}

/// A relation by itself. The engine tells columns apart by name when it moves filters, so a leaf whose columns are
/// named as those of another (and whatever else is joined) shows them under names of their own; the last projection
/// gives the old ones back.
fn alone(index: usize, relation: &Relation, names: &mut HashSet<String>) -> Result<Joined> {
    let mut plan = ordered(Arc::clone(&relation.plan))?;
    let schema = plan.schema();
    let renamed: Vec<Field> = schema.fields().iter().map(|field| own_name(field, names)).collect();
    if renamed.iter().zip(schema.fields()).any(|(new, old)| new.name() != old.name()) {
        plan = match plan.downcast_ref::<FederatedScanExec>() {
            Some(leaf) => {
                let schema = Schema::new_with_metadata(renamed, schema.metadata().clone());
                Arc::new(leaf.asking(leaf.fragment().clone(), Arc::new(schema))?)
            }
            None => {
                let columns = schema.fields().iter().enumerate().zip(renamed).map(|((at, old), new)| {
                    let expr = Arc::new(Column::new(old.name(), at)) as Arc<dyn PhysicalExpr>;
                    ProjectionExpr { expr, alias: new.name().clone() }
                });
                Arc::new(ProjectionExec::try_new(columns, plan)?)
            }
        };
    }
    let columns = (relation.first..relation.first + relation.width).collect();
    Ok(Joined { plan, columns, relations: vec![index] })
}

fn own_name(field: &Field, names: &mut HashSet<String>) -> Field {
    let mut name = field.name().clone();
    let mut number = 1;
    while !names.insert(name.clone()) {
        number += 1;
        name = format!("{}_{number}", field.name());
    }
    field.clone().with_name(name)
}

fn numbers(filter: &Arc<dyn PhysicalExpr>) -> Vec<usize> {
    collect_columns(filter).iter().map(Column::index).collect()
}
