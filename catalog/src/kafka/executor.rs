//! Runs fragments on topics: what a filter says becomes partitions and offsets, the rest stays here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use chrono::{DateTime, SecondsFormat};
use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use super::client::Cluster;
use super::config::TopicConfig;
use super::range::{Bound, Range, bound};
use super::reader::{Scan, unreadable};
use crate::asof::SourceVersion;
use crate::federation::{ExecContext, Fragment, FragmentExecutor, Verdict};
use crate::source::{SourceError, SourceErrorKind, TableDef};

#[derive(Debug)]
pub(super) struct KafkaExecutor {
    pub(super) cluster: Arc<Cluster>,
    pub(super) topics: BTreeMap<String, TopicConfig>,
    /// Values that became null because they did not fit, since the source was opened.
    pub(super) mismatches: Arc<AtomicU64>,
}

impl KafkaExecutor {
    /// The topic behind a table.
    pub(super) fn topic_name(&self, table: &str) -> Option<&str> {
        self.topics.get_key_value(table).map(|(name, topic)| topic.topic.as_deref().unwrap_or(name))
    }

    pub(super) fn mismatches(&self) -> u64 {
        self.mismatches.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl FragmentExecutor for KafkaExecutor {
    fn verdict(&self, _table: &TableDef, expr: &Expr) -> Verdict {
        match bound(expr) {
            Some(Bound::Partitions(_) | Bound::Offsets { exact: true, .. }) => Verdict::Exact,
            Some(Bound::Offsets { exact: false, .. }) => {
                Verdict::Superset("offsets are asked for as one range".into())
            }
            Some(Bound::Since(_)) => {
                Verdict::Superset("messages are not in the order of their timestamps".into())
            }
            None => Verdict::Keep("a topic takes partitions, offsets and a first timestamp".into()),
        }
    }

    fn describe(&self, fragment: &Fragment) -> String {
        let range = Range::of(fragment.filters.iter().map(|filter| &filter.expr));
        if range.is_empty() {
            return "nothing (no message can match)".into();
        }
        let topic = self.topic_name(&fragment.table.name).unwrap_or("?");
        let mut text = format!("consume topic \"{topic}\"");
        if let Some(partitions) = &range.partitions {
            let list: Vec<String> = partitions.iter().map(ToString::to_string).collect();
            text.push_str(&format!(" partitions ({})", list.join(", ")));
        }
        if range.from > 0 {
            text.push_str(&format!(" from offset {}", range.from));
        }
        if range.until < i64::MAX {
            text.push_str(&format!(" before offset {}", range.until));
        }
        if let Some(since) = range.since {
            let shown = DateTime::from_timestamp_millis(since)
                .map_or_else(|| format!("{since} ms"), |at| at.to_rfc3339_opts(SecondsFormat::Millis, true));
            text.push_str(&format!(" from timestamp {shown}"));
        }
        let columns: Vec<&str> = fragment
            .projection
            .iter()
            .filter_map(|index| fragment.table.arrow.fields().get(*index))
            .map(|field| field.name().as_str())
            .collect();
        text.push_str(&format!(" columns ({})", columns.join(", ")));
        if let Some(limit) = fragment.limit {
            text.push_str(&format!(" limit {limit}"));
        }
        text
    }

    async fn execute(
        &self,
        fragment: &Fragment,
        context: ExecContext,
    ) -> Result<SendableRecordBatchStream, SourceError> {
        let name = &fragment.table.name;
        let (Some(topic), Some(topic_name)) = (self.topics.get(name), self.topic_name(name)) else {
            let message = format!("source \"{}\" declares no table \"{name}\"", self.cluster.name);
            return Err(SourceError::new(SourceErrorKind::NotFound, message).with_source(&self.cluster.name));
        };
        let failed = unreadable(&self.cluster.name, topic_name);
        let schema = fragment.schema().map_err(|error| failed.clone().with_cause(error))?;
        let scan = {
            let (cluster, topic, topic_name) =
                (Arc::clone(&self.cluster), topic.clone(), topic_name.to_owned());
            let (fragment, mismatches) = (fragment.clone(), Arc::clone(&self.mismatches));
            let context = Arc::clone(&context);
            blocking(&failed, move || Scan::start(cluster, topic, topic_name, fragment, mismatches, &context))
                .await?
        };
        let ends = scan.ends.iter().map(|(partition, (_, end))| (*partition, *end)).collect();
        context.as_of.record(&self.cluster.name, Some(name), SourceVersion::Offsets(ends));
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        // The thread ends by itself when the receiver is dropped, and takes the consumer with it.
        let reading = tokio::task::spawn_blocking(move || scan.run(&context, &sender));
        let rows = ReceiverStream::new(receiver).map(Ok);
        // Only the thread's own word makes the end an end.
        let end = futures::stream::once(async move {
            match reading.await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(Err(DataFusionError::from(error))),
                Err(cause) => Some(Err(failed.with_cause(cause).into())),
            }
        })
        .filter_map(std::future::ready);
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows.chain(end))))
    }
}

/// Runs blocking calls of the client library on a thread of their own.
pub(super) async fn blocking<T: Send + 'static>(
    failed: &SourceError,
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(cause) => Err(failed.clone().with_cause(cause)),
    }
}
