//! Kafka as a source: topics as tables, read as bounded scans.
//!
//! A scan fixes its end offsets when it starts and reads up to them with a consumer of its own: it joins no group,
//! commits nothing, sees committed transactions only, and never takes an offset for a count (markers of
//! transactions and compaction leave gaps). It must never dial anybody while a configuration is read or a query is
//! planned, and never call the client library on the async runtime, because its calls block.

mod client;
mod config;
mod executor;
mod load;
mod range;
mod reader;
mod rows;
mod source;

pub use config::{KafkaConfig, KafkaTimeouts, TopicConfig};
pub use load::{LoadMessage, load};
pub use source::KafkaSource;
