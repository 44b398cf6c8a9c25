//! A source's table as DataFusion sees it in one gateway session.
//!
//! One [`FederatedTable`] exists per session and table, sharing the session's [`FederationOptions`]. It keeps no
//! state between statements. Every filter a scan is given is applied by it: exact ones at the source, all others in
//! a filter of its own above the leaf, so that nothing depends on what was promised while planning.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, Result, Statistics};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExecBuilder;

use super::gate::{decide, promise, unqualified};
use super::leaf::{FederatedScanExec, KeptFilter};
use super::local::columns_read;
use super::statistics::table_statistics;
use super::{FederationOptions, Fragment, FragmentExecutor, Proven, PushedFilter, Verdict};
use crate::source::{SourceKind, SourceName, TableDef, TableKind};

/// One table of one source, in one session.
#[derive(Debug, Clone)]
pub struct FederatedTable {
    source: SourceName,
    table: Arc<TableDef>,
    executor: Arc<dyn FragmentExecutor>,
    options: Arc<FederationOptions>,
    keeps_key: bool,
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
        Self { source, table, executor, options, keeps_key: false }
    }

    /// The table of a kind of store. Which one says whether a primary key is more than a word about the table.
    #[must_use]
    pub fn in_a(self, kind: SourceKind) -> Self {
        Self { keeps_key: matches!(kind, SourceKind::Postgres | SourceKind::Mysql), ..self }
    }

    /// The columns of the primary key, if the store itself sees to it that no two rows have the same one.
    #[must_use]
    pub fn enforced_key(&self) -> &[String] {
        if self.keeps_key { &self.table.primary_key } else { &[] }
    }

    /// The table's definition.
    #[must_use]
    pub fn definition(&self) -> &Arc<TableDef> {
        &self.table
    }

    /// The session's options.
    pub(crate) fn options(&self) -> &FederationOptions {
        &self.options
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
        Some(table_statistics(&self.table, self.executor.as_ref()))
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        if !self.options.pushdown() {
            return Ok(vec![TableProviderFilterPushDown::Unsupported; filters.len()]);
        }
        Ok(filters.iter().map(|filter| promise(&self.table, filter)).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let wanted = projection.cloned().unwrap_or_else(|| (0..self.table.arrow.fields().len()).collect());
        let pushdown = self.options.pushdown();
        // Before the first verdict: what is lost from now on may be missed.
        let epoch = self.executor.proven().map_or(0, Proven::epoch);
        let mut pushed = Vec::new();
        let mut explained = Vec::new();
        let mut local = Vec::new();
        for filter in filters {
            let expr = unqualified(filter)?;
            // A statement may have been planned before push-down was switched off.
            if !pushdown {
                local.push(expr);
                continue;
            }
            match decide(self.executor.as_ref(), &self.table, filter) {
                Verdict::Exact => pushed.push(PushedFilter { expr, exact: true }),
                Verdict::Rewrite(reason) => {
                    explained.push(KeptFilter::rewritten(&expr, reason));
                    pushed.push(PushedFilter { expr, exact: true });
                }
                Verdict::Superset(reason) => {
                    explained.push(KeptFilter::superset(&expr, reason));
                    local.push(expr.clone());
                    pushed.push(PushedFilter { expr, exact: false });
                }
                Verdict::Keep(reason) => {
                    explained.push(KeptFilter::kept(&expr, reason));
                    local.push(expr);
                }
            }
        }
        let read = columns_read(&self.table, &wanted, &local)?;
        let fragment = Fragment {
            // Only these with push-down off as well: a value that no type holds fails who asked for it, and nobody else.
            projection: read.clone(),
            filters: pushed,
            limit: limit.filter(|_| pushdown && local.is_empty()),
            epoch,
            ..Fragment::whole(Arc::clone(&self.table))
        };
        let mut leaf =
            FederatedScanExec::try_new(self.source.clone(), fragment, Arc::clone(&self.executor), explained)?;
        if !pushdown {
            leaf = leaf.barely();
        }
        let Some(predicate) = conjunction(local) else { return Ok(Arc::new(leaf)) };
        let predicate = state.create_physical_expr(predicate, &DFSchema::try_from(leaf.schema())?)?;
        let shown = (read.len() > wanted.len()).then(|| (0..wanted.len()).collect::<Vec<usize>>());
        let filter = FilterExecBuilder::new(predicate, Arc::new(leaf)).apply_projection(shown)?.build()?;
        Ok(Arc::new(filter))
    }
}
