//! How a Kafka source is configured. Reading it dials nobody.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::copies::Fallback;
use crate::files::{ColumnConfig, OnMismatch, on_mismatch};
use crate::limits::SourceLimits;

/// A Kafka cluster, some topics of which are exposed as tables of the SQL schema of the source's name.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaConfig {
    /// Brokers with port, such as `["broker1:9092"]`.
    pub brokers: Vec<String>,
    /// Topics by table name.
    pub topics: BTreeMap<String, TopicConfig>,
    /// How long the cluster may take.
    #[serde(default)]
    pub timeouts: KafkaTimeouts,
    /// What one scan may fetch, and when.
    #[serde(default)]
    pub limits: SourceLimits,
    /// Zone of a lake with copies of its tables, which may answer while it is down.
    pub fallback: Option<Fallback>,
}

/// One topic, shown as a table.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicConfig {
    /// The topic's name; the table's by default.
    pub topic: Option<String>,
    /// Fields of the messages' JSON objects, in order. They follow the columns every topic has.
    #[serde(default)]
    pub columns: Vec<ColumnConfig>,
    /// The table's description.
    pub comment: Option<String>,
    /// What happens to a message or value that does not fit.
    #[serde(default, deserialize_with = "on_mismatch")]
    pub on_mismatch: OnMismatch,
}

/// How long the cluster may take; a statement's own deadline is kept beside these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaTimeouts {
    /// Until partitions and offsets are told, `5s` by default.
    #[serde(deserialize_with = "duration")]
    pub connect: Duration,
    /// Between two answers while messages are missing, `30s` by default.
    #[serde(deserialize_with = "duration")]
    pub idle: Duration,
}

impl Default for KafkaTimeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), idle: Duration::from_secs(30) }
    }
}

/// Reads `5s` or `500ms`.
fn duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    crate::limits::duration(&text)
        .ok_or_else(|| serde::de::Error::custom(format!("\"{text}\" is no duration; write 5s or 500ms")))
}
