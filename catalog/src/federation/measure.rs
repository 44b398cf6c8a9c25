//! How many rows an operator will give, before anything ran.
//!
//! The engine's own estimates know nothing of a join once one of its sides does not tell the values of its columns;
//! these only need row counts. They choose plans and must never be shown as facts.

use std::sync::Arc;

use datafusion::common::JoinType;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};

use super::FederatedScanExec;
use super::statistics::{Domain, groups_of};

/// One row in so many passes a condition that is evaluated here.
const KEPT_HERE: f64 = 0.2;

/// Rows, and what is known of each column's values; `None` for what is computed.
#[derive(Debug, Clone)]
pub(super) struct Measure {
    pub(super) rows: f64,
    pub(super) columns: Vec<Option<Domain>>,
}

impl Measure {
    /// Rows of the largest table in it, before any condition.
    pub(super) fn table_rows(&self) -> f64 {
        self.columns.iter().flatten().map(|column| column.table_rows).fold(self.rows, f64::max)
    }

    /// Rows that have a partner among others, by columns of this.
    pub(super) fn kept_by(&self, keys: &[usize], asking: &Self) -> f64 {
        let values = |key: &usize| {
            let column = self.columns.get(*key).and_then(Option::as_ref);
            column.map(|column| column.distinct.unwrap_or(column.table_rows))
        };
        let domain = keys.iter().map(values).sum::<Option<f64>>().unwrap_or(self.rows);
        (self.rows * (asking.rows / domain.max(1.0)).min(1.0)).max(1.0)
    }
}

/// `None` if a part of it has no estimate, or push-down is off.
pub(super) fn measure(plan: &Arc<dyn ExecutionPlan>) -> Option<Measure> {
    if let Some(leaf) = plan.downcast_ref::<FederatedScanExec>() {
        let estimate = leaf.estimate()?;
        return Some(Measure { rows: estimate.rows, columns: estimate.columns });
    }
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        let inner = measure(filter.input())?;
        let columns = match filter.projection() {
            Some(shown) => shown.iter().map(|index| inner.columns.get(*index).cloned().flatten()).collect(),
            None => inner.columns,
        };
        return Some(Measure { rows: (inner.rows * KEPT_HERE).max(1.0), columns });
    }
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let inner = measure(projection.input())?;
        let columns = projection
            .expr()
            .iter()
            .map(|shown| inner.columns.get(shown.expr.downcast_ref::<Column>()?.index())?.clone())
            .collect();
        return Some(Measure { rows: inner.rows, columns });
    }
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        return grouped(aggregate);
    }
    if let Some(join) = plan.downcast_ref::<HashJoinExec>()
        && matches!(join.join_type(), JoinType::LeftSemi | JoinType::LeftAnti)
    {
        let (left, right) = (measure(join.left())?, measure(join.right())?);
        let keys: Vec<usize> =
            join.on().iter().filter_map(|(key, _)| key.downcast_ref::<Column>().map(Column::index)).collect();
        let kept = left.kept_by(&keys, &right);
        let rows = if *join.join_type() == JoinType::LeftSemi { kept } else { left.rows };
        let columns = match &join.projection {
            Some(shown) => shown.iter().map(|index| left.columns.get(*index).cloned().flatten()).collect(),
            None => left.columns,
        };
        return Some(Measure { rows, columns });
    }
    let told = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new()).ok()?;
    Some(Measure { rows: *told.num_rows.get_value()? as f64, columns: vec![] })
}

fn grouped(aggregate: &AggregateExec) -> Option<Measure> {
    let inner = measure(aggregate.input())?;
    let groups: Vec<Option<Domain>> = aggregate
        .group_expr()
        .expr()
        .iter()
        .map(|(expr, _)| inner.columns.get(expr.downcast_ref::<Column>()?.index())?.clone())
        .collect();
    let merged = matches!(aggregate.mode(), AggregateMode::Final | AggregateMode::FinalPartitioned);
    // The other half made the groups already.
    let rows = if merged { inner.rows } else { groups_of(inner.rows, &groups) };
    Some(Measure { rows, columns: groups })
}
