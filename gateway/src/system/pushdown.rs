//! `system.pushdown`: what each source is trusted to evaluate, what that trust rests on, and since when.
//!
//! The rows are what the gate itself decides by. It contacts nobody: a source that was never reached has proved nothing,
//! and what one proved to an earlier process is shown with the time of then.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray, TimestampMicrosecondArray};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit};
use portolan_catalog::Catalog;
use portolan_catalog::federation::Capability;
use portolan_catalog::registry::{Cause, Quarantined};

use super::{SystemTable, column};
use crate::error::QueryError;
use crate::session::Identity;

/// The catalog's sources' capabilities as a table.
#[derive(Debug)]
pub(super) struct Pushdown(pub(super) Arc<Catalog>);

#[async_trait]
impl SystemTable for Pushdown {
    fn name(&self) -> &str {
        "pushdown"
    }

    fn comment(&self) -> Option<&str> {
        Some("constructs sources evaluate, and what the trust in them rests on")
    }

    fn schema(&self) -> SchemaRef {
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        Arc::new(Schema::new(vec![
            column("source", DataType::Utf8, false, "name of the source"),
            column("construct", DataType::Utf8, false, "operator, function or clause"),
            column("types", DataType::Utf8, false, "types of its operands"),
            column("collation", DataType::Utf8, true, "class of collation it holds for; NULL for any"),
            column("verdict", DataType::Utf8, false, "exact, rewrite, superset or keep"),
            column(
                "rewrite",
                DataType::Utf8,
                true,
                "the other words that are sent, or why it stays and when it is tried again",
            ),
            column(
                "evidence",
                DataType::Utf8,
                false,
                "rule, column fact or probe; audit or refusal where it was quarantined",
            ),
            column(
                "proven_at",
                time,
                true,
                "when a probe last proved it, or it was quarantined; NULL if nothing was asked",
            ),
            column("active", DataType::Boolean, false, "false while it is not proved, or was refuted"),
            column("mismatch", DataType::Utf8, true, "how the source's answer differed"),
        ]))
    }

    async fn rows(&self, _viewer: &Identity) -> Result<RecordBatch, QueryError> {
        let mut rows: Vec<(String, Capability)> = Vec::new();
        let mut lost: Vec<(String, Quarantined)> = Vec::new();
        for source in self.0.sources() {
            let capabilities = source.executor().capabilities();
            rows.extend(capabilities.into_iter().map(|row| (source.name().to_string(), row)));
            lost.extend(source.quarantined().into_iter().map(|row| (source.name().to_string(), row)));
        }
        let text = |value: &dyn Fn(&Capability) -> Option<String>| -> ArrayRef {
            Arc::new(StringArray::from_iter(rows.iter().map(|(_, row)| value(row))))
        };
        let of_lost = |value: &dyn Fn(&Quarantined) -> Option<String>| -> ArrayRef {
            Arc::new(StringArray::from_iter(lost.iter().map(|(_, row)| value(row))))
        };
        let proven: TimestampMicrosecondArray =
            rows.iter().map(|(_, row)| row.proven_at.map(|at| at.timestamp_micros())).collect();
        let active: BooleanArray = rows.iter().map(|(_, row)| Some(row.active)).collect();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(rows.iter().map(|(source, _)| source))),
            text(&|row| Some(row.construct.to_owned())),
            text(&|row| Some(row.types.to_owned())),
            text(&|row| row.collation.map(str::to_owned)),
            text(&|row| Some(row.verdict.to_owned())),
            text(&|row| row.rewrite.as_ref().map(ToString::to_string)),
            text(&|row| Some(row.evidence.as_str().to_owned())),
            Arc::new(proven.with_timezone("UTC")),
            Arc::new(active),
            text(&|row| row.mismatch.clone()),
        ];
        let trusted =
            RecordBatch::try_new(self.schema(), columns).map_err(|error| QueryError::internal(&error))?;
        let since = lost.iter().map(|(_, row)| row.since.timestamp_micros());
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(lost.iter().map(|(source, _)| source))),
            of_lost(&|row| Some(row.construct.clone())),
            of_lost(&|_| Some(String::new())),
            of_lost(&|_| None),
            of_lost(&|_| Some("keep".to_owned())),
            of_lost(&|row| Some(format!("quarantined: {}; {}", row.cause, row.release))),
            of_lost(&|row| Some(if row.cause == Cause::Audit { "audit" } else { "refusal" }.to_owned())),
            Arc::new(TimestampMicrosecondArray::from_iter_values(since).with_timezone("UTC")),
            Arc::new(BooleanArray::from(vec![false; lost.len()])),
            of_lost(&|row| Some(row.sample.clone())),
        ];
        let quarantined =
            RecordBatch::try_new(self.schema(), columns).map_err(|error| QueryError::internal(&error))?;
        concat_batches(&self.schema(), [&trusted, &quarantined]).map_err(|error| QueryError::internal(&error))
    }
}
