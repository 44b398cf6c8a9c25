//! The workers that are configured, how each does, and which of them a statement may use.
//!
//! A worker is asked how it does when a statement wants workers and the last answer is old; nothing is asked in the
//! background. One that does not answer, or is of another version, is left out until it does. No worker left means that
//! statements are answered as without any.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use datafusion_distributed::{GetWorkerInfoRequest, WorkerChannel as _};
use futures::future::join_all;
use url::Url;

use super::channel::Connections;
use super::place::WorkerUrl;

/// What a worker of this program says it is.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// How long a worker may take to say how it does.
const ANSWER: Duration = Duration::from_secs(2);
/// How long an answer is believed.
const UP_HOLDS: Duration = Duration::from_secs(10);
/// After which time a worker that was down is asked again.
const DOWN_HOLDS: Duration = Duration::from_secs(2);

/// How a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nobody has asked yet.
    Unknown,
    /// It answered.
    Up,
    /// It did not, or is of another version.
    Down,
}

/// What is known of one worker.
#[derive(Debug, Clone)]
pub struct WorkerStatus {
    /// Where it listens.
    pub url: WorkerUrl,
    /// How it does.
    pub standing: Standing,
    /// Since when, UTC.
    pub since: DateTime<Utc>,
    /// When it was asked last, UTC.
    pub checked_at: Option<DateTime<Utc>>,
    /// What version it said it is.
    pub version: Option<String>,
    /// Statements that it failed since the start.
    pub failures: u64,
    /// What is wrong.
    pub error: Option<String>,
    /// What was heard when it failed a statement last; for logs, since it may hold anything.
    pub heard: Option<String>,
}

#[derive(Debug)]
struct Entry {
    status: Mutex<(WorkerStatus, Option<Instant>)>,
}

impl Entry {
    fn lock(&self) -> MutexGuard<'_, (WorkerStatus, Option<Instant>)> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The configured workers.
#[derive(Debug)]
pub struct Workers {
    entries: Vec<Entry>,
    connections: Connections,
    turn: AtomicUsize,
}

impl Workers {
    /// These workers; none is contacted yet. `None` for no worker at all.
    #[must_use]
    pub fn new(urls: impl IntoIterator<Item = WorkerUrl>) -> Option<Self> {
        let entries: Vec<Entry> = urls
            .into_iter()
            .map(|url| {
                let status = WorkerStatus {
                    url,
                    standing: Standing::Unknown,
                    since: Utc::now(),
                    checked_at: None,
                    version: None,
                    failures: 0,
                    error: None,
                    heard: None,
                };
                Entry { status: Mutex::new((status, None)) }
            })
            .collect();
        let workers = Self { entries, connections: Connections::default(), turn: AtomicUsize::new(0) };
        (!workers.entries.is_empty()).then_some(workers)
    }

    /// What is known of each, in the order of the configuration. Contacts nobody.
    #[must_use]
    pub fn statuses(&self) -> Vec<WorkerStatus> {
        self.entries.iter().map(|entry| entry.lock().0.clone()).collect()
    }

    pub(super) const fn connections(&self) -> &Connections {
        &self.connections
    }

    /// The number at which the next stage begins to count workers, so that all get work.
    pub(super) fn turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// Workers that answer, at most so many.
    pub(super) async fn usable(&self, most: usize) -> Vec<Url> {
        let due = self.entries.iter().take(most).filter(|entry| {
            let status = entry.lock();
            let holds = if status.0.standing == Standing::Up { UP_HOLDS } else { DOWN_HOLDS };
            status.1.is_none_or(|asked| asked.elapsed() >= holds)
        });
        join_all(due.map(|entry| self.ask(entry))).await;
        let able = self.entries.iter().take(most).map(|entry| entry.lock().0.clone());
        able.filter(|status| status.standing == Standing::Up).map(|status| status.url.url().clone()).collect()
    }

    async fn ask(&self, entry: &Entry) {
        let url = entry.lock().0.url.clone();
        let answer = async {
            let mut client = self.connections.client(url.url())?;
            client.get_worker_info(GetWorkerInfoRequest {}).await
        };
        let (version, error) = match tokio::time::timeout(ANSWER, answer).await {
            Ok(Ok(info)) if info.version == VERSION => (Some(info.version), None),
            Ok(Ok(info)) => {
                let error = format!("it is of version \"{}\", and this is \"{VERSION}\"", info.version);
                (Some(info.version), Some(error))
            }
            Ok(Err(error)) => {
                tracing::debug!(worker = %url, error = %error, "a worker cannot be asked");
                (None, Some("it cannot be reached".to_owned()))
            }
            Err(_) => (None, Some("it does not answer".to_owned())),
        };
        let mut status = entry.lock();
        let standing = if error.is_none() { Standing::Up } else { Standing::Down };
        if status.0.standing != standing {
            status.0.since = Utc::now();
            match &error {
                Some(error) => tracing::warn!(worker = %url, error, "a worker is left out"),
                None => tracing::info!(worker = %url, "a worker is used"),
            }
        }
        status.0.standing = standing;
        status.0.checked_at = Some(Utc::now());
        status.0.version = version.or_else(|| status.0.version.take());
        status.0.error = error;
        status.1 = Some(Instant::now());
    }

    /// Notes that a worker failed a statement; it is asked how it does before it gets another.
    pub(super) fn failed(&self, worker: &str, heard: &str) {
        for entry in &self.entries {
            let mut status = entry.lock();
            if status.0.url.to_string() == worker {
                status.0.failures += 1;
                status.0.heard = Some(heard.to_owned());
                status.1 = None;
            }
        }
    }
}
