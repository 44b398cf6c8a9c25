//! From a prepared statement to an executable plan, and again when a source has changed while it was read.
//!
//! What a source's list of tables says is minutes old: a column may be gone or of another type by now. The source says so
//! when it is read (`NotFound`), its list is then read again by the next look-up, and the statement is planned once more.
//! So is one that the source refused to understand, without what it refused, and one that was planned by what its server
//! proved before it became another. That happens twice at most, and never after a row was sent: two halves of an answer
//! must not come from two plans.

use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use portolan_catalog::federation::{QueryContext, is_outdated};
use portolan_catalog::registry::is_refusal;
use portolan_catalog::source::{SourceError, SourceErrorKind};
use portolan_semantic::Semantics;

use super::{Prepared, prepare};
use crate::error::{ErrorCode, QueryError};
use crate::scaleout::Spread;

/// Everything one execution is planned from.
#[derive(Debug, Clone)]
pub(super) struct Recipe {
    pub(super) prepared: Prepared,
    pub(super) params: Vec<ScalarValue>,
    pub(super) state: SessionState,
    pub(super) environment: prepare::Environment,
    pub(super) semantics: Option<Arc<Semantics>>,
    /// What the execution may ask of workers.
    pub(super) spread: Option<Spread>,
}

impl Recipe {
    /// The plan over workers and the context for it; `None` if it runs in this process alone.
    pub(super) async fn over_workers(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
        measured: bool,
    ) -> Option<(Arc<dyn ExecutionPlan>, Arc<TaskContext>)> {
        Box::pin(self.spread.as_ref()?.over(plan, &self.state, measured)).await
    }

    /// The error of an execution that a worker failed in mid-answer; `None` if it was no worker.
    pub(super) fn lost(&self, error: &DataFusionError) -> Option<QueryError> {
        self.spread.as_ref()?.note(error).then(|| crate::scaleout::lost(error)).flatten()
    }

    /// The same, afresh and without workers.
    pub(super) fn alone(&self) -> Self {
        Self { spread: None, ..self.afresh() }
    }

    /// The same, with nothing that leaves share: what the first attempt opened at a source may be of no use any more.
    pub(super) fn afresh(&self) -> Self {
        let mut again = self.clone();
        if let Some(old) = self.state.config().get_extension::<QueryContext>() {
            let context = QueryContext {
                query: old.query,
                deadline: old.deadline,
                cancel: old.cancel.clone(),
                as_of: old.as_of.clone(),
                ..QueryContext::default()
            };
            again.state.config_mut().set_extension(Arc::new(context));
        }
        again
    }

    /// The same with the plan that the statement has now; made from its text if the prepared one is not `fresh`.
    ///
    /// # Errors
    /// As [`Recipe::plan`].
    pub(super) async fn current(mut self, fresh: bool) -> Result<Self, QueryError> {
        if !fresh {
            let planned = self.replanned().await;
            let failed =
                |failure: prepare::Failure| failure.explain(self.semantics.as_deref(), &self.prepared.sql);
            self.prepared.plan = planned.map_err(failed)?;
        }
        Ok(self)
    }

    /// The plan to execute; from the statement's text if the prepared one is not `fresh`.
    ///
    /// # Errors
    /// As [`super::Engine::prepare`], and 0A000 when the result would have other columns than were announced.
    pub(super) async fn plan(&self, fresh: bool) -> Result<Arc<dyn ExecutionPlan>, QueryError> {
        let planned = self.plan_or_fail(fresh).await;
        planned.map_err(|failure| failure.explain(self.semantics.as_deref(), &self.prepared.sql))
    }

    async fn plan_or_fail(&self, fresh: bool) -> Result<Arc<dyn ExecutionPlan>, prepare::Failure> {
        let plan = if fresh { Arc::clone(&self.prepared.plan) } else { self.replanned().await? };
        let plan = bind(plan.as_ref(), &self.prepared.parameters, self.params.clone())?;
        let plan = crate::functions::one_zero_each(plan)?;
        let plan = super::filtered::arguments(plan)?;
        let plan = crate::functions::compare_by_length(plan)?;
        let plan = self.state.optimizer().optimize(plan, &self.state, |_, _| {}).map_err(lost)?;
        Ok(Box::pin(self.state.query_planner().create_physical_plan(&plan, &self.state)).await?)
    }

    /// Plans the statement again, because time or surroundings have moved on.
    async fn replanned(&self) -> Result<Arc<LogicalPlan>, prepare::Failure> {
        let Self { prepared, state, environment, .. } = self;
        let statement = prepared.statement.as_ref().clone();
        let declared = prepared.declared.clone();
        let again =
            prepare::plan(&prepared.sql, statement, prepared.explain, declared, state, environment.clone())
                .await?;
        let same = again.columns.len() == prepared.columns.len()
            && again
                .columns
                .iter()
                .zip(prepared.columns.iter())
                .all(|(new, old)| new.pg == old.pg && new.name == old.name);
        if !same {
            return Err(changed_result().into());
        }
        Ok(again.plan)
    }
}

/// A failure to put a plan into another form. All names were found when the statement was prepared: one that is missed here
/// is a column that a correlated subquery gave up too early.
fn lost(error: DataFusionError) -> prepare::Failure {
    if !matches!(error.find_root(), DataFusionError::SchemaError(..)) {
        return error.into();
    }
    tracing::debug!(error = %error, "a column got lost while planning");
    QueryError::unsupported("a correlated subquery of this form").with_hint("write it as a join").into()
}

/// The refusal to answer with other columns than a client was told to expect.
pub(super) fn changed_result() -> QueryError {
    QueryError::new(ErrorCode::FeatureNotSupported, "cached plan must not change result type")
        .with_hint("a table of the statement has changed since it was prepared; prepare it again")
}

/// A batch of a later plan under the schema that the first one announced: the client's types are the same, their form in
/// memory may be another.
pub(super) fn announced(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns =
        columns.map(|(column, field)| cast(column, field.data_type())).collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}

/// Puts parameters into the plan as literals of their types.
fn bind(
    plan: &LogicalPlan,
    types: &[crate::pgtypes::PgType],
    params: Vec<ScalarValue>,
) -> Result<LogicalPlan, prepare::Failure> {
    let plan = plan.clone();
    if types.is_empty() {
        return Ok(plan);
    }
    let fields = plan.get_parameter_fields()?;
    let mut values = Vec::with_capacity(params.len());
    for (index, value) in params.into_iter().enumerate() {
        let wanted = fields.get(&format!("${}", index + 1)).cloned().flatten();
        let value = match wanted {
            Some(field) if value.data_type() != *field.data_type() => value.cast_to(field.data_type())?,
            _ => value,
        };
        values.push(value.into());
    }
    Ok(plan.with_param_values(ParamValues::List(values))?)
}

/// The source's own error in a chain of errors.
pub(super) fn source_error(error: &DataFusionError) -> Option<&SourceError> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = next {
        if let Some(found) = current.downcast_ref::<SourceError>() {
            return Some(found);
        }
        next = current.source();
    }
    None
}

/// Whether a new plan may do better: a source said that a table is not what its list says, or that it does not know what
/// it was asked, which is then not sent again, or its server does not prove any more what the plan rests on.
pub(super) fn may_do_better(error: &DataFusionError) -> bool {
    source_error(error).is_some_and(|error| {
        error.kind == SourceErrorKind::NotFound || is_refusal(error) || is_outdated(error)
    })
}
