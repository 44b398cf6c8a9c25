//! Runs fragments on files: Parquet with pruning, everything else as a plain reading of its records.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::EmptyRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use super::decode::{BATCH_ROWS, Decoder};
use super::listing::FoundFile;
use super::records::{Chunk, Reading};
use super::remembered::Remembered;
use super::source::footers;
use super::statistics::of_table;
use super::{ColumnConfig, FileFormat, FileTableConfig, parquet};
use crate::asof::SourceVersion;
use crate::federation::{
    ExecContext, Fragment, FragmentExecutor, TableStatistics, Verdict, cannot_fail, columns_of,
    local_verdict, run_on_columns, run_on_provider,
};
use crate::source::{SourceError, SourceErrorKind, SourceName, TableDef};

#[derive(Debug)]
pub(super) struct FilesExecutor {
    pub(super) readings: BTreeMap<String, Reading>,
    pub(super) remembered: Arc<Remembered>,
    /// Values that became null because they did not fit, since the source was opened.
    pub(super) mismatches: Arc<AtomicU64>,
    /// What Parquet files told of their tables when they were last listed.
    pub(super) told: RwLock<HashMap<String, Arc<TableStatistics>>>,
}

impl FilesExecutor {
    fn config(&self, table: &TableDef) -> Option<&FileTableConfig> {
        self.readings.get(&table.name).map(|reading| reading.table.as_ref())
    }
}

#[async_trait]
impl FragmentExecutor for FilesExecutor {
    fn verdict(&self, table: &TableDef, expr: &Expr) -> Verdict {
        match self.config(table).map(|config| &config.format) {
            Some(FileFormat::Parquet) if cannot_fail(table, expr) => local_verdict(expr),
            Some(FileFormat::Parquet) => Verdict::Keep("it may fail on a value".into()),
            Some(format) => Verdict::Keep(format!("{} files have no index", format.name()).into()),
            None => Verdict::Keep("no such table".into()),
        }
    }

    /// A first statement is planned by what the footers told when the tables were listed.
    fn statistics(&self, table: &TableDef) -> Option<Arc<TableStatistics>> {
        self.told.read().unwrap_or_else(PoisonError::into_inner).get(&table.name).map(Arc::clone)
    }

    async fn gather_statistics(&self, table: &TableDef) -> Result<Option<TableStatistics>, SourceError> {
        let Some(reading) = self.readings.get(&table.name).cloned() else { return Ok(None) };
        if reading.table.format != FileFormat::Parquet {
            return Ok(None);
        }
        let (columns, remembered) = (Arc::clone(&table.arrow), Arc::clone(&self.remembered));
        blocking(move || {
            let footers = footers(&reading, &reading.files()?, &remembered)?;
            Ok(Some(of_table(&columns, &footers)))
        })
        .await
    }

    fn describe(&self, fragment: &Fragment) -> String {
        let Some(config) = self.config(&fragment.table) else { return "nothing".into() };
        let mut text = format!("read {} {}", config.format.name(), config.path);
        let columns: Vec<&str> = fragment
            .projection
            .iter()
            .filter_map(|index| fragment.table.arrow.fields().get(*index))
            .map(|field| field.name().as_str())
            .collect();
        text.push_str(&format!(" columns ({})", columns.join(", ")));
        for (index, filter) in fragment.filters.iter().enumerate() {
            text.push_str(if index == 0 { " where " } else { " and " });
            text.push_str(&filter.expr.to_string());
        }
        if let Some(limit) = fragment.limit {
            text.push_str(&format!(" limit {limit}"));
        }
        text
    }

    async fn execute(
        &self,
        fragment: &Fragment,
        context: ExecContext,
    ) -> Result<SendableRecordBatchStream, SourceError> {
        let Some(reading) = self.readings.get(&fragment.table.name) else {
            let message = format!("table \"{}\" is not declared", fragment.table.name);
            return Err(SourceError::new(SourceErrorKind::NotFound, message));
        };
        let source = reading.source.clone();
        let listed = {
            let (reading, remembered) = (reading.clone(), Arc::clone(&self.remembered));
            blocking(move || {
                let files = reading.files()?;
                let digest = remembered.digest(&files);
                Ok((files, digest))
            })
            .await?
        };
        let (files, digest) = listed;
        context.as_of.record(&source, Some(&fragment.table.name), SourceVersion::Digest(digest));
        let outcome = match reading.table.format {
            FileFormat::Parquet if files.is_empty() => fragment
                .schema()
                .map(|schema| -> SendableRecordBatchStream { Box::pin(EmptyRecordBatchStream::new(schema)) }),
            FileFormat::Parquet => {
                let rows = match parquet::provider(&files, Arc::clone(&fragment.table.arrow)) {
                    Ok(provider) => run_on_provider(Arc::new(provider), fragment).await,
                    Err(error) => Err(error),
                };
                match rows {
                    Ok(rows) => Ok(naming_damage(rows, &source, &files, &self.remembered)),
                    Err(error) => match damaged(source.clone(), files.into(), &self.remembered).await {
                        Some(mut named) => {
                            let TableDef { schema, name, .. } = fragment.table.as_ref();
                            named.message =
                                format!("table \"{schema}.{name}\" cannot be read: {}", named.message);
                            return Err(named);
                        }
                        None => Err(error),
                    },
                }
            }
            FileFormat::Ndjson | FileFormat::Csv(_) | FileFormat::Xml(_) | FileFormat::Text(_) => {
                let mismatches = Arc::clone(&self.mismatches);
                decoded(reading.clone(), files, fragment, mismatches)
                    .and_then(|rows| run_on_columns(rows, fragment))
            }
        };
        outcome.map_err(|error| {
            // Not of kind `Data`, which is a value out of its type's range: here nothing could be read at all.
            let (schema, name, path) = (&fragment.table.schema, &fragment.table.name, &reading.table.path);
            SourceError::new(
                SourceErrorKind::Remote,
                format!("table \"{schema}.{name}\" cannot be read from its files \"{path}\""),
            )
            .with_source(&source)
            .with_hint("a file is damaged or of another format: put it right or take it away")
            .with_cause(error)
        })
    }
}

/// The rows; where reading fails, the error names the damaged file if one has no readable footer.
fn naming_damage(
    rows: SendableRecordBatchStream,
    source: &SourceName,
    files: &[FoundFile],
    remembered: &Arc<Remembered>,
) -> SendableRecordBatchStream {
    let schema = rows.schema();
    let (source, files, remembered) =
        (source.clone(), Arc::<[FoundFile]>::from(files), Arc::clone(remembered));
    let rows = rows.then(move |rows| {
        let (source, files, remembered) = (source.clone(), Arc::clone(&files), Arc::clone(&remembered));
        async move {
            let error = match rows {
                Ok(rows) => return Ok(rows),
                Err(error) => error,
            };
            match damaged(source, files, &remembered).await {
                Some(named) => Err(DataFusionError::from(named)),
                None => Err(error),
            }
        }
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, rows))
}

/// The first file without a readable footer.
async fn damaged(
    source: SourceName,
    files: Arc<[FoundFile]>,
    remembered: &Arc<Remembered>,
) -> Option<SourceError> {
    let remembered = Arc::clone(remembered);
    let looked = blocking(move || {
        for file in files.iter() {
            if let Err(cause) = remembered.footer(file) {
                return Err(unreadable_parquet(&source, file, cause));
            }
        }
        Ok(())
    });
    looked.await.err()
}

/// The error for a file that is no Parquet, or no longer one.
pub(super) fn unreadable_parquet(
    source: &SourceName,
    file: &FoundFile,
    cause: ::parquet::errors::ParquetError,
) -> SourceError {
    SourceError::new(SourceErrorKind::Remote, format!("file \"{}\" is not readable parquet", file.name))
        .with_source(source)
        .with_hint("it is damaged or cut off: write it again or take it away")
        .with_cause(cause)
}

/// Runs blocking work on its own thread.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => {
            Err(SourceError::new(SourceErrorKind::Remote, "reading files failed").with_cause(error))
        }
    }
}

/// A stream of the reading's records in chunks; dropping it stops the reading.
pub(super) fn chunks(reading: Reading) -> ReceiverStream<Chunk> {
    let (sender, receiver) = tokio::sync::mpsc::channel(2);
    tokio::task::spawn_blocking(move || reading.send_all(&sender));
    ReceiverStream::new(receiver)
}

/// The rows of a table's files, decoded on the reading thread: of their columns those that a fragment is about, so that
/// a value that does not fit fails who asked for it, and nobody else.
fn decoded(
    reading: Reading,
    files: Vec<FoundFile>,
    fragment: &Fragment,
    mismatches: Arc<AtomicU64>,
) -> Result<SendableRecordBatchStream, DataFusionError> {
    let read = columns_of(fragment)?;
    let schema = Arc::new(fragment.table.arrow.project(&read)?);
    let shown = Arc::clone(&schema);
    let columns: Vec<ColumnConfig> =
        read.iter().filter_map(|column| reading.table.columns.get(*column).cloned()).collect();
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<RecordBatch, DataFusionError>>(2);
    tokio::task::spawn_blocking(move || {
        let (records, mut incoming) = tokio::sync::mpsc::channel::<Chunk>(2);
        let source = reading.source.clone();
        let table = Arc::clone(&reading.table);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Moved in, so that the channel closes when the reading ends.
                let records = records;
                reading.send_files(&files, &records);
            });
            let mut decoder = match Decoder::try_new(schema, &table.format, &columns, table.on_mismatch) {
                Ok(decoder) => decoder,
                Err(error) => {
                    let _ = sender.blocking_send(Err(error.into()));
                    return;
                }
            };
            let mut counted = 0;
            while let Some(chunk) = incoming.blocking_recv() {
                let outcome = chunk.and_then(|chunk| {
                    for record in &chunk {
                        decoder.append(record).map_err(|misfit| {
                            let place = format!("{}:{}", record.file, record.record_no);
                            let error = SourceError::new(
                                SourceErrorKind::Data,
                                format!("cannot read {place}: {}", misfit.what),
                            )
                            .with_source(&source)
                            .with_hint("correct the file or the declaration, or declare on_mismatch: null");
                            match misfit.code {
                                Some(code) => error.with_remote_code(code),
                                None => error,
                            }
                        })?;
                    }
                    Ok(())
                });
                mismatches.fetch_add(decoder.mismatches() - counted, Ordering::Relaxed);
                counted = decoder.mismatches();
                if let Err(error) = outcome {
                    let _ = sender.blocking_send(Err(error.into()));
                    incoming.close();
                    while incoming.blocking_recv().is_some() {}
                    return;
                }
                if decoder.rows() >= BATCH_ROWS
                    && sender.blocking_send(decoder.finish().map_err(DataFusionError::from)).is_err()
                {
                    incoming.close();
                    while incoming.blocking_recv().is_some() {}
                    return;
                }
            }
            if decoder.rows() > 0 {
                let _ = sender.blocking_send(decoder.finish().map_err(DataFusionError::from));
            }
        });
    });
    Ok(Box::pin(RecordBatchStreamAdapter::new(shown, ReceiverStream::new(receiver))))
}
