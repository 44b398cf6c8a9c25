//! Rows on their way to the client, wherever they come from: a stream of the engine, an answer of the shadow, or a
//! few rows made here.
//!
//! Rows are pulled one batch at a time and encoded into a bounded buffer; a portal keeps its place in the batch. Only
//! held and scrollable cursors keep what they have read, up to a limit.

use std::fmt;
use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use bytes::{Buf, Bytes, BytesMut};
use datafusion::execution::SendableRecordBatchStream;
use futures::{FutureExt, StreamExt};

use crate::pg::backend::{Column, Control, Format};
use crate::pg::encode::RowEncoder;
use crate::pg::fault::Fault;
use crate::pg::socket::{FLUSH_BYTES, Socket, Stop};
use crate::pg::style::Style;
use crate::pgtypes::{PgType, oid};

/// Most bytes a held or scrollable cursor keeps.
const KEPT_BYTES: usize = 64 << 20;

/// Where rows come from.
pub(crate) enum Source {
    /// Pulled as they are sent.
    Stream { rows: SendableRecordBatchStream, batch: Option<RecordBatch>, at: usize },
    /// Kept: SHOW, held and scrollable cursors. `at` counts rows over all batches.
    Kept { batches: Vec<RecordBatch>, at: usize },
    /// Complete `DataRow` messages of the shadow.
    Relayed { rows: Vec<Bytes>, formats: Vec<Format>, at: usize },
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stream { .. } => "Stream",
            Self::Kept { .. } => "Kept",
            Self::Relayed { .. } => "Relayed",
        })
    }
}

/// Where rows go.
pub(crate) enum Sink<'a> {
    /// `DataRow` messages.
    Rows { columns: &'a [Column], formats: &'a [Format] },
    /// Counted, not sent: MOVE.
    Nowhere,
    /// COPY.
    Copy { columns: &'a [Column], writer: &'a crate::pg::copy::CopyWriter },
}

/// Why rows ended early.
#[derive(Debug)]
pub(crate) enum RowsError {
    Stop(Stop),
    Fault(Fault),
    Engine(datafusion::error::DataFusionError),
}

impl From<Stop> for RowsError {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

impl From<Fault> for RowsError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// The format of a column: none means text, one is for all.
fn format_of(formats: &[Format], index: usize) -> Format {
    match formats {
        [] => Format::Text,
        [one] => *one,
        many => many.get(index).copied().unwrap_or_default(),
    }
}

impl Source {
    pub(crate) fn stream(rows: SendableRecordBatchStream) -> Self {
        Self::Stream { rows, batch: None, at: 0 }
    }

    /// Rows of text columns.
    pub(crate) fn texts(names: &[&str], rows: &[Vec<String>]) -> (Arc<[Column]>, Self) {
        let columns: Arc<[Column]> =
            names.iter().map(|name| Column::new(*name, PgType::new(oid::TEXT))).collect();
        let schema = Schema::new(
            names.iter().map(|name| Field::new(*name, DataType::Utf8, false)).collect::<Vec<_>>(),
        );
        let arrays = (0..names.len())
            .map(|index| {
                let values = rows.iter().map(|row| row.get(index).map(String::as_str).unwrap_or_default());
                Arc::new(StringArray::from_iter_values(values)) as _
            })
            .collect();
        let batches = RecordBatch::try_new(Arc::new(schema), arrays).into_iter().collect();
        (columns, Self::Kept { batches, at: 0 })
    }

    /// Sends up to `limit` rows. Returns how many, and whether the source is exhausted (known only when it ran dry
    /// before the limit).
    ///
    /// # Errors
    /// Cancel, deadline, a gone client, or the fault of a row; rows before it have been sent or wait in the buffer.
    pub(crate) async fn send(
        &mut self,
        socket: &mut Socket,
        control: &Control,
        style: &Style,
        limit: Option<u64>,
        sink: &Sink<'_>,
    ) -> Result<(u64, bool), RowsError> {
        let mut sent = 0_u64;
        let within = |sent: u64| limit.is_none_or(|limit| sent < limit);
        match self {
            Self::Stream { rows, batch, at } => loop {
                if !within(sent) {
                    return Ok((sent, false));
                }
                if batch.is_none() {
                    // The common case is a batch that waits; only else the socket is watched.
                    let next = match rows.next().now_or_never() {
                        Some(next) if !control.cancel.is_cancelled() => next,
                        Some(_) => return Err(Stop::Cancelled.into()),
                        None => socket.during(control, rows.next()).await?,
                    };
                    match next {
                        None => return Ok((sent, true)),
                        Some(Err(error)) => return Err(RowsError::Engine(error)),
                        Some(Ok(next)) => {
                            *batch = Some(next);
                            *at = 0;
                        }
                    }
                }
                if let Some(current) = batch {
                    let room = limit.map(|limit| limit - sent);
                    sent += send_batch(current, at, room, socket, control, style, sink).await?;
                    if *at >= current.num_rows() {
                        *batch = None;
                    }
                }
            },
            Self::Kept { batches, at } => {
                let mut before = 0;
                for batch in batches.iter() {
                    let rows = batch.num_rows();
                    if *at < before + rows && within(sent) {
                        let mut offset = *at - before;
                        let room = limit.map(|limit| limit - sent);
                        sent += send_batch(batch, &mut offset, room, socket, control, style, sink).await?;
                        *at = before + offset;
                    }
                    before += rows;
                }
                Ok((sent, *at >= before && within(sent)))
            }
            Self::Relayed { rows, formats, at } => {
                // The catalog's rows came in the formats they were declared with and cannot be sent in others.
                if let Sink::Rows { columns, formats: wanted } = sink
                    && !rows.is_empty()
                    && (0..columns.len()).any(|index| format_of(wanted, index) != format_of(formats, index))
                {
                    return Err(Fault::new(
                        "0A000",
                        "this result format of a cursor over the catalog is not supported",
                    )
                    .with_hint(
                        "fetch from it in the format it was declared in, or run its query without a cursor",
                    )
                    .into());
                }
                while within(sent) {
                    let Some(row) = rows.get(*at) else { return Ok((sent, true)) };
                    match sink {
                        Sink::Rows { .. } => socket.out.buffer.extend_from_slice(row),
                        Sink::Nowhere => {}
                        Sink::Copy { columns, writer } => {
                            writer.relayed(row, columns, formats, &mut socket.out)?;
                        }
                    }
                    *at += 1;
                    sent += 1;
                    if socket.out.buffer.len() >= FLUSH_BYTES {
                        socket.drain(control).await?;
                    }
                }
                Ok((sent, false))
            }
        }
    }

    /// Reads everything, so that the rows outlive their transaction or can be read backwards.
    ///
    /// # Errors
    /// 53400 beyond 64 MiB, and as [`Source::send`].
    pub(crate) async fn keep(&mut self, socket: &mut Socket, control: &Control) -> Result<(), RowsError> {
        let Self::Stream { rows, batch, at } = self else { return Ok(()) };
        let mut batches = Vec::new();
        let mut bytes = 0;
        if let Some(batch) = batch.take() {
            batches.push(batch.slice(*at, batch.num_rows() - *at));
        }
        while let Some(next) = socket.during(control, rows.next()).await? {
            let next = next.map_err(RowsError::Engine)?;
            bytes += next.get_array_memory_size();
            if bytes > KEPT_BYTES {
                return Err(Fault::new("53400", "cursor holds more than 64 MiB")
                    .with_hint("declare it without hold and without scroll, or narrow its query")
                    .into());
            }
            batches.push(next);
        }
        *self = Self::Kept { batches, at: 0 };
        Ok(())
    }

    /// Rows kept in all; `None` when they are not kept.
    pub(crate) fn kept(&mut self) -> Option<(usize, &mut usize)> {
        match self {
            Self::Kept { batches, at } => Some((batches.iter().map(RecordBatch::num_rows).sum(), at)),
            Self::Relayed { rows, at, .. } => Some((rows.len(), at)),
            Self::Stream { .. } => None,
        }
    }
}

/// Sends rows of one batch from `at` on, at most `room`; moves `at`.
async fn send_batch(
    batch: &RecordBatch,
    at: &mut usize,
    room: Option<u64>,
    socket: &mut Socket,
    control: &Control,
    style: &Style,
    sink: &Sink<'_>,
) -> Result<u64, RowsError> {
    let available = batch.num_rows().saturating_sub(*at);
    let count = room.map_or(available, |room| usize::try_from(room).unwrap_or(usize::MAX).min(available));
    let start = *at;
    match sink {
        Sink::Nowhere => *at += count,
        Sink::Rows { columns, formats } => {
            let encoder = RowEncoder::new(batch, columns, formats)?;
            for row in start..start + count {
                encoder.data_row(row, style, &mut socket.out.buffer)?;
                *at = row + 1;
                if socket.out.buffer.len() >= FLUSH_BYTES {
                    socket.drain(control).await?;
                }
            }
        }
        Sink::Copy { columns, writer } => {
            let formats = vec![writer.value_format(); columns.len()];
            let encoder = RowEncoder::new(batch, columns, &formats)?;
            let mut line = BytesMut::new();
            for row in start..start + count {
                line.clear();
                writer.row(&encoder, row, style, &mut line)?;
                socket.out.copy_data(&line);
                *at = row + 1;
                if socket.out.buffer.len() >= FLUSH_BYTES {
                    socket.drain(control).await?;
                }
            }
        }
    }
    if control.cancel.is_cancelled() {
        return Err(Stop::Cancelled.into());
    }
    Ok(u64::try_from(count).unwrap_or(0))
}

/// The fields of a `DataRow` message.
pub(crate) fn fields(message: &Bytes) -> Vec<Option<Bytes>> {
    let mut body = message.clone();
    let mut fields = Vec::new();
    if body.len() < 7 {
        return fields;
    }
    body.advance(5);
    let count = body.get_u16();
    for _ in 0..count {
        let Ok(length) = body.try_get_i32() else { break };
        match usize::try_from(length) {
            Ok(length) if length <= body.len() => fields.push(Some(body.split_to(length))),
            _ => fields.push(None),
        }
    }
    fields
}
