//! Accepts connections, refuses what is too much, and ends them in order.
//!
//! Every accepted socket is counted at once, and a refused client hears why (53300). A connection's task is the blast
//! radius of whatever goes wrong in it.

use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::pg::backend::Backend;
use crate::pg::connections::Connections;
use crate::pg::conversation::Conversation;
use crate::pg::fault::Fault;
use crate::pg::frame::FrameLimits;
use crate::pg::scram::Credentials;
use crate::pg::socket::Socket;
use crate::pg::startup::{self, First};

/// How the front door behaves.
#[derive(Debug)]
pub struct FrontDoorConfig {
    /// Databases a client may name.
    pub databases: Vec<String>,
    /// Who may log in.
    pub credentials: Arc<dyn Credentials>,
    /// Message and statement sizes.
    pub limits: FrameLimits,
    /// From accept to authenticated.
    pub login_timeout: Duration,
    /// A client that takes nothing for this long is closed.
    pub write_stall_timeout: Duration,
    /// How long running statements may go on after shutdown began.
    pub drain_grace: Duration,
    /// Failed logins of one address within a minute before it is refused.
    pub failures_per_minute: usize,
}

impl FrontDoorConfig {
    /// The defaults for some databases and users.
    #[must_use]
    pub fn new(databases: Vec<String>, credentials: Arc<dyn Credentials>) -> Self {
        Self {
            databases,
            credentials,
            limits: FrameLimits::default(),
            login_timeout: Duration::from_secs(10),
            write_stall_timeout: Duration::from_secs(60),
            drain_grace: Duration::from_secs(10),
            failures_per_minute: 10,
        }
    }
}

/// The PostgreSQL front door.
#[derive(Debug)]
pub struct FrontDoor {
    config: FrontDoorConfig,
    backend: Arc<dyn Backend>,
    connections: Arc<Connections>,
    /// Of this process: salts for users who do not exist.
    secret: [u8; 32],
    /// Running statements are cut when this is cancelled.
    abort: CancellationToken,
}

impl FrontDoor {
    /// A door that is not open yet; `connections` may be shared with what lists them.
    #[must_use]
    pub fn new(
        config: FrontDoorConfig,
        backend: Arc<dyn Backend>,
        connections: Arc<Connections>,
    ) -> Arc<Self> {
        Arc::new(Self {
            config,
            backend,
            connections,
            secret: rand::random(),
            abort: CancellationToken::new(),
        })
    }

    /// Serves until `shutdown`, then drains: idle connections end at once (57P01), running statements within the
    /// grace, the rest is cancelled. Returns when no connection is left.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, shutdown: CancellationToken) {
        let tasks = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let door = Arc::clone(&self);
                    let shutdown = shutdown.clone();
                    tasks.spawn(async move { Box::pin(door.connection(stream, shutdown)).await });
                }
                Err(error) => {
                    // Out of descriptors, or a client that left in the queue: neither may spin nor end the door.
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        drop(listener);
        tasks.close();
        if tokio::time::timeout(self.config.drain_grace, tasks.wait()).await.is_err() {
            self.abort.cancel();
            for activity in self.connections.activity() {
                if let Some(connection) = self.connections.get(activity.process_id) {
                    connection.terminate();
                }
            }
            if tokio::time::timeout(Duration::from_secs(5), tasks.wait()).await.is_err() {
                tracing::warn!(left = self.connections.count(), "connections did not end");
            }
        }
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, shutdown: CancellationToken) {
        let peer = stream.peer_addr().ok();
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "set_nodelay failed");
        }
        let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(60));
        if let Err(error) = SockRef::from(&stream).set_tcp_keepalive(&keepalive) {
            tracing::debug!(%error, "set_tcp_keepalive failed");
        }
        let mut socket = Socket::new(stream, self.config.write_stall_timeout);
        let slot = self.connections.accept();
        // Too many, or going down: one second to hear what the client wants, and only a cancel is still served.
        let refused = slot.is_none() || shutdown.is_cancelled();
        let patience = if refused { Duration::from_secs(1) } else { self.config.login_timeout };
        let login = tokio::select! {
            biased;
            login = tokio::time::timeout(patience, self.login(&mut socket, slot, refused, peer)) => login,
            () = self.abort.cancelled() => return,
        };
        let fault = match login {
            Ok(Ok(None)) => return socket.close().await,
            Ok(Ok(Some((session, connection, slot)))) => {
                let conversation =
                    Conversation::new(socket, session, connection, self.config.limits, shutdown.clone());
                Box::pin(conversation.run()).await;
                drop(slot);
                return;
            }
            Ok(Err(fault)) => fault,
            Err(_) if refused => return,
            Err(_) => Fault::fatal("57014", "canceling authentication due to timeout"),
        };
        socket.out.fault(&fault);
        socket.close().await;
    }

    async fn login(
        &self,
        socket: &mut Socket,
        slot: Option<crate::pg::connections::Slot>,
        refused: bool,
        peer: Option<std::net::SocketAddr>,
    ) -> Result<Option<LoggedIn>, Fault> {
        let startup = match startup::first(socket).await? {
            First::Closed => return Ok(None),
            First::Cancel { process_id, secret } => {
                self.connections.cancel_request(process_id, &secret);
                return Ok(None);
            }
            First::Startup(startup) => startup,
        };
        let Some(mut slot) = slot.filter(|_| !refused) else {
            return Err(Fault::fatal("53300", "sorry, too many clients already"));
        };
        let known = Box::pin(startup::authenticate(
            socket,
            &startup,
            &self.config,
            &self.connections,
            &self.secret,
            peer,
        ));
        if !known.await? {
            return Ok(None);
        }
        let opened =
            Box::pin(startup::open(socket, startup, &self.config, self.backend.as_ref(), &mut slot, peer));
        let (session, connection) = opened.await?;
        if !socket.flush().await {
            return Ok(None);
        }
        Ok(Some((session, connection, slot)))
    }
}

/// What a login makes.
type LoggedIn = (
    Box<dyn crate::pg::backend::BackendSession>,
    Arc<crate::pg::connections::Connection>,
    crate::pg::connections::Slot,
);
