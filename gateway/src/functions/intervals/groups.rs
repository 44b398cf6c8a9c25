//! Groups and memberships of intervals: by a column of their lengths, which the rows below get and nobody above sees.
//!
//! DataFusion shows of a group what it groups by; a length is no interval, so the first interval of the group is kept
//! beside it. The null-aware join of `NOT IN (SELECT …)`, correlated conditions and `DISTINCT ON` know columns only.
//! The columns a plan shows, their names and types stay what they were.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, Result};
use datafusion::functions_aggregate::first_last::first_value_udaf;
use datafusion::logical_expr::expr::{AggregateFunction, GroupingSet, InSubquery};
use datafusion::logical_expr::utils::{conjunction, grouping_set_to_exprlist, split_conjunction_owned};
use datafusion::logical_expr::{
    Aggregate, Distinct, DistinctOn, Expr, Filter, LogicalPlan, Projection, when,
};

use super::choice::{Choice, chosen};
use super::{expressions, gives_span, interval_value, length, wrap};
use crate::functions::correlate;

/// The name of a column of lengths; no column of a user's is called so.
const COMPUTED: &str = "\u{1}interval_value";
/// The name of one that an outer query's value is compared with.
const CORRELATED: &str = "\u{1}interval_value_correlated";
/// The name of the interval that a group is shown as.
const SHOWN: &str = "\u{1}interval_shown";

/// Lengths that become columns.
#[derive(Default)]
struct Computed(Vec<Expr>);

impl Computed {
    /// The column that the length of an interval becomes.
    fn column(&mut self, span: Expr) -> Expr {
        self.named(interval_value().call(vec![span]))
    }

    fn named(&mut self, length: Expr) -> Expr {
        let name = format!("{COMPUTED}{}", self.0.len());
        self.0.push(length.alias(name.clone()));
        Expr::Column(Column::new_unqualified(name))
    }

    /// The rows with these columns, and the columns they had before.
    fn over(self, input: Arc<LogicalPlan>) -> Result<(Arc<LogicalPlan>, Vec<Expr>)> {
        let shown: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
        let all = shown.iter().cloned().chain(self.0).collect();
        Ok((Arc::new(LogicalPlan::Projection(Projection::try_new(all, input)?)), shown))
    }
}

/// The conditions of a filter.
pub(super) fn filter(filter: Filter) -> Result<Transformed<LogicalPlan>> {
    let node = expressions(LogicalPlan::Filter(filter))?;
    if !node.transformed {
        return Ok(node);
    }
    let LogicalPlan::Filter(filter) = node.data else { return Ok(node) };
    let mut computed = Computed::default();
    let conditions: Vec<Expr> = split_conjunction_owned(filter.predicate.clone())
        .into_iter()
        .map(|condition| match condition {
            Expr::InSubquery(membership) if membership.negated => {
                Expr::InSubquery(of_column(membership, &mut computed))
            }
            Expr::Not(inner) => Expr::Not(Box::new(match *inner {
                Expr::InSubquery(membership) if !membership.negated => {
                    Expr::InSubquery(of_column(membership, &mut computed))
                }
                other => other,
            })),
            other => other,
        })
        .collect();
    let (false, Some(predicate)) = (computed.0.is_empty(), conjunction(conditions)) else {
        let node = correlate::project_conditions(LogicalPlan::Filter(filter), CORRELATED)?;
        return Ok(Transformed::yes(node.data));
    };
    let (input, shown) = computed.over(filter.input)?;
    let filter = LogicalPlan::Filter(Filter::try_new(predicate, input)?);
    let filter = correlate::project_conditions(filter, CORRELATED)?.data;
    let plan = Projection::try_new(shown, Arc::new(filter))?;
    Ok(Transformed::yes(LogicalPlan::Projection(plan)))
}

/// A membership of a length as one of a column.
fn of_column(membership: InSubquery, computed: &mut Computed) -> InSubquery {
    let is_ours =
        |expr: &Expr| matches!(expr, Expr::ScalarFunction(call) if call.func.name() == length::NAME);
    if !is_ours(&membership.expr) {
        return membership;
    }
    InSubquery { expr: Box::new(computed.named(*membership.expr)), ..membership }
}

/// `SELECT DISTINCT`: groups of its columns.
pub(super) fn distinct(input: Arc<LogicalPlan>) -> Result<Transformed<LogicalPlan>> {
    let schema = Arc::clone(input.schema());
    let columns: Vec<Expr> = schema.columns().into_iter().map(Expr::Column).collect();
    if !columns.iter().any(|column| gives_span(column, &schema)) {
        return Ok(Transformed::no(LogicalPlan::Distinct(Distinct::All(input))));
    }
    grouped(Aggregate::try_new(input, columns, vec![])?)
}

/// `DISTINCT ON`: by the lengths of its keys. What is shown of the first row is what it has.
pub(super) fn distinct_on(on: DistinctOn) -> Result<Transformed<LogicalPlan>> {
    let node = expressions(LogicalPlan::Distinct(Distinct::On(on)))?;
    let LogicalPlan::Distinct(Distinct::On(on)) = node.data else { return Ok(node) };
    let schema = Arc::clone(on.input.schema());
    let keyed = on.on_expr.iter().any(|key| gives_span(key, &schema));
    let ordered =
        on.sort_expr.iter().flatten().skip(on.on_expr.len()).any(|key| gives_span(&key.expr, &schema));
    if !keyed && !ordered {
        let same = LogicalPlan::Distinct(Distinct::On(on));
        return Ok(Transformed::new_transformed(same, node.transformed));
    }
    let DistinctOn { on_expr, select_expr, mut sort_expr, input, .. } = on;
    let mut computed = Computed::default();
    let keys: Vec<Expr> = on_expr
        .into_iter()
        .map(|key| if gives_span(&key, &schema) { computed.column(key) } else { key })
        .collect();
    // The first keys of the order are those of the groups.
    for (place, sort) in sort_expr.iter_mut().flatten().enumerate() {
        match keys.get(place) {
            Some(key) => sort.expr = key.clone(),
            None => {
                wrap(&mut sort.expr, &schema);
            }
        }
    }
    let (input, _) = computed.over(input)?;
    let on = DistinctOn::try_new(keys, select_expr, sort_expr, input)?;
    Ok(Transformed::yes(LogicalPlan::Distinct(Distinct::On(on))))
}

/// Groups by lengths, each shown as its first interval.
pub(super) fn grouped(aggregate: Aggregate) -> Result<Transformed<LogicalPlan>> {
    let node = expressions(LogicalPlan::Aggregate(aggregate))?;
    let LogicalPlan::Aggregate(aggregate) = node.data else { return Ok(node) };
    let schema = Arc::clone(aggregate.input.schema());
    let by: Vec<Expr> = grouping_set_to_exprlist(&aggregate.group_expr)?.into_iter().cloned().collect();
    let mut computed = Computed::default();
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
