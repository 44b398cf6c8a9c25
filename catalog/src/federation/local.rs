//! Running a fragment with the engine's own expressions, for stores that are read in process (files, lake, REST).
//!
//! Filters are evaluated by the very physical expressions that a filter above the leaf would use, so every conjunct
//! of the grammar below is exact. What may depend on the session (scalar functions, which may read its settings, except
//! for a part of a text) is not in the grammar. It must never be used to claim work that a remote store would do differently.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError, Result, exec_err};
use datafusion::execution::context::{ExecutionProps, SessionState};
use datafusion::execution::{SendableRecordBatchStream, SessionStateBuilder};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::physical_plan::execute_stream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::prelude::SessionConfig;
use futures::StreamExt;

use super::failing::is_part_of_text;
use super::{Fragment, Verdict};
use crate::source::TableDef;

/// The verdict of a store whose fragments run here: exact for the closed grammar of operators, kept for anything
/// whose meaning the session could change.
#[must_use]
pub fn local_verdict(expr: &Expr) -> Verdict {
    let mut known = true;
    let walked = expr.apply(|node| {
        let part = matches!(node, Expr::ScalarFunction(call) if is_part_of_text(call));
        known = part
            || matches!(
                node,
                Expr::Column(_)
                    | Expr::Literal(..)
                    | Expr::BinaryExpr(_)
                    | Expr::Not(_)
                    | Expr::Negative(_)
                    | Expr::IsNull(_)
                    | Expr::IsNotNull(_)
                    | Expr::IsTrue(_)
                    | Expr::IsFalse(_)
                    | Expr::IsUnknown(_)
                    | Expr::IsNotTrue(_)
                    | Expr::IsNotFalse(_)
                    | Expr::IsNotUnknown(_)
                    | Expr::Between(_)
                    | Expr::InList(_)
                    | Expr::Like(_)
                    | Expr::Case(_)
                    | Expr::Cast(_)
            );
        Ok(if known { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    if known && walked.is_ok() {
        Verdict::Exact
    } else {
        Verdict::Keep("functions are evaluated here".into())
    }
}

/// Runs a fragment over a table provider: the provider prunes as far as it can, then every filter is evaluated
/// again here, then the limit and the projection.
///
/// The provider's columns must be those of the fragment's table, by name and type.
///
/// # Errors
/// Whatever planning or the provider's scan raises.
pub async fn run_on_provider(
    provider: Arc<dyn TableProvider>,
    fragment: &Fragment,
) -> Result<SendableRecordBatchStream> {
    let state = scan_state();
    let filters: Vec<Expr> = fragment.filters.iter().map(|filter| filter.expr.clone()).collect();
    let read = columns_read(&fragment.table, &fragment.projection, &filters)?;
    let borrowed: Vec<&Expr> = filters.iter().collect();
    let usable: Vec<Expr> = provider
        .supports_filters_pushdown(&borrowed)?
        .into_iter()
        .zip(&filters)
        .filter(|(support, _)| *support != TableProviderFilterPushDown::Unsupported)
        .map(|(_, filter)| filter.clone())
        .collect();
    let limit = fragment.limit.filter(|_| filters.is_empty());
    let scan = provider.scan(&state, Some(&read), &usable, limit).await?;
    let rows = execute_stream(scan, state.task_ctx())?;
    refine(rows, &read, fragment)
}

/// Runs a fragment over a stream of whole rows of its table.
///
/// # Errors
/// When a filter cannot be planned.
pub fn run_on_stream(
    rows: SendableRecordBatchStream,
    fragment: &Fragment,
) -> Result<SendableRecordBatchStream> {
    let all: Vec<usize> = (0..fragment.table.arrow.fields().len()).collect();
    refine(rows, &all, fragment)
}

/// A session for scanning storage in one partition. It never plans a user's statement: those belong to the
/// gateway's own session.
fn scan_state() -> SessionState {
    let config = SessionConfig::new().with_target_partitions(1);
    SessionStateBuilder::new().with_config(config).with_default_features().build()
}

/// The table's columns needed to evaluate filters and show others: the shown ones first, in their order, then those
/// only the filters use, ascending.
pub(super) fn columns_read<'a>(
    table: &TableDef,
    shown: &[usize],
    filters: impl IntoIterator<Item = &'a Expr>,
) -> Result<Vec<usize>> {
    let mut hidden = BTreeSet::new();
    for column in filters.into_iter().flat_map(Expr::column_refs) {
        let index = table.arrow.index_of(&column.name)?;
        if !shown.contains(&index) {
            hidden.insert(index);
        }
    }
    Ok(shown.iter().copied().chain(hidden).collect())
}

/// Filters, cuts and projects a stream whose columns are the given ones of the fragment's table.
fn refine(
    rows: SendableRecordBatchStream,
    read: &[usize],
    fragment: &Fragment,
) -> Result<SendableRecordBatchStream> {
    let arrived: SchemaRef = Arc::new(fragment.table.arrow.project(read)?);
    let predicate = conjunction(fragment.filters.iter().map(|filter| filter.expr.clone()))
        .map(|expr| {
            let schema = DFSchema::try_from(Arc::clone(&arrived))?;
            create_physical_expr(&expr, &schema, &ExecutionProps::new(), &PhysicalPlanningContext::default())
        })
        .transpose()?;
    let mut output = Vec::with_capacity(fragment.projection.len());
    for column in &fragment.projection {
        let Some(position) = read.iter().position(|read| read == column) else {
            return exec_err!("column {column} of \"{}\" was not read", fragment.table.name);
        };
        output.push(position);
    }
    let promised = fragment.schema()?;
    let shown = Arc::clone(&promised);
    let mut left = fragment.limit;
    let batches = rows
        .map(move |batch| {
            let batch = kept_rows(batch?, predicate.as_ref())?;
            let batch = match left.as_mut() {
                Some(left) => {
                    let taken = batch.num_rows().min(*left);
                    *left -= taken;
                    (batch.slice(0, taken), *left == 0)
                }
                None => (batch, false),
            };
            let (batch, last) = batch;
            let columns = output.iter().map(|column| Arc::clone(batch.column(*column))).collect();
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            let batch = RecordBatch::try_new_with_options(Arc::clone(&promised), columns, &options)?;
            Ok::<_, DataFusionError>((batch, last))
        })
        .scan(false, |ended, item| {
            if *ended {
                return std::future::ready(None);
            }
            *ended = matches!(item, Err(_) | Ok((_, true)));
            std::future::ready(Some(item.map(|(batch, _)| batch)))
        })
        .filter(|item| std::future::ready(!matches!(item, Ok(batch) if batch.num_rows() == 0)));
    Ok(Box::pin(RecordBatchStreamAdapter::new(shown, batches)))
}

fn kept_rows(batch: RecordBatch, predicate: Option<&Arc<dyn PhysicalExpr>>) -> Result<RecordBatch> {
    let Some(predicate) = predicate else { return Ok(batch) };
    let kept = predicate.evaluate(&batch)?.into_array(batch.num_rows())?;
    let Some(kept) = kept.as_boolean_opt() else {
        return exec_err!("filter {predicate} is not boolean");
    };
    Ok(filter_record_batch(&batch, kept)?)
}
