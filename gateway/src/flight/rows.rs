//! Batches as messages: cut to a size every client takes, pulled only as the client reads.
//!
//! The encoder's own cutting counts the whole buffer behind a slice, so a batch is cut here by what its rows really
//! hold. Nothing is collected: one batch and its parts are all that is in memory.

use std::sync::Arc;
use std::time::Duration;

use arrow_flight::FlightData;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use datafusion::arrow::array::{Array, RecordBatch};
use datafusion::arrow::datatypes::SchemaRef;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt, TryStreamExt};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use super::schema;
use super::status::status;
use crate::error::{ErrorCode, QueryError};

/// What a DoGet sends.
pub(super) type Messages = BoxStream<'static, Result<FlightData, Status>>;

/// Aimed size of a message; clients take 4 MiB without being told otherwise.
const MESSAGE_BYTES: usize = 2 << 20;
/// Largest single row: clients that were told otherwise commonly take 16 MiB, and a message has a header.
const ROW_BYTES: usize = (16 << 20) - (64 << 10);

/// Rows as messages: the schema first, then the batches brought to it.
pub(super) fn messages(
    rows: impl Stream<Item = Result<RecordBatch, QueryError>> + Send + 'static,
    schema: SchemaRef,
) -> Messages {
    let conformed = Arc::clone(&schema);
    let batches = rows
        .map(move |batch| {
            let parts = batch.and_then(|batch| cut(schema::conform(&batch, &conformed)?));
            stream::iter(match parts {
                Ok(parts) => parts.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(FlightError::from(status(&error)))],
            })
        })
        .flatten();
    FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .with_max_flight_data_size(usize::MAX)
        .build(batches)
        .map_err(Status::from)
        .boxed()
}

/// Gives up on a client that takes nothing: `cancel` ends the work when a message has waited for so long. What the
/// client makes of the time between asking for a message and getting it is its own affair.
pub(super) fn watched(messages: Messages, patience: Duration, cancel: CancellationToken) -> Messages {
    let (turn, mut turns) = watch::channel(Turn::Ours);
    let watchman = AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            let clients = turns.wait_for(|turn| *turn == Turn::Clients).await.is_ok();
            let taken = tokio::time::timeout(patience, turns.wait_for(|turn| *turn == Turn::Ours));
            if !clients || taken.await.is_err() {
                cancel.cancel();
                return;
            }
        }
    }));
    let open = (messages, turn, watchman);
    stream::unfold(open, |(mut messages, turn, watchman)| async move {
        turn.send_replace(Turn::Ours);
        let message = messages.next().await?;
        turn.send_replace(Turn::Clients);
        Some((message, (messages, turn, watchman)))
    })
    .boxed()
}

/// Who is to act: we make the next message, or the client takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Ours,
    Clients,
}

/// Halves a batch until its parts are small, or single rows.
fn cut(batch: RecordBatch) -> Result<Vec<RecordBatch>, QueryError> {
    let (mut open, mut done) = (vec![batch], Vec::new());
    while let Some(batch) = open.pop() {
        let bytes: usize = batch.columns().iter().map(|column| held(column)).sum();
        let rows = batch.num_rows();
        if bytes <= MESSAGE_BYTES || (rows <= 1 && bytes <= ROW_BYTES) {
            done.push(batch);
        } else if rows <= 1 {
            return Err(too_large(&batch));
        } else {
            let half = rows / 2;
            open.push(batch.slice(half, rows - half));
            open.push(batch.slice(0, half));
        }
    }
    Ok(done)
}

/// Bytes of the rows of an array, not of the buffers behind it.
fn held(column: &dyn Array) -> usize {
    column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size())
}

fn too_large(row: &RecordBatch) -> QueryError {
    let schema = row.schema();
    let widest = row.columns().iter().zip(schema.fields()).max_by_key(|(column, _)| held(column));
    let name = widest.map_or_else(String::new, |(_, field)| field.name().clone());
    QueryError::new(
        ErrorCode::ProgramLimitExceeded,
        format!("a row with a value of column \"{name}\" is larger than {ROW_BYTES} bytes"),
    )
    .with_hint("select a part of the value, for example with substr()")
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Int64Array, StringArray};

    use super::*;

    #[test]
    fn batches_are_cut_by_what_their_rows_hold() {
        let numbers = RecordBatch::try_from_iter([(
            "n",
            Arc::new(Int64Array::from_iter_values(0..1_000_000)) as Arc<dyn Array>,
        )])
        .unwrap();
        let parts = cut(numbers.clone()).unwrap();
        assert_eq!(parts.len(), 4);
        assert_eq!(parts.iter().map(RecordBatch::num_rows).sum::<usize>(), 1_000_000);
        let first = parts[1].column(0).as_any().downcast_ref::<Int64Array>().unwrap().value(0);
        assert_eq!(first, 250_000);
        // A short slice of a long batch is one message, whatever stands behind it.
        assert_eq!(cut(numbers.slice(10, 8_192)).unwrap().len(), 1);
    }

    #[test]
    fn a_row_no_client_takes_is_refused_by_its_column() {
        let wide = "x".repeat(17 << 20);
        let batch = RecordBatch::try_from_iter([
            ("id", Arc::new(Int64Array::from(vec![1])) as Arc<dyn Array>),
            ("doc", Arc::new(StringArray::from(vec![wide])) as Arc<dyn Array>),
        ])
        .unwrap();
        let error = cut(batch).unwrap_err();
        assert_eq!(error.code, ErrorCode::ProgramLimitExceeded);
        assert!(error.message.contains("\"doc\""), "{error:?}");
    }
}
