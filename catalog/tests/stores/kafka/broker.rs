//! Topics of one test, and what is put into them.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

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

/// A name nobody else uses.
pub(super) fn fresh() -> String {
    format!("test_{}", uuid::Uuid::new_v4().simple())
}

fn admin() -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap()
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE))
}

/// Makes a topic and returns its name.
pub(super) async fn topic(partitions: i32, settings: &[(&str, &str)]) -> String {
    let name = fresh();
    let mut topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
    for (key, value) in settings {
        topic = topic.set(key, value);
    }
    for outcome in admin().create_topics([&topic], &options()).await.unwrap() {
        outcome.unwrap();
    }
    name
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
