//! A proxy in front of the NameNode that can cut a call's answer off, and stand in front of the DataNodes too.
//!
//! The NameNode tells where its DataNodes listen; the proxy puts ports of its own in their places, so that the data
//! goes through it and can be held up.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

#[derive(Debug, Clone, Default)]
pub(super) struct Proxy {
    pub(super) address: String,
    /// Texts that a call to be cut must contain.
    cut: Arc<Mutex<Option<Vec<Vec<u8>>>>>,
    frozen: Arc<AtomicBool>,
    data: Arc<tokio::sync::Mutex<HashMap<u16, u16>>>,
}

impl Proxy {
    pub(super) async fn start(namenode: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self { address: listener.local_addr().unwrap().to_string(), ..Self::default() };
        let namenode = namenode.trim_start_matches("hdfs://").trim_end_matches('/').to_owned();
        let shared = proxy.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&namenode).await else { continue };
                tokio::spawn(shared.clone().calls(client, server));
            }
        });
        proxy
    }

    /// The next call that contains all these texts is passed on, and its connection cut before the answer.
    pub(super) fn cut_next(&self, texts: &[&str]) {
        let texts = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
        *self.cut.lock().unwrap() = Some(texts);
    }

    /// Whether the call to be cut has not come yet.
    pub(super) fn is_armed(&self) -> bool {
        self.cut.lock().unwrap().is_some()
    }

    /// From now on the DataNodes take bytes and say nothing.
    pub(super) fn freeze_data(&self) {
        self.frozen.store(true, Ordering::SeqCst);
    }

    async fn calls(self, client: TcpStream, server: TcpStream) {
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let up = async {
            let mut buffer = vec![0; 65_536];
            loop {
                let Ok(read @ 1..) = from_client.read(&mut buffer).await else { return false };
                let bytes = &buffer[..read];
                let cut = self.hits(bytes);
                if to_server.write_all(bytes).await.is_err() {
                    return false;
                }
                if cut {
                    return true;
                }
            }
        };
        let down = async {
            let mut buffer = vec![0; 65_536];
            loop {
                let Ok(read @ 1..) = from_server.read(&mut buffer).await else { return };
                self.redirect(&mut buffer[..read]).await;
                if to_client.write_all(&buffer[..read]).await.is_err() {
                    return;
                }
            }
        };
        let cut = tokio::select! {
            cut = up => cut,
            () = down => false,
        };
        if cut {
            // The answer is taken so that the call is surely carried out, and thrown away.
            let mut answer = vec![0; 65_536];
            let _ = from_server.read(&mut answer).await;
        }
    }

    fn hits(&self, bytes: &[u8]) -> bool {
        let mut cut = self.cut.lock().unwrap();
        let hit = cut.as_ref().is_some_and(|texts| texts.iter().all(|text| holds(bytes, text)));
        if hit {
            *cut = None;
        }
        hit
    }

    /// A DataNode is told as its 36 letters of id, then its port as a number of three bytes.
    async fn redirect(&self, bytes: &mut [u8]) {
        let mut at = 0;
        while at + 42 <= bytes.len() {
            let told = &mut bytes[at..at + 42];
            if told[0] == 0x1a && told[1] == 36 && told[38] == 0x20 && told[39] >= 0x80 && told[40] >= 0x80 {
                let low = u32::from(told[39] & 0x7f) | (u32::from(told[40] & 0x7f) << 7);
                if let Ok(port) = u16::try_from(low | (u32::from(told[41]) << 14)) {
                    let ours = u32::from(self.stand_in(port).await);
                    told[39] = u8::try_from((ours & 0x7f) | 0x80).unwrap();
                    told[40] = u8::try_from(((ours >> 7) & 0x7f) | 0x80).unwrap();
                    told[41] = u8::try_from(ours >> 14).unwrap();
                }
                at += 42;
            } else {
                at += 1;
            }
        }
    }

    /// The port in front of a DataNode's.
    async fn stand_in(&self, port: u16) -> u16 {
        let mut data = self.data.lock().await;
        if let Some(known) = data.get(&port) {
            return *known;
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = listener.local_addr().unwrap().port();
        assert!(ours >= 16_384, "a port of three bytes is needed, not {ours}");
        data.insert(port, ours);
        let frozen = Arc::clone(&self.frozen);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(pass(from_client, to_server, Arc::clone(&frozen)));
                tokio::spawn(pass(from_server, to_client, Arc::clone(&frozen)));
            }
        });
        ours
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, frozen: Arc<AtomicBool>) {
    let mut buffer = vec![0; 65_536];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if !frozen.load(Ordering::SeqCst) && to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

fn holds(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}
