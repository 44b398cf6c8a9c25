//! The ledger: schema `portolan` of the warehouse, one row per run, hop, refusal count and load batch.
//!
//! Rows of the star's load are inserted in the load's own transaction. The ledger tells what was done; what must be
//! done is decided from the lake's own log, so losing the ledger loses history, never data.

use portolan_catalog::postgres::{PostgresPool, quote_literal, server_error};

use crate::error::Result;
use crate::report::RunReport;

/// Statements that create the schema, each idempotent.
pub(crate) const DDL: &str = "
CREATE SCHEMA IF NOT EXISTS portolan;
CREATE TABLE IF NOT EXISTS portolan.runs (
  run_id text NOT NULL, pipeline text NOT NULL, data_interval text NOT NULL, status text NOT NULL,
  started_at timestamptz NOT NULL, duration_ms bigint NOT NULL, rows_read bigint NOT NULL, rows_written bigint NOT NULL,
  rows_quarantined bigint NOT NULL, batch_id bigint, error_class text, error text, PRIMARY KEY (run_id, pipeline));
CREATE TABLE IF NOT EXISTS portolan.ledger (
  run_id text NOT NULL, pipeline text NOT NULL, hop text NOT NULL, table_name text NOT NULL, data_interval text NOT NULL,
  version bigint NOT NULL, changed boolean NOT NULL, rows_read bigint NOT NULL, rows_written bigint NOT NULL,
  superseded bigint NOT NULL, deduplicated bigint NOT NULL, filtered bigint NOT NULL, quarantined bigint NOT NULL,
  recorded_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (run_id, table_name, hop),
  CHECK (rows_read = rows_written + superseded + deduplicated + filtered + quarantined));
CREATE TABLE IF NOT EXISTS portolan.quarantine (
  run_id text NOT NULL, pipeline text NOT NULL, table_name text NOT NULL, rule_id text NOT NULL, rows bigint NOT NULL,
  recorded_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (run_id, table_name, rule_id));
ALTER TABLE portolan.quarantine ADD COLUMN IF NOT EXISTS written boolean NOT NULL DEFAULT false;
CREATE TABLE IF NOT EXISTS portolan.load_batch (
  batch_id bigint PRIMARY KEY, fingerprint text NOT NULL, run_id text NOT NULL, rows bigint NOT NULL,
  calls_changed bigint NOT NULL, loaded_at timestamptz NOT NULL DEFAULT now());
";

/// Creates the ledger's schema if it is not there.
pub(crate) async fn ensure(pool: &PostgresPool) -> Result<()> {
    let lease = pool.lease().await?;
    lease.batch_execute(DDL).await.map_err(|error| server_error(None, "create the ledger", error))?;
    lease.release();
    Ok(())
}

/// INSERT statements for runs, their hops and their refusals.
pub(crate) fn statements(reports: &[RunReport]) -> String {
    let mut sql = String::new();
    // Our own texts contain no NUL, which is all that has no literal.
    let text = |value: &str| quote_literal(value).unwrap_or_else(|| "''".to_owned());
    let nullable = |value: Option<String>| {
        value.map_or_else(|| "NULL".to_owned(), |value| text(&value.replace('\0', "")))
    };
    for run in reports {
        let counts = run.counts();
        let batch = run.batch_id.map_or_else(|| "NULL".to_owned(), |id| id.to_string());
        sql.push_str(&format!(
            "INSERT INTO portolan.runs (run_id, pipeline, data_interval, status, started_at, duration_ms, rows_read, \
             rows_written, rows_quarantined, batch_id, error_class, error) VALUES ({}, {}, {}, {}, now(), {}, {}, {}, {}, \
             {batch}, {}, {});\n",
            text(&run.run_id),
            text(&run.pipeline),
            text(&run.interval.text()),
            text(run.status),
            run.duration_ms,
            counts.read,
            counts.written,
            counts.quarantined,
            nullable(run.error.as_ref().map(|failure| failure.class.name().to_owned())),
            nullable(run.error.as_ref().map(|failure| match &failure.hint {
                Some(hint) => format!("{}; {hint}", failure.message),
                None => failure.message.clone(),
            })),
        ));
        for hop in &run.hops {
            let c = &hop.counts;
            sql.push_str(&format!(
                "INSERT INTO portolan.ledger (run_id, pipeline, hop, table_name, data_interval, version, changed, \
                 rows_read, rows_written, superseded, deduplicated, filtered, quarantined) VALUES ({}, {}, {}, {}, {}, \
                 {}, {}, {}, {}, {}, {}, {}, {});\n",
                text(&run.run_id),
                text(&run.pipeline),
                text(hop.hop),
                text(&hop.table),
                text(&run.interval.text()),
                hop.version,
                hop.changed,
                c.read,
                c.written,
                c.superseded,
                c.deduplicated,
                c.filtered,
                c.quarantined,
            ));
            let refused = hop.rules.iter().map(|(rule, rows)| (rule, rows, false));
            let written = hop.warnings.iter().map(|(rule, rows)| (rule, rows, true));
            for (rule, rows, written) in refused.chain(written) {
                sql.push_str(&format!(
                    "INSERT INTO portolan.quarantine (run_id, pipeline, table_name, rule_id, rows, written) VALUES ({}, \
                     {}, {}, {}, {rows}, {written});\n",
                    text(&run.run_id),
                    text(&run.pipeline),
                    text(&hop.table),
                    text(rule),
                ));
            }
        }
    }
    sql
}
