//! Which side of a join is read first.
//!
//! The engine builds on the side with fewer rows. Between sources that is not enough: what counts is how many rows are
//! fetched, and a side that is read second is asked only for the keys of the first. Where a side has no estimate the
//! engine's own rule holds. Sides are swapped only where the engine may swap them, so the rows are the same.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::{JoinType, Result};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};

use super::reach::{index_of, reads_a_source};
use crate::federation::measure::{Measure, asked_by, measure};

/// A row that a join keeps in memory weighs so much beside a row that is fetched.
pub(super) const BUILT: f64 = 0.5;

/// The join with the better side first; any other operator as it is.
pub(super) fn chosen(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        let fixed = join.null_aware || !join.join_type().supports_swap();
        return if !fixed && swaps(join)? { join.swap_inputs(*join.partition_mode()) } else { Ok(plan) };
    }
    if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
        let swapped = join.join_type().supports_swap() && is_smaller(join.right(), join.left())?;
        return if swapped { join.swap_inputs() } else { Ok(plan) };
    }
    if let Some(join) = plan.downcast_ref::<CrossJoinExec>() {
        return if is_smaller(join.right(), join.left())? { join.swap_inputs() } else { Ok(plan) };
    }
    Ok(plan)
}

fn swaps(join: &HashJoinExec) -> Result<bool> {
    let (Some(left), Some(right)) = (measure(join.left()), measure(join.right())) else {
        return is_smaller(join.right(), join.left());
    };
    let keys = join.on().iter().filter_map(|(one, two)| Some((index_of(one)?, index_of(two)?)));
    let (of_left, of_right): (Vec<usize>, Vec<usize>) = keys.unzip();
    // A side whose rows show without a partner is fetched whole.
    let (left_asked, right_asked) = match join.join_type() {
        JoinType::Inner | JoinType::LeftSemi | JoinType::RightSemi => (true, true),
        JoinType::Left | JoinType::LeftAnti | JoinType::LeftMark => (false, true),
        JoinType::Right | JoinType::RightAnti | JoinType::RightMark => (true, false),
        JoinType::Full => (false, false),
    };
    let first = |one: &Measure, rest: f64| one.fetched + rest + BUILT * one.rows;
    let right_second =
        if right_asked { asked_by(join.right(), &right, &of_right, &left, &of_left)? } else { right.fetched };
    let left_second =
        if left_asked { asked_by(join.left(), &left, &of_left, &right, &of_right)? } else { left.fetched };
    Ok(first(&right, left_second) < first(&left, right_second))
}

/// The engine's own rule: by bytes, else by rows, if both are known.
fn is_smaller(one: &Arc<dyn ExecutionPlan>, two: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    let of = |plan: &Arc<dyn ExecutionPlan>| {
        StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new())
    };
    let (one, two) = (of(one)?, of(two)?);
    Ok(match (one.total_byte_size.get_value(), two.total_byte_size.get_value()) {
        (Some(one), Some(two)) => one < two,
        _ => {
            matches!((one.num_rows.get_value(), two.num_rows.get_value()), (Some(one), Some(two)) if one < two)
        }
    })
}

/// The engine's choice of how joins run, without its choice of sides where those are chosen here.
#[derive(Debug)]
pub(super) struct SidesStay(pub(super) Arc<dyn PhysicalOptimizerRule + Send + Sync>);

impl PhysicalOptimizerRule for SidesStay {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if !reads_a_source(&plan)? {
            return self.0.optimize(plan, config);
        }
        let mut config = config.clone();
        config.optimizer.join_reordering = false;
        self.0.optimize(plan, &config)
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}

/// The rule that this is about, restricted; any other as it is.
pub(super) fn staying(
    rule: Arc<dyn PhysicalOptimizerRule + Send + Sync>,
) -> Arc<dyn PhysicalOptimizerRule + Send + Sync> {
    if rule.name() == "join_selection" { Arc::new(SidesStay(rule)) } else { rule }
}
