//! The door of the crate: a model bound to a way of finding tables.
//!
//! A `Semantics` is two `Arc`s; a session makes its own with [`Semantics::for_session`], so that the tables it finds are
//! that session's, while resolved types are shared.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::error::Result;
use datafusion::execution::SessionStateBuilder;

use crate::Model;

/// Finds base tables for the semantic layer, which knows no store.
#[async_trait]
pub trait TableResolver: fmt::Debug + Send + Sync {
    /// Returns the provider of a table as the session sees it, from cached schemas only; `None` if nothing is known of it.
    async fn table(&self, schema: &str, name: &str) -> Option<Arc<dyn TableProvider>>;
}

/// One view for the shadow catalog.
#[derive(Clone, Debug)]
pub struct ViewDef {
    /// `kpi` or `kpi_flat`.
    pub schema: String,
    /// View name.
    pub name: String,
    /// Columns; field metadata `portolan.comment` holds the text shown by `\d+`.
    pub arrow: SchemaRef,
    /// Text of the view.
    pub comment: String,
    /// Shown as the view's definition.
    pub definition: String,
}

/// One row of `system.kpis`: a column of a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KpiRow {
    /// Model, the view in `kpi`.
    pub model: String,
    /// Column.
    pub name: String,
    /// `dimension`, `measure`, `metric` or `time`.
    pub role: &'static str,
    /// Title.
    pub title: Option<String>,
    /// Description.
    pub description: Option<String>,
    /// Unit as written.
    pub unit: Option<String>,
    /// `additive`, `entity` or `none`; NULL for dimensions.
    pub additivity: Option<&'static str>,
    /// Clock.
    pub clock: Option<String>,
    /// Entity.
    pub entity: Option<String>,
    /// Formula as text.
    pub formula: Option<String>,
    /// Team.
    pub owner: String,
    /// Life cycle.
    pub status: &'static str,
    /// Hash of the definition.
    pub def_hash: String,
    /// First reason why it is not usable.
    pub error: Option<String>,
}

/// A model bound to a resolver.
#[derive(Clone, Debug)]
pub struct Semantics {
    model: Arc<Model>,
    resolver: Arc<dyn TableResolver>,
}

impl Semantics {
    /// Binds a model to a resolver.
    pub fn new(model: Arc<Model>, resolver: Arc<dyn TableResolver>) -> Self {
        Self { model, resolver }
    }

    /// Returns the same model over another session's tables; what was resolved before is shared.
    #[must_use]
    pub fn for_session(&self, resolver: Arc<dyn TableResolver>) -> Self {
        Self { model: Arc::clone(&self.model), resolver }
    }

    /// Returns the schemas `kpi` and `kpi_flat`.
    pub fn schemas(&self) -> Vec<(String, Arc<dyn SchemaProvider>)> {
        let _ = &self.resolver;
        Vec::new()
    }

    /// Adds the functions `measure`, `agg`, `aggregate` and the analyzer rules, in the order they need.
    #[must_use]
    pub fn install(&self, builder: SessionStateBuilder) -> SessionStateBuilder {
        builder
    }

    /// Returns the views for the shadow catalog, those whose tables are known.
    ///
    /// # Errors
    /// When a model does not fit the schemas of its tables.
    #[expect(clippy::unused_async, reason = "resolving tables is asynchronous once expansion lands")]
    pub async fn views(&self) -> Result<Vec<ViewDef>> {
        Ok(Vec::new())
    }

    /// Returns one row per column of every model, for `system.kpis`.
    pub fn kpis(&self) -> Vec<KpiRow> {
        Vec::new()
    }

    /// Explains an error of DataFusion's own planner about a KPI view: a measure in WHERE, a disabled KPI, a bare measure.
    pub fn explain(&self, error: &datafusion::error::DataFusionError) -> Option<crate::SemanticError> {
        crate::SemanticError::find(error).cloned()
    }
}
