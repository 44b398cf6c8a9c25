//! The connections a source lends to readers, and whether somebody waits for one.
//!
//! A pool takes a slot before it lends a connection and gives it back with it. Leaves watch the number of waiters: one
//! whose reader stands still then finishes its answer into a buffer, so that a slow client never keeps a source from
//! others, and a query with more leaves than slots never waits for itself.

use std::sync::Arc;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, watch};

/// The slots of one source. Cheap to clone; clones share them.
#[derive(Debug, Clone)]
pub struct Slots {
    free: Arc<Semaphore>,
    waiting: Arc<watch::Sender<usize>>,
}

/// One slot, free again when dropped.
#[derive(Debug)]
pub struct Slot {
    _permit: OwnedSemaphorePermit,
}

impl Slots {
    /// So many slots; at least one.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(slots.max(1))), waiting: Arc::new(watch::Sender::new(0)) }
    }

    /// Waits for a slot; meanwhile it is one that somebody waits for.
    ///
    /// # Errors
    /// Never today: nobody closes the slots of a source.
    pub async fn acquire(&self) -> Result<Slot, AcquireError> {
        if let Some(slot) = self.try_acquire() {
            return Ok(slot);
        }
        let _counted = Waiting::count(&self.waiting);
        Ok(Slot { _permit: Arc::clone(&self.free).acquire_owned().await? })
    }

    /// A slot if one is free now.
    #[must_use]
    pub fn try_acquire(&self) -> Option<Slot> {
        Some(Slot { _permit: Arc::clone(&self.free).try_acquire_owned().ok()? })
    }

    /// How many are free.
    #[must_use]
    pub fn free(&self) -> usize {
        self.free.available_permits()
    }

    /// Whether somebody waits now.
    #[must_use]
    pub fn wanted(&self) -> bool {
        *self.waiting.borrow() > 0
    }

    /// Completes when somebody waits.
    pub async fn until_wanted(&self) {
        // The sender lives as long as we do, so this never fails.
        let _ = self.waiting.subscribe().wait_for(|waiting| *waiting > 0).await;
    }
}

/// Counts a waiter for as long as it lives: a wait may be cancelled.
struct Waiting<'a>(&'a watch::Sender<usize>);

impl<'a> Waiting<'a> {
    fn count(waiting: &'a watch::Sender<usize>) -> Self {
        waiting.send_modify(|waiting| *waiting += 1);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|waiting| *waiting = waiting.saturating_sub(1));
    }
}
