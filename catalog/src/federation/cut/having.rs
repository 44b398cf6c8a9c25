//! Conditions over groups: the source that made the groups leaves out those that cannot pass.
//!
//! The condition stays above as well, so a source may ignore it; what is gained is the rows. It moves only where each
//! group is one row already, and where no sum can be too large for its type: a group that is an error here must not
//! be left out there.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::physical_expr::utils::split_conjunction;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::filter::FilterExec;

use super::below::{below, over};
use crate::federation::gate::decide;
use crate::federation::translate::{Strictness, TableColumn, translate};
use crate::federation::{AggregateFunction, Fragment, FragmentAggregate, PushedFilter, Verdict};

/// Adds the conditions of a filter above a finished aggregate to the leaf that sends its groups.
pub(super) fn cut(node: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(filter) = node.downcast_ref::<FilterExec>() else { return Ok(None) };
    let Some(below) = below(filter.input()).filter(|below| below.finished) else { return Ok(None) };
    let (fragment, executor) = (below.leaf.fragment(), below.leaf.executor());
    let Some(aggregate) = &fragment.aggregate else { return Ok(None) };
    if aggregate.groups.is_empty()
        || fragment.limit.is_some()
        || !fragment.having.is_empty()
        || !executor.tests_groups()
        || !has_room(fragment, aggregate)
    {
        return Ok(None);
    }
    let Some(groups) = fragment.groups_as_table() else { return Ok(None) };
    let columns: Vec<Option<TableColumn>> = below
        .columns
        .iter()
        .map(|output| output.map(|output| TableColumn { place: 0, name: Fragment::output_name(output) }))
        .collect();
    let having: Vec<PushedFilter> = split_conjunction(filter.predicate())
        .into_iter()
        .filter_map(|conjunct| translate(conjunct, &columns, Strictness::Wider))
        .filter(|told| told.place.is_some())
        .filter(|told| !matches!(decide(executor, &groups, &told.expr), Verdict::Keep(_)))
        .map(|told| PushedFilter { expr: told.expr, exact: false })
        .collect();
    if having.is_empty() {
        return Ok(None);
    }
    let fragment = Fragment { having, ..fragment.clone() };
    let leaf: Arc<dyn ExecutionPlan> = Arc::new(below.leaf.asking(fragment, below.leaf.schema())?);
    replace_children_if_necessary(Arc::clone(node), vec![over(filter.input(), &leaf)?]).map(Some)
}

/// Whether every sum fits its type, whatever the rows are: ten digits more than the column has are enough.
fn has_room(fragment: &Fragment, aggregate: &FragmentAggregate) -> bool {
    let digits = |ty: &DataType| match ty {
        DataType::Int16 => Some(5),
        DataType::Int32 => Some(9),
        DataType::Int64 => Some(19),
        DataType::Decimal128(precision, _) | DataType::Decimal256(precision, _) => Some(*precision),
        _ => None,
    };
    aggregate.calls.iter().filter(|call| call.function == AggregateFunction::Sum).all(|call| {
        let column = call.column.and_then(|row| fragment.column(row)).map(|(_, field)| field.data_type());
        match (column.and_then(digits), digits(&call.output)) {
            (Some(from), Some(to)) => to >= from.saturating_add(10),
            _ => false,
        }
    })
}
