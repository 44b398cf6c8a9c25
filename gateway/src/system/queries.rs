//! `system.queries`: the statements that run now.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use datafusion::arrow::array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit};

use super::{SystemTable, column};
use crate::engine::{RunningQueries, RunningQuery};
use crate::error::QueryError;
use crate::session::Identity;

/// The running statements as a table.
#[derive(Debug)]
pub(super) struct Queries(Arc<RunningQueries>);

impl Queries {
    pub(super) fn new(running: Arc<RunningQueries>) -> Self {
        Self(running)
    }
}

#[async_trait]
impl SystemTable for Queries {
    fn name(&self) -> &str {
        "queries"
    }

    fn comment(&self) -> Option<&str> {
        Some("statements that run now; a user sees the own ones")
    }

    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![
            column("query_id", DataType::Utf8, false, "identifier of this execution"),
            column("pid", DataType::Int32, false, "pg_backend_pid() of the connection"),
            column("username", DataType::Utf8, false, "who runs it"),
            column("protocol", DataType::Utf8, false, "postgres, flight or internal"),
            column("application_name", DataType::Utf8, false, "the client's application"),
            column("state", DataType::Utf8, false, "planning or running"),
            column(
                "started_at",
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
                false,
                "when execution began",
            ),
            column("elapsed_ms", DataType::Float64, false, "milliseconds since then"),
            column(
                "plan_ms",
                DataType::Float64,
                true,
                "milliseconds from its start until it was planned; NULL while it is",
            ),
            column("exec_ms", DataType::Float64, true, "milliseconds since it was planned; NULL before"),
            column("rows", DataType::Int64, false, "rows produced so far"),
            column(
                "spilled_bytes",
                DataType::Int64,
                true,
                "bytes written to disk for want of memory so far; NULL before it runs, and where workers do parts of it",
            ),
            column("as_of", DataType::Utf8, false, "versions of the sources read so far"),
            column("query", DataType::Utf8, false, "the client's text"),
        ]))
    }

    async fn rows(&self, viewer: &Identity) -> Result<RecordBatch, QueryError> {
        let queries: Vec<_> =
            self.0.list().into_iter().filter(|query| query.identity.user == viewer.user).collect();
        let now = chrono::Utc::now();
        let times: Vec<_> = queries.iter().map(|query| query.times()).collect();
        let milliseconds = |took: Duration| took.as_secs_f64() * 1e3;
        let spilled = |query: &RunningQuery| {
            query.receipt.spilled().map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX))
        };
        let text = |values: Vec<String>| Arc::new(StringArray::from(values)) as ArrayRef;
        let columns: Vec<ArrayRef> = vec![
            text(queries.iter().map(|query| query.query.to_string()).collect()),
            Arc::new(Int32Array::from_iter_values(queries.iter().map(|query| query.identity.pid))),
            text(queries.iter().map(|query| query.identity.user.clone()).collect()),
            text(queries.iter().map(|query| query.identity.protocol.to_owned()).collect()),
            text(queries.iter().map(|query| query.application.clone()).collect()),
            text(queries.iter().map(|query| query.state().to_string()).collect()),
            Arc::new(
                TimestampMicrosecondArray::from_iter_values(
                    queries.iter().map(|query| query.started_at.timestamp_micros()),
                )
                .with_timezone("UTC"),
            ),
            Arc::new(Float64Array::from_iter_values(queries.iter().map(|query| {
                let elapsed = (now - query.started_at).num_microseconds().unwrap_or_default();
                i32::try_from(elapsed).map_or(f64::from(i32::MAX), f64::from) / 1e3
            }))),
            Arc::new(times.iter().map(|times| times.planning.map(milliseconds)).collect::<Float64Array>()),
            Arc::new(times.iter().map(|times| times.running.map(milliseconds)).collect::<Float64Array>()),
            Arc::new(Int64Array::from_iter_values(
                queries.iter().map(|query| i64::try_from(query.receipt.rows()).unwrap_or(i64::MAX)),
            )),
            Arc::new(queries.iter().map(|query| spilled(query.as_ref())).collect::<Int64Array>()),
            text(queries.iter().map(|query| query.receipt.as_of().to_string()).collect()),
            text(queries.iter().map(|query| query.sql.to_string()).collect()),
        ];
        RecordBatch::try_new(self.schema(), columns).map_err(|error| QueryError::internal(&error))
    }
}
