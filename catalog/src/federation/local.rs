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
use datafusion::datasource::physical_plan::{FileScanConfig, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::context::{ExecutionProps, SessionState};
use datafusion::execution::{SendableRecordBatchStream, SessionStateBuilder};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SessionConfig;
use futures::StreamExt;

use super::failing::is_harmless;
use super::parts::{in_parts, readers};
use super::{Fragment, Verdict};
use crate::source::TableDef;

/// The verdict of a store whose fragments run here: exact for the closed grammar of operators, kept for anything
/// whose meaning the session could change.
#[must_use]
pub fn local_verdict(expr: &Expr) -> Verdict {
    let mut known = true;
    let walked = expr.apply(|node| {
        // These may fail on a value, and fail here as they do above the leaf.
        let computed = matches!(node, Expr::BinaryExpr(_) | Expr::Negative(_) | Expr::Cast(_));
        known = computed || is_harmless(node);
        Ok(if known { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    if known && walked.is_ok() {
        Verdict::Exact
    } else {
        Verdict::Keep("functions are evaluated here".into())
    }
}

/// Runs a fragment over a table provider: the provider prunes as far as it can, then every filter is evaluated
/// again here, then the limit and the projection. Without a limit, Parquet is read by several tasks.
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
    let scan = pruned(scan, fragment)?;
    let scan = if fragment.limit.is_none() { in_parts(scan, readers()).await? } else { scan };
    let rows = execute_stream(scan, state.task_ctx())?;
    refine(rows, &read, fragment)
}

/// The scan, told the fragment's filters if it reads Parquet: its provider is asked for a plan that no optimizer sees,
/// which is what would tell it. It leaves out row groups and pages by them, no rows.
fn pruned(scan: Arc<dyn ExecutionPlan>, fragment: &Fragment) -> Result<Arc<dyn ExecutionPlan>> {
    let Some(filter) = conjunction(fragment.filters.iter().map(|filter| filter.expr.clone())) else {
        return Ok(scan);
    };
    let config = scan
        .downcast_ref::<DataSourceExec>()
        .and_then(|scan| scan.data_source().downcast_ref::<FileScanConfig>());
    let Some((config, source)) =
        config.and_then(|config| Some((config, config.file_source.downcast_ref::<ParquetSource>()?)))
    else {
        return Ok(scan);
    };
    let schema = DFSchema::try_from(Arc::clone(&fragment.table.arrow))?;
    let predicate =
        create_physical_expr(&filter, &schema, &ExecutionProps::new(), &PhysicalPlanningContext::default())?;
    let mut told = config.clone();
    told.file_source = Arc::new(source.with_predicate(predicate).with_pushdown_filters(false));
    Ok(DataSourceExec::from_data_source(told))
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

/// Runs a fragment over a stream of those columns of its table that [`columns_of`] names, in that order.
///
/// # Errors
/// When a filter cannot be planned.
pub fn run_on_columns(
    rows: SendableRecordBatchStream,
    fragment: &Fragment,
) -> Result<SendableRecordBatchStream> {
    refine(rows, &columns_of(fragment)?, fragment)
}

/// The columns of its table that a fragment is about: those it shows, in their order, then those that only its filters
/// use.
///
/// # Errors
/// When a filter is about another table's column.
pub fn columns_of(fragment: &Fragment) -> Result<Vec<usize>> {
    columns_read(&fragment.table, &fragment.projection, fragment.filters.iter().map(|filter| &filter.expr))
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
