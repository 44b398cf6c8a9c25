//! The stores that hold the logical tables, each loaded with its own means and opened as users open it.
//!
//! A loader writes what PostgreSQL's text of a value says, and never through the code that later reads it. A store
//! that cannot hold a kind of column says so; queries that read one are then not asked of it.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use async_trait::async_trait;
use datafusion::parquet::arrow::ArrowWriter;
use portolan_catalog::files::{ColumnConfig, FileFormat, FileTableConfig, FilesConfig, FilesSource};
use portolan_catalog::lake::{Commit, Lake, LakeSource, TableOptions, TablePath};
use portolan_catalog::postgres::{PostgresPool, PostgresSource};
use portolan_catalog::source::{Source, SourceName};
use tokio_postgres::NoTls;

use crate::syntax::literal;
use crate::table::{Kind, LogicalTable, Row, WORDS};

/// A store with the logical tables.
#[async_trait]
pub(crate) trait Store: Send + Sync {
    /// The SQL schema its tables are found in.
    fn schema(&self) -> &'static str;

    /// Kinds of columns it cannot hold; they are left out of its tables.
    fn lacks(&self) -> &'static [Kind] {
        &[]
    }

    /// Makes the table hold exactly these rows.
    async fn load(&self, table: &LogicalTable) -> Result<()>;

    /// The source that shows it.
    fn open(&self, tables: &[LogicalTable]) -> Result<Arc<dyn Source>>;

    /// The lake that workers may read as well.
    fn lake(&self) -> Result<Option<LakeSource>> {
        Ok(None)
    }
}

fn name(schema: &str) -> Result<SourceName> {
    SourceName::try_new(schema).map_err(|error| anyhow!(error))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A real PostgreSQL. One namespace is the gateway's; beside it is one with the same rows in columns of plain types,
/// for the third opinion. Both have the process's number in their names, so that two runs keep out of each other's way.
#[derive(Debug)]
pub(crate) struct Postgres {
    pub(crate) url: String,
    pub(crate) namespace: &'static str,
}

impl Postgres {
    fn source(&self) -> String {
        format!("{}_{}", self.namespace, std::process::id())
    }

    /// The namespace of plain types.
    pub(crate) fn plain(&self) -> String {
        format!("{}_plain_{}", self.namespace, std::process::id())
    }

    /// Takes both namespaces away.
    pub(crate) async fn clear(&self) -> Result<()> {
        let (source, plain) = (self.source(), self.plain());
        let script = format!(
            "SET client_min_messages = error; DROP SCHEMA IF EXISTS {source} CASCADE; \
             DROP SCHEMA IF EXISTS {plain} CASCADE"
        );
        Ok(self.connect().await?.batch_execute(&script).await?)
    }

    pub(crate) async fn connect(&self) -> Result<tokio_postgres::Client> {
        let (client, connection) =
            tokio_postgres::connect(&self.url, NoTls).await.context("connect to the test PostgreSQL")?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Makes both namespaces anew.
    pub(crate) async fn prepare(&self) -> Result<()> {
        let client = self.connect().await?;
        let words: Vec<String> = WORDS.iter().map(|word| literal(word)).collect();
        let (source, plain) = (self.source(), self.plain());
        client
            .batch_execute(&format!(
                "SET client_min_messages = error; \
                 DROP SCHEMA IF EXISTS {source} CASCADE; CREATE SCHEMA {source}; \
                 DROP SCHEMA IF EXISTS {plain} CASCADE; CREATE SCHEMA {plain}; \
                 CREATE TYPE {source}.word AS ENUM ({})",
                words.join(", ")
            ))
            .await?;
        Ok(())
    }

    async fn load_into(&self, namespace: &str, table: &LogicalTable) -> Result<()> {
        let client = self.connect().await?;
        let type_of = |kind: Kind| match kind {
            Kind::Word if namespace == self.source() => format!("{namespace}.word"),
            kind => kind.sql(),
        };
        let columns: Vec<String> = table
            .columns
            .iter()
            .map(|column| format!("{} {}", quoted(column.name), type_of(column.kind)))
            .collect();
        let target = format!("{namespace}.{}", quoted(table.name));
        let mut script = format!(
            "SET client_min_messages = error; CREATE TABLE IF NOT EXISTS {target} ({}); TRUNCATE {target};",
            columns.join(", ")
        );
        for row in &table.rows {
            let values: Vec<String> = row
                .iter()
                .zip(table.columns)
                .map(|(value, column)| match value {
                    None => "NULL".to_owned(),
                    Some(text) => format!("{}::{}", literal(text), type_of(column.kind)),
                })
                .collect();
            script.push_str(&format!("INSERT INTO {target} VALUES ({});", values.join(", ")));
        }
        script.push_str(&format!("ANALYZE {target};"));
        client.batch_execute(&script).await.with_context(|| format!("load {target}"))
    }
}

#[async_trait]
impl Store for Postgres {
    fn schema(&self) -> &'static str {
        "pg"
    }

    async fn load(&self, table: &LogicalTable) -> Result<()> {
        self.load_into(&self.source(), table).await?;
        self.load_into(&self.plain(), table).await
    }

    fn open(&self, _tables: &[LogicalTable]) -> Result<Arc<dyn Source>> {
        let pool = PostgresPool::remote(&name("pg")?, self.url.parse()?)?;
        Ok(Arc::new(PostgresSource::new(name("pg")?, pool, self.source())))
    }
}

/// The same PostgreSQL through one connection: whatever a query reads of it, it reads one after the other.
#[derive(Debug)]
pub(crate) struct OneConnection<'a>(pub(crate) &'a Postgres);

#[async_trait]
impl Store for OneConnection<'_> {
    fn schema(&self) -> &'static str {
        "pgslot"
    }

    /// The rows are there already.
    async fn load(&self, _table: &LogicalTable) -> Result<()> {
        Ok(())
    }

    fn open(&self, _tables: &[LogicalTable]) -> Result<Arc<dyn Source>> {
        let name = name(self.schema())?;
        let pool = PostgresPool::with_connections(&name, self.0.url.parse()?, NonZeroU16::MIN)?;
        Ok(Arc::new(PostgresSource::new(name, pool, self.0.source())))
    }
}

/// NDJSON files with declared columns.
#[derive(Debug)]
pub(crate) struct Documents {
    pub(crate) folder: PathBuf,
}

/// A value as JSON; numbers are written as numbers, in all their digits.
fn json(text: &str, kind: Kind) -> String {
    let number = match kind {
        Kind::Int2 | Kind::Int4 | Kind::Int8 | Kind::Numeric(..) => true,
        Kind::Float8 | Kind::SignedZero => {
            text.bytes().all(|byte| byte.is_ascii_digit() || b".-+e".contains(&byte))
        }
        _ => false,
    };
    if number || kind == Kind::Bool { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

/// A row as an object of JSON.
pub(crate) fn document(table: &LogicalTable, index: usize, row: &Row) -> String {
    let fields: Vec<String> = row
        .iter()
        .zip(table.columns)
        .enumerate()
        .filter_map(|(at, (value, column))| match value {
            Some(value) => Some(format!("\"{}\":{}", column.key, json(value, column.kind))),
            // A missing field and a null are both no value; each row has some of both.
            None if (index + at).is_multiple_of(2) => Some(format!("\"{}\":null", column.key)),
            None => None,
        })
        .collect();
    format!("{{{}}}", fields.join(","))
}

/// What a declared column of files is called in its configuration.
fn declared(kind: Kind) -> String {
    kind.sql()
}

#[async_trait]
impl Store for Documents {
    fn schema(&self) -> &'static str {
        "docs"
    }

    async fn load(&self, table: &LogicalTable) -> Result<()> {
        let mut text = String::new();
        for (index, row) in table.rows.iter().enumerate() {
            text.push_str(&document(table, index, row));
            text.push('\n');
        }
        std::fs::create_dir_all(&self.folder)?;
        std::fs::write(self.folder.join(format!("{}.ndjson", table.name)), text)?;
        Ok(())
    }

    fn open(&self, tables: &[LogicalTable]) -> Result<Arc<dyn Source>> {
        let mut declarations = BTreeMap::new();
        for table in tables {
            let columns = table
                .columns
                .iter()
                .map(|column| {
                    let kind = declared(column.kind).try_into().map_err(|error: String| anyhow!(error))?;
                    Ok(ColumnConfig::new(column.name, column.key, kind))
                })
                .collect::<Result<_>>()?;
            let path = format!("{}.ndjson", table.name);
            declarations
                .insert(table.name.to_owned(), FileTableConfig::new(path, FileFormat::Ndjson, columns));
        }
        files("docs", &self.folder, declarations)
    }
}

fn files(schema: &str, root: &Path, tables: BTreeMap<String, FileTableConfig>) -> Result<Arc<dyn Source>> {
    let config = FilesConfig { root: root.to_owned(), schema: None, tables };
    Ok(Arc::new(FilesSource::open(name(schema)?, config)?))
}

/// Parquet files, several small row groups each.
#[derive(Debug)]
pub(crate) struct Parquet {
    pub(crate) folder: PathBuf,
}

#[async_trait]
impl Store for Parquet {
    fn schema(&self) -> &'static str {
        "files"
    }

    async fn load(&self, table: &LogicalTable) -> Result<()> {
        let batch = table.batch(&[])?;
        std::fs::create_dir_all(&self.folder)?;
        let file = std::fs::File::create(self.folder.join(format!("{}.parquet", table.name)))?;
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None)?;
        for at in (0..batch.num_rows()).step_by(16) {
            writer.write(&batch.slice(at, 16.min(batch.num_rows() - at)))?;
            writer.flush()?;
        }
        writer.close()?;
        Ok(())
    }

    fn open(&self, tables: &[LogicalTable]) -> Result<Arc<dyn Source>> {
        let declarations = tables
            .iter()
            .map(|table| {
                let path = format!("{}.parquet", table.name);
                (table.name.to_owned(), FileTableConfig::new(path, FileFormat::Parquet, vec![]))
            })
            .collect();
        files("files", &self.folder, declarations)
    }
}

/// Delta tables.
#[derive(Debug)]
pub(crate) struct DeltaLake {
    pub(crate) lake: Lake,
}

#[async_trait]
impl Store for DeltaLake {
    fn schema(&self) -> &'static str {
        "bronze"
    }

    fn lacks(&self) -> &'static [Kind] {
        &[Kind::Timestamp]
    }

    async fn load(&self, table: &LogicalTable) -> Result<()> {
        let path = TablePath::new("bronze", table.name);
        let batch = table.batch(self.lacks())?;
        self.lake.ensure_table(&path, &batch.schema(), &TableOptions::default()).await?;
        let version = self.lake.version(&path).await?.unwrap_or_default();
        let commit = |seq| Commit {
            pipeline: "oracle".into(),
            app_id: "oracle".into(),
            seq,
            interval: "all".into(),
            counts: BTreeMap::new(),
            digest: None,
            origin: None,
        };
        // Two files, so that statistics have something to choose from.
        let half = batch.num_rows() / 2;
        let first = vec![batch.slice(0, half)];
        self.lake.replace(&path, first, None, &commit(version + 1)).await?;
        let second = vec![batch.slice(half, batch.num_rows() - half)];
        self.lake.append(&path, second, &commit(version + 2)).await?;
        Ok(())
    }

    fn open(&self, _tables: &[LogicalTable]) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(LakeSource::new(name("lake")?, self.lake.clone())))
    }

    fn lake(&self) -> Result<Option<LakeSource>> {
        Ok(Some(LakeSource::new(name("lake")?, self.lake.clone())))
    }
}
