//! The execution plan node that reads one fragment from one source.
//!
//! The fragment is sent at the first poll, not in `execute`: a join whose build side is empty then costs the probe
//! source nothing. The node never trusts a source: every batch must carry exactly the promised columns, or the
//! query fails. Dropping the stream drops the executor's stream, which stops the work at the source.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::config::ConfigOptions;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::coop::cooperative;
use datafusion::physical_plan::execution_plan::{
    Boundedness, EmissionType, SchedulingType, apply_expression_roots,
};
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterPushdownPhase, FilterPushdownPropagation,
};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet, Time,
};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use futures::StreamExt;
use futures::stream::BoxStream;

use super::drain::{Room, beside_waiters};
pub(super) use super::explain::KeptFilter;
use super::explain::write_leaf;
use super::runtime::{Narrowed, RuntimeFilters};
use super::silence::attended;
use super::statistics::{Estimate, estimate, fragment_statistics};
use super::{ExecContext, Fragment, FragmentExecutor, QueryContext};
use crate::asof::SourceVersion;
use crate::source::{SourceError, SourceErrorKind, SourceName};

/// Reads one fragment from one source, as one partition.
#[derive(Debug, Clone)]
pub struct FederatedScanExec {
    source: SourceName,
    fragment: Arc<Fragment>,
    executor: Arc<dyn FragmentExecutor>,
    kept: Arc<[KeptFilter]>,
    /// Columns of the fragment's batches that leave this node, if not all of them in order.
    local_projection: Option<Arc<[usize]>>,
    /// Filled by joins above while the statement runs; empty when push-down is off.
    runtime: RuntimeFilters,
    /// What the runtime filters said when the source was asked.
    runtime_sent: Arc<OnceLock<String>>,
    /// The version that was read, once it is known.
    as_of: Arc<OnceLock<String>>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl FederatedScanExec {
    pub(super) fn try_new(
        source: SourceName,
        fragment: Fragment,
        executor: Arc<dyn FragmentExecutor>,
        kept: Vec<KeptFilter>,
    ) -> Result<Self> {
        let schema = fragment.schema()?;
        Ok(Self {
            source,
            fragment: Arc::new(fragment),
            executor,
            kept: kept.into(),
            local_projection: None,
            runtime: RuntimeFilters::default(),
            runtime_sent: Arc::default(),
            as_of: Arc::default(),
            properties: properties_of(schema),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    /// Leaves only the given columns of the fragment's, taken here after the source sent all of them.
    pub(super) fn projecting(mut self, columns: &[usize]) -> Result<Self> {
        let schema = Arc::new(self.fragment.schema()?.project(columns)?);
        self.properties = properties_of(schema);
        self.local_projection = Some(columns.into());
        Ok(self)
    }

    /// A leaf that asks the same source for more, under the schema of the operators whose work it takes.
    pub(super) fn asking(&self, fragment: Fragment, schema: SchemaRef) -> Result<Self> {
        let promised = fragment.schema()?;
        let same = promised.fields().len() == schema.fields().len()
            && promised.fields().iter().zip(schema.fields()).all(|(a, b)| a.data_type() == b.data_type());
        if !same {
            return internal_err!("a fragment of \"{}\" promises other columns than its plan", self.source);
        }
        let mut leaf = self.clone();
        leaf.fragment = Arc::new(fragment);
        leaf.properties = properties_of(schema);
        leaf.metrics = ExecutionPlanMetricsSet::new();
        Ok(leaf)
    }

    /// The same leaf in a plan where so many others read its source.
    pub(super) fn among(&self, siblings: usize) -> Self {
        let fragment = Fragment { siblings, ..self.fragment.as_ref().clone() };
        Self { fragment: Arc::new(fragment), ..self.clone() }
    }

    /// The same leaf with something more to say in `EXPLAIN`.
    pub(super) fn noting(&self, notes: impl IntoIterator<Item = KeptFilter>) -> Self {
        let mut all = self.kept.to_vec();
        for note in notes {
            if !all.contains(&note) {
                all.push(note);
            }
        }
        Self { kept: all.into(), ..self.clone() }
    }

    /// Whether work of operators above may move into the fragment: push-down is on, every filter is exact, and
    /// nobody has been promised a runtime filter yet.
    pub(super) fn may_grow(&self) -> bool {
        self.local_projection.is_none()
            && self.runtime.expressions().is_empty()
            && self.fragment.filters.iter().all(|filter| filter.exact)
    }

    /// Notes how many of its rows were needed, after a run.
    pub(super) fn tell_minimum(&self, rows: usize) {
        MetricBuilder::new(&self.metrics).global_counter("minimal_rows").add(rows);
    }

    /// What it will give, if its source counts; nothing if push-down is off.
    pub(super) fn estimate(&self) -> Option<Estimate> {
        if self.local_projection.is_some() { None } else { estimate(&self.fragment, self.executor.as_ref()) }
    }

    pub(super) fn executor(&self) -> &dyn FragmentExecutor {
        self.executor.as_ref()
    }

    pub(super) fn kept(&self) -> &[KeptFilter] {
        &self.kept
    }

    /// What is asked of the source.
    #[must_use]
    pub fn fragment(&self) -> &Fragment {
        &self.fragment
    }

    /// The source that is read.
    #[must_use]
    pub fn source(&self) -> &SourceName {
        &self.source
    }
}

fn properties_of(schema: SchemaRef) -> Arc<PlanProperties> {
    Arc::new(
        PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative),
    )
}

impl DisplayAs for FederatedScanExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_leaf(
            f,
            &self.source,
            self.executor.as_ref(),
            &self.fragment,
            &self.kept,
            self.local_projection.is_some(),
        )?;
        if let Some(sent) = self.runtime_sent.get() {
            write!(f, " runtime: {sent}")?;
        }
        match self.as_of.get() {
            Some(read) => write!(f, " as_of={read}"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for FederatedScanExec {
    fn name(&self) -> &str {
        "FederatedScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        // A join fills its filter only if it finds it below its probe side.
        apply_expression_roots(self.runtime.expressions(), f)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if children.is_empty() { Ok(self) } else { internal_err!("a federated scan has no children") }
    }

    fn reset_state(self: Arc<Self>) -> Result<Arc<dyn ExecutionPlan>> {
        let mut fresh = Self::clone(&self);
        fresh.metrics = ExecutionPlanMetricsSet::new();
        fresh.runtime_sent = Arc::default();
        fresh.as_of = Arc::default();
        Ok(Arc::new(fresh))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if partition != 0 {
            return internal_err!("a federated scan has one partition, {partition} was asked for");
        }
        let query = context
            .session_config()
            .get_extension::<QueryContext>()
            .unwrap_or_else(|| Arc::new(QueryContext::default()));
        let bytes = MetricBuilder::new(&self.metrics).counter("bytes", partition);
        let first_byte = MetricBuilder::new(&self.metrics).subset_time("first_byte", partition);
        let schema = Arc::clone(self.properties.eq_properties.schema());
        let reading = Reading {
            source: self.source.clone(),
            fragment: Arc::clone(&self.fragment),
            executor: Arc::clone(&self.executor),
            promised: self.fragment.schema()?,
            shown: Arc::clone(&schema),
            local_projection: self.local_projection.clone(),
            runtime: self.runtime.clone(),
            runtime_sent: Arc::clone(&self.runtime_sent),
            as_of: Arc::clone(&self.as_of),
            query,
            rows: BaselineMetrics::new(&self.metrics, partition),
            bytes,
            first_byte,
            room: Some(Room { task: Arc::clone(&context), metrics: self.metrics.clone() }),
            stream: None,
            done: false,
        };
        let batches: BoxStream<'static, Result<RecordBatch>> =
            futures::stream::unfold(reading, |mut reading| async move {
                let item = reading.next().await?;
                Some((item, reading))
            })
            .boxed();
        Ok(Box::pin(cooperative(RecordBatchStreamAdapter::new(schema, batches))))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(
        &self,
        _input_stats: &[Arc<Statistics>],
        _args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let (schema, shown) = (self.properties.eq_properties.schema(), self.local_projection.as_deref());
        Ok(Arc::new(fragment_statistics(schema, shown, &self.fragment, self.executor.as_ref())))
    }

    fn handle_child_pushdown_result(
        &self,
        phase: FilterPushdownPhase,
        child_pushdown_result: ChildPushdownResult,
        _config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        // All are answered "unsupported": whoever offers a filter goes on evaluating it.
        let offered: Vec<Arc<dyn PhysicalExpr>> =
            child_pushdown_result.parent_filters.iter().map(|offer| Arc::clone(&offer.filter)).collect();
        let answer = FilterPushdownPropagation::all_unsupported(child_pushdown_result);
        let off = self.local_projection.is_some();
        if off || !matches!(phase, FilterPushdownPhase::Post) {
            return Ok(answer);
        }
        let mut node = self.clone();
        if node.runtime.adopt(offered) { Ok(answer.with_updated_node(Arc::new(node))) } else { Ok(answer) }
    }
}

/// One execution of the node: the state between two polls.
struct Reading {
    source: SourceName,
    fragment: Arc<Fragment>,
    executor: Arc<dyn FragmentExecutor>,
    promised: SchemaRef,
    shown: SchemaRef,
    local_projection: Option<Arc<[usize]>>,
    runtime: RuntimeFilters,
    runtime_sent: Arc<OnceLock<String>>,
    as_of: Arc<OnceLock<String>>,
    query: ExecContext,
    rows: BaselineMetrics,
    bytes: Count,
    first_byte: Time,
    /// Where the answer is kept when the source is wanted by others; taken by the stream.
    room: Option<Room>,
    stream: Option<SendableRecordBatchStream>,
    done: bool,
}

impl Reading {
    async fn next(&mut self) -> Option<Result<RecordBatch>> {
        if self.done {
            return None;
        }
        let query = Arc::clone(&self.query);
        let step = tokio::select! {
            biased;
            () = query.cancel.cancelled() => Some(Err(cancelled(&self.source).into())),
            () = passed(query.deadline) => Some(Err(timed_out(&self.source).into())),
            step = self.step() => step,
        };
        match step {
            Some(Ok(batch)) => {
                self.rows.record_output(batch.num_rows());
                Some(Ok(batch))
            }
            Some(Err(error)) => {
                self.done = true;
                self.stream = None;
                Some(Err(error))
            }
            None => {
                self.done = true;
                self.stream = None;
                self.rows.done();
                self.show_as_of();
                None
            }
        }
    }

    async fn step(&mut self) -> Option<Result<RecordBatch>> {
        if self.stream.is_none() {
            let started = Instant::now();
            let fragment = match self.runtime.narrow(&self.fragment, self.executor.as_ref()) {
                Narrowed::Nothing => {
                    let _ = self.runtime_sent.set("no row can match, nothing was sent".into());
                    return None;
                }
                Narrowed::To(fragment, shown) => {
                    if let Some(shown) = shown {
                        let _ = self.runtime_sent.set(shown);
                    }
                    fragment
                }
            };
            let starting = self.executor.execute(&fragment, Arc::clone(&self.query));
            match attended(&self.source, self.executor.as_ref(), starting).await.flatten() {
                Ok(stream) => {
                    self.stream = Some(match (self.executor.slots(), self.room.take()) {
                        (Some(slots), Some(room)) => beside_waiters(stream, slots, room),
                        _ => stream,
                    });
                }
                Err(error) => return Some(Err(self.named(error).into())),
            }
            self.first_byte.add_elapsed(started);
            self.note_as_of();
        }
        let waiting = self.stream.as_mut()?.next();
        match attended(&self.source, self.executor.as_ref(), waiting).await {
            Ok(batch) => Some(batch?.and_then(|batch| self.checked(&batch))),
            Err(silent) => Some(Err(silent.into())),
        }
    }

    /// Executors record the version they read; a source that has none was read now.
    fn note_as_of(&self) {
        let table = format!("{}.{}.{}", self.source, self.fragment.table.schema, self.fragment.table.name);
        let noted = self.query.as_of.snapshot();
        let known = noted.0.keys().any(|key| {
            key == self.source.as_str() || *key == table || key.starts_with(&format!("{}.", self.source))
        });
        if !known {
            self.query.as_of.record(&self.source, None, SourceVersion::FetchedAt(chrono::Utc::now()));
        }
    }

    /// What was read, once it was: an executor may know only after its first batch.
    fn show_as_of(&self) {
        let noted = self.query.as_of.snapshot().0;
        let prefix = format!("{}.", self.source);
        let of_table = || noted.iter().find(|(key, _)| key.starts_with(&prefix)).map(|(_, version)| version);
        if let Some(version) = noted.get(self.source.as_str()).or_else(of_table) {
            let _ = self.as_of.set(version.to_string());
        }
    }

    /// The batch under the promised schema, or an error: a wrong column is never passed on.
    fn checked(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        self.bytes.add(batch.get_array_memory_size());
        let arrived = batch.schema();
        let same = arrived.fields().len() == self.promised.fields().len()
            && arrived
                .fields()
                .iter()
                .zip(self.promised.fields())
                .all(|(a, b)| a.name() == b.name() && a.data_type() == b.data_type());
        if !same {
            return Err(self.broken_promise(&arrived).into());
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch =
            RecordBatch::try_new_with_options(Arc::clone(&self.promised), batch.columns().to_vec(), &options)
                .map_err(|error| {
                    self.named(
                        SourceError::new(
                            SourceErrorKind::Data,
                            format!(
                                "source \"{}\" sent a null for a column of \"{}.{}\" that has none",
                                self.source, self.fragment.table.schema, self.fragment.table.name
                            ),
                        )
                        .with_cause(error),
                    )
                })?;
        match &self.local_projection {
            Some(columns) => Ok(batch.project(columns)?),
            // The names the plan above knows the columns by.
            None => Ok(RecordBatch::try_new_with_options(
                Arc::clone(&self.shown),
                batch.columns().to_vec(),
                &options,
            )?),
        }
    }

    fn broken_promise(&self, arrived: &SchemaRef) -> SourceError {
        let show = |schema: &SchemaRef| {
            schema
                .fields()
                .iter()
                .map(|field| format!("{} {}", field.name(), field.data_type()))
                .collect::<Vec<_>>()
                .join(", ")
        };
        self.named(
            SourceError::new(
                SourceErrorKind::Data,
                format!(
                    "source \"{}\" sent columns ({}) for \"{}.{}\" where ({}) was promised",
                    self.source,
                    show(arrived),
                    self.fragment.table.schema,
                    self.fragment.table.name,
                    show(&self.promised)
                ),
            )
            .with_hint(format!("run portolan source check {}: the table may have changed", self.source)),
        )
    }

    fn named(&self, error: SourceError) -> SourceError {
        if error.source_name.is_some() { error } else { error.with_source(&self.source) }
    }
}

/// Completes when the deadline passes; never without one.
async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

fn cancelled(source: &SourceName) -> SourceError {
    SourceError::new(SourceErrorKind::Cancelled, "canceling statement due to user request")
        .with_source(source)
}

fn timed_out(source: &SourceName) -> SourceError {
    SourceError::new(SourceErrorKind::Cancelled, "canceling statement due to statement timeout")
        .with_source(source)
}
