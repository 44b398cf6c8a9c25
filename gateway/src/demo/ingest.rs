//! The demo's lake and warehouse, and the ingest that keeps them: the same jobs as in production, on local stores.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use portolan_catalog::Catalog;
use portolan_catalog::embedded::EmbeddedPostgres;
use portolan_catalog::files::FilesSource;
use portolan_catalog::lake::{Lake, LakeSource};
use portolan_catalog::postgres::{PostgresPool, PostgresSource};
use portolan_catalog::source::{Source, SourceName};
use portolan_ingest::{Ingest, IngestConfig, IngestError, Interval, Progress, shipped_pipelines};

/// Where ingest writes: the lake and the warehouse, as stores and as sources to read from.
#[derive(Debug, Clone)]
pub struct Keeping {
    /// Bronze, silver, gold, quarantine.
    pub lake: Lake,
    /// Star and ledger.
    pub warehouse: PostgresPool,
}

impl Keeping {
    /// Opens the lake below the data directory, beside a started warehouse.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn open(data_dir: &Path, warehouse: EmbeddedPostgres) -> anyhow::Result<Self> {
        let lake = Lake::open_local(&data_dir.join("lake"))?;
        Ok(Self { lake, warehouse: PostgresPool::Embedded(warehouse) })
    }

    /// The sources that show what ingest made.
    ///
    /// # Errors
    /// Never for these names; the type of a name says it could.
    pub fn sources(&self) -> anyhow::Result<Vec<Arc<dyn Source>>> {
        let name = |text: &str| SourceName::try_new(text).map_err(anyhow::Error::msg);
        Ok(vec![
            Arc::new(LakeSource::new(name("lake")?, self.lake.clone())),
            Arc::new(PostgresSource::new(name("warehouse")?, self.warehouse.clone(), "star")),
        ])
    }
}

/// Lands all feeds, remakes what changed, and publishes the star. Gives what failed: a damaged feed or table costs
/// itself and what is made of it, not the demo, and the next start goes on from what was committed.
///
/// # Errors
/// When the pipelines have a mistake or the warehouse cannot be prepared.
pub async fn keep(
    keeping: &Keeping,
    catalog: &Arc<Catalog>,
    events: Arc<FilesSource>,
    interval: Interval,
    progress: &dyn Progress,
) -> anyhow::Result<Vec<IngestError>> {
    let (pipelines, mistakes) = shipped_pipelines();
    if let Some(mistake) = mistakes.first() {
        bail!("{mistake}");
    }
    let ingest = Ingest::open(IngestConfig {
        catalog: Arc::clone(catalog),
        files: BTreeMap::from([("events".to_owned(), events)]),
        lake: keeping.lake.clone(),
        warehouse: Some(keeping.warehouse.clone()),
        pipelines,
    });
    ingest.bootstrap().await.context("prepare the warehouse")?;
    let attempt = Box::pin(ingest.attempt(interval, progress)).await;
    catalog.refresh();
    Ok(attempt.failures)
}
