//! The audit: a share of the statements is answered a second time with nothing pushed down, and the answers compared.
//!
//! It runs after the client has its rows and never changes them. Only what must be equal is compared: the same versions
//! of the same sources, no limit, no window, no sum of floats, at most [`MOST_ROWS`] rows. An answer that differs costs
//! every construct of the statement's fragments its trust; which of them lied is for a person to find out.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;
use portolan_catalog::asof::{AsOf, AsOfRecorder};
use portolan_catalog::federation::{FederatedScanExec, QueryContext, QueryId};
use tokio_util::sync::CancellationToken;

use super::again::Recipe;
use super::interrupt::{Until, interruptible};
use super::{Engine, Prepared};
use crate::session::{Session, TableCatalog};

/// Rows beyond which an answer is not compared.
const MOST_ROWS: u64 = 100_000;
/// How long the second answer may take.
const LONGEST: Duration = Duration::from_secs(60);

/// Rows in any order, as a number that two equal multisets share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Multiset {
    rows: u64,
    sum: u64,
}

impl Multiset {
    /// Adds the rows of a batch. Floats count to six digits: a join may have added them up in another order.
    fn add(&mut self, batch: &RecordBatch) -> Result<(), DataFusionError> {
        self.rows += u64::try_from(batch.num_rows()).unwrap_or(u64::MAX);
        if self.rows > MOST_ROWS {
            return Ok(());
        }
        let options = FormatOptions::new().with_null("\u{0}null");
        let shown = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options))
            .collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let mut hasher = DefaultHasher::new();
            for (column, shown) in batch.columns().iter().zip(&shown) {
                let float = match column.data_type() {
                    DataType::Float64 if column.is_valid(row) => {
                        Some(column.as_primitive::<Float64Type>().value(row))
                    }
                    DataType::Float32 if column.is_valid(row) => {
                        Some(f64::from(column.as_primitive::<Float32Type>().value(row)))
                    }
                    _ => None,
                };
                match float {
                    // One zero, and one NaN.
                    Some(0.0) => "0".hash(&mut hasher),
                    Some(value) if value.is_nan() => "NaN".hash(&mut hasher),
                    Some(value) => format!("{value:.5e}").hash(&mut hasher),
                    None => shown.value(row).to_string().hash(&mut hasher),
                }
            }
            self.sum = self.sum.wrapping_add(hasher.finish());
        }
        Ok(())
    }
}

/// A statement that is audited: how it is answered without push-down, and what was answered with it.
#[derive(Debug)]
pub(super) struct Audit {
    recipe: Recipe,
    recorder: AsOfRecorder,
    tables: Arc<dyn TableCatalog>,
    query: QueryId,
    answer: Multiset,
}

impl Audit {
    /// Whether this statement is audited, which the session's `portolan.audit_per_mille` and chance decide.
    pub(super) fn begin(engine: &Engine, session: &Session, recipe: &Recipe, query: QueryId) -> Option<Self> {
        let mut settings = {
            let settings = session.settings();
            let share: u16 = settings.value("portolan.audit_per_mille").parse().unwrap_or(0);
            let [first, second, ..] = *uuid::Uuid::new_v4().as_bytes();
            let chosen = u32::from(u16::from_le_bytes([first, second])) * 1000 < u32::from(share) * 65_536;
            if !chosen || !settings.pushdown() || !may_be_compared(&recipe.prepared) {
                return None;
            }
            settings.clone()
        };
        settings.set("portolan.pushdown", Some("off")).ok()?;
        let other = engine.session_with(session.identity.clone(), settings);
        let recorder = AsOfRecorder::default();
        let context = QueryContext {
            query: QueryId::random(),
            deadline: Some(Instant::now() + LONGEST),
            cancel: CancellationToken::new(),
            as_of: recorder.clone(),
            ..QueryContext::default()
        };
        let mut state = other.state();
        state.config_mut().set_extension(Arc::new(context));
        let started = recipe.state.execution_props().query_execution_start_time;
        state.execution_props_mut().query_execution_start_time = started;
        let recipe = Recipe { state, ..recipe.clone() };
        let tables = Arc::clone(&engine.tables);
        Some(Self { recipe, recorder, tables, query, answer: Multiset::default() })
    }

    /// Notes rows that the client was given.
    pub(super) fn note(&mut self, batch: &RecordBatch) {
        if self.answer.add(batch).is_err() {
            // A type without a text is not compared.
            self.answer.rows = MOST_ROWS + 1;
        }
    }

    /// Answers the statement again and compares. `plan` is what the client's answer was made by.
    pub(super) async fn finish(self, plan: Arc<dyn ExecutionPlan>, as_of: AsOf) {
        if self.answer.rows > MOST_ROWS || !has_one_answer(&plan) {
            return;
        }
        let result = match self.again().await {
            Ok(answer) if self.recorder.snapshot() != as_of => {
                tracing::debug!(rows = answer.rows, "an audit read other versions");
                "inconclusive"
            }
            Ok(answer) if answer == self.answer => "equal",
            Ok(answer) => {
                self.distrust(&plan, answer);
                "different"
            }
            Err(error) => {
                tracing::debug!(error = %error, "an audit did not end");
                "inconclusive"
            }
        };
        metrics::counter!("portolan_audits_total", "result" => result).increment(1);
    }

    async fn again(&self) -> Result<Multiset, DataFusionError> {
        let plan = self.recipe.plan(false).await?;
        let deadline = Some(Instant::now() + LONGEST);
        let until = Until { stop: CancellationToken::new(), deadline };
        let rows = execute_stream(interruptible(plan, until)?, self.recipe.state.task_ctx())?;
        counted(rows).await
    }

    fn distrust(&self, plan: &Arc<dyn ExecutionPlan>, answer: Multiset) {
        let sample = if answer.rows == self.answer.rows {
            format!("{} rows, not the same ones", answer.rows)
        } else {
            format!("{} rows where the same filters here leave {}", self.answer.rows, answer.rows)
        };
        tracing::error!(
            query = %self.query,
            sample,
            "an audit found that push-down changes an answer; what was pushed down is quarantined"
        );
        for leaf in leaves(plan) {
            self.tables.distrust(leaf.source().as_str(), leaf.fragment(), &sample);
        }
    }
}

async fn counted(mut rows: SendableRecordBatchStream) -> Result<Multiset, DataFusionError> {
    let mut found = Multiset::default();
    while let Some(batch) = rows.next().await {
        found.add(&batch?)?;
        if found.rows > MOST_ROWS {
            break;
        }
    }
    Ok(found)
}

/// Whether a statement has the same answer each time: no EXPLAIN, nothing volatile.
fn may_be_compared(prepared: &Prepared) -> bool {
    let mut steady = prepared.explain.is_none();
    let walked = prepared.plan.apply_with_subqueries(|node: &LogicalPlan| {
        node.apply_expressions(|expr: &Expr| {
            steady &= !expr.is_volatile();
            Ok(TreeNodeRecursion::Continue)
        })
    });
    steady && walked.is_ok()
}

/// Whether a plan leaves nothing to chance, and reads a source at all.
fn has_one_answer(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let mut certain = true;
    let walked = plan.apply(|node| {
        let node = node.as_ref();
        certain &= node.fetch().is_none()
            && !node.is::<WindowAggExec>()
            && !node.is::<BoundedWindowAggExec>()
            && !node.name().contains("Limit");
        if let Some(leaf) = node.downcast_ref::<FederatedScanExec>() {
            certain &= leaf.fragment().limit.is_none();
        }
        if let Some(aggregate) = node.downcast_ref::<AggregateExec>() {
            certain &= aggregate.aggr_expr().iter().all(|call| {
                let ordered = ["array_agg", "string_agg", "first_value", "last_value", "nth_value"];
                let float = matches!(
                    call.field().data_type(),
                    DataType::Float16 | DataType::Float32 | DataType::Float64
                );
                !ordered.contains(&call.fun().name())
                    && (!float || matches!(call.fun().name(), "min" | "max"))
            });
        }
        Ok(if certain { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    certain && walked.is_ok() && !leaves(plan).is_empty()
}

/// The leaves of a plan that read sources.
fn leaves(plan: &Arc<dyn ExecutionPlan>) -> Vec<FederatedScanExec> {
    let mut found = Vec::new();
    let _ = plan.apply(|node| {
        if let Some(leaf) = node.as_ref().downcast_ref::<FederatedScanExec>() {
            found.push(leaf.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found
}
