//! One reading of a leaf's fragment: the state between two polls.
//!
//! The source is asked at the first poll. Every batch is checked against the promised columns; a wrong one fails the
//! query and is never passed on. What ends the query ends the reading, at whatever await it is.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::metrics::{BaselineMetrics, Time};
use futures::StreamExt;

use super::drain::{Room, beside_waiters};
use super::figures::{Tally, Took};
use super::retry::Retries;
use super::runtime::{Narrowed, RuntimeFilters};
use super::silence::attended;
use super::{ExecContext, Fragment, FragmentExecutor};
use crate::asof::SourceVersion;
use crate::source::{SourceError, SourceErrorKind, SourceName};

/// One execution of the node: the state between two polls.
pub(super) struct Reading {
    pub(super) source: SourceName,
    pub(super) fragment: Arc<Fragment>,
    pub(super) executor: Arc<dyn FragmentExecutor>,
    pub(super) promised: SchemaRef,
    pub(super) shown: SchemaRef,
    pub(super) runtime: RuntimeFilters,
    pub(super) runtime_sent: Arc<OnceLock<String>>,
    pub(super) as_of: Arc<OnceLock<String>>,
    pub(super) query: ExecContext,
    pub(super) rows: BaselineMetrics,
    pub(super) tally: Tally,
    pub(super) first_byte: Time,
    pub(super) took: Took,
    pub(super) retries: Retries,
    /// Where the answer is kept when the source is wanted by others.
    pub(super) room: Room,
    /// What the source was asked for, for as long as it may be asked for it once more.
    pub(super) asked: Option<Box<Fragment>>,
    pub(super) stream: Option<SendableRecordBatchStream>,
    pub(super) done: bool,
}

impl Reading {
    pub(super) async fn next(&mut self) -> Option<Result<RecordBatch>> {
        if self.done {
            return None;
        }
        let query = Arc::clone(&self.query);
        let step = tokio::select! {
            biased;
            () = query.cancel.cancelled() => Some(Err(cancelled(&self.source).into())),
            () = passed(query.deadline) => Some(Err(timed_out(&self.source).into())),
            step = self.step() => step,
        };
        match step {
            Some(Ok(batch)) => {
                self.rows.record_output(batch.num_rows());
                Some(Ok(batch))
            }
            Some(Err(error)) => {
                self.end();
                Some(Err(error))
            }
            None => {
                self.end();
                self.rows.done();
                self.show_as_of();
                None
            }
        }
    }

    fn end(&mut self) {
        self.done = true;
        self.stream = None;
        self.asked = None;
        self.took.stop();
    }

    /// The next batch, from a second attempt if the first one gave nothing and may be repeated.
    async fn step(&mut self) -> Option<Result<RecordBatch>> {
        loop {
            let error = match self.read_on().await {
                Ok(came) => {
                    // From here on it is never asked for again: what is out would come twice.
                    self.asked = None;
                    return came.map(|batch| self.checked(&batch));
                }
                Err(error) => error,
            };
            // Its connection is gone before another one is asked for.
            self.stream = None;
            let Some(asked) = &self.asked else { return Some(Err(error)) };
            let again = self.retries.again(self.executor.as_ref(), asked, &error, self.query.deadline);
            if !again.await {
                return Some(Err(error));
            }
        }
    }

    /// The next batch of the attempt that runs; without one, the source is asked.
    async fn read_on(&mut self) -> Result<Option<RecordBatch>> {
        if self.stream.is_none() && !self.ask().await? {
            return Ok(None);
        }
        let Some(stream) = self.stream.as_mut() else { return Ok(None) };
        attended(&self.source, self.executor.as_ref(), stream.next()).await?.transpose()
    }

    /// Asks the source; false if no row can match, and nobody was asked.
    async fn ask(&mut self) -> Result<bool> {
        let fragment = match self.asked.take() {
            Some(fragment) => fragment,
            None => match self.runtime.narrow(&self.fragment, self.executor.as_ref()) {
                Narrowed::Nothing => {
                    let _ = self.runtime_sent.set("no row can match, nothing was sent".into());
                    return Ok(false);
                }
                Narrowed::To(fragment, shown) => {
                    if let Some(shown) = shown {
                        let _ = self.runtime_sent.set(shown);
                    }
                    fragment
                }
            },
        };
        let since = self.took.start();
        let starting = self.executor.execute(&fragment, Arc::clone(&self.query));
        let answer = attended(&self.source, self.executor.as_ref(), starting).await.flatten();
        self.asked = Some(fragment);
        let stream = answer.map_err(|error| self.named(error))?;
        self.stream = Some(match self.executor.slots() {
            Some(slots) => beside_waiters(stream, slots, self.room.clone()),
            None => stream,
        });
        if self.first_byte.value() == 0 {
            self.first_byte.add_elapsed(since);
        }
        self.note_as_of();
        Ok(true)
    }

    /// Executors record the version they read; a source that has none was read now.
    fn note_as_of(&self) {
        let table = format!("{}.{}.{}", self.source, self.fragment.table.schema, self.fragment.table.name);
        let noted = self.query.as_of.snapshot();
        let known = noted.0.keys().any(|key| {
            key == self.source.as_str() || *key == table || key.starts_with(&format!("{}.", self.source))
        });
        if !known {
            self.query.as_of.record(&self.source, None, SourceVersion::FetchedAt(chrono::Utc::now()));
        }
    }

    /// What was read, once it was: an executor may know only after its first batch.
    fn show_as_of(&self) {
        let noted = self.query.as_of.snapshot().0;
        let prefix = format!("{}.", self.source);
        let of_table = || noted.iter().find(|(key, _)| key.starts_with(&prefix)).map(|(_, version)| version);
        if let Some(version) = noted.get(self.source.as_str()).or_else(of_table) {
            let _ = self.as_of.set(version.to_string());
        }
    }

    /// The batch under the promised schema, or an error: a wrong column is never passed on.
    fn checked(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        self.tally.add(batch);
        let arrived = batch.schema();
        let same = arrived.fields().len() == self.promised.fields().len()
            && arrived
                .fields()
                .iter()
                .zip(self.promised.fields())
                .all(|(a, b)| a.name() == b.name() && a.data_type() == b.data_type());
        if !same {
            return Err(self.broken_promise(&arrived).into());
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch =
            RecordBatch::try_new_with_options(Arc::clone(&self.promised), batch.columns().to_vec(), &options)
                .map_err(|error| {
                    self.named(
                        SourceError::new(
                            SourceErrorKind::Data,
                            format!(
                                "source \"{}\" sent a null for a column of \"{}.{}\" that has none",
                                self.source, self.fragment.table.schema, self.fragment.table.name
                            ),
                        )
                        .with_cause(error),
                    )
                })?;
        // The names the plan above knows the columns by.
        let shown = Arc::clone(&self.shown);
        Ok(RecordBatch::try_new_with_options(shown, batch.columns().to_vec(), &options)?)
    }

    fn broken_promise(&self, arrived: &SchemaRef) -> SourceError {
        let show = |schema: &SchemaRef| {
            schema
                .fields()
                .iter()
                .map(|field| format!("{} {}", field.name(), field.data_type()))
                .collect::<Vec<_>>()
                .join(", ")
        };
        self.named(
            SourceError::new(
                SourceErrorKind::Data,
                format!(
                    "source \"{}\" sent columns ({}) for \"{}.{}\" where ({}) was promised",
                    self.source,
                    show(arrived),
                    self.fragment.table.schema,
                    self.fragment.table.name,
                    show(&self.promised)
                ),
            )
            .with_hint(format!("run portolan source check {}: the table may have changed", self.source)),
        )
    }

    fn named(&self, error: SourceError) -> SourceError {
        if error.source_name.is_some() { error } else { error.with_source(&self.source) }
    }
}

/// Completes when the deadline passes; never without one.
async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

fn cancelled(source: &SourceName) -> SourceError {
    SourceError::new(SourceErrorKind::Cancelled, "canceling statement due to user request")
        .with_source(source)
}

fn timed_out(source: &SourceName) -> SourceError {
    SourceError::new(SourceErrorKind::Cancelled, "canceling statement due to statement timeout")
        .with_source(source)
}
