//! The Kafka source itself: declared tables, health, version.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::Utc;
use sha2::{Digest, Sha256};

use super::client::{Cluster, Ends};
use super::config::KafkaConfig;
use super::executor::{KafkaExecutor, blocking};
use super::rows::{OFFSET, PARTITION, columns_of, is_own};
use crate::asof::SourceVersion;
use crate::federation::FragmentExecutor;
use crate::source::{
    Health, HealthState, Source, SourceError, SourceErrorKind, SourceKind, SourceName, TableDef, TableKind,
};

/// Topics of one cluster, shown as declared tables.
#[derive(Debug)]
pub struct KafkaSource {
    executor: Arc<KafkaExecutor>,
    tables: Vec<Arc<TableDef>>,
}

impl KafkaSource {
    /// Declares the tables. Contacts nobody.
    ///
    /// # Errors
    /// `Data` naming the table whose declaration cannot be right.
    pub fn open(name: SourceName, config: KafkaConfig) -> Result<Self, SourceError> {
        let refuse = |what: String| SourceError::new(SourceErrorKind::Data, what).with_source(&name);
        if config.brokers.is_empty() || config.brokers.iter().any(|broker| broker.trim().is_empty()) {
            return Err(refuse(format!("source \"{name}\" names no broker"))
                .with_hint("write brokers: [\"host:9092\"]"));
        }
        for (table, topic) in &config.topics {
            for (index, column) in topic.columns.iter().enumerate() {
                if is_own(&column.name) {
                    let what = format!("table \"{name}.{table}\" declares column \"{}\"", column.name);
                    return Err(refuse(what).with_hint("every topic has it; choose another name"));
                }
                if topic.columns.iter().take(index).any(|other| other.name == column.name) {
                    let what = format!("table \"{name}.{table}\" declares column \"{}\" twice", column.name);
                    return Err(refuse(what));
                }
            }
        }
        let tables = config
            .topics
            .iter()
            .map(|(table, topic)| {
                Arc::new(TableDef {
                    schema: name.to_string(),
                    name: table.clone(),
                    arrow: columns_of(topic),
                    comment: topic.comment.clone(),
                    primary_key: vec![PARTITION.to_owned(), OFFSET.to_owned()],
                    foreign_keys: vec![],
                    row_estimate: None,
                    kind: TableKind::Table,
                })
            })
            .collect();
        let topics = config.topics.clone();
        let cluster = Arc::new(Cluster { name, config });
        Ok(Self { executor: Arc::new(KafkaExecutor { cluster, topics, mismatches: Arc::default() }), tables })
    }

    /// Messages and values read as null because they did not fit, since the source was opened.
    #[must_use]
    pub fn mismatches(&self) -> u64 {
        self.executor.mismatches()
    }

    /// By table, the offsets of its topic as they are now.
    async fn ends(&self) -> Result<BTreeMap<String, Result<Ends, SourceError>>, SourceError> {
        let executor = Arc::clone(&self.executor);
        let failed = self.executor.cluster.unreachable("its offsets cannot be asked for");
        blocking(&failed, move || {
            let cluster = &executor.cluster;
            let consumer = cluster.consumer()?;
            let until = cluster.until(None);
            let mut all = BTreeMap::new();
            for table in executor.topics.keys() {
                let topic = executor.topic_name(table).unwrap_or(table);
                let ends = cluster
                    .partitions(&consumer, topic, until)
                    .and_then(|partitions| cluster.ends(&consumer, topic, &partitions, until));
                match ends {
                    // Without the cluster there is no point in asking for the next topic.
                    Err(error) if error.kind == SourceErrorKind::Unreachable => return Err(error),
                    ends => {
                        all.insert(table.clone(), ends);
                    }
                }
            }
            Ok(all)
        })
        .await
    }
}

#[async_trait]
impl Source for KafkaSource {
    fn name(&self) -> &SourceName {
        &self.executor.cluster.name
    }

    fn kind(&self) -> SourceKind {
        SourceKind::Kafka
    }

    /// Up if the cluster tells the offsets of every declared topic, degraded if it refuses some.
    async fn check(&self) -> Health {
        let (state, error) = match self.ends().await {
            Err(error) => (HealthState::Down, Some(error.to_string())),
            Ok(topics) => match topics.into_values().find_map(Result::err) {
                Some(error) => (HealthState::Degraded, Some(error.to_string())),
                None => (HealthState::Up, None),
            },
        };
        Health { state, checked_at: Utc::now(), error, server_version: None }
    }

    async fn tables(&self) -> Result<Vec<Arc<TableDef>>, SourceError> {
        Ok(self.tables.clone())
    }

    /// The end offsets of the topic; of several topics, a digest over them.
    async fn version(&self) -> Result<SourceVersion, SourceError> {
        let topics = self.ends().await?;
        let mut offsets = Vec::new();
        let mut digest = Sha256::new();
        let several = topics.len() != 1;
        for (table, ends) in topics {
            for (partition, (_, end)) in ends? {
                digest.update(format!("{table}:{partition}@{end};").as_bytes());
                offsets.push((partition, end));
            }
        }
        if several {
            let text = digest.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
            return Ok(SourceVersion::Digest(text));
        }
        Ok(SourceVersion::Offsets(offsets))
    }

    fn mismatches(&self) -> u64 {
        self.executor.mismatches()
    }

    fn executor(&self) -> Arc<dyn FragmentExecutor> {
        Arc::clone(&self.executor) as Arc<dyn FragmentExecutor>
    }
}
