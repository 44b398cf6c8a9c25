//! The statements of one leaf on a connection to a remote server, run in a task of their own inside a read-only
//! transaction.
//!
//! Opening the transaction, holding the tables' shape, taking the snapshot, telling the version, checking the columns and
//! parsing the first statement is one round trip; running the last statement and ending the transaction is another.
//! Nothing is run before the check passed. Dropping the reader, or a cancel, cancels the statement and closes its
//! connection.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use datafusion::arrow::array::RecordBatch;
use datafusion::common::DataFusionError;
use futures::TryStreamExt as _;
use tokio::sync::mpsc;
use tokio_postgres::{Client, CopyOutStream, SimpleQueryMessage, Statement};
use tracing::debug;

use super::decode::Decoder;
use super::drift::{Expected, Known};
use super::pool::Canceller;
use super::snapshot::{SharedSnapshot, VERSION};
use super::{PoolLease, quote_literal, server_error};
use crate::asof::SourceVersion;
use crate::federation::{ExecContext, QueryId};
use crate::source::{SourceError, SourceErrorKind, SourceName};

/// Time for a statement to be cancelled: a frozen server must not keep the slot.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(2);
/// A statement that has not ended for so long after a cancel request is sent another one.
const CANCEL_AGAIN: Duration = Duration::from_millis(250);

pub(super) type Item = Result<RecordBatch, DataFusionError>;

/// Statements and where their batches go.
pub(super) struct Reading {
    pub(super) name: SourceName,
    pub(super) namespace: String,
    /// Sent one after another: their rows are of one snapshot.
    pub(super) copies: Vec<(String, Decoder)>,
    pub(super) expected: Expected,
    pub(super) known: Arc<Known>,
    /// Set if other leaves of the query read this source, too.
    pub(super) snapshot: Option<Arc<SharedSnapshot>>,
    pub(super) context: ExecContext,
    /// Told when everything was sent.
    pub(super) whole: Whole,
    pub(super) sender: mpsc::Sender<Item>,
}

impl Reading {
    pub(super) async fn run(self, lease: PoolLease) {
        let canceller = lease.canceller();
        let name = self.name.clone();
        let whole = self.whole.clone();
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
            Some(Ok(())) => {
                whole.one_more();
                lease.release();
            }
            Some(Err(error)) => {
                drop(lease);
                let _reader_left = sender.send(Err(error.into())).await;
            }
            None => {
                let seen = match tokio::time::timeout(CANCEL_TIMEOUT, stop(&name, &canceller, &lease)).await {
                    Ok(Ok(())) => true,
                    Ok(Err(error)) => {
                        debug!(source = %name, query = %query, error = %error, "cancel request failed");
                        false
                    }
                    Err(_elapsed) => {
                        debug!(source = %name, query = %query, "a cancelled statement did not end");
                        false
                    }
                };
                // Dropped, not pooled: the cancel may arrive late.
                drop(lease);
                canceller.note(seen);
            }
        }
    }

    async fn read(self, client: &Client) -> Result<(), SourceError> {
        let (said, mut parsed) = self.open(client).await?;
        let version = match &self.snapshot {
            Some(snapshot) => {
                snapshot.begun();
                snapshot.version()
            }
            None => version(&said),
        };
        if let Some(version) = version {
            self.context.as_of.record(&self.name, None, version);
        }
        if let Some(numbers) = self.expected.recognised(&self.name, &self.known, &said)? {
            let lost = |error| server_error(Some(&self.name), "read a table", error);
            let said = client.simple_query(&self.expected.full_question()).await.map_err(lost)?;
            self.expected.compare(&self.name, &said)?;
            self.known.note(&self.expected, numbers);
        }
        let Self { name, mut copies, sender, .. } = self;
        let lost = |error| server_error(Some(&name), "read a table", error);
        let last = copies.pop();
        for (copy, decoder) in copies {
            let rows = copy_out(client, &copy, parsed.take()).await.map_err(lost)?;
            hand_on(&name, rows, decoder, &sender).await?;
        }
        let end = async || client.batch_execute("COMMIT").await.map_err(lost);
        let Some((copy, decoder)) = last else { return end().await };
        let rows = copy_out(client, &copy, parsed.take()).await.map_err(lost)?;
        // The server reads this only after it sent all rows.
        futures::try_join!(hand_on(&name, rows, decoder, &sender), end()).map(|_both| ())
    }

    /// Opens the transaction and asks what it sees; has the first statement parsed, which reads no table.
    async fn open(
        &self,
        client: &Client,
    ) -> Result<(Vec<SimpleQueryMessage>, Option<Statement>), SourceError> {
        let lost = |error| server_error(Some(&self.name), "read a table", error);
        let lockable = self.known.lockable(client, &self.namespace).await.map_err(lost)?;
        let lock = self.expected.lock(&lockable);
        let import =
            self.snapshot.as_ref().map(|snapshot| snapshot.import()).transpose()?.unwrap_or_default();
        let preamble = self.preamble(&import, &lock);
        let first = self.copies.first().map_or("", |(copy, _)| copy.as_str());
        match futures::join!(client.simple_query(&preamble), client.prepare(first)) {
            // A table that became another kind of relation, or a right that was taken away: the SELECT will tell.
            (Err(error), _) if !lock.is_empty() && refused_lock(&error) => {
                self.known.refused(&self.expected);
                client.batch_execute("ROLLBACK").await.map_err(lost)?;
                Ok((client.simple_query(&self.preamble(&import, "")).await.map_err(lost)?, None))
            }
            (said, parsed) => Ok((said.map_err(lost)?, Some(parsed.map_err(lost)?))),
        }
    }

    /// A read-only transaction that carries the query's tag and what is left of its time. `import` takes over another
    /// one's snapshot; without it, `lock` comes before the first thing that takes one.
    fn preamble(&self, import: &str, lock: &str) -> String {
        let (tag, left) = (tag(self.context.query), milliseconds_left(self.context.deadline));
        format!(
            "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; {import}\
             SET LOCAL application_name = {tag}; SET LOCAL statement_timeout = {left}; {lock}SELECT {VERSION}; {}",
            self.expected.question()
        )
    }
}

/// Runs a COPY, which may be parsed already.
async fn copy_out(
    client: &Client,
    copy: &str,
    parsed: Option<Statement>,
) -> Result<CopyOutStream, tokio_postgres::Error> {
    match parsed {
        Some(parsed) => client.copy_out(&parsed).await,
        None => client.copy_out(copy).await,
    }
}

/// Decodes rows and hands them on, to their end.
async fn hand_on(
    name: &SourceName,
    rows: CopyOutStream,
    mut decoder: Decoder,
    sender: &mpsc::Sender<Item>,
) -> Result<(), SourceError> {
    let mut rows = pin!(rows);
    let lost = |error| server_error(Some(name), "read a table", error);
    while let Some(portion) = rows.try_next().await.map_err(lost)? {
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
    Ok(())
}

/// Stops what runs on a connection and waits for its end: the server answers what is asked after it only then. A request
/// that came between two statements hit nothing, so it is repeated.
async fn stop(name: &SourceName, canceller: &Canceller, client: &Client) -> Result<(), SourceError> {
    let mut after = pin!(client.batch_execute("ROLLBACK"));
    loop {
        canceller.cancel().await?;
        match tokio::time::timeout(CANCEL_AGAIN, &mut after).await {
            // An error of the server's own is an answer as well: the cancel may have hit this one.
            Ok(Err(error)) if error.code().is_none() => {
                return Err(server_error(Some(name), "see a statement end", error));
            }
            Ok(_) => return Ok(()),
            Err(_elapsed) => {}
        }
    }
}

/// How many of a leaf's statements have not sent everything. A stream that ends before all have was cut short, whatever
/// ended it.
#[derive(Debug, Clone)]
pub(super) struct Whole(Arc<AtomicUsize>);

impl Whole {
    pub(super) fn of(statements: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(statements)))
    }

    fn one_more(&self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }

    /// What comes after the last batch: nothing, or an error, once.
    pub(super) fn end(self, source: SourceName, context: ExecContext) -> impl FnMut() -> Option<Item> {
        let mut told = false;
        move || {
            if std::mem::replace(&mut told, true) || self.0.load(Ordering::Acquire) == 0 {
                return None;
            }
            let message = format!("the answer of source \"{source}\" ended before its last row");
            let cancelled = context.cancel.is_cancelled();
            let kind = if cancelled { SourceErrorKind::Cancelled } else { SourceErrorKind::Unreachable };
            let error = SourceError::new(kind, message).with_source(&source);
            Some(Err(error.with_hint("run the query again").into()))
        }
    }
}

fn refused_lock(error: &tokio_postgres::Error) -> bool {
    matches!(error.code().map(tokio_postgres::error::SqlState::code), Some("42501" | "42809"))
}

/// The name a query's statements have at the server, as a literal.
fn tag(query: QueryId) -> String {
    quote_literal(&format!("portolan/{query}")).unwrap_or_default()
}

/// What is left of a query's time; 0, which is no limit, without a deadline.
fn milliseconds_left(deadline: Option<Instant>) -> u128 {
    deadline.map_or(0, |deadline| {
        deadline.saturating_duration_since(Instant::now()).as_millis().clamp(1, 2_000_000_000)
    })
}

/// What the transaction sees: log position and snapshot. An equal position alone does not prove equal data.
pub(super) fn version(said: &[SimpleQueryMessage]) -> Option<SourceVersion> {
    said.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => {
            Some(SourceVersion::Lsn { position: row.get(0)?.parse().ok()?, snapshot: row.get(1)?.to_owned() })
        }
        _ => None,
    })
}
