//! `system.answers`: the last answers, what they were made of and what is old about them.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use datafusion::arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit};

use super::{SystemTable, column};
use crate::engine::{AnswerRow, Answers};
use crate::error::QueryError;
use crate::session::Identity;

/// The last answers as a table.
#[derive(Debug)]
pub(super) struct AnswersTable(pub(super) Arc<Answers>);

fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

#[async_trait]
impl SystemTable for AnswersTable {
    fn name(&self) -> &str {
        "answers"
    }

    fn comment(&self) -> Option<&str> {
        Some("the last answers of this gateway and what they were made of; a user sees the own ones")
    }

    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![
            column("query_id", DataType::Utf8, false, "identifier of the execution"),
            column("ended_at", time(), false, "when its last row was out"),
            column("rows", DataType::Int64, false, "rows of the answer"),
            column("as_of", DataType::Utf8, false, "versions of the sources it was made of"),
            column(
                "stale_seconds",
                DataType::Float64,
                false,
                "age of its data when it was given, if it was given while a source was down; else 0",
            ),
            column("stale_sources", DataType::Utf8, true, "the sources that were down, separated by commas"),
            column(
                "stale_from",
                DataType::Utf8,
                true,
                "what stood in: answer (the same statement's of before), or the zone of a lake with copies",
            ),
            column("stale_read_at", time(), true, "when its oldest data were read at their source"),
            column("stale_reason", DataType::Utf8, true, "what kept the source from being read"),
            column(
                "not_kept",
                DataType::Utf8,
                true,
                "why it is not kept for the time when a source is down; NULL if it is",
            ),
            column("query", DataType::Utf8, false, "the client's text, at most its first 1000 characters"),
        ]))
    }

    async fn rows(&self, viewer: &Identity) -> Result<RecordBatch, QueryError> {
        let rows = self.0.of(&viewer.user);
        let text = |value: &dyn Fn(&AnswerRow) -> String| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(rows.iter().map(value)))
        };
        let maybe = |value: &dyn Fn(&AnswerRow) -> Option<String>| -> ArrayRef {
            Arc::new(StringArray::from_iter(rows.iter().map(value)))
        };
        let instants = |value: &dyn Fn(&AnswerRow) -> Option<DateTime<Utc>>| -> ArrayRef {
            let micros: TimestampMicrosecondArray =
                rows.iter().map(|row| value(row).map(|at| at.timestamp_micros())).collect();
            Arc::new(micros.with_timezone("UTC"))
        };
        let seconds = rows.iter().map(|row| row.stale.as_ref().map_or(0.0, |stale| stale.seconds()));
        let counts = rows.iter().map(|row| i64::try_from(row.rows).unwrap_or(i64::MAX));
        let columns: Vec<ArrayRef> = vec![
            text(&|row| row.query.to_string()),
            instants(&|row| Some(row.ended_at)),
            Arc::new(Int64Array::from_iter_values(counts)),
            text(&|row| row.as_of.to_string()),
            Arc::new(Float64Array::from_iter_values(seconds)),
            maybe(&|row| row.stale.as_ref().map(|stale| stale.sources.join(","))),
            maybe(&|row| row.stale.as_ref().map(|stale| stale.from.to_string())),
            instants(&|row| row.stale.as_ref().map(|stale| stale.read_at)),
            maybe(&|row| row.stale.as_ref().map(|stale| stale.reason.clone())),
            maybe(&|row| row.not_kept.clone()),
            text(&|row| row.sql.clone()),
        ];
        RecordBatch::try_new(self.schema(), columns).map_err(|error| QueryError::internal(&error))
    }
}
