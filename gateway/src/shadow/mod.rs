//! The shadow catalog: an embedded PostgreSQL that answers every catalog statement byte for byte.
//!
//! It mirrors names, types, keys, comments and rights of everything the gateway serves, and no row. It must never
//! answer a statement that reads a mirrored relation: the answer would be "no rows", a lie. The server runs in a
//! child process over one connection, because the embedded server takes one connection, ignores cancel and can only
//! be stopped by ending its process; whatever happens to it, data statements do not wait for it.

pub mod error;
pub mod model;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};

pub use error::StatementError;
pub use model::{
    MirrorColumn, MirrorForeignKey, MirrorFunction, MirrorKind, MirrorModel, MirrorRole, MirrorSchema,
    MirrorTable,
};

/// Where and how the shadow's child process runs.
#[derive(Debug, Clone)]
pub struct ShadowConfig {
    /// Directory of the cluster; kept between starts, so OIDs stay.
    pub data_dir: PathBuf,
    /// The `portolan` binary, which is run with `embedded-postgres`.
    pub executable: PathBuf,
    /// Longest time a relayed statement may take; 2 s unless the session's `statement_timeout` is shorter.
    pub deadline: Duration,
}

/// What the relay must know about the client's session.
#[derive(Debug, Clone)]
pub struct SessionView {
    /// The user who logged in (`session_user`).
    pub session_user: String,
    /// The current role (`current_user`); equal to the user unless SET ROLE.
    pub role: String,
    /// The gateway's identifier of the connection (`pg_backend_pid()`).
    pub backend_pid: i32,
    /// Client's address; `None` for a Unix socket.
    pub client: Option<SocketAddr>,
    /// Address the client connected to.
    pub server: Option<SocketAddr>,
    /// When the gateway started (`pg_postmaster_start_time()`), UTC.
    pub started: DateTime<Utc>,
    /// Settings the session changed, PostgreSQL names only, in the order they must be applied.
    pub settings: Vec<(String, String)>,
    /// Rows of the live relations, as JSON arrays of objects keyed by column, e.g. for `pg_stat_activity`.
    pub live: Arc<LiveRelations>,
}

/// The gateway's own state behind the live relations; each a JSON array of objects keyed by column name.
#[derive(Debug, Clone, Default)]
pub struct LiveRelations {
    /// `pg_stat_activity`.
    pub activity: Vec<serde_json::Value>,
    /// `pg_cursors`.
    pub cursors: Vec<serde_json::Value>,
    /// `pg_prepared_statements`.
    pub prepared: Vec<serde_json::Value>,
}

/// How the client sent the statement.
#[derive(Debug, Clone)]
pub enum RelayMode {
    /// One statement of a simple query: text results.
    Simple,
    /// Bind and Execute of a prepared statement.
    Extended {
        /// Parameter types the client fixed in Parse; 0 leaves one to the server.
        param_oids: Vec<u32>,
        /// Bind's parameter formats as sent (none, one, or one per parameter).
        param_formats: Vec<i16>,
        /// Bind's values as sent; `None` is NULL.
        params: Vec<Option<Bytes>>,
        /// Bind's result formats as sent.
        result_formats: Vec<i16>,
    },
}

/// One catalog statement to answer.
#[derive(Debug, Clone)]
pub struct RelayRequest {
    /// The client's text of one statement.
    pub sql: Arc<str>,
    /// Characters before it in the client's message, added to error positions.
    pub position_offset: usize,
    /// Simple or extended.
    pub mode: RelayMode,
    /// The session.
    pub session: Arc<SessionView>,
}

/// The server's frames, complete (type byte, length, body), untouched unless a position had to be moved.
#[derive(Debug, Clone, Default)]
pub struct RelayReply {
    /// NoticeResponse frames, in order.
    pub notices: Vec<Bytes>,
    /// RowDescription; `None` when the statement returns no rows.
    pub row_description: Option<Bytes>,
    /// DataRow frames.
    pub rows: Vec<Bytes>,
    /// CommandComplete, e.g. `SELECT 3`; for a result sent in slices the caller counts anew.
    pub complete: Option<Bytes>,
    /// ErrorResponse: whatever came before it must still be sent first.
    pub error: Option<ErrorFrame>,
    /// `set_config` calls that were evaluated, in order: the session must apply them.
    pub settings: Vec<SetConfig>,
}

/// An ErrorResponse as bytes and as fields.
#[derive(Debug, Clone)]
pub struct ErrorFrame {
    /// The frame to send.
    pub frame: Bytes,
    /// Its content.
    pub error: StatementError,
}

/// One evaluated `set_config(name, value, is_local)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetConfig {
    /// Setting.
    pub name: String,
    /// New value; `None` resets it.
    pub value: Option<String>,
    /// Whether it ends with the transaction.
    pub local: bool,
}

/// One statement to describe; nothing is executed.
#[derive(Debug, Clone)]
pub struct DescribeRequest {
    /// The client's text of one statement.
    pub sql: Arc<str>,
    /// Characters before it in the client's message, added to error positions.
    pub position_offset: usize,
    /// Parameter types the client fixed; 0 leaves one to the server.
    pub param_oids: Vec<u32>,
    /// The session.
    pub session: Arc<SessionView>,
}

/// PostgreSQL's own description of a statement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Description {
    /// Type of each parameter.
    pub param_oids: Vec<u32>,
    /// Result columns; `None` when the statement returns no rows.
    pub columns: Option<Vec<DescribedColumn>>,
    /// ParameterDescription frame.
    pub parameter_frame: Bytes,
    /// RowDescription frame (all formats 0), or NoData.
    pub row_frame: Bytes,
}

/// One field of a RowDescription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedColumn {
    /// Name.
    pub name: String,
    /// OID of the table it comes from, or 0.
    pub table_oid: u32,
    /// Number in that table, or 0.
    pub attnum: i16,
    /// Type.
    pub type_oid: u32,
    /// `typlen`.
    pub type_len: i16,
    /// `atttypmod`, -1 for none.
    pub typmod: i32,
}

/// The running shadow. Cheap to clone through [`Arc`]; all methods may be called concurrently and take turns.
#[derive(Debug)]
pub struct Shadow {
    config: ShadowConfig,
}

impl Shadow {
    /// Starts the child and waits until it answers.
    ///
    /// # Errors
    /// 58000 when the child cannot be started or does not answer.
    #[expect(clippy::unused_async, reason = "the connection is made here")]
    pub async fn open(config: ShadowConfig) -> Result<Arc<Self>, StatementError> {
        Ok(Arc::new(Self { config }))
    }

    /// Makes the shadow equal to the model in one DDL transaction; returns whether anything had to change.
    ///
    /// # Errors
    /// 58000 when the child is down, XX000 when the server refuses the DDL (nothing is changed then).
    #[expect(clippy::unused_async, reason = "the server is asked here")]
    pub async fn ensure(&self, model: &MirrorModel) -> Result<bool, StatementError> {
        let _ = model;
        Err(StatementError::restarting())
    }

    /// Answers one catalog statement. A failing statement is an `Ok` reply with an ErrorResponse in it.
    ///
    /// # Errors
    /// 57014 over the deadline, 58000 when the catalog is down for more than 5 s, 54000 for a result over
    /// 64 MiB or 200,000 rows, 42501 for what the walls refuse, 0A000 when the statement reads a mirrored relation.
    #[expect(clippy::unused_async, reason = "the server is asked here")]
    pub async fn relay(&self, request: RelayRequest) -> Result<RelayReply, StatementError> {
        let _ = request;
        Err(StatementError::restarting())
    }

    /// Describes a statement as PostgreSQL would, without running it.
    ///
    /// # Errors
    /// What PostgreSQL answers (42601, 42P01, 42703 … with position and hint), or 58000 when the catalog is down.
    #[expect(clippy::unused_async, reason = "the server is asked here")]
    pub async fn describe(&self, request: DescribeRequest) -> Result<Arc<Description>, StatementError> {
        let _ = request;
        Err(StatementError::restarting())
    }

    /// Ends the child in an orderly way.
    #[expect(clippy::unused_async, reason = "the child is waited for here")]
    pub async fn shutdown(&self) {
        let _ = &self.config;
    }
}
