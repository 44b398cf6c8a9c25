//! The file source itself: declared tables, health, version, records.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use chrono::Utc;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use futures::stream::{BoxStream, StreamExt};
use tracing::info;

use super::column::ColumnType;
use super::executor::{FilesExecutor, blocking, chunks, unreadable_parquet};
use super::listing::{FoundFile, find, unreadable};
use super::parquet::Footer;
use super::records::{RawRecord, Reading};
use super::remembered::Remembered;
use super::statistics::of_table;
use super::{ColumnConfig, FileFormat, FilesConfig};
use crate::asof::SourceVersion;
use crate::federation::{FragmentExecutor, TableStatistics};
use crate::source::{
    COMMENT_KEY, Health, HealthState, PG_TYPE_KEY, Source, SourceError, SourceErrorKind, SourceKind,
    SourceName, TableDef, TableKind,
};

/// Files under one directory, shown as declared tables.
#[derive(Debug)]
pub struct FilesSource {
    name: SourceName,
    schema: String,
    root: Arc<Path>,
    executor: Arc<FilesExecutor>,
}

impl FilesSource {
    /// Declares the tables. Reads no file; the configuration's root is taken as it stands.
    ///
    /// # Errors
    /// `Data` naming the table whose declaration cannot be right.
    pub fn open(name: SourceName, config: FilesConfig) -> Result<Self, SourceError> {
        let FilesConfig { root, schema, tables } = config;
        let root: Arc<Path> = root.into();
        let mut readings = BTreeMap::new();
        for (table, config) in tables {
            let refuse = |why: &str| {
                SourceError::new(SourceErrorKind::Data, format!("table \"{name}.{table}\" {why}"))
                    .with_source(&name)
            };
            if config.path.starts_with('/') || config.path.split('/').any(|part| part == "..") {
                return Err(refuse("must have a path below the source's root")
                    .with_hint("write a glob relative to root, without \"..\""));
            }
            if config.columns.is_empty() && config.format != FileFormat::Parquet {
                return Err(refuse("declares no columns").with_hint("list them under columns:"));
            }
            if let Some(column) = config.columns.iter().enumerate().find_map(|(index, column)| {
                config.columns.iter().take(index).any(|other| other.name == column.name).then_some(column)
            }) {
                return Err(refuse(&format!("declares column \"{}\" twice", column.name)));
            }
            if let Some(key) = config.primary_key.iter().find(|key| {
                !config.columns.is_empty() && !config.columns.iter().any(|column| column.name == **key)
            }) {
                return Err(refuse(&format!("has no column \"{key}\" for its primary key")));
            }
            if let FileFormat::Csv(options) = &config.format
                && !options.delimiter.is_ascii()
            {
                return Err(refuse("has a delimiter that is not ASCII"));
            }
            let reading = Reading { source: name.clone(), root: Arc::clone(&root), table: Arc::new(config) };
            readings.insert(table, reading);
        }
        let schema = schema.unwrap_or_else(|| name.to_string());
        Ok(Self {
            name,
            schema,
            root,
            executor: Arc::new(FilesExecutor {
                readings,
                remembered: Arc::default(),
                mismatches: Arc::default(),
                told: RwLock::default(),
            }),
        })
    }

    /// Every record of a table's files as received: files ordered by path, records in file order. Records that
    /// cannot be read come too, marked as malformed. Dropping the stream stops the reading.
    ///
    /// # Errors
    /// `NotFound` for an undeclared table, `Unsupported` for Parquet, which has no records as received (read its
    /// batches through the executor); unreadable files come through the stream.
    pub fn records(
        &self,
        table: &str,
    ) -> Result<BoxStream<'static, Result<RawRecord, SourceError>>, SourceError> {
        let reading = self.reading(table)?;
        if reading.table.format == FileFormat::Parquet {
            let message = format!("parquet table \"{}.{table}\" has no records as received", self.schema);
            return Err(SourceError::new(SourceErrorKind::Unsupported, message)
                .with_source(&self.name)
                .with_hint("read its batches through the executor"));
        }
        let records = chunks(reading.clone()).flat_map(|chunk| {
            let items: Vec<Result<RawRecord, SourceError>> = match chunk {
                Ok(records) => records.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            };
            futures::stream::iter(items)
        });
        Ok(records.boxed())
    }

    /// A digest over the files of one table.
    ///
    /// # Errors
    /// `NotFound` for an undeclared table, and what kept the files from being listed.
    pub async fn table_version(&self, table: &str) -> Result<SourceVersion, SourceError> {
        let reading = self.reading(table)?.clone();
        let remembered = Arc::clone(&self.executor.remembered);
        blocking(move || Ok(SourceVersion::Digest(remembered.digest(&reading.files()?)))).await
    }

    /// Files opened so far beside reading their rows.
    #[cfg(test)]
    pub(super) fn looked_into(&self) -> u64 {
        self.executor.remembered.opened()
    }

    fn reading(&self, table: &str) -> Result<&Reading, SourceError> {
        self.executor.readings.get(table).ok_or_else(|| {
            SourceError::new(
                SourceErrorKind::NotFound,
                format!("source \"{}\" declares no table \"{table}\"", self.name),
            )
            .with_source(&self.name)
        })
    }
}

/// The Arrow schema of declared columns; every column may be null.
fn declared(columns: &[ColumnConfig]) -> SchemaRef {
    Arc::new(Schema::new(declared_fields(columns)))
}

/// The Arrow fields of declared columns; every one may be null.
pub(crate) fn declared_fields(columns: &[ColumnConfig]) -> Vec<Field> {
    columns
        .iter()
        .map(|column| {
            let mut metadata = HashMap::new();
            if let Some(comment) = &column.comment {
                metadata.insert(COMMENT_KEY.to_owned(), comment.clone());
            }
            if column.column_type == ColumnType::Json {
                metadata.insert(PG_TYPE_KEY.to_owned(), "jsonb".to_owned());
            }
            Field::new(&column.name, column.column_type.arrow(), true).with_metadata(metadata)
        })
        .collect()
}

impl FileFormat {
    /// The format's name, as written in the configuration.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Csv(_) => "csv",
            Self::Parquet => "parquet",
            Self::Xml(_) => "xml",
            Self::Text(_) => "text",
        }
    }
}

/// Bytes of a usual record, for the planner's estimate of rows.
const ROW_BYTES: u64 = 250;

/// The definition of one table, and what its files tell of its values, if they do; `None` for Parquet without declared
/// columns and without files.
fn define(
    schema: &str,
    table: &str,
    reading: &Reading,
    remembered: &Remembered,
) -> Result<Option<(TableDef, Option<TableStatistics>)>, SourceError> {
    let config = &reading.table;
    let mut row_estimate = None;
    let mut told = None;
    let mut arrow = (!config.columns.is_empty()).then(|| declared(&config.columns));
    if config.format == FileFormat::Parquet {
        let footers = match reading.files() {
            Ok(files) => footers(reading, &files, remembered)?,
            // A declared table is shown even while its files cannot be reached.
            Err(_) if arrow.is_some() => vec![],
            Err(error) => return Err(error),
        };
        arrow = arrow.or_else(|| footers.first().map(|footer| Arc::clone(&footer.schema)));
        told = arrow.as_ref().map(|columns| of_table(columns, &footers));
        row_estimate = told.as_ref().and_then(|told| told.rows).or(Some(0));
    } else if let Ok(files) = find(&reading.source, &reading.root, &config.path) {
        let bytes = files.iter().fold(0_u64, |bytes, file| bytes.saturating_add(file.size));
        row_estimate = Some(bytes.div_ceil(ROW_BYTES));
    }
    let Some(arrow) = arrow else { return Ok(None) };
    let table = TableDef {
        schema: schema.to_owned(),
        name: table.to_owned(),
        arrow,
        comment: config.comment.clone(),
        primary_key: config.primary_key.clone(),
        foreign_keys: vec![],
        row_estimate,
        kind: TableKind::Table,
    };
    Ok(Some((table, told)))
}

/// The footers of all files of a table.
pub(super) fn footers(
    reading: &Reading,
    files: &[FoundFile],
    remembered: &Remembered,
) -> Result<Vec<Footer>, SourceError> {
    let footer = |file: &FoundFile| {
        remembered.footer(file).map_err(|error| unreadable_parquet(&reading.source, file, error))
    };
    files.iter().map(footer).collect()
}

#[async_trait]
impl Source for FilesSource {
    fn name(&self) -> &SourceName {
        &self.name
    }

    fn kind(&self) -> SourceKind {
        SourceKind::Files
    }

    fn schemas(&self) -> Vec<String> {
        vec![self.schema.clone()]
    }

    async fn check(&self) -> Health {
        let (source, root) = (self.name.clone(), Arc::clone(&self.root));
        let outcome = blocking(move || {
            std::fs::read_dir(&root).map_err(|error| unreadable(&source, &root, &root, error))?;
            Ok(())
        })
        .await;
        let (state, error) = match outcome {
            Ok(()) => (HealthState::Up, None),
            Err(error) => (HealthState::Down, Some(error.to_string())),
        };
        Health { state, checked_at: Utc::now(), error, server_version: None }
    }

    async fn tables(&self) -> Result<Vec<Arc<TableDef>>, SourceError> {
        let executor = Arc::clone(&self.executor);
        let schema = self.schema.clone();
        blocking(move || {
            let (mut tables, mut told) = (Vec::new(), HashMap::new());
            let mut failed = None;
            for (name, reading) in &executor.readings {
                match define(&schema, name, reading, &executor.remembered) {
                    Ok(Some((table, figures))) => {
                        tables.push(Arc::new(table));
                        told.extend(figures.map(|figures| (name.clone(), Arc::new(figures))));
                    }
                    Ok(None) => {}
                    // One unreadable table must not hide the others.
                    Err(error) => {
                        info!(source = %reading.source, table = %name, error = %error, "table is not shown");
                        failed = Some(error);
                    }
                }
            }
            *executor.told.write().unwrap_or_else(PoisonError::into_inner) = told;
            match failed {
                Some(error) if tables.is_empty() => Err(error),
                _ => Ok(tables),
            }
        })
        .await
    }

    async fn obstacle(&self, schema: &str, table: &str) -> Option<SourceError> {
        let reading = self.reading(table).ok().filter(|_| schema == self.schema)?.clone();
        let (schema, table) = (schema.to_owned(), table.to_owned());
        let remembered = Arc::clone(&self.executor.remembered);
        blocking(move || define(&schema, &table, &reading, &remembered).map(drop)).await.err()
    }

    async fn version(&self) -> Result<SourceVersion, SourceError> {
        let executor = Arc::clone(&self.executor);
        blocking(move || {
            let mut files = Vec::new();
            for reading in executor.readings.values() {
                files.extend(reading.files()?);
            }
            Ok(SourceVersion::Digest(executor.remembered.digest(&files)))
        })
        .await
    }

    fn mismatches(&self) -> u64 {
        self.executor.mismatches.load(Ordering::Relaxed)
    }

    fn executor(&self) -> Arc<dyn FragmentExecutor> {
        Arc::clone(&self.executor) as Arc<dyn FragmentExecutor>
    }
}
