//! A TCP proxy before a real server that refuses, falls silent, or cuts the answer where a test says.
//!
//! Faults are of the network between, so that other tests keep their server. It never changes a byte.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the proxy does with bytes of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// Passes everything on.
    Forward,
    /// Passes nothing on, in either direction, and keeps connections open.
    Silent,
    /// Closes every connection at once.
    Refuse,
}

#[derive(Debug)]
struct Shared {
    behaviour: watch::Sender<Behaviour>,
    /// Bytes of the server's that still pass before the connection is cut; `u64::MAX` for no cut.
    left: AtomicU64,
    /// Set when a connection was cut in that way.
    cut: AtomicBool,
}

/// A proxy on a port of its own; stops with its last handle.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Listens before a server.
    pub(crate) async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (behaviour, _) = watch::channel(Behaviour::Forward);
        let shared =
            Arc::new(Shared { behaviour, left: AtomicU64::new(u64::MAX), cut: AtomicBool::new(false) });
        let weak = Arc::downgrade(&shared);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Some(shared) = weak.upgrade() else { return };
                tokio::spawn(serve(client, server, shared));
            }
        });
        Self { address, shared }
    }

    pub(crate) fn behave(&self, behaviour: Behaviour) {
        self.shared.behaviour.send_replace(behaviour);
    }

    /// Cuts connections once this many more bytes of the server's have passed.
    pub(crate) fn cut_after(&self, bytes: u64) {
        self.shared.cut.store(false, Ordering::SeqCst);
        self.shared.left.store(bytes, Ordering::SeqCst);
    }

    /// Lets bytes pass without end again; tells whether a connection was cut since [`Self::cut_after`].
    pub(crate) fn mend(&self) -> bool {
        self.shared.left.store(u64::MAX, Ordering::SeqCst);
        self.behave(Behaviour::Forward);
        self.shared.cut.load(Ordering::SeqCst)
    }
}

async fn serve(mut client: TcpStream, server: SocketAddr, shared: Arc<Shared>) {
    if *shared.behaviour.borrow() == Behaviour::Refuse {
        return;
    }
    let Ok(mut upstream) = TcpStream::connect(server).await else { return };
    let mut behaviour = shared.behaviour.subscribe();
    let (mut up, mut down) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    loop {
        let now = *behaviour.borrow_and_update();
        let passing = now == Behaviour::Forward;
        tokio::select! {
            changed = behaviour.changed() => if changed.is_err() { return },
            read = client.read(&mut up), if passing => match read {
                Ok(n @ 1..) if upstream.write_all(&up[..n]).await.is_ok() => {}
                _ => return,
            },
            read = upstream.read(&mut down), if passing => match read {
                Ok(n @ 1..) => {
                    let left = shared.left.load(Ordering::SeqCst);
                    let pass = usize::try_from(left).unwrap_or(usize::MAX).min(n);
                    if client.write_all(&down[..pass]).await.is_err() {
                        return;
                    }
                    if left != u64::MAX {
                        shared.left.store(left - pass as u64, Ordering::SeqCst);
                    }
                    if pass < n {
                        shared.cut.store(true, Ordering::SeqCst);
                        return;
                    }
                }
                _ => return,
            },
        }
        if *behaviour.borrow() == Behaviour::Refuse {
            return;
        }
    }
}
