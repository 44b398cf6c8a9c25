//! The execution plan node that reads one fragment from one source.
//!
//! The fragment is sent at the first poll, not in `execute`: a join whose build side is empty then costs the probe
//! source nothing. The node never trusts a source: every batch must carry exactly the promised columns, or the
//! query fails. Dropping the stream drops the executor's stream, which stops the work at the source.

mod divided;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
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
    BaselineMetrics, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet,
};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use futures::StreamExt;
use futures::stream::BoxStream;

pub use divided::Unfiltered;

use super::drain::Room;
pub(super) use super::explain::KeptFilter;
use super::explain::{verdicts, write_leaf};
use super::figures::{FragmentFigures, Size, Tally, Took, sum_of};
use super::minimum::Columns;
use super::reading::Reading;
use super::retry::{RETRIES, Retries};
use super::runtime::RuntimeFilters;
use super::statistics::{Estimate, bytes_of, estimate, fragment_statistics, whole};
use super::{Fragment, FragmentExecutor, QueryContext};
use crate::source::SourceName;

/// Names of what is noted after a run.
const MINIMAL_ROWS: &str = "minimal_rows";
const MINIMAL_BYTES: &str = "minimal_bytes";
/// Names of what is noted while it runs.
const FIRST_BYTE: &str = "first_byte";
const TOOK: &str = "took";

/// Reads one fragment from one source, as one partition.
#[derive(Debug, Clone)]
pub struct FederatedScanExec {
    source: SourceName,
    fragment: Arc<Fragment>,
    executor: Arc<dyn FragmentExecutor>,
    kept: Arc<[KeptFilter]>,
    /// Push-down is off: nothing but columns is asked for, now and while the statement runs.
    pub(super) bare: bool,
    /// Filled by the rest of the plan while the statement runs; empty when push-down is off.
    pub(super) runtime: RuntimeFilters,
    /// What the runtime filters said when the source was asked.
    runtime_sent: Arc<OnceLock<String>>,
    /// The version that was read, once it is known.
    as_of: Arc<OnceLock<String>>,
    /// Bytes that came, by column of the fragment.
    tally: Tally,
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
            bare: false,
            runtime: RuntimeFilters::default(),
            runtime_sent: Arc::default(),
            as_of: Arc::default(),
            tally: Tally::of(&schema),
            properties: properties_of(schema),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    /// The same leaf with push-down off.
    pub(super) fn barely(self) -> Self {
        Self { bare: true, ..self }
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
        leaf.tally = Tally::of(&schema);
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
        !self.bare && self.runtime.is_empty() && self.fragment.filters.iter().all(|filter| filter.exact)
    }

    /// Notes how many of its rows were needed after a run, and of these the bytes of the columns that somebody looked
    /// at. More than came is no proof of anything, and not noted.
    pub(super) fn tell_minimum(&self, rows: usize, wanted: &Columns) {
        let came = self.metrics.clone_inner().output_rows().unwrap_or_default();
        if rows > came {
            return;
        }
        let bytes = self.tally.share(wanted.iter().copied(), rows, came);
        MetricBuilder::new(&self.metrics).global_counter(MINIMAL_ROWS).add(rows);
        MetricBuilder::new(&self.metrics).global_counter(MINIMAL_BYTES).add(bytes);
    }

    /// What was asked, and what came of it so far.
    #[must_use]
    pub fn figures(&self) -> FragmentFigures {
        let estimate = estimate(&self.fragment, self.executor.as_ref());
        let estimated = Size {
            rows: estimate.as_ref().and_then(|estimate| whole(estimate.rows)),
            bytes: estimate
                .and_then(|estimate| bytes_of(&self.fragment, self.executor.as_ref(), estimate.rows)),
        };
        let (run, metrics) = (self.metrics.clone_inner(), |name: &str| sum_of(&self.metrics, name));
        let time = |name: &str| {
            let nanos = metrics(name).filter(|nanos| *nanos > 0)?;
            u64::try_from(nanos).ok().map(Duration::from_nanos)
        };
        let came = run.output_rows();
        FragmentFigures {
            source: self.source.clone(),
            sent: self.executor.describe(&self.fragment),
            verdicts: verdicts(&self.kept, self.bare),
            runtime: self.runtime_sent.get().cloned(),
            as_of: self.as_of.get().cloned(),
            estimated,
            actual: Size { rows: came, bytes: came.map(|_| metrics("bytes").unwrap_or_default()) },
            minimal: Size { rows: metrics(MINIMAL_ROWS), bytes: metrics(MINIMAL_BYTES) },
            first_byte: time(FIRST_BYTE),
            took: time(TOOK),
            retries: metrics(RETRIES).unwrap_or_default(),
        }
    }

    /// What it will give, if its source counts; nothing if push-down is off.
    pub(super) fn estimate(&self) -> Option<Estimate> {
        if self.bare { None } else { estimate(&self.fragment, self.executor.as_ref()) }
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
        write_leaf(f, &self.figures())
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
        fresh.runtime.forget_keys();
        fresh.runtime_sent = Arc::default();
        fresh.as_of = Arc::default();
        fresh.tally = self.tally.empty();
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
        let all = MetricBuilder::new(&self.metrics).counter("bytes", partition);
        let first_byte = MetricBuilder::new(&self.metrics).subset_time(FIRST_BYTE, partition);
        let took = MetricBuilder::new(&self.metrics).subset_time(TOOK, partition);
        let schema = Arc::clone(self.properties.eq_properties.schema());
        let reading = Reading {
            source: self.source.clone(),
            fragment: Arc::clone(&self.fragment),
            executor: Arc::clone(&self.executor),
            promised: self.fragment.schema()?,
            shown: Arc::clone(&schema),
            runtime: self.runtime.clone(),
            runtime_sent: Arc::clone(&self.runtime_sent),
            as_of: Arc::clone(&self.as_of),
            query,
            rows: BaselineMetrics::new(&self.metrics, partition),
            tally: self.tally.counting(all),
            first_byte,
            took: Took::noting(took),
            retries: Retries::noting(self.metrics.clone()),
            room: Room { task: Arc::clone(&context), metrics: self.metrics.clone() },
            asked: None,
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
        let schema = self.properties.eq_properties.schema();
        Ok(Arc::new(fragment_statistics(schema, &self.fragment, self.executor.as_ref())))
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
        if self.bare || !matches!(phase, FilterPushdownPhase::Post) {
            return Ok(answer);
        }
        let mut node = self.clone();
        if node.runtime.adopt(offered) { Ok(answer.with_updated_node(Arc::new(node))) } else { Ok(answer) }
    }
}
