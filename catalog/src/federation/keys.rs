//! Keys that pass through one part of a plan, told to leaves that are read after it.
//!
//! A join tells its own probe side what it learned from its build side. That is not enough where a key reaches a leaf
//! by another way: through the groups of a subquery, through one of several keys of a join, or through two joins whose
//! build sides both name rows of one table. So a [`KeysExec`] on a build side notes the values of chosen columns, and
//! a leaf that is first polled after the last of them has passed asks only for those. Nobody ever waits: a leaf that
//! is polled earlier reads as if nothing were known. It must never change a row that passes, and must only be put where
//! a row without one of the keys cannot be in the answer (see `cut::tell`).

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{HashSet, Result, ScalarValue, Statistics, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterDescription, FilterPushdownPhase, FilterPushdownPropagation,
};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::StreamExt;

use super::lists::MOST_VALUES;

/// Bytes of the values of one column, at most.
const MOST_BYTES: usize = 16 << 20;
/// What a value costs beside its bytes.
const BESIDE: usize = 48;
/// A column's values take at most this part of what the query may have in memory.
const SHARE: usize = 8;

/// The different values of one column, once all of its rows have passed.
#[derive(Debug)]
pub(super) struct Keys {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// `None` once there were too many.
    seen: Option<Seen>,
    /// What they are accounted for, once they came.
    reserved: Option<MemoryReservation>,
    /// Per partition of the run, whether it has ended; empty before it starts.
    ended: Vec<Ended>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    NotBegun,
    NotYet,
    Yes,
}

#[derive(Debug)]
struct Seen {
    converter: RowConverter,
    values: HashSet<Box<[u8]>>,
    bytes: usize,
    /// What they may cost in memory.
    most: usize,
}

impl Keys {
    /// `None` if values of this type are not told: those of which equal ones may look different.
    pub(super) fn of(data_type: &DataType) -> Option<Arc<Self>> {
        let plain = data_type.is_integer()
            || matches!(
                data_type,
                DataType::Utf8
                    | DataType::LargeUtf8
                    | DataType::Utf8View
                    | DataType::Date32
                    | DataType::Timestamp(..)
                    | DataType::Decimal128(..)
            );
        let converter =
            plain.then(|| RowConverter::new(vec![SortField::new(data_type.clone())]).ok()).flatten()?;
        let seen = Some(Seen { converter, values: HashSet::new(), bytes: 0, most: usize::MAX });
        Some(Arc::new(Self { state: Mutex::new(State { seen, reserved: None, ended: vec![] }) }))
    }

    /// The values in ascending order, without null; `None` while rows may still come, or if there were too many.
    pub(super) fn values(&self) -> Option<Vec<ScalarValue>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let complete = !state.ended.is_empty() && state.ended.iter().all(|ended| *ended == Ended::Yes);
        let seen = state.seen.as_ref().filter(|_| complete)?;
        let parser = seen.converter.parser();
        let mut values: Vec<&[u8]> = seen.values.iter().map(AsRef::as_ref).collect();
        values.sort_unstable();
        let rows = values.into_iter().map(|bytes| parser.parse(bytes));
        let columns = seen.converter.convert_rows(rows).ok()?;
        let [column] = columns.as_slice() else { return None };
        (0..column.len()).map(|row| ScalarValue::try_from_array(column, row).ok()).collect()
    }

    fn pass(&self, column: &ArrayRef) {
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *guard;
        let within = state.seen.as_mut().is_some_and(|seen| {
            seen.note(column)
                && state.reserved.as_ref().is_none_or(|held| held.try_resize(seen.cost()).is_ok())
        });
        if !within {
            (state.seen, state.reserved) = (None, None);
        }
    }

    /// A partition starts, of so many. One that starts again is another run, whose rows may be others: nothing is
    /// told from then on.
    fn begin(&self, partition: usize, partitions: usize, pool: &Arc<dyn MemoryPool>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.ended.resize(partitions, Ended::NotBegun);
        match state.ended.get_mut(partition) {
            Some(ended @ Ended::NotBegun) => *ended = Ended::NotYet,
            _ => state.seen = None,
        }
        if let Some(seen) = &mut state.seen {
            if let MemoryLimit::Finite(all) = pool.memory_limit() {
                seen.most = seen.most.min(all / SHARE);
            }
            state.reserved.get_or_insert_with(|| MemoryConsumer::new("keys for other leaves").register(pool));
        }
    }

    fn end(&self, partition: usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ended) = state.ended.get_mut(partition) {
            *ended = Ended::Yes;
        }
    }
}

impl Seen {
    /// Whether there is still room.
    fn note(&mut self, column: &ArrayRef) -> bool {
        let Ok(rows) = self.converter.convert_columns(std::slice::from_ref(column)) else { return false };
        for (number, row) in rows.iter().enumerate() {
            if column.is_null(number) || self.values.contains(row.as_ref()) {
                continue;
            }
            self.bytes += row.as_ref().len();
            self.values.insert(row.as_ref().into());
            if self.values.len() > MOST_VALUES || self.bytes > MOST_BYTES || self.cost() > self.most {
                return false;
            }
        }
        true
    }

    fn cost(&self) -> usize {
        self.bytes + self.values.len() * BESIDE
    }
}

/// Hands its input on and notes the values of some columns.
#[derive(Debug)]
pub(super) struct KeysExec {
    input: Arc<dyn ExecutionPlan>,
    /// Columns of the input, and where their values are noted.
    noted: Vec<(usize, Arc<Keys>)>,
}

impl KeysExec {
    pub(super) fn new(input: Arc<dyn ExecutionPlan>, noted: Vec<(usize, Arc<Keys>)>) -> Self {
        Self { input, noted }
    }
}

/// The plan without what notes keys: a leaf that hears of some is never told, and reads what it would read without them.
///
/// # Errors
/// Whatever a node says of another input.
pub fn without_keys(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let bare = plan.transform_up(|node| {
        Ok(match node.downcast_ref::<KeysExec>() {
            Some(keys) => Transformed::yes(Arc::clone(&keys.input)),
            None => Transformed::no(node),
        })
    })?;
    Ok(bare.data)
}

impl DisplayAs for KeysExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let schema = self.input.schema();
        let names: Vec<&str> = self
            .noted
            .iter()
            .filter_map(|(column, _)| schema.fields().get(*column))
            .map(|field| field.name().as_str())
            .collect();
        write!(f, "KeysExec: tells [{}]", names.join(", "))
    }
}

impl ExecutionPlan for KeysExec {
    fn name(&self) -> &'static str {
        "KeysExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => Ok(Arc::new(Self { input, noted: self.noted.clone() })),
            _ => internal_err!("keys are told of one input"),
        }
    }

    /// A plan that runs again has other rows: the leaves of the first run keep its keys, and nobody hears of these.
    fn reset_state(self: Arc<Self>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self { input: Arc::clone(&self.input), noted: vec![] }))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, Arc::clone(&context))?;
        let noted = self.noted.clone();
        let partitions = self.properties().output_partitioning().partition_count();
        for (_, keys) in &noted {
            keys.begin(partition, partitions, context.memory_pool());
        }
        let schema = input.schema();
        let passed = futures::stream::unfold((input, noted), move |(mut input, noted)| async move {
            match input.next().await {
                Some(Ok(batch)) => {
                    for (column, keys) in &noted {
                        if let Some(column) = batch.columns().get(*column) {
                            keys.pass(column);
                        }
                    }
                    Some((Ok(batch), (input, noted)))
                }
                Some(Err(error)) => Some((Err(error), (input, vec![]))),
                None => {
                    for (_, keys) in &noted {
                        keys.end(partition);
                    }
                    None
                }
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, passed)))
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        input_stats: &[Arc<Statistics>],
        _args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        match input_stats {
            [input] => Ok(Arc::clone(input)),
            _ => internal_err!("keys are told of one input"),
        }
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }

    fn gather_filters_for_pushdown(
        &self,
        _phase: FilterPushdownPhase,
        parent_filters: Vec<Arc<dyn PhysicalExpr>>,
        _config: &ConfigOptions,
    ) -> Result<FilterDescription> {
        FilterDescription::from_children(parent_filters, &self.children())
    }

    fn handle_child_pushdown_result(
        &self,
        _phase: FilterPushdownPhase,
        child_pushdown_result: ChildPushdownResult,
        _config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        Ok(FilterPushdownPropagation::if_all(child_pushdown_result))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Decimal128Array, Int64Array, StringArray};
    use datafusion::execution::memory_pool::{GreedyMemoryPool, UnboundedMemoryPool};

    use super::*;

    fn column(values: impl Into<Int64Array>) -> ArrayRef {
        Arc::new(values.into())
    }

    fn pool() -> Arc<dyn MemoryPool> {
        Arc::new(UnboundedMemoryPool::default())
    }

    #[test]
    fn values_are_told_once_every_partition_has_ended() {
        let keys = Keys::of(&DataType::Int64).unwrap();
        assert_eq!(keys.values(), None);
        keys.begin(0, 2, &pool());
        keys.pass(&column(vec![Some(7), None, Some(-1), Some(7)]));
        keys.end(0);
        assert_eq!(keys.values(), None, "the other partition has not even begun");
        keys.begin(1, 2, &pool());
        keys.pass(&column(vec![3]));
        assert_eq!(keys.values(), None);
        keys.end(1);
        let told: Vec<ScalarValue> = [-1_i64, 3, 7].map(ScalarValue::from).into();
        assert_eq!(keys.values(), Some(told));
    }

    #[test]
    fn no_values_is_something_to_tell_and_too_many_are_not() {
        let none = Keys::of(&DataType::Utf8).unwrap();
        none.begin(0, 1, &pool());
        none.pass(&(Arc::new(StringArray::new_null(3)) as ArrayRef));
        none.end(0);
        assert_eq!(none.values(), Some(vec![]));
        let many = Keys::of(&DataType::Int64).unwrap();
        many.begin(0, 1, &pool());
        many.pass(&column((0..=MOST_VALUES).map(|n| i64::try_from(n).unwrap()).collect::<Vec<_>>()));
        many.end(0);
        assert_eq!(many.values(), None);
        let long = Keys::of(&DataType::Utf8).unwrap();
        long.begin(0, 1, &pool());
        long.pass(&(Arc::new(StringArray::from(vec!["x".repeat(MOST_BYTES + 1)])) as ArrayRef));
        long.end(0);
        assert_eq!(long.values(), None);
    }

    #[test]
    fn another_run_takes_back_what_the_first_told() {
        let keys = Keys::of(&DataType::Int64).unwrap();
        keys.begin(0, 1, &pool());
        keys.pass(&column(vec![1]));
        keys.end(0);
        keys.begin(0, 1, &pool());
        keys.pass(&column(vec![2]));
        keys.end(0);
        assert_eq!(keys.values(), None);
    }

    #[test]
    fn only_values_that_are_equal_when_they_look_equal_are_told() {
        for untold in [DataType::Float64, DataType::Float32, DataType::Boolean, DataType::Binary] {
            assert!(Keys::of(&untold).is_none(), "{untold}");
        }
        let keys = Keys::of(&DataType::Decimal128(12, 2)).unwrap();
        keys.begin(0, 1, &pool());
        let exact = Decimal128Array::from(vec![150, -25]).with_precision_and_scale(12, 2).unwrap();
        keys.pass(&(Arc::new(exact) as ArrayRef));
        keys.end(0);
        let told = [-25, 150].map(|units| ScalarValue::Decimal128(Some(units), 12, 2));
        assert_eq!(keys.values(), Some(told.into()));
    }

    #[test]
    fn values_are_accounted_for_and_given_up_rather_than_a_query() {
        let small: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(8_000));
        let keys = Keys::of(&DataType::Int64).unwrap();
        keys.begin(0, 1, &small);
        keys.pass(&column((0..10).collect::<Vec<_>>()));
        assert_eq!(small.reserved(), 10 * (9 + BESIDE));
        keys.pass(&column((0..100).collect::<Vec<_>>()));
        keys.end(0);
        assert_eq!((keys.values(), small.reserved()), (None, 0), "a hundred are more than an eighth");
        let told = Keys::of(&DataType::Int64).unwrap();
        told.begin(0, 1, &small);
        told.pass(&column(vec![1, 2]));
        told.end(0);
        drop(told);
        assert_eq!(small.reserved(), 0);
    }
}
