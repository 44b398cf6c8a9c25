//! How many rows an operator will give, and how many are fetched for it, before anything ran.
//!
//! The engine's own estimates know nothing of a join once one of its sides does not tell the values of its columns;
//! these only need row counts. They choose plans and must never be shown as facts.

use std::sync::Arc;

use datafusion::common::{JoinSide, JoinType, Result};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};

use super::FederatedScanExec;
use super::cut::reach::{at_leaves, index_of, origin};
use super::lists::MOST_VALUES;
use super::runtime::hears;
use super::statistics::{Domain, HAVING, groups_of};

/// One row in so many passes a condition that is evaluated here.
const KEPT_HERE: f64 = 0.2;
/// A list up to this length is told whatever it leaves.
const SHORT_LIST: f64 = 1_000.0;

/// Rows, and what is known of each column's values; `None` for what is computed.
#[derive(Debug, Clone)]
pub(super) struct Measure {
    pub(super) rows: f64,
    /// Rows that leave sources for it.
    pub(super) fetched: f64,
    pub(super) columns: Vec<Option<Domain>>,
}

impl Measure {
    /// Rows of the largest table in it, before any condition.
    pub(super) fn table_rows(&self) -> f64 {
        self.columns.iter().flatten().map(|column| column.table_rows).fold(self.rows, f64::max)
    }

    /// How many values a column has, of those it could have.
    pub(super) fn values(&self, column: usize) -> Option<(f64, f64)> {
        let column = self.columns.get(column)?.as_ref()?;
        let domain = column.distinct.unwrap_or(column.table_rows).max(1.0);
        Some((domain.min(self.rows), domain))
    }

    /// How many values two columns have together that are equal in a join.
    fn values_with(&self, column: usize, other: &Self, key: usize) -> f64 {
        Domain::of_equal([&self.domain(column), &other.domain(key)]).unwrap_or(1.0).max(1.0)
    }

    /// What is known of a column; at the least it has no more values than there are rows.
    fn domain(&self, column: usize) -> Domain {
        let unknown = Domain { table_rows: self.rows, distinct: None, counted: false };
        self.columns.get(column).cloned().flatten().unwrap_or(unknown)
    }

    /// Rows that have a partner among others, by columns of this.
    pub(super) fn kept_by(&self, keys: &[usize], asking: &Self) -> f64 {
        let values = |key: &usize| self.values(*key).map(|(_, domain)| domain);
        let domain = keys.iter().map(values).sum::<Option<f64>>().unwrap_or(self.rows);
        (self.rows * (asking.rows / domain.max(1.0)).min(1.0)).max(1.0)
    }
}

/// Whether a list of so many keys is told to a table of so many rows.
pub(super) fn is_told(keys: f64, table_rows: f64) -> bool {
    keys <= MOST_VALUES as f64 && (keys <= SHORT_LIST || keys * 2.0 <= table_rows)
}

/// `None` if a part of it has no estimate, or push-down is off.
pub(super) fn measure(plan: &Arc<dyn ExecutionPlan>) -> Option<Measure> {
    if let Some(leaf) = plan.downcast_ref::<FederatedScanExec>() {
        let estimate = leaf.estimate()?;
        return Some(Measure { rows: estimate.rows, fetched: estimate.rows, columns: estimate.columns });
    }
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        let inner = measure(filter.input())?;
        let columns = match filter.projection() {
            Some(shown) => picked(&inner.columns, shown),
            None => inner.columns,
        };
        let kept = if tests_groups(filter.input()) { HAVING } else { KEPT_HERE };
        return Some(Measure { rows: (inner.rows * kept).max(1.0), columns, ..inner });
    }
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let inner = measure(projection.input())?;
        let columns = projection
            .expr()
            .iter()
            .map(|shown| inner.columns.get(index_of(&shown.expr)?)?.clone())
            .collect();
        return Some(Measure { columns, ..inner });
    }
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        return grouped(aggregate);
    }
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        return joined(join);
    }
    // What only hands rows on.
    if let [child] = plan.children().as_slice()
        && plan.schema().fields().len() == child.schema().fields().len()
    {
        let inner = measure(child)?;
        let rows = plan.fetch().map_or(inner.rows, |fetch| inner.rows.min(fetch as f64));
        return Some(Measure { rows, ..inner });
    }
    let told = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new()).ok()?;
    let rows = *told.num_rows.get_value()? as f64;
    Some(Measure { rows, fetched: 0.0, columns: vec![] })
}

fn picked(columns: &[Option<Domain>], shown: &[usize]) -> Vec<Option<Domain>> {
    shown.iter().map(|index| columns.get(*index).cloned().flatten()).collect()
}

/// Whether what a condition is about are groups.
fn tests_groups(input: &Arc<dyn ExecutionPlan>) -> bool {
    match (input.is::<AggregateExec>(), input.children().as_slice()) {
        (true, _) => true,
        (false, [child]) => input.is::<ProjectionExec>() && tests_groups(child),
        (false, _) => false,
    }
}

fn grouped(aggregate: &AggregateExec) -> Option<Measure> {
    let inner = measure(aggregate.input())?;
    let groups: Vec<Option<Domain>> = aggregate
        .group_expr()
        .expr()
        .iter()
        .map(|(expr, _)| inner.columns.get(index_of(expr)?)?.clone())
        .collect();
    let merged = matches!(aggregate.mode(), AggregateMode::Final | AggregateMode::FinalPartitioned);
    // The other half made the groups already.
    let rows = if merged { inner.rows } else { groups_of(inner.rows, &groups) };
    Some(Measure { rows, fetched: inner.fetched, columns: groups })
}

fn joined(join: &HashJoinExec) -> Option<Measure> {
    let (left, right) = (measure(join.left())?, measure(join.right())?);
    let keys: Vec<(usize, usize)> =
        join.on().iter().filter_map(|(one, two)| Some((index_of(one)?, index_of(two)?))).collect();
    let (of_left, of_right): (Vec<usize>, Vec<usize>) = keys.iter().copied().unzip();
    let product: f64 = keys.iter().map(|(one, two)| left.values_with(*one, &right, *two)).product();
    let both =
        (left.rows * right.rows / product.min(left.table_rows().max(right.table_rows())).max(1.0)).max(1.0);
    let rows = match join.join_type() {
        JoinType::Inner => both,
        JoinType::Left => both.max(left.rows),
        JoinType::Right => both.max(right.rows),
        JoinType::Full => both.max(left.rows + right.rows),
        JoinType::LeftSemi => left.kept_by(&of_left, &right),
        JoinType::RightSemi => right.kept_by(&of_right, &left),
        JoinType::LeftAnti | JoinType::LeftMark => left.rows,
        JoinType::RightAnti | JoinType::RightMark => right.rows,
    };
    let width = match &join.projection {
        Some(shown) => shown.len(),
        None => join.schema().fields().len(),
    };
    let column = |column| match origin(join, column)? {
        (JoinSide::Left, at) => left.columns.get(at)?.clone(),
        (_, at) => right.columns.get(at)?.clone(),
    };
    let asked = asked_by(join.right(), &right, &of_right, &left, &of_left).unwrap_or(right.fetched);
    Some(Measure { rows, fetched: left.fetched + asked, columns: (0..width).map(column).collect() })
}

/// Rows fetched for a plan of which only rows with keys of another are wanted.
pub(super) fn asked_by(
    plan: &Arc<dyn ExecutionPlan>,
    own: &Measure,
    columns: &[usize],
    asking: &Measure,
    keys: &[usize],
) -> Result<f64> {
    let mut fetched = own.fetched;
    for (column, key) in columns.iter().zip(keys) {
        if own.values(*column).is_none() {
            continue;
        }
        let domain = own.values_with(*column, asking, *key);
        let told = asking.values(*key).map_or(asking.rows, |(values, _)| values);
        if is_told(told, own.table_rows()) {
            let narrowed = heard_by(plan, *column)? / own.fetched.max(1.0);
            fetched *= 1.0 - narrowed.min(1.0) * (1.0 - (told / domain).min(1.0));
        }
    }
    Ok(fetched)
}

/// Rows of the leaves that can be asked for certain values of a column only.
pub(super) fn heard_by(plan: &Arc<dyn ExecutionPlan>, column: usize) -> Result<f64> {
    let mut rows = 0.0;
    at_leaves(plan, column, &mut |found| {
        if hears(found.leaf, found.column) {
            rows += found.leaf.estimate().map_or(0.0, |estimate| estimate.rows);
        }
        None
    })?;
    Ok(rows)
}
