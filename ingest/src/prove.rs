//! Proof from what was recorded: the ledger's equations, and gold against the star by row digests.
//!
//! Reads only. A difference is class `invariant` and names the table; nothing is repaired here.

use datafusion::arrow::array::RecordBatch;
use portolan_catalog::lake::TablePath;
use portolan_catalog::postgres::server_error;

use crate::digest::row_hashes;
use crate::error::{IngestError, Result};
use crate::job::Ingest;

/// What a proof found to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Ledger rows whose equation holds.
    pub ledger_rows: u64,
    /// Fact rows that are equal in gold and in the star.
    pub fact_rows: u64,
}

impl Ingest {
    /// Proves the ledger's equations, and that the star's fact is gold's, row for row by digest.
    ///
    /// # Errors
    /// Class `invariant`, naming what differs; or the store's failure.
    pub async fn prove(&self) -> Result<Proof> {
        let Some(pool) = self.warehouse() else {
            return Err(IngestError::new(
                crate::ErrorClass::Config,
                "there is no warehouse to prove against",
            ));
        };
        let path = TablePath::new("gold", "fact_cargo_operation");
        let batches: Vec<RecordBatch> = self.read_published(&path).await?;
        let mut gold = (0_i64, 0_i128);
        for batch in &batches {
            for hash in row_hashes(batch)? {
                gold.0 += 1;
                gold.1 += i128::from(i64::from_le_bytes(hash.to_le_bytes()));
            }
        }
        let lease = pool.lease().await?;
        let row = lease
            .query_one(
                "SELECT (SELECT count(*) FROM star.fact_cargo_operation)::bigint, \
                 (SELECT coalesce(sum(src_hash::numeric), 0)::text FROM star.fact_cargo_operation), \
                 (SELECT count(*) FROM portolan.ledger)::bigint, \
                 (SELECT count(*) FROM portolan.ledger WHERE rows_read <> rows_written + superseded + deduplicated + \
                 filtered + quarantined)::bigint",
                &[],
            )
            .await
            .map_err(|error| server_error(None, "read the proof's figures", error))?;
        lease.release();
        let (rows, hashes): (i64, String) = (row.get(0), row.get(1));
        let (ledger, broken): (i64, i64) = (row.get(2), row.get(3));
        if broken != 0 {
            return Err(IngestError::invariant(format!(
                "{broken} rows of \"portolan.ledger\" do not add up"
            )));
        }
        if rows != gold.0 || hashes != gold.1.to_string() {
            return Err(IngestError::invariant(format!(
                "\"star.fact_cargo_operation\" is not \"gold.fact_cargo_operation\": {rows} rows against {}, or other values",
                gold.0
            ))
            .with_hint("run ingest again: a changed call is loaded whole"));
        }
        Ok(Proof {
            ledger_rows: u64::try_from(ledger).unwrap_or_default(),
            fact_rows: u64::try_from(rows).unwrap_or_default(),
        })
    }
}
