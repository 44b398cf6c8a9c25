//! After a run: how many rows of a leaf were needed, from what the operators above it counted.
//!
//! A row is needed if it passes every condition above the leaf and has partners in the joins above. It is told only
//! where the counts prove it; where a join may have made several rows of one, or an operator did not count, nothing is
//! said rather than a guess.

use std::sync::Arc;

use datafusion::common::JoinType;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::metrics::MetricValue;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;

use super::FederatedScanExec;
use super::deferred::DeferredExec;

/// Notes `minimal_rows` among the metrics of each leaf of which it is known. The plan was run to its end, once.
pub fn tell_minimum(plan: &Arc<dyn ExecutionPlan>) {
    walk(plan, counted(plan));
}

/// `needed` of the operator's rows survive all that is above it.
fn walk(plan: &Arc<dyn ExecutionPlan>, needed: Option<usize>) {
    if let Some(leaf) = plan.downcast_ref::<FederatedScanExec>() {
        if let Some(needed) = needed {
            leaf.tell_minimum(needed);
        }
        return;
    }
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        let (build, probe) = sides(join, needed);
        walk(join.left(), build);
        walk(join.right(), probe);
        return;
    }
    let children = plan.children();
    let [child] = children.as_slice() else {
        for child in children {
            walk(child, None);
        }
        return;
    };
    let same = plan.is::<ProjectionExec>()
        || plan.is::<FilterExec>()
        || plan.is::<RepartitionExec>()
        || plan.is::<CoalescePartitionsExec>()
        || plan.is::<CooperativeExec>()
        || plan.is::<DeferredExec>();
    let orders = plan.is::<SortExec>() || plan.is::<SortPreservingMergeExec>();
    let needed = if (same || orders) && plan.fetch().is_none() {
        // Each row is one row below.
        needed
    } else if orders || plan.is::<AggregateExec>() && needed.is_some() && needed == counted(plan) {
        // A top-N looks at all rows, and a group that is needed needs all of its own.
        counted(child)
    } else {
        None
    };
    walk(child, needed);
}

/// What is needed of the build and of the probe side.
fn sides(join: &HashJoinExec, needed: Option<usize>) -> (Option<usize>, Option<usize>) {
    let filtered = join.filter().is_some_and(|filter| filter.expression().to_string() != "true");
    let all = needed.is_some() && needed == join.metrics().and_then(|metrics| metrics.output_rows());
    let one_each = || matches!(ratio(join, "avg_fanout"), Some((made, rows)) if made == rows);
    match join.join_type() {
        JoinType::LeftSemi => (needed, None),
        JoinType::RightSemi => (None, needed),
        JoinType::Inner if !filtered && one_each() => (None, needed),
        JoinType::Inner if !filtered && all => (None, ratio(join, "probe_hit_rate").map(|(hits, _)| hits)),
        _ => (None, None),
    }
}

fn ratio(plan: &HashJoinExec, name: &str) -> Option<(usize, usize)> {
    let mut found = None;
    for metric in plan.metrics()?.iter() {
        if let MetricValue::Ratio { name: one, ratio_metrics } = metric.value()
            && one == name
        {
            let (part, total) = found.unwrap_or_default();
            found = Some((part + ratio_metrics.part(), total + ratio_metrics.total()));
        }
    }
    found
}

/// The rows an operator gave, looked for below what only hands them on.
fn counted(plan: &Arc<dyn ExecutionPlan>) -> Option<usize> {
    if let Some(rows) = plan.metrics().and_then(|metrics| metrics.output_rows()) {
        return Some(rows);
    }
    let hands_on = plan.is::<CooperativeExec>() || plan.is::<DeferredExec>();
    plan.children().first().filter(|_| hands_on).and_then(|child| counted(child))
}
