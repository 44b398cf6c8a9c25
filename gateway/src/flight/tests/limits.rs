use std::time::{Duration, Instant};

use arrow_flight::Action;
use futures::StreamExt;
use tonic::Code;

use super::{Server, ask, rows, told};
use crate::engine::QueryState;

const LONG: &str = "select x, x::text || ' is a number' from generate_series(1, 5000000) as g(x)";

#[tokio::test(flavor = "multi_thread")]
async fn rows_come_as_they_are_made() {
    let server = Server::open().await;
    let mut client = server.client().await;
    let info = client.execute(LONG.to_owned(), None).await.unwrap();
    assert!(server.engine.running().list().is_empty(), "asking runs nothing");
    let mut stream = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    let first = stream.next().await.unwrap().unwrap();
    let running = server.engine.running().list();
    let made = running[0].receipt.rows();
    // A few batches in flight, not the result.
    assert!(made < 500_000, "{made} rows were made before the second batch was read");
    let mut total = first.num_rows();
    while let Some(batch) = stream.next().await {
        let batch = batch.unwrap();
        assert!(batch.get_array_memory_size() < 4 << 20);
        total += batch.num_rows();
    }
    assert_eq!(total, 5_000_000);
    server.idle().await;
    server.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_stream_stops_the_query() {
    let server = Server::open().await;
    let mut client = server.client().await;
    let info = client.execute(LONG.to_owned(), None).await.unwrap();
    let mut stream = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    stream.next().await.unwrap().unwrap();
    assert_eq!(server.engine.running().list()[0].identity.protocol, "flight");
    let begun = Instant::now();
    drop(stream);
    server.idle().await;
    assert!(begun.elapsed() < Duration::from_secs(1));
    server.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_without_rows_yet_stops_with_its_client() {
    let server = Server::open().await;
    let mut client = server.client().await;
    let sql = "select count(*) from generate_series(1, 4000000000) as g(x) where x % 7 = 8";
    let info = client.execute(sql.to_owned(), None).await.unwrap();
    let mut stream = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    let waited = tokio::time::timeout(Duration::from_millis(100), stream.next()).await;
    assert!(waited.is_err(), "it has rows: {waited:?}");
    assert_eq!(server.engine.running().list().len(), 1);
    drop(stream);
    server.idle().await;
    server.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_flight_ends_with_57014() {
    let action = "CancelFlightInfo";
    let server = Server::open().await;
    let mut client = server.client().await;
    let info = client.execute(LONG.to_owned(), None).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let mut stream = client.do_get(ticket.clone()).await.unwrap();
    stream.next().await.unwrap().unwrap();
    // Whatever else the message holds, it holds the ticket.
    client.do_action(Action::new(action, ticket.ticket.clone())).await.unwrap();
    let error = loop {
        match stream.next().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => break error,
            None => panic!("it ended as if it were complete"),
        }
    };
    let (state, code, _) = told(error);
    assert_eq!((state.as_str(), code), ("57014", Code::Cancelled));
    server.idle().await;
    let mut other = server.client().await;
    let error = other.do_action(Action::new(action, ticket.ticket)).await.unwrap_err();
    assert_eq!(told(error).0, "26000");
    server.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_timeout_holds_until_the_last_row() {
    let server = Server::open().await;
    let mut client = server.client().await;
    client.execute_update("set statement_timeout = '100ms'".to_owned(), None).await.unwrap();
    let sql = "select count(*) from generate_series(1, 4000000000) as g(x) where x % 7 = 8";
    let (state, ..) = told(ask(&mut client, sql).await.unwrap_err());
    assert_eq!(state, "57014");
    assert_eq!(rows(&mut client, "select 1").await, ["1"]);
    server.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_holds_back_nothing() {
    let server = Server::with(|config| config.write_stall_timeout = Duration::from_secs(1)).await;
    let mut client = server.client().await;
    let info = client.execute(LONG.to_owned(), None).await.unwrap();
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let mut stream = client.do_get(ticket.clone()).await.unwrap();
    stream.next().await.unwrap().unwrap();
    assert_eq!(server.engine.running().list().len(), 1);
    // The client holds its stream and reads no further: the work ends, and only its error waits for the client.
    let begun = Instant::now();
    while server.engine.running().list().iter().any(|query| query.state() != QueryState::Failed) {
        assert!(begun.elapsed() < Duration::from_secs(10), "the statement runs on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let error = loop {
        match stream.next().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => break error,
            None => panic!("it ended as if it were complete"),
        }
    };
    assert_eq!(told(error).0, "57014");
    // A client that does read gets all of it, also of the same flight.
    let total: usize = client
        .do_get(ticket)
        .await
        .unwrap()
        .map(|batch| batch.unwrap().num_rows())
        .fold(0, |total, rows| async move { total + rows })
        .await;
    assert_eq!(total, 5_000_000);
    server.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_ends_what_runs_too_long() {
    let server = Server::with(|config| config.drain_grace = Duration::from_millis(50)).await;
    let mut client = server.client().await;
    let info = client.execute(LONG.to_owned(), None).await.unwrap();
    let mut stream = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    stream.next().await.unwrap().unwrap();
    server.stop.cancel();
    let begun = Instant::now();
    let error = loop {
        match stream.next().await {
            Some(Ok(_)) => tokio::time::sleep(Duration::from_millis(1)).await,
            Some(Err(error)) => break error,
            None => panic!("it ended as if it were complete"),
        }
    };
    assert_eq!(told(error).0, "57P01");
    drop((stream, client));
    server.task.await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_bounded_and_expire() {
    let server = Server::with(|config| config.sessions = 1).await;
    let mut client = server.client().await;
    let mut late = server.anonymous().await;
    let text = late.handshake("demo", "demo").await.unwrap_err().to_string();
    assert!(text.contains("53300"), "{text}");
    assert_eq!(rows(&mut client, "select 1").await, ["1"]);
    server.close().await;

    let server = Server::with(|config| config.session_idle = Duration::ZERO).await;
    let mut client = server.client().await;
    assert_eq!(told(ask(&mut client, "select 1").await.unwrap_err()).0, "28000");
    server.close().await;

    let server = Server::with(|config| config.ticket_life = Duration::ZERO).await;
    let mut client = server.client().await;
    assert_eq!(told(ask(&mut client, "select 1").await.unwrap_err()).0, "26000");
    server.close().await;
}
