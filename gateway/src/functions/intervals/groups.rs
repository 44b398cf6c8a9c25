//! Groups of intervals: by a column of their lengths, which the rows below get and nobody above sees.
//!
//! DataFusion shows of a group what it groups by; a length is no interval, so the first interval of the group is kept
//! beside it. The columns a plan shows, their names and types stay what they were.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, Result};
use datafusion::functions_aggregate::first_last::first_value_udaf;
use datafusion::logical_expr::expr::{AggregateFunction, GroupingSet};
use datafusion::logical_expr::utils::grouping_set_to_exprlist;
use datafusion::logical_expr::{Aggregate, Distinct, Expr, LogicalPlan, Projection, when};

use super::choice::{Choice, chosen};
use super::{BY_LENGTH, gives_span};
use crate::functions::columns::Computed;

/// The name of the interval that a group is shown as.
const SHOWN: &str = "\u{1}interval_shown";

/// `SELECT DISTINCT`: groups of its columns.
pub(super) fn distinct(input: Arc<LogicalPlan>) -> Result<Transformed<LogicalPlan>> {
    let schema = Arc::clone(input.schema());
    let columns: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
    if !columns.iter().any(|column| gives_span(column, &schema)) {
        return Ok(Transformed::no(LogicalPlan::Distinct(Distinct::All(input))));
    }
    grouped(Aggregate::try_new(input, columns, vec![])?)
}

/// Groups by lengths, each shown as its first interval.
pub(super) fn grouped(aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let node = BY_LENGTH.expressions(LogicalPlan::Aggregate(aggregate))?;
    let LogicalPlan::Aggregate(aggregate) = node.data else { return Ok(node) };
    let schema = Arc::clone(aggregate.input.schema());
    let by: Vec<Expr> = grouping_set_to_exprlist(&aggregate.group_expr)?.into_iter().cloned().collect();
    let mut computed = Computed::new(BY_LENGTH);
    let keys: Vec<(Expr, Expr)> = by
        .iter()
        .filter(|group| gives_span(group, &schema))
        .map(|group| (group.clone(), computed.column(group.clone().unalias())))
        .collect();
    if keys.is_empty() {
        let same = LogicalPlan::Aggregate(aggregate);
        return Ok(Transformed::new_transformed(same, node.transformed));
    }
    let Aggregate { input, group_expr, mut aggr_expr, schema: shown, .. } = aggregate;
    let sets = group_expr.iter().any(|group| matches!(group, Expr::GroupingSet(_)));
    let key_of = |group: &Expr| keys.iter().position(|(known, _)| known == group);
    let of_length = |group: Expr| {
        let key = key_of(&group).and_then(|number| keys.get(number));
        key.map_or(group, |(_, key)| key.clone())
    };
    let all = |groups: Vec<Expr>| groups.into_iter().map(of_length).collect::<Vec<Expr>>();
    let group_expr = group_expr
        .into_iter()
        .map(|group| match group {
            Expr::GroupingSet(GroupingSet::Rollup(groups)) => {
                Expr::GroupingSet(GroupingSet::Rollup(all(groups)))
            }
            Expr::GroupingSet(GroupingSet::Cube(groups)) => Expr::GroupingSet(GroupingSet::Cube(all(groups))),
            Expr::GroupingSet(GroupingSet::GroupingSets(sets)) => {
                Expr::GroupingSet(GroupingSet::GroupingSets(sets.into_iter().map(all).collect()))
            }
            group => of_length(group),
        })
        .collect();
    for (number, (group, _)) in keys.iter().enumerate() {
        // The set of no columns has a group of no rows as well, of which nothing is shown.
        let first = if sets { first_value_udaf() } else { chosen(Choice::First) };
        let kept =
            AggregateFunction::new_udf(first, vec![group.clone().unalias()], false, None, vec![], None);
        aggr_expr.push(Expr::AggregateFunction(kept).alias(format!("{SHOWN}{number}")));
    }
    let (input, _) = computed.over(input)?;
    let plan = LogicalPlan::Aggregate(Aggregate::try_new(input, group_expr, aggr_expr)?);
    let mut columns = Vec::with_capacity(shown.fields().len());
    for (place, (qualifier, field)) in shown.iter().enumerate() {
        let number = by.get(place).and_then(key_of);
        let Some((number, (_, key))) = number.and_then(|number| Some((number, keys.get(number)?))) else {
            columns.push(Expr::Column(Column::from((qualifier, field))));
            continue;
        };
        let first = Expr::Column(Column::new_unqualified(format!("{SHOWN}{number}")));
        // Where a set of groups leaves the column out, it is null.
        let first = if sets { when(key.clone().is_not_null(), first).end()? } else { first };
        columns.push(first.alias_qualified(qualifier.cloned(), field.name()));
    }
    Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(columns, Arc::new(plan))?)))
}
