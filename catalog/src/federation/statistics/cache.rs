//! What sources told of their tables, kept for a while.
//!
//! Planning only looks: it never dials and never waits. A table is asked about behind a query that read it, once at a
//! time however many queries did, and again when what is known is old; until the answer is there the old one serves.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use moka::future::Cache;

use super::TableStatistics;
use super::sample::with_sample;
use crate::federation::FragmentExecutor;
use crate::source::TableDef;

/// How long an answer is not asked for again.
const FRESH: Duration = Duration::from_secs(600);
/// How long an answer serves that could not be asked for again.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// How often, and how far apart, a source is looked at for a free connection.
const PATIENCE: usize = 50;
const PAUSE: Duration = Duration::from_millis(200);
/// Tables of one source.
const TABLES: u64 = 10_000;

/// Schema and name.
type Key = (String, String);

/// Statistics of one source's tables.
#[derive(Debug, Clone)]
pub(crate) struct StatisticsCache {
    /// Tables that were asked about lately, or are being asked about now.
    asked: Cache<Key, ()>,
    told: Cache<Key, Arc<TableStatistics>>,
}

impl Default for StatisticsCache {
    fn default() -> Self {
        Self {
            asked: Cache::builder().max_capacity(TABLES).time_to_live(FRESH).build(),
            told: Cache::builder().max_capacity(TABLES).time_to_live(KEPT).build(),
        }
    }
}

impl StatisticsCache {
    /// What is known now.
    pub(crate) fn known(&self, table: &TableDef) -> Option<Arc<TableStatistics>> {
        self.told.get(&key(table)).now_or_never().flatten()
    }

    /// Asks about tables that were not asked about lately. A failure is no more than an estimate less: it is asked
    /// again behind the next query.
    pub(crate) async fn refresh(&self, tables: Vec<Arc<TableDef>>, executor: Arc<dyn FragmentExecutor>) {
        for table in tables {
            if !is_idle(executor.as_ref()).await {
                return;
            }
            let ask = async {
                if let Some(found) = executor.gather_statistics(&table).await? {
                    self.told.insert(key(&table), Arc::new(found.clone())).await;
                    let found = with_sample(found, &table, executor.as_ref()).await?;
                    self.told.insert(key(&table), Arc::new(found)).await;
                }
                Ok::<(), crate::source::SourceError>(())
            };
            if let Err(error) = self.asked.try_get_with(key(&table), ask).await {
                tracing::debug!(table = %table.name, error = %error, "a table's statistics are not to be had");
            }
        }
    }

    /// Whether a table should be asked about.
    pub(crate) fn is_due(&self, table: &TableDef) -> bool {
        !self.asked.contains_key(&key(table))
    }
}

/// Waits a while for a connection nobody needs: whoever waits for one of a pool makes its readers hurry.
async fn is_idle(executor: &dyn FragmentExecutor) -> bool {
    for _ in 0..PATIENCE {
        if executor.slots().is_none_or(|slots| slots.free() > 0) {
            return true;
        }
        tokio::time::sleep(PAUSE).await;
    }
    false
}

fn key(table: &TableDef) -> Key {
    (table.schema.clone(), table.name.clone())
}
