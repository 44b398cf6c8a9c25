//! A cluster that is down, silent, or falls silent in the middle costs a bounded time and never a short answer.

use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use portolan_catalog::source::{HealthState, Source, SourceErrorKind};
use tokio::net::TcpListener;

use super::broker::{Sent, brokers, fill, topic};
use super::fixture::Fixture;
use super::proxy::Proxy;

const TABLE: &str = "{ t: { topic: any, columns: [{ name: id, type: int8 }] } }";

/// About 60 MB: more than the client library keeps ahead and the proxy's sockets hold.
fn large() -> Vec<Sent> {
    let filler = "x".repeat(10_000);
    (0..6_000).map(|id| Sent::value(0, format!("{{\"id\": {id}, \"filler\": \"{filler}\"}}"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_nobody_listens_on_is_unreachable_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let fixture = Fixture::at(&address, TABLE, "timeouts: { connect: 20s }", None);
    let started = Instant::now();
    let Err(error) = fixture.stream().await else { panic!("nobody was read") };
    assert_eq!(error.kind, SourceErrorKind::Unreachable, "{error}");
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    assert_eq!(fixture.source.check().await.state, HealthState::Down);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_broker_costs_the_time_allowed_or_the_deadline() {
    // It accepts and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let started = Instant::now();
    let fixture = Fixture::at(&address, TABLE, "timeouts: { connect: 1500ms }", None);
    let Err(error) = fixture.stream().await else { panic!("silence was read") };
    assert_eq!(error.kind, SourceErrorKind::Unreachable, "{error}");
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    let started = Instant::now();
    let hurried = Fixture::at(&address, TABLE, "", Some(Duration::from_millis(700)));
    let error = hurried.rows("SELECT * FROM t").await.unwrap_err();
    assert!(error.contains("timeout") || error.contains("unreachable"), "{error}");
    assert!(started.elapsed() < Duration::from_millis(1_700), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_falls_silent_in_the_middle_is_no_end() {
    let topic = topic(1, &[]).await;
    fill(&topic, &large());
    let tables = format!("{{ t: {{ topic: {topic}, columns: [{{ name: filler, type: text }}] }} }}");
    let proxy = Proxy::start(&brokers()).await;
    let whole = Fixture::at(&proxy.address, &tables, "", None);
    let batches: Vec<_> = whole.stream().await.unwrap().try_collect().await.unwrap();
    assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 6_000, "the proxy is at fault");

    let fixture = Fixture::at(&proxy.address, &tables, "timeouts: { idle: 1s }", None);
    let mut stream = fixture.stream().await.unwrap();
    let mut rows = stream.next().await.unwrap().unwrap().num_rows();
    proxy.freeze();
    let started = Instant::now();
    let error = loop {
        match stream.next().await {
            Some(Ok(batch)) => rows += batch.num_rows(),
            Some(Err(error)) => break error.to_string(),
            None => panic!("{rows} of 6000 rows were called the whole topic"),
        }
    };
    assert!(rows < 6_000 && error.contains("unreachable"), "{rows} rows, {error}");
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_dropped_takes_its_connections_along() {
    let topic = topic(1, &[]).await;
    fill(&topic, &large());
    let tables = format!("{{ t: {{ topic: {topic}, columns: [{{ name: filler, type: text }}] }} }}");
    let proxy = Proxy::start(&brokers()).await;
    let fixture = Fixture::at(&proxy.address, &tables, "", None);
    let mut stream = fixture.stream().await.unwrap();
    stream.next().await.unwrap().unwrap();
    assert!(proxy.connections() > 0);
    drop(stream);
    let started = Instant::now();
    while proxy.connections() > 0 {
        assert!(started.elapsed() < Duration::from_secs(2), "{} connections", proxy.connections());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
