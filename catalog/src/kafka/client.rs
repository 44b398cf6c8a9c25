//! Asking the cluster: a consumer, a topic's partitions, their offsets. Every call here blocks its thread.
//!
//! Errors carry the source's name and what to do; they never show what a message holds.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use tracing::debug;
use uuid::Uuid;

use super::config::KafkaConfig;
use crate::source::{SourceError, SourceErrorKind, SourceName};

/// Sends the library's log lines where ours go; its errors arrive where the consumer is polled.
#[derive(Debug, Clone)]
pub(super) struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        debug!(facility, message, "kafka client");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        debug!(error = %error, reason, "kafka client");
    }
}

impl ConsumerContext for Quiet {}

/// A consumer of one scan.
pub(super) type ScanConsumer = BaseConsumer<Quiet>;

/// One cluster and how long it may take to answer.
#[derive(Debug, Clone)]
pub(super) struct Cluster {
    pub(super) name: SourceName,
    pub(super) config: KafkaConfig,
}

/// By partition, the offset of the first message there is and the one after the last committed one.
pub(super) type Ends = BTreeMap<i32, (i64, i64)>;

impl Cluster {
    /// A consumer that reads what it is assigned and leaves no trace: the library needs a group's name to assign
    /// partitions at all, so it gets one nobody else has; the group is never joined and nothing is committed.
    pub(super) fn consumer(&self) -> Result<ScanConsumer, SourceError> {
        let connect_ms = self.config.timeouts.connect.as_millis().clamp(1_000, 300_000);
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.config.brokers.join(","))
            .set("client.id", "portolan")
            .set("group.id", format!("portolan-{}", Uuid::new_v4().simple()))
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .set("allow.auto.create.topics", "false")
            .set("check.crcs", "true")
            .set("socket.connection.setup.timeout.ms", connect_ms.to_string())
            .set("fetch.wait.max.ms", "100")
            .set("fetch.error.backoff.ms", "100")
            .set("queued.max.messages.kbytes", "8192")
            // A slow client holds its scan back for as long as it likes.
            .set("max.poll.interval.ms", "86400000")
            .set_log_level(RDKafkaLogLevel::Warning);
        config.create_with_context(Quiet).map_err(|error| {
            SourceError::new(SourceErrorKind::Remote, format!("source \"{}\" cannot be opened", self.name))
                .with_source(&self.name)
                .with_hint(format!("check sources.{}.kafka.brokers", self.name))
                .with_cause(error)
        })
    }

    /// When asking must have ended: after the configured time, or the statement's deadline if that comes first.
    pub(super) fn until(&self, deadline: Option<Instant>) -> Instant {
        let own = Instant::now() + self.config.timeouts.connect;
        deadline.map_or(own, |deadline| deadline.min(own))
    }

    /// The partitions of a topic, ascending.
    pub(super) fn partitions(
        &self,
        consumer: &ScanConsumer,
        topic: &str,
        until: Instant,
    ) -> Result<Vec<i32>, SourceError> {
        let metadata = self.patiently(consumer, until, |wait| consumer.fetch_metadata(Some(topic), wait))?;
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
            return Err(self.no_topic(topic));
        };
        if let Some(code) = found.error().map(RDKafkaErrorCode::from)
            && code != RDKafkaErrorCode::NoError
        {
            return Err(self.refused(topic, &KafkaError::MetadataFetch(code)));
        }
        let mut partitions: Vec<i32> = found.partitions().iter().map(|partition| partition.id()).collect();
        partitions.sort_unstable();
        Ok(partitions)
    }

    /// The first and end offsets of partitions, as they are now.
    pub(super) fn ends(
        &self,
        consumer: &ScanConsumer,
        topic: &str,
        partitions: &[i32],
        until: Instant,
    ) -> Result<Ends, SourceError> {
        let first = self.offsets(consumer, topic, partitions, Offset::Beginning, until)?;
        let end = self.offsets(consumer, topic, partitions, Offset::End, until)?;
        let mut ends = Ends::new();
        for partition in partitions {
            match (first.get(partition), end.get(partition)) {
                // A first offset beyond the end is one that deletion moved in between.
                (Some(Some(first)), Some(Some(end))) => {
                    ends.insert(*partition, (*first, *end.max(first)));
                }
                _ => return Err(self.unanswered(topic, *partition)),
            }
        }
        Ok(ends)
    }

    /// By partition, the first offset whose message is of a time or later; none if there is no such message.
    pub(super) fn since(
        &self,
        consumer: &ScanConsumer,
        topic: &str,
        partitions: &[i32],
        since_ms: i64,
        until: Instant,
    ) -> Result<BTreeMap<i32, Option<i64>>, SourceError> {
        self.offsets(consumer, topic, partitions, Offset::Offset(since_ms.max(0)), until)
    }

    /// One question for all partitions: the protocol takes a time, and for beginning and end a sign of their own.
    fn offsets(
        &self,
        consumer: &ScanConsumer,
        topic: &str,
        partitions: &[i32],
        of: Offset,
        until: Instant,
    ) -> Result<BTreeMap<i32, Option<i64>>, SourceError> {
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let answer = self.patiently(consumer, until, |wait| {
            let mut asked = TopicPartitionList::with_capacity(partitions.len());
            for partition in partitions {
                asked.add_partition_offset(topic, *partition, of)?;
            }
            consumer.offsets_for_times(asked, wait)
        })?;
        let mut offsets = BTreeMap::new();
        for element in answer.elements() {
            element.error().map_err(|error| self.refused(topic, &error))?;
            let offset = match element.offset() {
                Offset::Offset(offset) => Some(offset),
                Offset::End => None,
                _ => return Err(self.unanswered(topic, element.partition())),
            };
            offsets.insert(element.partition(), offset);
        }
        Ok(offsets)
    }

    /// Asks in growing slices: between two, the library tells that no broker can be reached, which it does not tell
    /// while it waits.
    fn patiently<T>(
        &self,
        consumer: &ScanConsumer,
        until: Instant,
        ask: impl Fn(Duration) -> Result<T, KafkaError>,
    ) -> Result<T, SourceError> {
        let mut slice = Duration::from_millis(250);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let error = match ask(slice.min(left).max(Duration::from_millis(1))) {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if !error.rdkafka_error_code().is_some_and(is_weather) {
                return Err(self.failed(&error));
            }
            while let Some(event) = consumer.poll(Duration::ZERO) {
                if let Err(KafkaError::MessageConsumption(RDKafkaErrorCode::AllBrokersDown)) = event {
                    return Err(self.unreachable("no broker can be reached").with_cause(error));
                }
            }
            if until <= Instant::now() {
                return Err(self.unreachable("no broker answers").with_cause(error));
            }
            slice *= 2;
        }
    }

    /// The cluster cannot be reached, for a reason.
    pub(super) fn unreachable(&self, why: &str) -> SourceError {
        SourceError::new(
            SourceErrorKind::Unreachable,
            format!("source \"{}\" is unreachable: {why}", self.name),
        )
        .with_source(&self.name)
        .with_hint(format!("check sources.{}.kafka.brokers and the brokers; see system.sources", self.name))
    }

    fn no_topic(&self, topic: &str) -> SourceError {
        SourceError::new(
            SourceErrorKind::NotFound,
            format!("source \"{}\" has no topic \"{topic}\"", self.name),
        )
        .with_source(&self.name)
        .with_remote_code("UnknownTopicOrPartition")
        .with_hint(format!("create the topic, or correct sources.{}.kafka.topics", self.name))
    }

    fn unanswered(&self, topic: &str, partition: i32) -> SourceError {
        SourceError::new(
            SourceErrorKind::Remote,
            format!("source \"{}\" told no offsets of topic \"{topic}\", partition {partition}", self.name),
        )
        .with_source(&self.name)
    }

    /// An error about one topic.
    pub(super) fn refused(&self, topic: &str, error: &KafkaError) -> SourceError {
        let named = |kind, what: &str| {
            SourceError::new(kind, format!("topic \"{topic}\" of source \"{}\" {what}", self.name))
                .with_source(&self.name)
        };
        let Some(code) = error.rdkafka_error_code() else { return self.failed(error) };
        match code {
            RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownPartition
            | RDKafkaErrorCode::InvalidTopic => self.no_topic(topic),
            RDKafkaErrorCode::TopicAuthorizationFailed => {
                named(SourceErrorKind::Auth, "may not be read").with_hint("grant READ and DESCRIBE on it")
            }
            RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange => {
                named(SourceErrorKind::Remote, "lost messages to its retention while it was read")
                    .with_hint("run the statement again: it then starts at what is left")
            }
            RDKafkaErrorCode::BadMessage
            | RDKafkaErrorCode::InvalidMessage
            | RDKafkaErrorCode::BadCompression => named(SourceErrorKind::Remote, "has a damaged message")
                .with_hint("check the broker's log files"),
            RDKafkaErrorCode::NotImplemented | RDKafkaErrorCode::UnsupportedCompressionType => {
                named(SourceErrorKind::Unsupported, "is compressed in a way that cannot be read")
                    .with_hint("gzip, snappy and lz4 can be read, zstd cannot")
            }
            code if is_weather(code) => self.unreachable("no broker answers"),
            _ => named(SourceErrorKind::Remote, "cannot be read"),
        }
        .with_remote_code(format!("{code:?}"))
        .with_cause(error.clone())
    }

    /// An error about the cluster as a whole.
    fn failed(&self, error: &KafkaError) -> SourceError {
        let kind = match error.rdkafka_error_code() {
            Some(
                RDKafkaErrorCode::Authentication
                | RDKafkaErrorCode::SaslAuthenticationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed
                | RDKafkaErrorCode::TopicAuthorizationFailed,
            ) => SourceErrorKind::Auth,
            _ => SourceErrorKind::Remote,
        };
        let failed = SourceError::new(kind, format!("source \"{}\" refused to answer", self.name))
            .with_source(&self.name)
            .with_cause(error.clone());
        match error.rdkafka_error_code() {
            Some(code) => failed.with_remote_code(format!("{code:?}")),
            None => failed,
        }
    }
}

/// Whether an error may pass by itself: the library goes on trying.
pub(super) fn is_weather(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::Resolve
            | RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::RequestTimedOut
            | RDKafkaErrorCode::TimedOutQueue
            | RDKafkaErrorCode::LeaderNotAvailable
            | RDKafkaErrorCode::NotLeaderForPartition
            | RDKafkaErrorCode::BrokerNotAvailable
            | RDKafkaErrorCode::ReplicaNotAvailable
            | RDKafkaErrorCode::NetworkException
            | RDKafkaErrorCode::WaitCache
            | RDKafkaErrorCode::WaitingForCoordinator
            | RDKafkaErrorCode::CoordinatorLoadInProgress
            | RDKafkaErrorCode::CoordinatorNotAvailable
            | RDKafkaErrorCode::NotCoordinator
            // We use no group, so what the cluster says about ours does not matter.
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::DestroyBroker
            | RDKafkaErrorCode::Retry
    )
}
