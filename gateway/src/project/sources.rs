//! A port's sources alone, for commands that look at them and must not disturb a gateway that runs.

use std::path::Path;
use std::sync::Arc;

use portolan_catalog::Catalog;
use portolan_catalog::config::{OpenContext, SourceConfig};
use portolan_catalog::lake::{Lake, LakeRoot, LakeSource, StoreLimits};
use portolan_catalog::postgres::{PostgresPool, PostgresSource};
use portolan_catalog::snapshot::SchemaSnapshots;
use portolan_catalog::source::SourceName;
use portolan_ingest::IngestError;

use super::{Project, STAR, Warehouse};

impl Project {
    /// File sources whose folder is not there now, with that folder.
    #[must_use]
    pub fn missing_folders(&self) -> Vec<(&str, &Path)> {
        let folders = self.sources.0.iter().filter_map(|(name, source)| match source {
            SourceConfig::Files(config) => Some((name.as_str(), config.root.as_path())),
            SourceConfig::Postgres(_)
            | SourceConfig::Lake(_)
            | SourceConfig::Rest(_)
            | SourceConfig::Mysql(_)
            | SourceConfig::Mongodb(_)
            | SourceConfig::Kafka(_) => None,
        });
        folders.filter(|(_, root)| !root.is_dir()).collect()
    }

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

    /// The port's lake and those beside it, to be read: all that a worker opens. Makes nothing, contacts nobody and reads
    /// no secret.
    ///
    /// # Errors
    /// A lake whose root cannot be addressed.
    pub fn lakes(&self) -> Result<Vec<LakeSource>, IngestError> {
        let own = SourceName::try_new("lake").map_err(IngestError::invariant)?;
        let reading = |root: &LakeRoot| Lake::open_for_reading(root, StoreLimits::default());
        let mut lakes = vec![LakeSource::new(own, reading(&self.lake)?)];
        for (name, source) in &self.sources.0 {
            if let SourceConfig::Lake(config) = source {
                let root = LakeRoot::parse(&config.root, Path::new(""))?;
                lakes.push(LakeSource::beside(name.clone(), reading(&root)?));
            }
        }
        Ok(lakes)
    }
}
