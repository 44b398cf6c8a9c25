//! What became of statements that were stopped at their source before their end.
//!
//! A request to stop is no proof: it may come late, or never arrive. Only what the source itself showed afterwards counts as
//! seen.

use std::sync::atomic::{AtomicU64, Ordering};

/// Statements that were stopped at a source; `None` where that cannot be told of this kind of store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kills {
    /// Whose end was seen at the source afterwards.
    pub verified: Option<u64>,
    /// Whose end was not: the request failed, or the statement still ran when the time for looking was over.
    pub failed: Option<u64>,
}

/// Counts them.
#[derive(Debug, Default)]
pub(crate) struct KillCount {
    verified: AtomicU64,
    failed: AtomicU64,
}

impl KillCount {
    /// One more, whose end was seen or not.
    pub(crate) fn note(&self, seen: bool) {
        let count = if seen { &self.verified } else { &self.failed };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// All so far.
    pub(crate) fn so_far(&self) -> Kills {
        let of = |count: &AtomicU64| Some(count.load(Ordering::Relaxed));
        Kills { verified: of(&self.verified), failed: of(&self.failed) }
    }
}
