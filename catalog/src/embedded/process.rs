//! The parent's side: starts, watches, kills and restarts one child, and nothing else. It never dials the socket.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::Mutex;
use tracing::{debug, info};

use super::{FAILED_PREFIX, READY_LINE, SUBCOMMAND};
use crate::source::{SourceError, SourceErrorKind};

/// First start unpacks the server into the user's cache; slow disks need a while.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// An orderly stop waits for the child's own grace period, then some.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Starts that fail in a row before callers get the error at once, until the pause is over.
const START_ATTEMPTS: u32 = 3;

/// Pause after the first failed start; doubles up to 30 s.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// What to start and where its data lives.
#[derive(Debug, Clone)]
pub struct EmbeddedConfig {
    /// Name for messages and logs, such as `warehouse`.
    pub name: String,
    /// Directory of the cluster, created if missing. Held by one process at a time.
    pub data_dir: PathBuf,
    /// The executable that understands `embedded-postgres`, normally this one.
    pub executable: PathBuf,
    /// Database to use; created if missing.
    pub database: String,
}

#[derive(Debug)]
struct Running {
    child: Child,
    /// Closing it tells the child to stop; a parent that dies closes it too.
    leash: Option<ChildStdin>,
}

#[derive(Debug, Default)]
struct State {
    running: Option<Running>,
    failures: u32,
    not_before: Option<Instant>,
    starts: u64,
}

/// One supervised child that serves one data directory on one Unix socket.
#[derive(Debug)]
pub struct EmbeddedProcess {
    config: EmbeddedConfig,
    /// Mode 0700 and short: a socket path may have 107 bytes, data directories are often longer.
    directory: TempDir,
    socket: PathBuf,
    state: Mutex<State>,
}

impl EmbeddedProcess {
    /// Starts the child and waits until its socket accepts connections.
    ///
    /// # Errors
    /// `Conflict` if another process holds the data directory, otherwise `Unreachable` with the child's reason.
    pub async fn start(config: EmbeddedConfig) -> Result<Self, SourceError> {
        let directory = private_directory()?;
        let socket = directory.path().join(".s.PGSQL.5432");
        let process = Self { config, directory, socket, state: Mutex::default() };
        process.ensure_running().await?;
        Ok(process)
    }

    /// What was started.
    #[must_use]
    pub fn config(&self) -> &EmbeddedConfig {
        &self.config
    }

    /// The Unix socket. It serves **one** connection at a time: whoever dials it must be the only one.
    #[must_use]
    pub fn socket_path(&self) -> &Path {
        &self.socket
    }

    /// Whether the child process exists. A living child may still refuse connections: restart it then.
    pub async fn is_alive(&self) -> bool {
        let mut state = self.state.lock().await;
        state.running.as_mut().is_some_and(|running| matches!(running.child.try_wait(), Ok(None)))
    }

    /// How often the child has been started.
    pub async fn starts(&self) -> u64 {
        self.state.lock().await.starts
    }

    /// Process id of the child, if one runs.
    pub async fn process_id(&self) -> Option<u32> {
        self.state.lock().await.running.as_ref().and_then(|running| running.child.id())
    }

    /// Ends the child at once. Committed data stays: the next start recovers it from the log.
    pub async fn kill(&self) {
        let mut state = self.state.lock().await;
        end(&mut state).await;
    }

    /// Starts the child unless it runs.
    ///
    /// # Errors
    /// As [`EmbeddedProcess::start`]; after repeated failures at once, until a pause is over.
    pub async fn ensure_running(&self) -> Result<(), SourceError> {
        let mut state = self.state.lock().await;
        if state.running.as_mut().is_some_and(|running| matches!(running.child.try_wait(), Ok(None))) {
            return Ok(());
        }
        end(&mut state).await;
        self.start_child(&mut state).await
    }

    /// Ends the child if it runs and starts it again.
    ///
    /// # Errors
    /// As [`EmbeddedProcess::ensure_running`].
    pub async fn restart(&self) -> Result<(), SourceError> {
        let mut state = self.state.lock().await;
        end(&mut state).await;
        self.start_child(&mut state).await
    }

    /// Stops the child in order: callers close their connection first.
    pub async fn shutdown(&self) {
        let mut state = self.state.lock().await;
        if let Some(mut running) = state.running.take() {
            drop(running.leash.take());
            if tokio::time::timeout(STOP_TIMEOUT, running.child.wait()).await.is_err() {
                let _already_gone = running.child.kill().await;
            }
        }
    }

    async fn start_child(&self, state: &mut State) -> Result<(), SourceError> {
        if let Some(wait) = state.not_before.and_then(|at| at.checked_duration_since(Instant::now())) {
            if state.failures >= START_ATTEMPTS {
                return Err(self.unreachable(format!(
                    "embedded database \"{}\" failed to start {} times",
                    self.config.name, state.failures
                )));
            }
            tokio::time::sleep(wait).await;
        }
        match self.spawn().await {
            Ok(running) => {
                *state = State { running: Some(running), starts: state.starts + 1, ..State::default() };
                info!(name = %self.config.name, starts = state.starts, "embedded database started");
                Ok(())
            }
            Err(error) => {
                state.failures += 1;
                let doublings = state.failures.min(8) - 1;
                let pause = (FIRST_PAUSE * 2_u32.pow(doublings)).min(Duration::from_secs(30));
                state.not_before = Some(Instant::now() + pause);
                Err(error)
            }
        }
    }

    async fn spawn(&self) -> Result<Running, SourceError> {
        // A temporary-files cleaner, or the last child, may have taken the directory away.
        make_private(self.directory.path())?;
        let arguments: [OsString; 5] = [
            SUBCOMMAND.into(),
            "--data-dir".into(),
            self.config.data_dir.clone().into(),
            "--socket".into(),
            self.socket.clone().into(),
        ];
        let mut child = Command::new(&self.config.executable)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C reaches the terminal's whole process group; the child must outlive its parent's drain.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                self.unreachable(format!("cannot start embedded database \"{}\"", self.config.name))
                    .with_cause(error)
            })?;
        let leash = child.stdin.take();
        let last_words = Arc::new(StdMutex::new(VecDeque::new()));
        if let Some(stderr) = child.stderr.take() {
            let (name, last_words) = (self.config.name.clone(), Arc::clone(&last_words));
            tokio::spawn(async move {
                let mut lines = BufReader::new(stderr).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    debug!(name = %name, line = %line, "embedded database says");
                    let mut kept = last_words.lock().unwrap_or_else(PoisonError::into_inner);
                    kept.push_back(line);
                    if kept.len() > 8 {
                        kept.pop_front();
                    }
                }
            });
        }
        match tokio::time::timeout(START_TIMEOUT, self.wait_ready(&mut child)).await {
            Ok(Ok(())) => Ok(Running { child, leash }),
            Ok(Err(error)) => {
                let words: Vec<String> =
                    last_words.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
                debug!(name = %self.config.name, last_words = ?words, "embedded database did not start");
                Err(error)
            }
            Err(_elapsed) => Err(self.unreachable(format!(
                "embedded database \"{}\" was not ready after {} s",
                self.config.name,
                START_TIMEOUT.as_secs()
            ))),
        }
    }

    /// Reads the child's standard output up to its verdict, then keeps draining it.
    async fn wait_ready(&self, child: &mut Child) -> Result<(), SourceError> {
        let died =
            || self.unreachable(format!("embedded database \"{}\" ended while starting", self.config.name));
        let stdout = child.stdout.take().ok_or_else(died)?;
        let mut lines = BufReader::new(stdout).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if line == READY_LINE {
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return Ok(());
            }
            if let Some(reason) = line.strip_prefix(FAILED_PREFIX) {
                let kind = if reason.contains(" is in use by process ") {
                    SourceErrorKind::Conflict
                } else {
                    SourceErrorKind::Unreachable
                };
                return Err(SourceError::new(kind, reason.to_owned()).with_hint(
                    "stop the process that holds the data directory, or choose another directory",
                ));
            }
        }
        Err(died())
    }

    fn unreachable(&self, message: String) -> SourceError {
        SourceError::new(SourceErrorKind::Unreachable, message).with_hint(format!(
            "see the log for the reason; its data is in {}",
            self.config.data_dir.display()
        ))
    }
}

async fn end(state: &mut State) {
    if let Some(mut running) = state.running.take() {
        let _already_gone = running.child.kill().await;
    }
}

fn private_directory() -> Result<TempDir, SourceError> {
    use std::os::unix::fs::PermissionsExt as _;
    tempfile::Builder::new()
        .prefix("portolan-")
        .permissions(std::fs::Permissions::from_mode(0o700))
        .tempdir()
        .map_err(|error| {
            SourceError::new(SourceErrorKind::Unreachable, "cannot create a private directory for a socket")
                .with_hint("check that the directory for temporary files exists and is writable")
                .with_cause(error)
        })
}

fn make_private(directory: &Path) -> Result<(), SourceError> {
    use std::os::unix::fs::DirBuilderExt as _;
    match std::fs::DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(SourceError::new(
            SourceErrorKind::Unreachable,
            "cannot create a private directory for a socket",
        )
        .with_cause(error)),
    }
}
