//! The ledger as tables a user may read: runs, hops and refusals, newest first.
//!
//! Reads only, from the warehouse's schema `portolan`; nothing here knows how the rows are shown.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use portolan_catalog::postgres::{PostgresPool, server_error};
use portolan_catalog::source::COMMENT_KEY;

use crate::contract::instant;
use crate::error::Result;

/// Most rows shown of one table.
const MOST: u32 = 10_000;

/// One table of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LedgerView {
    /// One row per run and pipeline.
    Runs,
    /// One row per run and table written, with the fate of every row read.
    Ledger,
    /// One row per run, table and rule that met rows.
    Quarantine,
}

type Columns = &'static [(&'static str, &'static str, DataType)];

impl LedgerView {
    /// All views.
    pub const ALL: [Self; 3] = [Self::Runs, Self::Ledger, Self::Quarantine];

    /// The view's table name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Runs => "runs",
            Self::Ledger => "ledger",
            Self::Quarantine => "quarantine",
        }
    }

    const fn columns(self) -> Columns {
        const RUNS: Columns = &[
            ("run_id", "Identity of the run.", DataType::Utf8),
            ("pipeline", "Pipeline.", DataType::Utf8),
            ("data_interval", "Half-open data interval, UTC.", DataType::Utf8),
            ("status", "ok, skipped when everything was up to date, or failed.", DataType::Utf8),
            ("started_at", "When it was recorded, UTC.", DataType::Null),
            ("duration_ms", "Wall time, ms.", DataType::Int64),
            ("rows_read", "Rows read on all hops.", DataType::Int64),
            ("rows_written", "Rows written on all hops.", DataType::Int64),
            ("rows_quarantined", "Rows refused.", DataType::Int64),
            ("batch_id", "The star's load batch, if this run published.", DataType::Int64),
            ("error_class", "transient, unknown, data, schema, config or invariant.", DataType::Utf8),
            ("error", "What failed, and what to do about it.", DataType::Utf8),
        ];
        const LEDGER: Columns = &[
            ("run_id", "Identity of the run.", DataType::Utf8),
            ("pipeline", "Pipeline.", DataType::Utf8),
            ("hop", "bronze, silver, gold or star.", DataType::Utf8),
            ("table_name", "Table written.", DataType::Utf8),
            ("data_interval", "Half-open data interval, UTC.", DataType::Utf8),
            ("version", "Delta version, or load batch of the star.", DataType::Int64),
            ("changed", "False when the table was up to date.", DataType::Boolean),
            ("rows_read", "Sum of the six fates.", DataType::Int64),
            ("rows_written", "Rows in the output.", DataType::Int64),
            ("superseded", "Rows replaced by a newer one of the same key.", DataType::Int64),
            ("deduplicated", "Rows equal to one that was kept.", DataType::Int64),
            ("filtered", "Rows left out by declaration.", DataType::Int64),
            ("quarantined", "Rows refused.", DataType::Int64),
            ("recorded_at", "When, UTC.", DataType::Null),
        ];
        const QUARANTINE: Columns = &[
            ("run_id", "Identity of the run.", DataType::Utf8),
            ("pipeline", "Pipeline.", DataType::Utf8),
            ("table_name", "Table the rows were meant for.", DataType::Utf8),
            ("rule_id", "Rule that met them.", DataType::Utf8),
            ("rows", "How many.", DataType::Int64),
            ("written", "True when the rule only warns: the rows were written.", DataType::Boolean),
            ("recorded_at", "When, UTC.", DataType::Null),
        ];
        match self {
            Self::Runs => RUNS,
            Self::Ledger => LEDGER,
            Self::Quarantine => QUARANTINE,
        }
    }

    /// The view's columns, with comments.
    #[must_use]
    pub fn schema(self) -> SchemaRef {
        let fields: Vec<Field> = self
            .columns()
            .iter()
            .map(|(name, comment, kind)| {
                let kind = if *kind == DataType::Null { instant() } else { kind.clone() };
                Field::new(*name, kind, true)
                    .with_metadata(HashMap::from([(COMMENT_KEY.to_owned(), (*comment).to_owned())]))
            })
            .collect();
        Arc::new(Schema::new(fields))
    }

    /// The view's rows now, newest first, at most ten thousand.
    ///
    /// # Errors
    /// The warehouse's failure.
    pub async fn rows(self, pool: &PostgresPool) -> Result<RecordBatch> {
        let names: Vec<&str> = self.columns().iter().map(|(name, _, _)| *name).collect();
        let newest = if self == Self::Runs { "started_at" } else { "recorded_at" };
        let sql = format!(
            "SELECT {} FROM portolan.{} ORDER BY {newest} DESC, run_id, pipeline LIMIT {MOST}",
            names.join(", "),
            self.name()
        );
        let lease = pool.lease().await?;
        let rows =
            lease.query(&sql, &[]).await.map_err(|error| server_error(None, "read the ledger", error))?;
        lease.release();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(names.len());
        for (index, (_, _, kind)) in self.columns().iter().enumerate() {
            columns.push(match kind {
                DataType::Int64 => {
                    Arc::new(rows.iter().map(|row| row.get::<_, Option<i64>>(index)).collect::<Int64Array>())
                }
                DataType::Boolean => Arc::new(
                    rows.iter().map(|row| row.get::<_, Option<bool>>(index)).collect::<BooleanArray>(),
                ),
                DataType::Utf8 => Arc::new(
                    rows.iter().map(|row| row.get::<_, Option<String>>(index)).collect::<StringArray>(),
                ),
                _ => {
                    let times = rows.iter().map(|row| row.get::<_, Option<DateTime<Utc>>>(index));
                    let times = times.map(|at| at.map(|at| at.timestamp_micros()));
                    Arc::new(times.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
                }
            });
        }
        Ok(RecordBatch::try_new(self.schema(), columns)?)
    }
}
