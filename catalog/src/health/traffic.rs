//! What was asked of one source and what came, and how many of its calls may be made twice.
//!
//! A call that failed may be made once more, but only one for ten that were asked for: a source in trouble must not be given
//! more to do by those who wait for it. What is not used is saved up to [`MOST`], so that many that fail at one moment, as
//! when a server is restarted, are helped; a source that nobody asked yet has [`FIRST`].

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// What a second call costs; a first one earns 1.
const PRICE: u32 = 10;
/// Second calls that can be saved up.
const MOST: u32 = 10 * PRICE;
/// Second calls of a source that nobody asked yet.
const FIRST: u32 = 2 * PRICE;

#[derive(Debug)]
pub(super) struct Traffic {
    /// Tenths of a second call.
    spare: AtomicU32,
    rows: AtomicU64,
    bytes: AtomicU64,
}

impl Default for Traffic {
    fn default() -> Self {
        Self { spare: AtomicU32::new(FIRST), rows: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }
}

impl Traffic {
    /// Notes a call.
    pub(super) fn asked(&self) {
        let earned = |spare: u32| Some(spare.saturating_add(1).min(MOST));
        // It never fails: there is always a next value.
        let _ = self.spare.fetch_update(Ordering::Relaxed, Ordering::Relaxed, earned);
    }

    /// Whether a call may be made once more, which is then paid for.
    pub(super) fn take_retry(&self) -> bool {
        let paid = |spare: u32| spare.checked_sub(PRICE);
        self.spare.fetch_update(Ordering::Relaxed, Ordering::Relaxed, paid).is_ok()
    }

    /// Notes rows that came, and the bytes that they take in memory.
    pub(super) fn came(&self, rows: usize, bytes: usize) {
        self.rows.fetch_add(u64::try_from(rows).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.bytes.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// All rows and bytes that came.
    pub(super) fn so_far(&self) -> (u64, u64) {
        (self.rows.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_call_in_ten_may_be_made_twice() {
        let traffic = Traffic::default();
        let mut again = 0;
        for _ in 0..10_000 {
            traffic.asked();
            again += u32::from(traffic.take_retry());
        }
        assert_eq!(again, 2 + 1_000, "the first ones, and one for ten");
    }

    #[test]
    fn what_is_saved_has_an_end() {
        let traffic = Traffic::default();
        for _ in 0..10_000 {
            traffic.asked();
        }
        let at_once = (0..100).filter(|_| traffic.take_retry()).count();
        assert_eq!(at_once, 10);
        traffic.came(3, 48);
        traffic.came(1, 16);
        assert_eq!(traffic.so_far(), (4, 64));
    }
}
