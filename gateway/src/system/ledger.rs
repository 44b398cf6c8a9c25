//! `system.runs`, `system.ledger` and `system.quarantine`: ingest's ledger, read from the warehouse when asked.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use portolan_catalog::postgres::PostgresPool;
use portolan_ingest::LedgerView;

use super::SystemTable;
use crate::error::{ErrorCode, QueryError};
use crate::session::Identity;

#[derive(Debug)]
struct Ledger {
    view: LedgerView,
    warehouse: PostgresPool,
}

/// The ledger's tables over a warehouse.
#[must_use]
pub fn ledger_tables(warehouse: &PostgresPool) -> Vec<Arc<dyn SystemTable>> {
    LedgerView::ALL
        .into_iter()
        .map(|view| Arc::new(Ledger { view, warehouse: warehouse.clone() }) as Arc<dyn SystemTable>)
        .collect()
}

#[async_trait]
impl SystemTable for Ledger {
    fn name(&self) -> &str {
        self.view.name()
    }

    fn comment(&self) -> Option<&str> {
        Some(match self.view {
            LedgerView::Runs => "runs of ingest, newest first",
            LedgerView::Ledger => "what became of every row that ingest read, by run and table",
            LedgerView::Quarantine => "rows that ingest refused, by run, table and rule",
        })
    }

    fn schema(&self) -> SchemaRef {
        self.view.schema()
    }

    async fn rows(&self, _viewer: &Identity) -> Result<RecordBatch, QueryError> {
        self.view.rows(&self.warehouse).await.map_err(|error| {
            let mut refused = QueryError::new(ErrorCode::SourceError, error.message);
            refused.hint = error.hint;
            refused
        })
    }
}
