//! The schema `system`: tables about Portolan itself, made when they are read.
//!
//! Each is a [`SystemTable`]: a schema and the rows as they are now. Sources, runs, the ledger, quarantine and KPIs come
//! from their owners as such tables; running queries and settings are the gateway's own. A user sees the rows the owner
//! of a table decides to show to that identity; no text holds a secret.

mod answers;
mod fragments;
mod kpis;
mod ledger;
mod provider;
mod pushdown;
mod queries;
mod settings;
mod sources;
#[cfg(test)]
mod tests;
mod workers;

pub use ledger::ledger_tables;

use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::catalog::SchemaProvider;
use portolan_catalog::Catalog;
use portolan_catalog::source::{COMMENT_KEY, TableDef};
use portolan_semantic::Semantics;

use crate::engine::{Answers, RunningQueries};
use crate::error::QueryError;
use crate::scaleout::Workers;
use crate::session::Identity;
use crate::settings::Settings;

/// The schema these tables are shown in.
pub const SCHEMA: &str = "system";

/// A table whose rows are made when it is read.
#[async_trait]
pub trait SystemTable: fmt::Debug + Send + Sync {
    /// The table's name in the schema `system`.
    fn name(&self) -> &str;

    /// Its columns; comments in the metadata `portolan.comment`.
    fn schema(&self) -> SchemaRef;

    /// What the table is about, for `\d+`.
    fn comment(&self) -> Option<&str> {
        None
    }

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
    pub(crate) fn new(
        mut tables: Vec<Arc<dyn SystemTable>>,
        running: Arc<RunningQueries>,
        answers: Arc<Answers>,
    ) -> Self {
        tables.push(Arc::new(fragments::Fragments::new(Arc::clone(&running))));
        tables.push(Arc::new(queries::Queries::new(running)));
        tables.push(Arc::new(answers::AnswersTable(answers)));
        Self { tables }
    }

    /// The tables' definitions, for the catalog that clients browse.
    pub(crate) fn definitions(&self) -> Vec<Arc<TableDef>> {
        let settings = settings::SettingsTable(Arc::default());
        let own: [&dyn SystemTable; 1] = [&settings];
        let all = self.tables.iter().map(AsRef::as_ref).chain(own);
        all.map(|table| Arc::new(definition(table))).collect()
    }

    /// The schema as one session sees it.
    pub(crate) fn schema(
        &self,
        viewer: Arc<Identity>,
        settings: Arc<Mutex<Settings>>,
    ) -> Arc<dyn SchemaProvider> {
        let mut tables = self.tables.clone();
        tables.push(Arc::new(settings::SettingsTable(settings)));
        Arc::new(provider::SystemSchema::new(tables, viewer))
    }
}

fn definition(table: &dyn SystemTable) -> TableDef {
    let comment = table.comment().map(str::to_owned);
    TableDef::view(SCHEMA.to_owned(), table.name().to_owned(), table.schema(), comment)
}

/// `system.sources`: every source with its state, last error and what to do about it.
#[must_use]
pub fn sources(catalog: Arc<Catalog>) -> Arc<dyn SystemTable> {
    Arc::new(sources::Sources(catalog))
}

/// `system.pushdown`: what each source is trusted to evaluate, and why.
#[must_use]
pub fn pushdown(catalog: Arc<Catalog>) -> Arc<dyn SystemTable> {
    Arc::new(pushdown::Pushdown(catalog))
}

/// `system.workers`: the processes that may do parts of statements, and how they do.
#[must_use]
pub fn workers(workers: Option<Arc<Workers>>) -> Arc<dyn SystemTable> {
    Arc::new(workers::WorkerTable(workers))
}

/// `system.kpis`: every column of every KPI view with its definition.
#[must_use]
pub fn kpis(semantics: &Semantics) -> Arc<dyn SystemTable> {
    Arc::new(kpis::Kpis(semantics.kpis()))
}

/// A column of a system table, with the description `\d+` shows.
#[must_use]
pub fn column(name: &str, data_type: DataType, nullable: bool, comment: &str) -> Field {
    Field::new(name, data_type, nullable).with_metadata([(COMMENT_KEY.to_owned(), comment.to_owned())].into())
}
