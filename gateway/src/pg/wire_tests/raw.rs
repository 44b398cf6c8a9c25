//! A client that sends exactly the bytes a test wants.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::double::Double;
use crate::pg::backend::Backend;
use crate::pg::connections::Connections;
use crate::pg::fault::Fault;
use crate::pg::listener::{FrontDoor, FrontDoorConfig};
use crate::pg::scram::{FixedCredentials, Verifier};

/// A served front door.
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    pub(crate) streams: Arc<AtomicUsize>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) served: tokio::task::JoinHandle<()>,
}

pub(crate) async fn door() -> Door {
    door_with(100, |_| {}).await
}

pub(crate) async fn door_with(limit: usize, adjust: impl FnOnce(&mut FrontDoorConfig)) -> Door {
    let double = Double::default();
    let streams = Arc::clone(&double.streams);
    let door = door_to(limit, adjust, |_| Arc::new(double)).await;
    Door { streams, ..door }
}

/// A door before any backend.
pub(crate) async fn door_to(
    limit: usize,
    adjust: impl FnOnce(&mut FrontDoorConfig),
    backend: impl FnOnce(&Arc<Connections>) -> Arc<dyn Backend>,
) -> Door {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let users = [("demo".to_owned(), Verifier::from_password("demo").unwrap())];
    let credentials = Arc::new(FixedCredentials(users.into_iter().collect()));
    let mut config = FrontDoorConfig::new(vec!["portolan".to_owned()], credentials);
    adjust(&mut config);
    let connections = Connections::new(limit);
    let shutdown = CancellationToken::new();
    let backend = backend(&connections);
    let served = FrontDoor::new(config, backend, Arc::clone(&connections)).serve(listener, shutdown.clone());
    Door { address, streams: Arc::default(), connections, shutdown, served: tokio::spawn(served) }
}

impl Door {
    /// Waits until a condition holds; the work behind a closed connection ends within a second.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            assert!(start.elapsed() < Duration::from_secs(5), "{what} did not happen");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub(crate) async fn no_streams(&self) {
        self.until("the end of every stream", |door| door.streams.load(Ordering::SeqCst) == 0).await;
    }

    /// The process lives: a fresh client is answered.
    pub(crate) async fn answers(&self) {
        let mut client = Raw::login(self.address).await;
        assert_eq!(client.query("select 1").await, "TDC Z");
    }
}

pub(crate) struct Raw {
    pub(crate) reader: BufReader<OwnedReadHalf>,
    pub(crate) writer: OwnedWriteHalf,
    pub(crate) process_id: i32,
    pub(crate) secret: Vec<u8>,
    /// Bodies of the last answer.
    pub(crate) bodies: Vec<(u8, Vec<u8>)>,
}

/// A message: tag, length, body.
pub(crate) fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    out.extend(i32::try_from(body.len() + 4).unwrap().to_be_bytes());
    out.extend(body);
    out
}

pub(crate) fn startup(version: u32, pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    for (name, value) in pairs {
        body.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
    }
    body.push(0);
    let mut out = i32::try_from(body.len() + 4).unwrap().to_be_bytes().to_vec();
    out.extend(body);
    out
}

pub(crate) fn parse(name: &str, sql: &str, types: &[u32]) -> Vec<u8> {
    let mut body = [name.as_bytes(), b"\0", sql.as_bytes(), b"\0"].concat();
    body.extend(u16::try_from(types.len()).unwrap().to_be_bytes());
    body.extend(types.iter().flat_map(|oid| oid.to_be_bytes()));
    message(b'P', &body)
}

pub(crate) fn bind(
    portal: &str,
    statement: &str,
    formats: &[i16],
    values: &[Option<&[u8]>],
    results: &[i16],
) -> Vec<u8> {
    let mut body = [portal.as_bytes(), b"\0", statement.as_bytes(), b"\0"].concat();
    let count = |count: usize| u16::try_from(count).unwrap().to_be_bytes();
    body.extend(count(formats.len()));
    body.extend(formats.iter().flat_map(|format| format.to_be_bytes()));
    body.extend(count(values.len()));
    for value in values {
        match value {
            None => body.extend((-1_i32).to_be_bytes()),
            Some(value) => {
                body.extend(i32::try_from(value.len()).unwrap().to_be_bytes());
                body.extend(*value);
            }
        }
    }
    body.extend(count(results.len()));
    body.extend(results.iter().flat_map(|format| format.to_be_bytes()));
    message(b'B', &body)
}

pub(crate) fn execute(portal: &str, max_rows: i32) -> Vec<u8> {
    message(b'E', &[portal.as_bytes(), b"\0", &max_rows.to_be_bytes()].concat())
}

pub(crate) fn sync() -> Vec<u8> {
    message(b'S', &[])
}

impl Raw {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (reader, writer) = stream.into_split();
        let reader = BufReader::with_capacity(1 << 20, reader);
        Self { reader, writer, process_id: 0, secret: Vec::new(), bodies: Vec::new() }
    }

    pub(crate) async fn login(address: SocketAddr) -> Self {
        Self::login_as(address, 0x0003_0000, &[("user", "demo"), ("database", "portolan")], "demo")
            .await
            .unwrap()
    }

    /// Logs in; the error is the fault the server sent.
    pub(crate) async fn login_as(
        address: SocketAddr,
        version: u32,
        pairs: &[(&str, &str)],
        password: &str,
    ) -> Result<Self, Fault> {
        let mut client = Self::connect(address).await;
        client.send(&startup(version, pairs)).await;
        let bare = "n=,r=clientnonce";
        loop {
            let Some((tag, body)) = client.next().await else { panic!("closed without an answer") };
            match tag {
                b'E' => return Err(Fault::from_response(&body)),
                b'R' => match i32::from_be_bytes(body[..4].try_into().unwrap()) {
                    10 => {
                        let first = format!("n,,{bare}");
                        let length = i32::try_from(first.len()).unwrap().to_be_bytes();
                        let body = [b"SCRAM-SHA-256\0", &length[..], first.as_bytes()].concat();
                        client.send(&message(b'p', &body)).await;
                    }
                    11 => {
                        let server_first = std::str::from_utf8(&body[4..]).unwrap();
                        let last = crate::pg::scram::tests::proof(password, server_first, bare, "n,,");
                        client.send(&message(b'p', last.as_bytes())).await;
                    }
                    _ => {}
                },
                b'K' => {
                    client.process_id = i32::from_be_bytes(body[..4].try_into().unwrap());
                    client.secret = body[4..].to_vec();
                }
                b'Z' => return Ok(client),
                _ => {}
            }
        }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        // A server that has closed is seen when reading.
        let _ = self.writer.write_all(bytes).await;
    }

    /// The next message; `None` when the server closed.
    pub(crate) async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let read = async {
            let tag = self.reader.read_u8().await.ok()?;
            let length = self.reader.read_i32().await.ok()?;
            let mut body = vec![0; usize::try_from(length - 4).unwrap()];
            self.reader.read_exact(&mut body).await.ok()?;
            Some((tag, body))
        };
        tokio::time::timeout(Duration::from_secs(30), read).await.expect("no answer within 30 s")
    }

    /// Reads to ReadyForQuery (or the end) and returns the tags; rows of data count once each. Notices are kept in
    /// `bodies` but not in the tags.
    pub(crate) async fn answer(&mut self) -> String {
        self.bodies.clear();
        let mut tags = String::new();
        while let Some((tag, body)) = self.next().await {
            match tag {
                b'Z' => {
                    tags.push(' ');
                    tags.push('Z');
                    self.bodies.push((tag, body));
                    return tags;
                }
                b'N' => {}
                _ => tags.push(char::from(tag)),
            }
            self.bodies.push((tag, body));
        }
        tags.push('!');
        tags
    }

    pub(crate) async fn query(&mut self, sql: &str) -> String {
        self.send(&message(b'Q', &[sql.as_bytes(), b"\0"].concat())).await;
        self.answer().await
    }

    pub(crate) async fn round(&mut self, parts: &[Vec<u8>]) -> String {
        self.send(&parts.concat()).await;
        self.answer().await
    }

    /// The first fault of the last answer.
    pub(crate) fn fault(&self) -> Fault {
        let body = self.bodies.iter().find(|(tag, _)| *tag == b'E').expect("an error");
        Fault::from_response(&body.1)
    }

    pub(crate) fn code(&self) -> String {
        self.fault().sqlstate.into_owned()
    }

    pub(crate) fn notice(&self) -> Option<Fault> {
        self.bodies.iter().find(|(tag, _)| *tag == b'N').map(|(_, body)| Fault::from_response(body))
    }

    /// Command tags of the last answer.
    pub(crate) fn tags(&self) -> Vec<String> {
        self.bodies
            .iter()
            .filter(|(tag, _)| *tag == b'C')
            .map(|(_, body)| String::from_utf8_lossy(&body[..body.len() - 1]).into_owned())
            .collect()
    }

    /// The transaction status of the last answer.
    pub(crate) fn status(&self) -> char {
        char::from(self.bodies.last().unwrap().1[0])
    }

    /// The first field of each row of the last answer.
    pub(crate) fn first_fields(&self) -> Vec<String> {
        self.bodies
            .iter()
            .filter(|(tag, _)| *tag == b'D')
            .map(|(_, body)| String::from_utf8_lossy(&body[6..6 + usize::from(body[5])]).into_owned())
            .collect()
    }
}
