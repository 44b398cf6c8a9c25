//! A source's table as DataFusion sees it in one gateway session.
//!
//! One [`FederatedTable`] exists per session and table, sharing the session's [`FederationOptions`]. It keeps no
//! state between statements: the verdicts are recomputed in `scan`, from the filters of that very statement.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DataFusionError, Result, Statistics};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::gate::{decide, promise, unqualified};
use super::leaf::{FederatedScanExec, KeptFilter, statistics_of};
use super::{FederationOptions, Fragment, FragmentExecutor, PushedFilter, Verdict};
use crate::source::{SourceName, TableDef, TableKind};

/// One table of one source, in one session.
#[derive(Debug, Clone)]
pub struct FederatedTable {
    source: SourceName,
    table: Arc<TableDef>,
    executor: Arc<dyn FragmentExecutor>,
    options: Arc<FederationOptions>,
}

impl FederatedTable {
    /// Binds a table to its source's executor and a session's options.
    #[must_use]
    pub fn new(
        source: SourceName,
        table: Arc<TableDef>,
        executor: Arc<dyn FragmentExecutor>,
        options: Arc<FederationOptions>,
    ) -> Self {
        Self { source, table, executor, options }
    }

    /// The table's definition.
    #[must_use]
    pub fn definition(&self) -> &Arc<TableDef> {
        &self.table
    }

    /// The source it belongs to.
    #[must_use]
    pub fn source(&self) -> &SourceName {
        &self.source
    }
}

#[async_trait]
impl TableProvider for FederatedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.table.arrow)
    }

    fn table_type(&self) -> TableType {
        match self.table.kind {
            TableKind::Table => TableType::Base,
            TableKind::View => TableType::View,
        }
    }

    fn statistics(&self) -> Option<Statistics> {
        Some(statistics_of(&self.table.arrow, self.table.row_estimate, 0, None))
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        if !self.options.pushdown() {
            return Ok(vec![TableProviderFilterPushDown::Unsupported; filters.len()]);
        }
        Ok(filters
            .iter()
            .map(|filter| promise(&decide(self.executor.as_ref(), &self.table, filter)))
            .collect())
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all: Vec<usize> = (0..self.table.arrow.fields().len()).collect();
        let wanted = projection.cloned().unwrap_or_else(|| all.clone());
        if !self.options.pushdown() {
            // A plan made while push-down was on would lose its exact filters here.
            if let Some(filter) = filters.first() {
                return Err(DataFusionError::Plan(format!(
                    "push-down was switched off while the statement was planned (filter {filter})"
                )));
            }
            let fragment =
                Fragment { table: Arc::clone(&self.table), projection: all, filters: vec![], limit: None };
            let leaf = FederatedScanExec::try_new(
                self.source.clone(),
                fragment,
                Arc::clone(&self.executor),
                vec![],
            )?
            .projecting(&wanted)?;
            return Ok(Arc::new(leaf));
        }
        let mut pushed = Vec::new();
        let mut kept = Vec::new();
        for filter in filters {
            let expr = unqualified(filter)?;
            match decide(self.executor.as_ref(), &self.table, filter) {
                Verdict::Exact => pushed.push(PushedFilter { expr, exact: true }),
                Verdict::Rewrite(reason) => {
                    kept.push(KeptFilter::rewritten(&expr, reason));
                    pushed.push(PushedFilter { expr, exact: true });
                }
                Verdict::Superset(reason) => {
                    kept.push(KeptFilter::superset(&expr, reason));
                    pushed.push(PushedFilter { expr, exact: false });
                }
                Verdict::Keep(reason) => kept.push(KeptFilter::kept(&expr, reason)),
            }
        }
        let inexact = pushed.iter().any(|filter| !filter.exact) || kept.iter().any(KeptFilter::stays);
        let fragment = Fragment {
            table: Arc::clone(&self.table),
            projection: wanted,
            filters: pushed,
            limit: limit.filter(|_| !inexact),
        };
        let leaf =
            FederatedScanExec::try_new(self.source.clone(), fragment, Arc::clone(&self.executor), kept)?;
        Ok(Arc::new(leaf))
    }
}
