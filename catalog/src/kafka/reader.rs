//! Reads one fragment: finds where every partition starts and ends, then takes messages up to there.
//!
//! It runs on a blocking thread and stops when nobody listens any more, when the statement is cancelled, or when
//! the cluster has been silent for too long. A partition has ended when a message at or past its end offset was
//! seen, or when the broker says that there is nothing more: the last offsets before the end may hold no message.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use datafusion::arrow::array::RecordBatch;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc::Sender;

use super::client::{Cluster, Ends, ScanConsumer, is_weather};
use super::config::TopicConfig;
use super::range::Range;
use super::rows::Rows;
use crate::federation::{ExecContext, Fragment};
use crate::files::Misfit;
use crate::source::{SourceError, SourceErrorKind, SourceName};

/// Longest wait for a message before asking whether anybody still listens.
const POLL: Duration = Duration::from_millis(50);

/// What one scan reads, as fixed when it starts.
pub(super) struct Scan {
    pub(super) cluster: Arc<Cluster>,
    pub(super) topic: TopicConfig,
    pub(super) topic_name: String,
    pub(super) fragment: Fragment,
    pub(super) mismatches: Arc<AtomicU64>,
    consumer: ScanConsumer,
    /// By partition, where to start and where to stop; partitions with nothing to read are not in it.
    pub(super) todo: BTreeMap<i32, (i64, i64)>,
    /// End offsets of the partitions looked at.
    pub(super) ends: Ends,
}

impl Scan {
    /// Asks the cluster for partitions and offsets and fixes the scan.
    pub(super) fn start(
        cluster: Arc<Cluster>,
        topic: TopicConfig,
        topic_name: String,
        fragment: Fragment,
        mismatches: Arc<AtomicU64>,
        context: &ExecContext,
    ) -> Result<Self, SourceError> {
        let until = cluster.until(context.deadline);
        let range = Range::of(fragment.filters.iter().map(|filter| &filter.expr));
        let consumer = cluster.consumer()?;
        let mut partitions = cluster.partitions(&consumer, &topic_name, until)?;
        if let Some(wanted) = &range.partitions {
            partitions.retain(|partition| wanted.contains(partition));
        }
        let ends = cluster.ends(&consumer, &topic_name, &partitions, until)?;
        let since = match range.since {
            Some(since) if since > 0 && !range.is_empty() => {
                Some(cluster.since(&consumer, &topic_name, &partitions, since, until)?)
            }
            _ => None,
        };
        let mut todo = BTreeMap::new();
        for (partition, (first, end)) in &ends {
            let end = range.until.min(*end);
            let timely = match &since {
                None => 0,
                // No message is that late: nothing to read.
                Some(since) => since.get(partition).copied().flatten().unwrap_or(end),
            };
            let start = range.from.max(*first).max(timely);
            if start < end {
                todo.insert(*partition, (start, end));
            }
        }
        Ok(Self { cluster, topic, topic_name, fragment, mismatches, consumer, todo, ends })
    }

    /// Sends batches until every partition has ended. Returns early, without an error, when nobody listens.
    pub(super) fn run(
        mut self,
        context: &ExecContext,
        sender: &Sender<RecordBatch>,
    ) -> Result<(), SourceError> {
        let mut rows = Rows::try_new(&self.topic, &self.fragment.table.arrow, &self.fragment.projection)
            .map_err(|error| self.unreadable().with_cause(error))?;
        let outcome = self.read(&mut rows, context, sender);
        let found = rows.mismatches();
        if found > 0 {
            self.mismatches.fetch_add(found, Ordering::Relaxed);
            tracing::warn!(
                source = %self.cluster.name,
                topic = %self.topic_name,
                mismatches = found,
                "values that do not fit were read as null"
            );
        }
        outcome
    }

    fn read(
        &mut self,
        rows: &mut Rows,
        context: &ExecContext,
        sender: &Sender<RecordBatch>,
    ) -> Result<(), SourceError> {
        let mut left = self.fragment.limit.unwrap_or(usize::MAX);
        if self.todo.is_empty() || left == 0 {
            return Ok(());
        }
        self.assign()?;
        let mut heard = Instant::now();
        let mut down = false;
        while !self.todo.is_empty() && left > 0 {
            if sender.is_closed() || context.cancel.is_cancelled() {
                return Ok(());
            }
            // A filling batch waits for no message.
            let wait = if rows.rows() > 0 { Duration::from_millis(1) } else { POLL };
            match self.consumer.poll(wait) {
                Some(Ok(message)) => {
                    (heard, down) = (Instant::now(), false);
                    let partition = message.partition();
                    let Some((_, end)) = self.todo.get(&partition) else { continue };
                    if message.offset() < *end {
                        rows.append(&message).map_err(|misfit| self.misfit(&message, &misfit))?;
                        left -= 1;
                    }
                    if message.offset() >= *end - 1 {
                        drop(message);
                        self.end(partition);
                    }
                    if rows.is_full() && !self.flush(rows, sender)? {
                        return Ok(());
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    (heard, down) = (Instant::now(), false);
                    self.end(partition);
                }
                Some(Err(error)) => match error.rdkafka_error_code() {
                    Some(RDKafkaErrorCode::AllBrokersDown) => down = true,
                    Some(code) if is_weather(code) => {}
                    _ => return Err(self.cluster.refused(&self.topic_name, &error)),
                },
                None => {
                    if rows.rows() > 0 && !self.flush(rows, sender)? {
                        return Ok(());
                    }
                    let timeouts = self.cluster.config.timeouts;
                    let patience = if down { timeouts.connect } else { timeouts.idle };
                    if heard.elapsed() >= patience {
                        return Err(self.cluster.unreachable("no broker sends messages any more"));
                    }
                }
            }
        }
        if rows.rows() > 0 {
            self.flush(rows, sender)?;
        }
        Ok(())
    }

    fn assign(&self) -> Result<(), SourceError> {
        let mut list = TopicPartitionList::with_capacity(self.todo.len());
        let assigned = self
            .todo
            .iter()
            .try_for_each(|(partition, (start, _))| {
                list.add_partition_offset(&self.topic_name, *partition, Offset::Offset(*start))
            })
            .and_then(|()| self.consumer.assign(&list));
        assigned.map_err(|error| self.cluster.refused(&self.topic_name, &error))
    }

    /// Takes a partition out: what comes after its end must not be fetched any more.
    fn end(&mut self, partition: i32) {
        if self.todo.remove(&partition).is_none() || self.todo.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition(&self.topic_name, partition);
        if let Err(error) = self.consumer.pause(&list) {
            tracing::debug!(error = %error, "a partition that was read could not be paused");
        }
    }

    /// Hands a batch over; false if nobody listens. Waiting for a slow client is no silence of the cluster.
    fn flush(&self, rows: &mut Rows, sender: &Sender<RecordBatch>) -> Result<bool, SourceError> {
        let batch = rows.finish().map_err(|error| self.unreadable().with_cause(error))?;
        Ok(sender.blocking_send(batch).is_ok())
    }

    fn misfit(&self, message: &BorrowedMessage<'_>, misfit: &Misfit) -> SourceError {
        let table = &self.fragment.table;
        let (partition, offset) = (message.partition(), message.offset());
        let name = match &misfit.column {
            Some(column) => format!("{}.{}.{column}", table.schema, table.name),
            None => format!("{}.{}", table.schema, table.name),
        };
        let error = SourceError::new(
            SourceErrorKind::Data,
            format!("cannot read \"{name}\" at partition {partition}, offset {offset}: {}", misfit.what),
        )
        .with_source(&self.cluster.name)
        .with_hint("correct the declaration of the column, or declare on_mismatch: null");
        match misfit.code {
            Some(code) => error.with_remote_code(code),
            None => error,
        }
    }

    fn unreadable(&self) -> SourceError {
        unreadable(&self.cluster.name, &self.topic_name)
    }
}

/// Messages that cannot be made into rows.
pub(super) fn unreadable(source: &SourceName, topic: &str) -> SourceError {
    SourceError::new(
        SourceErrorKind::Remote,
        format!("topic \"{topic}\" of source \"{source}\" cannot be read"),
    )
    .with_source(source)
}
