//! The schema `system`: tables about Portolan itself, made when they are read.
//!
//! Each is a [`SystemTable`]: a schema and the rows as they are now. Sources, runs, the ledger, quarantine and KPIs come
//! from their owners as such tables; running queries and settings are the gateway's own. A user sees the rows the owner
//! of a table decides to show to that identity; no text holds a secret.

mod ledger;
mod provider;
mod queries;

pub use ledger::ledger_tables;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::SchemaProvider;
use portolan_catalog::source::{TableDef, TableKind};

use crate::engine::RunningQueries;
use crate::error::QueryError;
use crate::session::Identity;

/// The schema these tables are shown in.
pub const SCHEMA: &str = "system";

/// A table whose rows are made when it is read.
#[async_trait]
pub trait SystemTable: fmt::Debug + Send + Sync {
    /// The table's name in the schema `system`.
    fn name(&self) -> &str;

    /// What it tells, for people who list tables.
    fn comment(&self) -> Option<&str> {
        None
    }

    /// Its columns; comments in the metadata `portolan.comment`.
    fn schema(&self) -> SchemaRef;

    /// The rows as they are now, as this identity may see them.
    ///
    /// # Errors
    /// Whatever keeps the owner from telling.
    async fn rows(&self, viewer: &Identity) -> Result<RecordBatch, QueryError>;
}

/// All tables of the schema `system`.
#[derive(Debug)]
pub struct SystemTables {
    tables: Vec<Arc<dyn SystemTable>>,
}

impl SystemTables {
    pub(crate) fn new(mut tables: Vec<Arc<dyn SystemTable>>, running: Arc<RunningQueries>) -> Self {
        tables.push(Arc::new(queries::Queries::new(running)));
        Self { tables }
    }

    /// The tables' definitions, for the catalog that clients browse.
    pub(crate) fn definitions(&self) -> Vec<Arc<TableDef>> {
        let definition = |table: &Arc<dyn SystemTable>| TableDef {
            schema: SCHEMA.to_owned(),
            name: table.name().to_owned(),
            arrow: table.schema(),
            comment: table.comment().map(str::to_owned),
            primary_key: Vec::new(),
            foreign_keys: Vec::new(),
            row_estimate: None,
            kind: TableKind::View,
        };
        self.tables.iter().map(|table| Arc::new(definition(table))).collect()
    }

    /// The schema as one identity sees it.
    pub(crate) fn schema(&self, viewer: Arc<Identity>) -> Arc<dyn SchemaProvider> {
        Arc::new(provider::SystemSchema::new(self.tables.clone(), viewer))
    }
}
