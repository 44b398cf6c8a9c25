//! Top-N and limits.
//!
//! The source takes the first N by keys that order there as here, nulls placed by word; the local sort stays above
//! and orders the N rows again, so the leaf promises no order. Rows that tie at the cut may be other ones than a
//! local evaluation would keep, as SQL allows.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::sorts::sort::SortExec;

use super::below::{Below, below, over};
use super::passed;
use crate::federation::leaf::KeptFilter;
use crate::federation::{AggregateFunction, FederatedScanExec, Fragment, FragmentSort, Reason};

/// Moves a top-N, or a limit over what a fragment joins, into the fragment below.
pub(super) fn cut(node: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(sort) = node.downcast_ref::<SortExec>() {
        return top_n(node, sort);
    }
    let (input, rows) = if let Some(limit) = node.downcast_ref::<GlobalLimitExec>() {
        let Some(fetch) = limit.fetch() else { return Ok(None) };
        (limit.input(), limit.skip().saturating_add(fetch))
    } else if let Some(limit) = node.downcast_ref::<LocalLimitExec>() {
        (limit.input(), limit.fetch())
    } else {
        return Ok(None);
    };
    let Some(Below { leaf, finished: false, .. }) = below(input) else { return Ok(None) };
    let fragment = leaf.fragment();
    // A scan of one table has its limit already.
    if fragment.joins.is_empty() || fragment.aggregate.is_some() || fragment.limit.is_some() {
        return Ok(None);
    }
    let limited = Fragment { limit: Some(rows), ..fragment.clone() };
    moved(node, input, leaf.asking(limited, leaf.schema())?).map(Some)
}

fn top_n(node: &Arc<dyn ExecutionPlan>, sort: &SortExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let (Some(rows), Some(below)) = (sort.fetch(), below(sort.input())) else { return Ok(None) };
    let fragment = below.leaf.fragment();
    if fragment.limit.is_some() || (fragment.aggregate.is_some() && !below.finished) {
        return Ok(None);
    }
    let leaf = match keys(sort, &below) {
        Ok((sort, words)) => {
            let notes = words.into_iter().map(|(key, words)| KeptFilter::rewritten_operator(key, words));
            let wanted = Fragment { sort, limit: Some(rows), ..fragment.clone() };
            below.leaf.asking(wanted, below.leaf.schema())?.noting(notes)
        }
        Err((key, reason)) => below.leaf.noting([KeptFilter::kept_operator(key, reason)]),
    };
    moved(node, sort.input(), leaf).map(Some)
}

type Said = (String, Reason);

/// The keys over the leaf's output, with the words of those that are rewritten; or the key that stays, and why.
fn keys(sort: &SortExec, below: &Below<'_>) -> std::result::Result<(Vec<FragmentSort>, Vec<Said>), Said> {
    let fragment = below.leaf.fragment();
    let (mut keys, mut words) = (Vec::new(), Vec::new());
    for key in sort.expr().iter() {
        let column = key
            .expr
            .downcast_ref::<Column>()
            .and_then(|column| below.columns.get(column.index()).copied().flatten());
        let shown = |name: &str| format!("top {} by {name}", sort.fetch().unwrap_or_default());
        let Some(column) = column else {
            return Err((shown(&key.expr.to_string()), "computed keys are ordered here".into()));
        };
        let schema = below.leaf.schema();
        let output = schema.field(column);
        let wanted =
            FragmentSort { column, descending: key.options.descending, nulls_first: key.options.nulls_first };
        let field = origin(fragment, column).unwrap_or_else(|| output.clone());
        match passed(below.leaf.executor().sort_verdict(&field, &wanted)) {
            Ok(Some(said)) => words.push((format!("order by {}", field.name()), said)),
            Ok(None) => {}
            Err(reason) => return Err((shown(field.name()), reason)),
        }
        keys.push(wanted);
    }
    Ok((keys, words))
}

/// The table's column an output is, or is the smallest or largest of.
fn origin(fragment: &Fragment, output: usize) -> Option<datafusion::arrow::datatypes::Field> {
    let row = match &fragment.aggregate {
        None => *fragment.projection.get(output)?,
        Some(aggregate) => match output.checked_sub(aggregate.groups.len()) {
            None => *aggregate.groups.get(output)?,
            Some(call) => {
                let call = aggregate.calls.get(call)?;
                if !matches!(call.function, AggregateFunction::Min | AggregateFunction::Max) {
                    return None;
                }
                call.column?
            }
        },
    };
    fragment.column(row).map(|(_, field)| field.clone())
}

fn moved(
    node: &Arc<dyn ExecutionPlan>,
    input: &Arc<dyn ExecutionPlan>,
    leaf: FederatedScanExec,
) -> Result<Arc<dyn ExecutionPlan>> {
    let leaf: Arc<dyn ExecutionPlan> = Arc::new(leaf);
    replace_children_if_necessary(Arc::clone(node), vec![over(input, &leaf)?])
}
