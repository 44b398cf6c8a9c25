//! Topics of one test, and what is put into them.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::OnceCell;

use crate::leftover::{self, OLD, is_left_over, made_before};

/// Longest wait for the broker to do what it was asked.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A message to be sent.
#[derive(Debug, Clone, Default)]
pub(super) struct Sent {
    pub(super) partition: i32,
    pub(super) key: Option<Vec<u8>>,
    pub(super) value: Option<Vec<u8>>,
    pub(super) at: Option<i64>,
    pub(super) headers: Option<OwnedHeaders>,
}

impl Sent {
    pub(super) fn value(partition: i32, value: impl Into<String>) -> Self {
        Self { partition, value: Some(value.into().into_bytes()), ..Self::default() }
    }

    pub(super) fn at(mut self, millis: i64) -> Self {
        self.at = Some(millis);
        self
    }

    pub(super) fn key(mut self, key: &str) -> Self {
        self.key = Some(key.into());
        self
    }
}

pub(super) fn brokers() -> String {
    crate::servers::kafka()
}

/// What names of topics begin with.
const FAMILY: &str = "test";

/// A name nobody else uses.
pub(super) fn fresh() -> String {
    leftover::fresh(FAMILY)
}

fn admin() -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap()
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE))
}

/// Makes a topic and returns its name.
pub(super) async fn topic(partitions: i32, settings: &[(&str, &str)]) -> String {
    static SWEPT: OnceCell<()> = OnceCell::const_new();
    SWEPT.get_or_init(|| delete_left_over(&[FAMILY, "portolan_load_topic"])).await;
    let name = fresh();
    make(&name, partitions, settings).await;
    name
}

async fn make(name: &str, partitions: i32, settings: &[(&str, &str)]) {
    let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    for (key, value) in settings {
        topic = topic.set(key, value);
    }
    for outcome in admin().create_topics([&topic], &options()).await.unwrap() {
        outcome.unwrap();
    }
}

/// Names of all topics.
fn topics() -> Vec<String> {
    let told = admin().inner().fetch_metadata(None, PATIENCE).unwrap();
    told.topics().iter().map(|topic| topic.name().to_owned()).collect()
}

/// Deletes topics that runs before left; no test deletes its own.
async fn delete_left_over(families: &[&str]) {
    let names = topics();
    let old: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| is_left_over(name, families)).collect();
    if !old.is_empty() {
        // Another run may be deleting some of them at this moment.
        let _ = admin().delete_topics(&old, &options()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_old_topics_of_the_family_are_deleted() {
    // Another run's topics are not of this family.
    let family = format!("old_{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
    let names =
        [made_before(&family, OLD), leftover::fresh(&family), made_before(&format!("{family}_m"), OLD)];
    for name in &names {
        make(name, 1, &[]).await;
    }
    delete_left_over(&[family.as_str()]).await;
    let asked = Instant::now();
    while topics().contains(&names[0]) {
        assert!(asked.elapsed() < PATIENCE, "{} is still there", names[0]);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let there = topics();
    assert!(there.contains(&names[1]) && there.contains(&names[2]), "{there:?}");
    admin().delete_topics(&[names[1].as_str(), names[2].as_str()], &options()).await.unwrap();
}

/// Deletes what lies before an offset of a partition.
pub(super) async fn delete_before(topic: &str, partition: i32, offset: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(offset)).unwrap();
    let answer = admin().delete_records(&list, &options()).await.unwrap();
    answer.elements().iter().for_each(|element| element.error().unwrap());
}

pub(super) fn producer(settings: &[(&str, &str)]) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers()).set("linger.ms", "5").set("acks", "all");
    for (key, value) in settings {
        config.set(*key, *value);
    }
    config.create().unwrap()
}

pub(super) fn send(producer: &BaseProducer, topic: &str, messages: &[Sent]) {
    for message in messages {
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(topic).partition(message.partition);
        if let Some(key) = &message.key {
            record = record.key(key);
        }
        if let Some(value) = &message.value {
            record = record.payload(value);
        }
        if let Some(at) = message.at {
            record = record.timestamp(at);
        }
        if let Some(headers) = &message.headers {
            record = record.headers(headers.clone());
        }
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

/// Sends messages and waits until the broker has them.
pub(super) fn fill(topic: &str, messages: &[Sent]) {
    send(&producer(&[]), topic, messages);
}
