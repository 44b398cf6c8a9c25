//! Connections to one PostgreSQL: the single one of an embedded server, or a few to a server elsewhere.
//!
//! Both lend a client for exclusive use. A lease to a remote server that is dropped without release is closed, never
//! reused: a late cancel would hit whatever ran on it next.

use std::fmt;
use std::num::NonZeroU16;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::ExposeSecret as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::config::SslMode;
use tokio_postgres::{AsyncMessage, CancelToken, Client, Config, Connection, NoTls};
use tracing::debug;

use super::error::unreachable_or;
use super::probe::fingerprint;
use super::server_error;
use super::tls::{Authority, PostgresTls, Tls};
use crate::config::PostgresConfig;
use crate::embedded::{EmbeddedPostgres, Lease};
use crate::federation::{QueryId, Slot, Slots};
use crate::kills::{KillCount, Kills};
use crate::limits::SlotWait;
use crate::secret::SecretRef;
use crate::source::{SourceError, SourceErrorKind, SourceName};

/// Connections to one remote server at most, unless its configuration says otherwise.
pub(crate) const CONNECTIONS: NonZeroU16 = NonZeroU16::MIN.saturating_add(3);
/// Transactions that hold a snapshot at once, beyond the number of reading connections.
const HOLDERS: usize = 8;
/// Time in which a server says whether it is there.
const ANSWER: Duration = Duration::from_secs(5);
/// Time for one attempt to connect.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where connections come from. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub enum PostgresPool {
    /// An embedded server: one connection for everybody.
    Embedded(EmbeddedPostgres),
    /// A server elsewhere.
    Remote(RemotePool),
}

impl PostgresPool {
    /// A pool for a server elsewhere. Contacts nobody.
    ///
    /// # Errors
    /// `Unsupported` if the configuration demands TLS: that needs an authority, which only a [`PostgresConfig`] names.
    pub fn remote(name: &SourceName, config: Config) -> Result<Self, SourceError> {
        Self::with_connections(name, config, CONNECTIONS)
    }

    /// As [`PostgresPool::remote`], with so many connections at most.
    ///
    /// # Errors
    /// As [`PostgresPool::remote`].
    pub fn with_connections(
        name: &SourceName,
        config: Config,
        connections: NonZeroU16,
    ) -> Result<Self, SourceError> {
        Self::with_slots(name, config, connections, SlotWait::default())
    }

    /// As [`PostgresPool::with_connections`]; a query waits that long for one of them.
    ///
    /// # Errors
    /// As [`PostgresPool::remote`].
    pub fn with_slots(
        name: &SourceName,
        config: Config,
        connections: NonZeroU16,
        wait: SlotWait,
    ) -> Result<Self, SourceError> {
        Self::with_secret(name, config, None, None, (connections, wait))
    }

    /// A pool for a configured server. Contacts nobody; the password is read at each connect, so it may rotate.
    ///
    /// # Errors
    /// As [`PostgresPool::remote`].
    pub fn configured(name: &SourceName, config: &PostgresConfig) -> Result<Self, SourceError> {
        let PostgresConfig {
            host,
            port,
            database,
            user,
            password,
            schema: _,
            tls,
            tls_ca,
            connections,
            limits,
            fallback: _,
            tables: _,
            columns: _,
        } = config;
        let mut parsed = Config::new();
        parsed.host(host).port(*port).dbname(database).user(user);
        let authority = match (tls, tls_ca) {
            (PostgresTls::Disable, _) => None,
            (PostgresTls::VerifyFull, Some(file)) => Some(Authority { file: file.clone(), of_host: true }),
            (PostgresTls::VerifyCa, Some(file)) => Some(Authority { file: file.clone(), of_host: false }),
            (PostgresTls::VerifyFull | PostgresTls::VerifyCa, None) => {
                let word = if *tls == PostgresTls::VerifyFull { "verify-full" } else { "verify-ca" };
                let message = format!("source \"{name}\" has tls: {word} and no tls_ca");
                return Err(SourceError::new(SourceErrorKind::Unsupported, message)
                    .with_source(name)
                    .with_hint("tls_ca names the file with the authority's certificate, in PEM"));
            }
        };
        Self::with_secret(name, parsed, password.clone(), authority, (*connections, limits.slot_wait))
    }

    fn with_secret(
        name: &SourceName,
        mut config: Config,
        password: Option<SecretRef>,
        authority: Option<Authority>,
        (connections, wait): (NonZeroU16, SlotWait),
    ) -> Result<Self, SourceError> {
        if config.get_ssl_mode() == SslMode::Require {
            let message = format!("source \"{name}\" demands TLS by sslmode, which names no authority");
            return Err(SourceError::new(SourceErrorKind::Unsupported, message)
                .with_source(name)
                .with_hint("write tls: verify-full and tls_ca in the port's file"));
        }
        let mode = if authority.is_some() { SslMode::Require } else { SslMode::Disable };
        let connections = usize::from(connections.get());
        config.ssl_mode(mode).connect_timeout(CONNECT_TIMEOUT).application_name("portolan");
        Ok(Self::Remote(RemotePool {
            shared: Arc::new(Shared {
                name: name.clone(),
                config,
                password,
                authority,
                idle: Mutex::default(),
                slots: Slots::new(name, connections, wait),
                holders: Slots::new(name, connections + HOLDERS, wait),
                kills: KillCount::default(),
            }),
        }))
    }

    /// Lends a client. Waits for a free connection, for as long as it takes.
    ///
    /// # Errors
    /// `Unreachable` or `Auth` if there is no connection to be had; `Unsupported` if the server's
    /// settings make our text unsafe.
    pub async fn lease(&self) -> Result<PoolLease, SourceError> {
        self.lease_of(None).await
    }

    /// As [`PostgresPool::lease`], for a query, which waits for as long as it may.
    ///
    /// # Errors
    /// As [`PostgresPool::lease`]; `Busy` if no connection was free in time.
    pub(super) async fn lease_for(&self, query: QueryId) -> Result<PoolLease, SourceError> {
        self.lease_of(Some(query)).await
    }

    async fn lease_of(&self, query: Option<QueryId>) -> Result<PoolLease, SourceError> {
        match self {
            Self::Embedded(embedded) => Ok(PoolLease(Kind::Embedded(embedded.lease().await?))),
            Self::Remote(remote) => {
                let slot = remote.shared.slots.acquire(query).await?;
                Ok(PoolLease(Kind::Remote(remote.lease_in(slot).await?)))
            }
        }
    }

    /// A reading connection if one can be had without waiting for anybody.
    pub(super) async fn lease_if_free(&self, query: QueryId) -> Option<PoolLease> {
        let Self::Remote(remote) = self else { return None };
        let slot = remote.shared.slots.try_acquire(Some(query))?;
        remote.lease_in(slot).await.ok().map(|lease| PoolLease(Kind::Remote(lease)))
    }

    /// A connection beside the reading ones, for a transaction that only holds a snapshot.
    ///
    /// # Errors
    /// As [`PostgresPool::lease_for`].
    pub(super) async fn lease_beside(&self, query: QueryId) -> Result<PoolLease, SourceError> {
        match self {
            Self::Embedded(_) => self.lease().await,
            Self::Remote(remote) => {
                let slot = remote.shared.holders.acquire(Some(query)).await?;
                Ok(PoolLease(Kind::Remote(remote.lease_in(slot).await?)))
            }
        }
    }

    /// Whether the server answers on a connection made for asking, within [`ANSWER`]. An error of the server's own is
    /// an answer.
    ///
    /// # Errors
    /// `Unreachable` if nothing comes.
    pub(super) async fn answers(&self) -> Result<(), SourceError> {
        let Self::Remote(remote) = self else { return Ok(()) };
        let shared = &remote.shared;
        let asking = async {
            let connected = connect(shared).await?;
            connected
                .client
                .simple_query("SELECT 1")
                .await
                .map_err(|error| server_error(Some(&shared.name), "ask", error))
        };
        match tokio::time::timeout(ANSWER, asking).await {
            Ok(Err(error)) if error.remote_code.is_none() => Err(error),
            Ok(_) => Ok(()),
            Err(_elapsed) => Err(no_answer(&shared.name)),
        }
    }

    /// Tells pools apart that go by the same name.
    pub(super) fn identity(&self) -> String {
        match self {
            Self::Embedded(_) => "embedded".to_owned(),
            Self::Remote(remote) => format!("{:p}", Arc::as_ptr(&remote.shared)),
        }
    }

    /// The slots of reading statements; an embedded server's answers are drained before anybody else waits.
    pub(super) fn slots(&self) -> Option<Slots> {
        match self {
            Self::Embedded(_) => None,
            Self::Remote(remote) => Some(remote.shared.slots.clone()),
        }
    }

    /// What became of statements that were stopped; an embedded server's are not.
    pub(super) fn kills(&self) -> Kills {
        match self {
            Self::Embedded(_) => Kills::default(),
            Self::Remote(remote) => remote.shared.kills.so_far(),
        }
    }

    /// Whether all users share one connection.
    #[must_use]
    pub fn is_embedded(&self) -> bool {
        matches!(self, Self::Embedded(_))
    }
}

/// Exclusive use of a connection; dereferences to the client. See [`Lease`] for what release means.
#[derive(Debug)]
pub struct PoolLease(Kind);

#[derive(Debug)]
enum Kind {
    Embedded(Lease),
    Remote(RemoteLease),
}

impl PoolLease {
    /// Hands the connection on: everything was awaited, no transaction is open, no setting was changed.
    pub fn release(self) {
        match self.0 {
            Kind::Embedded(lease) => lease.release(),
            Kind::Remote(lease) => lease.release(),
        }
    }

    /// What the server said of itself when the connection was made, empty if it would not; `None` of an embedded one.
    pub(super) fn fingerprint(&self) -> Option<&str> {
        match &self.0 {
            Kind::Embedded(_) => None,
            Kind::Remote(lease) => Some(&lease.connected.fingerprint),
        }
    }
}

/// Cancels what runs on one connection, from outside.
pub(super) struct Canceller {
    token: CancelToken,
    shared: Option<Arc<Shared>>,
}

impl Canceller {
    /// Sends the request, encrypted as the connection is. An answer says only that it arrived.
    pub(super) async fn cancel(&self) -> Result<(), SourceError> {
        let name = self.shared.as_ref().map(|shared| &shared.name);
        let tls = match &self.shared {
            Some(shared) => shared.tls().await?,
            None => None,
        };
        let sent = match tls {
            Some(tls) => self.token.cancel_query(tls).await,
            None => self.token.cancel_query(NoTls).await,
        };
        sent.map_err(|error| server_error(name, "cancel a statement", error))
    }

    /// Counts a statement that was stopped, and whether its end was seen.
    pub(super) fn note(&self, seen: bool) {
        if let Some(shared) = &self.shared {
            shared.kills.note(seen);
        }
    }
}

impl PoolLease {
    /// Can cancel what will run on this connection.
    pub(super) fn canceller(&self) -> Canceller {
        let shared = match &self.0 {
            Kind::Embedded(_) => None,
            Kind::Remote(lease) => Some(Arc::clone(&lease.shared)),
        };
        Canceller { token: self.cancel_token(), shared }
    }
}

impl Deref for PoolLease {
    type Target = Client;

    fn deref(&self) -> &Client {
        match &self.0 {
            Kind::Embedded(lease) => lease,
            Kind::Remote(lease) => &lease.connected.client,
        }
    }
}

impl DerefMut for PoolLease {
    fn deref_mut(&mut self) -> &mut Client {
        match &mut self.0 {
            Kind::Embedded(lease) => lease,
            Kind::Remote(lease) => &mut lease.connected.client,
        }
    }
}

/// Connections to one remote server.
#[derive(Debug, Clone)]
pub struct RemotePool {
    shared: Arc<Shared>,
}

struct Shared {
    name: SourceName,
    config: Config,
    password: Option<SecretRef>,
    /// The authority that signs the server's certificate; without one nothing is encrypted.
    authority: Option<Authority>,
    idle: Mutex<Vec<Connected>>,
    slots: Slots,
    /// Slots of transactions that hold a snapshot for leaves that have not begun.
    holders: Slots,
    kills: KillCount,
}

impl Shared {
    /// The configuration with its password, which is read now, so it may rotate.
    fn complete(&self) -> Result<Config, SourceError> {
        let mut config = self.config.clone();
        if let Some(secret) = &self.password {
            config.password(secret.resolve()?.expose_secret());
        }
        Ok(config)
    }

    async fn tls(&self) -> Result<Option<Tls>, SourceError> {
        match &self.authority {
            Some(authority) => Tls::trusting(&self.name, authority).await.map(Some),
            None => Ok(None),
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The configuration holds a password.
        f.debug_struct("Shared").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A connection, and what its server said of itself when it was made.
#[derive(Debug)]
struct Connected {
    client: Client,
    fingerprint: String,
}

#[derive(Debug)]
struct RemoteLease {
    connected: Connected,
    shared: Arc<Shared>,
    _slot: Slot,
}

impl RemoteLease {
    fn release(self) {
        let Self { connected, shared, _slot } = self;
        shared.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connected);
    }
}

impl RemotePool {
    /// The source's name, and all that one connection needs: its password included, and the authority if it is to be
    /// encrypted.
    pub(super) fn target(&self) -> Result<(SourceName, Config, Option<Authority>), SourceError> {
        Ok((self.shared.name.clone(), self.shared.complete()?, self.shared.authority.clone()))
    }

    async fn lease_in(&self, slot: Slot) -> Result<RemoteLease, SourceError> {
        let shared = Arc::clone(&self.shared);
        loop {
            let idle = shared.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            match idle {
                Some(connected) if connected.client.is_closed() => {}
                Some(connected) => return Ok(RemoteLease { connected, shared, _slot: slot }),
                None => break,
            }
        }
        let connected = connect(&shared).await?;
        Ok(RemoteLease { connected, shared, _slot: slot })
    }
}

async fn connect(shared: &Shared) -> Result<Connected, SourceError> {
    let name = &shared.name;
    let config = shared.complete()?;
    let dialling = async {
        match shared.tls().await? {
            Some(tls) => {
                let dialled = config.connect(tls).await;
                let (client, connection) = dialled.map_err(|error| unreachable_or(name, error))?;
                watch(name, connection)?;
                Ok(client)
            }
            None => {
                let dialled = config.connect(NoTls).await;
                let (client, connection) = dialled.map_err(|error| unreachable_or(name, error))?;
                watch(name, connection)?;
                Ok(client)
            }
        }
    };
    // The driver's own limit is per address and covers only the dialling.
    let dialled = tokio::time::timeout(CONNECT_TIMEOUT * 2, dialling).await;
    let client: Client = dialled.map_err(|_elapsed| no_answer(name))??;
    client
        .batch_execute("SET timezone = 'UTC'; SET datestyle = 'ISO, MDY'; SET extra_float_digits = 1")
        .await
        .map_err(|error| server_error(Some(name), "prepare a connection", error))?;
    let fingerprint = fingerprint(&client)
        .await
        .map_err(|error| server_error(Some(name), "prepare a connection", error))?;
    Ok(Connected { client, fingerprint })
}

/// Checks what a new connection's server said of itself, and drives the connection until it ends.
fn watch<S, T>(name: &SourceName, mut connection: Connection<S, T>) -> Result<(), SourceError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    for (parameter, wanted) in [("standard_conforming_strings", "on"), ("server_encoding", "UTF8")] {
        if connection.parameter(parameter) != Some(wanted) {
            let message = format!("source \"{name}\" runs without {parameter} = {wanted}");
            return Err(SourceError::new(SourceErrorKind::Unsupported, message).with_source(name));
        }
    }
    let source = name.clone();
    tokio::spawn(async move {
        while let Some(event) = std::future::poll_fn(|context| connection.poll_message(context)).await {
            match event {
                Ok(AsyncMessage::Notice(notice)) => {
                    debug!(source = %source, notice = %notice.message(), "notice")
                }
                Ok(_) => {}
                Err(error) => {
                    debug!(source = %source, error = %error, "connection ended");
                    return;
                }
            }
        }
    });
    Ok(())
}

pub(super) fn no_answer(name: &SourceName) -> SourceError {
    SourceError::new(SourceErrorKind::Unreachable, format!("source \"{name}\" did not answer in time"))
        .with_source(name)
        .with_hint(format!("check that the service of sources.{name} runs; see system.sources"))
}
