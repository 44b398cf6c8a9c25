//! A proxy in front of the broker that can fall silent, and counts its connections.
//!
//! Brokers tell their own address, so the proxy puts its port in the place of theirs in what it passes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[derive(Debug, Clone)]
pub(super) struct Proxy {
    pub(super) address: String,
    frozen: Arc<AtomicBool>,
    open: Arc<AtomicUsize>,
}

impl Proxy {
    pub(super) async fn start(broker: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let theirs: u16 = broker.rsplit(':').next().unwrap_or_default().parse().unwrap();
        let proxy =
            Self { address: format!("127.0.0.1:{port}"), frozen: Arc::default(), open: Arc::default() };
        let (broker, shared) = (broker.to_owned(), proxy.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&broker).await else { continue };
                let shared = shared.clone();
                tokio::spawn(async move {
                    shared.open.fetch_add(1, Ordering::SeqCst);
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    tokio::select! {
                        () = shared.pass(from_client, to_server, None) => {}
                        () = shared.pass(from_server, to_client, Some((theirs, port))) => {}
                    }
                    shared.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        proxy
    }

    /// From now on bytes are taken and none is passed on.
    pub(super) fn freeze(&self) {
        self.frozen.store(true, Ordering::SeqCst);
    }

    pub(super) fn connections(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    async fn pass(
        &self,
        mut from: impl AsyncReadExt + Unpin,
        mut to: impl AsyncWriteExt + Unpin,
        ports: Option<(u16, u16)>,
    ) {
        let mut buffer = vec![0; 65_536];
        loop {
            let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
            if self.frozen.load(Ordering::SeqCst) {
                continue;
            }
            let bytes = &mut buffer[..read];
            if let Some((theirs, ours)) = ports {
                replace(bytes, theirs, ours);
            }
            if to.write_all(bytes).await.is_err() {
                return;
            }
        }
    }
}

/// An address is a length-prefixed host followed by the port as a 32-bit number.
fn replace(bytes: &mut [u8], theirs: u16, ours: u16) {
    let find = [b"127.0.0.1".as_slice(), &u32::from(theirs).to_be_bytes()].concat();
    let put = u32::from(ours).to_be_bytes();
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(find.len()).position(|window| window == find) {
        let end = at + found + find.len();
        bytes[end - 4..end].copy_from_slice(&put);
        at = end;
    }
}
