//! Asks a server whether it serves, in a few bytes of its own protocol. A port that accepts says little: PostgreSQL
//! accepts while it recovers, and a stopped process accepts for ever. It must never need a driver; `x` has none.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// How long a server that is well may take for one answer.
const ANSWER: Duration = Duration::from_secs(2);

fn connect(port: u16) -> Result<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect_timeout(&address, ANSWER).context("no connection")?;
    stream.set_read_timeout(Some(ANSWER)).context("set a time-out")?;
    stream.set_write_timeout(Some(ANSWER)).context("set a time-out")?;
    Ok(stream)
}

/// Sends `request` and reads `N` bytes.
fn ask<const N: usize>(port: u16, request: &[u8]) -> Result<[u8; N]> {
    let mut stream = connect(port)?;
    stream.write_all(request).context("no answer")?;
    let mut answer = [0; N];
    stream.read_exact(&mut answer).context("no answer")?;
    Ok(answer)
}

/// A request with its length before it, which counts itself where `whole` says so.
fn framed(body: &[u8], whole: bool) -> Result<Vec<u8>> {
    let length = body.len() + if whole { 4 } else { 0 };
    let mut framed = u32::try_from(length).context("a request too long")?.to_be_bytes().to_vec();
    framed.extend_from_slice(body);
    Ok(framed)
}

/// PostgreSQL asks for the password, which it does not before its recovery is over.
pub(super) fn postgres(port: u16) -> Result<()> {
    let mut startup = 196_608_u32.to_be_bytes().to_vec();
    startup.extend_from_slice(b"user\0portolan\0database\0postgres\0\0");
    match ask::<1>(port, &framed(&startup, true)?)? {
        [b'R'] => Ok(()),
        other => bail!("answers {other:?} to a start-up message"),
    }
}

/// MariaDB greets with version 10 of its protocol.
pub(super) fn mariadb(port: u16) -> Result<()> {
    let [_, _, _, _, version] = ask(port, &[])?;
    match version {
        10 => Ok(()),
        other => bail!("greets with version {other}"),
    }
}

/// A MongoDB server says that it takes writes.
pub(super) fn mongodb(port: u16) -> Result<()> {
    let mut document = b"\x10hello\0\x01\0\0\0\x02$db\0\x06\0\0\0admin\0\0".to_vec();
    let length = u32::try_from(document.len() + 4).context("a request too long")?;
    document.splice(0..0, length.to_le_bytes());
    // Length, request, answered request, OP_MSG, no flags, one section of kind 0.
    let mut message = Vec::new();
    for number in [21 + length, 1, 0, 2013, 0] {
        message.extend_from_slice(&number.to_le_bytes());
    }
    message.push(0);
    message.extend_from_slice(&document);
    let mut stream = connect(port)?;
    stream.write_all(&message).context("no answer")?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).context("no answer")?;
    let length = usize::try_from(u32::from_le_bytes(length)).context("an answer too long")?;
    let mut answer = vec![0; length.clamp(4, 1 << 16) - 4];
    stream.read_exact(&mut answer).context("no answer")?;
    match contains(&answer, b"\x08isWritablePrimary\0\x01") {
        true => Ok(()),
        false => bail!("takes no writes"),
    }
}

/// Kafka names a coordinator for a group. It does so once the broker is registered and has made the topic of group
/// offsets, for which the first group of a new cluster otherwise waits seconds.
pub(super) fn kafka(port: u16) -> Result<()> {
    // FindCoordinator 1, correlation 7, no client name; the group "x", and that it is a group.
    let request = b"\0\x0a\0\x01\0\0\0\x07\xff\xff\0\x01x\0";
    let answer: [u8; 14] = ask(port, &framed(request, false)?)?;
    match answer {
        [_, _, _, _, 0, 0, 0, 7, _, _, _, _, 0, 0] => Ok(()),
        [.., high, low] => bail!("answers error {} to a group", i16::from_be_bytes([high, low])),
    }
}

/// A page of a Hadoop daemon's figures, without white space. `query` names the bean.
pub(super) fn jmx(port: u16, query: &str) -> Result<String> {
    let mut stream = connect(port)?;
    let request = format!("GET /jmx?qry={query} HTTP/1.0\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).context("no answer")?;
    let mut answer = String::new();
    stream.take(1 << 20).read_to_string(&mut answer).context("no answer")?;
    answer.retain(|character| !character.is_whitespace());
    Ok(answer)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A server that says `answer` to whatever comes, once.
    fn saying(answer: &'static [u8]) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(answer).unwrap();
            let _end = stream.read_to_end(&mut Vec::new());
        });
        port
    }

    #[test]
    fn a_server_that_recovers_is_not_ready() {
        postgres(saying(b"R\0\0\0\x17")).unwrap();
        assert!(postgres(saying(b"E\0\0\0\x17SFATAL\0C57P03")).is_err());
    }

    #[test]
    fn a_broker_without_a_coordinator_is_not_ready() {
        kafka(saying(b"\0\0\0\x20\0\0\0\x07\0\0\0\0\0\0rest")).unwrap();
        let told = kafka(saying(b"\0\0\0\x20\0\0\0\x07\0\0\0\0\0\x0frest")).unwrap_err().to_string();
        assert!(told.contains("error 15"), "{told}");
    }

    #[test]
    fn another_server_on_the_port_is_not_taken_for_ours() {
        assert!(mariadb(saying(b"HTTP/1.1 400 Bad Request\r\n")).is_err());
        assert!(mongodb(saying(b"\x08\0\0\0none")).is_err());
        mariadb(saying(b"\x4a\0\0\0\x0a10.11")).unwrap();
    }

    #[test]
    fn a_port_that_nobody_listens_on_is_no_server() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        assert!(postgres(port).is_err());
    }
}
