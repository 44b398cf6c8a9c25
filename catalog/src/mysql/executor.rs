//! Runs fragments: one prepared SELECT whose binary rows are decoded as they arrive.
//!
//! The rows are read by a task of their own, at most two batches ahead of the reader. Dropping the stream, or
//! cancelling the query, makes that task stop the statement over the reserved connection and close its own; a broken
//! answer is an error, never a short one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
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
use super::error::server_error;
use super::pool::{Lease, Pool};
use super::render::{self, Statement};
use crate::federation::{ExecContext, Fragment, FragmentExecutor, QueryId, Slots, Verdict};
use crate::source::{SourceError, SourceErrorKind, SourceName, TableDef};

/// Text and values of one statement at most.
const MAX_STATEMENT: usize = 1024 * 1024;
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
}

impl MysqlExecutor {
    pub(super) fn new(name: SourceName, pool: Pool, database: String, zero_dates: ZeroDates) -> Self {
        Self { name, pool, database, zero_dates, nulled: Arc::default() }
    }

    /// Zero dates that were read as null since the source was opened.
    #[must_use]
    pub fn nulled_dates(&self) -> u64 {
        self.nulled.load(Ordering::Relaxed)
    }

    fn statement(&self, fragment: &Fragment, query: QueryId) -> Result<Statement, SourceError> {
        let refused =
            |message| SourceError::new(SourceErrorKind::Unsupported, message).with_source(&self.name);
        let mut statement = render::select(&self.database, fragment).map_err(|reason| {
            refused(format!("a condition cannot be sent to source \"{}\": {reason}", self.name))
        })?;
        if statement.size() > MAX_STATEMENT {
            let message = format!("the statement for source \"{}\" is longer than 1 MiB", self.name);
            return Err(
                refused(message).with_hint("SET portolan.pushdown = off evaluates the conditions here")
            );
        }
        statement.sql = format!("/* portolan/{query}/0 */ {}", statement.sql);
        Ok(statement)
    }

    fn no_column(&self, error: DataFusionError) -> SourceError {
        let message = "the fragment names a column that does not exist";
        SourceError::new(SourceErrorKind::Unsupported, message).with_source(&self.name).with_cause(error)
    }
}

#[async_trait]
impl FragmentExecutor for MysqlExecutor {
    fn verdict(&self, table: &TableDef, expr: &Expr) -> Verdict {
        render::verdict(table, expr)
    }

    async fn answers(&self) -> Result<(), SourceError> {
        self.pool.ping().await.map(drop)
    }

    fn slots(&self) -> Option<Slots> {
        Some(self.pool.slots())
    }

    fn describe(&self, fragment: &Fragment) -> String {
        match render::select(&self.database, fragment) {
            Ok(statement) => statement.shown(),
            Err(reason) => format!("nothing: {reason}"),
        }
    }

    async fn execute(
        &self,
        fragment: &Fragment,
        context: ExecContext,
    ) -> Result<SendableRecordBatchStream, SourceError> {
        let statement = self.statement(fragment, context.query)?;
        let schema = fragment.schema().map_err(|error| self.no_column(error))?;
        let table = Arc::clone(&fragment.table);
        let decoder = Decoder::new(self.name.clone(), table, Arc::clone(&schema), self.zero_dates)?;
        let mut lease = self.pool.lease().await?;
        lease.limit(context.deadline).await?;
        // Asked before the statement, so the answer is at least as new.
        let version = lease.version().await?;
        context.as_of.record(&self.name, None, version);
        let (sender, receiver) = mpsc::channel(AHEAD);
        let (started, starting) = oneshot::channel();
        let reading = Reading {
            name: self.name.clone(),
            pool: self.pool.clone(),
            nulled: Arc::clone(&self.nulled),
            context,
            sender,
        };
        tokio::spawn(reading.run(lease, statement, decoder, started));
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

type Item = Result<RecordBatch, DataFusionError>;
type Started = Option<oneshot::Sender<Result<(), SourceError>>>;

/// One statement, run in its own task.
struct Reading {
    name: SourceName,
    pool: Pool,
    nulled: Arc<AtomicU64>,
    context: ExecContext,
    sender: mpsc::Sender<Item>,
}

impl Reading {
    async fn run(
        self,
        mut lease: Lease,
        statement: Statement,
        mut decoder: Decoder,
        started: oneshot::Sender<Result<(), SourceError>>,
    ) {
        let mut started = Some(started);
        let outcome = tokio::select! {
            outcome = self.read(lease.conn(), statement, &mut decoder, &mut started) => Some(outcome),
            () = self.sender.closed() => None,
            () = self.context.cancel.cancelled() => None,
        };
        if decoder.nulled() > 0 {
            self.nulled.fetch_add(decoder.nulled(), Ordering::Relaxed);
            warn!(source = %self.name, query = %self.context.query, dates = decoder.nulled(), "zero dates became null");
        }
        match outcome {
            Some(Ok(())) => lease.release(),
            Some(Err(error)) => {
                // The server has ended the statement itself, or is gone, unless it was the answer we refused.
                if error.remote_code.is_none() && error.kind != SourceErrorKind::Unreachable {
                    self.kill(&lease).await;
                }
                lease.close().await;
                match started.take() {
                    Some(started) => drop(started.send(Err(error))),
                    None => drop(self.sender.send(Err(error.into())).await),
                }
            }
            None => {
                self.kill(&lease).await;
                lease.close().await;
            }
        }
    }

    async fn kill(&self, lease: &Lease) {
        if let Err(error) = self.pool.kill(lease.id()).await {
            debug!(source = %self.name, query = %self.context.query, error = %error, "cancel failed");
        }
    }

    async fn read(
        &self,
        conn: &mut Conn,
        statement: Statement,
        decoder: &mut Decoder,
        started: &mut Started,
    ) -> Result<(), SourceError> {
        let lost = |error| server_error(&self.name, "read a table", error);
        let prepared = conn.prep(statement.sql).await.map_err(lost)?;
        let values =
            if statement.values.is_empty() { Params::Empty } else { Params::Positional(statement.values) };
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
