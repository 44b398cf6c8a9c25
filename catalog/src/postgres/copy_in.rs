//! Arrow batches into a table by binary COPY.
//!
//! The encoder is chosen by the Arrow type, so the target column must have the matching PostgreSQL type: COPY converts
//! nothing. An instant and a timestamp have the same wire form, microseconds since 2000, so one encoder serves both.

use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use futures::SinkExt;
use tokio_postgres::Client;

use super::{numeric, quote_identifier, server_error};
use crate::source::{PG_TYPE_KEY, SourceError, SourceErrorKind};

/// Microseconds between 1970-01-01 and 2000-01-01.
const EPOCH_MICROS: i64 = 946_684_800_000_000;
/// Days between them.
const EPOCH_DAYS: i32 = 10_957;
/// Bytes sent at once.
const PORTION: usize = 64 * 1024;

/// Loads batches into a table and returns the number of rows the server wrote.
///
/// `qualified_table` is inserted as it is: quote it with [`quote_identifier`]. The batches' column names name the
/// target columns. Nothing is committed here: run it inside the caller's transaction, or the statement is its own.
///
/// # Errors
/// `Unsupported` for a type COPY cannot carry, `Data` for a value outside the target's range, otherwise the
/// server's refusal. A dropped future aborts the statement. After an error the transaction is lost; on an embedded
/// server the connection is, too: drop the lease, do not release it.
pub async fn copy_in(
    client: &Client,
    qualified_table: &str,
    batches: &[RecordBatch],
) -> Result<u64, SourceError> {
    let loaded = load(client, qualified_table, batches).await;
    if loaded.is_err() {
        // The embedded server answers a failed COPY with one ReadyForQuery too many (pglite-oxide 0.5.1), which
        // would answer the next statement in its stead. Left alone, the driver closes the connection for it.
        let patience = Instant::now() + Duration::from_millis(200);
        while !client.is_closed() && Instant::now() < patience {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    loaded
}

async fn load(client: &Client, qualified_table: &str, batches: &[RecordBatch]) -> Result<u64, SourceError> {
    let Some(first) = batches.first() else { return Ok(0) };
    let columns: Vec<String> =
        first.schema().fields().iter().map(|field| quote_identifier(field.name())).collect();
    let statement = format!("COPY {qualified_table} ({}) FROM STDIN (FORMAT binary)", columns.join(", "));
    let refused = |error| server_error(None, "load rows", error);
    let mut sink = pin!(client.copy_in::<_, Bytes>(&statement).await.map_err(refused)?);
    let mut out = b"PGCOPY\n\xff\r\n\0".to_vec();
    out.extend([0; 8]);
    for batch in batches {
        if batch.schema().fields() != first.schema().fields() {
            return Err(unsupported("batches with different columns"));
        }
        let fields = i16::try_from(batch.num_columns())
            .map_err(|_| unsupported(&format!("{} columns", batch.num_columns())))?;
        let mut encoders = Vec::with_capacity(batch.num_columns());
        for (field, column) in first.schema().fields().iter().zip(batch.columns()) {
            let json = field.metadata().get(PG_TYPE_KEY).is_some_and(|ty| ty == "jsonb");
            encoders.push(encoder(column, json)?);
        }
        for row in 0..batch.num_rows() {
            out.extend(fields.to_be_bytes());
            for (column, encode) in batch.columns().iter().zip(&encoders) {
                if column.is_null(row) {
                    out.extend((-1_i32).to_be_bytes());
                    continue;
                }
                let at = out.len();
                out.extend([0; 4]);
                encode(row, &mut out)?;
                let length = i32::try_from(out.len() - at - 4)
                    .map_err(|_| SourceError::new(SourceErrorKind::Data, "a value is larger than 2 GiB"))?;
                if let Some(slot) = out.get_mut(at..at + 4) {
                    slot.copy_from_slice(&length.to_be_bytes());
                }
            }
            if out.len() >= PORTION {
                sink.send(Bytes::from(std::mem::take(&mut out))).await.map_err(refused)?;
            }
        }
    }
    out.extend((-1_i16).to_be_bytes());
    sink.send(Bytes::from(out)).await.map_err(refused)?;
    sink.as_mut().finish().await.map_err(refused)
}

fn unsupported(what: &str) -> SourceError {
    SourceError::new(SourceErrorKind::Unsupported, format!("cannot load {what} into PostgreSQL"))
}

type Encode<'a> = Box<dyn Fn(usize, &mut Vec<u8>) -> Result<(), SourceError> + Send + 'a>;

/// What writes one value of a column; never called for NULL.
fn encoder(column: &ArrayRef, json: bool) -> Result<Encode<'_>, SourceError> {
    let range = || SourceError::new(SourceErrorKind::Data, "a date or time is outside PostgreSQL's range");
    let text = move |value: &str, out: &mut Vec<u8>| {
        if value.contains('\0') {
            return Err(SourceError::new(
                SourceErrorKind::Data,
                "a text contains a NUL, which PostgreSQL refuses",
            ));
        }
        if json {
            out.push(1);
        }
        out.extend(value.as_bytes());
        Ok(())
    };
    macro_rules! bytes_of {
        ($ty:ty) => {{
            let values = column.as_primitive::<$ty>();
            Box::new(move |row, out: &mut Vec<u8>| {
                out.extend(values.value(row).to_be_bytes());
                Ok(())
            })
        }};
    }
    Ok(match column.data_type() {
        DataType::Boolean => {
            let values = column.as_boolean();
            Box::new(move |row, out| {
                out.push(u8::from(values.value(row)));
                Ok(())
            })
        }
        DataType::Int8 => {
            let values = column.as_primitive::<Int8Type>();
            Box::new(move |row, out| {
                out.extend(i16::from(values.value(row)).to_be_bytes());
                Ok(())
            })
        }
        DataType::Int16 => bytes_of!(Int16Type),
        DataType::Int32 => bytes_of!(Int32Type),
        DataType::Int64 => bytes_of!(Int64Type),
        DataType::Float32 => bytes_of!(Float32Type),
        DataType::Float64 => bytes_of!(Float64Type),
        DataType::Time64(TimeUnit::Microsecond) => bytes_of!(Time64MicrosecondType),
        DataType::Decimal128(_, scale) => {
            let (values, scale) = (column.as_primitive::<Decimal128Type>(), *scale);
            Box::new(move |row, out| {
                numeric::encode(&values.value(row).to_string(), scale, out);
                Ok(())
            })
        }
        DataType::Decimal256(_, scale) => {
            let (values, scale) = (column.as_primitive::<Decimal256Type>(), *scale);
            Box::new(move |row, out| {
                numeric::encode(&values.value(row).to_string(), scale, out);
                Ok(())
            })
        }
        DataType::Utf8 => {
            let values = column.as_string::<i32>();
            Box::new(move |row, out| text(values.value(row), out))
        }
        DataType::LargeUtf8 => {
            let values = column.as_string::<i64>();
            Box::new(move |row, out| text(values.value(row), out))
        }
        DataType::Utf8View => {
            let values = column.as_string_view();
            Box::new(move |row, out| text(values.value(row), out))
        }
        DataType::Binary => {
            let values = column.as_binary::<i32>();
            Box::new(move |row, out| {
                out.extend(values.value(row));
                Ok(())
            })
        }
        DataType::FixedSizeBinary(_) => {
            let values = column.as_fixed_size_binary();
            Box::new(move |row, out| {
                out.extend(values.value(row));
                Ok(())
            })
        }
        DataType::Date32 => {
            let values = column.as_primitive::<Date32Type>();
            Box::new(move |row, out| {
                let days = match values.value(row) {
                    infinite @ (i32::MIN | i32::MAX) => infinite,
                    days => days.checked_sub(EPOCH_DAYS).ok_or_else(range)?,
                };
                out.extend(days.to_be_bytes());
                Ok(())
            })
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let values = column.as_primitive::<TimestampMicrosecondType>();
            Box::new(move |row, out| {
                let micros = match values.value(row) {
                    infinite @ (i64::MIN | i64::MAX) => infinite,
                    micros => micros.checked_sub(EPOCH_MICROS).ok_or_else(range)?,
                };
                out.extend(micros.to_be_bytes());
                Ok(())
            })
        }
        other => return Err(unsupported(&format!("values of type {other}"))),
    })
}
