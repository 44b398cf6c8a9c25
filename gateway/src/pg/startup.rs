//! From the first byte to ReadyForQuery: version, SSL and GSS requests, SCRAM, settings.
//!
//! Nothing a client sent takes effect before it is authenticated: start-up settings are only kept until then. Errors
//! of the connection phase are PostgreSQL's texts, because BI tools match them.

#![warn(clippy::indexing_slicing)]

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use pgwire::messages::response::TransactionStatus;
use pgwire::messages::startup::Authentication;

use crate::pg::backend::{Backend, BackendSession, Login};
use crate::pg::connections::{Connection, Connections, Slot};
use crate::pg::fault::{Fault, Severity};
use crate::pg::frame::{FrameLimits, Reader};
use crate::pg::listener::FrontDoorConfig;
use crate::pg::scram::{Exchange, MECHANISM};
use crate::pg::socket::{Received, Socket};

const SHORTEST: usize = 8;
const LONGEST: usize = 10_000;
const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;

/// The first real packet.
#[derive(Debug)]
pub(crate) enum First {
    Startup(Startup),
    Cancel {
        process_id: i32,
        secret: Bytes,
    },
    /// The client left.
    Closed,
}

/// A startup packet.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Startup {
    minor: u16,
    user: String,
    database: String,
    settings: Vec<(String, String)>,
    /// `_pq_.` parameters: protocol extensions, none of which is known.
    extensions: Vec<String>,
}

/// Reads packets up to the one that says what the client wants.
///
/// # Errors
/// FATAL, for a packet that is not one.
pub(crate) async fn first(socket: &mut Socket) -> Result<First, Fault> {
    let (mut ssl, mut gss) = (false, false);
    loop {
        if !socket.fill(4).await {
            return Ok(First::Closed);
        }
        let announced = socket.incoming.buffer.as_ref().get_u32();
        let length = usize::try_from(announced).unwrap_or(usize::MAX);
        if !(SHORTEST..=LONGEST).contains(&length) {
            return Err(Fault::fatal("08P01", "invalid length of startup packet"));
        }
        if !socket.fill(length).await {
            return Ok(First::Closed);
        }
        let mut packet = socket.incoming.buffer.split_to(length).freeze();
        packet.advance(4);
        match packet.get_u32() {
            code @ (SSL_REQUEST | GSS_REQUEST) => {
                let seen = if code == SSL_REQUEST { &mut ssl } else { &mut gss };
                if std::mem::replace(seen, true) {
                    return Err(Fault::fatal("08P01", "a second encryption request in one connection"));
                }
                // Bytes behind the request were sent before the answer was known: somebody stuffs them.
                if socket.has_input() {
                    let kind = if code == SSL_REQUEST { "SSL" } else { "GSSAPI encryption" };
                    return Err(Fault::fatal(
                        "08P01",
                        format!("received unencrypted data after {kind} request"),
                    ));
                }
                socket.out.buffer.extend_from_slice(b"N");
                if !socket.flush().await {
                    return Ok(First::Closed);
                }
            }
            CANCEL_REQUEST => {
                let process_id = packet.try_get_i32().unwrap_or_default();
                return Ok(First::Cancel { process_id, secret: packet });
            }
            version => return startup(version, packet).map(First::Startup),
        }
    }
}

fn startup(version: u32, body: Bytes) -> Result<Startup, Fault> {
    let (major, minor) = (version >> 16, version & 0xffff);
    if major != 3 {
        return Err(Fault::fatal(
            "0A000",
            format!("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.2"),
        ));
    }
    let mut startup = Startup { minor: u16::try_from(minor).unwrap_or(u16::MAX), ..Startup::default() };
    let mut reader = Reader { body };
    let fatal = |fault: Fault| Fault { severity: Severity::Fatal, ..fault };
    loop {
        let name = reader.string().map_err(fatal)?;
        if name.is_empty() {
            break;
        }
        let value = reader.string().map_err(fatal)?;
        match name.as_str() {
            "user" => startup.user = value,
            "database" => startup.database = value,
            "options" => startup.settings.extend(options(&value)?),
            "replication" => {
                if !matches!(value.as_str(), "false" | "off" | "no" | "0") {
                    return Err(Fault::fatal("0A000", "replication connections are not supported"));
                }
            }
            _ if name.starts_with("_pq_.") => startup.extensions.push(name),
            _ => startup.settings.push((name, value)),
        }
    }
    if reader.body.has_remaining() {
        return Err(Fault::fatal("08P01", "invalid startup packet layout: expected terminator as last byte"));
    }
    if startup.user.is_empty() {
        return Err(Fault::fatal("28000", "no PostgreSQL user name specified in startup packet"));
    }
    if startup.database.is_empty() {
        startup.database = startup.user.clone();
    }
    Ok(startup)
}

/// `-c name=value`, `-cname=value`, `--name=value`; a backslash keeps the next character.
fn options(text: &str) -> Result<Vec<(String, String)>, Fault> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => word.extend(characters.next()),
            space if space.is_ascii_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            other => word.push(other),
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    let mut settings = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let assignment = match (word.strip_prefix("--"), word.strip_prefix("-c")) {
            (Some(rest), _) => rest.replace('-', "_"),
            (None, Some("")) => words.next().unwrap_or_default(),
            (None, Some(rest)) => rest.to_owned(),
            (None, None) => String::new(),
        };
        let Some((name, value)) = assignment.split_once('=') else {
            return Err(Fault::fatal(
                "42601",
                format!("invalid command-line argument for server process: {word}"),
            )
            .with_hint("use options='-c name=value'"));
        };
        settings.push((name.to_owned(), value.to_owned()));
    }
    Ok(settings)
}

/// Proves who the client is.
///
/// # Errors
/// FATAL 28P01, 08P01, 28000.
pub(crate) async fn authenticate(
    socket: &mut Socket,
    startup: &Startup,
    config: &FrontDoorConfig,
    connections: &Connections,
    secret: &[u8; 32],
    peer: Option<SocketAddr>,
) -> Result<bool, Fault> {
    if peer.is_some_and(|peer| connections.is_locked_out(peer.ip(), config.failures_per_minute)) {
        return Err(Fault::fatal("28000", "too many failed logins from this address")
            .with_hint("wait a minute, then log in with the right password"));
    }
    let Startup { minor, user, extensions, .. } = startup;
    if *minor > 2 || *minor == 1 || !extensions.is_empty() {
        let offered = if *minor >= 2 { 2 } else { 0 };
        socket.out.negotiate_version(offered, extensions);
    }
    socket.out.authentication(&Authentication::SASL(vec![MECHANISM.to_owned()]));
    let Some(body) = respond(socket).await? else { return Ok(false) };
    let mut reader = Reader { body };
    let fatal = |fault: Fault| Fault { severity: Severity::Fatal, ..fault };
    let mechanism = reader.string().map_err(fatal)?;
    if mechanism != MECHANISM {
        return Err(Fault::fatal("08P01", "client selected an invalid SASL authentication mechanism"));
    }
    let length = usize::try_from(reader.i32().map_err(fatal)?).ok();
    if length != Some(reader.body.len()) {
        return Err(Fault::fatal("08P01", "malformed SCRAM message"));
    }
    let verifier = config.credentials.verifier(user);
    let (exchange, server_first) = Exchange::begin(&reader.body, user, verifier, secret)?;
    socket.out.authentication(&Authentication::SASLContinue(server_first.into()));
    let Some(body) = respond(socket).await? else { return Ok(false) };
    let Some(server_final) = exchange.finish(&body)? else {
        if let Some(peer) = peer {
            connections.failed(peer.ip());
        }
        return Err(Fault::fatal("28P01", format!("password authentication failed for user \"{user}\"")));
    };
    socket.out.authentication(&Authentication::SASLFinal(server_final.into()));
    socket.out.authentication(&Authentication::Ok);
    Ok(true)
}

/// Sends what waits and reads a password message; `None` when the client left.
async fn respond(socket: &mut Socket) -> Result<Option<Bytes>, Fault> {
    if !socket.flush().await {
        return Ok(None);
    }
    match socket.receive(&FrameLimits::default(), false).await? {
        Received::Message(_, body) => Ok(Some(body)),
        Received::TooLarge(_, fault) => Err(Fault { severity: Severity::Fatal, ..fault }),
        Received::Closed => Ok(None),
    }
}

/// Opens the session of an authenticated client, applies its settings and says that it is ready.
///
/// # Errors
/// FATAL 3D000, or what the backend refuses.
pub(crate) async fn open(
    socket: &mut Socket,
    startup: Startup,
    config: &FrontDoorConfig,
    backend: &dyn Backend,
    slot: &mut Slot,
    peer: Option<SocketAddr>,
) -> Result<(Box<dyn BackendSession>, Arc<Connection>), Fault> {
    let fatal = |fault: Fault| Fault { severity: Severity::Fatal, ..fault };
    let Startup { minor, user, database, settings, .. } = startup;
    if !config.databases.contains(&database) {
        return Err(Fault::fatal("3D000", format!("database \"{database}\" does not exist")));
    }
    let secret_len = if minor >= 2 { 32 } else { 4 };
    let connection = slot.register(&user, &database, peer, secret_len);
    let login = Login { user, database, process_id: connection.process_id, peer };
    let mut session = backend.open(&login).await.map_err(fatal)?;
    for (name, value) in settings {
        session.set(&name, &value).await.map_err(fatal)?;
    }
    session.seal_defaults();
    for (name, value) in session.reported() {
        socket.out.parameter_status(name, &value);
        if name == "application_name" {
            connection.set_application_name(value);
        }
    }
    socket.out.backend_key(connection.process_id, connection.secret());
    socket.out.ready(TransactionStatus::Idle);
    Ok((session, connection))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_startup_packet_is_read_whole() {
        let body = Bytes::from_static(
            b"user\0demo\0database\0portolan\0TimeZone\0UTC\0options\0-c a.b=1\\ 2 --work-mem=3\0_pq_.x\x001\0\0",
        );
        let startup = startup(0x0003_0002, body).unwrap();
        assert_eq!(
            (startup.minor, startup.user.as_str(), startup.database.as_str()),
            (2, "demo", "portolan")
        );
        let setting = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            startup.settings,
            [setting("TimeZone", "UTC"), setting("a.b", "1 2"), setting("work_mem", "3")]
        );
        assert_eq!(startup.extensions, ["_pq_.x"]);
    }

    #[test]
    fn broken_startup_packets_are_fatal() {
        for (version, body, code) in [
            (0x0002_0000, &b"user\0x\0\0"[..], "0A000"),
            (0x0003_0000, b"user\0x\0", "08P01"),
            (0x0003_0000, b"user\0x", "08P01"),
            (0x0003_0000, b"user\0x\0\0rest", "08P01"),
            (0x0003_0000, b"\0", "28000"),
            (0x0003_0000, b"user\0\xff\0\0", "22021"),
            (0x0003_0000, b"user\0x\0replication\0database\0\0", "0A000"),
            (0x0003_0000, b"user\0x\0options\0-z\0\0", "42601"),
        ] {
            let fault = startup(version, Bytes::from_static(body)).unwrap_err();
            assert_eq!((fault.sqlstate.as_ref(), fault.severity), (code, Severity::Fatal), "{body:?}");
        }
    }
}
