//! `system.fragments`: what statements asked of sources, how much that was estimated to be, was, and need have been.
//!
//! A user sees the reads of the own statements: those that run, and the last ones that ended. A read that repeats
//! literals of its statement shows them to nobody else.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use datafusion::arrow::array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit};

use super::{SystemTable, column};
use crate::engine::{Read, RunningQueries};
use crate::error::QueryError;
use crate::session::Identity;

/// The reads of sources as a table.
#[derive(Debug)]
pub(super) struct Fragments(Arc<RunningQueries>);

impl Fragments {
    pub(super) fn new(running: Arc<RunningQueries>) -> Self {
        Self(running)
    }
}

#[async_trait]
impl SystemTable for Fragments {
    fn name(&self) -> &str {
        "fragments"
    }

    fn comment(&self) -> Option<&str> {
        Some("what the own statements asked of sources: those that run, and the last that ended")
    }

    fn schema(&self) -> SchemaRef {
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        Arc::new(Schema::new(vec![
            column("query_id", DataType::Utf8, false, "identifier of the execution"),
            column("started_at", time, false, "when the statement began"),
            column("state", DataType::Utf8, false, "planning or running; else done, failed or dropped"),
            column("fragment", DataType::Int32, false, "number of the read in its statement, from 1"),
            column("source", DataType::Utf8, false, "name of the source"),
            column("sent", DataType::Utf8, false, "what is sent to it; long texts are cut"),
            column(
                "verdicts",
                DataType::Utf8,
                true,
                "what was rewritten, sent as a superset or kept here, and why; NULL if all was sent as it stands",
            ),
            column(
                "runtime_filter",
                DataType::Utf8,
                true,
                "what joins told the source while the statement ran",
            ),
            column("est_rows", DataType::Int64, true, "rows that were expected; NULL if nobody counted"),
            column("est_bytes", DataType::Int64, true, "bytes that were expected, in memory"),
            column("rows", DataType::Int64, true, "rows that came so far; NULL if it was not asked"),
            column("bytes", DataType::Int64, true, "bytes that came so far, in memory"),
            column(
                "minimal_rows",
                DataType::Int64,
                true,
                "rows that were needed of them; NULL while it runs, and where counts do not prove it",
            ),
            column(
                "minimal_bytes",
                DataType::Int64,
                true,
                "bytes of these rows in the columns that somebody looked at, at the mean of what came",
            ),
            column("first_byte_ms", DataType::Float64, true, "milliseconds from asking to the first answer"),
            column(
                "ms",
                DataType::Float64,
                true,
                "milliseconds from asking to the last row, or until nobody wanted more; NULL while it runs",
            ),
            column(
                "retries",
                DataType::Int64,
                false,
                "how often it was asked for once more because it failed before anything came",
            ),
            column("as_of", DataType::Utf8, true, "the version that was read"),
        ]))
    }

    async fn rows(&self, viewer: &Identity) -> Result<RecordBatch, QueryError> {
        let reads = self.0.reads(&viewer.user);
        let text = |value: &dyn Fn(&Read) -> Option<String>| -> ArrayRef {
            Arc::new(reads.iter().map(value).collect::<StringArray>())
        };
        let number = |value: &dyn Fn(&Read) -> Option<usize>| -> ArrayRef {
            let whole = |read: &Read| value(read).map(|value| i64::try_from(value).unwrap_or(i64::MAX));
            Arc::new(reads.iter().map(whole).collect::<Int64Array>())
        };
        let started = reads.iter().map(|read| read.started_at.timestamp_micros());
        let numbers = reads.iter().map(|read| i32::try_from(read.number).unwrap_or(i32::MAX));
        let milliseconds = |value: &dyn Fn(&Read) -> Option<Duration>| -> ArrayRef {
            let all = reads.iter().map(|read| value(read).map(|took| took.as_secs_f64() * 1e3));
            Arc::new(all.collect::<Float64Array>())
        };
        let columns: Vec<ArrayRef> = vec![
            text(&|read| Some(read.query.to_string())),
            Arc::new(TimestampMicrosecondArray::from_iter_values(started).with_timezone("UTC")),
            text(&|read| Some(read.state.clone())),
            Arc::new(Int32Array::from_iter_values(numbers)),
            text(&|read| Some(read.figures.source.to_string())),
            text(&|read| Some(read.figures.sent.clone())),
            text(&|read| Some(read.figures.verdicts.clone()).filter(|text| !text.is_empty())),
            text(&|read| read.figures.runtime.clone()),
            number(&|read| read.figures.estimated.rows),
            number(&|read| read.figures.estimated.bytes),
            number(&|read| read.figures.actual.rows),
            number(&|read| read.figures.actual.bytes),
            number(&|read| read.figures.minimal.rows),
            number(&|read| read.figures.minimal.bytes),
            milliseconds(&|read| read.figures.first_byte),
            milliseconds(&|read| read.figures.took),
            number(&|read| Some(read.figures.retries)),
            text(&|read| read.figures.as_of.clone()),
        ];
        RecordBatch::try_new(self.schema(), columns).map_err(|error| QueryError::internal(&error))
    }
}
