//! `system.settings`: the settings of the session that asks, and of no other.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};

use super::{SystemTable, column};
use crate::error::QueryError;
use crate::session::Identity;
use crate::settings::Settings;

/// One session's settings as a table.
#[derive(Debug)]
pub(super) struct SettingsTable(pub(super) Arc<Mutex<Settings>>);

#[async_trait]
impl SystemTable for SettingsTable {
    fn name(&self) -> &str {
        "settings"
    }

    fn comment(&self) -> Option<&str> {
        Some("the settings of the session that asks")
    }

    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![
            column("name", DataType::Utf8, false, "name, as SET and SHOW take it"),
            column("setting", DataType::Utf8, false, "value in this session"),
            column("default_value", DataType::Utf8, false, "value without any SET"),
            column("changeable", DataType::Boolean, false, "whether SET may change it"),
            column("description", DataType::Utf8, false, "what it does"),
        ]))
    }

    async fn rows(&self, _viewer: &Identity) -> Result<RecordBatch, QueryError> {
        let rows = self.0.lock().unwrap_or_else(PoisonError::into_inner).rows();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(rows.iter().map(|(def, _)| def.name))),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|(_, value)| value.as_str()))),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|(def, _)| def.default))),
            Arc::new(BooleanArray::from(rows.iter().map(|(def, _)| !def.fixed).collect::<Vec<_>>())),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|(def, _)| def.description))),
        ];
        RecordBatch::try_new(self.schema(), columns).map_err(|error| QueryError::internal(&error))
    }
}
