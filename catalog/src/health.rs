//! What is known about a source's health, and the circuit breaker that spares callers the wait for a dead one.
//!
//! The breaker counts failures to connect and timeouts, never bad queries: a source that answers with an error is
//! alive. It opens after five failures in a row, or when at least half of at least ten calls within 30 s failed;
//! stays open for 5 s, doubling to 60 s; then lets one probe through. Time comes from outside, so tests own it.

mod guard;
mod traffic;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use crate::source::{Health, HealthState, SourceError, SourceErrorKind, SourceName};

pub(crate) use guard::GuardedExecutor;
use traffic::Traffic;

const FAILURES_IN_A_ROW: u32 = 5;
const WINDOW: Duration = Duration::from_secs(30);
const WINDOW_CALLS: usize = 10;
const OPEN_FIRST: Duration = Duration::from_secs(5);
const OPEN_LONGEST: Duration = Duration::from_secs(60);
/// How long an answer to [`SourceHealth::ask`] is believed.
const ANSWER_HOLDS: Duration = Duration::from_secs(2);

/// Where a [`SourceHealth`] reads the time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> (Instant, DateTime<Utc>) + Send + Sync>);

impl Clock {
    /// The machine's clocks.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(|| (Instant::now(), Utc::now())))
    }

    /// A clock that reads what the function says.
    #[must_use]
    pub fn reading(now: impl Fn() -> (Instant, DateTime<Utc>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time now, by the clock that never goes back and by the calendar.
    #[must_use]
    pub fn now(&self) -> (Instant, DateTime<Utc>) {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// What the breaker does with the next call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls pass.
    Closed,
    /// Calls are refused at once.
    Open,
    /// One call passes as a probe; the others are refused.
    HalfOpen,
}

impl fmt::Display for BreakerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        })
    }
}

/// A source's health as `system.sources` shows it.
#[derive(Debug, Clone)]
pub struct HealthReport {
    /// State after the last contact.
    pub state: HealthState,
    /// Since when it has been in that state, UTC.
    pub since: DateTime<Utc>,
    /// The last contact's error, if it failed; safe to show.
    pub error: Option<String>,
    /// What to do about it, where the error says so.
    pub hint: Option<String>,
    /// The last contact that succeeded, UTC.
    pub last_ok: Option<DateTime<Utc>>,
    /// The store's own version text, if it ever told one.
    pub server_version: Option<String>,
    /// The breaker.
    pub breaker: BreakerState,
    /// Since it answered last: when the data were read that an old answer was last made of instead, UTC.
    pub stale_from: Option<DateTime<Utc>>,
}

/// Health of one source: fed by checks and by every fragment that runs on it.
#[derive(Debug)]
pub struct SourceHealth {
    source: SourceName,
    clock: Clock,
    inner: Mutex<Inner>,
    /// What was asked of it, and came.
    traffic: Traffic,
    /// Whether the source answered when it was last asked beside its statements, and when that was.
    asked: tokio::sync::Mutex<Option<(Instant, Result<(), SourceError>)>>,
}

#[derive(Debug)]
struct Inner {
    report: HealthReport,
    in_a_row: u32,
    calls: VecDeque<(Instant, bool)>,
    open_until: Option<Instant>,
    open_for: Duration,
    probing: bool,
}

impl SourceHealth {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(source: SourceName, clock: Clock) -> Self {
        let (_, since) = clock.now();
        let report = HealthReport {
            state: HealthState::Unknown,
            since,
            error: None,
            hint: None,
            last_ok: None,
            server_version: None,
            breaker: BreakerState::Closed,
            stale_from: None,
        };
        let inner = Inner {
            report,
            in_a_row: 0,
            calls: VecDeque::new(),
            open_until: None,
            open_for: OPEN_FIRST,
            probing: false,
        };
        Self {
            source,
            clock,
            inner: Mutex::new(inner),
            traffic: Traffic::default(),
            asked: tokio::sync::Mutex::default(),
        }
    }

    /// Asks whether a call may be made now.
    ///
    /// # Errors
    /// `Unreachable`, at once, while the breaker is open or another call probes.
    pub fn admit(&self) -> Result<(), SourceError> {
        let (now, _) = self.clock.now();
        let mut inner = self.lock();
        let Some(until) = inner.open_until else { return Ok(()) };
        if now >= until && !inner.probing {
            inner.probing = true;
            inner.report.breaker = BreakerState::HalfOpen;
            return Ok(());
        }
        let why = inner.report.error.clone().unwrap_or_else(|| "the last calls failed".into());
        let wait = until.saturating_duration_since(now).as_secs() + 1;
        let message = format!("source \"{}\" is unreachable", self.source);
        Err(SourceError::new(SourceErrorKind::Unreachable, message)
            .with_source(&self.source)
            .with_hint(format!("{why}; next attempt in {wait} s, see system.sources")))
    }

    /// Starts a call; its outcome is told to the returned guard, and dropping that only frees a probe's place.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub fn call(&self) -> Result<Call<'_>, SourceError> {
        self.admit()?;
        self.traffic.asked();
        Ok(Call(Some(self)))
    }

    /// Whether a call that failed may be made once more: never while the breaker is open, and few of many. A yes is spent.
    pub(crate) fn may_ask_again(&self) -> bool {
        self.lock().open_until.is_none() && self.traffic.take_retry()
    }

    /// Notes rows that came from it, and the bytes that they take in memory.
    pub(crate) fn delivered(&self, rows: usize, bytes: usize) {
        self.traffic.came(rows, bytes);
    }

    /// Rows that came from it so far, and the bytes that they took in memory.
    #[must_use]
    pub fn delivered_so_far(&self) -> (u64, u64) {
        self.traffic.so_far()
    }

    /// Notes a call that reached the source, whatever it answered.
    pub fn succeeded(&self, server_version: Option<String>) {
        let (now, at) = self.clock.now();
        let mut inner = self.lock();
        inner.in_a_row = 0;
        inner.note(now, true);
        if inner.open_until.take().is_some() {
            inner.calls.clear();
        }
        inner.probing = false;
        inner.open_for = OPEN_FIRST;
        inner.report.breaker = BreakerState::Closed;
        inner.report.error = None;
        inner.report.hint = None;
        inner.report.stale_from = None;
        inner.report.last_ok = Some(at);
        if server_version.is_some() {
            inner.report.server_version = server_version;
        }
        inner.turn(HealthState::Up, at);
    }

    /// Notes a failed call. Only failures to reach the source count; a cancelled call only ends a probe.
    pub fn failed(&self, error: &SourceError) {
        match error.kind {
            // The server itself ended a statement that had no time left: it is alive.
            SourceErrorKind::Timeout if error.remote_code.is_some() => self.succeeded(None),
            SourceErrorKind::Unreachable | SourceErrorKind::Timeout => self.unreachable(error),
            // Said before anyone was asked, or by us.
            SourceErrorKind::Cancelled | SourceErrorKind::Busy | SourceErrorKind::Limit => {
                self.lock().probing = false;
            }
            SourceErrorKind::Auth => {
                let (_, at) = self.clock.now();
                let mut inner = self.lock();
                inner.probing = false;
                inner.report.error = Some(error.to_string());
                inner.report.hint.clone_from(&error.hint);
                inner.turn(HealthState::Down, at);
            }
            SourceErrorKind::Conflict
            | SourceErrorKind::StateUnknown
            | SourceErrorKind::NotFound
            | SourceErrorKind::Data
            | SourceErrorKind::Unsupported
            | SourceErrorKind::Remote => self.succeeded(None),
        }
    }

    /// Notes the result of a check.
    pub fn checked(&self, health: &Health) {
        match health.state {
            HealthState::Up | HealthState::Degraded => {
                self.succeeded(health.server_version.clone());
                let mut inner = self.lock();
                inner.report.error.clone_from(&health.error);
                inner.turn(health.state, health.checked_at);
            }
            HealthState::Down => {
                let text = health.error.clone().unwrap_or_else(|| "check failed".into());
                self.unreachable(&SourceError::new(SourceErrorKind::Unreachable, text));
            }
            HealthState::Unknown => {}
        }
    }

    /// Asks the source whether it is there, for all who want to know at the same time: an answer is good for a while.
    ///
    /// # Errors
    /// What kept it from answering, which is noted as a failed call.
    pub(crate) async fn ask(
        &self,
        asking: impl Future<Output = Result<(), SourceError>>,
    ) -> Result<(), SourceError> {
        let mut asked = self.asked.lock().await;
        let (now, _) = self.clock.now();
        if let Some((at, answer)) = asked.as_ref()
            && now.saturating_duration_since(*at) < ANSWER_HOLDS
        {
            return answer.clone();
        }
        let answer = asking.await;
        if let Err(error) = &answer {
            self.failed(error);
        }
        *asked = Some((self.clock.now().0, answer.clone()));
        answer
    }

    /// Notes that an old answer was given in the source's place, of data read at a time.
    pub fn stood_in(&self, read_at: DateTime<Utc>) {
        self.lock().report.stale_from = Some(read_at);
    }

    /// What is known now.
    #[must_use]
    pub fn report(&self) -> HealthReport {
        self.lock().report.clone()
    }

    fn unreachable(&self, error: &SourceError) {
        let (now, at) = self.clock.now();
        let mut inner = self.lock();
        inner.in_a_row = inner.in_a_row.saturating_add(1);
        inner.note(now, false);
        let failed = inner.calls.iter().filter(|(_, ok)| !ok).count();
        let many = inner.calls.len() >= WINDOW_CALLS && failed * 2 >= inner.calls.len();
        if inner.probing || inner.in_a_row >= FAILURES_IN_A_ROW || many {
            if inner.probing {
                inner.open_for = (inner.open_for * 2).min(OPEN_LONGEST);
            }
            inner.open_until = Some(now + inner.open_for);
            inner.report.breaker = BreakerState::Open;
        }
        inner.probing = false;
        inner.report.error = Some(error.to_string());
        inner.report.hint.clone_from(&error.hint);
        inner.turn(HealthState::Down, at);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn note(&mut self, now: Instant, ok: bool) {
        self.calls.push_back((now, ok));
        while self.calls.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > WINDOW) {
            self.calls.pop_front();
        }
    }

    fn turn(&mut self, state: HealthState, at: DateTime<Utc>) {
        if self.report.state != state {
            self.report.state = state;
            self.report.since = at;
        }
    }
}

/// A call in progress. Dropped without an outcome – its query was cancelled – it frees the probe's place.
#[derive(Debug)]
pub struct Call<'a>(Option<&'a SourceHealth>);

impl Call<'_> {
    /// The source answered.
    pub fn succeeded(mut self) {
        if let Some(health) = self.0.take() {
            health.succeeded(None);
        }
    }

    /// The call failed.
    pub fn failed(mut self, error: &SourceError) {
        if let Some(health) = self.0.take() {
            health.failed(error);
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if let Some(health) = self.0.take() {
            health.lock().probing = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// A clock moved by hand, in milliseconds.
    fn by_hand() -> (Clock, Arc<AtomicU64>) {
        let start = (Instant::now(), Utc::now());
        let millis = Arc::new(AtomicU64::new(0));
        let read = Arc::clone(&millis);
        let clock = Clock::reading(move || {
            let passed = Duration::from_millis(read.load(Ordering::SeqCst));
            (start.0 + passed, start.1 + passed)
        });
        (clock, millis)
    }

    fn health() -> (SourceHealth, Arc<AtomicU64>) {
        let (clock, millis) = by_hand();
        (SourceHealth::new(SourceName::try_new("ops").unwrap(), clock), millis)
    }

    fn dead() -> SourceError {
        SourceError::new(SourceErrorKind::Unreachable, "connection refused")
    }

    #[test]
    fn five_failures_in_a_row_open_and_one_probe_closes() {
        let (health, millis) = health();
        for _ in 0..4 {
            health.admit().unwrap();
            health.failed(&dead());
        }
        health.admit().unwrap();
        health.failed(&dead());
        let refused = health.admit().unwrap_err();
        assert_eq!(refused.kind, SourceErrorKind::Unreachable);
        assert_eq!(refused.message, "source \"ops\" is unreachable");
        assert!(refused.hint.unwrap().contains("connection refused"));
        millis.store(5_000, Ordering::SeqCst);
        health.admit().unwrap();
        assert_eq!(health.report().breaker, BreakerState::HalfOpen);
        assert!(health.admit().is_err(), "one probe only");
        health.succeeded(None);
        health.admit().unwrap();
        let report = health.report();
        assert_eq!(
            (report.state, report.breaker, report.error),
            (HealthState::Up, BreakerState::Closed, None)
        );
    }

    #[test]
    fn a_failed_probe_doubles_the_wait_up_to_a_minute() {
        let (health, millis) = health();
        for _ in 0..5 {
            health.failed(&dead());
        }
        let mut now = 0;
        for wait in [5_000, 10_000, 20_000, 40_000, 60_000, 60_000] {
            millis.store(now + wait - 1, Ordering::SeqCst);
            assert!(health.admit().is_err(), "open for {wait} ms");
            now += wait;
            millis.store(now, Ordering::SeqCst);
            health.admit().unwrap();
            health.failed(&dead());
        }
    }

    #[test]
    fn half_of_ten_calls_in_half_a_minute_open() {
        let (health, millis) = health();
        for call in 0..9_u64 {
            millis.store(call * 1_000, Ordering::SeqCst);
            if call % 2 == 0 {
                health.failed(&dead())
            } else {
                health.succeeded(None)
            }
            health.admit().unwrap();
        }
        health.failed(&dead());
        assert!(health.admit().is_err());
    }

    #[test]
    fn a_bad_query_is_no_failure_and_a_cancelled_probe_frees_its_place() {
        let (health, millis) = health();
        for _ in 0..20 {
            health.failed(&SourceError::new(SourceErrorKind::Remote, "syntax error"));
            let late = SourceError::new(SourceErrorKind::Timeout, "statement timeout");
            health.failed(&late.with_remote_code("57014"));
            health.admit().unwrap();
        }
        for _ in 0..5 {
            health.failed(&dead());
        }
        millis.store(40_000, Ordering::SeqCst);
        health.admit().unwrap();
        health.failed(&SourceError::new(SourceErrorKind::Cancelled, "gone"));
        health.admit().unwrap();
    }

    #[test]
    fn since_moves_only_when_the_state_changes() {
        let (health, millis) = health();
        health.succeeded(Some("17.5".into()));
        let since = health.report().since;
        millis.store(3_000, Ordering::SeqCst);
        health.succeeded(None);
        let report = health.report();
        assert_eq!((report.since, report.server_version), (since, Some("17.5".into())));
        assert_ne!(report.last_ok, Some(since));
    }
}
