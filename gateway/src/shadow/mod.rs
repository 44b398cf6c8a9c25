//! The shadow catalog: an embedded PostgreSQL that answers every catalog statement byte for byte.
//!
//! It mirrors names, types, keys, comments and rights of everything the gateway serves, and no row. It must never
//! answer a statement that reads a mirrored relation: the answer would be "no rows", a lie. The server runs in a
//! child process over one connection, because the embedded server takes one connection, ignores cancel and can only
//! be stopped by ending its process; whatever happens to it, data statements do not wait for it.

pub mod error;
mod frame;
mod mirror;
pub mod model;
mod relay;
mod rewrite;
mod server;
mod walls;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};

pub use error::StatementError;
use frame::Writer;
pub use model::{
    MirrorColumn, MirrorForeignKey, MirrorFunction, MirrorKind, MirrorModel, MirrorRole, MirrorSchema,
    MirrorTable,
};
use server::Server;

/// Where and how the shadow's child process runs.
#[derive(Debug, Clone)]
pub struct ShadowConfig {
    /// Directory of the cluster; kept between starts, so OIDs stay.
    pub data_dir: PathBuf,
    /// The `portolan` binary, which is run with `embedded-postgres`.
    pub executable: PathBuf,
    /// The mirrored database's name, which clients see.
    pub database: String,
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
    server: Arc<Server>,
    deadline: Duration,
    descriptions: Mutex<HashMap<DescriptionKey, Arc<Description>>>,
    /// Counts mirrors, so that no description outlives the schema it was made for.
    generation: AtomicU64,
}

/// (statement, parameter types, `search_path`, role, user, mirror).
type DescriptionKey = (Arc<str>, Vec<u32>, String, String, String, u64);

/// Remembered descriptions.
const MAX_DESCRIPTIONS: usize = 4096;

/// The DDL of a mirror of some hundred relations.
const MIRROR_DEADLINE: Duration = Duration::from_secs(60);

impl Shadow {
    /// Starts the child and waits until it answers.
    ///
    /// # Errors
    /// 58000 when the child cannot be started or does not answer.
    pub async fn open(config: ShadowConfig) -> Result<Arc<Self>, StatementError> {
        let server = Server::start(&config).await?;
        Ok(Arc::new(Self {
            server,
            deadline: config.deadline,
            descriptions: Mutex::default(),
            generation: AtomicU64::new(0),
        }))
    }

    /// Makes the shadow equal to the model in one DDL transaction; returns whether anything had to change.
    ///
    /// # Errors
    /// 58000 when the child is down, XX000 when the server refuses the DDL (nothing is changed then).
    pub async fn ensure(&self, model: &MirrorModel) -> Result<bool, StatementError> {
        let mut writer = Writer::default();
        writer.query(mirror::READ_STATE);
        let answers = self.server.exchange(writer, MIRROR_DEADLINE, "mirror").await?;
        let rows = server::rows(answers.iter().flatten())?;
        let memory = rows.first().and_then(|row| row.first()).and_then(Option::as_deref);
        let state = mirror::State::parse(memory);
        let digest = model.digest();
        if state.is(&digest) {
            return Ok(false);
        }
        let mut writer = Writer::default();
        writer.query(&mirror::plan(&state, model, digest));
        // After a failure the transaction is still open.
        writer.query("ROLLBACK");
        let answers = self.server.exchange(writer, MIRROR_DEADLINE, "mirror").await?;
        self.generation.fetch_add(1, Ordering::Relaxed);
        server::rows(answers.iter().flatten()).map_err(|error| {
            tracing::error!(sqlstate = %error.sqlstate, error = %error, "the shadow catalog refused the mirror");
            StatementError::new("XX000", format!("cannot mirror the catalog: {}", error.message))
        })?;
        Ok(true)
    }

    /// Answers one catalog statement. A failing statement is an `Ok` reply with an ErrorResponse in it.
    ///
    /// # Errors
    /// 57014 over the deadline, 58000 when the catalog is down for more than 5 s, 54000 for a result over
    /// 64 MiB or 200,000 rows, 0A000 for what the walls refuse and when the statement reads a mirrored relation.
    pub async fn relay(&self, request: RelayRequest) -> Result<RelayReply, StatementError> {
        let deadline = self.deadline_of(&request.session);
        relay::relay(&self.server, request, deadline).await
    }

    /// Describes a statement as PostgreSQL would, without running it.
    ///
    /// # Errors
    /// What PostgreSQL answers (42601, 42P01, 42703 … with position and hint), or 58000 when the catalog is down.
    pub async fn describe(&self, request: DescribeRequest) -> Result<Arc<Description>, StatementError> {
        let session = &request.session;
        let search_path = session.settings.iter().find(|(name, _)| name.eq_ignore_ascii_case("search_path"));
        let key = (
            Arc::clone(&request.sql),
            request.param_oids.clone(),
            search_path.map(|(_, value)| value.clone()).unwrap_or_default(),
            session.role.clone(),
            session.session_user.clone(),
            self.generation.load(Ordering::Relaxed),
        );
        if let Some(known) = self.descriptions.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(Arc::clone(known));
        }
        let deadline = self.deadline_of(session);
        let description = Arc::new(relay::describe(&self.server, &request, deadline).await?);
        if request.sql.len() <= 16 << 10 {
            let mut known = self.descriptions.lock().unwrap_or_else(PoisonError::into_inner);
            // Descriptions cost 0.1 ms: starting over is simpler than choosing which to forget.
            if known.len() >= MAX_DESCRIPTIONS {
                known.clear();
            }
            known.insert(key, Arc::clone(&description));
        }
        Ok(description)
    }

    /// The shorter of the shadow's deadline and the session's `statement_timeout`.
    fn deadline_of(&self, session: &SessionView) -> Duration {
        let timeout = session.settings.iter().find(|(name, _)| name == "statement_timeout");
        let timeout = timeout.and_then(|(_, value)| value.trim_end_matches("ms").trim().parse::<u64>().ok());
        match timeout {
            Some(millis) if millis > 0 => self.deadline.min(Duration::from_millis(millis)),
            _ => self.deadline,
        }
    }

    /// Process id of the child, for supervision and tests.
    pub async fn child_id(&self) -> Option<u32> {
        self.server.child_id().await
    }

    /// Ends the child in an orderly way.
    pub async fn shutdown(&self) {
        self.server.shutdown().await;
    }
}
