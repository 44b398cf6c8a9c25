//! One gateway session's view of the catalog: its schemas and tables as DataFusion asks for them.
//!
//! Cheap to build: it holds the shared [`Catalog`] and the session's options, and makes a table's provider on
//! demand. It never contacts a source for a name that belongs to another one.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, SchemaProvider, TableProvider};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::TableType;

use super::{FederatedTable, FederationOptions};
use crate::registry::Catalog;
use crate::source::TableKind;

/// The catalog of one gateway session.
#[derive(Debug)]
pub struct SessionCatalog {
    catalog: Arc<Catalog>,
    options: Arc<FederationOptions>,
    own: BTreeMap<String, Arc<dyn SchemaProvider>>,
}

impl SessionCatalog {
    /// The sources' schemas, and others beside them; one of the others wins over a source's of the same name.
    #[must_use]
    pub fn new(
        catalog: Arc<Catalog>,
        options: Arc<FederationOptions>,
        extra_schemas: Vec<(String, Arc<dyn SchemaProvider>)>,
    ) -> Self {
        Self { catalog, options, own: extra_schemas.into_iter().collect() }
    }
}

impl CatalogProvider for SessionCatalog {
    fn schema_names(&self) -> Vec<String> {
        let mut names = self.catalog.schema_names();
        names.extend(self.own.keys().cloned());
        names.into_iter().collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        if let Some(own) = self.own.get(name) {
            return Some(Arc::clone(own));
        }
        if !self.catalog.schema_names().contains(name) {
            return None;
        }
        Some(Arc::new(SourceSchema {
            name: name.to_owned(),
            catalog: Arc::clone(&self.catalog),
            options: Arc::clone(&self.options),
        }))
    }
}

/// The tables of one SQL schema, which usually is one source.
#[derive(Debug)]
struct SourceSchema {
    name: String,
    catalog: Arc<Catalog>,
    options: Arc<FederationOptions>,
}

#[async_trait]
impl SchemaProvider for SourceSchema {
    fn table_names(&self) -> Vec<String> {
        self.catalog.cached_tables(&self.name).into_iter().map(|table| table.name.clone()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let Some((source, table)) = self.catalog.find_table(&self.name, name).await? else {
            return Ok(None);
        };
        let provider =
            FederatedTable::new(source.name().clone(), table, source.executor(), Arc::clone(&self.options));
        Ok(Some(Arc::new(provider.in_a(source.source().kind()))))
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        let found = self.catalog.find_table(&self.name, name).await?;
        Ok(found.map(|(_, table)| match table.kind {
            TableKind::Table => TableType::Base,
            TableKind::View => TableType::View,
        }))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.catalog.cached_tables(&self.name).iter().any(|table| table.name == name)
    }
}
