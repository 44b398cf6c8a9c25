//! Which columns of an operator somebody above looks at. What is not understood looks at all.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::JoinSide;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{Partitioning, PhysicalExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::scalar_subquery::ScalarSubqueryExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::union::{InterleaveExec, UnionExec};

use super::hands_on;
use super::joined::Joined;

/// Places of columns in an operator's rows.
pub(in crate::federation) type Columns = BTreeSet<usize>;

pub(super) fn all(plan: &Arc<dyn ExecutionPlan>) -> Columns {
    (0..plan.schema().fields().len()).collect()
}

/// The columns of each child that are looked at, if `wanted` of the operator's own are.
pub(super) fn below(plan: &Arc<dyn ExecutionPlan>, wanted: &Columns) -> Vec<Columns> {
    if let Some(join) = Joined::of(plan) {
        return of_join(&join, wanted);
    }
    let children = plan.children();
    if plan.is::<UnionExec>() || plan.is::<InterleaveExec>() {
        return vec![wanted.clone(); children.len()];
    }
    if plan.is::<ScalarSubqueryExec>() {
        let own = children.iter().skip(1).map(|child| all(child));
        return std::iter::once(wanted.clone()).chain(own).collect();
    }
    match children.as_slice() {
        [child] => vec![only(plan, child, wanted)],
        _ => children.iter().map(|child| all(child)).collect(),
    }
}

fn only(plan: &Arc<dyn ExecutionPlan>, child: &Arc<dyn ExecutionPlan>, wanted: &Columns) -> Columns {
    let mut below = Columns::new();
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let shown = wanted.iter().filter_map(|column| projection.expr().get(*column));
        shown.for_each(|shown| look(&shown.expr, &mut below));
    } else if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        match filter.projection() {
            Some(shown) => below.extend(wanted.iter().filter_map(|column| shown.get(*column).copied())),
            None => below.extend(wanted),
        }
        look(filter.predicate(), &mut below);
    } else if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        let first = matches!(
            aggregate.mode(),
            AggregateMode::Partial | AggregateMode::Single | AggregateMode::SinglePartitioned
        );
        if !first {
            return all(child);
        }
        aggregate.group_expr().input_exprs().iter().for_each(|key| look(key, &mut below));
        for call in aggregate.aggr_expr() {
            call.expressions().iter().for_each(|argument| look(argument, &mut below));
            call.order_bys().iter().for_each(|key| look(&key.expr, &mut below));
        }
        aggregate.filter_expr().iter().flatten().for_each(|filter| look(filter, &mut below));
    } else if let Some(sort) = plan.downcast_ref::<SortExec>() {
        below.extend(wanted);
        sort.expr().iter().for_each(|key| look(&key.expr, &mut below));
    } else if let Some(merge) = plan.downcast_ref::<SortPreservingMergeExec>() {
        below.extend(wanted);
        merge.expr().iter().for_each(|key| look(&key.expr, &mut below));
    } else if let Some(parts) = plan.downcast_ref::<RepartitionExec>() {
        below.extend(wanted);
        match parts.partitioning() {
            Partitioning::Hash(keys, _) => keys.iter().for_each(|key| look(key, &mut below)),
            Partitioning::RoundRobinBatch(_) | Partitioning::UnknownPartitioning(_) => {}
            _ => return all(child),
        }
    } else {
        let limits = plan.is::<GlobalLimitExec>() || plan.is::<LocalLimitExec>();
        let same = child.schema().fields().len() == plan.schema().fields().len();
        return if same && (limits || hands_on(plan)) { wanted.clone() } else { all(child) };
    }
    below
}

fn of_join(join: &Joined<'_>, wanted: &Columns) -> Vec<Columns> {
    let (mut left, mut right) = (Columns::new(), Columns::new());
    let tested = join.filter.iter().flat_map(|filter| filter.column_indices());
    let tested = tested.map(|column| (column.side, column.index));
    for (side, column) in wanted.iter().filter_map(|column| join.origin(*column)).chain(tested) {
        match side {
            JoinSide::Left => left.insert(column),
            JoinSide::Right => right.insert(column),
            JoinSide::None => false,
        };
    }
    for (of_left, of_right) in join.on {
        look(of_left, &mut left);
        look(of_right, &mut right);
    }
    vec![left, right]
}

/// Notes the columns that an expression reads.
fn look(expr: &Arc<dyn PhysicalExpr>, into: &mut Columns) {
    into.extend(collect_columns(expr).iter().map(|column| column.index()));
}
