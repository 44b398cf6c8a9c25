//! The shadow's child process and the one connection to it.
//!
//! Every exchange runs in a task of its own that holds the connection, so a caller that goes away never leaves half an
//! answer in it. The embedded server ignores cancel and timeouts: the remedy for a statement over its deadline is to
//! end the process, and the next exchange starts it again (0.7 to 1.3 s).

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use portolan_catalog::embedded::{EmbeddedConfig, EmbeddedProcess};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tracing::{info, warn};

use super::frame::{self, Frame, Writer};
use super::{ShadowConfig, StatementError};

/// How long a statement waits for a catalog that is down or busy.
const WAIT: Duration = Duration::from_secs(5);

/// The first start unpacks the server.
const CONNECT: Duration = Duration::from_secs(60);

/// How long a statement that ended the server twice stays refused.
const BAN: Duration = Duration::from_secs(600);

/// Bytes of one answer.
const MAX_BYTES: usize = 64 << 20;

/// Rows of one answer.
const MAX_ROWS: usize = 200_000;

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    buffer: BytesMut,
}

#[derive(Debug)]
pub(super) struct Server {
    process: EmbeddedProcess,
    slot: Arc<Mutex<Option<Connection>>>,
    database: String,
    /// Statements that ended the server: how often and when last.
    offenders: StdMutex<HashMap<u64, (u32, Instant)>>,
}

enum Failure {
    Deadline,
    Lost(std::io::Error),
    TooLarge,
}

impl Server {
    pub(super) async fn start(config: &ShadowConfig) -> Result<Arc<Self>, StatementError> {
        let database = config.database.clone();
        let embedded = EmbeddedConfig {
            name: "shadow".to_owned(),
            data_dir: config.data_dir.clone(),
            executable: config.executable.clone(),
            database: database.clone(),
        };
        let process = EmbeddedProcess::start(embedded).await.map_err(|error| StatementError {
            hint: error.hint.clone(),
            ..StatementError::new("58000", error.message)
        })?;
        let server =
            Arc::new(Self { process, slot: Arc::default(), database, offenders: StdMutex::default() });
        let slot = Arc::clone(&server.slot).lock_owned().await;
        drop(server.connected(slot).await?);
        Ok(server)
    }

    /// Sends frames and returns the answer, one list of frames for each ReadyForQuery (which is left out).
    ///
    /// `statement` identifies what is run, for the count of those that ended the server.
    pub(super) async fn exchange(
        self: &Arc<Self>,
        writer: Writer,
        deadline: Duration,
        statement: &str,
    ) -> Result<Vec<Vec<Frame>>, StatementError> {
        let key = {
            let mut hasher = DefaultHasher::new();
            statement.hash(&mut hasher);
            hasher.finish()
        };
        self.check_offender(key)?;
        let give_up = Instant::now() + WAIT;
        let payload = writer.bytes.freeze();
        for attempt in 0..2 {
            let left = give_up.saturating_duration_since(Instant::now());
            let waiting = {
                let server = Arc::clone(self);
                async move {
                    let slot = Arc::clone(&server.slot).lock_owned().await;
                    // In a task: a caller that stops waiting must not break off the start.
                    let task = tokio::spawn(async move { server.connected(slot).await });
                    task.await.map_err(|_| StatementError::restarting())?
                }
            };
            let mut slot = match tokio::time::timeout(left.max(Duration::from_millis(10)), waiting).await {
                Ok(Ok(slot)) => slot,
                Ok(Err(error)) => {
                    warn!(error = %error, "the shadow catalog does not start");
                    return Err(StatementError::restarting());
                }
                Err(_elapsed) => return Err(StatementError::restarting()),
            };
            let server = Arc::clone(self);
            let (payload, ready) = (payload.clone(), writer.ready);
            let task = tokio::spawn(async move {
                let Some(mut connection) = slot.take() else {
                    return Err(Failure::Lost(std::io::ErrorKind::NotConnected.into()));
                };
                match tokio::time::timeout(deadline, talk(&mut connection, &payload, ready)).await {
                    Ok(Ok(answer)) => {
                        *slot = Some(connection);
                        Ok(answer)
                    }
                    Ok(Err(failure)) => {
                        if matches!(failure, Failure::TooLarge) {
                            *slot = Some(connection);
                        } else {
                            server.process.kill().await;
                        }
                        Err(failure)
                    }
                    Err(_elapsed) => {
                        server.process.kill().await;
                        Err(Failure::Deadline)
                    }
                }
            });
            match task.await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(Failure::TooLarge)) => {
                    return Err(StatementError::new(
                        "54000",
                        "catalog result is larger than 64 MiB or 200000 rows",
                    )
                    .with_hint("add a WHERE clause or a LIMIT"));
                }
                Ok(Err(Failure::Deadline)) => {
                    info!("ended the shadow catalog: a statement ran over its deadline");
                    self.count_offender(key);
                    return Err(StatementError::new("57014", "canceling statement due to statement timeout")
                        .with_hint("catalog statements may take 2 s"));
                }
                Ok(Err(Failure::Lost(error))) => info!(attempt, error = %error, "lost the shadow catalog"),
                Err(_panicked) => return Err(StatementError::restarting()),
            }
        }
        Err(StatementError::restarting())
    }

    fn check_offender(&self, key: u64) -> Result<(), StatementError> {
        let mut offenders = self.offenders.lock().unwrap_or_else(PoisonError::into_inner);
        offenders.retain(|_, (_, last)| last.elapsed() < BAN);
        match offenders.get(&key) {
            Some((times, _)) if *times >= 2 => {
                Err(StatementError::new("54001", "statement has exceeded the limits of the catalog twice")
                    .with_hint("simplify the statement; it is refused for 10 minutes"))
            }
            _ => Ok(()),
        }
    }

    fn count_offender(&self, key: u64) {
        let mut offenders = self.offenders.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = offenders.entry(key).or_insert((0, Instant::now()));
        *entry = (entry.0 + 1, Instant::now());
    }

    /// Makes sure that the slot holds a working connection.
    async fn connected(
        &self,
        mut slot: OwnedMutexGuard<Option<Connection>>,
    ) -> Result<OwnedMutexGuard<Option<Connection>>, StatementError> {
        if slot.is_some() && self.process.is_alive().await {
            return Ok(slot);
        }
        *slot = None;
        let mut last = StatementError::restarting();
        for _ in 0..3 {
            if let Err(error) = self.process.ensure_running().await {
                last = StatementError::new("58000", error.message);
                continue;
            }
            match tokio::time::timeout(CONNECT, self.open()).await {
                Ok(Ok(connection)) => {
                    *slot = Some(connection);
                    return Ok(slot);
                }
                Ok(Err(error)) => last = error,
                Err(_elapsed) => {}
            }
            self.process.kill().await;
        }
        Err(last)
    }

    /// Connects to the mirrored database, creating it in a fresh data directory.
    async fn open(&self) -> Result<Connection, StatementError> {
        // The server's only says "could not start" for a missing database, so the data directory remembers.
        let marker = self.process.config().data_dir.join(format!("shadow-{}.created", self.database));
        if !marker.exists() {
            let mut connection = self.dial("template1").await?;
            let exists = ask(
                &mut connection,
                &format!("SELECT 1 FROM pg_database WHERE datname = {}", literal(&self.database)),
            )
            .await?;
            if exists.is_empty() {
                ask(&mut connection, &format!("CREATE DATABASE {}", identifier(&self.database))).await?;
            }
            ask(&mut connection, "DROP DATABASE IF EXISTS postgres").await?;
            let mut writer = Writer::default();
            writer.terminate();
            let _ = connection.stream.write_all(&writer.bytes).await;
            drop(connection);
            std::fs::write(&marker, []).map_err(|error| {
                StatementError::new("58000", format!("cannot write to the data directory: {error}"))
            })?;
        }
        self.dial(&self.database).await
    }

    async fn dial(&self, database: &str) -> Result<Connection, StatementError> {
        let unreachable = |error: std::io::Error| {
            StatementError::new("58000", format!("the catalog does not answer: {}", error.kind()))
        };
        let stream = UnixStream::connect(self.process.socket_path()).await.map_err(unreachable)?;
        let mut connection = Connection { stream, buffer: BytesMut::new() };
        let mut writer = Writer::default();
        writer.startup("postgres", database);
        let answer = talk(&mut connection, &writer.bytes, 1).await.map_err(|failure| match failure {
            Failure::Lost(error) => unreachable(error),
            Failure::Deadline | Failure::TooLarge => StatementError::restarting(),
        })?;
        match answer.iter().flatten().find(|frame| frame.tag() == b'E') {
            Some(refusal) => Err(frame::error(refusal)),
            None => Ok(connection),
        }
    }

    pub(super) async fn child_id(&self) -> Option<u32> {
        self.process.process_id().await
    }

    pub(super) async fn shutdown(&self) {
        let slot = Arc::clone(&self.slot).lock_owned();
        if let Ok(mut slot) = tokio::time::timeout(Duration::from_secs(3), slot).await {
            if let Some(mut connection) = slot.take() {
                let mut writer = Writer::default();
                writer.terminate();
                let _ = connection.stream.write_all(&writer.bytes).await;
            }
            self.process.shutdown().await;
        } else {
            self.process.kill().await;
        }
    }
}

/// Writes and reads at the same time, so that neither side waits for the other's full buffer.
async fn talk(connection: &mut Connection, payload: &[u8], ready: usize) -> Result<Vec<Vec<Frame>>, Failure> {
    let Connection { stream, buffer } = connection;
    let (mut reader, mut writer) = stream.split();
    let send = async { writer.write_all(payload).await.map_err(Failure::Lost) };
    let receive = async {
        let mut answers = vec![Vec::new()];
        let (mut rows, mut bytes) = (0, 0);
        loop {
            while let Some(frame) = frame::take(buffer).map_err(Failure::Lost)? {
                if frame.tag() == b'Z' {
                    if answers.len() == ready {
                        return if rows > MAX_ROWS || bytes > MAX_BYTES {
                            Err(Failure::TooLarge)
                        } else {
                            Ok(answers)
                        };
                    }
                    answers.push(Vec::new());
                    continue;
                }
                bytes += frame.bytes.len();
                rows += usize::from(frame.tag() == b'D');
                if rows <= MAX_ROWS
                    && bytes <= MAX_BYTES
                    && let Some(answer) = answers.last_mut()
                {
                    answer.push(frame);
                } else {
                    // Over the limit: nothing of it will be used.
                    answers.iter_mut().for_each(Vec::clear);
                }
            }
            buffer.reserve(64 << 10);
            if reader.read_buf(buffer).await.map_err(Failure::Lost)? == 0 {
                return Err(Failure::Lost(std::io::ErrorKind::UnexpectedEof.into()));
            }
        }
    };
    let (sent, received) = tokio::join!(send, receive);
    sent?;
    received
}

/// Runs one text and returns its rows, as text.
async fn ask(connection: &mut Connection, sql: &str) -> Result<Vec<Vec<Option<String>>>, StatementError> {
    let mut writer = Writer::default();
    writer.query(sql);
    let answer = talk(connection, &writer.bytes, 1).await.map_err(|_| StatementError::restarting())?;
    rows(answer.iter().flatten())
}

/// The rows of an answer, or its error.
pub(super) fn rows<'a>(
    frames: impl IntoIterator<Item = &'a Frame>,
) -> Result<Vec<Vec<Option<String>>>, StatementError> {
    let mut rows = Vec::new();
    for frame in frames {
        match frame.tag() {
            b'E' => return Err(frame::error(frame)),
            b'D' => rows.push(frame::row(frame)),
            _ => {}
        }
    }
    Ok(rows)
}

/// A quoted name.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\"").replace('\0', ""))
}

/// A quoted string, the same under every setting of `standard_conforming_strings`.
pub(super) fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\0', "").replace('\\', "\\\\").replace('\'', "''"))
}
