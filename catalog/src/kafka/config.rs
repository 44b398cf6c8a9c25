//! How a Kafka source is configured. Reading it dials nobody.

use serde::Deserialize;

/// A Kafka cluster, some topics of which are exposed as tables of the SQL schema of the source's name.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaConfig {
    /// Brokers with port, such as `["broker1:9092"]`.
    pub brokers: Vec<String>,
}
