//! Old answers over sources that can be made to fail, by a clock that is moved by hand.

mod ages;
mod copies;
mod keys;

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::Utc;
use datafusion::arrow::array::{ArrayRef, Int32Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt as _;
use portolan_catalog::Catalog;
use portolan_catalog::asof::SourceVersion;
use portolan_catalog::federation::{ExecContext, Fragment, FragmentExecutor, Verdict};
use portolan_catalog::health::Clock;
use portolan_catalog::registry::CatalogBuilder;
use portolan_catalog::source::{
    Health, HealthState, Source, SourceError, SourceErrorKind, SourceKind, SourceName, TableDef,
};

use super::Staleness;
use crate::engine::{Engine, EngineConfig, QueryControl};
use crate::error::QueryError;
use crate::mirror::SourceTables;
use crate::pgtypes::PgType;
use crate::session::{Identity, Session};

/// What a server does with its next statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Well,
    /// Fails at once, with the server's own code if there is one.
    Fails(SourceErrorKind, Option<&'static str>),
    /// Sends its first batch, and no more.
    DiesAfterRows,
}

const DOWN: Mood = Mood::Fails(SourceErrorKind::Unreachable, None);

/// A server of tables of whole numbers: each column of each table has `first` and the numbers after it.
#[derive(Debug, Clone)]
struct Server {
    name: SourceName,
    tables: Arc<Mutex<Vec<Arc<TableDef>>>>,
    mood: Arc<Mutex<Mood>>,
    first: Arc<AtomicI32>,
    /// Sends so many numbers in each batch that its answer is not kept.
    large: Arc<AtomicBool>,
    /// Batches, of one number each.
    batches: Arc<AtomicI32>,
}

fn table(schema: &str, name: &str, columns: &[&str]) -> Arc<TableDef> {
    let fields: Vec<Field> = columns.iter().map(|name| Field::new(*name, DataType::Int32, false)).collect();
    Arc::new(TableDef::view(schema.into(), name.into(), Arc::new(Schema::new(fields)), None))
}

impl Server {
    fn new(name: &str) -> Self {
        let tables = vec![table(name, "t", &["n"]), table(name, "u", &["n"]), table(name, "w", &["n", "m"])];
        Self {
            name: SourceName::try_new(name).unwrap(),
            tables: Arc::new(Mutex::new(tables)),
            mood: Arc::new(Mutex::new(Mood::Well)),
            first: Arc::new(AtomicI32::new(1)),
            large: Arc::default(),
            batches: Arc::new(AtomicI32::new(3)),
        }
    }

    fn turns(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn begins_with(&self, first: i32) {
        self.first.store(first, Ordering::SeqCst);
    }

    fn error(&self, kind: SourceErrorKind, code: Option<&str>) -> SourceError {
        let message = format!("source \"{}\" does not answer", self.name);
        let error = SourceError::new(kind, message).with_source(&self.name);
        match code {
            Some(code) => error.with_remote_code(code),
            None => error,
        }
    }
}

#[async_trait]
impl Source for Server {
    fn name(&self) -> &SourceName {
        &self.name
    }

    fn kind(&self) -> SourceKind {
        SourceKind::Postgres
    }

    async fn check(&self) -> Health {
        Health { state: HealthState::Up, checked_at: Utc::now(), error: None, server_version: None }
    }

    async fn tables(&self) -> Result<Vec<Arc<TableDef>>, SourceError> {
        Ok(self.tables.lock().unwrap().clone())
    }

    async fn version(&self) -> Result<SourceVersion, SourceError> {
        Ok(SourceVersion::Batch(1))
    }

    fn executor(&self) -> Arc<dyn FragmentExecutor> {
        Arc::new(self.clone())
    }
}

#[async_trait]
impl FragmentExecutor for Server {
    fn verdict(&self, _table: &TableDef, _expr: &Expr) -> Verdict {
        Verdict::Keep("it is evaluated here".into())
    }

    fn describe(&self, fragment: &Fragment) -> String {
        fragment.table.name.clone()
    }

    async fn execute(
        &self,
        fragment: &Fragment,
        context: ExecContext,
    ) -> Result<SendableRecordBatchStream, SourceError> {
        let mood = *self.mood.lock().unwrap();
        if let Mood::Fails(kind, code) = mood {
            return Err(self.error(kind, code));
        }
        let first = self.first.load(Ordering::SeqCst);
        context.as_of.record(&self.name, None, SourceVersion::Batch(first.unsigned_abs().into()));
        let each = if self.large.load(Ordering::SeqCst) { 200_000 } else { 1 };
        let table = Arc::clone(&fragment.table);
        let batch = |number: i32| {
            let column: ArrayRef = Arc::new(Int32Array::from(vec![number; each]));
            let columns = vec![column; table.arrow.fields().len()];
            let whole = RecordBatch::try_new(Arc::clone(&table.arrow), columns);
            whole.and_then(|whole| whole.project(&fragment.projection)).map_err(DataFusionError::from)
        };
        let mut batches: Vec<_> = (first..first + self.batches.load(Ordering::SeqCst)).map(batch).collect();
        if mood == Mood::DiesAfterRows {
            batches.truncate(1);
            batches.push(Err(self.error(SourceErrorKind::Unreachable, None).into()));
        }
        let schema = fragment.schema().unwrap();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter(batches))))
    }
}

struct World {
    engine: Engine,
    catalog: Arc<Catalog>,
    ops: Server,
    far: Server,
    millis: Arc<AtomicU64>,
    /// When the clock began, UTC.
    began: chrono::DateTime<Utc>,
}

/// Rows joined with `|`, in their order, and what is old about them.
type Told = Result<(String, Option<Arc<Staleness>>), QueryError>;

impl World {
    fn open() -> Self {
        Self::of(|builder, ops| builder.add(Arc::new(ops)))
    }

    /// `place` puts the server `ops` into the catalog.
    fn of(place: impl FnOnce(CatalogBuilder, Server) -> CatalogBuilder) -> Self {
        let (ops, far) = (Server::new("ops"), Server::new("far"));
        let start = (Instant::now(), Utc::now());
        let millis = Arc::new(AtomicU64::new(0));
        let read = Arc::clone(&millis);
        let clock = Clock::reading(move || {
            let passed = Duration::from_millis(read.load(Ordering::SeqCst));
            (start.0 + passed, start.1 + passed)
        });
        let builder = Catalog::builder().clock(clock.clone()).add(Arc::new(far.clone()));
        let catalog = place(builder, ops.clone()).build().unwrap();
        let engine = Engine::open(EngineConfig {
            tables: Arc::new(SourceTables(Arc::clone(&catalog))),
            semantics: None,
            system: vec![crate::system::sources(Arc::clone(&catalog))],
            memory_bytes: 64 << 20,
            partitions: 2,
        })
        .unwrap()
        .with_clock(clock);
        Self { engine, catalog, ops, far, millis, began: start.1 }
    }

    /// Lets time pass since the beginning.
    fn at(&self, since: Duration) {
        self.millis.store(u64::try_from(since.as_millis()).unwrap(), Ordering::SeqCst);
    }

    fn session(&self, user: &str, settings: &[(&str, &str)]) -> Session {
        let session = self.engine.session(Identity { user: user.into(), pid: 1, protocol: "internal" });
        let fixed = [("portolan.audit_per_mille", "0"), ("portolan.max_staleness", "1 h")];
        for (name, value) in fixed.iter().chain(settings) {
            session.settings().set(name, Some(value)).unwrap();
        }
        session
    }

    async fn ask(&self, sql: &str) -> Told {
        self.ask_as(&self.session("demo", &[]), sql, &[], vec![]).await
    }

    async fn ask_as(
        &self,
        session: &Session,
        sql: &str,
        types: &[Option<PgType>],
        values: Vec<ScalarValue>,
    ) -> Told {
        let control = QueryControl { tells_staleness: true, ..QueryControl::default() };
        self.ask_with(session, sql, types, values, control).await
    }

    async fn ask_with(
        &self,
        session: &Session,
        sql: &str,
        types: &[Option<PgType>],
        values: Vec<ScalarValue>,
        control: QueryControl,
    ) -> Told {
        let prepared = self.engine.prepare(session, sql, types).await?;
        let mut answer = self.engine.execute(session, &prepared, values, control).await?;
        // A client is told before it sees a row.
        let stale = answer.receipt.stale();
        let mut rows = Vec::new();
        let options = FormatOptions::new().with_null("NULL");
        while let Some(batch) = answer.rows.next().await {
            let batch = batch.map_err(QueryError::from)?;
            let columns: Vec<_> = batch
                .columns()
                .iter()
                .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
                .collect();
            for row in 0..batch.num_rows() {
                let values: Vec<String> =
                    columns.iter().map(|column| column.value(row).to_string()).collect();
                rows.push(values.join(","));
            }
        }
        assert_eq!(stale.is_some(), answer.receipt.stale().is_some(), "{sql}: told too late");
        Ok((rows.join("|"), stale))
    }

    /// Asks and expects rows that are not old.
    async fn fresh(&self, sql: &str) -> String {
        let (rows, stale) = self.ask(sql).await.unwrap();
        assert!(stale.is_none(), "{sql}: {stale:?}");
        rows
    }

    /// Asks and expects old rows.
    async fn stale(&self, sql: &str) -> (String, Arc<Staleness>) {
        let (rows, stale) = self.ask(sql).await.unwrap();
        (rows, stale.unwrap())
    }
}

/// Expects HV00N and returns its hint.
fn unreachable(told: Told) -> String {
    let error = told.unwrap_err();
    assert_eq!(error.code.sqlstate(), "HV00N", "{error:?}");
    error.hint.unwrap_or_default()
}
