//! System tables as DataFusion sees them: rows are fetched when the plan runs, not when it is made.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;

use super::SystemTable;
use crate::session::Identity;

/// The schema `system` for one identity.
#[derive(Debug)]
pub(super) struct SystemSchema {
    tables: Vec<Arc<dyn SystemTable>>,
    viewer: Arc<Identity>,
}

impl SystemSchema {
    pub(super) fn new(tables: Vec<Arc<dyn SystemTable>>, viewer: Arc<Identity>) -> Self {
        Self { tables, viewer }
    }
}

#[async_trait]
impl SchemaProvider for SystemSchema {
    fn table_names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.tables.iter().map(|table| table.name().to_owned()).collect();
        names.sort();
        names
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some(table) = self.tables.iter().find(|table| table.name() == name) else { return Ok(None) };
        let rows =
            Rows { table: Arc::clone(table), schema: table.schema(), viewer: Arc::clone(&self.viewer) };
        Ok(Some(Arc::new(StreamingTable::try_new(table.schema(), vec![Arc::new(rows)])?)))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.tables.iter().any(|table| table.name() == name)
    }
}

/// The one partition of a system table.
struct Rows {
    table: Arc<dyn SystemTable>,
    schema: SchemaRef,
    viewer: Arc<Identity>,
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "system.{}", self.table.name())
    }
}

impl PartitionStream for Rows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (table, viewer) = (Arc::clone(&self.table), Arc::clone(&self.viewer));
        let rows = futures::stream::once(async move { Ok(table.rows(&viewer).await?) });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), rows))
    }
}
