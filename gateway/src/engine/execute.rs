//! From a prepared plan and parameters to a stream that obeys cancel and deadline until its last row.
//!
//! The plan runs on the engine's own runtime; a bounded channel hands the batches over, so a slow client holds back the
//! plan and not memory. Dropping the receiving stream aborts the task, and with it the leaves at their sources.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;
use portolan_catalog::asof::AsOfRecorder;
use portolan_catalog::federation::QueryContext;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::interrupt::{Until, interruptible};
use super::running::RunningGuard;
use super::{Answer, Engine, Prepared, QueryControl, QueryState, Receipt, explain, prepare};
use crate::error::{ErrorCode, QueryError, cancelled};
use crate::session::Session;

/// A plan made so long ago may hold a snapshot of data that has moved on; it is made again.
const PLAN_AGE: Duration = Duration::from_secs(1);

/// Runs work on the query runtime, where stacks are deep. The work is dropped with the caller.
pub(super) async fn on_runtime<T, F>(engine: &Engine, work: F) -> Result<T, QueryError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, QueryError>> + Send + 'static,
{
    let mut task = AbortOnDrop(engine.runtime.1.spawn(work));
    match (&mut task.0).await {
        Ok(result) => result,
        Err(error) if error.is_cancelled() => {
            Err(QueryError::new(ErrorCode::AdminShutdown, "the server is shutting down"))
        }
        Err(error) => Err(QueryError::internal(&error)),
    }
}

struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The error of a statement whose time is over.
pub(super) fn timed_out() -> QueryError {
    QueryError::new(ErrorCode::QueryCanceled, "canceling statement due to statement timeout")
}

/// Waits until a statement must end, and says why.
async fn ended(cancel: &CancellationToken, deadline: Option<Instant>) -> QueryError {
    let deadline = async {
        match deadline {
            Some(at) => tokio::time::sleep_until(at.into()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = cancel.cancelled() => cancelled(),
        () = deadline => timed_out(),
    }
}

pub(super) async fn execute(
    engine: &Engine,
    session: &Session,
    prepared: &Prepared,
    params: Vec<ScalarValue>,
    control: QueryControl,
) -> Result<Answer, QueryError> {
    let QueryControl { cancel, deadline, query_id, now } = control;
    if params.len() != prepared.parameters.len() {
        return Err(QueryError::new(
            ErrorCode::ProtocolViolation,
            format!(
                "bind message supplies {} parameters, but prepared statement requires {}",
                params.len(),
                prepared.parameters.len()
            ),
        ));
    }
    // A token of our own: ending one statement must not end what else the caller's token covers.
    let stop = cancel.child_token();
    let recorder = AsOfRecorder::default();
    let receipt = Arc::new(Receipt::new(query_id, recorder.clone()));
    let application = session.settings().value("application_name").to_owned();
    let guard = engine.running.enter(&session.identity, application, &prepared.sql, &receipt, &stop);
    let context = QueryContext { query: query_id, deadline, cancel: stop.clone(), as_of: recorder };
    let mut state = session.state();
    state.config_mut().set_extension(Arc::new(context));
    state.mark_start_execution();
    state.execution_props_mut().query_execution_start_time = Some(now.unwrap_or_else(Utc::now));

    let environment = prepare::Environment::of(engine, session);
    let fresh = prepared.planned_at.elapsed() < PLAN_AGE && prepared.environment == environment;
    let prepared = prepared.clone();
    let semantics = engine.semantics.clone();
    let work_prepared = prepared.clone();
    let work_stop = stop.clone();
    let work = async move {
        let sql = Arc::clone(&work_prepared.sql);
        let planning = async {
            let plan =
                if fresh { work_prepared.plan } else { replan(&work_prepared, &state, environment).await? };
            let plan = bind(plan.as_ref(), &work_prepared.parameters, params)?;
            let plan = state.optimizer().optimize(plan, &state, |_, _| {})?;
            let physical = Box::pin(state.query_planner().create_physical_plan(&plan, &state)).await?;
            Ok::<_, prepare::Failure>((physical, state))
        };
        tokio::select! {
            biased;
            error = ended(&work_stop, deadline) => Err(error),
            planned = planning => planned.map_err(|failure| failure.explain(semantics.as_deref(), &sql)),
        }
    };
    let (physical, state) = on_runtime(engine, work).await?;
    guard.query.set_state(QueryState::Running);
    let schema = prepared.explain.map_or_else(|| physical.schema(), |_| explain::schema());
    let (sender, receiver) = mpsc::channel::<Result<RecordBatch, DataFusionError>>(2);
    // A task in the middle of a long step cannot be aborted, only told.
    let told = StopOnDrop(stop.clone());
    let job = Job {
        physical,
        state,
        prepared: prepared.clone(),
        stop,
        deadline,
        receipt: Arc::clone(&receipt),
        guard,
    };
    let task = AbortOnDrop(engine.runtime.1.spawn(job.run(sender)));
    Ok(Answer {
        columns: Arc::clone(&prepared.columns),
        rows: stream(schema, receiver, (told, task)),
        receipt,
    })
}

/// Plans the statement again, because time or surroundings have moved on.
async fn replan(
    prepared: &Prepared,
    state: &SessionState,
    environment: prepare::Environment,
) -> Result<Arc<LogicalPlan>, prepare::Failure> {
    let statement = prepared.statement.as_ref().clone();
    let declared = prepared.declared.clone();
    let again =
        prepare::plan(&prepared.sql, statement, prepared.explain, declared, state, environment).await?;
    let same = again.columns.len() == prepared.columns.len()
        && again
            .columns
            .iter()
            .zip(prepared.columns.iter())
            .all(|(new, old)| new.pg == old.pg && new.name == old.name);
    if !same {
        return Err(QueryError::new(
            ErrorCode::FeatureNotSupported,
            "cached plan must not change result type",
        )
        .into());
    }
    Ok(again.plan)
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

struct Job {
    physical: Arc<dyn ExecutionPlan>,
    state: SessionState,
    prepared: Prepared,
    stop: CancellationToken,
    deadline: Option<Instant>,
    receipt: Arc<Receipt>,
    guard: RunningGuard,
}

/// Tells the leaves that the statement is over, however its task ends.
struct StopOnDrop(CancellationToken);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Job {
    async fn run(self, sender: mpsc::Sender<Result<RecordBatch, DataFusionError>>) {
        let Self { physical, state, prepared, stop, deadline, receipt, guard } = self;
        let _told = StopOnDrop(stop.clone());
        let until = Until { stop: stop.clone(), deadline };
        let drive = drive(physical, until, &state, &prepared, &receipt, &sender);
        let outcome = tokio::select! {
            biased;
            error = ended(&stop, deadline) => Err(error),
            outcome = drive => outcome.map_err(|error| QueryError::from_datafusion(&error, Some(&prepared.sql))),
        };
        match outcome {
            Ok(()) => guard.query.set_state(QueryState::Done),
            Err(error) => {
                guard.query.set_state(QueryState::Failed);
                // The client may be gone, and then nobody needs the error.
                let _ = sender.send(Err(error.into())).await;
            }
        }
    }
}

async fn drive(
    physical: Arc<dyn ExecutionPlan>,
    until: Until,
    state: &SessionState,
    prepared: &Prepared,
    receipt: &Receipt,
    sender: &mpsc::Sender<Result<RecordBatch, DataFusionError>>,
) -> Result<(), DataFusionError> {
    let started = Instant::now();
    let Some(mode) = prepared.explain else {
        let mut rows = execute_stream(interruptible(physical, until)?, state.task_ctx())?;
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            receipt.add_rows(batch.num_rows());
            if batch.num_rows() > 0 && sender.send(Ok(batch)).await.is_err() {
                return Ok(());
            }
        }
        return Ok(());
    };
    let (mut physical, mut footer) = (physical, None);
    if mode.analyze {
        physical = interruptible(physical, until)?;
        let mut rows = execute_stream(Arc::clone(&physical), state.task_ctx())?;
        let mut count = 0usize;
        while let Some(batch) = rows.next().await {
            count += batch?.num_rows();
        }
        footer =
            Some(format!("Execution Time: {:.3} ms, {count} rows", started.elapsed().as_secs_f64() * 1e3));
    }
    let batch = explain::lines(physical.as_ref(), mode, footer)?;
    receipt.add_rows(batch.num_rows());
    let _ = sender.send(Ok(batch)).await;
    Ok(())
}

/// The receiving end; holds the task and what tells its leaves and joins, so that dropping it stops the work.
fn stream(
    schema: SchemaRef,
    receiver: mpsc::Receiver<Result<RecordBatch, DataFusionError>>,
    work: (StopOnDrop, AbortOnDrop<()>),
) -> SendableRecordBatchStream {
    let rows = futures::stream::unfold(Some((receiver, work)), |open| async move {
        let (mut receiver, mut work) = open?;
        if let Some(batch) = receiver.recv().await {
            return Some((batch, Some((receiver, work))));
        }
        // A channel that closes is the end of the rows only if the task came to its own end.
        match (&mut work.1.0).await {
            Ok(()) => None,
            Err(error) => Some((Err(QueryError::internal(&error).into()), None)),
        }
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, rows))
}
