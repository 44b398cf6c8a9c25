//! Three tables of one source in memory, which counts the statements and rows of each.
//!
//! `small(id, kind)` has 20 rows, `middle(id, small_id, day)` 400, `large(id, middle_id, small_id, v)` 8,000.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use chrono::Utc;
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt as _, TryStreamExt as _};

use crate::asof::SourceVersion;
use crate::federation::{
    ExecContext, Fragment, FragmentExecutor, ListRoom, TableStatistics, Verdict, local_verdict, run_on_stream,
};
use crate::source::{
    Health, HealthState, Source, SourceError, SourceErrorKind, SourceKind, SourceName, TableDef, TableKind,
};

/// Statements and rows of one table.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fetched {
    pub(crate) statements: usize,
    pub(crate) rows: usize,
}

#[derive(Debug)]
pub(crate) struct StarSource {
    name: SourceName,
    tables: Vec<Arc<TableDef>>,
    executor: Arc<StarExecutor>,
}

#[derive(Debug, Default)]
pub(crate) struct StarExecutor {
    rows: BTreeMap<String, RecordBatch>,
    fetched: Arc<Mutex<BTreeMap<String, Fetched>>>,
    /// How long its lists may be, if not as long as any other's.
    pub(crate) room: Mutex<Option<ListRoom>>,
    /// What it tells of its tables, beside their rows.
    pub(crate) told: Mutex<BTreeMap<String, Arc<TableStatistics>>>,
}

impl StarExecutor {
    /// What was fetched since this was asked last.
    pub(crate) fn take(&self) -> BTreeMap<String, Fetched> {
        std::mem::take(&mut self.fetched.lock().unwrap())
    }
}

fn numbers(count: i64, of: impl Fn(i64) -> Option<i64>) -> ArrayRef {
    Arc::new((0..count).map(of).collect::<Int64Array>())
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let fields: Vec<Field> =
        columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

impl StarSource {
    pub(crate) fn new() -> Self {
        let kinds: StringArray = (0..20).map(|n| (n != 7).then(|| format!("kind {}", n % 5))).collect();
        let rows = BTreeMap::from([
            ("small".to_owned(), batch(vec![("id", numbers(20, Some)), ("kind", Arc::new(kinds))])),
            (
                "middle".to_owned(),
                batch(vec![
                    ("id", numbers(400, Some)),
                    ("small_id", numbers(400, |n| (n % 13 != 5).then_some(n % 20))),
                    ("day", numbers(400, |n| Some(n % 7))),
                ]),
            ),
            (
                "large".to_owned(),
                batch(vec![
                    ("id", numbers(8_000, Some)),
                    ("middle_id", numbers(8_000, |n| (n % 17 != 3).then_some(n % 400))),
                    ("small_id", numbers(8_000, |n| Some(n / 3 % 20))),
                    ("v", numbers(8_000, |n| Some(n % 11))),
                ]),
            ),
        ]);
        let tables = rows
            .iter()
            .map(|(name, rows)| {
                Arc::new(TableDef {
                    schema: "star".into(),
                    name: name.clone(),
                    arrow: rows.schema(),
                    comment: None,
                    primary_key: vec!["id".into()],
                    foreign_keys: vec![],
                    row_estimate: Some(rows.num_rows() as u64),
                    kind: TableKind::Table,
                })
            })
            .collect();
        let executor = Arc::new(StarExecutor { rows, ..StarExecutor::default() });
        Self { name: SourceName::try_new("star").unwrap(), tables, executor }
    }

    pub(crate) fn star(&self) -> Arc<StarExecutor> {
        Arc::clone(&self.executor)
    }
}

#[async_trait]
impl FragmentExecutor for StarExecutor {
    fn verdict(&self, _table: &TableDef, expr: &Expr) -> Verdict {
        local_verdict(expr)
    }

    fn list_room(&self) -> ListRoom {
        self.room.lock().unwrap().unwrap_or(ListRoom::STATEMENT)
    }

    fn statistics(&self, table: &TableDef) -> Option<Arc<TableStatistics>> {
        self.told.lock().unwrap().get(&table.name).cloned()
    }

    fn describe(&self, fragment: &Fragment) -> String {
        fragment.table.name.clone()
    }

    async fn execute(
        &self,
        fragment: &Fragment,
        _context: ExecContext,
    ) -> Result<SendableRecordBatchStream, SourceError> {
        let name = fragment.table.name.clone();
        let rows = self.rows.get(&name).unwrap().clone();
        let mut turns = Vec::new();
        for run in fragment.in_runs() {
            self.fetched.lock().unwrap().entry(name.clone()).or_default().statements += 1;
            let stream = futures::stream::iter([Ok(rows.clone())]);
            let stream = Box::pin(RecordBatchStreamAdapter::new(rows.schema(), stream));
            turns.push(run_on_stream(stream, &run).map_err(|error| {
                SourceError::new(SourceErrorKind::Remote, "the star failed").with_cause(error)
            })?);
        }
        let schema = turns[0].schema();
        let stream = futures::stream::iter(turns).flatten();
        let fetched = Arc::clone(&self.fetched);
        let counted = stream.inspect_ok(move |batch| {
            fetched.lock().unwrap().entry(name.clone()).or_default().rows += batch.num_rows();
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, counted)))
    }
}

#[async_trait]
impl Source for StarSource {
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
        Ok(self.tables.clone())
    }

    async fn version(&self) -> Result<SourceVersion, SourceError> {
        Ok(SourceVersion::Batch(1))
    }

    fn executor(&self) -> Arc<dyn FragmentExecutor> {
        Arc::clone(&self.executor) as Arc<dyn FragmentExecutor>
    }
}
