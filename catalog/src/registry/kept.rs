//! A source's snapshot: what it is made of, and when it is written.
//!
//! It has the tables as last seen, what the server proved, and what audits found. Each write takes what is known at that
//! moment, one write after another, so that the last one has the newest. A disk that refuses costs the next start its
//! memory, and nothing now: no statement may wait for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::SystemTime;

use tokio::runtime::Handle;
use tracing::warn;

use super::entry::Known;
use super::quarantine::Quarantine;
use crate::federation::Proven;
use crate::snapshot::{SchemaSnapshots, Snapshot, Trust};
use crate::source::Source;

/// Keeps one source's snapshot.
#[derive(Debug)]
pub(super) struct Keeper {
    snapshots: SchemaSnapshots,
    source: Arc<dyn Source>,
    quarantine: Arc<Quarantine>,
    known: Arc<RwLock<Known>>,
    /// When the snapshot was replaced that this process read or wrote last.
    seen: Mutex<Option<SystemTime>>,
    /// The trust that is in it.
    kept: Mutex<Trust>,
    /// Held while it is written.
    writing: Mutex<()>,
}

impl Keeper {
    /// Reads the snapshot, if there is one, into all that knows of the source.
    pub(super) fn open(
        snapshots: SchemaSnapshots,
        source: Arc<dyn Source>,
        quarantine: Arc<Quarantine>,
        known: Arc<RwLock<Known>>,
    ) -> Self {
        // Before it is read: a replacement in between is noticed later.
        let seen = snapshots.replaced_at(source.name());
        let mut kept = Trust::default();
        if let Some(snapshot) = snapshots.read(source.name(), source.kind()) {
            let Snapshot { at, tables, trust } = snapshot;
            let shown = source.shown(tables.clone());
            *known.write().unwrap_or_else(PoisonError::into_inner) = Known::remembered(tables, shown, at);
            let executor = source.executor();
            if let Some((proven, proofs)) = executor.proven().zip(trust.proofs.clone()) {
                proven.remember(proofs);
            }
            quarantine.hold_again(&trust.audits);
            kept = trust;
        }
        Self {
            snapshots,
            source,
            quarantine,
            known,
            seen: Mutex::new(seen),
            kept: Mutex::new(kept),
            writing: Mutex::default(),
        }
    }

    /// Whether somebody else, such as `portolan source check`, has found other tables since and kept them. Told once.
    pub(super) fn another_process_saw_changes(&self) -> bool {
        let now = self.snapshots.replaced_at(self.source.name());
        let mut seen = lock(&self.seen);
        let changed = now.is_some() && *seen != now;
        *seen = now;
        changed
    }

    /// Whether more or less is trusted by now than the snapshot says.
    pub(super) fn is_behind(&self) -> bool {
        let now = self.trust();
        *lock(&self.kept) != now
    }

    fn trust(&self) -> Trust {
        let executor = self.source.executor();
        Trust { proofs: executor.proven().and_then(Proven::kept), audits: self.quarantine.audited() }
    }

    /// Writes it, and waits for that.
    pub(super) async fn keep(self: &Arc<Self>) {
        let keeper = Arc::clone(self);
        // A write that was never begun is made up for by the next one.
        let _ = tokio::task::spawn_blocking(move || keeper.write()).await;
    }

    /// Writes it behind whoever calls.
    pub(super) fn keep_soon(self: &Arc<Self>) {
        match Handle::try_current() {
            Ok(runtime) => {
                let keeper = Arc::clone(self);
                drop(runtime.spawn_blocking(move || keeper.write()));
            }
            Err(_) => self.write(),
        }
    }

    /// Blocks on the disk. Nothing is written before the tables are known.
    fn write(&self) {
        let _one_at_a_time = lock(&self.writing);
        let told = self.known.read().unwrap_or_else(PoisonError::into_inner).told();
        let Some((tables, at)) = told else { return };
        let snapshot = Snapshot { at, tables, trust: self.trust() };
        match self.snapshots.write(self.source.name(), self.source.kind(), &snapshot) {
            Ok(()) => {
                *lock(&self.kept) = snapshot.trust;
                self.another_process_saw_changes();
            }
            Err(error) => {
                warn!(source = %self.source.name(), error = %error, "schema snapshot cannot be written");
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
