//! Answers that are kept for the time when their source is down.
//!
//! Bounded by bytes, least recently used out first. An answer is kept whole or not at all, with the moment its reading
//! began, so that its age is never told too small. Nothing here decides whether an age is acceptable.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::utils::memory::get_record_batch_memory_size;
use moka::future::Cache;
use moka::policy::EvictionPolicy;
use portolan_catalog::asof::AsOf;
use portolan_catalog::health::Clock;
use portolan_catalog::source::SourceName;

use super::key::Key;

/// Share of the memory of all queries that kept answers may take in addition to it.
const SHARE: usize = 16;
/// Most bytes of all answers.
const MOST_OF_ALL: usize = 128 << 20;
/// Most bytes of one answer.
const MOST_OF_ONE: usize = 16 << 20;
/// Longest value of `portolan.max_staleness`: nobody can ask for anything older.
const LONGEST: Duration = Duration::from_millis(2_147_483_647);

/// A point in time, on two clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) steady: Instant,
    /// By the calendar, UTC.
    pub(super) utc: DateTime<Utc>,
}

impl Moment {
    /// How long ago this was. The larger of what the clocks say: one of them stands still while the machine sleeps, the
    /// other can be set back.
    pub(super) fn age(self, now: Self) -> Duration {
        let steady = now.steady.saturating_duration_since(self.steady);
        steady.max(age(self.utc, now.utc))
    }
}

/// How long before `now` something was.
pub(super) fn age(at: DateTime<Utc>, now: DateTime<Utc>) -> Duration {
    (now - at).to_std().unwrap_or_default()
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) batches: Vec<RecordBatch>,
    pub(super) schema: SchemaRef,
    pub(super) as_of: AsOf,
    /// When its reading began.
    pub(super) read: Moment,
    bytes: usize,
}

/// An answer that is being given and may be kept.
#[derive(Debug)]
pub(in crate::engine) struct Gathering {
    key: Key,
    sources: BTreeSet<SourceName>,
    read: Moment,
    batches: Vec<RecordBatch>,
    bytes: usize,
    most: usize,
}

impl Gathering {
    /// Takes a batch. False if the answer has become too large to be kept.
    pub(in crate::engine) fn note(&mut self, batch: &RecordBatch) -> bool {
        if batch.num_rows() > 0 {
            self.bytes = self.bytes.saturating_add(get_record_batch_memory_size(batch));
            self.batches.push(batch.clone());
        }
        self.bytes <= self.most
    }
}

/// The store.
#[derive(Debug)]
pub(in crate::engine) struct KeptAnswers {
    cache: Cache<Key, Arc<Kept>>,
    clock: Clock,
    most: usize,
}

impl KeptAnswers {
    /// A store beside so many bytes of memory for queries.
    pub(in crate::engine) fn beside(memory_bytes: usize, clock: Clock) -> Self {
        let total = (memory_bytes / SHARE).min(MOST_OF_ALL);
        let cache = Cache::builder()
            .max_capacity(u64::try_from(total).unwrap_or(u64::MAX))
            .weigher(|key: &Key, kept: &Arc<Kept>| {
                u32::try_from(key.bytes().saturating_add(kept.bytes)).unwrap_or(u32::MAX)
            })
            .eviction_policy(EvictionPolicy::lru())
            .time_to_live(LONGEST)
            .build();
        Self { cache, clock, most: (total / 4).min(MOST_OF_ONE) }
    }

    /// The same answers by another clock.
    pub(in crate::engine) fn timed(&self, clock: Clock) -> Self {
        Self { cache: self.cache.clone(), clock, most: self.most }
    }

    pub(super) fn now(&self) -> Moment {
        let (steady, utc) = self.clock.now();
        Moment { steady, utc }
    }

    /// Begins to gather an answer whose reading begins now.
    pub(super) fn gather(&self, key: Key, sources: BTreeSet<SourceName>) -> Gathering {
        Gathering { key, sources, read: self.now(), batches: Vec::new(), bytes: 0, most: self.most }
    }

    /// Keeps an answer that is whole.
    pub(super) async fn keep(&self, answer: Gathering, schema: SchemaRef, as_of: AsOf) {
        let Gathering { key, sources, read, batches, bytes, most: _ } = answer;
        tracing::debug!(sources = sources.len(), bytes, "an answer is kept");
        self.cache.insert(key, Arc::new(Kept { batches, schema, as_of, read, bytes })).await;
    }

    /// The answer of a key, whatever its age, if it has these columns.
    pub(super) async fn find(&self, key: &Key, schema: &SchemaRef) -> Option<Arc<Kept>> {
        self.cache.get(key).await.filter(|kept| kept.schema == *schema)
    }

    /// Bytes of all answers, and how many there are; for tests.
    #[cfg(test)]
    pub(super) async fn size(&self) -> (u64, u64) {
        self.cache.run_pending_tasks().await;
        (self.cache.weighted_size(), self.cache.entry_count())
    }
}
