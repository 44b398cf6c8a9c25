//! A reader's desk: the gateway's engine over an ingested port's lake and warehouse, with the shipped KPIs.
//!
//! Rows come back as text, as a client of the text protocol would see them, so that comparisons are exact.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::catalog::TableProvider;
use futures::StreamExt;
use libtest_mimic::Failed;
use portolan::engine::{Engine, EngineConfig, QueryControl};
use portolan::error::QueryError;
use portolan::mirror::SourceTables;
use portolan::session::{Identity, Session};
use portolan_catalog::Catalog;
use portolan_catalog::embedded::EmbeddedPostgres;
use portolan_catalog::lake::{Lake, LakeSource};
use portolan_catalog::postgres::{PostgresPool, PostgresSource};
use portolan_catalog::source::SourceName;
use portolan_semantic::{Model, Semantics, TableResolver, load, render_text};

/// One row as text; `None` is NULL.
pub(crate) type Row = Vec<Option<String>>;

/// Sessions bring their own tables, so the shared model needs none.
#[derive(Debug)]
struct Nowhere;

#[async_trait::async_trait]
impl TableResolver for Nowhere {
    async fn table(&self, _schema: &str, _name: &str) -> Option<Arc<dyn TableProvider>> {
        None
    }
}

/// An engine and one session of it.
#[derive(Debug)]
pub(crate) struct Desk {
    engine: Engine,
    session: Session,
    pub(crate) model: Arc<Model>,
}

impl Desk {
    pub(crate) async fn open(lake: &Lake, warehouse: &EmbeddedPostgres) -> Result<Self, Failed> {
        let name = |text: &str| SourceName::try_new(text).map_err(Failed::from);
        let star = PostgresPool::Embedded(warehouse.clone());
        let catalog = Catalog::builder()
            .add(Arc::new(LakeSource::new(name("lake")?, lake.clone())))
            .add(Arc::new(PostgresSource::new(name("warehouse")?, star, "star")))
            .build()?;
        catalog.tables().await;
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kpis/port_calls.yaml");
        let loaded = load(&[(PathBuf::from("port_calls.yaml"), std::fs::read_to_string(file)?)]);
        if !loaded.diagnostics.is_empty() {
            return Err(render_text(&loaded.diagnostics).into());
        }
        let engine = Engine::open(EngineConfig {
            tables: Arc::new(SourceTables(catalog)),
            semantics: Some(Arc::new(Semantics::new(Arc::clone(&loaded.model), Arc::new(Nowhere)))),
            system: Vec::new(),
            memory_bytes: 1 << 30,
            partitions: 2,
        })?;
        let session = engine.session(Identity { user: "test".into(), pid: 1, protocol: "internal" });
        Ok(Self { engine, session, model: loaded.model })
    }

    /// Column names and rows of a statement.
    pub(crate) async fn table(&self, sql: &str) -> Result<(Vec<String>, Vec<Row>), QueryError> {
        let prepared = self.engine.prepare(&self.session, sql, &[]).await?;
        let names = prepared.columns.iter().map(|column| column.name.clone()).collect();
        let mut answer =
            self.engine.execute(&self.session, &prepared, Vec::new(), QueryControl::default()).await?;
        let mut rows = Vec::new();
        let options = FormatOptions::new();
        while let Some(batch) = answer.rows.next().await {
            let batch = batch.map_err(QueryError::from)?;
            let formatters = batch
                .columns()
                .iter()
                .map(|column| ArrayFormatter::try_new(column, &options))
                .collect::<Result<Vec<_>, _>>()
                .map_err(QueryError::unsupported)?;
            for row in 0..batch.num_rows() {
                let cells = batch.columns().iter().zip(&formatters);
                rows.push(
                    cells
                        .map(|(column, text)| (!column.is_null(row)).then(|| text.value(row).to_string()))
                        .collect(),
                );
            }
        }
        Ok((names, rows))
    }

    /// Rows of a statement that must work.
    pub(crate) async fn rows(&self, sql: &str) -> Result<Vec<Row>, Failed> {
        let answer = self.table(sql).await;
        answer.map(|(_, rows)| rows).map_err(|error| format!("{sql}: {error:?}").into())
    }

    /// Rows whose first `keys` cells name them.
    pub(crate) async fn keyed(&self, sql: &str, keys: usize) -> Result<BTreeMap<Row, Row>, Failed> {
        keyed(self.rows(sql).await?, keys).map_err(|error| format!("{sql}: {error}").into())
    }
}

/// Splits rows into keys and values; a key that comes twice is an error.
pub(crate) fn keyed(rows: Vec<Row>, keys: usize) -> Result<BTreeMap<Row, Row>, String> {
    let mut out = BTreeMap::new();
    for mut row in rows {
        let values = row.split_off(keys.min(row.len()));
        if out.insert(row.clone(), values).is_some() {
            return Err(format!("key {row:?} comes twice"));
        }
    }
    Ok(out)
}
