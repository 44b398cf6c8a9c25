//! Keys of `ROLLUP`, `CUBE` and `GROUPING SETS` that are computed, computed below the aggregate.
//!
//! What PostgreSQL means by an expression is put in its place later, under the name it had. All sets of an aggregate are
//! one expression there, so their members would lose their names, and what is above would look for columns that are gone.
//! Values, names and their order must stay; what reads a KPI view is left alone.

use std::sync::Arc;

use datafusion::arrow::datatypes::FieldRef;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, Result, TableReference};
use datafusion::logical_expr::expr::GroupingSet;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, Projection};

/// The name of a column made here, before its number; no column of a user's is called so.
const COMPUTED: &str = "\u{1}grouped";

/// Takes the computed keys out of every aggregate by sets.
pub(super) fn computed_below(plan: LogicalPlan) -> Result<LogicalPlan> {
    let done = plan.transform_up_with_subqueries(|node| match node {
        LogicalPlan::Aggregate(aggregate) => taken_out(aggregate),
        other => Ok(Transformed::no(other)),
    })?;
    Ok(done.data)
}

fn taken_out(aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let keys = computed(&aggregate);
    if keys.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
    }
    let Aggregate { input, group_expr, aggr_expr, schema: shown, .. } = aggregate;
    let mut below: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
    below.extend(keys.iter().enumerate().map(|(number, key)| key.clone().alias(name(number))));
    let input = Arc::new(LogicalPlan::Projection(Projection::try_new(below, input)?));
    let column = |expr: Expr| match keys.iter().position(|key| *key == expr) {
        Some(number) => Expr::Column(Column::new_unqualified(name(number))),
        None => expr,
    };
    let all = |exprs: Vec<Expr>| exprs.into_iter().map(column).collect::<Vec<Expr>>();
    let sets = group_expr.into_iter().map(|group| match group {
        Expr::GroupingSet(GroupingSet::Rollup(keys)) => Expr::GroupingSet(GroupingSet::Rollup(all(keys))),
        Expr::GroupingSet(GroupingSet::Cube(keys)) => Expr::GroupingSet(GroupingSet::Cube(all(keys))),
        Expr::GroupingSet(GroupingSet::GroupingSets(sets)) => {
            Expr::GroupingSet(GroupingSet::GroupingSets(sets.into_iter().map(all).collect()))
        }
        other => other,
    });
    // `grouping` names keys; other aggregates have values of their own.
    let aggregates = aggr_expr.into_iter().map(|expr| match expr {
        Expr::AggregateFunction(mut call) if call.func.name() == "grouping" => {
            call.params.args = all(call.params.args);
            Expr::AggregateFunction(call)
        }
        other => other,
    });
    let aggregate = Aggregate::try_new(input, sets.collect(), aggregates.collect())?;
    // Which set a row is of is asked of the aggregate itself.
    let told = |(_, (_, named)): &(_, (Option<&TableReference>, &FieldRef))| {
        named.name() != Aggregate::INTERNAL_GROUPING_ID
    };
    let both = aggregate.schema.iter().zip(shown.iter()).filter(told);
    let columns = both.map(|((qualifier, field), (known, named))| {
        let column = Expr::Column(Column::from((qualifier, field)));
        if qualifier == known && field.name() == named.name() {
            return column;
        }
        column.alias_qualified(known.cloned(), named.name())
    });
    let columns: Vec<Expr> = columns.collect();
    let plan = Arc::new(LogicalPlan::Aggregate(aggregate));
    Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(columns, plan)?)))
}

fn name(number: usize) -> String {
    format!("{COMPUTED}{number}")
}

/// The keys of an aggregate by sets that are no columns.
fn computed(aggregate: &Aggregate) -> Vec<Expr> {
    let [Expr::GroupingSet(sets)] = aggregate.group_expr.as_slice() else { return Vec::new() };
    let of_kpi = aggregate
        .input
        .schema()
        .fields()
        .iter()
        .any(|field| field.metadata().keys().any(|key| key.starts_with("kpi.")));
    if of_kpi {
        return Vec::new();
    }
    let keys = sets.distinct_expr().into_iter().filter(|key| !matches!(key, Expr::Column(_)));
    keys.cloned().collect()
}
