//! The engine: from a statement's text to a stream of rows with a receipt. The only caller of execution.
//!
//! A statement is parsed once; the tree that was checked is the tree that is planned, and parameters enter the plan
//! as typed literals, never as text. Planning and execution run on a runtime of their own with 64 MiB stacks, so that
//! neither a deep expression nor a busy query can stop the listeners. A deadline and a cancellation hold until the
//! last row: dropping an answer's stream ends the work here and at the sources.

mod adapt;
mod again;
mod aliases;
mod answers;
mod audit;
mod authorize;
mod budget;
mod correlated;
mod dialect;
mod exact;
mod execute;
mod explain;
mod filtered;
mod guards;
mod interrupt;
mod once;
mod prepare;
mod reads;
mod recursive;
mod relations;
mod running;
mod stale;
mod tables;
mod unions;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::{Arc, Mutex};
use std::time::Instant;

use chrono::{DateTime, Utc};
use datafusion::arrow::datatypes::FieldRef;
use datafusion::common::ScalarValue;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::Statement;
use portolan_catalog::federation::QueryId;
use portolan_catalog::health::Clock;
use portolan_catalog::source::TableDef;
use portolan_semantic::Semantics;
use tokio_util::sync::CancellationToken;

pub(crate) use aliases::ColumnAliases;
pub use answers::{AnswerRow, Answers};
pub(crate) use guards::guarded;
pub use reads::Read;
pub(crate) use running::QUERY_SECONDS;
pub use running::{QueryState, Receipt, RunningQueries, RunningQuery, Times};
pub use stale::{StaleFrom, Staleness};
pub(crate) use unions::UnorderedUnions;

use crate::error::QueryError;
use crate::pgtypes::PgType;
use crate::scaleout::Workers;
use crate::session::{Identity, Session, SessionFactory, TableCatalog};
use crate::settings::Settings;
use crate::system::{SystemTable, SystemTables};

/// What an engine is made of.
#[derive(Debug)]
pub struct EngineConfig {
    /// Where tables come from.
    pub tables: Arc<dyn TableCatalog>,
    /// The KPI language, if any KPI is loaded.
    pub semantics: Option<Arc<Semantics>>,
    /// Further tables of the schema `system`, beside those the engine has itself.
    pub system: Vec<Arc<dyn SystemTable>>,
    /// Bytes all queries together may hold.
    pub memory_bytes: usize,
    /// Parallel parts of one query.
    pub partitions: usize,
}

/// Answers statements.
#[derive(Debug)]
pub struct Engine {
    tables: Arc<dyn TableCatalog>,
    semantics: Option<Arc<Semantics>>,
    system: Arc<SystemTables>,
    factory: SessionFactory,
    running: Arc<RunningQueries>,
    workers: Option<Arc<Workers>>,
    answers: Arc<Answers>,
    kept: Arc<stale::KeptAnswers>,
    runtime: QueryRuntime,
}

/// The runtime of queries; shut down without waiting, since it may be dropped on another runtime.
#[derive(Debug)]
struct QueryRuntime(Option<tokio::runtime::Runtime>, tokio::runtime::Handle);

impl Drop for QueryRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Stack of the threads that plan and execute.
const STACK_BYTES: usize = 64 << 20;

/// One column of a result.
#[derive(Debug, Clone)]
pub struct ResultColumn {
    /// The name the client sees; names may repeat.
    pub name: String,
    /// The column of the batches; its own name is internal.
    pub arrow: FieldRef,
    /// The type on the wire.
    pub pg: PgType,
    /// OID of the table it comes from, 0 if none.
    pub table_oid: u32,
    /// Number of the table's column, 0 if none.
    pub attnum: i16,
}

/// What kind of statement was prepared; the wire makes the command tag of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandTag {
    /// `SELECT n`.
    Select,
    /// `EXPLAIN`.
    Explain,
}

/// A prepared statement.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The client's text.
    pub sql: Arc<str>,
    /// Result columns.
    pub columns: Arc<[ResultColumn]>,
    /// Parameter types, `$1` first.
    pub parameters: Vec<PgType>,
    /// Kind of statement.
    pub tag: CommandTag,
    statement: Arc<Statement>,
    plan: Arc<LogicalPlan>,
    explain: Option<explain::ExplainMode>,
    declared: Vec<Option<PgType>>,
    planned_at: Instant,
    environment: prepare::Environment,
}

/// How one execution is controlled.
#[derive(Debug, Clone)]
pub struct QueryControl {
    /// Ends the statement with 57014.
    pub cancel: CancellationToken,
    /// When the last row must be out; `None` for no limit. Passing it is 57014 too.
    pub deadline: Option<Instant>,
    /// Id of the statement.
    pub query_id: QueryId,
    /// What `now()` is, if a transaction has fixed it.
    pub now: Option<DateTime<Utc>>,
    /// Whether the caller tells the client when the answer is old ([`Receipt::stale`]); without, none ever is.
    pub tells_staleness: bool,
}

impl Default for QueryControl {
    fn default() -> Self {
        Self {
            cancel: CancellationToken::new(),
            deadline: None,
            query_id: QueryId::random(),
            now: None,
            tells_staleness: false,
        }
    }
}

/// The answer to a statement.
pub struct Answer {
    /// Result columns, in the order of the batches' columns.
    pub columns: Arc<[ResultColumn]>,
    /// The rows. Dropping it stops the work.
    pub rows: SendableRecordBatchStream,
    /// What the rows were read from; complete when the stream has ended.
    pub receipt: Arc<Receipt>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer")
            .field("columns", &self.columns)
            .field("receipt", &self.receipt)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Makes an engine and starts its runtime.
    ///
    /// # Errors
    /// 58000 if the runtime's threads cannot be started.
    pub fn open(config: EngineConfig) -> Result<Self, QueryError> {
        let EngineConfig { tables, semantics, system, memory_bytes, partitions } = config;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            // More threads than parts of one query: what is busy between two waits must not keep the others from theirs.
            .worker_threads(partitions.max(2) * 2)
            .thread_stack_size(STACK_BYTES)
            .thread_name("portolan-query")
            .enable_all()
            .build()
            .map_err(|error| {
                QueryError::new(crate::error::ErrorCode::SystemError, "query threads cannot be started")
                    .with_detail(error.kind().to_string())
            })?;
        let handle = runtime.handle().clone();
        let running = Arc::new(RunningQueries::default());
        let answers = Arc::new(Answers::default());
        let system = Arc::new(SystemTables::new(system, Arc::clone(&running), Arc::clone(&answers)));
        let kept = Arc::new(stale::KeptAnswers::beside(memory_bytes, Clock::system()));
        Ok(Self {
            tables,
            semantics,
            system,
            factory: SessionFactory::open(memory_bytes, partitions)?,
            running,
            workers: None,
            answers,
            kept,
            runtime: QueryRuntime(Some(runtime), handle),
        })
    }

    /// The engine with workers, which may do parts of statements. An answer must not depend on them.
    #[must_use]
    pub fn with_workers(self, workers: Option<Arc<Workers>>) -> Self {
        Self { workers, ..self }
    }

    /// The engine with operators that pass on so many rows at once: an answer must not depend on it, and a test shows so.
    #[must_use]
    pub fn with_batch_rows(self, rows: usize) -> Self {
        Self { factory: self.factory.with_batch_rows(rows), ..self }
    }

    /// The engine by another clock for the age of answers.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        let kept = Arc::new(self.kept.timed(clock));
        Self { kept, ..self }
    }

    /// Opens a session with default settings.
    #[must_use]
    pub fn session(&self, identity: Identity) -> Session {
        let mut settings = Settings::default();
        settings.set_fixed("session_authorization", &identity.user);
        self.session_with(identity, settings)
    }

    /// Opens a session with settings, such as those of a session whose catalog has changed since.
    #[must_use]
    pub fn session_with(&self, identity: Identity, settings: Settings) -> Session {
        let viewer = Arc::new(identity.clone());
        let settings = Arc::new(Mutex::new(settings));
        let extra =
            vec![(crate::system::SCHEMA.to_owned(), self.system.schema(viewer, Arc::clone(&settings)))];
        self.factory.session(identity, settings, &self.tables, self.semantics.as_deref(), extra)
    }

    /// Changes whenever a plan made before may be wrong.
    #[must_use]
    pub fn catalog_version(&self) -> u64 {
        self.tables.version()
    }

    /// Definitions of the tables in the schema `system`.
    #[must_use]
    pub fn system_tables(&self) -> Vec<Arc<TableDef>> {
        self.system.definitions()
    }

    /// The KPI language over these tables, if any KPI is loaded.
    #[must_use]
    pub fn semantics(&self) -> Option<&Arc<Semantics>> {
        self.semantics.as_ref()
    }

    /// The running statements.
    #[must_use]
    pub fn running(&self) -> &Arc<RunningQueries> {
        &self.running
    }

    /// Bytes the queries hold now, by the memory pool's account.
    #[must_use]
    pub fn memory_reserved(&self) -> usize {
        self.factory.runtime().memory_pool.reserved()
    }

    /// Tasks that plan or execute now, those of a statement's parallel parts included; 0 when nothing is left to do.
    #[must_use]
    pub fn work(&self) -> usize {
        self.runtime.1.metrics().num_alive_tasks()
    }

    /// Parses, checks, plans and types a statement.
    ///
    /// `param_types` are the types the client declared, `$1` first; missing ones are inferred, or text.
    ///
    /// # Errors
    /// 42601, 42P01, 42703, 42883 … with positions; 25006 for a write; 54000 and 54001 for size and depth; 0A000.
    pub async fn prepare(
        &self,
        session: &Session,
        sql: &str,
        param_types: &[Option<PgType>],
    ) -> Result<Prepared, QueryError> {
        Box::pin(prepare::prepare(self, session, sql, param_types)).await
    }

    /// Executes a prepared statement; parameters become typed literals of the plan.
    ///
    /// # Errors
    /// Errors of planning; those of execution come through the stream.
    pub async fn execute(
        &self,
        session: &Session,
        prepared: &Prepared,
        params: Vec<ScalarValue>,
        control: QueryControl,
    ) -> Result<Answer, QueryError> {
        Box::pin(execute::execute(self, session, prepared, params, control)).await
    }
}
