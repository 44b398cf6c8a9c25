//! What of a plan may be told to a worker, and what of it may be done by several tasks at once.
//!
//! Both are lists of what has been thought through; what is on neither stays in this process. A function travels by its
//! name, so it may travel only if the function of that name at a worker is the very same, its fields included. An operator
//! that must see all rows of its input, because that is one partition here and not because something brought the rows
//! together, gets one task.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{JoinType, Result};
use datafusion::logical_expr::{AggregateUDF, ScalarUDF, Volatility};
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, CastExpr, Column, DynamicFilterPhysicalExpr, InListExpr, IsNotNullExpr, IsNullExpr,
    LikeExpr, Literal, NegativeExpr, NotExpr, TryCastExpr,
};
use datafusion::physical_expr::{Distribution, Partitioning, PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion_distributed::{BroadcastExec, DistributedLeafExec, NetworkBoundaryExt as _};
use portolan_catalog::federation::FederatedScanExec;

use super::leaf::DividedExec;
use super::sums;

/// Aggregates whose answer does not depend on the order of rows.
const AGGREGATES: [&str; 11] =
    ["count", "sum", sums::NAME, "avg", "min", "max", "bool_and", "bool_or", "bit_and", "bit_or", "bit_xor"];

/// Operators that may stand anywhere in a plan that is cut into stages.
const OPERATORS: [&str; 21] = [
    "AggregateExec",
    "BoundedWindowAggExec",
    "CoalescePartitionsExec",
    "CooperativeExec",
    "DataSourceExec",
    "DeferredExec",
    "EmptyExec",
    "FederatedScan",
    "FilterExec",
    "GlobalLimitExec",
    "HashJoinExec",
    "LocalLimitExec",
    "PlaceholderRowExec",
    "ProjectionExec",
    "RepartitionExec",
    "SortExec",
    "SortExec(TopK)",
    "SortPreservingMergeExec",
    "UnionExec",
    "Unordered",
    "WindowAggExec",
];

/// The functions that a worker knows.
#[derive(Debug)]
pub(super) struct Functions {
    pub(super) scalar: Vec<Arc<ScalarUDF>>,
    pub(super) aggregate: Vec<Arc<AggregateUDF>>,
    scalar_by_name: HashMap<String, Arc<ScalarUDF>>,
    aggregate_by_name: HashMap<String, Arc<AggregateUDF>>,
}

/// The one list, for those who send and those who receive.
pub(super) static FUNCTIONS: LazyLock<Functions> = LazyLock::new(|| {
    let scalar = crate::functions::by_name();
    let mut aggregate = crate::functions::aggregate_by_name();
    aggregate.push(Arc::clone(&sums::SMALL_SUM));
    let scalar_by_name =
        scalar.iter().map(|function| (function.name().to_owned(), Arc::clone(function))).collect();
    let aggregate_by_name =
        aggregate.iter().map(|function| (function.name().to_owned(), Arc::clone(function))).collect();
    Functions { scalar, aggregate, scalar_by_name, aggregate_by_name }
});

/// Whether a plan has only operators that may be cut into stages.
pub(super) fn may_be_cut(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    plan.exists(|node| Ok(!OPERATORS.contains(&node.name()))).map(|doubtful| !doubtful)
}

/// Whether the crate would give a join another form above a leaf that only this process can read, and that was not
/// planned for it: one that collects its build side and shows rows of it.
pub(super) fn reshapes_a_local_join(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    plan.exists(|node| {
        let Some(join) = node.downcast_ref::<HashJoinExec>() else { return Ok(false) };
        let shows_build_side = !matches!(
            join.join_type(),
            JoinType::Inner
                | JoinType::Right
                | JoinType::RightSemi
                | JoinType::RightAnti
                | JoinType::RightMark
        );
        Ok(*join.partition_mode() == PartitionMode::CollectLeft && shows_build_side && reads_a_source(node)?)
    })
}

/// Whether a leaf below is one that only this process can read.
pub(super) fn reads_a_source(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    plan.exists(|node| Ok(node.is::<FederatedScanExec>()))
}

/// Whether everything from here down may be told to workers.
pub(super) fn all_travels(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    plan.exists(|node| Ok(!travels(node)?)).map(|stays| !stays)
}

/// Whether an operator, apart from what is below it, may be told to a worker.
pub(super) fn travels(node: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    let known = if let Some(join) = node.downcast_ref::<HashJoinExec>() {
        // A filter may be one that asks whether the statement still runs.
        join.filter().is_none() && !join.null_aware
    } else if let Some(aggregate) = node.downcast_ref::<AggregateExec>() {
        aggregate.aggr_expr().iter().all(|call| {
            let function = call.fun();
            AGGREGATES.contains(&function.name())
                && FUNCTIONS
                    .aggregate_by_name
                    .get(function.name())
                    .is_some_and(|known| known.as_ref() == function)
        })
    } else {
        node.is::<DividedExec>()
            || node.is::<DistributedLeafExec>()
            || node.is::<BroadcastExec>()
            || node.is_network_boundary()
            || node.is::<CoalescePartitionsExec>()
            || node.is::<CooperativeExec>()
            || node.is::<FilterExec>()
            || node.is::<GlobalLimitExec>()
            || node.is::<LocalLimitExec>()
            || node.is::<ProjectionExec>()
            || node.is::<RepartitionExec>()
            || node.is::<SortExec>()
            || node.is::<SortPreservingMergeExec>()
            || node.is::<UnionExec>()
    };
    if !known {
        return Ok(false);
    }
    let mut fine = true;
    node.apply_expressions(&mut |expr| {
        fine &= said_by_name(expr)?;
        Ok(if fine { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    })?;
    Ok(fine)
}

fn said_by_name(expr: &Arc<dyn PhysicalExpr>) -> Result<bool> {
    let mut fine = true;
    expr.apply(|part| {
        if part.is::<DynamicFilterPhysicalExpr>() {
            // What a join or a top-N tells those below while it runs; only told within a stage.
            return Ok(TreeNodeRecursion::Jump);
        }
        fine = match part.downcast_ref::<ScalarFunctionExpr>() {
            Some(call) => {
                let function = call.fun();
                let known = FUNCTIONS.scalar_by_name.get(function.name());
                function.signature().volatility != Volatility::Volatile
                    && known.is_some_and(|known| known.as_ref() == function)
            }
            None => {
                part.is::<Column>()
                    || part.is::<Literal>()
                    || part.is::<BinaryExpr>()
                    || part.is::<CaseExpr>()
                    || part.is::<CastExpr>()
                    || part.is::<InListExpr>()
                    || part.is::<IsNotNullExpr>()
                    || part.is::<IsNullExpr>()
                    || part.is::<LikeExpr>()
                    || part.is::<NegativeExpr>()
                    || part.is::<NotExpr>()
                    || part.is::<TryCastExpr>()
            }
        };
        Ok(if fine { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    })?;
    Ok(fine)
}

/// Whether an operator is right only if one task sees all rows of its input.
pub(super) fn wants_one_task(node: &Arc<dyn ExecutionPlan>) -> bool {
    if node.is::<CoalescePartitionsExec>() || node.is::<SortPreservingMergeExec>() {
        // Where these stand, the crate brings the rows of all tasks together.
        return false;
    }
    let sorts_parts = node.downcast_ref::<SortExec>().is_some_and(SortExec::preserve_partitioning);
    if node.fetch().is_some() && !sorts_parts {
        // So many of each task are more than so many.
        return true;
    }
    // The side that every task needs whole is told to every task.
    let collects = node
        .downcast_ref::<HashJoinExec>()
        .is_some_and(|join| *join.partition_mode() == PartitionMode::CollectLeft);
    let wanted = node.input_distribution_requirements().into_per_child();
    node.children().into_iter().zip(wanted).any(|(child, wanted)| match wanted {
        Distribution::UnspecifiedDistribution => false,
        Distribution::SinglePartition => !collects,
        _ => !dealt_out(child),
    })
}

/// Whether the rows of an input were dealt out by their keys, so that equal keys meet in one task.
fn dealt_out(plan: &Arc<dyn ExecutionPlan>) -> bool {
    if let Some(dealing) = plan.downcast_ref::<RepartitionExec>() {
        return matches!(dealing.partitioning(), Partitioning::Hash(..));
    }
    if let Some(join) = plan.downcast_ref::<HashJoinExec>()
        && *join.partition_mode() == PartitionMode::CollectLeft
    {
        return dealt_out(join.right());
    }
    let children = plan.children();
    !children.is_empty() && children.into_iter().all(dealt_out)
}
