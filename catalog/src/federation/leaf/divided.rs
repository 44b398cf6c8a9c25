//! A leaf whose rows several processes read, each a share, under the filter and the projection that it stands for.
//!
//! Only plain leaves are divided: a limit, a group or a top-N of a share is not one of the whole. What the leaf had its
//! source evaluate is said again as a physical filter above, because that can be told to another process and means the
//! same there.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{DFSchema, Result};
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};

use super::FederatedScanExec;
use crate::federation::local::columns_read;
use crate::federation::{Division, Fragment, FragmentExecutor, QueryContext, Share};
use crate::source::{SourceError, SourceName};

/// What makes a plain leaf's rows of the unfiltered rows of its table.
#[derive(Debug)]
pub struct Unfiltered {
    /// Columns of the table that must be read, by number.
    pub columns: Vec<usize>,
    /// Their schema.
    pub schema: SchemaRef,
    /// The condition over them, if the leaf had one.
    pub predicate: Option<Arc<dyn PhysicalExpr>>,
    /// How many of them, from the first on, the leaf shows; the others only the condition needs.
    pub shown: usize,
}

impl FederatedScanExec {
    /// A leaf for one source, as it was told by another process.
    ///
    /// # Errors
    /// When the fragment names a column that its table does not have.
    pub fn told(source: SourceName, fragment: Fragment, executor: Arc<dyn FragmentExecutor>) -> Result<Self> {
        Self::try_new(source, fragment, executor, Vec::new())
    }

    /// How the files behind this leaf can be divided among readers; `None` if they cannot, or may not.
    ///
    /// # Errors
    /// Whatever keeps the source from telling its files.
    pub async fn division(&self, context: &QueryContext) -> Result<Option<Division>, SourceError> {
        let fragment = self.fragment();
        let plain = fragment.joins.is_empty()
            && fragment.aggregate.is_none()
            && fragment.having.is_empty()
            && fragment.sort.is_empty()
            && fragment.limit.is_none()
            && fragment.share.is_none();
        if plain { self.executor.divide(fragment, context).await } else { Ok(None) }
    }

    /// Whether other parts of the plan tell it for which keys alone its source need be asked.
    #[must_use]
    pub fn hears_keys(&self) -> bool {
        self.runtime.hears_keys()
    }

    /// What a plain leaf stands for.
    ///
    /// # Errors
    /// When a filter cannot be planned.
    pub fn unfiltered(&self) -> Result<Unfiltered> {
        let fragment = self.fragment();
        let filters: Vec<&Expr> = fragment.filters.iter().map(|filter| &filter.expr).collect();
        let columns = columns_read(&fragment.table, &fragment.projection, filters.iter().copied())?;
        let schema: SchemaRef = Arc::new(fragment.table.arrow.project(&columns)?);
        let predicate = conjunction(filters.into_iter().cloned())
            .map(|expr| {
                let named = DFSchema::try_from(Arc::clone(&schema))?;
                create_physical_expr(
                    &expr,
                    &named,
                    &ExecutionProps::new(),
                    &PhysicalPlanningContext::default(),
                )
            })
            .transpose()?;
        Ok(Unfiltered { columns, schema, predicate, shown: fragment.projection.len() })
    }

    /// A leaf that reads the given columns of this one's table, at the version of a share.
    ///
    /// # Errors
    /// When the table does not have such columns.
    pub fn reading(&self, columns: Vec<usize>, share: Arc<Share>) -> Result<Self> {
        let fragment = Fragment { projection: columns, share: Some(share), ..self.fragment.as_ref().clone() };
        Self::try_new(self.source.clone(), fragment, Arc::clone(&self.executor), self.kept.to_vec())
    }
}
