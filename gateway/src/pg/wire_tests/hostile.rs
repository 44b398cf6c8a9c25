//! Bytes no honest client sends: always an ErrorResponse or a close, never a panic, and others never notice.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::raw::*;
use crate::pgtypes::oid;

#[tokio::test]
async fn malformed_messages_are_08p01_and_the_connection_lives() {
    let door = door().await;
    let mut client = Raw::login(door.address).await;
    for bytes in [
        message(b'Q', b"select 1"),
        message(b'Q', b"sel\0ect 1\0"),
        [message(b'B', b"\0\0\0\x05"), sync()].concat(),
        [message(b'B', &[0; 4096]), sync()].concat(),
        [message(b'P', b"no terminator"), sync()].concat(),
        [message(b'E', b"\0\x7f"), sync()].concat(),
        [message(b'D', b"Zx\0"), sync()].concat(),
        [message(b'C', b""), sync()].concat(),
    ] {
        client.send(&bytes).await;
        assert_eq!(client.answer().await, "E Z", "{bytes:?}");
        assert_eq!(client.code(), "08P01", "{bytes:?}");
    }
    client.send(&message(b'Q', b"\xff\xfe\0")).await;
    assert_eq!(client.answer().await, "E Z");
    assert_eq!(client.code(), "22021");
    client.send(&message(b'F', &[0; 3])).await;
    assert_eq!(client.answer().await, "E Z");
    assert_eq!(client.code(), "0A000");
    assert_eq!(client.query("select 1").await, "TDC Z");
}

#[tokio::test]
async fn what_is_no_message_ends_the_connection_with_a_reason() {
    let door = door().await;
    for bytes in [&b"\0\0\0\0\x04"[..], b"!\0\0\0\x04", b"Q\0\0\0\x03", b"Q\xff\xff\xff\xff", b"p\0\0\0\x04"]
    {
        let mut client = Raw::login(door.address).await;
        client.send(bytes).await;
        assert_eq!(client.answer().await, "E!", "{bytes:?}");
        assert_eq!(client.code(), "08P01");
    }
    door.answers().await;
}

#[tokio::test]
async fn a_text_of_ten_megabytes_is_54000_and_the_connection_lives() {
    let door = door().await;
    let mut client = Raw::login(door.address).await;
    let text = "x".repeat(10 << 20);
    assert_eq!(client.query(&text).await, "E Z");
    assert_eq!(client.code(), "54000");
    let answer =
        client.round(&[parse("", &text, &[]), bind("", "", &[], &[], &[]), execute("", 0), sync()]).await;
    assert_eq!(answer, "E Z");
    assert_eq!(client.code(), "54000");
    let value = vec![b'x'; 17 << 20];
    let answer = client
        .round(&[parse("", "echo", &[oid::TEXT]), bind("", "", &[], &[Some(&value)], &[]), sync()])
        .await;
    assert_eq!(answer, "1E Z");
    assert_eq!(client.code(), "54000");
    // Just below the limit is still read.
    let value = vec![b'x'; 15 << 20];
    let answer = client
        .round(&[
            parse("", "echo", &[oid::TEXT]),
            bind("", "", &[], &[Some(&value)], &[]),
            execute("", 0),
            sync(),
        ])
        .await;
    assert_eq!(answer, "12DC Z");
    assert_eq!(client.query("select 1").await, "TDC Z");
}

/// Messages with random bodies under known and unknown tags, and honest ones between them.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        (prop::sample::select(b"QPBDECSHFdcfXz\0".to_vec()), prop::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(tag, body)| message(tag, &body)),
        prop::collection::vec(any::<u8>(), 0..20),
        Just(sync()),
        Just(parse("", "echo", &[oid::INT4])),
        Just(parse("s", "rows 20000", &[])),
        Just(bind("", "", &[0], &[Some(b"1")], &[1])),
        Just(bind("p", "s", &[], &[], &[])),
        any::<i32>().prop_map(|count| execute("p", count)),
        any::<i32>().prop_map(|count| execute("", count)),
        Just(message(b'D', b"Ps\0")),
        Just(message(b'Q', b"begin\0")),
        Just(message(b'Q', b"rollback\0")),
        Just(message(b'Q', b"rows 3; nosuch\0")),
        Just(message(b'Q', b"begin; declare c cursor for rows 9\0")),
        Just(message(b'Q', b"fetch 2 c\0")),
    ]
}

#[test]
fn any_bytes_are_answered_or_refused() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let door = runtime.block_on(door());
    let mut runner = TestRunner::new(Config { cases: 150, failure_persistence: None, ..Config::default() });
    let sequences = prop::collection::vec(piece(), 1..25);
    runner
        .run(&sequences, |pieces| {
            runtime.block_on(async {
                let mut client = Raw::login(door.address).await;
                client.send(&pieces.concat()).await;
                // The end of our side: the server must finish and close by itself.
                client.send(&sync()).await;
                let _ = tokio::io::AsyncWriteExt::shutdown(&mut client.writer).await;
                while client.next().await.is_some() {}
            });
            Ok(())
        })
        .unwrap();
    runtime.block_on(async {
        door.answers().await;
        door.no_streams().await;
        door.until("release of every connection", |door| door.connections.count() == 0).await;
    });
}

#[test]
fn any_first_bytes_are_answered_or_refused() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let door = runtime.block_on(door());
    let mut runner = TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
    let first = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..64),
        prop::collection::vec(any::<u8>(), 0..64).prop_map(|mut bytes| {
            let mut packet = u32::try_from(bytes.len() + 8).unwrap().to_be_bytes().to_vec();
            packet.extend([0, 3, 0, 0]);
            packet.append(&mut bytes);
            packet
        }),
    ];
    runner
        .run(&first, |bytes| {
            runtime.block_on(async {
                let mut client = Raw::connect(door.address).await;
                client.send(&bytes).await;
                let _ = tokio::io::AsyncWriteExt::shutdown(&mut client.writer).await;
                let mut rest = Vec::new();
                let read = tokio::io::AsyncReadExt::read_to_end(&mut client.reader, &mut rest);
                let _ = tokio::time::timeout(std::time::Duration::from_secs(10), read).await.expect("no end");
            });
            Ok(())
        })
        .unwrap();
    runtime.block_on(door.answers());
}
