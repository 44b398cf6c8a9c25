//! Where a scan starts and ends: offsets are no counts, and what comes later is not in it.

use std::time::Instant;

use futures::TryStreamExt;
use portolan_catalog::source::{HealthState, Source, SourceErrorKind};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::Producer;

use super::broker::{PATIENCE, Sent, brokers, delete_before, fill, fresh, producer, send, topic};
use super::fixture::Fixture;

const ID: &str = "[{ name: id, type: int8 }]";

fn numbered(partition: i32, ids: std::ops::Range<i64>) -> Vec<Sent> {
    ids.map(|id| Sent::value(partition, format!("{{\"id\": {id}}}"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_committed_transactions_are_read_and_the_scan_ends() {
    let topic = topic(1, &[]).await;
    let id = fresh();
    let writer = producer(&[("transactional.id", &id)]);
    writer.init_transactions(PATIENCE).unwrap();
    for (keep, ids) in [(true, 0..5), (false, 5..10), (true, 10..15), (false, 15..20)] {
        writer.begin_transaction().unwrap();
        send(&writer, &topic, &numbered(0, ids));
        if keep {
            writer.commit_transaction(PATIENCE).unwrap();
        } else {
            writer.abort_transaction(PATIENCE).unwrap();
        }
    }
    let fixture = Fixture::table(&topic, ID);
    let all = "SELECT count(*), min(id), max(id), max(_offset) FROM t";
    // The last offsets hold nothing but an aborted transaction and its marker.
    assert_eq!(fixture.rows(all).await.unwrap(), ["10|0|14|16"]);
    writer.begin_transaction().unwrap();
    send(&writer, &topic, &numbered(0, 20..25));
    assert_eq!(fixture.rows(all).await.unwrap(), ["10|0|14|16"]);
    assert_eq!(fixture.rows("SELECT id FROM t WHERE _offset >= 17").await.unwrap(), [""; 0]);
    writer.commit_transaction(PATIENCE).unwrap();
    assert_eq!(fixture.rows("SELECT count(*), max(id) FROM t").await.unwrap(), ["15|24"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_topic_has_gaps_and_still_an_end() {
    let topic = topic(
        1,
        &[
            ("cleanup.policy", "compact"),
            ("segment.ms", "100"),
            ("min.cleanable.dirty.ratio", "0.01"),
            ("max.compaction.lag.ms", "200"),
        ],
    )
    .await;
    let round = |n: i64| -> Vec<Sent> {
        (0..10).map(|key| Sent::value(0, format!("{{\"id\": {n}}}")).key(&format!("k{key}"))).collect()
    };
    // Nobody replaces the first message, so what is compacted away lies after it.
    fill(&topic, &[Sent::value(0, "{\"id\": -1}").key("first")]);
    for n in 0..20 {
        fill(&topic, &round(n));
    }
    let fixture = Fixture::table(&topic, ID);
    let started = Instant::now();
    let mut last = 20;
    // The cleaner works when it likes; a segment that is still written to is never compacted.
    let kept = loop {
        let kept = fixture.count("SELECT _offset FROM t").await;
        if kept < usize::try_from(last).unwrap_or_default() * 10 + 1 {
            break kept;
        }
        assert!(started.elapsed() < PATIENCE * 3, "nothing was compacted: {kept}");
        fill(&topic, &round(last));
        last += 1;
    };
    assert!(kept >= 11, "{kept}");
    let offsets = "SELECT max(_offset) - min(_offset) + 1 > count(*) FROM t";
    assert_eq!(fixture.rows(offsets).await.unwrap(), ["true"], "{kept} of {last} rounds are left");
    let newest = format!("SELECT count(*) FROM t WHERE id = {}", last - 1);
    assert_eq!(fixture.rows(&newest).await.unwrap(), ["10"]);
    // A range whose own offsets were all compacted away ends too.
    assert!(fixture.count("SELECT id FROM t WHERE _offset BETWEEN 0 AND 3").await < 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_whose_oldest_messages_are_gone_starts_at_what_is_left() {
    let topic = topic(2, &[]).await;
    fill(&topic, &[numbered(0, 0..100), numbered(1, 100..110)].concat());
    delete_before(&topic, 0, 60).await;
    let fixture = Fixture::table(&topic, ID);
    assert_eq!(
        fixture.rows("SELECT _partition, count(*), min(_offset) FROM t GROUP BY 1").await.unwrap(),
        ["0|40|60", "1|10|0"]
    );
    // The version is where the answer ends; where it starts is what is left.
    assert_eq!(fixture.query.as_of.snapshot().to_string(), "events.t=offsets:0@100,1@10");
    assert_eq!(fixture.count("SELECT id FROM t WHERE _partition = 0 AND _offset < 60").await, 0);
    assert_eq!(fixture.count("SELECT id FROM t WHERE _partition = 0 AND _offset < 62").await, 2);
    delete_before(&topic, 0, 100).await;
    delete_before(&topic, 1, 10).await;
    assert_eq!(fixture.rows("SELECT count(*) FROM t").await.unwrap(), ["0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_topic_has_no_rows_and_a_missing_one_is_named() {
    let (empty, missing) = (topic(2, &[]).await, fresh());
    let fixture = Fixture::new(&format!(
        "{{ t: {{ topic: {missing}, columns: {ID} }}, e: {{ topic: {empty}, columns: {ID} }} }}"
    ));
    assert_eq!(fixture.count("SELECT * FROM e").await, 0);
    let Err(error) = fixture.stream().await else { panic!("a missing topic was read") };
    assert_eq!(error.kind, SourceErrorKind::NotFound);
    assert!(error.message.contains(&missing), "{error}");
    assert!(
        error.hint.as_deref().is_some_and(|hint| hint.contains("sources.events.kafka.topics")),
        "{error:?}"
    );
    let health = fixture.source.check().await;
    assert_eq!(health.state, HealthState::Degraded);
    assert!(health.error.unwrap_or_default().contains(&missing));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_arrives_after_the_start_is_not_in_the_answer() {
    let topic = topic(2, &[]).await;
    fill(&topic, &[numbered(0, 0..50), numbered(1, 50..60)].concat());
    let fixture = Fixture::table(&topic, ID);
    let stream = fixture.stream().await.unwrap();
    fill(&topic, &[numbered(0, 60..90), numbered(1, 90..2_000)].concat());
    let batches: Vec<_> = stream.try_collect().await.unwrap();
    assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 60);
    assert_eq!(fixture.query.as_of.snapshot().to_string(), "events.t=offsets:0@50,1@10");
    assert_eq!(fixture.source.version().await.unwrap().to_string(), "offsets:0@80,1@1920");
    assert_eq!(fixture.rows("SELECT count(*) FROM t").await.unwrap(), ["2000"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_leaves_no_group_behind() {
    let topic = topic(1, &[]).await;
    fill(&topic, &numbered(0, 0..10));
    let fixture = Fixture::table(&topic, ID);
    assert_eq!(fixture.count("SELECT id FROM t").await, 10);
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap();
    let groups = consumer.fetch_group_list(None, PATIENCE).unwrap();
    let ours: Vec<&str> = groups
        .groups()
        .iter()
        .map(|group| group.name())
        .filter(|name| name.starts_with("portolan"))
        .collect();
    assert!(ours.is_empty(), "{ours:?}");
}
