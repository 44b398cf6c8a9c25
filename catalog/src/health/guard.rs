//! An executor behind its source's breaker and limits: every call is admitted, counted and watched to its end.
//!
//! It decides nothing but what is quarantined: whatever else is pure is the inner executor's own answer, word for word.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use chrono::Utc;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Field;
use datafusion::common::DataFusionError;
use datafusion::common::utils::memory::get_record_batch_memory_size;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use tracing::warn;

use super::SourceHealth;
use crate::federation::{
    AggregateCall, Capability, Division, ExecContext, Fragment, FragmentExecutor, FragmentSort, ListRoom,
    Proven, QueryContext, Slots, StatisticsCache, TableStatistics, Verdict,
};
use crate::limits::SourceLimits;
use crate::registry::{
    Cause, Quarantine, aggregate_shape, group_shape, is_refusal, join_shape, shape, sort_shape,
};
use crate::source::{SourceError, SourceErrorKind, SourceName, TableDef};

/// An executor behind a source's breaker.
#[derive(Debug)]
pub(crate) struct GuardedExecutor {
    pub(crate) source: SourceName,
    pub(crate) limits: SourceLimits,
    pub(crate) inner: Arc<dyn FragmentExecutor>,
    pub(crate) health: Arc<SourceHealth>,
    /// Set when the source says that a table or column is gone: what is known of its tables is out of date.
    pub(crate) drifted: Arc<AtomicBool>,
    /// What the source is not trusted with any more; it stays here whatever the executor says.
    pub(crate) quarantine: Arc<Quarantine>,
    /// What the source told of its tables' rows and values.
    pub(crate) statistics: StatisticsCache,
}

impl GuardedExecutor {
    /// Has the tables of a fragment that was read asked about, behind it.
    fn refresh_statistics(&self, fragment: &Fragment) {
        let due: Vec<Arc<TableDef>> = fragment
            .tables()
            .into_iter()
            .filter(|table| self.statistics.is_due(table))
            .map(Arc::clone)
            .collect();
        if due.is_empty() {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (statistics, inner) = (self.statistics.clone(), Arc::clone(&self.inner));
            runtime.spawn(async move { statistics.refresh(due, inner).await });
        }
    }

    /// Notes an answer that a trial waits for, and failures that come after the first row as well: a source may die while
    /// it sends.
    fn watched(&self, fragment: &Fragment, stream: SendableRecordBatchStream) -> SendableRecordBatchStream {
        let (health, drifted) = (Arc::clone(&self.health), Arc::clone(&self.drifted));
        let quarantine = Arc::clone(&self.quarantine);
        // One run of several has every construct, and long lists are many megabytes.
        let fragment = fragment.in_runs().next().map_or_else(|| fragment.without_runs(), Cow::into_owned);
        let schema = stream.schema();
        let stream = answered(stream, &quarantine, &fragment);
        let mut meter = self.limits.meter(&self.source);
        let counting = Arc::clone(&self.health);
        let batches = stream.and_then(move |batch| {
            let counted = meter.count(batch.num_rows(), || get_record_batch_memory_size(&batch));
            if counted.is_ok() {
                counting.delivered(batch.num_rows(), batch.get_array_memory_size());
            }
            std::future::ready(counted.map(|()| batch).map_err(DataFusionError::from))
        });
        let batches = batches.inspect_err(move |error| {
            if let DataFusionError::External(cause) = error
                && let Some(error) = cause.downcast_ref::<SourceError>()
            {
                health.failed(error);
                note_drift(&drifted, error);
                note_refusal(&quarantine, &fragment, error);
            }
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, batches))
    }
}

fn note_drift(drifted: &AtomicBool, error: &SourceError) {
    if error.kind == SourceErrorKind::NotFound {
        drifted.store(true, Ordering::Release);
    }
}

/// What the source does not know is not sent again; the statement is planned once more without it.
fn note_refusal(quarantine: &Quarantine, fragment: &Fragment, error: &SourceError) {
    if is_refusal(error) {
        let code = error.remote_code.as_deref().unwrap_or_default();
        if quarantine.add(fragment, Cause::Refused, &format!("remote code {code}")) > 0 {
            warn!(error = %error, code, "a source refused what it was trusted with; it is quarantined");
        }
    }
}

/// Tells a quarantine with constructs on trial that a fragment was answered, at its first batch or at an end without any.
fn answered(
    stream: SendableRecordBatchStream,
    quarantine: &Arc<Quarantine>,
    fragment: &Fragment,
) -> impl Stream<Item = Result<RecordBatch, DataFusionError>> + Send + use<> {
    let mut waiting = quarantine.is_trying().then(|| (Arc::clone(quarantine), fragment.clone()));
    stream.map(Some).chain(futures::stream::iter([None])).filter_map(move |item| {
        match (waiting.take(), &item) {
            (Some((quarantine, fragment)), Some(Ok(_)) | None) => quarantine.passed(&fragment),
            // A refusal is noted elsewhere; any other failure decides nothing.
            (Some(_), Some(Err(_))) | (None, _) => {}
        }
        std::future::ready(item)
    })
}

#[async_trait]
impl FragmentExecutor for GuardedExecutor {
    fn verdict(&self, table: &TableDef, expr: &Expr) -> Verdict {
        match self.quarantine.holds(|| shape(table, expr)) {
            Some(reason) => Verdict::Keep(reason),
            None => self.inner.verdict(table, expr),
        }
    }

    fn sort_verdict(&self, column: &Field, key: &FragmentSort) -> Verdict {
        match self.quarantine.holds(|| sort_shape(column)) {
            Some(reason) => Verdict::Keep(reason),
            None => self.inner.sort_verdict(column, key),
        }
    }

    fn group_verdict(&self, column: &Field) -> Verdict {
        match self.quarantine.holds(|| group_shape(column)) {
            Some(reason) => Verdict::Keep(reason),
            None => self.inner.group_verdict(column),
        }
    }

    fn aggregate_verdict(&self, call: &AggregateCall, column: Option<&Field>) -> Verdict {
        match self.quarantine.holds(|| aggregate_shape(call, column)) {
            Some(reason) => Verdict::Keep(reason),
            None => self.inner.aggregate_verdict(call, column),
        }
    }

    fn tests_groups(&self) -> bool {
        self.inner.tests_groups()
    }

    fn join_verdict(&self, left: &Field, right: &Field) -> Verdict {
        match self.quarantine.holds(|| join_shape(left, right)) {
            Some(reason) => Verdict::Keep(reason),
            None => self.inner.join_verdict(left, right),
        }
    }

    fn compute_context(&self) -> Option<String> {
        self.inner.compute_context()
    }

    fn list_room(&self) -> ListRoom {
        self.inner.list_room()
    }

    fn capabilities(&self) -> Vec<Capability> {
        self.inner.capabilities()
    }

    fn proven(&self) -> Option<&dyn Proven> {
        self.inner.proven()
    }

    fn statistics(&self, table: &TableDef) -> Option<Arc<TableStatistics>> {
        self.statistics.known(table).or_else(|| self.inner.statistics(table))
    }

    async fn gather_statistics(&self, table: &TableDef) -> Result<Option<TableStatistics>, SourceError> {
        self.inner.gather_statistics(table).await
    }

    async fn answers(&self) -> Result<(), SourceError> {
        let twice = async {
            match self.inner.answers().await {
                // A machine under load may miss one, and a running statement is a lot to lose.
                Err(_first) => self.inner.answers().await,
                answered => answered,
            }
        };
        self.health.ask(twice).await
    }

    fn may_ask_again(&self, fragment: &Fragment, error: &SourceError) -> bool {
        self.inner.may_ask_again(fragment, error) && self.health.may_ask_again()
    }

    fn slots(&self) -> Option<Slots> {
        self.inner.slots()
    }

    async fn divide(
        &self,
        fragment: &Fragment,
        context: &QueryContext,
    ) -> Result<Option<Division>, SourceError> {
        self.limits.admit(&self.source, fragment, Utc::now())?;
        let call = self.health.call()?;
        let outcome = self.inner.divide(fragment, context).await;
        match &outcome {
            Ok(_) => call.succeeded(),
            Err(error) => call.failed(error),
        }
        outcome
    }

    fn describe(&self, fragment: &Fragment) -> String {
        self.inner.describe(fragment)
    }

    async fn execute(
        &self,
        fragment: &Fragment,
        context: ExecContext,
    ) -> Result<SendableRecordBatchStream, SourceError> {
        self.limits.admit(&self.source, fragment, Utc::now())?;
        let call = self.health.call()?;
        let outcome = self.inner.execute(fragment, context).await;
        match outcome {
            Ok(stream) => {
                call.succeeded();
                self.refresh_statistics(fragment);
                Ok(self.watched(fragment, stream))
            }
            Err(error) => {
                call.failed(&error);
                note_drift(&self.drifted, &error);
                if let Some(fragment) = fragment.in_runs().next() {
                    note_refusal(&self.quarantine, &fragment, &error);
                }
                Err(error)
            }
        }
    }
}
