//! The ledger: schema `portolan` of the warehouse, one row per run, hop, refusal count and load batch.
//!
//! Rows of the star's load are inserted in the load's own transaction. The ledger tells what was done; what must be
//! done is decided from the lake's own log, so losing the ledger loses history, never data.

use portolan_catalog::postgres::{MigrationStep, Migrations, PostgresPool, quote_literal};

use crate::error::Result;
use crate::report::RunReport;

/// The schema's steps. A warehouse from before there were steps has the tables, and is adopted as it is.
const MIGRATIONS: Migrations = Migrations {
    schema: "portolan",
    steps: &[
        MigrationStep {
            version: 1,
            description: "ledger",
            sql: include_str!("../migrations/0001_ledger.sql"),
        },
        MigrationStep {
            version: 2,
            description: "written refusals",
            sql: include_str!("../migrations/0002_written_refusals.sql"),
        },
    ],
};

/// Brings the ledger's schema to this version.
pub(crate) async fn ensure(pool: &PostgresPool) -> Result<()> {
    Ok(pool.migrate(&MIGRATIONS).await?)
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
