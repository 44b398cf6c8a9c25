//! The lake: Delta tables in zones, on a local directory or an object store.
//!
//! Everything that touches a Delta log is here, because its crates are young: the rest of Portolan sees
//! [`Lake`], [`TablePath`] and [`Commit`]. A commit is idempotent by (application id, sequence) and its outcome is
//! never guessed: an error from the store goes to the resolver, which reads the log.

mod commit;
mod schema;
mod source;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::execution::{SessionState, SessionStateBuilder};
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake::kernel::{StructField, StructType};
use deltalake::{DeltaTable, DeltaTableBuilder, DeltaTableError, TableProperty};
use url::Url;

pub use commit::{Commit, CommitOutcome, CommitRecord};
pub use source::LakeSource;

use crate::source::{SourceError, SourceErrorKind};

/// Zones in the order data flows through them.
pub const ZONES: [&str; 4] = ["bronze", "silver", "gold", "quarantine"];

/// A table of the lake: a zone and a name, which are also its SQL schema and table name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TablePath {
    /// One of [`ZONES`].
    pub zone: String,
    /// Table name, `[a-z][a-z0-9_]*`.
    pub name: String,
}

impl TablePath {
    /// Names a table.
    #[must_use]
    pub fn new(zone: &str, name: &str) -> Self {
        Self { zone: zone.to_owned(), name: name.to_owned() }
    }
}

impl fmt::Display for TablePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.zone, self.name)
    }
}

/// How a table is created.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableOptions {
    /// Refuse every change but appends (`delta.appendOnly`).
    pub append_only: bool,
    /// Partition columns, in order.
    pub partition_by: Vec<String>,
    /// The table's description.
    pub comment: Option<String>,
}

/// The lake's tables under one root.
///
/// Cheap to clone. Open tables are kept, and brought up to date before each use.
#[derive(Clone)]
pub struct Lake {
    root: Url,
    open: Arc<tokio::sync::Mutex<HashMap<TablePath, DeltaTable>>>,
    state: Arc<SessionState>,
}

impl fmt::Debug for Lake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lake").finish_non_exhaustive()
    }
}

impl Lake {
    /// Opens the lake below a local directory, creating the directory.
    ///
    /// # Errors
    /// `Unreachable` if the directory cannot be created.
    pub fn open_local(root: &Path) -> Result<Self, SourceError> {
        let refused = |cause: std::io::Error| {
            SourceError::new(SourceErrorKind::Unreachable, "the lake's directory cannot be created")
                .with_hint("check that the data directory exists and is writable")
                .with_cause(cause)
        };
        std::fs::create_dir_all(root).map_err(refused)?;
        let root = root.canonicalize().map_err(refused)?;
        let url = Url::from_directory_path(&root).map_err(|()| {
            SourceError::new(SourceErrorKind::Unsupported, "the lake's directory has no absolute path")
        })?;
        Ok(Self::open(url))
    }

    /// Opens the lake below a URL that ends in a slash. Dials nobody.
    #[must_use]
    pub fn open(root: Url) -> Self {
        // Plans of the lake's own reads and writes need a session that no user reaches; two partitions, because the
        // gateway's sessions decide about parallelism above this leaf.
        let config = datafusion::prelude::SessionConfig::new().with_target_partitions(2);
        let mut state = SessionStateBuilder::new().with_config(config).with_default_features().build();
        let parquet = &mut state.config_mut().options_mut().execution.parquet;
        parquet.schema_force_view_types = false;
        parquet.pushdown_filters = true;
        parquet.coerce_int96 = Some("us".to_owned());
        Self { root, open: Arc::default(), state: Arc::new(state) }
    }

    fn location(&self, table: &TablePath) -> Result<Url, SourceError> {
        self.root.join(&format!("{}/{}/", table.zone, table.name)).map_err(|cause| {
            SourceError::new(SourceErrorKind::Unsupported, format!("\"{table}\" is no table path"))
                .with_cause(cause)
        })
    }

    /// Loads a table at its latest version. `None` if there is no such table.
    async fn load(&self, path: &TablePath) -> Result<Option<DeltaTable>, SourceError> {
        let location = self.location(path)?;
        if location.to_file_path().is_ok_and(|directory| !directory.join("_delta_log").is_dir()) {
            return Ok(None);
        }
        let mut open = self.open.lock().await;
        let known = open.remove(path);
        let loaded = match known {
            Some(mut table) => Box::pin(table.update_state()).await.map(|()| table),
            None => {
                let builder = DeltaTableBuilder::from_url(location);
                match builder {
                    Ok(builder) => Box::pin(builder.load()).await,
                    Err(cause) => Err(cause),
                }
            }
        };
        match loaded {
            Ok(table) => {
                open.insert(path.clone(), table.clone());
                Ok(Some(table))
            }
            Err(DeltaTableError::NotATable(_) | DeltaTableError::InvalidTableLocation(_)) => Ok(None),
            Err(cause) => Err(damaged(path, cause)),
        }
    }

    async fn require(&self, path: &TablePath) -> Result<DeltaTable, SourceError> {
        self.load(path).await?.ok_or_else(|| {
            SourceError::new(SourceErrorKind::NotFound, format!("the lake has no table \"{path}\""))
                .with_hint("run the pipeline that fills it; see system.runs")
        })
    }

    /// Creates a table if it is not there, else checks that it has the given columns.
    ///
    /// # Errors
    /// `Unsupported` for a column type the lake does not store exactly, or if the existing table has other columns;
    /// `Data` if its log is damaged.
    pub async fn ensure_table(
        &self,
        path: &TablePath,
        schema: &SchemaRef,
        options: &TableOptions,
    ) -> Result<(), SourceError> {
        schema::check(path, schema)?;
        if let Some(table) = self.load(path).await? {
            let stored = schema::of(path, &table)?;
            return schema::check_equal(path, schema, &stored);
        }
        let columns: StructType = schema.as_ref().try_into_kernel().map_err(|cause| {
            SourceError::new(
                SourceErrorKind::Unsupported,
                format!("the columns of \"{path}\" cannot be stored"),
            )
            .with_cause(cause)
        })?;
        let location = self.location(path)?;
        if let Ok(directory) = location.to_file_path() {
            std::fs::create_dir_all(&directory).map_err(|cause| {
                SourceError::new(
                    SourceErrorKind::Unreachable,
                    format!("the directory of \"{path}\" cannot be created"),
                )
                .with_hint("check that the data directory is writable")
                .with_cause(cause)
            })?;
        }
        let table = DeltaTableBuilder::from_url(location)
            .and_then(DeltaTableBuilder::build)
            .map_err(|cause| damaged(path, cause))?;
        let fields: Vec<StructField> = columns.fields().cloned().collect();
        let mut create = table.create().with_table_name(path.name.clone()).with_columns(fields);
        if !options.partition_by.is_empty() {
            create = create.with_partition_columns(options.partition_by.clone());
        }
        if let Some(comment) = &options.comment {
            create = create.with_comment(comment.clone());
        }
        if options.append_only {
            create = create.with_configuration_property(TableProperty::AppendOnly, Some("true"));
        }
        let created = Box::pin(create.into_future()).await.map_err(|cause| damaged(path, cause))?;
        self.open.lock().await.insert(path.clone(), created);
        Ok(())
    }

    /// The latest version of a table; `None` if there is no such table.
    ///
    /// # Errors
    /// `Data` if its log is damaged.
    pub async fn version(&self, path: &TablePath) -> Result<Option<i64>, SourceError> {
        Ok(self.load(path).await?.and_then(|table| version_of(&table)))
    }

    /// The sequence last committed to a table by an application id.
    ///
    /// # Errors
    /// `Data` if its log is damaged.
    pub async fn txn_version(&self, path: &TablePath, app_id: &str) -> Result<Option<i64>, SourceError> {
        match self.load(path).await? {
            Some(table) => commit::txn_version(path, &table, app_id).await,
            None => Ok(None),
        }
    }

    /// The columns of a table: microsecond timestamps, plain text types.
    ///
    /// # Errors
    /// `NotFound`, or `Data` if its log is damaged.
    pub async fn schema(&self, path: &TablePath) -> Result<SchemaRef, SourceError> {
        schema::of(path, &self.require(path).await?)
    }

    /// A provider that reads one version of a table; the latest if none is named.
    ///
    /// # Errors
    /// `NotFound`, or `Data` if its log is damaged.
    pub async fn provider(
        &self,
        path: &TablePath,
        version: Option<i64>,
    ) -> Result<(i64, Arc<dyn TableProvider>), SourceError> {
        let mut table = self.require(path).await?;
        if let Some(version) = version {
            let wanted = u64::try_from(version).map_err(|cause| damaged(path, cause))?;
            Box::pin(table.load_version(wanted)).await.map_err(|cause| damaged(path, cause))?;
        }
        let read = version_of(&table).unwrap_or_default();
        let provider = table
            .table_provider()
            .with_session(Arc::clone(&self.state))
            .await
            .map_err(|cause| damaged(path, cause))?;
        Ok((read, provider))
    }

    /// All tables of all zones, ordered.
    ///
    /// # Errors
    /// `Unsupported` for a root that is not local: listing object stores comes with the production lake.
    pub fn list(&self) -> Result<Vec<TablePath>, SourceError> {
        let Ok(root) = self.root.to_file_path() else {
            return Err(SourceError::new(
                SourceErrorKind::Unsupported,
                "tables of a lake that is not a local directory cannot be listed yet",
            )
            .with_hint("name a local directory as the lake's root"));
        };
        let mut tables = Vec::new();
        for zone in ZONES {
            let Ok(entries) = std::fs::read_dir(root.join(zone)) else { continue };
            for entry in entries.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if entry.path().join("_delta_log").is_dir() {
                    tables.push(TablePath { zone: zone.to_owned(), name });
                }
            }
        }
        tables.sort();
        Ok(tables)
    }

    pub(crate) fn state(&self) -> &Arc<SessionState> {
        &self.state
    }

    /// The lake's root. A trailing slash is part of it.
    #[must_use]
    pub fn root(&self) -> &Url {
        &self.root
    }
}

fn version_of(table: &DeltaTable) -> Option<i64> {
    table.version().and_then(|version| i64::try_from(version).ok())
}

/// The error for a table whose log or files cannot be read; says what an operator can do.
fn damaged(path: &TablePath, cause: impl std::error::Error + Send + Sync + 'static) -> SourceError {
    SourceError::new(SourceErrorKind::Data, format!("table \"{path}\" of the lake cannot be read"))
        .with_hint("its log or a data file is damaged or missing; silver and gold can be rebuilt from bronze")
        .with_cause(cause)
}
