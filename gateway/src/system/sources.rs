//! `system.sources`: the stores the gateway reads and how they do. It tells what is known and contacts nobody, so that
//! asking what is wrong never waits for what is wrong.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit};
use portolan_catalog::Catalog;
use portolan_catalog::registry::{SlotUse, SourceStatus};
use portolan_catalog::source::HealthState;

use super::{SystemTable, column};
use crate::error::QueryError;
use crate::session::Identity;

/// The catalog's sources as a table.
#[derive(Debug)]
pub(super) struct Sources(pub(super) Arc<Catalog>);

fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn state(state: HealthState) -> &'static str {
    match state {
        HealthState::Unknown => "unknown",
        HealthState::Up => "up",
        HealthState::Degraded => "degraded",
        HealthState::Down => "down",
    }
}

/// What to do about a source that is down when its error does not say.
fn hint(status: &SourceStatus) -> Option<String> {
    let told = status.health.hint.clone();
    if told.is_some() || status.health.state != HealthState::Down {
        return told;
    }
    let name = &status.name;
    Some(format!(
        "check the settings of source \"{name}\" and that the store runs; it is tried again by itself"
    ))
}

#[async_trait]
impl SystemTable for Sources {
    fn name(&self) -> &str {
        "sources"
    }

    fn comment(&self) -> Option<&str> {
        Some("stores the gateway reads, and how they do")
    }

    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(vec![
            column("name", DataType::Utf8, false, "name of the source"),
            column("kind", DataType::Utf8, false, "kind of store: postgres, lake, files or rest"),
            column("schemas", DataType::Utf8, false, "SQL schemas its tables are in, separated by commas"),
            column("state", DataType::Utf8, false, "unknown, up, degraded or down, by the last contact"),
            column("since", time(), false, "since when it has been in that state"),
            column("tables", DataType::Int64, true, "tables last seen; NULL if never"),
            column(
                "breaker",
                DataType::Utf8,
                false,
                "closed, open (calls are refused) or half-open (one is tried)",
            ),
            column("last_ok", time(), true, "the last contact that succeeded"),
            column("version", DataType::Utf8, true, "the store's own version, if it tells one"),
            column("last_error", DataType::Utf8, true, "error of the last contact; NULL if it succeeded"),
            column("hint", DataType::Utf8, true, "what to do about it"),
            column("tables_read_at", time(), true, "when its tables were listed last; NULL if never"),
            column(
                "drift",
                DataType::Utf8,
                true,
                "tables and columns last found to be gone or of another type; NULL if none ever was",
            ),
            column("drift_since", time(), true, "when that was noticed"),
            column(
                "misdeclared",
                DataType::Utf8,
                true,
                "what of its columns and tables in the port's file fits nothing the store has, or cannot be kept",
            ),
            column(
                "mismatches",
                DataType::Int64,
                false,
                "values that became NULL because they did not fit their column, as its declaration allows",
            ),
            column(
                "stale_from",
                time(),
                true,
                "when the data were read that were last given in its place since it is down; NULL if none were",
            ),
            column(
                "slots",
                DataType::Int64,
                true,
                "connections that it lends to statements; NULL if it lends none",
            ),
            column("slots_used", DataType::Int64, true, "how many of them are lent now"),
            column("queued", DataType::Int64, true, "statements that wait for one of them now"),
            column("rows", DataType::Int64, false, "rows that came from it to this process, since its start"),
            column("bytes", DataType::Int64, false, "bytes that these rows took in memory"),
            column(
                "kills_verified",
                DataType::Int64,
                true,
                "statements stopped there before their end that it then showed to have ended; NULL where it cannot show that",
            ),
            column(
                "kills_failed",
                DataType::Int64,
                true,
                "statements that were to be stopped there and whose end was not seen; NULL where none is ever stopped",
            ),
        ]))
    }

    async fn rows(&self, _viewer: &Identity) -> Result<RecordBatch, QueryError> {
        let rows = self.0.statuses();
        let text = |value: &dyn Fn(&SourceStatus) -> String| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(rows.iter().map(value)))
        };
        let maybe = |value: &dyn Fn(&SourceStatus) -> Option<String>| -> ArrayRef {
            Arc::new(StringArray::from_iter(rows.iter().map(value)))
        };
        let instants = |value: &dyn Fn(&SourceStatus) -> Option<DateTime<Utc>>| -> ArrayRef {
            let micros: TimestampMicrosecondArray =
                rows.iter().map(|row| value(row).map(|at| at.timestamp_micros())).collect();
            Arc::new(micros.with_timezone("UTC"))
        };
        let since = rows.iter().map(|row| row.health.since.timestamp_micros());
        let tables: Int64Array =
            rows.iter().map(|row| row.tables.and_then(|count| i64::try_from(count).ok())).collect();
        let number = |value: &dyn Fn(&SourceStatus) -> Option<u64>| -> ArrayRef {
            let whole = |row: &SourceStatus| value(row).map(|value| i64::try_from(value).unwrap_or(i64::MAX));
            Arc::new(rows.iter().map(whole).collect::<Int64Array>())
        };
        let slots = |value: &dyn Fn(SlotUse) -> usize| {
            number(&|row| row.slots.map(|slots| u64::try_from(value(slots)).unwrap_or(u64::MAX)))
        };
        let columns: Vec<ArrayRef> = vec![
            text(&|row| row.name.to_string()),
            text(&|row| row.kind.to_string()),
            text(&|row| row.schemas.join(",")),
            text(&|row| state(row.health.state).to_owned()),
            Arc::new(TimestampMicrosecondArray::from_iter_values(since).with_timezone("UTC")),
            Arc::new(tables),
            text(&|row| row.health.breaker.to_string()),
            instants(&|row| row.health.last_ok),
            maybe(&|row| row.health.server_version.clone()),
            maybe(&|row| row.health.error.clone()),
            maybe(&hint),
            instants(&|row| row.tables_read_at),
            maybe(&|row| {
                let told = row.drift.as_ref()?.changes.iter().map(ToString::to_string);
                Some(told.collect::<Vec<_>>().join("; "))
            }),
            instants(&|row| row.drift.as_ref().map(|drift| drift.at)),
            maybe(&|row| (!row.misdeclared.is_empty()).then(|| row.misdeclared.join("; "))),
            number(&|row| Some(row.mismatches)),
            instants(&|row| row.health.stale_from),
            slots(&|slots| slots.all),
            slots(&|slots| slots.used),
            slots(&|slots| slots.queued),
            number(&|row| Some(row.rows)),
            number(&|row| Some(row.bytes)),
            number(&|row| row.kills.verified),
            number(&|row| row.kills.failed),
        ];
        RecordBatch::try_new(self.schema(), columns).map_err(|error| QueryError::internal(&error))
    }
}
