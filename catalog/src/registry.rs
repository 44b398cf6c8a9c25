//! The catalog: every source by name, opened without dialling any, and what is known of their tables and health.
//!
//! A source that is down contributes a status and nothing else: it never fails another source's lookup, and its
//! last known tables stay, over a restart too where snapshots are kept. Tables are read once and kept; a name that
//! is not among them is looked for again, at most once a second, because a lake grows tables while we run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use datafusion::catalog::{CatalogProvider, SchemaProvider};
use futures::future::join_all;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::{OpenContext, SourcesConfig};
use crate::copies::Fallback;
use crate::federation::{FederationOptions, SessionCatalog, Slots};
use crate::health::{Clock, HealthReport};
use crate::kills::Kills;
use crate::limits::SourceLimits;
use crate::snapshot::SchemaSnapshots;
use crate::source::{
    Health, HealthState, Source, SourceError, SourceErrorKind, SourceKind, SourceName, TableDef,
};

mod changes;
mod entry;
mod kept;
mod quarantine;

pub use changes::TableChange;
pub use entry::{CatalogSource, Drift, Refreshed};
pub(crate) use quarantine::Quarantine;
pub use quarantine::{Audited, Cause, Quarantined, Release, is_refusal};
pub(crate) use quarantine::{aggregate_shape, group_shape, join_shape, shape, sort_shape};

/// How long a table list is trusted before a missing name makes us ask again.
const MISS_RECHECK: Duration = Duration::from_secs(1);
/// How long [`Catalog::tables`] waits for one source before it goes on with what is known of it.
const LIST_WAIT: Duration = Duration::from_secs(2);

/// How long a check by [`Catalog::watch`] may take.
const CHECK_WAIT: Duration = Duration::from_secs(5);

/// One row of `system.sources`.
#[derive(Debug, Clone)]
pub struct SourceStatus {
    /// The source.
    pub name: SourceName,
    /// Kind of store.
    pub kind: SourceKind,
    /// SQL schemas it is shown in.
    pub schemas: Vec<String>,
    /// Number of tables last seen; `None` if never.
    pub tables: Option<usize>,
    /// Health and breaker.
    pub health: HealthReport,
    /// When its tables were listed last, UTC; `None` if never.
    pub tables_read_at: Option<DateTime<Utc>>,
    /// What was last found to be gone or of another type.
    pub drift: Option<Drift>,
    /// How often something was.
    pub drifts: u64,
    /// What of its configuration fits nothing it has, or cannot be kept.
    pub misdeclared: Vec<String>,
    /// Values that became null because they did not fit their column, since the source was opened.
    pub mismatches: u64,
    /// Connections that it lends to statements; `None` if it lends none.
    pub slots: Option<SlotUse>,
    /// Rows that came from it to this process, since it was opened.
    pub rows: u64,
    /// Bytes that these rows took in memory.
    pub bytes: u64,
    /// What became of statements that were stopped there.
    pub kills: Kills,
}

/// Connections that a source lends to statements, as they are used now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotUse {
    /// How many there are.
    pub all: usize,
    /// How many are lent.
    pub used: usize,
    /// How many statements wait for one.
    pub queued: usize,
}

impl SlotUse {
    fn of(slots: &Slots) -> Self {
        Self { all: slots.all(), used: slots.all().saturating_sub(slots.free()), queued: slots.waiting() }
    }
}

/// All sources of one process. Shared by every session.
#[derive(Debug)]
pub struct Catalog {
    entries: BTreeMap<SourceName, Arc<CatalogSource>>,
}

/// Collects sources for a [`Catalog`].
#[derive(Debug)]
pub struct CatalogBuilder {
    sources: Vec<(Arc<dyn Source>, SourceLimits, Option<Fallback>)>,
    clock: Clock,
    snapshots: Option<SchemaSnapshots>,
}

impl CatalogBuilder {
    /// Adds a source without limits.
    #[must_use]
    #[expect(clippy::should_implement_trait, reason = "a builder's add, not an operator")]
    pub fn add(mut self, source: Arc<dyn Source>) -> Self {
        self.sources.push((source, SourceLimits::default(), None));
        self
    }

    /// Adds a source without limits whose tables have copies.
    #[must_use]
    pub fn add_copied(mut self, source: Arc<dyn Source>, fallback: Fallback) -> Self {
        self.sources.push((source, SourceLimits::default(), Some(fallback)));
        self
    }

    /// Reads the time from another clock.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Keeps what sources tell of their tables in a folder of this process, and starts with what is there.
    #[must_use]
    pub fn snapshots(mut self, snapshots: SchemaSnapshots) -> Self {
        self.snapshots = Some(snapshots);
        self
    }

    /// Adds every configured source. Contacts none of them and reads no secret.
    ///
    /// # Errors
    /// The first source whose declaration cannot be right.
    pub fn configured(mut self, sources: &SourcesConfig, context: &OpenContext) -> Result<Self, SourceError> {
        for (name, config) in &sources.0 {
            let fallback = config.fallback().cloned();
            self.sources.push((config.open(name, context)?, config.limits(), fallback));
        }
        Ok(self)
    }

    /// Builds the catalog. Contacts no source.
    ///
    /// # Errors
    /// `Conflict` when two sources share a name or an SQL schema; `Data` when copies are where none can be.
    pub fn build(self) -> Result<Arc<Catalog>, SourceError> {
        let mut entries = BTreeMap::new();
        let mut schemas: BTreeMap<String, SourceName> = BTreeMap::new();
        for (source, _, fallback) in &self.sources {
            if let Some(fallback) = fallback {
                let all = self.sources.iter().map(|(source, ..)| source.as_ref());
                fallback.check(all).map_err(|error| error.with_source(source.name()))?;
            }
        }
        for (source, limits, fallback) in self.sources {
            let name = source.name().clone();
            for schema in source.schemas() {
                if let Some(other) = schemas.insert(schema.clone(), name.clone()) {
                    let message =
                        format!("sources \"{other}\" and \"{name}\" both expose schema \"{schema}\"");
                    return Err(SourceError::new(SourceErrorKind::Conflict, message)
                        .with_source(&name)
                        .with_hint("rename one of the sources"));
                }
            }
            entries.insert(
                name,
                Arc::new(
                    CatalogSource::new(source, limits, self.clock.clone(), self.snapshots.clone())
                        .copied(fallback),
                ),
            );
        }
        Ok(Arc::new(Catalog { entries }))
    }
}

impl Catalog {
    /// Starts an empty catalog.
    #[must_use]
    pub fn builder() -> CatalogBuilder {
        CatalogBuilder { sources: vec![], clock: Clock::system(), snapshots: None }
    }

    /// Opens every configured source, lazily.
    ///
    /// # Errors
    /// As [`CatalogBuilder::configured`] and [`CatalogBuilder::build`].
    pub fn open(sources: &SourcesConfig, context: &OpenContext) -> Result<Arc<Self>, SourceError> {
        Self::builder().configured(sources, context)?.build()
    }

    /// The source of a name.
    #[must_use]
    pub fn source(&self, name: &str) -> Option<Arc<CatalogSource>> {
        self.entries.iter().find(|(known, _)| known.as_str() == name).map(|(_, entry)| Arc::clone(entry))
    }

    /// All sources, ordered by name.
    #[must_use]
    pub fn sources(&self) -> Vec<Arc<CatalogSource>> {
        self.entries.values().map(Arc::clone).collect()
    }

    /// The SQL schemas of all sources, whether they can be reached or not.
    #[must_use]
    pub fn schema_names(&self) -> BTreeSet<String> {
        self.entries.values().flat_map(|entry| entry.schemas()).collect()
    }

    /// Every known table of every source, ordered by source; a source that cannot tell contributes its last known
    /// ones. Sources are asked side by side, and only if their list is older than their kind allows.
    pub async fn tables(&self) -> Vec<Arc<TableDef>> {
        let lists = join_all(self.entries.values().map(|entry| async move {
            match tokio::time::timeout(LIST_WAIT, entry.tables_now_and_then()).await {
                Ok(Ok(tables)) => tables,
                Ok(Err(_)) | Err(_) => entry.cached(),
            }
        }))
        .await;
        lists.into_iter().flatten().collect()
    }

    /// The tables of one schema that are known without asking anybody.
    #[must_use]
    pub fn cached_tables(&self, schema: &str) -> Vec<Arc<TableDef>> {
        self.entries
            .values()
            .flat_map(|entry| entry.cached())
            .filter(|table| table.schema == schema)
            .collect()
    }

    /// Looks a table up by schema and name. `None` if its source is known and has no such table.
    ///
    /// # Errors
    /// The source's own error when it never told its tables, or cannot show this one because it is damaged.
    pub async fn find_table(
        &self,
        schema: &str,
        name: &str,
    ) -> Result<Option<(Arc<CatalogSource>, Arc<TableDef>)>, SourceError> {
        for entry in self.entries.values() {
            if !entry.schemas().contains(schema) {
                continue;
            }
            let found = |tables: Vec<Arc<TableDef>>| {
                tables.into_iter().find(|table| table.schema == schema && table.name == name)
            };
            if let Some(table) = found(entry.tables_for_lookup().await) {
                return Ok(Some((Arc::clone(entry), table)));
            }
            if let Some(table) = found(entry.tables_within(MISS_RECHECK).await?) {
                return Ok(Some((Arc::clone(entry), table)));
            }
            if let Some(error) = entry.source().obstacle(schema, name).await {
                return Err(error);
            }
        }
        Ok(None)
    }

    /// Forgets the table lists of all sources; the next look-up asks them again.
    pub fn refresh(&self) {
        for entry in self.entries.values() {
            entry.forget_age();
        }
    }

    /// Contacts every source, side by side, and reports what was found.
    pub async fn check_all(&self) -> Vec<(SourceName, Health)> {
        join_all(self.entries.iter().map(|(name, entry)| async move { (name.clone(), entry.check().await) }))
            .await
    }

    /// Grows whenever the tables of any source change in name, columns, keys or comments; for caches of what is
    /// derived from [`Self::tables`].
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.entries.values().map(|entry| entry.generation()).sum()
    }

    /// Checks every source that nobody used lately, about every 15 s, until cancelled; one that is down about every
    /// 7.5 s, so that it answers within ten seconds of its return. A source whose connection is busy for long is left
    /// alone: that is no sign of ill health.
    pub async fn watch(&self, stop: CancellationToken) {
        self.watch_every(Duration::from_secs(15), stop).await;
    }

    /// Each by itself: one that is silent keeps no other waiting.
    async fn watch_every(&self, pause: Duration, stop: CancellationToken) {
        let watched = join_all(self.entries.values().map(|entry| watch_one(entry, pause)));
        tokio::select! {
            () = stop.cancelled() => return,
            _ = watched => {}
        }
        stop.cancelled().await;
    }

    /// One status per source, without contacting any.
    #[must_use]
    pub fn statuses(&self) -> Vec<SourceStatus> {
        self.entries
            .values()
            .map(|entry| {
                let (rows, bytes) = entry.health().delivered_so_far();
                SourceStatus {
                    name: entry.name().clone(),
                    kind: entry.source().kind(),
                    schemas: entry.schemas().into_iter().collect(),
                    tables: entry.known_count(),
                    health: entry.health().report(),
                    tables_read_at: entry.tables_read_at(),
                    drift: entry.drift(),
                    drifts: entry.drift_count(),
                    misdeclared: entry.source().misdeclared(),
                    mismatches: entry.source().mismatches(),
                    slots: entry.source().slots().as_ref().map(SlotUse::of),
                    rows,
                    bytes,
                    kills: entry.source().kills(),
                }
            })
            .collect()
    }

    /// The DataFusion catalog of one gateway session: the sources' schemas and the session's own beside them.
    #[must_use]
    pub fn catalog_provider(
        self: &Arc<Self>,
        options: Arc<FederationOptions>,
        extra_schemas: Vec<(String, Arc<dyn SchemaProvider>)>,
    ) -> Arc<dyn CatalogProvider> {
        Arc::new(SessionCatalog::new(Arc::clone(self), options, extra_schemas))
    }
}

/// Looks at one source for ever.
async fn watch_one(entry: &CatalogSource, pause: Duration) {
    loop {
        let down = entry.health().report().state == HealthState::Down;
        // An API may count requests, whether it answers them or not.
        let hurried = down && entry.source().kind() != SourceKind::Rest;
        let pause = if hurried { pause / 2 } else { pause };
        // Plus or minus an eighth, so that many gateways do not probe in step.
        let eighths = 7.0 + f64::from(Uuid::new_v4().as_bytes()[0]) / 128.0;
        tokio::time::sleep(pause.mul_f64(eighths / 8.0)).await;
        if entry.is_idle() {
            let _ = tokio::time::timeout(CHECK_WAIT, entry.check()).await;
        }
    }
}

#[cfg(test)]
mod tests;
