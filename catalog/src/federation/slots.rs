//! The connections a source lends to readers, and whether somebody waits for one.
//!
//! A pool takes a slot before it lends a connection and gives it back with it. Leaves watch the number of waiters: one
//! whose reader stands still then finishes its answer into a buffer, so that a slow client never keeps a source from
//! others, and a query with more leaves than slots never waits for itself.
//!
//! A query that waits for others' slots is refused in the end; one that holds a slot itself never is, because it would be
//! refused for its own work.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::QueryId;
use crate::limits::SlotWait;
use crate::source::{SourceError, SourceErrorKind, SourceName};

/// The slots of one source. Cheap to clone; clones share them.
#[derive(Debug, Clone)]
pub struct Slots {
    source: SourceName,
    all: usize,
    wait: SlotWait,
    free: Arc<Semaphore>,
    waiting: Arc<watch::Sender<usize>>,
    holding: Arc<Holding>,
}

/// Slots that queries hold, by query.
#[derive(Debug, Default)]
struct Holding(Mutex<HashMap<QueryId, usize>>);

/// One slot, free again when dropped.
#[derive(Debug)]
pub struct Slot {
    // Before the query is said to hold it no more: whoever looks in between finds a free slot.
    _permit: OwnedSemaphorePermit,
    _held: Option<Held>,
}

impl Slots {
    /// So many slots; at least one. A query waits for one of them for a while.
    #[must_use]
    pub fn new(source: &SourceName, slots: usize, wait: SlotWait) -> Self {
        let all = slots.max(1);
        Self {
            source: source.clone(),
            all,
            wait,
            free: Arc::new(Semaphore::new(all)),
            waiting: Arc::new(watch::Sender::new(0)),
            holding: Arc::default(),
        }
    }

    /// Waits for a slot; meanwhile it is one that somebody waits for. Whoever is no query waits for as long as it takes.
    ///
    /// # Errors
    /// `Busy` when a query has waited for as long as it may and holds no slot itself.
    pub async fn acquire(&self, query: Option<QueryId>) -> Result<Slot, SourceError> {
        if let Some(slot) = self.try_acquire(query) {
            return Ok(slot);
        }
        let _counted = Waiting::count(&self.waiting);
        // Kept over the looks below, and with it the place in the queue.
        let mut permit = pin!(Arc::clone(&self.free).acquire_owned());
        loop {
            tokio::select! {
                biased;
                permit = &mut permit => {
                    let permit = permit.map_err(|_closed| self.busy())?;
                    return Ok(self.lent(permit, query));
                }
                () = self.patience(query) => {}
            }
            if query.is_some_and(|query| !self.holding.holds(query)) {
                return Err(self.busy());
            }
        }
    }

    /// A slot if one is free now.
    #[must_use]
    pub fn try_acquire(&self, query: Option<QueryId>) -> Option<Slot> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        Some(self.lent(permit, query))
    }

    fn lent(&self, permit: OwnedSemaphorePermit, query: Option<QueryId>) -> Slot {
        Slot { _permit: permit, _held: query.map(|query| Held::count(&self.holding, query)) }
    }

    /// Completes when a query has waited for as long as it may.
    async fn patience(&self, query: Option<QueryId>) {
        match query {
            Some(_) => tokio::time::sleep(self.wait.0).await,
            None => std::future::pending().await,
        }
    }

    fn busy(&self) -> SourceError {
        let (name, all) = (&self.source, self.all);
        let others =
            if all == 1 { "its one connection".to_owned() } else { format!("all {all} connections") };
        let message = format!("source \"{name}\" had no connection free within {}", self.wait);
        SourceError::new(SourceErrorKind::Busy, message).with_source(name).with_hint(format!(
            "other queries use {others}: run it again later, or raise connections or limits.slot_wait in sources.{name}"
        ))
    }

    /// How many are free.
    #[must_use]
    pub fn free(&self) -> usize {
        self.free.available_permits()
    }

    /// How many there are.
    #[must_use]
    pub fn all(&self) -> usize {
        self.all
    }

    /// How many wait for one now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        *self.waiting.borrow()
    }

    /// Whether somebody waits now.
    #[must_use]
    pub fn wanted(&self) -> bool {
        self.waiting() > 0
    }

    /// Completes when somebody waits.
    pub async fn until_wanted(&self) {
        // The sender lives as long as we do, so this never fails.
        let _ = self.waiting.subscribe().wait_for(|waiting| *waiting > 0).await;
    }
}

impl Holding {
    fn holds(&self, query: QueryId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&query)
    }
}

/// Counts a query's slot for as long as it lives.
#[derive(Debug)]
struct Held {
    holding: Arc<Holding>,
    query: QueryId,
}

impl Held {
    fn count(holding: &Arc<Holding>, query: QueryId) -> Self {
        *holding.0.lock().unwrap_or_else(PoisonError::into_inner).entry(query).or_default() += 1;
        Self { holding: Arc::clone(holding), query }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut holding = self.holding.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slots) = holding.get_mut(&self.query) {
            *slots -= 1;
            if *slots == 0 {
                holding.remove(&self.query);
            }
        }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn slots(all: usize) -> Slots {
        Slots::new(&SourceName::try_new("ops").unwrap(), all, SlotWait(Duration::from_millis(50)))
    }

    #[tokio::test]
    async fn a_query_waits_for_others_only_so_long() {
        let slots = slots(1);
        let held = slots.acquire(Some(QueryId::random())).await.unwrap();
        let refused = slots.acquire(Some(QueryId::random())).await.unwrap_err();
        assert_eq!(refused.kind, SourceErrorKind::Busy);
        assert_eq!(refused.message, "source \"ops\" had no connection free within 50 ms");
        assert!(refused.hint.unwrap().contains("sources.ops"));
        assert!(!slots.wanted(), "who was refused does not wait");
        drop(held);
        assert!(slots.acquire(Some(QueryId::random())).await.is_ok());
    }

    /// What a query holds itself is never a reason to refuse it, nor is anything one to refuse who is no query.
    #[tokio::test]
    async fn a_query_that_holds_a_slot_waits_for_as_long_as_it_takes() {
        let slots = slots(2);
        let query = QueryId::random();
        let own = slots.acquire(Some(query)).await.unwrap();
        let other = slots.acquire(Some(QueryId::random())).await.unwrap();
        assert_eq!((slots.all(), slots.free(), slots.waiting()), (2, 0, 0));
        for waits in [Some(query), None] {
            let long = tokio::time::timeout(slots.wait.0 * 4, slots.acquire(waits)).await;
            assert!(long.is_err(), "{long:?}");
        }
        drop(own);
        let own = slots.acquire(Some(query)).await.unwrap();
        let refused = slots.acquire(Some(QueryId::random())).await.unwrap_err();
        assert!(refused.hint.unwrap().contains("all 2 connections"));
        drop((own, other));
        assert!(slots.holding.0.lock().unwrap().is_empty());
        assert_eq!(slots.free(), 2);
    }
}
