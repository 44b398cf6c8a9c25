//! The connections that live, and how one reaches another: limits, cancel requests, drain, `pg_stat_activity`.
//!
//! Logins of the other front door are listed beside them and not counted: they hold no socket. A connection is counted
//! from accept. A cancel request names a process id and a secret, compared in constant time,
//! and hits only the statement in flight when it arrives.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use subtle::ConstantTimeEq;
use tokio_util::sync::CancellationToken;

/// Every connection of one front door.
#[derive(Debug)]
pub struct Connections {
    limit: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Accepted and not yet closed, logged in or not.
    accepted: usize,
    /// Logins without a socket of their own.
    logins: usize,
    by_pid: BTreeMap<i32, Arc<Connection>>,
    failures: HashMap<IpAddr, Vec<Instant>>,
}

/// One logged-in connection.
#[derive(Debug)]
pub struct Connection {
    /// Unique among the living; `pg_backend_pid()`.
    pub process_id: i32,
    secret: [u8; 32],
    secret_len: usize,
    /// Ends the connection (57P01), and the statement it runs.
    pub(crate) terminate: CancellationToken,
    state: Mutex<State>,
    terminated_by_peer: AtomicBool,
}

#[derive(Debug)]
struct State {
    activity: Activity,
    statement: Option<CancellationToken>,
}

/// What `pg_stat_activity` shows of a connection.
#[derive(Debug, Clone)]
pub struct Activity {
    /// `pid`.
    pub process_id: i32,
    /// `usename`.
    pub user: String,
    /// `datname`.
    pub database: String,
    /// `application_name`.
    pub application_name: String,
    /// `client_addr`, `client_port`.
    pub peer: Option<SocketAddr>,
    /// `backend_start`, UTC.
    pub started: DateTime<Utc>,
    /// `state`: `active`, `idle`, `idle in transaction`, `idle in transaction (aborted)`.
    pub state: &'static str,
    /// `query`: the running or last statement, cut to 1 KiB.
    pub query: Arc<str>,
    /// `query_start`, UTC.
    pub query_started: Option<DateTime<Utc>>,
}

impl Connections {
    /// An empty set that admits `limit` connections.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, inner: Mutex::default() })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an accepted socket; `None` when that is one too many. Dropping the slot frees it.
    pub(crate) fn accept(self: &Arc<Self>) -> Option<Slot> {
        let mut inner = self.lock();
        if inner.accepted >= self.limit {
            return None;
        }
        inner.accepted += 1;
        Some(Slot { connections: Arc::clone(self), process_id: None })
    }

    /// Cancels the statement a connection runs, if the secret is right. Never says whether it was.
    pub(crate) fn cancel_request(&self, process_id: i32, secret: &[u8]) {
        let connection = self.lock().by_pid.get(&process_id).map(Arc::clone);
        let Some(connection) = connection else { return };
        let own = connection.secret.get(..connection.secret_len).unwrap_or_default();
        if connection.secret_len > 0 && bool::from(own.ct_eq(secret)) {
            connection.cancel();
        }
    }

    /// A live connection, for `pg_cancel_backend` and `pg_terminate_backend`; rights are the caller's business.
    #[must_use]
    pub fn get(&self, process_id: i32) -> Option<Arc<Connection>> {
        self.lock().by_pid.get(&process_id).map(Arc::clone)
    }

    /// What every logged-in connection does, by process id.
    #[must_use]
    pub fn activity(&self) -> Vec<Activity> {
        let connections: Vec<Arc<Connection>> = self.lock().by_pid.values().map(Arc::clone).collect();
        connections.iter().map(|connection| connection.activity()).collect()
    }

    /// Accepted sockets now.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().accepted
    }

    /// Logins without a socket of their own now.
    #[must_use]
    pub fn logins(&self) -> usize {
        self.lock().logins
    }

    /// Lists a login of the other front door until it is dropped. Its process id is the caller's to keep unique.
    pub(crate) fn login(
        self: &Arc<Self>,
        process_id: i32,
        user: &str,
        database: &str,
        peer: Option<SocketAddr>,
    ) -> Login {
        let connection = Arc::new(Connection::new(process_id, user, database, peer, 0));
        let mut inner = self.lock();
        inner.logins += 1;
        inner.by_pid.insert(process_id, Arc::clone(&connection));
        drop(inner);
        Login { connections: Arc::clone(self), connection }
    }

    /// Whether an address failed to log in `allowed` times within a minute.
    pub(crate) fn is_locked_out(&self, address: IpAddr, allowed: usize) -> bool {
        let mut inner = self.lock();
        let Some(failures) = inner.failures.get_mut(&address) else { return false };
        failures.retain(|at| at.elapsed() < Duration::from_secs(60));
        let locked = failures.len() >= allowed;
        if failures.is_empty() {
            inner.failures.remove(&address);
        }
        locked
    }

    /// Remembers a failed login.
    pub(crate) fn failed(&self, address: IpAddr) {
        let mut inner = self.lock();
        if inner.failures.len() > 10_000 {
            inner.failures.retain(|_, failures| {
                failures.last().is_some_and(|last| last.elapsed() < Duration::from_secs(60))
            });
        }
        let failures = inner.failures.entry(address).or_default();
        if failures.len() < 1000 {
            failures.push(Instant::now());
        }
    }
}

/// A counted socket.
#[derive(Debug)]
pub(crate) struct Slot {
    connections: Arc<Connections>,
    process_id: Option<i32>,
}

impl Slot {
    /// Makes the connection known under a process id nobody else has.
    pub(crate) fn register(
        &mut self,
        user: &str,
        database: &str,
        peer: Option<SocketAddr>,
        secret_len: usize,
    ) -> Arc<Connection> {
        let mut inner = self.connections.lock();
        let process_id = loop {
            let candidate =
                i32::from(rand::random::<u16>()) + 1000 + i32::from(rand::random::<u8>()) * 65_536;
            if !inner.by_pid.contains_key(&candidate) {
                break candidate;
            }
        };
        let connection = Arc::new(Connection::new(process_id, user, database, peer, secret_len));
        inner.by_pid.insert(process_id, Arc::clone(&connection));
        self.process_id = Some(process_id);
        connection
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut inner = self.connections.lock();
        inner.accepted = inner.accepted.saturating_sub(1);
        if let Some(process_id) = self.process_id {
            inner.by_pid.remove(&process_id);
        }
    }
}

/// A listed login of the other front door.
#[derive(Debug)]
pub(crate) struct Login {
    connections: Arc<Connections>,
    connection: Arc<Connection>,
}

impl Login {
    /// What is listed.
    pub(crate) const fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        let mut inner = self.connections.lock();
        inner.logins = inner.logins.saturating_sub(1);
        inner.by_pid.remove(&self.connection.process_id);
    }
}

impl Connection {
    fn new(process_id: i32, user: &str, database: &str, peer: Option<SocketAddr>, secret_len: usize) -> Self {
        Self {
            process_id,
            secret: rand::random(),
            secret_len: secret_len.min(32),
            terminate: CancellationToken::new(),
            state: Mutex::new(State {
                activity: Activity {
                    process_id,
                    user: user.to_owned(),
                    database: database.to_owned(),
                    application_name: String::new(),
                    peer,
                    started: Utc::now(),
                    state: "idle",
                    query: Arc::from(""),
                    query_started: None,
                },
                statement: None,
            }),
            terminated_by_peer: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The secret for BackendKeyData: 4 bytes in protocol 3.0, 32 in 3.2.
    pub(crate) fn secret(&self) -> &[u8] {
        self.secret.get(..self.secret_len).unwrap_or_default()
    }

    /// Cancels the statement in flight; false when there is none.
    pub fn cancel(&self) -> bool {
        match &self.lock().statement {
            Some(token) => {
                token.cancel();
                true
            }
            None => false,
        }
    }

    /// Ends the connection: 57P01.
    pub fn terminate(&self) {
        self.terminated_by_peer.store(true, Ordering::Relaxed);
        self.terminate.cancel();
        self.cancel();
    }

    /// Whether [`Connection::terminate`] was called, as opposed to a shutdown.
    pub(crate) fn was_terminated(&self) -> bool {
        self.terminated_by_peer.load(Ordering::Relaxed)
    }

    /// A statement begins: from now on a cancel request hits it.
    pub(crate) fn begin(&self, query: Option<&str>) -> CancellationToken {
        let token = self.terminate.child_token();
        self.begin_with(token.clone(), query);
        token
    }

    /// A statement with a token of its own begins.
    pub(crate) fn begin_with(&self, token: CancellationToken, query: Option<&str>) {
        let mut state = self.lock();
        state.statement = Some(token);
        state.activity.state = "active";
        if let Some(query) = query {
            state.activity.query = Arc::from(query.get(..query.floor_char_boundary(1024)).unwrap_or(query));
            state.activity.query_started = Some(Utc::now());
        }
    }

    /// The statement is over.
    pub(crate) fn end(&self, state_word: &'static str) {
        let mut state = self.lock();
        state.statement = None;
        state.activity.state = state_word;
    }

    pub(crate) fn set_application_name(&self, name: String) {
        self.lock().activity.application_name = name;
    }

    /// What it does now.
    #[must_use]
    pub fn activity(&self) -> Activity {
        self.lock().activity.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancel_hits_only_a_running_statement_and_only_with_the_secret() {
        let connections = Connections::new(1);
        let mut slot = connections.accept().unwrap();
        assert!(connections.accept().is_none());
        let connection = slot.register("u", "d", None, 4);
        assert_eq!(connection.secret().len(), 4);
        connections.cancel_request(connection.process_id, connection.secret());
        let token = connection.begin(Some("select 1"));
        connections.cancel_request(connection.process_id, &[0; 4]);
        connections.cancel_request(connection.process_id, &[]);
        connections.cancel_request(connection.process_id + 1, connection.secret());
        assert!(!token.is_cancelled());
        connections.cancel_request(connection.process_id, connection.secret());
        assert!(token.is_cancelled());
        drop(slot);
        assert_eq!(connections.count(), 0);
        assert!(connections.activity().is_empty());
    }

    #[test]
    fn a_login_of_the_other_door_is_listed_and_not_counted() {
        let connections = Connections::new(1);
        let login = connections.login(0x4000_0000, "u", "d", None);
        assert_eq!((connections.count(), connections.logins()), (0, 1));
        assert_eq!(connections.activity().len(), 1);
        let token = CancellationToken::new();
        login.connection().begin_with(token.clone(), Some("select 1"));
        // It has no secret, so nobody reaches it by a cancel request.
        connections.cancel_request(0x4000_0000, &[]);
        assert!(!token.is_cancelled());
        login.connection().terminate();
        assert!(token.is_cancelled() && login.connection().was_terminated());
        drop(login);
        assert!(connections.activity().is_empty() && connections.logins() == 0);
    }

    #[test]
    fn ten_failures_lock_an_address_out() {
        let connections = Connections::new(1);
        let address = IpAddr::from([10, 0, 0, 1]);
        for _ in 0..9 {
            connections.failed(address);
        }
        assert!(!connections.is_locked_out(address, 10));
        connections.failed(address);
        assert!(connections.is_locked_out(address, 10));
        assert!(!connections.is_locked_out(IpAddr::from([10, 0, 0, 2]), 10));
    }
}
