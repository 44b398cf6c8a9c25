//! From the first byte to ReadyForQuery, and every way not to get there.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::raw::*;
use crate::pg::fault::Severity;

const DEMO: &[(&str, &str)] = &[("user", "demo"), ("database", "portolan")];
const SSL: &[u8] = &[0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f];

#[tokio::test]
async fn only_the_right_password_and_database_log_in() {
    let door = door().await;
    door.answers().await;
    for (pairs, password, code, text) in [
        (DEMO, "wrong", "28P01", "password authentication failed for user \"demo\""),
        (
            &[("user", "ghost"), ("database", "portolan")],
            "demo",
            "28P01",
            "password authentication failed for user \"ghost\"",
        ),
        (&[("user", "demo")], "demo", "3D000", "database \"demo\" does not exist"),
        (
            &[("user", "demo"), ("database", "portolan"), ("nosuch", "1")],
            "demo",
            "42704",
            "unrecognized configuration parameter \"nosuch\"",
        ),
    ] {
        let fault = Raw::login_as(door.address, 0x0003_0000, pairs, password).await.err().unwrap();
        assert_eq!((fault.sqlstate.as_ref(), fault.message.as_str()), (code, text));
        assert_eq!(fault.severity, Severity::Fatal);
    }
    door.until("release of refused connections", |door| door.connections.count() == 0).await;
}

#[tokio::test]
async fn ten_wrong_passwords_lock_the_address_out() {
    let door = door().await;
    for _ in 0..10 {
        assert_eq!(
            Raw::login_as(door.address, 0x0003_0000, DEMO, "x").await.err().unwrap().sqlstate,
            "28P01"
        );
    }
    assert_eq!(Raw::login_as(door.address, 0x0003_0000, DEMO, "demo").await.err().unwrap().sqlstate, "28000");
}

#[tokio::test]
async fn protocol_3_2_has_a_long_cancel_key_and_unknown_minors_are_negotiated() {
    let door = door().await;
    assert_eq!(Raw::login(door.address).await.secret.len(), 4);
    assert_eq!(Raw::login_as(door.address, 0x0003_0002, DEMO, "demo").await.unwrap().secret.len(), 32);
    let mut client = Raw::connect(door.address).await;
    client.send(&startup(0x0003_0009, &[("user", "demo"), ("_pq_.x", "1")])).await;
    let (tag, body) = client.next().await.unwrap();
    assert_eq!((tag, body.as_slice()), (b'v', &b"\0\0\0\x02\0\0\0\x01_pq_.x\0"[..]));
}

#[tokio::test]
async fn ssl_is_declined_once_and_stuffed_bytes_are_refused() {
    let door = door().await;
    let mut client = Raw::connect(door.address).await;
    client.send(SSL).await;
    assert_eq!(client.reader.read_u8().await.unwrap(), b'N');
    client.send(SSL).await;
    assert_eq!(client.answer().await, "E!");
    assert_eq!(client.code(), "08P01");
    let mut client = Raw::connect(door.address).await;
    client.send(&[SSL, &startup(0x0003_0000, DEMO)].concat()).await;
    assert_eq!(client.answer().await, "E!");
    assert_eq!(client.fault().message, "received unencrypted data after SSL request");
}

#[tokio::test]
async fn garbage_first_is_refused_with_a_reason() {
    let door = door().await;
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc],
        &[0; 16],
        &[0xff; 64],
        &[0, 0, 0, 9, 0, 2, 0, 0, 0],
    ] {
        let mut client = Raw::connect(door.address).await;
        client.send(garbage).await;
        assert_eq!(client.answer().await, "E!", "{garbage:?}");
    }
    door.answers().await;
}

#[tokio::test]
async fn before_login_only_a_small_password_message_is_read() {
    let door = door().await;
    for hostile in [
        message(b'Q', b"select 1\0"),
        b"p\x40\0\0\0".to_vec(),
        message(b'p', b"SCRAM-SHA-256"),
        message(b'p', b"MD5\0\0\0\0\0"),
    ] {
        let mut client = Raw::connect(door.address).await;
        client.send(&startup(0x0003_0000, DEMO)).await;
        assert_eq!(client.next().await.unwrap().0, b'R');
        client.send(&hostile).await;
        assert_eq!(client.answer().await, "E!", "{hostile:?}");
        assert_eq!(client.code(), "08P01");
    }
    door.answers().await;
}

#[tokio::test]
async fn a_slow_login_is_ended() {
    let door = door_with(100, |config| config.login_timeout = Duration::from_millis(50)).await;
    let mut client = Raw::connect(door.address).await;
    client.send(&startup(0x0003_0000, DEMO)).await;
    assert_eq!(client.answer().await, "RE!");
    door.until("release", |door| door.connections.count() == 0).await;
}

#[tokio::test]
async fn one_connection_too_many_hears_53300_and_cancel_still_works() {
    let door = door_with(1, |_| {}).await;
    let mut first = Raw::login(door.address).await;
    let fault = Raw::login_as(door.address, 0x0003_0000, DEMO, "demo").await.err().unwrap();
    assert_eq!(
        (fault.sqlstate.as_ref(), fault.message.as_str()),
        ("53300", "sorry, too many clients already")
    );
    first.send(&message(b'Q', b"hang\0")).await;
    door.until("the statement", |door| door.streams.load(std::sync::atomic::Ordering::SeqCst) == 1).await;
    cancel(&door, first.process_id, &first.secret).await;
    assert_eq!(first.answer().await, "TE Z");
    assert_eq!(first.code(), "57014");
    drop(first);
    door.until("release", |door| door.connections.count() == 0).await;
    door.answers().await;
}

/// Sends a cancel request and waits until the server has closed its connection.
pub(super) async fn cancel(door: &Door, process_id: i32, secret: &[u8]) {
    let mut client = Raw::connect(door.address).await;
    let mut packet = i32::try_from(12 + secret.len()).unwrap().to_be_bytes().to_vec();
    packet.extend(80_877_102_u32.to_be_bytes());
    packet.extend(process_id.to_be_bytes());
    packet.extend(secret);
    client.send(&packet).await;
    assert!(client.next().await.is_none(), "a cancel request has no answer");
}

#[tokio::test]
async fn shutdown_ends_idle_connections_and_lets_statements_finish() {
    let door = door().await;
    let mut idle = Raw::login(door.address).await;
    let mut block = Raw::login(door.address).await;
    assert_eq!(block.query("begin").await, "C Z");
    door.shutdown.cancel();
    assert_eq!(idle.answer().await, "E!");
    assert_eq!(idle.code(), "57P01");
    assert_eq!(block.query("select 1").await, "TDC Z");
    assert_eq!(block.query("commit").await, "C Z");
    assert_eq!(block.answer().await, "E!");
    tokio::time::timeout(Duration::from_secs(5), door.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn shutdown_cuts_what_outlasts_the_grace() {
    let door = door_with(100, |config| config.drain_grace = Duration::from_millis(50)).await;
    let mut client = Raw::login(door.address).await;
    client.send(&message(b'Q', b"hang\0")).await;
    door.until("the statement", |door| door.streams.load(std::sync::atomic::Ordering::SeqCst) == 1).await;
    door.shutdown.cancel();
    assert_eq!(client.answer().await, "TE!");
    assert_eq!(client.code(), "57P01");
    door.no_streams().await;
    let mut late = tokio::net::TcpStream::connect(door.address).await;
    if let Ok(late) = &mut late {
        let _ = late.write_all(b"x").await;
    }
    tokio::time::timeout(Duration::from_secs(5), door.served).await.unwrap().unwrap();
}
