//! `system.kpis`: what the KPI files define, column by column, with formula, unit and owner; a name that cannot be used
//! says why. The rows are those of the model the engine was opened with.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use portolan_semantic::KpiRow;

use super::{SystemTable, column};
use crate::error::QueryError;
use crate::session::Identity;

/// The model's rows as a table.
#[derive(Debug)]
pub(super) struct Kpis(pub(super) Vec<KpiRow>);

#[async_trait]
impl SystemTable for Kpis {
    fn name(&self) -> &str {
        "kpis"
    }

    fn comment(&self) -> Option<&str> {
        Some("dimensions, measures and metrics of every KPI view, with their definitions")
    }

    fn schema(&self) -> SchemaRef {
        let text = DataType::Utf8;
        Arc::new(Schema::new(vec![
            column("model", text.clone(), false, "the view in schema kpi"),
            column("name", text.clone(), false, "the view's column"),
            column("role", text.clone(), false, "dimension, time, measure or metric"),
            column("title", text.clone(), true, "title for people"),
            column("description", text.clone(), true, "what the number means"),
            column("unit", text.clone(), true, "unit of the values"),
            column("additivity", text.clone(), true, "additive, entity or none; NULL for dimensions"),
            column("clock", text.clone(), true, "the time that places a row in a bucket"),
            column("entity", text.clone(), true, "what is counted once"),
            column("formula", text.clone(), true, "the definition"),
            column("owner", text.clone(), false, "the team that answers for it"),
            column("status", text.clone(), false, "place in its life cycle"),
            column("def_hash", text.clone(), false, "changes when the definition does"),
            column("error", text, true, "why it cannot be used; NULL if it can"),
        ]))
    }

    async fn rows(&self, _viewer: &Identity) -> Result<RecordBatch, QueryError> {
        let rows = &self.0;
        let text = |value: &dyn Fn(&KpiRow) -> &str| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(rows.iter().map(value)))
        };
        let maybe = |value: &dyn Fn(&KpiRow) -> Option<&str>| -> ArrayRef {
            Arc::new(StringArray::from_iter(rows.iter().map(value)))
        };
        let columns: Vec<ArrayRef> = vec![
            text(&|row| &row.model),
            text(&|row| &row.name),
            text(&|row| row.role),
            maybe(&|row| row.title.as_deref()),
            maybe(&|row| row.description.as_deref()),
            maybe(&|row| row.unit.as_deref()),
            maybe(&|row| row.additivity),
            maybe(&|row| row.clock.as_deref()),
            maybe(&|row| row.entity.as_deref()),
            maybe(&|row| row.formula.as_deref()),
            text(&|row| &row.owner),
            text(&|row| row.status),
            text(&|row| &row.def_hash),
            maybe(&|row| row.error.as_deref()),
        ];
        RecordBatch::try_new(self.schema(), columns).map_err(|error| QueryError::internal(&error))
    }
}
