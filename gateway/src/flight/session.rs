//! One login: its settings, its tickets and its prepared statements.
//!
//! Statements of one login may run side by side, so each gets an engine session of its own, made from the settings as
//! they are when it is planned. A SET changes what is planned after it and nothing that runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::handles::{Handles, WhenFull};
use super::statement::{Flight, PreparedStatement};
use crate::engine::Engine;
use crate::pg::connections::Login;
use crate::session::{Identity, Session};
use crate::settings::Settings;

/// Tickets of one session; the oldest goes.
const TICKETS: usize = 256;
/// Prepared statements of one session, as on the other door.
const STATEMENTS: usize = 1_000;
/// A prepared statement nobody uses is closed after this long.
const STATEMENT_IDLE: Duration = Duration::from_secs(60 * 60);

/// A login.
#[derive(Debug)]
pub(super) struct FlightSession {
    /// Whose it is.
    pub(super) identity: Identity,
    /// The key it is found by.
    pub(super) key: [u8; 32],
    /// How it is listed beside the connections of the other door.
    pub(super) login: Login,
    /// Whether every client with the same Basic header uses it; then nothing in it can be changed.
    pub(super) shared: bool,
    /// Results that were asked for.
    pub(super) tickets: Handles<Flight>,
    /// Prepared statements.
    pub(super) statements: Handles<PreparedStatement>,
    settings: Mutex<Settings>,
}

impl FlightSession {
    pub(super) fn new(
        identity: Identity,
        login: Login,
        key: [u8; 32],
        shared: bool,
        ticket_life: Duration,
    ) -> Self {
        let mut settings = Settings::default();
        settings.set_fixed("session_authorization", &identity.user);
        Self {
            identity,
            login,
            key,
            shared,
            tickets: Handles::new("ticket", TICKETS, ticket_life, WhenFull::DropOldest),
            statements: Handles::new("prepared statement", STATEMENTS, STATEMENT_IDLE, WhenFull::Refuse),
            settings: Mutex::new(settings),
        }
    }

    /// The settings. Never held across an await.
    pub(super) fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An engine session with the settings as they are now.
    pub(super) fn open(&self, engine: &Engine) -> Arc<Session> {
        let settings = self.settings().clone();
        Arc::new(engine.session_with(self.identity.clone(), settings))
    }
}

/// A statement of a session that runs, as `pg_stat_activity` shows it, until it is dropped.
#[derive(Debug)]
pub(super) struct Running(Arc<FlightSession>);

impl Running {
    /// Lists a statement; cancelling it cancels the token.
    pub(super) fn begin(session: &Arc<FlightSession>, sql: &str, cancel: CancellationToken) -> Self {
        let connection = session.login.connection();
        connection.set_application_name(session.settings().show("application_name").unwrap_or_default());
        connection.begin_with(cancel, Some(sql));
        Self(Arc::clone(session))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.login.connection().end("idle");
    }
}

/// What of the settings a plan may depend on: all their values.
pub(super) fn fingerprint(settings: &Settings) -> Vec<String> {
    settings.rows().into_iter().map(|(_, value)| value).collect()
}
