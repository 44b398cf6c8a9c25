//! Kafka as a store: a row is a message of JSON, and a table a topic of two partitions.
//!
//! A topic only grows, so each load makes one of its own; all of them go at the end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, anyhow};
use async_trait::async_trait;
use portolan_catalog::files::ColumnConfig;
use portolan_catalog::kafka::{KafkaConfig, KafkaSource, KafkaTimeouts, LoadMessage, TopicConfig, load};
use portolan_catalog::limits::SourceLimits;
use portolan_catalog::source::{Source, SourceName};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;

use crate::stores::{Store, document};
use crate::table::LogicalTable;

/// Schema of the source.
const SCHEMA: &str = "topics";

/// A real Kafka.
#[derive(Debug)]
pub(crate) struct Kafka {
    pub(crate) broker: String,
    /// Every topic that was made, and the one that holds a table now.
    made: Mutex<(Vec<String>, BTreeMap<&'static str, String>)>,
}

impl Kafka {
    pub(crate) fn new(broker: String) -> Self {
        Self { broker, made: Mutex::default() }
    }

    fn name() -> Result<SourceName> {
        SourceName::try_new(SCHEMA).map_err(|error| anyhow!(error))
    }

    fn config(&self, topics: BTreeMap<String, TopicConfig>) -> KafkaConfig {
        KafkaConfig {
            brokers: vec![self.broker.clone()],
            topics,
            timeouts: KafkaTimeouts::default(),
            limits: SourceLimits::default(),
            fallback: None,
        }
    }

    /// Takes every topic away.
    pub(crate) async fn clear(&self) -> Result<()> {
        let made = std::mem::take(&mut *self.made.lock().unwrap_or_else(PoisonError::into_inner)).0;
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &self.broker).create()?;
        let topics: Vec<&str> = made.iter().map(String::as_str).collect();
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
        admin.delete_topics(&topics, &options).await?;
        Ok(())
    }
}

#[async_trait]
impl Store for Kafka {
    fn schema(&self) -> &'static str {
        SCHEMA
    }

    async fn load(&self, table: &LogicalTable) -> Result<()> {
        let topic = {
            let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
            let topic = format!("oracle_{}_{}_{}", std::process::id(), made.0.len(), table.name);
            made.0.push(topic.clone());
            made.1.insert(table.name, topic.clone());
            topic
        };
        let messages = table
            .rows
            .iter()
            .enumerate()
            .map(|(index, row)| LoadMessage {
                key: index.to_string(),
                payload: document(table, index, row),
                timestamp: 1_700_000_000_000,
            })
            .collect();
        load(&Self::name()?, &self.config(BTreeMap::new()), &topic, &topic, 2, messages).await?;
        Ok(())
    }

    fn open(&self, tables: &[LogicalTable]) -> Result<Arc<dyn Source>> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner).1.clone();
        let mut topics = BTreeMap::new();
        for table in tables {
            let columns = table
                .columns
                .iter()
                .map(|column| {
                    let kind = column.kind.sql().try_into().map_err(|error: String| anyhow!(error))?;
                    Ok(ColumnConfig::new(column.name, column.key, kind))
                })
                .collect::<Result<_>>()?;
            let topic = made.get(table.name).cloned();
            topics.insert(table.name.to_owned(), TopicConfig { topic, columns, ..TopicConfig::default() });
        }
        Ok(Arc::new(KafkaSource::open(Self::name()?, self.config(topics))?))
    }
}
