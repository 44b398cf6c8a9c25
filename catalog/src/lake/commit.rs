//! Writing to lake tables: position with data in one commit, and outcomes that are found out, never guessed.
//!
//! The transaction log compares application versions only with commits made since a writer's snapshot, so every
//! attempt loads a fresh snapshot, compares the sequence there, and commits on that snapshot. Any error after that
//! is resolved against the log: a conflict can be our own commit met again.

use std::collections::BTreeMap;

use datafusion::arrow::array::RecordBatch;
use deltalake::kernel::Transaction;
use deltalake::kernel::transaction::CommitProperties;
use deltalake::protocol::SaveMode;
use deltalake::{DeltaTable, DeltaTableError};
use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::failure::{damaged, may_come_late};
use super::{Lake, TablePath, schema, version_of};
use crate::copies::Origin;
use crate::source::{SourceError, SourceErrorKind};

/// Concurrent appenders needed up to eleven of fifteen retries when measured on HDFS; none may be lost.
const MAX_RETRIES: usize = 50;

/// What a commit says about itself. Idempotent by (`app_id`, `seq`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The pipeline that writes.
    pub pipeline: String,
    /// Application id in the log, such as `port_calls/bronze`.
    pub app_id: String,
    /// Sequence within the application id; a commit with a sequence already there is not made again.
    pub seq: i64,
    /// The data interval, `[start, end)` as text.
    pub interval: String,
    /// Row counts by fate.
    pub counts: BTreeMap<String, u64>,
    /// Digest over the rows, if one was computed.
    pub digest: Option<String>,
    /// What was read of sources for it, if that is known.
    pub origin: Option<Origin>,
}

/// How a commit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitOutcome {
    /// This call made the commit, as this table version.
    Committed(i64),
    /// The sequence was there before; nothing was written. The table's present version.
    AlreadyCommitted(i64),
}

impl CommitOutcome {
    /// The table version after the commit.
    #[must_use]
    pub const fn version(self) -> i64 {
        match self {
            Self::Committed(version) | Self::AlreadyCommitted(version) => version,
        }
    }
}

/// What the log of a table tells about one of our commits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitRecord {
    /// Identifies the attempt; the resolver looks for it.
    pub commit_id: String,
    /// The pipeline that wrote.
    pub pipeline: String,
    /// Sequence within the application id.
    pub seq: i64,
    /// The data interval, `[start, end)` as text.
    pub interval: String,
    /// Row counts by fate.
    pub counts: BTreeMap<String, u64>,
    /// Digest over the rows.
    pub digest: Option<String>,
    /// What was read of sources for it; `None` in commits from before it was noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// Key under which [`CommitRecord`] stands in the log's commit information.
const RECORD_KEY: &str = "portolan";

impl Lake {
    /// Appends rows. No batches, or empty ones, still move the sequence.
    ///
    /// # Errors
    /// `NotFound`; `Data` if a batch does not fit the table or the log is damaged; `StateUnknown` if the outcome
    /// could not be found out.
    pub async fn append(
        &self,
        path: &TablePath,
        batches: Vec<RecordBatch>,
        commit: &Commit,
    ) -> Result<CommitOutcome, SourceError> {
        self.write(path, batches, commit, SaveMode::Append, None).await
    }

    /// Replaces the rows that match a predicate over the table's columns, or all rows if there is none.
    ///
    /// # Errors
    /// As [`Lake::append`]; also `Conflict` if the table is append-only.
    pub async fn replace(
        &self,
        path: &TablePath,
        batches: Vec<RecordBatch>,
        predicate: Option<&str>,
        commit: &Commit,
    ) -> Result<CommitOutcome, SourceError> {
        self.write(path, batches, commit, SaveMode::Overwrite, predicate).await
    }

    async fn write(
        &self,
        path: &TablePath,
        batches: Vec<RecordBatch>,
        commit: &Commit,
        mode: SaveMode,
        predicate: Option<&str>,
    ) -> Result<CommitOutcome, SourceError> {
        let table = self.require(path).await?;
        let base = version_of(&table).unwrap_or_default();
        if txn_version(path, &table, &commit.app_id).await?.is_some_and(|seen| seen >= commit.seq) {
            return Ok(CommitOutcome::AlreadyCommitted(base));
        }
        let batches = fit(path, &table, batches)?;
        let record = CommitRecord {
            commit_id: Uuid::new_v4().simple().to_string(),
            pipeline: commit.pipeline.clone(),
            seq: commit.seq,
            interval: commit.interval.clone(),
            counts: commit.counts.clone(),
            digest: commit.digest.clone(),
            origin: commit.origin.clone(),
        };
        let metadata = serde_json::to_value(&record).map_err(|cause| damaged(path, cause))?;
        // Hooks run after the commit is durable, so a failing hook would report a commit that stands as failed.
        let properties = CommitProperties::default()
            .with_metadata([(RECORD_KEY.to_owned(), metadata)])
            .with_application_transaction(Transaction::new(commit.app_id.clone(), commit.seq))
            .with_max_retries(MAX_RETRIES)
            .with_create_checkpoint(false)
            .with_cleanup_expired_logs(Some(false));
        // The writer plans nodes of its own, so it gets the session it brings itself, not ours.
        let mut write = table.write(batches).with_save_mode(mode).with_commit_properties(properties);
        if let Some(predicate) = predicate {
            write = write.with_replace_where(predicate);
        }
        let outcome = match Box::pin(write.into_future()).await {
            Ok(written) => {
                let version = version_of(&written).unwrap_or_default();
                self.open.lock().await.insert(path.clone(), written);
                Ok(CommitOutcome::Committed(version))
            }
            Err(cause) => self.resolve(path, base, &record.commit_id, cause).await,
        };
        if outcome.is_err() {
            self.open.lock().await.remove(path);
        }
        outcome
    }

    /// Finds out whether an attempt that ended in an error is in the log, by reading it with a fresh handle: a
    /// rename whose answer was lost is told as a missing file, and a conflict can be our own commit.
    ///
    /// On a local directory no request can arrive late, so absence decides. A call to HDFS that was given up or cut
    /// may still be carried out; then only a presence does, and the sequence keeps the next run from doubling rows.
    async fn resolve(
        &self,
        path: &TablePath,
        base: i64,
        commit_id: &str,
        cause: DeltaTableError,
    ) -> Result<CommitOutcome, SourceError> {
        let unknown = || {
            SourceError::new(
                SourceErrorKind::StateUnknown,
                format!("the outcome of a commit to \"{path}\" is not known"),
            )
            .with_hint("nothing was deleted; the next run of the pipeline finds it out")
        };
        let location = self.location(path)?;
        let fresh = self.builder(location).map_err(|cause| unknown().with_cause(cause))?;
        let fresh = Box::pin(fresh.load()).await.map_err(|cause| unknown().with_cause(cause))?;
        let records = history(path, &fresh).await.map_err(|cause| unknown().with_cause(cause))?;
        match records.iter().find(|(version, record)| *version > base && record.commit_id == commit_id) {
            Some((version, _)) => Ok(CommitOutcome::Committed(*version)),
            None if may_come_late(&cause) => Err(unknown().with_cause(cause)),
            None => Err(SourceError::new(
                SourceErrorKind::Conflict,
                format!("the commit to \"{path}\" was not made"),
            )
            .with_hint("run the pipeline again; its position has not moved")
            .with_cause(cause)),
        }
    }

    /// Our commits of a table, newest first, with the version each made.
    ///
    /// # Errors
    /// `NotFound`, or `Data` if the log is damaged.
    pub async fn history(&self, path: &TablePath) -> Result<Vec<(i64, CommitRecord)>, SourceError> {
        history(path, &self.require(path).await?).await
    }
}

/// The sequence last committed by an application id, from the log.
pub(super) async fn txn_version(
    path: &TablePath,
    table: &DeltaTable,
    app_id: &str,
) -> Result<Option<i64>, SourceError> {
    let state = table.snapshot().map_err(|cause| damaged(path, cause))?;
    let log_store = table.log_store();
    Box::pin(state.transaction_version(log_store.as_ref(), app_id))
        .await
        .map_err(|cause| damaged(path, cause))
}

async fn history(path: &TablePath, table: &DeltaTable) -> Result<Vec<(i64, CommitRecord)>, SourceError> {
    let infos: Vec<_> = table.history(None).try_collect().await.map_err(|cause| damaged(path, cause))?;
    let newest = version_of(table).unwrap_or_default();
    Ok(infos
        .iter()
        .zip((0..=newest).rev())
        .filter_map(|(info, version)| Some((version, record_of(info.info.get(RECORD_KEY)?)?)))
        .collect())
}

fn record_of(value: &Value) -> Option<CommitRecord> {
    serde_json::from_value(value.clone()).ok()
}

/// Casts nothing: checks that every batch has the table's columns, and adds an empty batch so that even a commit
/// without rows carries its position.
fn fit(
    path: &TablePath,
    table: &DeltaTable,
    batches: Vec<RecordBatch>,
) -> Result<Vec<RecordBatch>, SourceError> {
    let stored = schema::of(path, table)?;
    let mut fitted = Vec::with_capacity(batches.len() + 1);
    for batch in batches {
        schema::check_equal(path, batch.schema().as_ref(), &stored)?;
        if batch.num_rows() > 0 {
            let columns = batch.columns().to_vec();
            fitted.push(RecordBatch::try_new(std::sync::Arc::clone(&stored), columns).map_err(|cause| {
                SourceError::new(SourceErrorKind::Data, format!("a batch breaks the contract of \"{path}\""))
                    .with_hint("a column that may not be null has nulls")
                    .with_cause(cause)
            })?);
        }
    }
    if fitted.is_empty() {
        fitted.push(RecordBatch::new_empty(stored));
    }
    Ok(fitted)
}
