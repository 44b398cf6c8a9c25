//! The seam between the wire loop and what answers: the engine and the shadow catalog.
//!
//! The wire loop owns frames, transactions' status, portals, cursors, COPY and the encoding of rows. Behind this trait
//! live planning, execution, the settings table and the relay. The trait is shaped by three needs: rows must be
//! *pulled* (memory stays flat), a dropped future or stream must stop the work (cancel, deadline, gone client), and a
//! relayed answer must pass unchanged.
//!
//! Every statement is classified once, by the backend (it knows the relations), and the class decides: session
//! commands are carried out by the wire loop (an inner query is classified again), a refusal is sent as it is, and
//! everything else is prepared and executed by the backend, which is given the class back.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::scalar::ScalarValue;
use tokio_util::sync::CancellationToken;

use crate::pg::classify::{Class, StatementText};
use crate::pg::fault::Fault;
use crate::pg::statement;
use crate::pgtypes::PgType;
use crate::shadow::{SetConfig, StatementError};

/// What answers behind the front door; one for the process.
#[async_trait]
pub trait Backend: fmt::Debug + Send + Sync {
    /// Opens a session for an authenticated user. Must be cheap (no planning, no I/O to a source): 5,000 idle
    /// connections are normal. Start-up settings are applied afterwards through [`BackendSession::set`].
    ///
    /// # Errors
    /// A fault refuses the login (sent as FATAL), for example 28000 or 53300.
    async fn open(&self, login: &Login) -> Result<Box<dyn BackendSession>, Fault>;
}

/// Who logged in, and how this connection is known to `pg_stat_activity` and cancel requests.
#[derive(Debug, Clone)]
pub struct Login {
    /// The authenticated user.
    pub user: String,
    /// The database the client named.
    pub database: String,
    /// Unique among live connections; what `pg_backend_pid()` must return.
    pub process_id: i32,
    /// Where the client is.
    pub peer: Option<SocketAddr>,
}

/// One connection's state behind the seam: settings and whatever the engine keeps.
///
/// Futures may be dropped at any await (cancel, deadline, client gone): whatever they started must stop, and the
/// session must stay usable. Calls never overlap.
#[async_trait]
pub trait BackendSession: fmt::Debug + Send {
    /// Cuts the text of a Query into statements.
    ///
    /// # Errors
    /// As [`statement::split`].
    fn split(&self, sql: &str) -> Result<Vec<StatementText>, Fault> {
        statement::split(sql)
    }

    /// Says what one statement is: [`crate::pg::classify::classify`] with the session's `search_path`. Must not block.
    ///
    /// # Errors
    /// 54000, 54001 over the limits, 42601 for a malformed session command.
    fn classify(&self, sql: &str) -> Result<Class, Fault>;

    /// Plans exactly one statement, without executing it and without rewriting its text.
    ///
    /// `class` is what [`BackendSession::classify`] said: Constant, Catalog, Data, Mixed or Unparseable. `sql` has no
    /// trailing `;`, may have comments; `parameter_types[i]` is the OID the client gave for `$i+1`, 0 when
    /// it gave none. The result names every output column with its final wire type, because a client may describe it
    /// before it executes. Positions in faults are 1-based characters of `sql`; the wire loop shifts them.
    ///
    /// With `describe` false (simple protocol) the `columns` of a [`Route::Shadow`] statement may be left empty: then
    /// those of [`Relayed`] are used. Parameters must be complete in both cases.
    ///
    /// A write the wire loop cannot see (`WITH x AS (INSERT …)`, `SELECT … FOR UPDATE`, `SELECT INTO`) is 25006
    /// `cannot execute INSERT in a read-only transaction`, named after the verb.
    ///
    /// # Errors
    /// 42601, 42P01, 42703 …, 42P18 for a parameter whose type cannot be told, 54001 for a text too deep; never XX000
    /// for something the user wrote.
    async fn prepare(
        &mut self,
        sql: &str,
        class: &Class,
        parameter_types: &[u32],
        describe: bool,
    ) -> Result<Prepared, Fault>;

    /// Starts executing a prepared statement. May be called many times for one `Prepared`.
    ///
    /// For [`Route::Engine`], `run.values` holds one typed scalar per parameter (already decoded: bool → `Boolean`;
    /// int2/4/8 → `Int16/32/64`; oid → `Int64`; float4/8; numeric → `Decimal128` or `Decimal256` with its own scale;
    /// text, varchar, bpchar, name, `"char"`, unknown, json(b) → `Utf8`; bytea → `Binary`; uuid →
    /// `FixedSizeBinary(16)`; date → `Date32`; time → `Time64(µs)`; timestamp → `Timestamp(µs, None)`;
    /// timestamptz → `Timestamp(µs, "UTC")`; interval →
    /// `IntervalMonthDayNano`; arrays → `List`), NULLs typed. For [`Route::Shadow`], `run.raw` holds the client's bytes
    /// with their formats, unchanged, and `run.result_formats` what Bind asked for.
    ///
    /// The answer's stream must be lazy (first rows before the last are computed), its batches must have the columns of
    /// `Prepared::columns` in order and Arrow types the encoder maps to their wire types, and dropping it must stop the
    /// work here and at the source. It must honour `run.control`: a cancelled token or a passed deadline ends the
    /// stream (what it then yields is ignored: the wire loop answers 57014 by itself).
    ///
    /// # Errors
    /// The statement's fault. Faults in mid-stream travel as `DataFusionError`; [`BackendSession::fault`] turns them.
    async fn execute(&mut self, prepared: &Prepared, run: Run) -> Result<Outcome, Fault>;

    /// Turns an error of a row stream into a fault; the only conversion on this side.
    fn fault(&self, error: datafusion::error::DataFusionError) -> Fault;

    /// Sets a setting for the session after validating it. Names are case-insensitive; list-valued settings arrive as
    /// SQL wrote them, quoted and joined by `, `. `TimeZone` may arrive as a number of hours (`SET TIME ZONE 5`).
    ///
    /// # Errors
    /// 42704 unknown, 22023 bad value, 55P02 cannot be changed now, 42501 no right (`role`, `session_authorization`).
    async fn set(&mut self, name: &str, value: &str) -> Result<(), Fault>;

    /// Sets a setting back to the session's default (that includes start-up settings).
    ///
    /// # Errors
    /// As [`BackendSession::set`].
    async fn reset(&mut self, name: &str) -> Result<(), Fault>;

    /// RESET ALL.
    fn reset_all(&mut self);

    /// Makes the present values the session's defaults; called once, when the start-up settings have been applied.
    fn seal_defaults(&mut self);

    /// SHOW: the setting's name as PostgreSQL spells it and its value as SHOW prints it.
    ///
    /// # Errors
    /// 42704 `unrecognized configuration parameter "x"`.
    async fn show(&mut self, name: &str) -> Result<(String, String), Fault>;

    /// SHOW ALL: name, value, description, ordered by name.
    async fn show_all(&mut self) -> Result<Vec<(String, String, String)>, Fault>;

    /// The value of a setting the wire loop itself obeys, in base units without suffix (`statement_timeout` in ms), or
    /// `None` when it has no such setting. Asked for: `statement_timeout`, `idle_session_timeout`,
    /// `idle_in_transaction_session_timeout`, `transaction_timeout`, `TimeZone`, `IntervalStyle`, `extra_float_digits`,
    /// `bytea_output`, `client_min_messages`, `default_transaction_isolation`.
    fn setting(&self, name: &str) -> Option<String>;

    /// The values that differ from the defaults, by name in lower case; with [`BackendSession::restore`] this is how ROLLBACK undoes SET.
    fn snapshot(&self) -> BTreeMap<String, String>;

    /// Puts back exactly the values of a snapshot.
    fn restore(&mut self, snapshot: BTreeMap<String, String>);

    /// The `ParameterStatus` pairs, in PostgreSQL's order. Compared after every statement; changes are sent.
    fn reported(&self) -> Vec<(&'static str, String)>;

    /// Told when the connection's transaction state changes, so that as-of vectors and `now()` can be pinned and
    /// released. Must not block.
    fn transaction(&mut self, event: TransactionEvent);

    /// Told what the connection holds, so that `pg_cursors` and `pg_prepared_statements` can list it. Must not block.
    fn holds(&mut self, held: &Held) {
        let _ = held;
    }
}

/// A change of the transaction state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransactionEvent {
    /// BEGIN, or the start of a statement outside a block.
    Begin {
        /// An explicit block; false for a statement of its own.
        block: bool,
        /// `read committed`, `repeatable read` or `serializable`.
        isolation: String,
    },
    /// COMMIT, or the end of a statement outside a block.
    Commit,
    /// ROLLBACK.
    Rollback,
}

/// Open cursors and prepared statements of a connection.
#[derive(Debug, Clone, Default)]
pub struct Held {
    /// (name, statement, is holdable, is binary, is scrollable).
    pub cursors: Vec<(String, Arc<str>, bool, bool, bool)>,
    /// (name, statement, parameter OIDs, made by SQL PREPARE).
    pub statements: Vec<(String, Arc<str>, Vec<u32>, bool)>,
}

/// Who answers a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// The engine: values are decoded here, rows are encoded here.
    Engine,
    /// The shadow catalog: values and rows pass as bytes.
    Shadow,
}

/// A planned statement.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The text it was made from.
    pub sql: Arc<str>,
    /// Who answers it.
    pub route: Route,
    /// Output columns; `None` for a statement that returns no rows.
    pub columns: Option<Arc<[Column]>>,
    /// Parameter types, one per `$n`, none unknown.
    pub parameters: Arc<[u32]>,
    /// The command tag: `SELECT`, `SHOW`, `EXPLAIN`. A row count is appended to `SELECT` only.
    pub tag: &'static str,
    /// What the backend needs to execute it; opaque here.
    pub plan: Arc<dyn Any + Send + Sync>,
}

/// An output column as `RowDescription` announces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The public name; duplicates are legal.
    pub name: String,
    /// Its wire type.
    pub pg: PgType,
    /// OID of the table it comes from, 0 when it is computed.
    pub table_oid: u32,
    /// Its number in that table, 0 when it is computed.
    pub attnum: i16,
}

impl Column {
    /// A computed column.
    pub fn new(name: impl Into<String>, pg: PgType) -> Self {
        Self { name: name.into(), pg, table_oid: 0, attnum: 0 }
    }
}

/// How a value travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Text.
    #[default]
    Text,
    /// Binary.
    Binary,
}

impl Format {
    /// The wire's number.
    #[must_use]
    pub const fn code(self) -> i16 {
        match self {
            Self::Text => 0,
            Self::Binary => 1,
        }
    }
}

/// One execution.
#[derive(Debug, Clone, Default)]
pub struct Run {
    /// Decoded parameters, for [`Route::Engine`].
    pub values: Vec<ScalarValue>,
    /// The client's bytes, for [`Route::Shadow`]; `None` is NULL.
    pub raw: Vec<(Format, Option<Bytes>)>,
    /// The formats of Bind, one per column (or exactly one for all, or none: text).
    pub result_formats: Vec<Format>,
    /// True for the extended protocol.
    pub extended: bool,
    /// How it ends early.
    pub control: Control,
}

/// How an execution ends early.
#[derive(Debug, Clone, Default)]
pub struct Control {
    /// Cancelled by a cancel request, `pg_cancel_backend`, a gone client or shutdown.
    pub cancel: CancellationToken,
    /// `statement_timeout`, counted from the receipt of the statement; covers the last row.
    pub deadline: Option<Instant>,
}

/// What an execution yields.
pub enum Outcome {
    /// Rows to encode, and notices to send before them.
    Rows {
        /// The lazy stream.
        rows: SendableRecordBatchStream,
        /// Notices (stale answer, unpinned source, deprecated KPI).
        notices: Vec<Fault>,
    },
    /// An answer of the shadow catalog, passed on unchanged.
    Relayed(Box<Relayed>),
    /// No rows; the tag is complete (`SET`).
    Done {
        /// The command tag.
        tag: String,
        /// Notices to send before it.
        notices: Vec<Fault>,
    },
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rows { notices, .. } => {
                f.debug_struct("Rows").field("notices", notices).finish_non_exhaustive()
            }
            Self::Relayed(relayed) => f.debug_tuple("Relayed").field(relayed).finish(),
            Self::Done { tag, notices } => {
                f.debug_struct("Done").field("tag", tag).field("notices", notices).finish()
            }
        }
    }
}

/// A buffered answer of the shadow catalog (≤ 64 MiB, ≤ 200,000 rows).
#[derive(Debug, Clone, Default)]
pub struct Relayed {
    /// Its columns, as the shadow's RowDescription named them; `None` when it returned no rows.
    pub columns: Option<Arc<[Column]>>,
    /// The format of each column in `rows`.
    pub formats: Vec<Format>,
    /// Complete `DataRow` messages (tag and length included), in order; each sliced from one buffer.
    pub rows: Vec<Bytes>,
    /// The command tag of the shadow, complete (`SELECT 3`).
    pub tag: String,
    /// Notices of the statement.
    pub notices: Vec<Fault>,
    /// `set_config` calls it evaluated, in order; applied by the wire loop, which knows the transaction.
    pub settings: Vec<SetConfig>,
    /// The error that ended it, sent after the rows.
    pub error: Option<Fault>,
}

/// Every table's faults travel alike.
impl From<StatementError> for Fault {
    fn from(error: StatementError) -> Self {
        let StatementError { sqlstate, message, detail, hint, position } = error;
        Self { detail, hint, position, ..Self::new(sqlstate, message) }
    }
}
