//! Connections to one server: a few that read, each lent to one stream at a time, and one kept for cancelling.
//!
//! A connection comes back only when its statement has ended and everything was read. Any other one is closed: a
//! late cancel would hit whatever ran on it next, and the driver would read the rest of the answer first.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error, Opts, OptsBuilder, Row, SslOpts};
use secrecy::ExposeSecret as _;
use tokio::time::timeout;
use tracing::debug;

use super::config::{MysqlConfig, MysqlTls};
use super::error::{is_cut, is_tls, server_error};
use super::introspect::text;
use super::session::{self, Server};
use crate::asof::SourceVersion;
use crate::federation::{QueryId, Slot, Slots};
use crate::kills::{KillCount, Kills};
use crate::secret::SecretRef;
use crate::source::{SourceError, SourceErrorKind, SourceName};

/// Time for one attempt to connect, log in and take the session's settings.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for a cancel, a ping, a farewell.
const SHORT: Duration = Duration::from_secs(1);
/// Time between two looks whether a statement has ended.
const LOOK: Duration = Duration::from_millis(20);
/// A connection that rested longer is tried before it is lent.
const RESTED: Duration = Duration::from_secs(2);
/// Largest packet taken from a server, bytes; a server sends what it was allowed to store.
const MAX_PACKET: usize = 1024 * 1024 * 1024;
/// The server's number for "no such thread": the statement to cancel has ended.
const NO_SUCH_THREAD: u16 = 1094;

/// Where connections come from. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    name: SourceName,
    options: Opts,
    password: Option<SecretRef>,
    idle: Mutex<Vec<Rested>>,
    slots: Slots,
    /// Cancels and tells health; never reads tables.
    control: tokio::sync::Mutex<Option<Connection>>,
    kills: KillCount,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("name", &self.name).finish_non_exhaustive()
    }
}

struct Connection {
    conn: Conn,
    server: Server,
    /// Milliseconds a statement may take at the server; 0 is no limit.
    limit: u64,
}

struct Rested {
    connection: Connection,
    since: Instant,
}

/// Exclusive use of a connection. Ends with [`Lease::release`] or [`Lease::close`].
pub(super) struct Lease {
    connection: Connection,
    pool: Pool,
    /// It was used before, and may be gone meanwhile.
    rested: bool,
    _slot: Slot,
}

impl Pool {
    /// A pool for a configured server. Contacts nobody; the password is read at each connect, so it may rotate.
    pub(super) fn new(name: &SourceName, config: &MysqlConfig) -> Self {
        let tls = tls(config);
        let options = OptsBuilder::default()
            .ip_or_hostname(config.host.clone())
            .tcp_port(config.port)
            .db_name(Some(config.database.clone()))
            .user(Some(config.user.clone()))
            .prefer_socket(false)
            // Every statement carries its query's tag, so none comes twice.
            .stmt_cache_size(0_usize)
            .max_allowed_packet(Some(MAX_PACKET))
            .wait_timeout(Some(0))
            .ssl_opts(tls);
        let shared = Shared {
            name: name.clone(),
            options: options.into(),
            password: config.password.clone(),
            idle: Mutex::default(),
            slots: Slots::new(name, usize::from(config.connections.get()), config.limits.slot_wait),
            control: tokio::sync::Mutex::default(),
            kills: KillCount::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Lends a connection. Waits for a free one: a query for as long as it may, everybody else for as long as it takes.
    async fn lease(&self, query: Option<QueryId>) -> Result<Lease, SourceError> {
        let shared = &self.shared;
        let slot = shared.slots.acquire(query).await?;
        loop {
            let rested = shared.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(Rested { mut connection, since }) = rested else { break };
            // Whoever asks for the version at once notices by that.
            let alive = (since.elapsed() < RESTED && connection.server.gtids)
                || matches!(timeout(SHORT, connection.conn.ping()).await, Ok(Ok(())));
            if alive {
                return Ok(Lease { connection, pool: self.clone(), rested: true, _slot: slot });
            }
            close(connection.conn).await;
        }
        let connection = shared.connect().await?;
        self.reserve_control();
        Ok(Lease { connection, pool: self.clone(), rested: false, _slot: slot })
    }

    /// Lends a connection that has just told the server's version, with a time its next statement may take. One that
    /// rested and is gone is replaced.
    pub(super) async fn ready(
        &self,
        deadline: Option<Instant>,
        query: Option<QueryId>,
    ) -> Result<(Lease, SourceVersion), SourceError> {
        loop {
            let mut lease = self.lease(query).await?;
            let told = match lease.limit(deadline).await {
                Ok(()) => lease.version().await,
                Err(error) => Err(error),
            };
            match told {
                Ok(version) => return Ok((lease, version)),
                Err(error) => {
                    let again = lease.rested && error.kind == SourceErrorKind::Unreachable;
                    lease.close().await;
                    if !again {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Free reading slots; for tests and status.
    pub(super) fn free_slots(&self) -> usize {
        self.shared.slots.free()
    }

    /// The slots of reading statements.
    pub(super) fn slots(&self) -> Slots {
        self.shared.slots.clone()
    }

    /// Opens the connection that cancels, so that a server without free connections can still be told to stop.
    fn reserve_control(&self) {
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let mut control = shared.control.lock().await;
            if control.is_none() {
                match shared.connect().await {
                    Ok(connection) => *control = Some(connection),
                    Err(error) => {
                        debug!(source = %shared.name, error = %error, "no connection for cancelling")
                    }
                }
            }
        });
    }

    /// Stops the statement that runs on a connection, by its id.
    pub(super) async fn kill(&self, id: u32) -> Result<(), SourceError> {
        let killed = self.on_control(format!("KILL QUERY {id}")).await;
        match killed.map(drop) {
            Err(error)
                if error
                    .remote_code
                    .as_deref()
                    .is_some_and(|code| code.ends_with(&format!("/{NO_SUCH_THREAD}"))) =>
            {
                Ok(())
            }
            other => other,
        }
    }

    /// Looks until a connection runs nothing of a query any more, for as long as a cancel may take, and counts what was seen.
    ///
    /// # Errors
    /// `Unreachable` or `Timeout` if the server cannot be asked, which counts as not seen.
    pub(super) async fn see_end(&self, id: u32, query: QueryId) -> Result<bool, SourceError> {
        let until = Instant::now() + SHORT;
        let question = format!(
            "SELECT 1 FROM information_schema.processlist WHERE id = {id} AND info LIKE '%portolan/{query}/%'"
        );
        let seen = loop {
            match self.on_control(question.clone()).await {
                Ok(None) => break Ok(true),
                Ok(Some(_still_there)) if Instant::now() < until => tokio::time::sleep(LOOK).await,
                Ok(Some(_still_there)) => break Ok(false),
                Err(error) => break Err(error),
            }
        };
        self.note_kill(matches!(seen, Ok(true)));
        seen
    }

    /// Counts a statement that was stopped, and whether its end was seen.
    pub(super) fn note_kill(&self, seen: bool) {
        self.shared.kills.note(seen);
    }

    /// What became of statements that were stopped.
    pub(super) fn kills(&self) -> Kills {
        self.shared.kills.so_far()
    }

    /// Asks the server whether it answers, and for its version.
    pub(super) async fn ping(&self) -> Result<String, SourceError> {
        self.on_control("DO 1".into()).await?;
        let control = self.shared.control.lock().await;
        Ok(control.as_ref().map(|connection| connection.server.version.clone()).unwrap_or_default())
    }

    /// Runs a statement of one row at most on the reserved connection; reconnects once if that one was lost.
    async fn on_control(&self, statement: String) -> Result<Option<Row>, SourceError> {
        let shared = &self.shared;
        let mut control = shared.control.lock().await;
        let reused = control.is_some();
        let mut connection = match control.take() {
            Some(connection) => connection,
            None => shared.connect().await?,
        };
        let mut outcome = timeout(SHORT, connection.conn.query_first::<Row, _>(statement.as_str())).await;
        if reused && !matches!(&outcome, Ok(Ok(_) | Err(Error::Server(_)))) {
            close(connection.conn).await;
            connection = shared.connect().await?;
            outcome = timeout(SHORT, connection.conn.query_first::<Row, _>(statement.as_str())).await;
        }
        match outcome {
            Ok(Ok(row)) => {
                *control = Some(connection);
                Ok(row)
            }
            Ok(Err(error)) => {
                if matches!(error, Error::Server(_)) {
                    *control = Some(connection);
                }
                Err(server_error(&shared.name, "reach the server", error))
            }
            Err(_elapsed) => Err(shared.no_answer()),
        }
    }
}

impl Shared {
    fn no_answer(&self) -> SourceError {
        let message = format!("source \"{}\" did not answer in time", self.name);
        SourceError::new(SourceErrorKind::Timeout, message).with_source(&self.name)
    }

    async fn connect(&self) -> Result<Connection, SourceError> {
        let mut options = OptsBuilder::from_opts(self.options.clone());
        if let Some(secret) = &self.password {
            options = options.pass(Some(secret.resolve()?.expose_secret()));
        }
        let connecting = async {
            let mut conn = Conn::new(options).await.map_err(|error| self.unreachable_or(error))?;
            let server = session::prepare(&mut conn, &self.name).await?;
            Ok(Connection { conn, server, limit: 0 })
        };
        timeout(CONNECT_TIMEOUT, connecting).await.map_err(|_elapsed| self.no_answer())?
    }

    fn unreachable_or(&self, error: Error) -> SourceError {
        let name = &self.name;
        match &error {
            Error::Io(_) if !is_tls(&error) => {
                let message = format!("source \"{name}\" is unreachable");
                SourceError::new(SourceErrorKind::Unreachable, message)
                    .with_source(name)
                    .with_hint(format!(
                        "check host and port of sources.{name} and that the service runs; see system.sources"
                    ))
                    .with_transient(is_cut(&error))
                    .with_cause(error)
            }
            _ => server_error(name, "connect", error),
        }
    }
}

impl Lease {
    /// The connection.
    pub(super) fn conn(&mut self) -> &mut Conn {
        &mut self.connection.conn
    }

    /// Whether the server is MariaDB.
    pub(super) fn is_maria(&self) -> bool {
        self.connection.server.maria
    }

    /// What the server said of itself when the connection was made.
    pub(super) fn fingerprint(&self) -> &str {
        &self.connection.server.fingerprint
    }

    /// The server's id of the connection.
    pub(super) fn id(&self) -> u32 {
        self.connection.conn.id()
    }

    /// Sets what the next statement may take at the server. Both servers stop it by themselves then.
    async fn limit(&mut self, deadline: Option<Instant>) -> Result<(), SourceError> {
        let left = deadline.map_or(0, |deadline| {
            let left = deadline.saturating_duration_since(Instant::now()).as_millis();
            u64::try_from(left).unwrap_or(u64::MAX).clamp(1, 2_000_000_000)
        });
        if left == self.connection.limit {
            return Ok(());
        }
        let statement = if self.connection.server.maria {
            format!("SET SESSION max_statement_time = {}.{:03}", left / 1_000, left % 1_000)
        } else {
            format!("SET SESSION max_execution_time = {left}")
        };
        let name = self.pool.shared.name.clone();
        self.conn()
            .query_drop(statement)
            .await
            .map_err(|error| server_error(&name, "set a deadline", error))?;
        self.connection.limit = left;
        Ok(())
    }

    /// The server's version of its data, as a lower bound of what the next statement sees: its set of GTIDs, or the
    /// time if it keeps none.
    async fn version(&mut self) -> Result<SourceVersion, SourceError> {
        if !self.connection.server.gtids {
            return Ok(SourceVersion::FetchedAt(chrono::Utc::now()));
        }
        let question = if self.connection.server.maria {
            "SELECT @@global.gtid_current_pos"
        } else {
            "SELECT @@global.gtid_executed"
        };
        let name = self.pool.shared.name.clone();
        let row: Option<Row> = self
            .conn()
            .query_first(question)
            .await
            .map_err(|error| server_error(&name, "ask for the version", error))?;
        let set: String = row.and_then(|row| text(&row, 0)).unwrap_or_default().split_whitespace().collect();
        if set.is_empty() {
            Ok(SourceVersion::FetchedAt(chrono::Utc::now()))
        } else {
            Ok(SourceVersion::Gtid(set))
        }
    }

    /// Hands the connection on: its statement has ended and everything was read.
    pub(super) fn release(self) {
        let Self { connection, pool, _slot, .. } = self;
        let rested = Rested { connection, since: Instant::now() };
        pool.shared.idle.lock().unwrap_or_else(PoisonError::into_inner).push(rested);
    }

    /// Closes the connection at once, whatever it was doing. Dropping it would read the rest of the answer first.
    pub(super) async fn close(self) {
        close(self.connection.conn).await;
    }
}

/// A name that no certificate has. The driver knows a certificate for another host by a text in the error, which names the
/// host that was dialled and no longer has the text by itself; so under this name it has it. Who signed the certificate is
/// checked before the name is, and in other words: an error without that text is refused.
const ANY_HOST: &str = "NotValidForName.invalid";

/// How connections are encrypted, if they are.
pub(super) fn tls(config: &MysqlConfig) -> Option<SslOpts> {
    if config.tls == MysqlTls::Disable {
        return None;
    }
    // The driver asks for the process's provider of cryptography. An error means it is chosen already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let unchecked = config.tls == MysqlTls::Required;
    let any_host = config.tls == MysqlTls::VerifyCa;
    let certificates: Vec<_> = config.tls_ca.iter().map(|path| path.clone().into()).collect();
    // Any host of a public authority would be anybody.
    let own = any_host || !certificates.is_empty();
    Some(
        SslOpts::default()
            .with_root_certs(certificates)
            .with_disable_built_in_roots(own)
            .with_danger_accept_invalid_certs(unchecked)
            .with_danger_skip_domain_validation(any_host)
            .with_danger_tls_hostname_override(any_host.then_some(ANY_HOST)),
    )
}

async fn close(conn: Conn) {
    if timeout(SHORT, conn.disconnect()).await.is_err() {
        debug!("a connection was cut without farewell");
    }
}
