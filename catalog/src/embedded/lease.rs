//! The one connection to an embedded server, lent out one lease at a time, in the order of asking.
//!
//! A lease may be dropped anywhere: in mid-statement, in mid-COPY, inside a transaction. The next holder must not
//! notice. So a lease that is not released in order is settled in the background first: the server gets a moment to
//! finish and roll back, and is killed and restarted if it does not, because the embedded server knows no cancel.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, SimpleQueryMessage};
use tracing::{debug, info};

use super::{EmbeddedConfig, EmbeddedProcess, TEMPLATE_DATABASE};
use crate::postgres::{quote_identifier, server_error};
use crate::source::{SourceError, SourceErrorKind, SourceName};

/// What an abandoned statement may still take. Waiting longer costs more than the restart (0.7 to 1.3 s).
const SETTLE_GRACE: Duration = Duration::from_millis(700);

/// A connection that is not answered by then means the listener is gone or busy with a lost client.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// Attempts to get a working connection before a caller sees the error.
const CONNECT_ATTEMPTS: u32 = 3;

#[derive(Debug, Default)]
struct Slot {
    client: Option<Client>,
    /// Set when a lease ended out of order and nobody could settle it.
    unsettled: bool,
}

#[derive(Debug)]
struct Inner {
    process: EmbeddedProcess,
    slot: Arc<Mutex<Slot>>,
}

/// An embedded server and the only connection to it. Cheap to clone; all clones share the connection.
#[derive(Debug, Clone)]
pub struct EmbeddedPostgres {
    inner: Arc<Inner>,
}

impl EmbeddedPostgres {
    /// Starts the child, creates the database if it is missing, and connects.
    ///
    /// # Errors
    /// `Conflict` if another process holds the data directory, otherwise `Unreachable`.
    pub async fn start(config: EmbeddedConfig) -> Result<Self, SourceError> {
        let process = EmbeddedProcess::start(config).await?;
        let inner = Arc::new(Inner { process, slot: Arc::default() });
        let postgres = Self { inner };
        postgres.lease().await?.release();
        Ok(postgres)
    }

    /// The supervised child.
    #[must_use]
    pub fn process(&self) -> &EmbeddedProcess {
        &self.inner.process
    }

    /// Waits for its turn and lends the connection. A dead server or connection is replaced first.
    ///
    /// # Errors
    /// `Unreachable` if the server cannot be started or does not answer.
    pub async fn lease(&self) -> Result<Lease, SourceError> {
        let mut slot = Arc::clone(&self.inner.slot).lock_owned().await;
        if std::mem::take(&mut slot.unsettled) {
            settle(&self.inner, &mut slot).await;
        }
        let client = match slot.client.take() {
            Some(client) if !client.is_closed() && self.inner.process.is_alive().await => client,
            lost => {
                drop(lost);
                self.reconnect().await?
            }
        };
        Ok(Lease { slot: Some(slot), client: Some(client), inner: Arc::clone(&self.inner), clean: false })
    }

    /// Runs `work` while nobody else is connected. It is given the directory of the socket and the database, dials by
    /// itself, and must have hung up when it ends.
    ///
    /// # Errors
    /// As [`EmbeddedPostgres::lease`], and what `work` gives.
    pub(crate) async fn alone<T, F>(&self, work: impl FnOnce(PathBuf, String) -> F) -> Result<T, SourceError>
    where
        F: Future<Output = Result<T, SourceError>>,
    {
        let mut lease = self.lease().await?;
        // The server takes the next connection when this one has ended.
        drop(lease.client.take());
        lease.clean = true;
        let process = &self.inner.process;
        let directory = process.socket_path().parent().unwrap_or(Path::new("/")).to_owned();
        let outcome = work(directory, process.config().database.clone()).await;
        if outcome.as_ref().is_err_and(|error| error.kind == SourceErrorKind::Timeout) {
            // What it waits for would keep the next one waiting as well.
            process.kill().await;
        }
        drop(lease);
        outcome
    }

    /// Closes the connection and stops the child in order. Waits for the present lease.
    pub async fn shutdown(&self) {
        let mut slot = self.inner.slot.lock().await;
        drop(slot.client.take());
        self.inner.process.shutdown().await;
    }

    async fn reconnect(&self) -> Result<Client, SourceError> {
        let process = &self.inner.process;
        let mut attempt = 1;
        loop {
            let connected = async {
                process.ensure_running().await?;
                open_database(process).await
            };
            match connected.await {
                Ok(client) => return Ok(client),
                Err(error) if attempt >= CONNECT_ATTEMPTS || error.kind == SourceErrorKind::Conflict => {
                    return Err(error);
                }
                Err(error) => {
                    debug!(name = %process.config().name, error = %error, attempt, "reconnecting");
                    attempt += 1;
                    process.kill().await;
                }
            }
        }
    }
}

/// Exclusive use of the connection. Dereferences to the client.
///
/// Call [`Lease::release`] when all statements were awaited and no transaction is open: the connection is then
/// handed on at once. A lease that is merely dropped is rolled back, or its server is restarted, before the next
/// holder gets it; that is also how a running statement is stopped.
#[derive(Debug)]
pub struct Lease {
    slot: Option<OwnedMutexGuard<Slot>>,
    client: Option<Client>,
    inner: Arc<Inner>,
    clean: bool,
}

impl Lease {
    /// Hands the connection on as it is.
    pub fn release(mut self) {
        self.clean = true;
    }
}

impl Deref for Lease {
    type Target = Client;

    fn deref(&self) -> &Client {
        match &self.client {
            Some(client) => client,
            None => unreachable!("the client leaves a lease only when the lease is dropped"),
        }
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Client {
        match &mut self.client {
            Some(client) => client,
            None => unreachable!("the client leaves a lease only when the lease is dropped"),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(mut slot) = self.slot.take() else { return };
        slot.client = self.client.take();
        if self.clean {
            return;
        }
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                let inner = Arc::clone(&self.inner);
                runtime.spawn(async move { settle(&inner, &mut slot).await });
            }
            Err(_outside) => slot.unsettled = true,
        }
    }
}

/// Makes the connection fit for the next holder: rolled back and reset, or gone together with its server.
async fn settle(inner: &Inner, slot: &mut Slot) {
    let Some(client) = &slot.client else { return };
    let name = &inner.process.config().name;
    match tokio::time::timeout(SETTLE_GRACE, reset(client)).await {
        Ok(true) => return,
        Ok(false) => debug!(name = %name, "connection was lost in use"),
        Err(_elapsed) => info!(name = %name, "stopping an abandoned statement"),
    }
    slot.client = None;
    inner.process.kill().await;
}

/// Rolls back and resets; true if the answer is the answer to this very question. A server that answered something
/// twice would otherwise be taken for settled, and every later answer would belong to the statement before it.
async fn reset(client: &Client) -> bool {
    let nonce = uuid::Uuid::new_v4().simple().to_string();
    let question = format!("ROLLBACK; RESET ALL; RESET ROLE; SELECT '{nonce}'");
    match client.simple_query(&question).await {
        Ok(messages) => messages.iter().any(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0) == Some(nonce.as_str()),
            _ => false,
        }),
        Err(_) => false,
    }
}

/// Connects to the configured database, creating it on the first start.
async fn open_database(process: &EmbeddedProcess) -> Result<Client, SourceError> {
    let database = process.config().database.as_str();
    if database == TEMPLATE_DATABASE {
        return connect(process, database).await;
    }
    // The server says nothing useful about a missing database, so the data directory remembers.
    let marker = process.config().data_dir.join(format!("database-{database}.created"));
    if !marker.exists() {
        let client = connect(process, TEMPLATE_DATABASE).await?;
        let exists = client
            .query_opt("SELECT 1 FROM pg_database WHERE datname = $1", &[&database])
            .await
            .map_err(|error| unanswered(process, error))?;
        if exists.is_none() {
            client
                .batch_execute(&format!("CREATE DATABASE {}", quote_identifier(database)))
                .await
                .map_err(|error| unanswered(process, error))?;
        }
        drop(client);
        std::fs::write(&marker, []).map_err(|error| {
            SourceError::new(
                SourceErrorKind::Unreachable,
                format!("cannot write to \"{}\"", marker.display()),
            )
            .with_cause(error)
        })?;
    }
    connect(process, database).await
}

async fn connect(process: &EmbeddedProcess, database: &str) -> Result<Client, SourceError> {
    let connecting = async {
        let stream = UnixStream::connect(process.socket_path()).await.map_err(|error| {
            SourceError::new(
                SourceErrorKind::Unreachable,
                format!("embedded database \"{}\" refused the connection", process.config().name),
            )
            .with_cause(error)
        })?;
        let mut config = Config::new();
        config.user("postgres").dbname(database);
        config.connect_raw(stream, NoTls).await.map_err(|error| unanswered(process, error))
    };
    let (client, mut connection) =
        tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.map_err(|_elapsed| {
            SourceError::new(
                SourceErrorKind::Timeout,
                format!("embedded database \"{}\" did not answer", process.config().name),
            )
        })??;
    for (parameter, wanted) in [("standard_conforming_strings", "on"), ("server_encoding", "UTF8")] {
        if connection.parameter(parameter) != Some(wanted) {
            return Err(SourceError::new(
                SourceErrorKind::Unsupported,
                format!(
                    "embedded database \"{}\" runs without {parameter} = {wanted}",
                    process.config().name
                ),
            ));
        }
    }
    let name = process.config().name.clone();
    tokio::spawn(async move {
        loop {
            match std::future::poll_fn(|context| connection.poll_message(context)).await {
                Some(Ok(AsyncMessage::Notice(notice))) => {
                    debug!(name = %name, message = %notice.message(), "notice");
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    debug!(name = %name, error = %error, "connection ended");
                    return;
                }
                None => return,
            }
        }
    });
    Ok(client)
}

fn unanswered(process: &EmbeddedProcess, error: tokio_postgres::Error) -> SourceError {
    let name = SourceName::try_new(&process.config().name).ok();
    server_error(name.as_ref(), "use the embedded database", error)
}
