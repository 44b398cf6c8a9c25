//! Sources for tests: an executor with a scripted verdict, and a store in memory that really evaluates.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use chrono::Utc;
use datafusion::arrow::array::{
    ArrayRef, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{Expr, Operator};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;

mod shapes;
pub(crate) mod star;

use super::{
    AggregateCall, AggregateFunction, ExecContext, Fragment, FragmentExecutor, FragmentSort, Verdict,
    local_verdict, run_on_stream,
};
use crate::asof::SourceVersion;
use crate::source::{
    Health, HealthState, Source, SourceError, SourceErrorKind, SourceKind, SourceName, TableDef, TableKind,
};

/// Answers every conjunct with the same verdict and runs nothing.
#[derive(Debug)]
pub(crate) struct Scripted(Verdict);

impl Scripted {
    pub(crate) fn always(verdict: Verdict) -> Self {
        Self(verdict)
    }
}

#[async_trait]
impl FragmentExecutor for Scripted {
    fn verdict(&self, _table: &TableDef, _expr: &Expr) -> Verdict {
        self.0.clone()
    }

    fn describe(&self, _fragment: &Fragment) -> String {
        "nothing".into()
    }

    async fn execute(
        &self,
        _fragment: &Fragment,
        _context: ExecContext,
    ) -> Result<SendableRecordBatchStream, SourceError> {
        Err(SourceError::new(SourceErrorKind::Unsupported, "a scripted executor runs nothing"))
    }
}

/// How the store in memory misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It does as it is told.
    Good,
    /// It sends another type than promised.
    WrongType,
    /// It never sends a row.
    Silent,
    /// It fails with an error of its own.
    Failing,
    /// It takes `superset` for `exact`: the planted bug.
    Lying,
}

/// One table `t(a int8, b text, c float8, d numeric(10,2), at timestamptz)` in memory.
#[derive(Debug)]
pub(crate) struct MemorySource {
    name: SourceName,
    executor: Arc<MemoryExecutor>,
    table: Arc<TableDef>,
}

#[derive(Debug)]
pub(crate) struct MemoryExecutor {
    rows: RecordBatch,
    pub(crate) manner: Manner,
    /// Fragments that were started.
    pub(crate) started: AtomicUsize,
    /// Set when a stream was dropped before its end.
    pub(crate) dropped: Arc<AtomicBool>,
}

impl MemorySource {
    pub(crate) fn new(manner: Manner) -> Self {
        let rows = rows();
        let table = TableDef {
            schema: "mem".into(),
            name: "t".into(),
            arrow: rows.schema(),
            comment: None,
            primary_key: vec![],
            foreign_keys: vec![],
            row_estimate: Some(rows.num_rows() as u64),
            kind: TableKind::Table,
        };
        let executor = MemoryExecutor { rows, manner, started: AtomicUsize::new(0), dropped: Arc::default() };
        Self {
            name: SourceName::try_new("mem").unwrap(),
            executor: Arc::new(executor),
            table: Arc::new(table),
        }
    }

    pub(crate) fn memory(&self) -> Arc<MemoryExecutor> {
        Arc::clone(&self.executor)
    }
}

/// Seed rows: nulls, spellings, quotes, patterns, extremes, duplicates.
fn rows() -> RecordBatch {
    let texts = [
        Some("Dakar"),
        Some("DAKAR"),
        Some("dákar"),
        Some(""),
        Some("a"),
        Some("a "),
        Some("it's"),
        Some("\\"),
        Some("%"),
        Some("_"),
        Some("x\ny"),
        None,
        Some("ß"),
        Some("a"),
        Some("';--"),
    ];
    let numbers = [Some(0), Some(1), Some(-1), None, Some(i64::MAX), Some(i64::MIN), Some(7), Some(1)];
    let floats = [Some(0.0), Some(-0.0), Some(f64::NAN), Some(f64::INFINITY), None, Some(1.5)];
    let decimals = [Some(0), Some(150), Some(-1), None, Some(9_999_999_999)];
    let instants = [Some(0), Some(-1), None, Some(253_402_300_799_999_999), Some(1_782_864_000_000_000)];
    let count = 60;
    let take = |index: usize, length: usize| index % length;
    let a: Int64Array = (0..count).map(|n| numbers[take(n, numbers.len())]).collect();
    let b: StringArray = (0..count).map(|n| texts[take(n, texts.len())]).collect();
    let c: Float64Array = (0..count).map(|n| floats[take(n, floats.len())]).collect();
    let d: Decimal128Array = (0..count).map(|n| decimals[take(n / 3, decimals.len())]).collect();
    let at: TimestampMicrosecondArray = (0..count).map(|n| instants[take(n / 7, instants.len())]).collect();
    let schema = Schema::new(vec![
        Field::new("a", DataType::Int64, true),
        Field::new("b", DataType::Utf8, true),
        Field::new("c", DataType::Float64, true),
        Field::new("d", DataType::Decimal128(10, 2), true),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(a),
        Arc::new(b),
        Arc::new(c),
        Arc::new(d.with_precision_and_scale(10, 2).unwrap()),
        Arc::new(at.with_timezone("UTC")),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

/// Notes that a stream was dropped.
struct Dropped(Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn is_text_equality(expr: &Expr) -> bool {
    matches!(expr, Expr::BinaryExpr(binary) if binary.op == Operator::Eq && binary.left.to_string() == "b")
}

#[async_trait]
impl FragmentExecutor for MemoryExecutor {
    /// Text equality is only a superset here, its negation is kept, a pattern is a rewrite, the rest is exact.
    fn verdict(&self, _table: &TableDef, expr: &Expr) -> Verdict {
        if let Verdict::Keep(reason) = local_verdict(expr) {
            return Verdict::Keep(reason);
        }
        let lying = self.manner == Manner::Lying;
        match expr {
            Expr::BinaryExpr(binary) if binary.left.to_string() == "b" => match binary.op {
                Operator::Eq if lying => Verdict::Exact,
                Operator::Eq => Verdict::Superset("text is compared without case".into()),
                _ => Verdict::Keep("text order is not bytewise".into()),
            },
            Expr::Like(_) => Verdict::Rewrite("COLLATE \"C\"".into()),
            _ => Verdict::Exact,
        }
    }

    fn sort_verdict(&self, column: &Field, _key: &FragmentSort) -> Verdict {
        shapes::unless_text(Some(column))
    }

    fn group_verdict(&self, column: &Field) -> Verdict {
        shapes::unless_text(Some(column))
    }

    fn aggregate_verdict(&self, call: &AggregateCall, column: Option<&Field>) -> Verdict {
        match call.function {
            AggregateFunction::Count if !call.distinct => Verdict::Exact,
            _ => shapes::unless_text(column),
        }
    }

    fn join_verdict(&self, left: &Field, right: &Field) -> Verdict {
        match shapes::unless_text(Some(left)) {
            Verdict::Exact => shapes::unless_text(Some(right)),
            kept => kept,
        }
    }

    fn compute_context(&self) -> Option<String> {
        Some("memory".into())
    }

    fn describe(&self, fragment: &Fragment) -> String {
        if !fragment.joins.is_empty() || fragment.aggregate.is_some() || !fragment.sort.is_empty() {
            let joins: Vec<String> = fragment.joins.iter().map(|join| format!("{:?}", join.kind)).collect();
            let aggregate = fragment.aggregate.as_ref().map(|aggregate| {
                let calls: Vec<&str> = aggregate.calls.iter().map(|call| call.function.name()).collect();
                format!("{:?} {}", aggregate.groups, calls.join(" "))
            });
            return format!(
                "joins [{}] aggregate [{}] sort {} limit {:?}",
                joins.join(" "),
                aggregate.unwrap_or_default(),
                fragment.sort.len(),
                fragment.limit
            );
        }
        let columns: Vec<&str> = fragment
            .projection
            .iter()
            .map(|index| fragment.table.arrow.field(*index).name().as_str())
            .collect();
        let filters: Vec<String> = fragment.filters.iter().map(|filter| filter.expr.to_string()).collect();
        format!(
            "columns [{}] filters [{}] limit {:?}",
            columns.join(", "),
            filters.join(" AND "),
            fragment.limit
        )
    }

    async fn execute(
        &self,
        fragment: &Fragment,
        context: ExecContext,
    ) -> Result<SendableRecordBatchStream, SourceError> {
        self.started.fetch_add(1, Ordering::SeqCst);
        let source = SourceName::try_new("mem").unwrap();
        context.as_of.record(&source, None, SourceVersion::Batch(7));
        match self.manner {
            Manner::Failing => {
                return Err(
                    SourceError::new(SourceErrorKind::Auth, "password refused").with_remote_code("28P01")
                );
            }
            Manner::WrongType => {
                let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int32, true)]));
                let stream = futures::stream::iter([Ok(RecordBatch::new_empty(Arc::clone(&schema)))]);
                return Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)));
            }
            Manner::Silent => {
                let guard = Dropped(Arc::clone(&self.dropped));
                let stream = futures::stream::once(async move {
                    let _guard = guard;
                    std::future::pending().await
                });
                let schema = fragment.schema().unwrap();
                return Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)));
            }
            Manner::Good | Manner::Lying => {}
        }
        let schema = self.rows.schema();
        if !fragment.joins.is_empty() || fragment.aggregate.is_some() || !fragment.sort.is_empty() {
            let batches = shapes::evaluate(&self.rows, fragment).await.map_err(|error| {
                SourceError::new(SourceErrorKind::Remote, "memory failed").with_cause(error)
            })?;
            let schema = fragment.schema().unwrap();
            let stream = futures::stream::iter(batches.into_iter().map(Ok));
            return Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)));
        }
        let pieces: Vec<_> = (0..self.rows.num_rows())
            .step_by(7)
            .map(|at| Ok(self.rows.slice(at, 7.min(self.rows.num_rows() - at))))
            .collect();
        let rows = Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter(pieces).boxed()));
        // A superset is served as one: text equality is not applied at all.
        let mut applied = fragment.clone();
        applied.filters.retain(|filter| !is_text_equality(&filter.expr));
        run_on_stream(rows, &applied)
            .map_err(|error| SourceError::new(SourceErrorKind::Remote, "memory failed").with_cause(error))
    }
}

#[async_trait]
impl Source for MemorySource {
    fn name(&self) -> &SourceName {
        &self.name
    }

    fn kind(&self) -> SourceKind {
        SourceKind::Files
    }

    async fn check(&self) -> Health {
        Health { state: HealthState::Up, checked_at: Utc::now(), error: None, server_version: None }
    }

    async fn tables(&self) -> Result<Vec<Arc<TableDef>>, SourceError> {
        Ok(vec![Arc::clone(&self.table)])
    }

    async fn version(&self) -> Result<SourceVersion, SourceError> {
        Ok(SourceVersion::Batch(7))
    }

    fn executor(&self) -> Arc<dyn FragmentExecutor> {
        Arc::clone(&self.executor) as Arc<dyn FragmentExecutor>
    }
}
