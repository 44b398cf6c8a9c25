//! `system.workers`: the workers that are configured and how each did when it was asked last. Reading it asks nobody.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit};

use super::{SystemTable, column};
use crate::error::QueryError;
use crate::scaleout::{Standing, WorkerStatus, Workers};
use crate::session::Identity;

/// The configured workers as a table; empty without any.
#[derive(Debug)]
pub(super) struct WorkerTable(pub(super) Option<Arc<Workers>>);

fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

const fn state(standing: Standing) -> &'static str {
    match standing {
        Standing::Unknown => "unknown",
        Standing::Up => "up",
        Standing::Down => "down",
    }
}

#[async_trait]
impl SystemTable for WorkerTable {
    fn name(&self) -> &str {
        "workers"
    }

    fn comment(&self) -> Option<&str> {
        Some("processes that may do parts of statements, and how they do")
    }

    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![
            column("url", DataType::Utf8, false, "where it listens"),
            column("state", DataType::Utf8, false, "unknown (not asked yet), up or down"),
            column("since", time(), false, "since when it has been in that state"),
            column("checked_at", time(), true, "when it was asked last; NULL if never"),
            column("version", DataType::Utf8, true, "the version it said it is"),
            column("failures", DataType::Int64, false, "statements that it failed since the gateway started"),
            column("last_error", DataType::Utf8, true, "what is wrong; NULL if nothing is"),
            column("hint", DataType::Utf8, true, "what to do about it"),
        ]))
    }

    async fn rows(&self, _viewer: &Identity) -> Result<RecordBatch, QueryError> {
        let rows = self.0.as_ref().map(|workers| workers.statuses()).unwrap_or_default();
        let text = |value: &dyn Fn(&WorkerStatus) -> Option<String>| -> ArrayRef {
            Arc::new(StringArray::from_iter(rows.iter().map(value)))
        };
        let times = |value: &dyn Fn(&WorkerStatus) -> Option<DateTime<Utc>>| -> ArrayRef {
            let micros: TimestampMicrosecondArray =
                rows.iter().map(|row| value(row).map(|at| at.timestamp_micros())).collect();
            Arc::new(micros.with_timezone("UTC"))
        };
        let failures = rows.iter().map(|row| i64::try_from(row.failures).unwrap_or(i64::MAX));
        let hint =
            "start it again with portolan worker, of the gateway's version; it is asked again by itself";
        let columns: Vec<ArrayRef> = vec![
            text(&|row| Some(row.url.to_string())),
            text(&|row| Some(state(row.standing).to_owned())),
            times(&|row| Some(row.since)),
            times(&|row| row.checked_at),
            text(&|row| row.version.clone()),
            Arc::new(Int64Array::from_iter_values(failures)),
            text(&|row| row.error.clone()),
            text(&|row| row.error.as_ref().map(|_| hint.to_owned())),
        ];
        RecordBatch::try_new(self.schema(), columns).map_err(|error| QueryError::internal(&error))
    }
}
