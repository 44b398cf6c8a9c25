//! The lake: Delta tables in zones, on a local directory or an object store.
//!
//! Everything that touches a Delta log is here, because its crates are young: the rest of Portolan sees
//! [`Lake`], [`LakeRoot`], [`TablePath`] and [`Commit`]. A commit is idempotent by (application id, sequence) and its outcome is
//! never guessed: an error from the store goes to the resolver, which reads the log.

mod commit;
mod damage;
mod failure;
mod hdfs;
mod lists;
mod root;
mod schema;
mod share;
mod source;
mod statistics;
#[cfg(test)]
mod tests;
mod trouble;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::execution::{SessionState, SessionStateBuilder};
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake::kernel::{StructField, StructType};
use deltalake::{DeltaTable, DeltaTableBuilder, DeltaTableError, TableProperty};
use futures::StreamExt;
use object_store::ObjectStore;
use object_store::path::Path as StorePath;
use url::Url;

pub use commit::{Commit, CommitOutcome, CommitRecord};
pub use hdfs::StoreLimits;
pub use root::LakeRoot;
pub use source::LakeSource;

use failure::damaged;

use crate::federation::TableStatistics;
use crate::simplify::optimizer_rules;
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
    /// The store of a root that is no directory; shared by all tables.
    store: Option<Arc<dyn ObjectStore>>,
    open: Arc<tokio::sync::Mutex<HashMap<TablePath, DeltaTable>>>,
    /// Rows are decoded, then filtered.
    state: Arc<SessionState>,
    /// Columns that a filter reads are decoded first, and the others only where it holds.
    late: Arc<SessionState>,
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
        Self::of_directory(&root)
    }

    /// Opens the lake below a root, to be written. A directory is created; an HDFS is not contacted yet.
    ///
    /// # Errors
    /// `Unreachable` if a directory cannot be created, `Unsupported` if an HDFS cannot be addressed.
    pub fn open(root: &LakeRoot, limits: StoreLimits) -> Result<Self, SourceError> {
        match root {
            LakeRoot::Directory(directory) => Self::open_local(directory),
            LakeRoot::Hdfs(_) => Self::open_for_reading(root, limits),
        }
    }

    /// Opens the lake below a root that somebody else keeps. Creates nothing and contacts nobody.
    ///
    /// # Errors
    /// `Unsupported` if the root cannot be addressed.
    pub fn open_for_reading(root: &LakeRoot, limits: StoreLimits) -> Result<Self, SourceError> {
        match root {
            LakeRoot::Directory(directory) => {
                let absolute = std::path::absolute(directory).map_err(|cause| {
                    SourceError::new(SourceErrorKind::Unsupported, "the lake's directory has no path")
                        .with_cause(cause)
                })?;
                Self::of_directory(&absolute)
            }
            LakeRoot::Hdfs(url) => {
                let store = hdfs::open(url, limits).map_err(|cause| {
                    SourceError::new(SourceErrorKind::Unsupported, "the lake's HDFS cannot be addressed")
                        .with_hint("a nameservice needs HADOOP_CONF_DIR; else write hdfs://host:port/folder")
                        .with_cause(cause)
                })?;
                Ok(Self::of(url.clone(), Some(store)))
            }
        }
    }

    fn of_directory(root: &Path) -> Result<Self, SourceError> {
        let url = Url::from_directory_path(root).map_err(|()| {
            SourceError::new(SourceErrorKind::Unsupported, "the lake's directory has no absolute path")
        })?;
        Ok(Self::of(url, None))
    }

    fn of(root: Url, store: Option<Arc<dyn ObjectStore>>) -> Self {
        // Plans of the lake's own reads need a session that no user reaches. Both know the same stores and the same
        // footers of files, which never change; how many tasks read a fragment is decided when it is read.
        let config = datafusion::prelude::SessionConfig::new().with_target_partitions(2);
        let mut state = SessionStateBuilder::new()
            .with_config(config)
            .with_default_features()
            .with_optimizer_rules(optimizer_rules())
            .build();
        let parquet = &mut state.config_mut().options_mut().execution.parquet;
        parquet.schema_force_view_types = false;
        parquet.coerce_int96 = Some("us".to_owned());
        let mut late = state.clone();
        late.config_mut().options_mut().execution.parquet.pushdown_filters = true;
        Self { root, store, open: Arc::default(), state: Arc::new(state), late: Arc::new(late) }
    }

    fn location(&self, table: &TablePath) -> Result<Url, SourceError> {
        self.root.join(&format!("{}/{}/", table.zone, table.name)).map_err(|cause| {
            SourceError::new(SourceErrorKind::Unsupported, format!("\"{table}\" is no table path"))
                .with_cause(cause)
        })
    }

    /// How a table at a location is opened.
    fn builder(&self, location: Url) -> Result<DeltaTableBuilder, DeltaTableError> {
        let builder = DeltaTableBuilder::from_url(location.clone())?;
        Ok(match &self.store {
            Some(store) => builder.with_storage_backend(Arc::clone(store), location),
            None => builder,
        })
    }

    /// Whether a location has a log.
    async fn has_log(&self, path: &TablePath, location: &Url) -> Result<bool, SourceError> {
        let Some(store) = &self.store else {
            return Ok(directory_of(location).is_some_and(|directory| directory.join("_delta_log").is_dir()));
        };
        let log = store_path(location).join("_delta_log");
        match store.list(Some(&log)).next().await {
            None => Ok(false),
            Some(Ok(_)) => Ok(true),
            Some(Err(cause)) => Err(damaged(path, cause)),
        }
    }

    /// Loads a table at its latest version. `None` if there is no such table.
    ///
    /// Tables are loaded side by side: one that is slow to answer holds up nobody else's.
    async fn load(&self, path: &TablePath) -> Result<Option<DeltaTable>, SourceError> {
        let location = self.location(path)?;
        let known = self.open.lock().await.get(path).cloned();
        let loaded = match known {
            Some(mut table) => Box::pin(table.update_state()).await.map(|()| table),
            None => {
                if !self.has_log(path, &location).await? {
                    return Ok(None);
                }
                match self.builder(location) {
                    Ok(builder) => Box::pin(builder.load()).await,
                    Err(cause) => Err(cause),
                }
            }
        };
        let mut open = self.open.lock().await;
        if loaded.is_err() {
            open.remove(path);
        }
        match loaded {
            Ok(table) => {
                if open.get(path).and_then(version_of) <= version_of(&table) {
                    open.insert(path.clone(), table.clone());
                }
                Ok(Some(table))
            }
            Err(DeltaTableError::NotATable(_) | DeltaTableError::InvalidTableLocation(_)) => Ok(None),
            Err(cause) => Err(self.unreadable(path, cause)),
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
        if let Some(directory) = directory_of(&location) {
            std::fs::create_dir_all(&directory).map_err(|cause| {
                SourceError::new(
                    SourceErrorKind::Unreachable,
                    format!("the directory of \"{path}\" cannot be created"),
                )
                .with_hint("check that the data directory is writable")
                .with_cause(cause)
            })?;
        }
        let table = self
            .builder(location)
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

    /// As [`Lake::schema`], and what the log tells of the table's rows and values.
    pub(crate) async fn described(
        &self,
        path: &TablePath,
    ) -> Result<(SchemaRef, TableStatistics), SourceError> {
        let table = self.require(path).await?;
        let columns = schema::of(path, &table)?;
        let known = statistics::of(&table, &columns);
        Ok((columns, known))
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
        // A version never changes: one that is open needs no look at the log.
        let open = self.open.lock().await.get(path).filter(|open| version_of(open) == version).cloned();
        let table = match (open, version) {
            (Some(open), Some(_)) => open,
            (_, None) => self.require(path).await?,
            (None, Some(version)) => {
                let mut table = self.require(path).await?;
                let wanted = u64::try_from(version).map_err(|cause| damaged(path, cause))?;
                Box::pin(table.load_version(wanted)).await.map_err(|cause| damaged(path, cause))?;
                table
            }
        };
        let read = version_of(&table).unwrap_or_default();
        // Of the session that leaves filters above the scan: told to filter by its own account and by the optimizer's,
        // the scan would evaluate each filter twice.
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
    /// `Unreachable` if the root cannot be listed.
    pub async fn list(&self) -> Result<Vec<TablePath>, SourceError> {
        match &self.store {
            None => self.list_directory(),
            Some(store) => self.list_store(store.as_ref()).await,
        }
    }

    /// Finds out whether the root can be listed at all.
    ///
    /// # Errors
    /// `Unreachable` or `Auth`, with what the store said.
    pub async fn reach(&self) -> Result<(), SourceError> {
        match &self.store {
            None => self.list_directory().map(drop),
            Some(store) => {
                let root = store_path(&self.root);
                store.list_with_delimiter(Some(&root)).await.map(drop).map_err(failure::unreachable)
            }
        }
    }

    async fn list_store(&self, store: &dyn ObjectStore) -> Result<Vec<TablePath>, SourceError> {
        let mut tables = Vec::new();
        for zone in ZONES {
            let folder = store_path(&self.root).join(zone);
            let found = store.list_with_delimiter(Some(&folder)).await.map_err(failure::unreachable)?;
            for table in found.common_prefixes {
                let Some(name) = table.filename().map(str::to_owned) else { continue };
                match store.list(Some(&table.join("_delta_log"))).next().await {
                    None => {}
                    Some(Ok(_)) => tables.push(TablePath { zone: zone.to_owned(), name }),
                    Some(Err(cause)) => return Err(failure::unreachable(cause)),
                }
            }
        }
        tables.sort();
        Ok(tables)
    }

    fn list_directory(&self) -> Result<Vec<TablePath>, SourceError> {
        let root = directory_of(&self.root).unwrap_or_default();
        if !root.is_dir() {
            return Err(SourceError::new(SourceErrorKind::Unreachable, "the lake's directory is not there")
                .with_hint("check the lake's root"));
        }
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

    /// The session that plans a fragment. The columns beside a filter's are spared where it leaves next to nothing;
    /// else finding out which rows are left costs more than decoding them all.
    fn planner(&self, left: Option<f64>) -> &Arc<SessionState> {
        const NEXT_TO_NOTHING: f64 = 0.01;
        if left.is_some_and(|left| left < NEXT_TO_NOTHING) { &self.late } else { &self.state }
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

/// The directory of a location on this machine. A URL of another scheme has a path too, on a host that may be this one.
fn directory_of(location: &Url) -> Option<PathBuf> {
    if location.scheme() == "file" { location.to_file_path().ok() } else { None }
}

/// A location as its store names it: without the scheme and the host.
fn store_path(location: &Url) -> StorePath {
    StorePath::from_url_path(location.path()).unwrap_or_default()
}
