//! One source in the catalog: the store, its health, and its tables as last seen, kept over a restart.
//!
//! The list of tables is read when somebody first needs it, again when it is old for its kind of store, and again
//! when the store says that a table or column is gone. A store that cannot tell keeps its last list. What a database
//! server proved is kept beside it. It must never make a look-up wait for another store.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tracing::warn;
use uuid::Uuid;

use super::changes::{TableChange, changes};
use super::kept::Keeper;
use super::quarantine::{Cause, Quarantine, Quarantined};
use crate::copies::Fallback;
use crate::federation::{Fragment, FragmentExecutor, StatisticsCache};
use crate::health::{Clock, GuardedExecutor, SourceHealth};
use crate::limits::SourceLimits;
use crate::snapshot::SchemaSnapshots;
use crate::source::{Health, Source, SourceError, SourceKind, SourceName, TableDef};

/// How long the list of a store that shares its life with us, or is cheap to list, is trusted.
const NEAR_RECHECK: Duration = Duration::from_secs(10);
/// How long a production server's list is trusted, give or take a fifth: reading it is work for somebody else.
const REMOTE_RECHECK: Duration = Duration::from_secs(600);

/// A source in the catalog: the store, its health, and its tables as last seen.
#[derive(Debug)]
pub struct CatalogSource {
    source: Arc<dyn Source>,
    health: Arc<SourceHealth>,
    executor: Arc<dyn FragmentExecutor>,
    known: Arc<RwLock<Known>>,
    changes: AtomicU64,
    drifts: AtomicU64,
    loading: tokio::sync::Mutex<()>,
    /// Set when the store said that a table or column is gone; cleared when its list was read again.
    drifted: Arc<AtomicBool>,
    quarantine: Arc<Quarantine>,
    recheck: Duration,
    /// What is kept over a restart, where anything is.
    keeper: Option<Arc<Keeper>>,
    fallback: Option<Fallback>,
}

/// What the store told of its tables.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// As the store told them, which is what is kept over a restart.
    told: Option<Vec<Arc<TableDef>>>,
    /// As the configuration has them shown.
    tables: Option<Vec<Arc<TableDef>>>,
    at: Option<Instant>,
    /// When the list was read last, UTC.
    read_at: Option<DateTime<Utc>>,
    drift: Option<Drift>,
}

impl Known {
    /// A list that an earlier process was told at that time, and what is shown of it now.
    pub(super) fn remembered(told: Vec<Arc<TableDef>>, shown: Vec<Arc<TableDef>>, at: DateTime<Utc>) -> Self {
        Self { told: Some(told), tables: Some(shown), read_at: Some(at), ..Self::default() }
    }

    /// The list as the store told it, if there is one, and when it did.
    pub(super) fn told(&self) -> Option<(Vec<Arc<TableDef>>, DateTime<Utc>)> {
        Some((self.told.clone()?, self.read_at?))
    }
}

/// What was gone or of another type when a source's tables were last found to have drifted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// When it was noticed, UTC.
    pub at: DateTime<Utc>,
    /// What is gone or of another type.
    pub changes: Vec<TableChange>,
}

/// What a look at a source's tables found.
#[derive(Debug, Clone)]
pub struct Refreshed {
    /// Tables there are now.
    pub tables: usize,
    /// What differs from the list before, which may be one kept over a restart; empty if there was none.
    pub changes: Vec<TableChange>,
    /// Whether there was a list before.
    pub known_before: bool,
}

impl Refreshed {
    /// For people: `12 tables; column "ops.berth.loa" is gone`.
    #[must_use]
    pub fn summary(&self) -> String {
        let plural = if self.tables == 1 { "" } else { "s" };
        let mut said = format!("{} table{plural}", self.tables);
        for change in &self.changes {
            said.push_str("; ");
            said.push_str(&change.to_string());
        }
        said
    }
}

impl CatalogSource {
    /// A source nobody has asked yet; it starts with its snapshot, if there is one.
    pub(super) fn new(
        source: Arc<dyn Source>,
        limits: SourceLimits,
        clock: Clock,
        snapshots: Option<SchemaSnapshots>,
    ) -> Self {
        let quarantine = Arc::new(Quarantine::new(clock.clone()));
        let health = Arc::new(SourceHealth::new(source.name().clone(), clock));
        let drifted = Arc::new(AtomicBool::new(false));
        let executor = Arc::new(GuardedExecutor {
            source: source.name().clone(),
            limits,
            inner: source.executor(),
            health: Arc::clone(&health),
            drifted: Arc::clone(&drifted),
            quarantine: Arc::clone(&quarantine),
            statistics: StatisticsCache::default(),
        });
        let (recheck, snapshots) = match source.kind() {
            SourceKind::Postgres | SourceKind::Mysql | SourceKind::Mongodb => {
                // Between 8 and 12 minutes, so that many gateways do not ask in step.
                let fifth = f64::from(Uuid::new_v4().as_bytes()[0]) / 255.0 * 0.4;
                (REMOTE_RECHECK.mul_f64(0.8 + fifth), snapshots)
            }
            // Declared, or listed from folders at no one's cost.
            SourceKind::Lake | SourceKind::Files | SourceKind::Rest | SourceKind::Kafka => {
                (NEAR_RECHECK, None)
            }
        };
        let known = Arc::new(RwLock::new(Known::default()));
        let keeper = snapshots.map(|snapshots| {
            Keeper::open(snapshots, Arc::clone(&source), Arc::clone(&quarantine), Arc::clone(&known))
        });
        Self {
            source,
            health,
            executor,
            known,
            changes: AtomicU64::new(0),
            drifts: AtomicU64::new(0),
            loading: tokio::sync::Mutex::default(),
            drifted,
            quarantine,
            recheck,
            keeper: keeper.map(Arc::new),
            fallback: None,
        }
    }

    /// The same with copies of its tables elsewhere.
    pub(super) fn copied(self, fallback: Option<Fallback>) -> Self {
        Self { fallback, ..self }
    }

    /// Where copies of its tables are, if there are any.
    #[must_use]
    pub fn fallback(&self) -> Option<&Fallback> {
        self.fallback.as_ref()
    }

    /// The source's name.
    #[must_use]
    pub fn name(&self) -> &SourceName {
        self.source.name()
    }

    /// The store itself.
    #[must_use]
    pub fn source(&self) -> &Arc<dyn Source> {
        &self.source
    }

    /// What runs fragments on the store, behind the breaker.
    #[must_use]
    pub fn executor(&self) -> Arc<dyn FragmentExecutor> {
        Arc::clone(&self.executor)
    }

    /// What is known of the store's health.
    #[must_use]
    pub fn health(&self) -> &SourceHealth {
        &self.health
    }

    /// Contacts the store, notes what was found, and has its tables read again at the next look-up.
    pub async fn check(&self) -> Health {
        let health = self.source.check().await;
        self.health.checked(&health);
        self.forget_age();
        // It may have proved something, or a statement had it prove something since.
        if let Some(keeper) = self.keeper.as_ref().filter(|keeper| keeper.is_behind()) {
            keeper.keep().await;
        }
        health
    }

    /// The store's tables, from memory unless they are old for this kind of store.
    pub(super) async fn tables_now_and_then(&self) -> Result<Vec<Arc<TableDef>>, SourceError> {
        self.tables_within(self.recheck).await
    }

    /// The store's tables for a look-up: as last seen, unless the store said since then that something is gone.
    pub(super) async fn tables_for_lookup(&self) -> Vec<Arc<TableDef>> {
        let saw = |keeper: &Arc<Keeper>| keeper.another_process_saw_changes();
        if (self.drifted.load(Ordering::Acquire) || self.keeper.as_ref().is_some_and(saw))
            && let Ok(tables) = self.tables_within(Duration::ZERO).await
        {
            return tables;
        }
        self.cached()
    }

    /// Reads the store's tables again, now, and tells what differs from the list before.
    ///
    /// # Errors
    /// The store's own error when it cannot tell; the old list stays.
    pub async fn refresh(&self) -> Result<Refreshed, SourceError> {
        let before = self.known.read().unwrap_or_else(PoisonError::into_inner).tables.clone();
        self.forget_age();
        let after = self.tables_within(Duration::ZERO).await?;
        let found = before.as_ref().map(|before| changes(before, &after));
        Ok(Refreshed {
            tables: after.len(),
            changes: found.unwrap_or_default(),
            known_before: before.is_some(),
        })
    }

    /// Takes the trust in every construct of a fragment from the source, because an answer with it was not ours. A
    /// restart does not give it back, where snapshots are kept.
    pub fn distrust(&self, fragment: &Fragment, sample: &str) {
        self.quarantine.add(fragment, Cause::Audit, sample);
        if let Some(keeper) = &self.keeper {
            keeper.keep_soon();
        }
    }

    /// The constructs the source is not trusted with any more, or on trial.
    #[must_use]
    pub fn quarantined(&self) -> Vec<Quarantined> {
        self.quarantine.list()
    }

    /// What was last found to be gone or of another type; `None` if nothing ever was.
    #[must_use]
    pub fn drift(&self) -> Option<Drift> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).drift.clone()
    }

    /// When the list of tables was read last, UTC; that of a snapshot if it was not read since.
    #[must_use]
    pub fn tables_read_at(&self) -> Option<DateTime<Utc>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).read_at
    }

    /// The store's tables, from memory if they are younger than the given age.
    ///
    /// # Errors
    /// The store's own error when its list is unknown or too old and it cannot tell; the old list stays.
    pub async fn tables_within(&self, age: Duration) -> Result<Vec<Arc<TableDef>>, SourceError> {
        if let Some(tables) = self.fresh(age) {
            return Ok(tables);
        }
        let _one_at_a_time = self.loading.lock().await;
        if let Some(tables) = self.fresh(age) {
            return Ok(tables);
        }
        let call = self.health.call()?;
        match self.source.tables().await {
            Ok(told) => {
                self.drifted.store(false, Ordering::Release);
                let tables = self.source.shown(told.clone());
                let changed = self.replace(&told, &tables);
                if let Some(keeper) = self.keeper.as_ref().filter(|keeper| changed || keeper.is_behind()) {
                    keeper.keep().await;
                }
                // Declared tables prove nothing about the store behind them.
                match self.source.kind() {
                    SourceKind::Postgres | SourceKind::Lake | SourceKind::Mysql => call.succeeded(),
                    SourceKind::Files | SourceKind::Rest | SourceKind::Kafka | SourceKind::Mongodb => {
                        drop(call)
                    }
                }
                Ok(tables)
            }
            Err(error) => {
                call.failed(&error);
                warn!(source = %self.name(), error = %error, "source did not tell its tables");
                Err(if error.source_name.is_some() { error } else { error.with_source(self.name()) })
            }
        }
    }

    /// Takes over a list, and what is shown of it; true if the list differs from the last one in more than estimates.
    fn replace(&self, told: &[Arc<TableDef>], tables: &[Arc<TableDef>]) -> bool {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let differs = !known.told.as_ref().is_some_and(|before| same_shape(before, told));
        let changed = !known.tables.as_ref().is_some_and(|before| same_shape(before, tables));
        let now = Utc::now();
        let mut drift = known.drift.take();
        if changed {
            self.changes.fetch_add(1, Ordering::Release);
            let mut found = known.tables.as_ref().map_or_else(Vec::new, |before| changes(before, tables));
            found.retain(TableChange::is_drift);
            if !found.is_empty() {
                let told: Vec<String> = found.iter().map(ToString::to_string).collect();
                warn!(source = %self.name(), drift = %told.join("; "), "tables have changed");
                drift = Some(Drift { at: now, changes: found });
                self.drifts.fetch_add(1, Ordering::Relaxed);
            }
        }
        *known = Known {
            told: Some(told.to_vec()),
            tables: Some(tables.to_vec()),
            at: Some(Instant::now()),
            read_at: Some(now),
            drift,
        };
        differs
    }

    /// How often the tables have changed in more than estimates.
    pub(super) fn generation(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// How often a table or column was found to be gone or of another type.
    pub(super) fn drift_count(&self) -> u64 {
        self.drifts.load(Ordering::Relaxed)
    }

    /// SQL schemas the store is shown in: those it declares and those its tables were last seen in.
    #[must_use]
    pub fn schemas(&self) -> BTreeSet<String> {
        let seen = self.cached().into_iter().map(|table| table.schema.clone());
        self.source.schemas().into_iter().chain(seen).collect()
    }

    /// The store's tables as last seen, however old.
    #[must_use]
    pub fn cached(&self) -> Vec<Arc<TableDef>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).tables.clone().unwrap_or_default()
    }

    /// Whether nobody reached the store lately; an API is asked less often, because it may count requests.
    pub(super) fn is_idle(&self) -> bool {
        let patience = match self.source.kind() {
            SourceKind::Rest => chrono::Duration::minutes(5),
            SourceKind::Postgres
            | SourceKind::Lake
            | SourceKind::Files
            | SourceKind::Mysql
            | SourceKind::Mongodb
            | SourceKind::Kafka => chrono::Duration::seconds(12),
        };
        self.health.report().last_ok.is_none_or(|at| chrono::Utc::now() - at >= patience)
    }

    pub(super) fn known_count(&self) -> Option<usize> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).tables.as_ref().map(Vec::len)
    }

    fn fresh(&self, age: Duration) -> Option<Vec<Arc<TableDef>>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let young = known.at.is_some_and(|at| at.elapsed() <= age);
        if young { known.tables.clone() } else { None }
    }

    pub(super) fn forget_age(&self) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).at = None;
    }
}

/// Whether two lists of tables differ in nothing but estimates.
fn same_shape(before: &[Arc<TableDef>], after: &[Arc<TableDef>]) -> bool {
    before.len() == after.len()
        && before.iter().zip(after).all(|(before, after)| {
            Arc::ptr_eq(before, after)
                || TableDef { row_estimate: None, ..TableDef::clone(before) }
                    == TableDef { row_estimate: None, ..TableDef::clone(after) }
        })
}
