//! The Arrow Flight SQL front door: the same statements, rows, names and errors as on the PostgreSQL wire, as Arrow.
//!
//! It adapts and nothing else: planning and execution are the engine's, passwords are checked by the other door's
//! verifiers, the lists of tables come from the catalog that answers queries. Rows are pulled only as the client takes
//! them; a stream that is dropped ends the work behind it. It must never collect a result, never trust a handle it did
//! not sign, and never answer a call without knowing whose it is. The listener speaks plain text, so it belongs on
//! loopback.

mod auth;
mod bind;
mod catalog;
mod command;
mod door;
mod handles;
mod info;
mod lists;
mod message;
mod metadata;
mod placeholders;
mod rows;
mod schema;
mod service;
mod session;
mod statement;
mod status;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use chrono::{DateTime, Utc};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::engine::Engine;
use crate::mirror::Names;
use crate::pg::connections::Connections;
use crate::pg::scram::Credentials;
use crate::shadow::Shadow;

/// How the Flight door behaves.
#[derive(Debug, Clone)]
pub struct FlightConfig {
    /// What answers.
    pub engine: Arc<Engine>,
    /// Who may log in.
    pub credentials: Arc<dyn Credentials>,
    /// The relations served, with their keys and comments.
    pub names: Arc<Names>,
    /// What answers catalog statements; without it they are refused.
    pub shadow: Option<Arc<Shadow>>,
    /// Remembers failed logins, together with the other doors; and what they do, for `pg_stat_activity`.
    pub connections: Arc<Connections>,
    /// When the gateway started, UTC.
    pub started: DateTime<Utc>,
    /// A session that is not used for this long is forgotten.
    pub session_idle: Duration,
    /// Most sessions at once; one more is refused with 53300.
    pub sessions: usize,
    /// How long a ticket may be redeemed.
    pub ticket_life: Duration,
    /// A client that takes no message of a stream for this long loses it with 57014.
    pub write_stall_timeout: Duration,
    /// How long running streams may go on after shutdown began.
    pub drain_grace: Duration,
    /// Failed logins of one address within a minute before it is refused.
    pub failures_per_minute: usize,
}

impl FlightConfig {
    /// The defaults over an engine.
    #[must_use]
    pub fn new(
        engine: Arc<Engine>,
        credentials: Arc<dyn Credentials>,
        names: Arc<Names>,
        connections: Arc<Connections>,
    ) -> Self {
        Self {
            engine,
            credentials,
            names,
            shadow: None,
            connections,
            started: Utc::now(),
            session_idle: Duration::from_secs(15 * 60),
            sessions: 1_000,
            ticket_life: Duration::from_secs(10 * 60),
            write_stall_timeout: Duration::from_secs(60),
            drain_grace: Duration::from_secs(10),
            failures_per_minute: 10,
        }
    }
}

/// Largest message a client may send, as on the other door.
const INBOUND_BYTES: usize = 16 << 20;
/// Calls of one connection at once.
const STREAMS: u32 = 128;
/// A peer that says nothing is asked after this long, and given up when it does not answer.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Serves until `stop`, then drains: no new connection, running streams within the grace, the rest ends with 57P01.
pub async fn serve(listener: TcpListener, config: FlightConfig, stop: CancellationToken) {
    let grace = config.drain_grace;
    let abort = CancellationToken::new();
    let door = door::Door::new(config, abort.clone());
    let service = FlightServiceServer::new(door).max_decoding_message_size(INBOUND_BYTES);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true)).with_keepalive(Some(KEEPALIVE));
    let serving = Server::builder()
        .max_concurrent_streams(STREAMS)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(Duration::from_secs(20)))
        .add_service(service)
        .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    let mut serving = Box::pin(serving);
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    let served = tokio::select! {
        served = &mut serving => Some(served),
        () = overdue => None,
    };
    let served = match served {
        Some(served) => served,
        None => {
            abort.cancel();
            match tokio::time::timeout(Duration::from_secs(5), serving).await {
                Ok(served) => served,
                Err(_) => {
                    tracing::warn!("flight connections did not end");
                    Ok(())
                }
            }
        }
    };
    if let Err(error) = served {
        tracing::error!(%error, "flight listener ended");
    }
}
