//! The schemas `kpi` and `kpi_flat`.
//!
//! A `KpiTable` offers columns, never rows: `scan` refuses (KPI901), so that a bare `SELECT *` fails, while `LIMIT 0` and
//! `WHERE 1=0` answer because the optimizer never comes to the scan. It has no logical plan and no constraints, or
//! DataFusion would inline it or widen GROUP BY before expansion.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::{SchemaProvider, Session, TableProvider};
use datafusion::common::Column;
use datafusion::datasource::{ViewTable, provider_as_source, source_as_provider};
use datafusion::error::Result;
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, LogicalPlanBuilder, TableSource, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::resolve::Resolved;
use crate::semantics::Shared;
use crate::{Disabled, Flat, KpiModel, SemanticError};

/// `kpi.<model>`: a resolved model and the session's base tables.
#[derive(Debug)]
pub(crate) struct KpiTable {
    pub(crate) resolved: Arc<Resolved>,
    /// Providers by qualifier; one that is missing is an error at expansion only.
    pub(crate) tables: HashMap<String, Arc<dyn TableProvider>>,
}

/// The hint that fits a model: the call, or the flat view.
pub(crate) fn instead(model: &KpiModel) -> String {
    let measure = model.measures.first().map_or("<measure>", |m| m.name.as_str());
    let by = model.dimensions.first().map_or("month", |d| d.name.as_str());
    let call = format!("SELECT {by}, MEASURE({measure}) FROM kpi.{} GROUP BY {by}", model.name);
    match model.flats.first() {
        Some(flat) => format!("write {call}, or browse kpi_flat.{}__{}", model.name, flat.name),
        None => format!("write {call}"),
    }
}

#[async_trait]
impl TableProvider for KpiTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.resolved.schema)
    }
    fn table_type(&self) -> TableType {
        TableType::View
    }
    async fn scan(
        &self,
        _state: &dyn Session,
        _projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let model = &self.resolved.model;
        Err(SemanticError::new(
            "KPI901",
            "42803",
            format!("view \"kpi.{}\" has measures and cannot be read row by row", model.name),
        )
        .hint(instead(model))
        .into())
    }
}

/// Schema `kpi` or `kpi_flat`.
#[derive(Debug)]
pub(crate) struct KpiSchema {
    pub(crate) shared: Arc<Shared>,
    pub(crate) resolver: Arc<dyn crate::TableResolver>,
    pub(crate) flat: bool,
}

fn broken(disabled: &Disabled) -> SemanticError {
    SemanticError::new("KPI930", "55000", format!("the file of kpi model \"{}\" has errors", disabled.name))
        .hint(disabled.reason.headline())
}

#[async_trait]
impl SchemaProvider for KpiSchema {
    fn table_names(&self) -> Vec<String> {
        let models = self.shared.model.models.iter();
        if self.flat {
            models.flat_map(|m| m.flats.iter().map(|flat| format!("{}__{}", m.name, flat.name))).collect()
        } else {
            models.map(|m| m.name.clone()).collect()
        }
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let (model, flat) = match name.split_once("__").filter(|_| self.flat) {
            Some((model, flat)) => (model, Some(flat)),
            None => (name, None),
        };
        if let Some(disabled) = self.shared.model.broken.iter().find(|d| d.name == model) {
            return Err(broken(disabled).into());
        }
        let Some(table) = self.shared.table(model, &self.resolver).await? else { return Ok(None) };
        match (self.flat, flat) {
            (false, _) => Ok(Some(table)),
            (true, Some(flat)) => {
                let flat = table.resolved.model.flats.iter().find(|f| f.name == flat).cloned();
                flat.map(|flat| flat_view(&table, &flat)).transpose()
            }
            (true, None) => Ok(None),
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        self.table_names().iter().any(|known| known == name)
    }
}

/// Every column name of a flat view after bucket and dimensions.
pub(crate) fn kpi_names(model: &KpiModel) -> impl Iterator<Item = &str> {
    crate::kpi::kpis(model)
}

/// The statement a flat view stands for.
pub(crate) fn flat_sql(model: &KpiModel, flat: &Flat) -> String {
    let keys: Vec<&str> =
        std::iter::once(flat.grain.as_str()).chain(flat.dims.iter().map(String::as_str)).collect();
    let values: Vec<String> = kpi_names(model).map(|name| format!("MEASURE({name}) AS {name}")).collect();
    format!(
        "SELECT {}, {} FROM kpi.{} GROUP BY {}",
        keys.join(", "),
        values.join(", "),
        model.name,
        keys.join(", ")
    )
}

fn flat_view(table: &Arc<KpiTable>, flat: &Flat) -> Result<Arc<dyn TableProvider>> {
    let model = Arc::clone(&table.resolved.model);
    let source = provider_as_source(Arc::clone(table) as Arc<dyn TableProvider>);
    let scan = LogicalPlanBuilder::scan(model.name.as_str(), source, None)?.build()?;
    let column = |name: &str| Expr::Column(Column::new(Some(model.name.as_str()), name));
    let keys: Vec<Expr> = std::iter::once(flat.grain.as_str())
        .chain(flat.dims.iter().map(String::as_str))
        .map(column)
        .collect();
    let measure = crate::measure::aggregates().into_iter().next();
    let Some(measure) = measure else {
        return Err(SemanticError::new("KPI904", "XX000", "no measure function").into());
    };
    let values: Vec<Expr> = kpi_names(&model)
        .map(|name| {
            Expr::AggregateFunction(AggregateFunction::new_udf(
                Arc::clone(&measure),
                vec![column(name)],
                false,
                None,
                vec![],
                None,
            ))
        })
        .collect();
    let aggregate = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(scan), keys.clone(), values.clone())?);
    let mut out: Vec<Expr> = keys;
    for (value, name) in values.iter().zip(kpi_names(&model)) {
        let mut facts: std::collections::BTreeMap<String, String> = table
            .resolved
            .schema
            .field_with_name(name)
            .map(|field| field.metadata().clone().into_iter().collect())
            .unwrap_or_default();
        let additive = flat_additive(&model, name, flat);
        facts.insert("kpi.flat".into(), if additive { "additive".into() } else { "none".into() });
        let output = Expr::Column(Column::from_name(value.schema_name().to_string()));
        out.push(
            output.alias_with_metadata(name, Some(datafusion::common::metadata::FieldMetadata::from(facts))),
        );
    }
    let plan = LogicalPlanBuilder::new(aggregate).project(out)?.build()?;
    Ok(Arc::new(ViewTable::new(plan, Some(flat_sql(&model, flat)))))
}

/// True when values of a flat column may be added over its rows.
fn flat_additive(model: &KpiModel, name: &str, flat: &Flat) -> bool {
    let Some(measure) = model.measures.iter().find(|m| m.name == name) else { return false };
    if !matches!(measure.agg, crate::Aggregate::Sum | crate::Aggregate::Count) {
        return false;
    }
    let entity = measure.entity.as_ref().and_then(|name| model.entities.iter().find(|e| e.name == *name));
    entity.is_none_or(|entity| flat.dims.iter().all(|dim| entity.main.contains(dim)))
}

/// Fields of a flat view, without planning it.
pub(crate) fn flat_schema(resolved: &Resolved, flat: &Flat) -> SchemaRef {
    let fields: Vec<Field> = std::iter::once(flat.grain.as_str())
        .chain(flat.dims.iter().map(String::as_str))
        .chain(kpi_names(&resolved.model))
        .filter_map(|name| resolved.schema.field_with_name(name).ok().cloned())
        .collect();
    Arc::new(Schema::new(fields))
}

/// Finds the KPI table behind a scan's source.
pub(crate) fn as_kpi(source: &Arc<dyn TableSource>) -> Option<Arc<KpiTable>> {
    let provider = source_as_provider(source).ok()?;
    let any: Arc<dyn Any + Send + Sync> = provider;
    any.downcast::<KpiTable>().ok()
}
