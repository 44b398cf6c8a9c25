//! Runs fragments: one SELECT inside a binary COPY, decoded as it arrives.
//!
//! On an embedded server the answer is drained and the lease released before the first batch leaves, so several
//! leaves of one query never wait for each other; dropping the future drops the lease, which stops the statement.
//! Nothing but this process changes the shape of its tables, so their columns are not checked again.
//! On a remote server batches stream, at most two ahead of the reader ([`super::reading`]).

use std::pin::pin;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Field;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio_postgres::Client;
use tokio_stream::wrappers::ReceiverStream;

use super::decode::Decoder;
use super::drift::{self, Expected, Known};
use super::probe::{Construct, Proved};
use super::ranges;
use super::reading::{Reading, Whole};
use super::snapshot::SharedSnapshot;
use super::{PoolLease, PostgresPool, render, select, server_error, statistics};
use crate::federation::{
    AggregateCall, Capability, ExecContext, Fragment, FragmentExecutor, FragmentSort, ListRoom, Proven,
    QueryId, Slots, TableStatistics, Verdict, attended, outdated,
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
    known: Arc<Known>,
}

impl PostgresExecutor {
    /// An executor over a pool and a remote namespace. Contacts nobody.
    #[must_use]
    pub fn new(name: SourceName, pool: PostgresPool, namespace: String) -> Self {
        Self { name, pool, namespace, proved: Proved::default(), known: Arc::default() }
    }

    /// Proves on the live server what only it can prove.
    pub(super) async fn prove(&self, client: &Client) {
        self.proved.prove(client).await;
    }

    /// Forgets what was compared with an older list; notes which tables can be locked.
    pub(super) async fn begin_anew(&self, client: &Client) -> Result<(), tokio_postgres::Error> {
        self.known.begin(drift::lockable(client, &self.namespace).await?);
        Ok(())
    }

    /// The COPY of a fragment, or of those of its rows for which `range` holds; only a whole table has ranges.
    fn statement(&self, fragment: &Fragment, range: Option<&str>) -> Result<String, SourceError> {
        let mut select = select::select(&self.namespace, fragment).map_err(|reason| {
            SourceError::new(
                SourceErrorKind::Unsupported,
                format!("a condition cannot be sent to source \"{}\": {reason}", self.name),
            )
            .with_source(&self.name)
        })?;
        if let Some(range) = range {
            select = format!("{select} WHERE {range}");
        }
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
        let table = Arc::clone(&fragment.table);
        Ok(Decoder::new(self.name.as_str(), table, schema)?.reading(fragment))
    }

    /// The snapshot that all leaves of the query read, or all ranges of this one, if there are several. An embedded
    /// server has one connection and its rows are changed by this process alone.
    async fn snapshot(
        &self,
        fragment: &Fragment,
        ranges: usize,
        context: &ExecContext,
    ) -> Result<Option<Arc<SharedSnapshot>>, SourceError> {
        if self.pool.is_embedded() || fragment.siblings == 0 && ranges < 2 {
            return Ok(None);
        }
        let leaves = fragment.siblings.saturating_add(1);
        let make = || SharedSnapshot::new(self.name.clone(), leaves);
        let snapshot = if fragment.siblings == 0 {
            Some(Arc::new(make()))
        } else {
            context.shared.get_or_make(&format!("postgres {} {}", self.name, self.pool.identity()), make)
        };
        if let Some(snapshot) = &snapshot {
            snapshot.export(&self.pool, context).await?;
        }
        Ok(snapshot)
    }

    /// The statements of a large table's ranges, as far as there are connections for them now.
    async fn ranged(
        &self,
        fragment: &Fragment,
        wanted: usize,
        query: QueryId,
        mut parts: Vec<(PoolLease, Vec<String>)>,
    ) -> Result<Vec<(PoolLease, Vec<String>)>, SourceError> {
        while parts.len() < wanted {
            match self.pool.lease_if_free(query).await {
                Some(lease) => parts.push((lease, vec![])),
                None => break,
            }
        }
        let Some((first, _)) = parts.first() else { return Ok(parts) };
        let conditions = if parts.len() < 2 {
            Vec::new()
        } else {
            ranges::conditions(first, &self.namespace, &fragment.table.name, parts.len())
                .await
                .map_err(|error| server_error(Some(&self.name), "read a table", error))?
        };
        if conditions.is_empty() {
            for (unused, _) in parts.drain(1..) {
                unused.release();
            }
            return Ok(parts);
        }
        for ((_, copies), condition) in parts.iter_mut().zip(&conditions) {
            *copies = vec![self.statement(fragment, Some(condition))?];
        }
        Ok(parts)
    }

    async fn drain(
        &self,
        lease: PoolLease,
        copies: &[String],
        fragment: &Fragment,
    ) -> Result<Vec<RecordBatch>, SourceError> {
        let lost = |error| server_error(Some(&self.name), "read a table", error);
        let mut batches = Vec::new();
        let mut held = 0_usize;
        for copy in copies {
            let mut decoder = self.decoder(fragment)?;
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
        }
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

    fn tests_groups(&self) -> bool {
        true
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

    fn proven(&self) -> Option<&dyn Proven> {
        Some(&self.proved.proofs)
    }

    async fn gather_statistics(&self, table: &TableDef) -> Result<Option<TableStatistics>, SourceError> {
        // One backend, which queries need more.
        if self.pool.is_embedded() {
            return Ok(None);
        }
        let gathering = async {
            let lease = self.pool.lease().await?;
            let found = statistics::gather(&lease, &self.namespace, table)
                .await
                .map_err(|error| server_error(Some(&self.name), "read a table's statistics", error))?;
            lease.release();
            Ok(Some(found))
        };
        attended(&self.name, self, gathering).await.flatten()
    }

    async fn answers(&self) -> Result<(), SourceError> {
        self.pool.answers().await
    }

    /// Not where leaves share a snapshot: the one that held it may have ended, and another one is another moment.
    fn may_ask_again(&self, fragment: &Fragment, error: &SourceError) -> bool {
        error.transient && fragment.siblings == 0 && !self.pool.is_embedded()
    }

    fn slots(&self) -> Option<Slots> {
        self.pool.slots()
    }

    fn list_room(&self) -> ListRoom {
        ListRoom::RUNS
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
        // Rendered first: what cannot be sent is refused without contacting anybody.
        let turns =
            fragment.in_runs().map(|run| self.statement(&run, None)).collect::<Result<Vec<_>, _>>()?;
        let schema = fragment.schema().map_err(|error| {
            SourceError::new(SourceErrorKind::Unsupported, "the fragment names a column that does not exist")
                .with_cause(error)
        })?;
        let wanted = self.pool.slots().map_or(1, |slots| ranges::wanted(fragment, slots.free()));
        // Before any slot is taken: whoever holds one never waits for a snapshot.
        let snapshot = self.snapshot(fragment, wanted, &context).await?;
        let lease = self.pool.lease_for(context.query).await?;
        if !self.proved.stand(&lease, fragment.epoch).await {
            lease.release();
            return Err(outdated(&self.name));
        }
        if self.pool.is_embedded() {
            let batches = self.drain(lease, &turns, fragment).await?;
            let batches = futures::stream::iter(batches.into_iter().map(Ok));
            return Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)));
        }
        let mut parts = vec![(lease, turns)];
        if wanted > 1 {
            parts = self.ranged(fragment, wanted, context.query, parts).await?;
            // Behind one address there may be several servers.
            for (lease, _) in &parts {
                if !self.proved.stand(lease, fragment.epoch).await {
                    return Err(outdated(&self.name));
                }
            }
        }
        if let Some(snapshot) = &snapshot {
            snapshot.expect(parts.len());
        }
        let (sender, receiver) = mpsc::channel(AHEAD);
        let whole = Whole::of(parts.len());
        let first = fragment.in_runs().next();
        let expected = || Expected::of(&self.namespace, first.as_deref().unwrap_or(fragment));
        for (lease, copies) in parts {
            let decoders = copies.iter().map(|_| self.decoder(fragment)).collect::<Result<Vec<_>, _>>()?;
            let reading = Reading {
                name: self.name.clone(),
                namespace: self.namespace.clone(),
                copies: copies.into_iter().zip(decoders).collect(),
                expected: expected(),
                known: Arc::clone(&self.known),
                snapshot: snapshot.clone(),
                context: Arc::clone(&context),
                whole: whole.clone(),
                sender: sender.clone(),
            };
            tokio::spawn(reading.run(lease));
        }
        drop(sender);
        let end = whole.end(self.name.clone(), context);
        let batches = ReceiverStream::new(receiver).chain(futures::stream::iter(std::iter::from_fn(end)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches.boxed())))
    }
}
