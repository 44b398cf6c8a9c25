//! From a prepared plan and parameters to a stream that obeys cancel and deadline until its last row.
//!
//! The plan runs on the engine's own runtime; a bounded channel hands the batches over, so a slow client holds back the
//! plan and not memory. Dropping the receiving stream aborts the task, and with it the leaves at their sources.

use std::borrow::Cow;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;
use portolan_catalog::asof::AsOfRecorder;
use portolan_catalog::federation::{QueryContext, tell_minimum};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::again::{self, Recipe};
use super::audit::Audit;
use super::interrupt::{Until, interruptible};
use super::running::RunningGuard;
use super::stale::{Failed, Gathering, StandIn};
use super::{
    Answer, AnswerRow, Answers, Engine, Prepared, QueryControl, QueryState, Receipt, exact, explain, prepare,
};
use crate::error::{ErrorCode, QueryError, cancelled};
use crate::scaleout::{Spread, with_measures};
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
    let QueryControl { cancel, deadline, query_id, now, tells_staleness } = control;
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
    let context = QueryContext {
        query: query_id,
        deadline,
        cancel: stop.clone(),
        as_of: recorder,
        ..Default::default()
    };
    let mut state = session.state();
    state.config_mut().set_extension(Arc::new(context));
    state.mark_start_execution();
    state.execution_props_mut().query_execution_start_time = Some(now.unwrap_or_else(Utc::now));

    let environment = prepare::Environment::of(engine, session);
    let fresh = prepared.planned_at.elapsed() < PLAN_AGE && prepared.environment == environment;
    let mut prepared = prepared.clone();
    let fresh = match exact::declared(&prepared, &params) {
        Some(declared) => {
            prepared.declared = declared;
            false
        }
        None => fresh,
    };
    let semantics = engine.semantics.clone();
    let spread = Spread::of(engine.workers.as_ref(), &session.settings());
    let recipe = Recipe { prepared: prepared.clone(), params, state, environment, semantics, spread };
    let audit = Audit::begin(engine, session, &recipe, query_id);
    let stand_in = StandIn::begin(engine, session, tells_staleness);
    let answers = Arc::clone(&engine.answers);
    let work_stop = stop.clone();
    let work = async move {
        tokio::select! {
            biased;
            error = ended(&work_stop, deadline) => Err(error),
            planned = Box::pin(planned(recipe, fresh)) => planned,
        }
    };
    let (physical, recipe) = on_runtime(engine, work).await?;
    guard.query.set_state(QueryState::Running);
    let may_be_old = stand_in.is_wanted();
    let witnesses = Witnesses::of(audit, stand_in.gather(&recipe));
    let schema = prepared.explain.map_or_else(|| physical.schema(), |_| explain::schema());
    let (sender, receiver) = mpsc::channel::<Result<RecordBatch, DataFusionError>>(2);
    // A task in the middle of a long step cannot be aborted, only told.
    let told = StopOnDrop(stop.clone());
    let job = Job {
        physical,
        recipe,
        witnesses,
        stand_in,
        answers,
        stop,
        deadline,
        receipt: Arc::clone(&receipt),
        guard,
    };
    let task = AbortOnDrop(engine.runtime.1.spawn(job.run(sender)));
    let rows = stream(schema, receiver, (told, task));
    // What is old is known with the first row, and must be told before it.
    let rows = if may_be_old { begun(rows).await } else { rows };
    Ok(Answer { columns: Arc::clone(&prepared.columns), rows, receipt })
}

/// The plan to execute, and the recipe with the plan it is made of.
async fn planned(recipe: Recipe, fresh: bool) -> Result<(Arc<dyn ExecutionPlan>, Recipe), QueryError> {
    let recipe = recipe.current(fresh).await?;
    let physical = recipe.plan(true).await?;
    Ok((physical, recipe))
}

struct Job {
    physical: Arc<dyn ExecutionPlan>,
    recipe: Recipe,
    witnesses: Witnesses,
    stand_in: StandIn,
    answers: Arc<Answers>,
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

/// Who takes note of the rows that go out.
#[derive(Debug, Default)]
pub(super) struct Witnesses {
    audit: Option<Audit>,
    gathering: Option<Gathering>,
    /// Why the answer is not kept, unless it is gathered.
    not_kept: Cow<'static, str>,
    /// Nobody took the rest of the rows.
    abandoned: bool,
}

impl Witnesses {
    fn of(audit: Option<Audit>, gathering: Result<Gathering, Cow<'static, str>>) -> Self {
        let (gathering, not_kept) = match gathering {
            Ok(gathering) => (Some(gathering), Cow::default()),
            Err(why) => (None, why),
        };
        Self { audit, gathering, not_kept, abandoned: false }
    }

    fn note(&mut self, batch: &RecordBatch) {
        if let Some(audit) = &mut self.audit {
            audit.note(batch);
        }
        if self.gathering.as_mut().is_some_and(|gathering| !gathering.note(batch)) {
            self.gathering = None;
            self.not_kept = "it is too large".into();
        }
    }

    /// Half an answer, or another's, is neither compared nor kept.
    fn abandon(&mut self) {
        *self = Self { not_kept: "it is of old data".into(), abandoned: true, ..Self::default() };
    }
}

impl Job {
    async fn run(self, sender: mpsc::Sender<Result<RecordBatch, DataFusionError>>) {
        let Self { physical, recipe, mut witnesses, stand_in, answers, stop, deadline, receipt, guard } =
            self;
        let _told = StopOnDrop(stop.clone());
        let until = Until { stop: stop.clone(), deadline };
        let announced = physical.schema();
        let drive = Box::pin(async {
            let driven =
                drive_or_plan_again(physical, until.clone(), &recipe, &mut witnesses, &receipt, &sender)
                    .await;
            let error = match driven {
                Ok(plan) => return Ok(Some(plan)),
                Err(error) => error,
            };
            witnesses.abandon();
            let (recipe, receipt, sender) = (&recipe, receipt.as_ref(), &sender);
            let failed = Failed { recipe, until, announced: Arc::clone(&announced), receipt, sender };
            stand_in.answer(&error, &failed).await.map(|()| None)
        });
        let outcome = tokio::select! {
            biased;
            error = ended(&stop, deadline) => Err(error),
            outcome = drive => outcome,
        };
        match outcome {
            Ok(plan) => {
                guard.query.set_state(QueryState::Done);
                let Witnesses { audit, gathering, not_kept, abandoned } = witnesses;
                let kept = gathering.is_some();
                if let Some(gathering) = gathering {
                    stand_in.keep(gathering, announced, &receipt).await;
                }
                let stale = receipt.stale();
                if recipe.prepared.explain.is_none() && (stale.is_some() || !abandoned) {
                    answers.note(AnswerRow {
                        query: receipt.query,
                        user: guard.query.identity.user.clone(),
                        ended_at: Utc::now(),
                        rows: receipt.rows(),
                        as_of: receipt.as_of(),
                        stale,
                        not_kept: (!kept).then(|| not_kept.into_owned()),
                        sql: Answers::beginning(&recipe.prepared.sql),
                    });
                }
                if let (Some(audit), Some(plan)) = (audit, plan) {
                    // The client does not wait for it.
                    tokio::spawn(audit.finish(plan, receipt.as_of()));
                }
            }
            Err(error) => {
                guard.query.set_state(QueryState::Failed);
                // The client may be gone, and then nobody needs the error.
                let _ = sender.send(Err(error.into())).await;
            }
        }
    }
}

/// How often a statement is planned again: a second source may have something on trial as well, and refuse it too.
const PLANNED_AGAIN: usize = 2;

/// Runs a plan; again from the text when a new plan may do better and no row is out yet. Returns the plan whose rows went
/// out.
async fn drive_or_plan_again(
    physical: Arc<dyn ExecutionPlan>,
    until: Until,
    recipe: &Recipe,
    witnesses: &mut Witnesses,
    receipt: &Receipt,
    sender: &mpsc::Sender<Result<RecordBatch, DataFusionError>>,
) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
    let schema = physical.schema();
    let first = drive(Arc::clone(&physical), until.clone(), &schema, recipe, witnesses, receipt, sender);
    let Err(mut error) = first.await else { return Ok(physical) };
    for _ in 0..PLANNED_AGAIN {
        let lost = recipe.lost(&error);
        if receipt.rows() > 0 {
            return Err(lost.map_or(error, DataFusionError::from));
        }
        let recipe = &if lost.is_some() {
            tracing::info!("answering again without workers");
            recipe.alone()
        } else if again::may_do_better(&error) {
            tracing::info!(error = %error, "planning again without what a source did not have or did not know");
            recipe.afresh()
        } else {
            return Err(error);
        };
        let physical = recipe.plan(false).await?;
        if physical.schema().fields().len() != schema.fields().len() {
            return Err(again::changed_result().into());
        }
        let next = drive(Arc::clone(&physical), until.clone(), &schema, recipe, witnesses, receipt, sender);
        match next.await {
            Ok(()) => return Ok(physical),
            Err(again) => error = again,
        }
    }
    Err(error)
}

/// Runs a plan to its end; its rows go out under the schema that was announced.
pub(super) async fn drive(
    physical: Arc<dyn ExecutionPlan>,
    until: Until,
    announced: &SchemaRef,
    recipe: &Recipe,
    witnesses: &mut Witnesses,
    receipt: &Receipt,
    sender: &mpsc::Sender<Result<RecordBatch, DataFusionError>>,
) -> Result<(), DataFusionError> {
    let started = Instant::now();
    let state = &recipe.state;
    let Some(mode) = recipe.prepared.explain else {
        let physical = interruptible(physical, until)?;
        let spread = recipe.over_workers(&physical, false).await;
        let over_workers = spread.is_some();
        let known = !over_workers && physical.schema() == *announced;
        let (physical, context) = spread.unwrap_or_else(|| (physical, state.task_ctx()));
        receipt.runs(&physical, over_workers);
        let mut rows = execute_stream(Arc::clone(&physical), context)?;
        while let Some(batch) = rows.next().await {
            let mut batch = batch?;
            if !known {
                batch = again::announced(&batch, announced).map_err(|_| again::changed_result())?;
            }
            receipt.add_rows(batch.num_rows());
            witnesses.note(&batch);
            if batch.num_rows() > 0 && sender.send(Ok(batch)).await.is_err() {
                // Nobody waits for the rest.
                witnesses.abandon();
                return Ok(());
            }
        }
        if !over_workers {
            tell_minimum(&physical, state.config().batch_size());
        }
        return Ok(());
    };
    let (mut physical, mut footer) = (physical, None);
    if mode.analyze {
        physical = interruptible(physical, until)?;
        let spread = recipe.over_workers(&physical, true).await;
        let over_workers = spread.is_some();
        let (run, context) = spread.unwrap_or_else(|| (Arc::clone(&physical), state.task_ctx()));
        receipt.runs(&run, over_workers);
        let mut rows = execute_stream(Arc::clone(&run), context)?;
        let mut count = 0usize;
        while let Some(batch) = rows.next().await {
            count += batch?.num_rows();
        }
        if over_workers {
            physical = with_measures(run).await;
        } else {
            tell_minimum(&physical, state.config().batch_size());
        }
        footer =
            Some(format!("Execution Time: {:.3} ms, {count} rows", started.elapsed().as_secs_f64() * 1e3));
    } else if let Some((run, _)) = recipe.over_workers(&physical, false).await {
        physical = run;
    }
    let batch = explain::lines(physical.as_ref(), mode, footer)?;
    receipt.add_rows(batch.num_rows());
    let _ = sender.send(Ok(batch)).await;
    Ok(())
}

/// Rows whose first batch, or end, has been waited for.
async fn begun(mut rows: SendableRecordBatchStream) -> SendableRecordBatchStream {
    let schema = rows.schema();
    match rows.next().await {
        None => Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::empty())),
        Some(first) => {
            let rows = futures::stream::iter([first]).chain(rows);
            Box::pin(RecordBatchStreamAdapter::new(schema, rows))
        }
    }
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
