//! A session's catalog in which a source's tables are their copies.
//!
//! Every table of the source is replaced or none: a table without a copy is an error here, never the original.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, SchemaProvider, TableProvider};
use datafusion::error::{DataFusionError, Result};
use portolan_catalog::copies::Copies;
use portolan_catalog::federation::{FederationOptions, Fragment};

use crate::error::QueryError;
use crate::session::TableCatalog;

/// The tables of a catalog, some sources' by their copies.
#[derive(Debug)]
pub(super) struct WithCopies {
    pub(super) inner: Arc<dyn TableCatalog>,
    pub(super) copies: Arc<[Copies]>,
}

#[async_trait]
impl TableCatalog for WithCopies {
    fn provider(
        &self,
        options: Arc<FederationOptions>,
        extra: Vec<(String, Arc<dyn SchemaProvider>)>,
    ) -> Arc<dyn CatalogProvider> {
        let inner = self.inner.provider(Arc::clone(&options), extra);
        Arc::new(CopiedCatalog { inner, copies: Arc::clone(&self.copies), options })
    }

    fn version(&self) -> u64 {
        self.inner.version()
    }

    async fn refresh(&self, source: Option<&str>) -> Result<String, QueryError> {
        self.inner.refresh(source).await
    }

    fn distrust(&self, source: &str, fragment: &Fragment, sample: &str) {
        self.inner.distrust(source, fragment, sample);
    }
}

#[derive(Debug)]
struct CopiedCatalog {
    inner: Arc<dyn CatalogProvider>,
    copies: Arc<[Copies]>,
    options: Arc<FederationOptions>,
}

impl CatalogProvider for CopiedCatalog {
    fn schema_names(&self) -> Vec<String> {
        self.inner.schema_names()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let inner = self.inner.schema(name)?;
        match self.copies.iter().find(|copies| copies.covers(name)) {
            None => Some(inner),
            Some(copies) => Some(Arc::new(CopiedSchema {
                name: name.to_owned(),
                inner,
                copies: copies.clone(),
                options: Arc::clone(&self.options),
            })),
        }
    }
}

struct CopiedSchema {
    name: String,
    /// For names only: none of its tables is handed out.
    inner: Arc<dyn SchemaProvider>,
    copies: Copies,
    options: Arc<FederationOptions>,
}

impl fmt::Debug for CopiedSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopiedSchema").field("name", &self.name).finish_non_exhaustive()
    }
}

#[async_trait]
impl SchemaProvider for CopiedSchema {
    fn table_names(&self) -> Vec<String> {
        self.inner.table_names()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        if !self.inner.table_exist(name) {
            return Ok(None);
        }
        Ok(Some(self.copies.provider(&self.name, name, Arc::clone(&self.options))?))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.inner.table_exist(name)
    }
}
