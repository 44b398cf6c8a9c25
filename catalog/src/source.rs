//! What a store is to the rest of Portolan: a name, tables, a version, a health, and an executor of fragments.
//!
//! A [`Source`] must never be dialled while a query is planned: [`Source::tables`] answers from declared or cached
//! schemas, so a dead store costs only its own queries.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::DataFusionError;

use crate::asof::SourceVersion;
use crate::copies::CopyCommit;
use crate::federation::{FragmentExecutor, Slots};
use crate::kills::Kills;

/// A source's name, which is also its SQL schema: `[a-z][a-z0-9_]{0,62}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceName(Arc<str>);

impl SourceName {
    /// Checks and wraps a name.
    ///
    /// # Errors
    /// The rule itself, as text, when the name breaks it.
    pub fn try_new(name: &str) -> Result<Self, String> {
        let mut bytes = name.bytes();
        let starts = bytes.next().is_some_and(|b| b.is_ascii_lowercase());
        let rest = bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if starts && rest && name.len() <= 63 {
            Ok(Self(Arc::from(name)))
        } else {
            Err(format!("source name \"{name}\" must match [a-z][a-z0-9_]{{0,62}}"))
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The closed set of store kinds; every `match` over it is exhaustive on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceKind {
    /// PostgreSQL, embedded or remote.
    Postgres,
    /// Delta tables on an object store.
    Lake,
    /// NDJSON, CSV, Parquet or XML files.
    Files,
    /// A columnar JSON API of Open-Meteo's shape.
    Rest,
    /// MySQL or MariaDB.
    Mysql,
    /// MongoDB.
    Mongodb,
    /// Kafka topics.
    Kafka,
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Postgres => "postgres",
            Self::Lake => "lake",
            Self::Files => "files",
            Self::Rest => "rest",
            Self::Mysql => "mysql",
            Self::Mongodb => "mongodb",
            Self::Kafka => "kafka",
        })
    }
}

/// What kind of failure a source had; decides SQLSTATE, retry and breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceErrorKind {
    /// No connection could be made, or it broke before the first row.
    Unreachable,
    /// The source refused our credentials or rights.
    Auth,
    /// The source did not answer within its own limit of time.
    Timeout,
    /// It has no free connection for us, or reading is not allowed at this hour.
    Busy,
    /// More was asked of it than its configuration allows.
    Limit,
    /// A concurrent writer won.
    Conflict,
    /// The outcome of a commit is not known; a resolver must find out, a retry must not.
    StateUnknown,
    /// The table, file or column is not there (any more).
    NotFound,
    /// A value cannot be represented exactly; the message names `source.table.column`.
    Data,
    /// The source kind cannot do this.
    Unsupported,
    /// The source answered with an error of its own.
    Remote,
    /// The query was cancelled, its client left, or its deadline passed.
    Cancelled,
}

/// A failure of a source. `Display` is safe to show to a user: no DSN, no values, no secret, no cause.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    /// The source that failed.
    pub source_name: Option<SourceName>,
    /// Kind of failure.
    pub kind: SourceErrorKind,
    /// What failed, lower case, no full stop, names in double quotes.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The remote system's own code, for DETAIL.
    pub remote_code: Option<String>,
    /// Whether the same may be asked once more at once: the connection was refused or broke, the server is on its way down
    /// or up, or it gave this statement up for another's sake. Only whoever reads looks at it.
    pub transient: bool,
    /// The cause, for the log only.
    #[source]
    pub cause: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl SourceError {
    /// A failure with a kind and a message; the rest is added by the `with_` methods.
    #[must_use]
    pub fn new(kind: SourceErrorKind, message: impl Into<String>) -> Self {
        Self {
            source_name: None,
            kind,
            message: message.into(),
            hint: None,
            remote_code: None,
            transient: false,
            cause: None,
        }
    }

    /// Names the source that failed.
    #[must_use]
    pub fn with_source(mut self, name: &SourceName) -> Self {
        self.source_name = Some(name.clone());
        self
    }

    /// Says what the reader should do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Keeps the remote system's own code.
    #[must_use]
    pub fn with_remote_code(mut self, code: impl Into<String>) -> Self {
        self.remote_code = Some(code.into());
        self
    }

    /// Says whether the same may be asked once more at once.
    #[must_use]
    pub fn with_transient(mut self, transient: bool) -> Self {
        self.transient = transient;
        self
    }

    /// Keeps the cause for the log.
    #[must_use]
    pub fn with_cause(mut self, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.cause = Some(Arc::new(cause));
        self
    }
}

/// Whether a connection was refused, or broke. One that took too long is another matter: it takes as long again.
pub(crate) fn is_broken(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::NotConnected
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof
    )
}

impl From<SourceError> for DataFusionError {
    /// Wraps the error as [`DataFusionError::External`], from which the gateway downcasts it.
    fn from(error: SourceError) -> Self {
        Self::External(Box::new(error))
    }
}

/// A foreign key of a table, as the mirrored catalog shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignKey {
    /// Referencing columns, in order.
    pub columns: Vec<String>,
    /// Referenced schema as the gateway shows it.
    pub to_schema: String,
    /// Referenced table.
    pub to_table: String,
    /// Referenced columns, in order.
    pub to_columns: Vec<String>,
}

/// How a table is shown in PostgreSQL's catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableKind {
    /// Shown as an ordinary table.
    Table,
    /// Shown as a view.
    View,
}

/// One table of a source, as the gateway shows it: names, Arrow types, keys and comments.
///
/// Field metadata: `portolan.comment` (text of the column's description), `portolan.source_type` (the source's own
/// type, verbatim), `portolan.pg_type` (PostgreSQL type where the Arrow type does not tell it, such as `varchar(8)`),
/// `portolan.declared` (the type that the configuration declares for it, where the source's own would be read otherwise).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableDef {
    /// SQL schema the gateway shows the table in.
    pub schema: String,
    /// Table name, exact spelling.
    pub name: String,
    /// Columns. Never contains a nanosecond timestamp.
    pub arrow: SchemaRef,
    /// The table's description.
    pub comment: Option<String>,
    /// Columns of the primary key; empty if none is known.
    pub primary_key: Vec<String>,
    /// Foreign keys that the source enforces.
    pub foreign_keys: Vec<ForeignKey>,
    /// Estimated rows, if the source keeps such a figure.
    pub row_estimate: Option<u64>,
    /// Table or view.
    pub kind: TableKind,
}

impl TableDef {
    /// A view: it has no keys, and nobody counts its rows.
    #[must_use]
    pub fn view(schema: String, name: String, arrow: SchemaRef, comment: Option<String>) -> Self {
        Self {
            schema,
            name,
            arrow,
            comment,
            primary_key: Vec::new(),
            foreign_keys: Vec::new(),
            row_estimate: None,
            kind: TableKind::View,
        }
    }
}

/// Field metadata key of a column's description.
pub const COMMENT_KEY: &str = "portolan.comment";
/// Field metadata key of the source's own type, verbatim.
pub const SOURCE_TYPE_KEY: &str = "portolan.source_type";
/// Field metadata key of the PostgreSQL type, where the Arrow type does not tell it.
pub const PG_TYPE_KEY: &str = "portolan.pg_type";
/// Field metadata key of a type that the configuration declares and the source's own is read as.
pub const DECLARED_KEY: &str = "portolan.declared";

/// State of a source as last seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthState {
    /// Nobody has used it yet.
    Unknown,
    /// The last contact succeeded.
    Up,
    /// It answers, with restrictions.
    Degraded,
    /// The last contact failed.
    Down,
}

/// What a health check found.
#[derive(Debug, Clone)]
pub struct Health {
    /// State found.
    pub state: HealthState,
    /// When it was found, UTC.
    pub checked_at: DateTime<Utc>,
    /// Error text if it is not up; safe to show.
    pub error: Option<String>,
    /// The store's own version text, if it told one.
    pub server_version: Option<String>,
}

/// A store the gateway reads.
#[async_trait]
pub trait Source: fmt::Debug + Send + Sync {
    /// The source's name.
    fn name(&self) -> &SourceName;

    /// The kind of store.
    fn kind(&self) -> SourceKind;

    /// SQL schemas its tables are shown in: its own name, unless it exposes several, as a lake does its zones.
    fn schemas(&self) -> Vec<String> {
        vec![self.name().to_string()]
    }

    /// Contacts the store and reports its health. Never called while a query is planned.
    async fn check(&self) -> Health;

    /// Tables and columns: declared, cached, or read on first use.
    ///
    /// # Errors
    /// `Unreachable` if the store was never reached and nothing is declared or cached.
    async fn tables(&self) -> Result<Vec<Arc<TableDef>>, SourceError>;

    /// The tables as the configuration has them shown, of those that [`Source::tables`] told, now or at an earlier time.
    fn shown(&self, told: Vec<Arc<TableDef>>) -> Vec<Arc<TableDef>> {
        told
    }

    /// What of its configuration could not be kept when [`Source::shown`] was last asked: a column that is not there, a
    /// type that it cannot be read as.
    fn misdeclared(&self) -> Vec<String> {
        vec![]
    }

    /// Why a table is not shown though the store has it: its file or its log cannot be read, or a column cannot be read
    /// as it is declared. `None` for a table nobody knows.
    async fn obstacle(&self, _schema: &str, _table: &str) -> Option<SourceError> {
        None
    }

    /// The commits of a table that copies another source's, newest first, and the key of its pins.
    ///
    /// # Errors
    /// `Unsupported` unless the store keeps versions of its tables; whatever kept it from telling them.
    async fn copies(&self, _schema: &str, _table: &str) -> Result<(String, Vec<CopyCommit>), SourceError> {
        let message = format!("source \"{}\" keeps no versions of its tables", self.name());
        Err(SourceError::new(SourceErrorKind::Unsupported, message).with_source(self.name()))
    }

    /// The store's present version.
    ///
    /// # Errors
    /// Whatever kept the store from telling it.
    async fn version(&self) -> Result<SourceVersion, SourceError>;

    /// Values that became null so far because they did not fit their column and `on_mismatch: null` says so, since the
    /// source was opened.
    fn mismatches(&self) -> u64 {
        0
    }

    /// The connections it lends to statements; `None` for a store that lends none.
    fn slots(&self) -> Option<Slots> {
        self.executor().slots()
    }

    /// What became of statements that were stopped at the store before their end, since the source was opened.
    fn kills(&self) -> Kills {
        Kills::default()
    }

    /// What runs fragments on this store.
    fn executor(&self) -> Arc<dyn FragmentExecutor>;
}
