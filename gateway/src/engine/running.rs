//! The statements that run now, for `system.queries`, `pg_stat_activity` and cancel; and the receipt of each answer.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::physical_plan::ExecutionPlan;
use portolan_catalog::asof::{AsOf, AsOfRecorder};
use portolan_catalog::federation::{FragmentFigures, QueryId, fragment_figures};
use tokio_util::sync::CancellationToken;

use super::reads::{EndedReads, Read, reads_of};
use super::stale::{Staleness, StoodIn};
use crate::session::Identity;

/// Name of the figure of statements' durations, seconds from the start of execution to the end.
pub(crate) const QUERY_SECONDS: &str = "portolan_query_duration_seconds";

/// What an answer was made of. Final once its stream has ended.
#[derive(Debug)]
pub struct Receipt {
    /// Id of the statement.
    pub query: QueryId,
    started: Instant,
    recorder: AsOfRecorder,
    stood_in: StoodIn,
    rows: AtomicU64,
    elapsed_micros: AtomicU64,
    /// What runs, until it ended.
    plan: Mutex<Option<Arc<dyn ExecutionPlan>>>,
    over_workers: AtomicBool,
}

impl Receipt {
    pub(super) fn new(query: QueryId, recorder: AsOfRecorder) -> Self {
        Self {
            query,
            started: Instant::now(),
            recorder,
            stood_in: StoodIn::default(),
            rows: AtomicU64::new(0),
            elapsed_micros: AtomicU64::new(0),
            plan: Mutex::default(),
            over_workers: AtomicBool::new(false),
        }
    }

    /// Notes the plan that runs, whose leaves count what they read, and whether workers do parts of it.
    pub(super) fn runs(&self, plan: &Arc<dyn ExecutionPlan>, over_workers: bool) {
        self.over_workers.store(over_workers, Ordering::Relaxed);
        *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(plan));
    }

    /// The reads of sources so far.
    fn fragments(&self) -> Vec<FragmentFigures> {
        let plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner).clone();
        plan.map(|plan| fragment_figures(&plan)).unwrap_or_default()
    }

    /// Bytes that its operators wrote to disk so far; `None` before it runs, and where parts of it run in workers, whose
    /// operators are not here.
    #[must_use]
    pub fn spilled(&self) -> Option<usize> {
        if self.over_workers.load(Ordering::Relaxed) {
            return None;
        }
        let plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let mut bytes = 0_usize;
        // It never fails: nothing in it does.
        let _ = plan.apply(|node| {
            let own = node.metrics().and_then(|metrics| metrics.spilled_bytes());
            bytes = bytes.saturating_add(own.unwrap_or_default());
            Ok(TreeNodeRecursion::Continue)
        });
        Some(bytes)
    }

    /// The reads of sources, now that the statement has ended.
    fn take_fragments(&self) -> Vec<FragmentFigures> {
        let plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner).take();
        plan.map(|plan| fragment_figures(&plan)).unwrap_or_default()
    }

    pub(super) fn add_rows(&self, rows: usize) {
        self.rows.fetch_add(u64::try_from(rows).unwrap_or(u64::MAX), Ordering::Relaxed);
        let elapsed = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.elapsed_micros.store(elapsed, Ordering::Relaxed);
    }

    pub(super) fn stand_in(&self, stale: Option<Staleness>) {
        self.stood_in.set(stale);
    }

    /// What is old about the answer, if anything is; known when its first row is, or its end.
    #[must_use]
    pub fn stale(&self) -> Option<Arc<Staleness>> {
        self.stood_in.get()
    }

    /// The versions read so far.
    #[must_use]
    pub fn as_of(&self) -> AsOf {
        self.stale().map_or_else(|| self.recorder.snapshot(), |stale| stale.as_of.snapshot())
    }

    /// Rows delivered so far.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Microseconds from the start of execution to the latest row.
    #[must_use]
    pub fn elapsed_micros(&self) -> u64 {
        self.elapsed_micros.load(Ordering::Relaxed)
    }
}

/// What a statement is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryState {
    /// Being optimised.
    Planning,
    /// Producing rows.
    Running,
    /// All rows are out.
    Done,
    /// It ended with an error.
    Failed,
}

impl fmt::Display for QueryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Planning => "planning",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
        })
    }
}

/// One statement in the register.
#[derive(Debug)]
pub struct RunningQuery {
    /// Id of the statement.
    pub query: QueryId,
    /// Whose it is.
    pub identity: Identity,
    /// The client's application.
    pub application: String,
    /// The client's text.
    pub sql: Arc<str>,
    /// When it started, UTC.
    pub started_at: DateTime<Utc>,
    /// Rows and versions so far.
    pub receipt: Arc<Receipt>,
    state: AtomicU8,
    /// How long it took until it was planned.
    planned: OnceLock<Duration>,
    cancel: CancellationToken,
}

/// How long a statement has been at what.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// From the start until it was planned; `None` while it is.
    pub planning: Option<Duration>,
    /// Since then.
    pub running: Option<Duration>,
}

impl RunningQuery {
    /// How long it was planned, and has been running.
    #[must_use]
    pub fn times(&self) -> Times {
        let planning = self.planned.get().copied();
        let running = planning.map(|planning| self.receipt.started.elapsed().saturating_sub(planning));
        Times { planning, running }
    }

    /// What it is doing.
    #[must_use]
    pub fn state(&self) -> QueryState {
        match self.state.load(Ordering::Relaxed) {
            0 => QueryState::Planning,
            1 => QueryState::Running,
            2 => QueryState::Done,
            _ => QueryState::Failed,
        }
    }

    pub(super) fn set_state(&self, state: QueryState) {
        if state == QueryState::Running {
            let _ = self.planned.set(self.receipt.started.elapsed());
        }
        let value = match state {
            QueryState::Planning => 0,
            QueryState::Running => 1,
            QueryState::Done => 2,
            QueryState::Failed => 3,
        };
        self.state.store(value, Ordering::Relaxed);
    }
}

/// The statements that run now, and what the last ones read.
#[derive(Debug, Default)]
pub struct RunningQueries {
    queries: Mutex<HashMap<QueryId, Arc<RunningQuery>>>,
    ended: EndedReads,
}

impl RunningQueries {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<QueryId, Arc<RunningQuery>>> {
        self.queries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reads of a user's statements, oldest first: of the last that ended, then of those that run.
    #[must_use]
    pub fn reads(&self, user: &str) -> Vec<Read> {
        let mut all = self.ended.of(user);
        for query in self.list().iter().filter(|query| query.identity.user == user) {
            all.extend(reads_of(query, &query.state().to_string(), query.receipt.fragments()));
        }
        all
    }

    pub(super) fn enter(
        self: &Arc<Self>,
        identity: &Identity,
        application: String,
        sql: &Arc<str>,
        receipt: &Arc<Receipt>,
        cancel: &CancellationToken,
    ) -> RunningGuard {
        let query = Arc::new(RunningQuery {
            query: receipt.query,
            identity: identity.clone(),
            application,
            sql: Arc::clone(sql),
            started_at: Utc::now(),
            receipt: Arc::clone(receipt),
            state: AtomicU8::new(0),
            planned: OnceLock::new(),
            cancel: cancel.clone(),
        });
        self.lock().insert(receipt.query, Arc::clone(&query));
        RunningGuard { register: Arc::clone(self), query }
    }

    /// All running statements, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<RunningQuery>> {
        let mut all: Vec<_> = self.lock().values().cloned().collect();
        all.sort_by_key(|query| query.started_at);
        all
    }

    /// Cancels what a connection runs. Answers whether there was anything.
    pub fn cancel_pid(&self, pid: i32) -> bool {
        let mut any = false;
        for query in self.lock().values().filter(|query| query.identity.pid == pid) {
            query.cancel.cancel();
            any = true;
        }
        any
    }

    /// Cancels one statement. Answers whether it was running.
    pub fn cancel_query(&self, id: QueryId) -> bool {
        self.lock().get(&id).is_some_and(|query| {
            query.cancel.cancel();
            true
        })
    }
}

/// Takes a statement out of the register when it ends, however it ends.
#[derive(Debug)]
pub(super) struct RunningGuard {
    register: Arc<RunningQueries>,
    pub(super) query: Arc<RunningQuery>,
}

impl Drop for RunningGuard {
    fn drop(&mut self) {
        self.register.lock().remove(&self.query.query);
        let reads = self.query.receipt.take_fragments();
        let ended = match self.query.state() {
            QueryState::Done => "done",
            QueryState::Failed => "failed",
            // Its rows were no longer wanted: a cancelled or vanished client, a closed portal.
            QueryState::Planning | QueryState::Running => "dropped",
        };
        self.register.ended.add(reads_of(&self.query, ended, reads));
        let protocol = self.query.identity.protocol;
        metrics::counter!("portolan_queries_total", "protocol" => protocol, "ended" => ended).increment(1);
        metrics::counter!("portolan_rows_total", "protocol" => protocol).increment(self.query.receipt.rows());
        metrics::histogram!(QUERY_SECONDS).record(self.query.receipt.started.elapsed().as_secs_f64());
    }
}
