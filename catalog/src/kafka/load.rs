//! Fills a Kafka topic with simulated messages, so that there is a source to read.
//!
//! It must never touch a topic that it did not make: each message carries the plan it was made for in a header, and a
//! topic whose first message has none is refused. Calls here block their thread; [`load`] takes one of its own.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::DefaultProducerContext;
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

use super::KafkaConfig;
use crate::source::{SourceError, SourceErrorKind, SourceName};

/// Header that names the plan.
const PLAN: &str = "portolan-plan";

/// How long the cluster may take for one step.
const PATIENCE: Duration = Duration::from_secs(30);

/// One message to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadMessage {
    /// Decides the partition.
    pub key: String,
    /// The value, usually a JSON object.
    pub payload: String,
    /// Milliseconds since 1970, UTC.
    pub timestamp: i64,
}

/// Makes `topic` with so many partitions and sends all messages, unless those of the same `plan` are there. Returns
/// the messages sent now.
///
/// # Errors
/// `Unsupported` for a topic that something else filled; what the cluster says.
pub async fn load(
    name: &SourceName,
    config: &KafkaConfig,
    plan: &str,
    topic: &str,
    partitions: i32,
    messages: Vec<LoadMessage>,
) -> Result<u64, SourceError> {
    let loader = Loader {
        name: name.clone(),
        brokers: config.brokers.join(","),
        plan: plan.to_owned(),
        topic: topic.to_owned(),
    };
    if loader.is_loaded(messages.len()).await? {
        return Ok(0);
    }
    loader.make_topic(partitions).await?;
    let wanted = messages.len();
    let sent = loader.blocking(move |loader| loader.send(&messages)).await?;
    if wanted > 0 && !loader.is_loaded(wanted).await? {
        let message = format!("source \"{name}\": not every message arrived in topic \"{topic}\"");
        return Err(SourceError::new(SourceErrorKind::Remote, message)
            .with_source(name)
            .with_hint("load again; the topic is made anew"));
    }
    Ok(sent)
}

#[derive(Debug, Clone)]
struct Loader {
    name: SourceName,
    brokers: String,
    plan: String,
    topic: String,
}

impl Loader {
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, SourceError> + Send + 'static,
    ) -> Result<T, SourceError> {
        let loader = self.clone();
        tokio::task::spawn_blocking(move || work(&loader)).await.map_err(|error| {
            SourceError::new(
                SourceErrorKind::Remote,
                format!("source \"{}\": loading ended early", self.name),
            )
            .with_source(&self.name)
            .with_cause(error)
        })?
    }

    fn failed(&self, error: KafkaError) -> SourceError {
        let message = format!("source \"{}\": topic \"{}\" cannot be loaded", self.name, self.topic);
        SourceError::new(SourceErrorKind::Remote, message).with_source(&self.name).with_cause(error)
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("client.id", "portolan-simulate");
        config
    }

    /// Whether the topic holds what is to be sent.
    async fn is_loaded(&self, wanted: usize) -> Result<bool, SourceError> {
        self.blocking(move |loader| {
            let mut config = loader.config();
            config.set("group.id", "portolan-simulate").set("enable.auto.commit", "false");
            let consumer: BaseConsumer = config.create().map_err(|error| loader.failed(error))?;
            let metadata = consumer
                .fetch_metadata(Some(&loader.topic), PATIENCE)
                .map_err(|error| loader.failed(error))?;
            let partitions: Vec<i32> = metadata
                .topics()
                .iter()
                .flat_map(|topic| topic.partitions().iter().map(|partition| partition.id()))
                .collect();
            let mut there = 0_i64;
            let mut first = None;
            for partition in partitions {
                let (low, high) = consumer
                    .fetch_watermarks(&loader.topic, partition, PATIENCE)
                    .map_err(|error| loader.failed(error))?;
                there += high - low;
                if first.is_none() && high > low {
                    first = Some((partition, low));
                }
            }
            let Some((partition, low)) = first else { return Ok(false) };
            let plan = loader.plan_of(&consumer, partition, low)?.ok_or_else(|| {
                let message = format!(
                    "source \"{}\": topic \"{}\" has messages that no simulation sent",
                    loader.name, loader.topic
                );
                SourceError::new(SourceErrorKind::Unsupported, message)
                    .with_source(&loader.name)
                    .with_hint("name another topic, or delete this one yourself")
            })?;
            Ok(plan == loader.plan && usize::try_from(there).is_ok_and(|there| there == wanted))
        })
        .await
    }

    /// The plan in the header of one message.
    fn plan_of(
        &self,
        consumer: &BaseConsumer,
        partition: i32,
        at: i64,
    ) -> Result<Option<String>, SourceError> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, partition, Offset::Offset(at))
            .map_err(|error| self.failed(error))?;
        consumer.assign(&list).map_err(|error| self.failed(error))?;
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let Some(polled) = consumer.poll(Duration::from_millis(100)) else { continue };
            let message = polled.map_err(|error| self.failed(error))?;
            let plan = message.headers().and_then(|headers| {
                let mut all = headers.iter();
                all.find(|header| header.key == PLAN).and_then(|header| header.value)
            });
            return Ok(plan.map(|plan| String::from_utf8_lossy(plan).into_owned()));
        }
        Err(self.failed(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut)))
    }

    /// Deletes the topic, if it is there, and makes it anew. Its messages are kept whatever their times.
    async fn make_topic(&self, partitions: i32) -> Result<(), SourceError> {
        let admin: AdminClient<DefaultClientContext> =
            self.config().create().map_err(|error| self.failed(error))?;
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        for result in
            admin.delete_topics(&[&self.topic], &options).await.map_err(|error| self.failed(error))?
        {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
                Err((_, code)) => return Err(self.failed(KafkaError::AdminOp(code))),
            }
        }
        let topic =
            NewTopic::new(&self.topic, partitions, TopicReplication::Fixed(1)).set("retention.ms", "-1");
        let end = Instant::now() + PATIENCE;
        loop {
            let made = admin.create_topics([&topic], &options).await.map_err(|error| self.failed(error))?;
            match made.into_iter().next() {
                // A topic is there until its deletion is carried out.
                Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) if Instant::now() < end => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Some(Err((_, code))) => return Err(self.failed(KafkaError::AdminOp(code))),
                _ => return Ok(()),
            }
        }
    }

    fn send(&self, messages: &[LoadMessage]) -> Result<u64, SourceError> {
        let mut config = self.config();
        config.set("enable.idempotence", "true").set("message.timeout.ms", "60000").set("linger.ms", "5");
        let producer: ThreadedProducer<DefaultProducerContext> =
            config.create().map_err(|error| self.failed(error))?;
        for LoadMessage { key, payload, timestamp } in messages {
            let headers = OwnedHeaders::new().insert(Header { key: PLAN, value: Some(&self.plan) });
            let mut record =
                BaseRecord::to(&self.topic).key(key).payload(payload).timestamp(*timestamp).headers(headers);
            let end = Instant::now() + PATIENCE;
            loop {
                match producer.send(record) {
                    Ok(()) => break,
                    // The client's own queue is full: it empties by itself.
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back))
                        if Instant::now() < end =>
                    {
                        record = back;
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    Err((error, _)) => return Err(self.failed(error)),
                }
            }
        }
        producer.flush(PATIENCE * 2).map_err(|error| self.failed(error))?;
        Ok(messages.len() as u64)
    }
}
