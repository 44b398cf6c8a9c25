//! The door of the crate: a model bound to a way of finding tables.
//!
//! A `Semantics` is two `Arc`s; a session makes its own with [`Semantics::for_session`], so that the tables it finds are
//! that session's, while resolved types are shared.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionStateBuilder;
use datafusion::optimizer::analyzer::resolve_grouping_function::ResolveGroupingFunction;
use datafusion::optimizer::analyzer::type_coercion::TypeCoercion;

use crate::resolve::Resolved;
use crate::scalar::FACT;
use crate::view::{KpiSchema, KpiTable};
use crate::{KpiModel, Model, SemanticError};

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

/// What sessions share: the model and what was resolved of it.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) model: Arc<Model>,
    models: HashMap<String, Arc<KpiModel>>,
    resolved: Mutex<HashMap<String, Arc<Resolved>>>,
}

impl Shared {
    /// Finds a model's table for a session; `None` for an unknown model.
    pub(crate) async fn table(
        &self,
        name: &str,
        resolver: &Arc<dyn TableResolver>,
    ) -> Result<Option<Arc<KpiTable>>> {
        let Some(model) = self.models.get(name) else { return Ok(None) };
        let mut tables = HashMap::new();
        let mut inputs = Vec::new();
        let wanted = std::iter::once((FACT, &model.source))
            .chain(model.joins.iter().map(|join| (join.name.as_str(), &join.to)));
        for (qualifier, table) in wanted {
            if let Some(provider) = resolver.table(&table.schema, &table.table).await {
                inputs.push((qualifier.to_owned(), provider.schema()));
                tables.insert(qualifier.to_owned(), provider);
            }
        }
        let complete = inputs.len() == model.joins.len() + 1;
        let known = self.known(name);
        let resolved = match known {
            Some(known) if !complete || known.inputs == inputs => known,
            _ if complete => {
                let fresh = Arc::new(Resolved::new(model, inputs).map_err(|error| misfit(model, error))?);
                if let Ok(mut cache) = self.resolved.lock() {
                    cache.insert(name.to_owned(), Arc::clone(&fresh));
                }
                fresh
            }
            _ => {
                let missing = std::iter::once((FACT, &model.source))
                    .chain(model.joins.iter().map(|join| (join.name.as_str(), &join.to)))
                    .find(|(qualifier, _)| !tables.contains_key(*qualifier))
                    .map_or_else(String::new, |(_, table)| table.to_string());
                return Err(unavailable(&missing, name).into());
            }
        };
        Ok(Some(Arc::new(KpiTable { resolved, tables })))
    }

    fn known(&self, name: &str) -> Option<Arc<Resolved>> {
        self.resolved.lock().ok()?.get(name).map(Arc::clone)
    }
}

/// A base table that cannot be found now.
pub(crate) fn unavailable(table: &str, model: &str) -> SemanticError {
    SemanticError::new(
        "KPI932",
        "HV00N",
        format!("table \"{table}\" of kpi model \"{model}\" is not available"),
    )
    .hint("check that its source is configured and reachable; see system.sources")
}

fn misfit(model: &KpiModel, error: DataFusionError) -> DataFusionError {
    if SemanticError::find(&error).is_some() {
        return error;
    }
    let text = error.strip_backtrace();
    let text = text.lines().next().unwrap_or_default();
    SemanticError::new("KPI930", "55000", format!("kpi model \"{}\" does not fit its tables", model.name))
        .hint(text)
        .into()
}

/// A model bound to a resolver.
#[derive(Clone, Debug)]
pub struct Semantics {
    shared: Arc<Shared>,
    resolver: Arc<dyn TableResolver>,
}

impl Semantics {
    /// Binds a model to a resolver.
    pub fn new(model: Arc<Model>, resolver: Arc<dyn TableResolver>) -> Self {
        let models = model.models.iter().map(|m| (m.name.clone(), Arc::new(m.clone()))).collect();
        Self { shared: Arc::new(Shared { model, models, resolved: Mutex::default() }), resolver }
    }

    /// Returns the same model over another session's tables; what was resolved before is shared.
    #[must_use]
    pub fn for_session(&self, resolver: Arc<dyn TableResolver>) -> Self {
        Self { shared: Arc::clone(&self.shared), resolver }
    }

    /// Returns the model.
    pub fn model(&self) -> &Arc<Model> {
        &self.shared.model
    }

    /// Returns the schemas `kpi` and `kpi_flat`.
    pub fn schemas(&self) -> Vec<(String, Arc<dyn SchemaProvider>)> {
        [("kpi", false), ("kpi_flat", true)]
            .into_iter()
            .map(|(name, flat)| {
                let schema = KpiSchema {
                    shared: Arc::clone(&self.shared),
                    resolver: Arc::clone(&self.resolver),
                    flat,
                };
                (name.to_owned(), Arc::new(schema) as Arc<dyn SchemaProvider>)
            })
            .collect()
    }

    /// Adds the functions `measure`, `agg`, `aggregate` and sets the analyzer rules: GROUPING() is resolved before
    /// expansion meets the aggregate, types are coerced after it.
    #[must_use]
    pub fn install(&self, mut builder: SessionStateBuilder) -> SessionStateBuilder {
        let functions = builder.aggregate_functions().get_or_insert_with(Vec::new);
        functions.extend(crate::measure::aggregates());
        builder.with_analyzer_rules(vec![
            Arc::new(ResolveGroupingFunction::new()),
            Arc::new(crate::expand::ExpandMeasures),
            Arc::new(TypeCoercion::new()),
        ])
    }

    /// Returns the views for the shadow catalog, those whose tables are known.
    ///
    /// # Errors
    /// Never today; a model that does not fit its tables is left out, as one whose tables are unknown.
    pub async fn views(&self) -> Result<Vec<ViewDef>> {
        let mut views = Vec::new();
        for model in &self.shared.model.models {
            let Ok(Some(table)) = self.shared.table(&model.name, &self.resolver).await else { continue };
            let first = model.dimensions.first().map_or("month", |d| d.name.as_str());
            let measure = model.measures.first().map_or("", |m| m.name.as_str());
            views.push(ViewDef {
                schema: "kpi".into(),
                name: model.name.clone(),
                arrow: Arc::clone(&table.resolved.schema),
                comment: format!("{}. {}", model.title, model.description),
                definition: format!(
                    "SELECT {first}, MEASURE({measure}) FROM kpi.{} GROUP BY {first}",
                    model.name
                ),
            });
            for flat in &model.flats {
                views.push(ViewDef {
                    schema: "kpi_flat".into(),
                    name: format!("{}__{}", model.name, flat.name),
                    arrow: crate::view::flat_schema(&table.resolved, flat),
                    comment: format!("{} by {}", model.title, flat.grain.as_str()),
                    definition: crate::view::flat_sql(model, flat),
                });
            }
        }
        Ok(views)
    }

    /// Returns one row per column of every model, for `system.kpis`; files that are broken give one row with the error.
    pub fn kpis(&self) -> Vec<KpiRow> {
        crate::listing::rows(&self.shared.model)
    }

    /// Explains an error of DataFusion's own planner about a KPI view: a measure in WHERE, a disabled KPI, a bare measure.
    pub fn explain(&self, error: &DataFusionError) -> Option<SemanticError> {
        if let Some(found) = SemanticError::find(error) {
            return Some(found.clone());
        }
        crate::listing::explain(&self.shared.model, error)
    }
}
