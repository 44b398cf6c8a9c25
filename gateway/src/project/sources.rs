//! A port's sources alone, for commands that look at them and must not disturb a gateway that runs.

use std::sync::Arc;

use portolan_catalog::Catalog;
use portolan_catalog::config::OpenContext;
use portolan_catalog::lake::{Lake, LakeSource, StoreLimits};
use portolan_catalog::postgres::{PostgresPool, PostgresSource};
use portolan_catalog::snapshot::SchemaSnapshots;
use portolan_catalog::source::SourceName;
use portolan_ingest::IngestError;

use super::{Project, STAR, Warehouse};

impl Project {
    /// Opens the sources, the lake and a warehouse elsewhere, and neither ingest nor an embedded warehouse, so that it may
    /// be done beside a running gateway. No source is dialled.
    ///
    /// # Errors
    /// A source whose declaration cannot be right.
    pub fn open_sources(&self) -> Result<Arc<Catalog>, IngestError> {
        let name = |text: &str| SourceName::try_new(text).map_err(IngestError::invariant);
        let lake = Lake::open(&self.lake, StoreLimits::default())?;
        let mut builder = Catalog::builder()
            .snapshots(SchemaSnapshots::new(self.data_dir.join("sources")))
            .add(Arc::new(LakeSource::new(name("lake")?, lake)));
        if let Warehouse::Postgres(config) = &self.warehouse {
            let warehouse = name("warehouse")?;
            let pool = PostgresPool::configured(&warehouse, config)?;
            builder = builder.add(Arc::new(PostgresSource::new(warehouse, pool, STAR)));
        }
        Ok(builder.configured(&self.sources, &OpenContext::default())?.build()?)
    }
}
