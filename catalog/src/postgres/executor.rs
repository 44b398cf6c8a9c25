//! Runs fragments: one SELECT inside a binary COPY, decoded as it arrives.
//!
//! On an embedded server the answer is drained and the lease released before the first batch leaves, so several
//! leaves of one query never wait for each other; dropping the future drops the lease, which stops the statement.
//! On a remote server batches stream, at most two ahead of the reader; dropping the stream cancels the statement
//! and closes its connection.

use std::pin::pin;
use std::time::Instant;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Field;
use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};
use tokio_stream::wrappers::ReceiverStream;
use tracing::debug;

use super::decode::Decoder;
use super::probe::{Construct, Proved};
use super::{PoolLease, PostgresPool, quote_literal, render, select, server_error, statistics};
use crate::asof::SourceVersion;
use crate::federation::{
    AggregateCall, Capability, ExecContext, Fragment, FragmentExecutor, FragmentSort, QueryId,
    TableStatistics, Verdict,
};
use crate::source::{SourceError, SourceErrorKind, SourceName, TableDef};

/// Text of one statement at most.
const MAX_STATEMENT: usize = 1024 * 1024;
/// What one drained answer may hold in memory.
const MAX_DRAINED: usize = 1024 * 1024 * 1024;
/// Batches decoded ahead of the reader.
const AHEAD: usize = 2;

/// Runs fragments on one PostgreSQL namespace.
#[derive(Debug)]
pub struct PostgresExecutor {
    name: SourceName,
    pool: PostgresPool,
    namespace: String,
    proved: Proved,
}

impl PostgresExecutor {
    /// An executor over a pool and a remote namespace. Contacts nobody.
    #[must_use]
    pub fn new(name: SourceName, pool: PostgresPool, namespace: String) -> Self {
        Self { name, pool, namespace, proved: Proved::default() }
    }

    /// Proves on the live server what only it can prove.
    pub(super) async fn prove(&self, client: &Client) {
        self.proved.prove(client).await;
    }

    fn statement(&self, fragment: &Fragment) -> Result<String, SourceError> {
        let select = select::select(&self.namespace, fragment).map_err(|reason| {
            SourceError::new(
                SourceErrorKind::Unsupported,
                format!("a condition cannot be sent to source \"{}\": {reason}", self.name),
            )
            .with_source(&self.name)
        })?;
        if select.len() > MAX_STATEMENT {
            let message = format!("the statement for source \"{}\" is longer than 1 MiB", self.name);
            return Err(SourceError::new(SourceErrorKind::Unsupported, message)
                .with_source(&self.name)
                .with_hint("SET portolan.pushdown = off evaluates the conditions here"));
        }
        Ok(format!("COPY ({select}) TO STDOUT (FORMAT binary)"))
    }

    fn decoder(&self, fragment: &Fragment) -> Result<Decoder, SourceError> {
        let schema = fragment.schema().map_err(|error| {
            SourceError::new(SourceErrorKind::Unsupported, "the fragment names a column that does not exist")
                .with_source(&self.name)
                .with_cause(error)
        })?;
        Decoder::new(self.name.as_str(), std::sync::Arc::clone(&fragment.table), schema)
    }

    async fn drain(
        &self,
        lease: PoolLease,
        copy: &str,
        mut decoder: Decoder,
    ) -> Result<Vec<RecordBatch>, SourceError> {
        let lost = |error| server_error(Some(&self.name), "read a table", error);
        let mut batches = Vec::new();
        let mut held = 0_usize;
        let mut stream = pin!(lease.copy_out(copy).await.map_err(lost)?);
        while let Some(portion) = stream.try_next().await.map_err(lost)? {
            for batch in decoder.push(&portion)? {
                held += batch.get_array_memory_size();
                batches.push(batch);
            }
            if held > MAX_DRAINED {
                let message = format!("an answer of source \"{}\" is larger than 1 GiB", self.name);
                return Err(SourceError::new(SourceErrorKind::Unsupported, message)
                    .with_hint("add conditions or a limit, or read fewer columns"));
            }
        }
        batches.extend(decoder.finish()?);
        lease.release();
        Ok(batches)
    }
}

#[async_trait]
impl FragmentExecutor for PostgresExecutor {
    fn verdict(&self, table: &TableDef, expr: &Expr) -> Verdict {
        let verdict = render::verdict(table, expr);
        let order = matches!(verdict, Verdict::Rewrite(_)).then_some(Construct::TextOrder);
        let pattern = render::has_pattern(expr).then_some(Construct::TextPattern);
        self.proved.under(pattern, self.proved.under(order, verdict))
    }

    fn sort_verdict(&self, column: &Field, key: &FragmentSort) -> Verdict {
        self.proved.under(select::order_rests_on(column), select::sort_verdict(column, key))
    }

    fn group_verdict(&self, column: &Field) -> Verdict {
        let verdict = select::group_verdict(column);
        let rests_on = matches!(verdict, Verdict::Rewrite(_)).then_some(Construct::TextOrder);
        self.proved.under(rests_on, verdict)
    }

    fn aggregate_verdict(&self, call: &AggregateCall, column: Option<&Field>) -> Verdict {
        self.proved.under(select::call_rests_on(call, column), select::aggregate_verdict(call, column))
    }

    fn join_verdict(&self, left: &Field, right: &Field) -> Verdict {
        self.proved.under(select::order_rests_on(left), select::join_verdict(left, right))
    }

    fn compute_context(&self) -> Option<String> {
        // One configured source is one server, account and namespace; two sources never share a statement.
        Some(format!("postgres {} {}", self.name, self.namespace))
    }

    fn capabilities(&self) -> Vec<Capability> {
        self.proved.capabilities()
    }

    async fn gather_statistics(&self, table: &TableDef) -> Result<Option<TableStatistics>, SourceError> {
        // One backend, which queries need more.
        if self.pool.is_embedded() {
            return Ok(None);
        }
        let lease = self.pool.lease().await?;
        let found = statistics::gather(&lease, &self.namespace, table)
            .await
            .map_err(|error| server_error(Some(&self.name), "read a table's statistics", error))?;
        lease.release();
        Ok(Some(found))
    }

    fn describe(&self, fragment: &Fragment) -> String {
        match select::select(&self.namespace, fragment) {
            Ok(select) => select,
            Err(reason) => format!("nothing: {reason}"),
        }
    }

    async fn execute(
        &self,
        fragment: &Fragment,
        context: ExecContext,
    ) -> Result<SendableRecordBatchStream, SourceError> {
        let copy = self.statement(fragment)?;
        let decoder = self.decoder(fragment)?;
        let schema = fragment.schema().map_err(|error| {
            SourceError::new(SourceErrorKind::Unsupported, "the fragment names a column that does not exist")
                .with_cause(error)
        })?;
        let lease = self.pool.lease().await?;
        if self.pool.is_embedded() {
            let batches = self.drain(lease, &copy, decoder).await?;
            let batches = futures::stream::iter(batches.into_iter().map(Ok));
            return Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)));
        }
        let (sender, receiver) = mpsc::channel(AHEAD);
        let reading = RemoteReading { name: self.name.clone(), copy, decoder, context, sender };
        tokio::spawn(reading.run(lease));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, ReceiverStream::new(receiver).boxed())))
    }
}

type Item = Result<RecordBatch, DataFusionError>;

/// One statement on a remote server, run in its own task.
struct RemoteReading {
    name: SourceName,
    copy: String,
    decoder: Decoder,
    context: ExecContext,
    sender: mpsc::Sender<Item>,
}

impl RemoteReading {
    async fn run(self, lease: PoolLease) {
        let cancel = lease.cancel_token();
        let name = self.name.clone();
        let sender = self.sender.clone();
        let query = self.context.query;
        let gone = sender.clone();
        let cancelled = self.context.cancel.clone();
        let outcome = tokio::select! {
            outcome = self.read(&lease) => Some(outcome),
            () = gone.closed() => None,
            () = cancelled.cancelled() => None,
        };
        match outcome {
            Some(Ok(())) => lease.release(),
            Some(Err(error)) => {
                drop(lease);
                let _reader_left = sender.send(Err(error.into())).await;
            }
            None => {
                if let Err(error) = cancel.cancel_query(NoTls).await {
                    debug!(source = %name, query = %query, error = %error, "cancel request failed");
                }
                // Dropped, not pooled: the cancel may arrive late.
                drop(lease);
            }
        }
    }

    async fn read(self, client: &Client) -> Result<(), SourceError> {
        let Self { name, copy, mut decoder, context, sender } = self;
        let lost = |error| server_error(Some(&name), "read a table", error);
        let said = client.simple_query(&preamble(context.query, context.deadline)).await.map_err(lost)?;
        if let Some(version) = version(&said) {
            context.as_of.record(&name, None, version);
        }
        let mut stream = pin!(client.copy_out(&copy).await.map_err(lost)?);
        while let Some(portion) = stream.try_next().await.map_err(lost)? {
            for batch in decoder.push(&portion)? {
                if sender.send(Ok(batch)).await.is_err() {
                    // Nobody reads: the caller's watch on the channel cancels the statement.
                    std::future::pending::<()>().await;
                }
            }
        }
        if let Some(batch) = decoder.finish()? {
            let _reader_left = sender.send(Ok(batch)).await;
        }
        client.batch_execute("COMMIT").await.map_err(lost)
    }
}

/// What the transaction sees: log position and snapshot. An equal position alone does not prove equal data.
fn version(said: &[SimpleQueryMessage]) -> Option<SourceVersion> {
    said.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            Some(SourceVersion::Lsn { position: row.get(0)?.parse().ok()?, snapshot: row.get(1)?.to_owned() })
        }
        _ => None,
    })
}

/// Opens a read-only transaction that carries the query's tag and what is left of its time, and asks what it sees.
fn preamble(query: QueryId, deadline: Option<Instant>) -> String {
    let tag = quote_literal(&format!("portolan/{query}")).unwrap_or_default();
    let left = deadline.map_or(0, |deadline| {
        deadline.saturating_duration_since(Instant::now()).as_millis().clamp(1, 2_000_000_000)
    });
    format!(
        "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL application_name = {tag}; \
         SET LOCAL statement_timeout = {left}; \
         SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END \
         - '0/0')::int8, pg_current_snapshot()::text"
    )
}
