//! The unit of work sent to a source, the gate's verdicts, and the trait that runs it.
//!
//! A fragment is a closed grammar: today one table, chosen columns, filters and a limit. It grows to whole
//! sub-plans by new fields, never by text.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::Expr;

use super::ExecContext;
use crate::source::{SourceError, TableDef};

/// Why the gate decided as it did; shown by `EXPLAIN`.
pub type Reason = std::borrow::Cow<'static, str>;

/// The gate's answer for one expression on one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Proven equal on this source; evaluated there only.
    Exact,
    /// Exact in other words, which are named; evaluated there only.
    Rewrite(Reason),
    /// The source keeps at least all rows we would; evaluated there and here. Never under a limit.
    Superset(Reason),
    /// Not sent.
    Keep(Reason),
}

/// A filter that passed the gate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PushedFilter {
    /// The predicate, over the table's columns, unqualified.
    pub expr: Expr,
    /// False if the same predicate is evaluated here again.
    pub exact: bool,
}

/// What one leaf asks of one source.
#[derive(Debug, Clone)]
pub struct Fragment {
    /// The table read.
    pub table: Arc<TableDef>,
    /// Indices into the table's columns, in the order wanted; may be empty (rows are counted only).
    pub projection: Vec<usize>,
    /// Conjuncts that go down.
    pub filters: Vec<PushedFilter>,
    /// At most this many rows; only set when every filter of the query is exact.
    pub limit: Option<usize>,
}

impl Fragment {
    /// The whole table: every column, no filter, no limit.
    #[must_use]
    pub fn whole(table: Arc<TableDef>) -> Self {
        let projection = (0..table.arrow.fields().len()).collect();
        Self { table, projection, filters: vec![], limit: None }
    }

    /// The columns of the batches this fragment promises, in order.
    ///
    /// # Errors
    /// When the projection names a column the table does not have.
    pub fn schema(&self) -> Result<SchemaRef, DataFusionError> {
        Ok(Arc::new(self.table.arrow.project(&self.projection)?))
    }
}

/// Runs fragments on one store.
#[async_trait]
pub trait FragmentExecutor: fmt::Debug + Send + Sync {
    /// Decides about one conjunct over the table's columns. Pure; never contacts the store.
    fn verdict(&self, table: &TableDef, expr: &Expr) -> Verdict;

    /// The text, or the words, that will be sent for a fragment. Shown by `EXPLAIN`; never contains a secret.
    fn describe(&self, fragment: &Fragment) -> String;

    /// Starts a fragment. Batches have the projected columns of the table's schema, in order.
    /// Dropping the stream stops the work at the source.
    ///
    /// # Errors
    /// Connection and rendering failures; failures after the first row come through the stream.
    async fn execute(
        &self,
        fragment: &Fragment,
        context: ExecContext,
    ) -> Result<SendableRecordBatchStream, SourceError>;
}
