//! The schema `system`: tables about Portolan itself, made when they are read.
//!
//! Each is a [`SystemTable`]: a schema and the rows as they are now. Sources, runs, the ledger, quarantine and KPIs come
//! from their owners as such tables; running queries and settings are the gateway's own. A user sees the rows the owner
//! of a table decides to show to that identity; no text holds a secret.

mod provider;
mod queries;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::SchemaProvider;

use crate::engine::RunningQueries;
use crate::error::QueryError;
use crate::session::Identity;

/// A table whose rows are made when it is read.
#[async_trait]
pub trait SystemTable: fmt::Debug + Send + Sync {
    /// The table's name in the schema `system`.
    fn name(&self) -> &str;

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

    /// The schema as one identity sees it.
    pub(crate) fn schema(&self, viewer: Arc<Identity>) -> Arc<dyn SchemaProvider> {
        Arc::new(provider::SystemSchema::new(self.tables.clone(), viewer))
    }
}
