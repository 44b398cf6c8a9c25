//! Long results: flat memory, cancel, deadline, gone and slow clients.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;

use super::login::cancel;
use super::raw::*;

/// Resident bytes of this process.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Reads to the end of the answer, counting rows without keeping them; returns rows and the highest RSS seen.
async fn count_rows(client: &mut Raw) -> (usize, usize) {
    let mut rows = 0;
    let mut highest = 0;
    let mut rest: Vec<u8> = Vec::new();
    let mut chunk = vec![0; 1 << 18];
    loop {
        let read = client.reader.read(&mut chunk).await.unwrap();
        assert!(read > 0, "closed in mid-result");
        rest.extend_from_slice(&chunk[..read]);
        let mut at = 0;
        while rest.len() >= at + 5 {
            let length =
                usize::try_from(u32::from_be_bytes(rest[at + 1..at + 5].try_into().unwrap())).unwrap();
            if rest.len() < at + 1 + length {
                break;
            }
            match rest[at] {
                b'D' => rows += 1,
                b'E' => panic!("{}", crate::pg::fault::Fault::from_response(&rest[at + 5..at + 1 + length])),
                b'Z' => return (rows, highest),
                _ => {}
            }
            at += 1 + length;
        }
        rest.drain(..at);
        highest = highest.max(resident());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_million_rows_stream_with_flat_memory_in_both_protocols() {
    let door = door().await;
    let mut client = Raw::login(door.address).await;
    client.query("rows 20000").await;
    client.bodies = Vec::new();
    let extended =
        [parse("", "rows 5000000", &[]), bind("", "", &[], &[], &[1]), execute("", 0), sync()].concat();
    for request in [message(b'Q', b"rows 5000000\0"), extended] {
        let before = resident();
        client.send(&request).await;
        let (rows, highest) = count_rows(&mut client).await;
        assert_eq!(rows, 5_000_000);
        // Collected, the result would be 75 MB and more; other tests of this process share the measurement.
        let grown = highest.saturating_sub(before);
        assert!(grown < 48 << 20, "grew by {grown} bytes");
    }
    door.no_streams().await;
}

#[tokio::test]
async fn a_cancel_in_mid_result_is_answered_at_once() {
    let door = door().await;
    let mut client = Raw::login(door.address).await;
    client.send(&message(b'Q', b"rows 2000000000\0")).await;
    let (tag, _) = client.next().await.unwrap();
    assert_eq!(tag, b'T');
    // Read a little, so that the server is amid sending and then blocked by us.
    for _ in 0..10 {
        client.next().await.unwrap();
    }
    cancel(&door, client.process_id, &client.secret.clone()).await;
    let start = Instant::now();
    door.no_streams().await;
    assert!(start.elapsed() < Duration::from_secs(1), "the work went on for {:?}", start.elapsed());
    let answer = client.answer().await;
    assert!(answer.ends_with("E Z"));
    let fault = client.fault();
    assert_eq!(
        (fault.sqlstate.as_ref(), fault.message.as_str()),
        ("57014", "canceling statement due to user request")
    );
    assert_eq!(client.query("select 1").await, "TDC Z");
    // A late cancel hits nothing.
    cancel(&door, client.process_id, &client.secret.clone()).await;
    assert_eq!(client.query("select 1").await, "TDC Z");
}

#[tokio::test]
async fn statement_timeout_covers_the_last_row() {
    let door = door().await;
    let mut client = Raw::login(door.address).await;
    client.query("set statement_timeout to 300").await;
    for sql in ["hang", "rows 2000000000"] {
        let start = Instant::now();
        client.send(&message(b'Q', &[sql.as_bytes(), b"\0"].concat())).await;
        let end = loop {
            match client.next().await.unwrap() {
                (b'E', body) => break crate::pg::fault::Fault::from_response(&body),
                (b'Z', _) => panic!("no error"),
                _ => {}
            }
        };
        assert_eq!(end.message, "canceling statement due to statement timeout");
        assert!(start.elapsed() >= Duration::from_millis(300) && start.elapsed() < Duration::from_secs(3));
        assert_eq!(client.answer().await, " Z");
        door.no_streams().await;
    }
}

#[tokio::test]
async fn a_client_that_vanishes_ends_its_work() {
    let door = door().await;
    for sql in [&b"hang\0"[..], b"rows 2000000000\0"] {
        let mut client = Raw::login(door.address).await;
        client.send(&message(b'Q', sql)).await;
        door.until("the statement", |door| door.streams.load(Ordering::SeqCst) == 1).await;
        drop(client);
        door.no_streams().await;
        door.until("release", |door| door.connections.count() == 0).await;
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed_after_the_stall_time() {
    let door = door_with(100, |config| config.write_stall_timeout = Duration::from_millis(200)).await;
    let mut client = Raw::login(door.address).await;
    client.send(&message(b'Q', b"rows 2000000000\0")).await;
    door.until("the statement", |door| door.streams.load(Ordering::SeqCst) == 1).await;
    door.no_streams().await;
    door.until("release", |door| door.connections.count() == 0).await;
}

#[tokio::test]
async fn first_rows_arrive_while_the_rest_is_awaited() {
    let door = door().await;
    let mut client = Raw::login(door.address).await;
    client.send(&message(b'Q', b"hang\0")).await;
    // The description waits at most 5 ms for company.
    assert_eq!(client.next().await.unwrap().0, b'T');
    cancel(&door, client.process_id, &client.secret.clone()).await;
    assert_eq!(client.answer().await, "E Z");
}
