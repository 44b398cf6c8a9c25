//! Runs fragments: one `aggregate` in a session of its own, decoded as its replies arrive.
//!
//! Dropping the stream kills cursor and session at the server and does not wait for it. A cursor that ends early is
//! an error, never the end of the rows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt as _;
use mongodb::bson::{Bson, Document, RawDocument, RawDocumentBuf, doc};
use mongodb::options::Collation;
use mongodb::raw_batch_cursor::SessionRawBatchCursor;
use mongodb::{Client, ClientSession};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tracing::{debug, warn};

use super::client::{Connector, cluster_time};
use super::decode::{Decoder, Wanted};
use super::kind::Kind;
use super::pipeline::Pipeline;
use super::probe::Proved;
use super::shape::TableShape;
use super::{render, verdict};
use crate::config::OnMismatch;
use crate::federation::{
    AggregateCall, Capability, ExecContext, Fragment, FragmentExecutor, FragmentSort, Proven, QueryId,
    Verdict, outdated,
};
use crate::source::{SourceError, SourceErrorKind, TableDef, TableKind};

/// Documents of one reply at most; the server also ends a reply at 16 MiB.
const REPLY_DOCUMENTS: u32 = 8_192;
/// Batches decoded ahead of the reader.
const AHEAD: usize = 1;
/// Attempts to kill a session, and time for each.
const KILLS: usize = 2;
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs fragments on one database.
#[derive(Debug)]
pub(super) struct MongodbExecutor {
    pub(super) connector: Arc<Connector>,
    pub(super) tables: BTreeMap<String, TableShape>,
    /// Rule for tables that are not declared.
    pub(super) on_mismatch: OnMismatch,
    /// Values that became NULL because they did not fit.
    pub(super) misfits: Arc<AtomicU64>,
    /// What is proved of the server.
    pub(super) proved: Arc<Proved>,
}

impl MongodbExecutor {
    pub(super) fn shape(&self, table: &str) -> TableShape {
        match self.tables.get(table) {
            Some(shape) => shape.clone(),
            None => TableShape::undeclared(table, self.on_mismatch),
        }
    }

    fn pipeline(&self, shape: &TableShape, fragment: &Fragment) -> Result<Pipeline, SourceError> {
        Pipeline::of(shape, fragment).map_err(|reason| {
            let message =
                format!("a condition cannot be sent to source \"{}\": {reason}", self.connector.name);
            SourceError::new(SourceErrorKind::Unsupported, message).with_source(&self.connector.name)
        })
    }
}

#[async_trait]
impl FragmentExecutor for MongodbExecutor {
    fn verdict(&self, table: &TableDef, expr: &Expr) -> Verdict {
        let verdict = render::verdict(table, &self.shape(&table.name), expr);
        self.proved.under(&verdict::condition_rests_on(table, expr), verdict)
    }

    fn sort_verdict(&self, column: &Field, key: &FragmentSort) -> Verdict {
        self.proved.under(&verdict::order_rests_on(column), verdict::sort_verdict(column, key))
    }

    fn group_verdict(&self, column: &Field) -> Verdict {
        self.proved.under(&verdict::group_rests_on(column), verdict::group_verdict(column))
    }

    fn aggregate_verdict(&self, call: &AggregateCall, column: Option<&Field>) -> Verdict {
        let rests_on = verdict::call_rests_on(call, column);
        self.proved.under(&rests_on, verdict::aggregate_verdict(call, column))
    }

    fn join_verdict(&self, _left: &Field, _right: &Field) -> Verdict {
        Verdict::Keep(verdict::LOOKUP)
    }

    fn compute_context(&self) -> Option<String> {
        let config = &self.connector.config;
        let mut hosts = config.hosts.clone();
        hosts.sort();
        Some(format!("mongodb {hosts:?} {:?} {:?} {:?}", config.replica_set, config.database, config.user))
    }

    fn capabilities(&self) -> Vec<Capability> {
        self.proved.capabilities()
    }

    fn proven(&self) -> Option<&dyn Proven> {
        Some(&self.proved.proofs)
    }

    /// Leaves share nothing here. The driver has tried a command once more by itself.
    fn may_ask_again(&self, _fragment: &Fragment, error: &SourceError) -> bool {
        error.transient
    }

    fn describe(&self, fragment: &Fragment) -> String {
        let shape = self.shape(&fragment.table.name);
        match Pipeline::of(&shape, fragment) {
            Ok(pipeline) => {
                let text = format!("aggregate {} {}", shape.collection, pipeline.to_json());
                match &pipeline.check {
                    Some(check) => format!("{text} after a look for misfits in {}", check.columns()),
                    None => text,
                }
            }
            Err(reason) => format!("nothing: {reason}"),
        }
    }

    async fn execute(
        &self,
        fragment: &Fragment,
        context: ExecContext,
    ) -> Result<SendableRecordBatchStream, SourceError> {
        let shape = self.shape(&fragment.table.name);
        let Pipeline { stages, wanted, check, empty } = self.pipeline(&shape, fragment)?;
        let schema = fragment.schema().map_err(|error| {
            SourceError::new(SourceErrorKind::Unsupported, "the fragment names a column that does not exist")
                .with_source(&self.connector.name)
                .with_cause(error)
        })?;
        let table = format!("{}.{}", self.connector.name, fragment.table.name);
        let decoder = Decoder::new(table.clone(), Arc::clone(&schema), wanted, shape.on_mismatch)?;
        let check = match check {
            Some(check) => Some((check.stages, checker(&table, check.wanted)?)),
            None => None,
        };
        let client = self.connector.client()?;
        let (sender, receiver) = mpsc::channel(AHEAD);
        let (started, first) = oneshot::channel();
        let reading = Reading {
            connector: Arc::clone(&self.connector),
            proved: Arc::clone(&self.proved),
            epoch: fragment.epoch,
            client,
            table,
            collection: shape.collection,
            collated: fragment.table.kind != TableKind::View && may_be_collated(&fragment.table),
            stages,
            check,
            empty,
            grouped: fragment.aggregate.is_some(),
            decoder,
            context,
            misfits: Arc::clone(&self.misfits),
            sender,
            started: Some(started),
        };
        tokio::spawn(Box::pin(reading.run()));
        if first.await.is_err() {
            // The task sends its error through the stream's channel.
            let mut receiver = receiver;
            let error = receiver.recv().await.and_then(Result::err);
            return Err(error.unwrap_or_else(|| {
                SourceError::new(SourceErrorKind::Cancelled, "the reading was cancelled")
                    .with_source(&self.connector.name)
            }));
        }
        let batches = ReceiverStream::new(receiver).map(|item| item.map_err(DataFusionError::from));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches.boxed())))
    }
}

/// Whether text of the table may be compared by a collation of the collection's own. Where there is none, none is named:
/// a server may take longer for an order by the simple one, and the one of our tests then gives another.
fn may_be_collated(table: &TableDef) -> bool {
    let plain = |field: &Field| field.metadata().contains_key(render::PLAIN_KEY);
    table.arrow.fields().iter().any(|field| Kind::of(field) == Some(Kind::Text) && !plain(field))
}

/// A decoder that only looks whether values fit.
fn checker(table: &str, wanted: Vec<Wanted>) -> Result<Decoder, SourceError> {
    let schema = Schema::new(wanted.iter().map(|wanted| Arc::clone(&wanted.field)).collect::<Vec<_>>());
    Decoder::new(table.to_owned(), Arc::new(schema), wanted, OnMismatch::Error)
}

/// One `aggregate`, run in its own task.
struct Reading {
    connector: Arc<Connector>,
    proved: Arc<Proved>,
    /// That of the fragment.
    epoch: u64,
    client: Client,
    /// `source.table`, for messages.
    table: String,
    collection: String,
    /// Whether the collection may have a collation of its own.
    collated: bool,
    stages: Vec<Document>,
    /// What is looked for before, and what it is decoded by.
    check: Option<(Vec<Document>, Decoder)>,
    /// The row of no documents, where there is one.
    empty: Option<Document>,
    grouped: bool,
    decoder: Decoder,
    context: ExecContext,
    misfits: Arc<AtomicU64>,
    sender: mpsc::Sender<Result<RecordBatch, SourceError>>,
    /// Told once the first reply is there.
    started: Option<oneshot::Sender<()>>,
}

impl Reading {
    async fn run(mut self) {
        let gone = self.sender.clone();
        let cancelled = self.context.cancel.clone();
        let session = tokio::select! {
            session = async { self.client.start_session().await } => session,
            () = gone.closed() => return,
            () = cancelled.cancelled() => return,
        };
        let mut session = match session {
            Ok(session) => session,
            Err(error) => {
                let error = self.connector.failed("open a session", error);
                self.fail(error).await;
                return;
            }
        };
        let outcome = {
            let reading = Box::pin(self.read(&mut session));
            tokio::select! {
                outcome = reading => Some(outcome),
                () = gone.closed() => None,
                () = cancelled.cancelled() => None,
            }
        };
        // The cursor is dropped by now, which has the driver kill it.
        let misfits = self.decoder.misfits();
        if misfits > 0 {
            self.misfits.fetch_add(misfits, Ordering::Relaxed);
            warn!(table = %self.table, misfits, query = %self.context.query, "values did not fit and are null");
        }
        match outcome {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                self.fail(error).await;
                let Self { client, table, context, sender, .. } = self;
                // The reader need not wait for the end.
                drop((gone, sender));
                kill(&client, session, &table, context.query).await;
            }
            None => {
                // What is taken is not yet seen to have ended, and who may only read cannot look.
                if !kill(&self.client, session, &self.table, self.context.query).await {
                    self.connector.kills.note(false);
                }
            }
        }
    }

    async fn fail(&mut self, error: SourceError) {
        self.started = None;
        let _reader_left = self.sender.send(Err(error)).await;
    }

    /// Asks for documents, and waits for the first reply.
    async fn ask(
        &self,
        session: &mut ClientSession,
        stages: Vec<Document>,
    ) -> Result<SessionRawBatchCursor, SourceError> {
        let database = self.client.database(&self.connector.config.database);
        let collection = database.collection::<Document>(&self.collection);
        let tag = format!("portolan/{}/0", self.context.query);
        let _slot = self.connector.slots.acquire(Some(self.context.query)).await?;
        let mut aggregate =
            collection.aggregate(stages).comment(Bson::String(tag)).batch_size(REPLY_DOCUMENTS);
        if self.collated {
            // A collection's own collation is set aside; a view's cannot be.
            aggregate = aggregate.collation(Collation::builder().locale("simple".to_owned()).build());
        }
        if self.grouped {
            aggregate = aggregate.allow_disk_use(true);
        }
        if let Some(deadline) = self.context.deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            aggregate = aggregate.max_time(left.max(Duration::from_millis(1)));
        }
        let cursor = aggregate.session(session).batch().await;
        cursor.map_err(|error| self.connector.failed("read a collection", error))
    }

    /// Decodes whatever may not fit its column.
    async fn look(&mut self, session: &mut ClientSession) -> Result<(), SourceError> {
        let Some((stages, mut decoder)) = self.check.take() else { return Ok(()) };
        let mut cursor = self.ask(session, stages).await?;
        loop {
            let reply = {
                let _slot = self.connector.slots.acquire(Some(self.context.query)).await?;
                cursor.stream(&mut *session).next().await
            };
            let Some(reply) = reply else { return Ok(()) };
            let reply = reply.map_err(|error| self.interrupted(error))?;
            for item in reply.doc_slices().map_err(|error| self.interrupted(error))? {
                decoder.push(self.document(item.ok().and_then(|item| item.as_document()))?)?;
            }
            drop(decoder.finish()?);
        }
    }

    fn document<'a>(&self, document: Option<&'a RawDocument>) -> Result<&'a RawDocument, SourceError> {
        document.ok_or_else(|| self.malformed())
    }

    fn malformed(&self) -> SourceError {
        SourceError::new(SourceErrorKind::Remote, format!("a document of \"{}\" is malformed", self.table))
    }

    /// Refuses what was planned by proofs that the server does not give.
    async fn stand(&self) -> Result<(), SourceError> {
        if self.proved.stand(&self.connector, self.epoch).await? {
            Ok(())
        } else {
            Err(outdated(&self.connector.name))
        }
    }

    async fn read(&mut self, session: &mut ClientSession) -> Result<(), SourceError> {
        self.stand().await?;
        self.look(session).await?;
        let stages = std::mem::take(&mut self.stages);
        let mut cursor = self.ask(session, stages).await?;
        let mut documents = 0_usize;
        loop {
            let reply = {
                let _slot = self.connector.slots.acquire(Some(self.context.query)).await?;
                cursor.stream(&mut *session).next().await
            };
            let Some(reply) = reply else { break };
            let reply = reply.map_err(|error| self.interrupted(error))?;
            if self.started.is_some() {
                // The statement itself may have made the connection to another server.
                self.stand().await?;
            }
            if let Some(started) = self.started.take() {
                if let Ok(at) = reply.as_raw_document().get_timestamp("operationTime") {
                    self.context.as_of.record(&self.connector.name, None, cluster_time(at));
                }
                let _reader_left = started.send(());
            }
            let items = reply.doc_slices().map_err(|error| self.interrupted(error))?;
            for item in items {
                let document = self.document(item.ok().and_then(|item| item.as_document()))?;
                documents += 1;
                self.decoder.push(document)?;
                if self.decoder.is_full() {
                    self.send().await?;
                }
            }
            self.send().await?;
        }
        if documents == 0 {
            self.stand().await?;
            self.still_there().await?;
            if let Some(row) = self.empty.take() {
                let row = RawDocumentBuf::from_document(&row).map_err(|_| self.malformed())?;
                self.decoder.push(&row)?;
                self.send().await?;
            }
        }
        if let Some(started) = self.started.take() {
            let _reader_left = started.send(());
        }
        Ok(())
    }

    /// Hands on what is decoded.
    async fn send(&mut self) -> Result<(), SourceError> {
        if let Some(batch) = self.decoder.finish()?
            && self.sender.send(Ok(batch)).await.is_err()
        {
            // Nobody reads: the watch on the channel ends this task.
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    /// The server answers for a collection that does not exist as for an empty one.
    async fn still_there(&self) -> Result<(), SourceError> {
        let named = self.client.database(&self.connector.config.database);
        let names = named.list_collection_names().filter(doc! { "name": &self.collection }).await;
        let names = names.map_err(|error| self.connector.failed("list collections", error))?;
        if names.is_empty() {
            let message = format!("collection \"{}\" of table \"{}\" is gone", self.collection, self.table);
            return Err(SourceError::new(SourceErrorKind::NotFound, message)
                .with_source(&self.connector.name)
                .with_hint(format!(
                    "run portolan source check {}: it may have been dropped",
                    self.connector.name
                )));
        }
        Ok(())
    }

    /// An error after the first reply: what came so far is not the answer.
    fn interrupted(&self, error: mongodb::error::Error) -> SourceError {
        let mut ours = self.connector.failed("read on", error);
        if self.started.is_none() && ours.kind == SourceErrorKind::Unreachable {
            ours.kind = SourceErrorKind::Remote;
        }
        ours
    }
}

/// Ends whatever the session still runs. It goes back to the driver's pool only afterwards: a late kill would hit its
/// next user. Answers whether the server took the request.
async fn kill(client: &Client, session: ClientSession, table: &str, query: QueryId) -> bool {
    let admin = client.database("admin");
    for _ in 0..KILLS {
        let kill = admin.run_command(doc! { "killSessions": [session.id().clone()] });
        match tokio::time::timeout(KILL_TIMEOUT, async { kill.await }).await {
            Ok(Ok(_)) => return true,
            Ok(Err(error)) => debug!(table, query = %query, error = %error, "killSessions failed"),
            Err(_) => debug!(table, query = %query, "killSessions timed out"),
        }
    }
    false
}
