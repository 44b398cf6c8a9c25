//! Runs fragments: a prepared SELECT whose binary rows are decoded as they arrive, or several in one transaction.
//!
//! A table is never read in ranges by several connections: neither server exports a snapshot, so the ranges could be of
//! several versions.
//!
//! The rows are read by a task of their own, at most two batches ahead of the reader. Dropping the stream, or
//! cancelling the query, makes that task stop the statement over the reserved connection and close its own; a broken
//! answer is an error, never a short one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Field;
use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt as _, TryStreamExt as _};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Params, Row};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tracing::{debug, warn};

use super::config::ZeroDates;
use super::decode::Decoder;
use super::error::{Asked, read_error, server_error};
use super::pool::{Lease, Pool};
use super::probe::Proved;
use super::render::operand::Scope;
use super::render::{self, Statement};
use super::{select, shape};
use crate::federation::{
    AggregateCall, Capability, ExecContext, Fragment, FragmentExecutor, FragmentSort, ListRoom, Proven,
    QueryId, Slots, TableStatistics, Verdict, outdated,
};
use crate::source::{SourceError, SourceErrorKind, SourceName, TableDef};

/// Text and values of one statement at most.
const MAX_STATEMENT: usize = 1024 * 1024;
/// Values of one statement at most: the protocol counts them in two bytes.
const MAX_VALUES: usize = 65_535;
/// Batches decoded ahead of the reader.
const AHEAD: usize = 2;

/// Runs fragments on one MySQL or MariaDB database.
#[derive(Debug)]
pub struct MysqlExecutor {
    name: SourceName,
    pool: Pool,
    database: String,
    zero_dates: ZeroDates,
    nulled: Arc<AtomicU64>,
    proved: Arc<Proved>,
}

impl MysqlExecutor {
    pub(super) fn new(name: SourceName, pool: Pool, database: String, zero_dates: ZeroDates) -> Self {
        Self { name, pool, database, zero_dates, nulled: Arc::default(), proved: Arc::default() }
    }

    /// Proves on the live server what only it can prove.
    pub(super) async fn prove(&self, conn: &mut Conn) -> Result<(), SourceError> {
        self.proved.prove(conn).await.map_err(|error| server_error(&self.name, "prove what it can do", error))
    }

    /// Whether what was planned in an epoch may be sent to the server at the other end, which is asked before if it is
    /// not the one that was.
    async fn stand(&self, mut lease: Lease, epoch: u64) -> Result<Lease, SourceError> {
        if !self.proved.fit(lease.fingerprint())
            && let Err(error) = self.prove(lease.conn()).await
        {
            lease.close().await;
            return Err(error);
        }
        if self.proved.proofs.epoch() == epoch {
            return Ok(lease);
        }
        lease.release();
        Err(outdated(&self.name))
    }

    fn proven(&self, verdict: Verdict) -> Verdict {
        self.proved.under(&shape::rests_on(&verdict), verdict)
    }

    /// Zero dates that were read as null since the source was opened.
    #[must_use]
    pub fn nulled_dates(&self) -> u64 {
        self.nulled.load(Ordering::Relaxed)
    }

    /// The statements of a fragment, one for each of its runs.
    fn statements(&self, fragment: &Fragment, query: QueryId) -> Result<Vec<Statement>, SourceError> {
        let mut all = Vec::with_capacity(fragment.runs.len().max(1));
        for run in fragment.in_runs() {
            match self.statement(&run, query)? {
                Written { statement, whole: true } => all.push(statement),
                // Without its list a run would have the rows of the others.
                Written { .. } if !fragment.runs.is_empty() => {
                    return Ok(vec![self.statement(&fragment.without_runs(), query)?.statement]);
                }
                Written { statement, .. } => all.push(statement),
            }
        }
        Ok(all)
    }

    fn statement(&self, fragment: &Fragment, query: QueryId) -> Result<Written, SourceError> {
        let refused =
            |message| SourceError::new(SourceErrorKind::Unsupported, message).with_source(&self.name);
        let written = |fragment: &Fragment| {
            select::select(&self.database, self.zero_dates, fragment).map_err(|reason| {
                refused(format!("a condition cannot be sent to source \"{}\": {reason}", self.name))
            })
        };
        let mut statement = written(fragment)?;
        let whole = fits(&statement);
        if !whole {
            // What only narrows is evaluated here again.
            statement = written(&exact_only(fragment))?;
        }
        if !fits(&statement) {
            let message = format!(
                "the statement for source \"{}\" is longer than 1 MiB or binds more than {MAX_VALUES} values",
                self.name
            );
            return Err(
                refused(message).with_hint("SET portolan.pushdown = off evaluates the conditions here")
            );
        }
        statement.sql = format!("/* portolan/{query}/0 */ {}", statement.sql);
        Ok(Written { statement, whole })
    }

    fn no_column(&self, error: DataFusionError) -> SourceError {
        let message = "the fragment names a column that does not exist";
        SourceError::new(SourceErrorKind::Unsupported, message).with_source(&self.name).with_cause(error)
    }
}

#[async_trait]
impl FragmentExecutor for MysqlExecutor {
    fn verdict(&self, table: &TableDef, expr: &Expr) -> Verdict {
        let scope = Scope { table, alias: None, zero_dates: self.zero_dates };
        let (verdict, rests_on) = render::verdict(scope, expr);
        self.proved.under(&rests_on, verdict)
    }

    fn sort_verdict(&self, column: &Field, _key: &FragmentSort) -> Verdict {
        self.proven(shape::sort_verdict(self.zero_dates, column))
    }

    fn group_verdict(&self, column: &Field) -> Verdict {
        self.proven(shape::group_verdict(self.zero_dates, column))
    }

    fn aggregate_verdict(&self, call: &AggregateCall, column: Option<&Field>) -> Verdict {
        let verdict = shape::aggregate_verdict(self.zero_dates, call, column);
        self.proved.under(&shape::call_rests_on(call, column, &verdict), verdict)
    }

    fn tests_groups(&self) -> bool {
        true
    }

    fn join_verdict(&self, left: &Field, right: &Field) -> Verdict {
        self.proven(shape::join_verdict(left, right))
    }

    fn compute_context(&self) -> Option<String> {
        // One configured source is one server, account and database; two sources never share a statement.
        Some(format!("mysql {} {}", self.name, self.database))
    }

    fn capabilities(&self) -> Vec<Capability> {
        self.proved.capabilities()
    }

    fn proven(&self) -> Option<&dyn Proven> {
        Some(&self.proved.proofs)
    }

    async fn answers(&self) -> Result<(), SourceError> {
        self.pool.ping().await.map(drop)
    }

    /// Leaves share nothing here, and the statements of one are asked again together, at one version of the data.
    fn may_ask_again(&self, _fragment: &Fragment, error: &SourceError) -> bool {
        error.transient
    }

    fn slots(&self) -> Option<Slots> {
        Some(self.pool.slots())
    }

    fn list_room(&self) -> ListRoom {
        ListRoom::RUNS
    }

    /// The server counts rows as a guess and keeps no statistics of values unless it is told to: the schema has the rows.
    async fn gather_statistics(&self, table: &TableDef) -> Result<Option<TableStatistics>, SourceError> {
        Ok(table.row_estimate.map(|rows| TableStatistics { rows: Some(rows), ..TableStatistics::default() }))
    }

    fn describe(&self, fragment: &Fragment) -> String {
        match select::select(&self.database, self.zero_dates, fragment) {
            Ok(statement) => statement.shown(),
            Err(reason) => format!("nothing: {reason}"),
        }
    }

    async fn execute(
        &self,
        fragment: &Fragment,
        context: ExecContext,
    ) -> Result<SendableRecordBatchStream, SourceError> {
        let statements = self.statements(fragment, context.query)?;
        let schema = fragment.schema().map_err(|error| self.no_column(error))?;
        let guarded = statements.first().map(|statement| statement.guarded.clone()).unwrap_or_default();
        let asked = match fragment.in_runs().next() {
            Some(run) => Asked::of(&run, &guarded),
            None => Asked::of(fragment, &guarded),
        };
        let decoder = || {
            let table = Arc::clone(&fragment.table);
            Decoder::new(self.name.clone(), table, Arc::clone(&schema), self.zero_dates)
                .map(|decoder| decoder.reading(fragment))
        };
        let turns = statements
            .into_iter()
            .map(|statement| Ok((statement, decoder()?)))
            .collect::<Result<Vec<_>, SourceError>>()?;
        // Asked before the statement, so the answer is at least as new.
        let (lease, version) = self.pool.ready(context.deadline, Some(context.query)).await?;
        let lease = self.stand(lease, fragment.epoch).await?;
        context.as_of.record(&self.name, None, version);
        let (sender, receiver) = mpsc::channel(AHEAD);
        let (started, starting) = oneshot::channel();
        let reading = Reading {
            name: self.name.clone(),
            asked,
            pool: self.pool.clone(),
            nulled: Arc::clone(&self.nulled),
            context,
            sender,
        };
        tokio::spawn(reading.run(lease, turns, started));
        match starting.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(error),
            Err(_gone) => {
                let message =
                    format!("source \"{}\": the statement was cancelled before it started", self.name);
                return Err(SourceError::new(SourceErrorKind::Cancelled, message).with_source(&self.name));
            }
        }
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, ReceiverStream::new(receiver).boxed())))
    }
}

/// A statement, and whether it says all conditions of its fragment.
struct Written {
    statement: Statement,
    whole: bool,
}

fn fits(statement: &Statement) -> bool {
    statement.size() <= MAX_STATEMENT && statement.values.len() <= MAX_VALUES
}

/// The fragment without the conditions that are evaluated here again.
fn exact_only(fragment: &Fragment) -> Fragment {
    let mut fragment = fragment.clone();
    fragment.filters.retain(|filter| filter.exact);
    for join in &mut fragment.joins {
        join.filters.retain(|filter| filter.exact);
    }
    fragment.having.retain(|test| test.exact);
    fragment
}

type Item = Result<RecordBatch, DataFusionError>;
type Started = Option<oneshot::Sender<Result<(), SourceError>>>;

/// The statements of one leaf, run in a task of their own.
struct Reading {
    name: SourceName,
    asked: Asked,
    pool: Pool,
    nulled: Arc<AtomicU64>,
    context: ExecContext,
    sender: mpsc::Sender<Item>,
}

impl Reading {
    async fn run(
        self,
        mut lease: Lease,
        mut turns: Vec<(Statement, Decoder)>,
        started: oneshot::Sender<Result<(), SourceError>>,
    ) {
        let mut started = Some(started);
        let outcome = tokio::select! {
            outcome = self.read_all(lease.conn(), &mut turns, &mut started) => Some(outcome),
            () = self.sender.closed() => None,
            () = self.context.cancel.cancelled() => None,
        };
        let nulled: u64 = turns.iter().map(|(_, decoder)| decoder.nulled()).sum();
        if nulled > 0 {
            self.nulled.fetch_add(nulled, Ordering::Relaxed);
            warn!(source = %self.name, query = %self.context.query, dates = nulled, "zero dates became null");
        }
        match outcome {
            Some(Ok(())) => lease.release(),
            Some(Err(error)) => {
                // The server has ended the statement itself, or is gone, unless it was the answer we refused.
                if error.remote_code.is_none() && error.kind != SourceErrorKind::Unreachable {
                    let _sent = self.kill(&lease).await;
                }
                lease.close().await;
                match started.take() {
                    Some(started) => drop(started.send(Err(error))),
                    None => drop(self.sender.send(Err(error.into())).await),
                }
            }
            None => {
                let id = lease.id();
                let sent = self.kill(&lease).await;
                lease.close().await;
                // The slot is free by now.
                if !sent {
                    self.pool.note_kill(false);
                } else if let Err(error) = self.pool.see_end(id, self.context.query).await {
                    debug!(source = %self.name, query = %self.context.query, error = %error, "its end was not seen");
                }
            }
        }
    }

    /// Asks the server to stop the connection's statement; whether it took the request.
    async fn kill(&self, lease: &Lease) -> bool {
        let killed = self.pool.kill(lease.id()).await;
        if let Err(error) = &killed {
            debug!(source = %self.name, query = %self.context.query, error = %error, "cancel failed");
        }
        killed.is_ok()
    }

    /// All statements, at one version of the data if there are several.
    async fn read_all(
        &self,
        conn: &mut Conn,
        turns: &mut [(Statement, Decoder)],
        started: &mut Started,
    ) -> Result<(), SourceError> {
        let lost = |error| read_error(&self.name, &self.asked, error);
        let several = turns.len() > 1;
        if several {
            conn.query_drop("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY").await.map_err(lost)?;
        }
        for (statement, decoder) in turns {
            self.read(conn, statement, decoder, started).await?;
        }
        if several {
            conn.query_drop("COMMIT").await.map_err(lost)?;
        }
        Ok(())
    }

    async fn read(
        &self,
        conn: &mut Conn,
        statement: &mut Statement,
        decoder: &mut Decoder,
        started: &mut Started,
    ) -> Result<(), SourceError> {
        let lost = |error| read_error(&self.name, &self.asked, error);
        let prepared = conn.prep(std::mem::take(&mut statement.sql)).await.map_err(lost)?;
        let values = std::mem::take(&mut statement.values);
        let values = if values.is_empty() { Params::Empty } else { Params::Positional(values) };
        let mut answer = conn.exec_iter(&prepared, values).await.map_err(lost)?;
        decoder.expect(answer.columns_ref())?;
        if let Some(started) = started.take() {
            let _caller_left = started.send(Ok(()));
        }
        if let Some(mut rows) = answer.stream::<Row>().await.map_err(lost)? {
            while let Some(row) = rows.try_next().await.map_err(lost)? {
                if let Some(batch) = decoder.push(&row)? {
                    self.emit(batch).await;
                }
            }
        }
        drop(answer);
        if let Some(batch) = decoder.finish()? {
            self.emit(batch).await;
        }
        conn.close(prepared).await.map_err(lost)
    }

    async fn emit(&self, batch: RecordBatch) {
        if self.sender.send(Ok(batch)).await.is_err() {
            // Nobody reads: the watch on the channel cancels the statement.
            std::future::pending::<()>().await;
        }
    }
}
