//! Gold into the star: one PostgreSQL transaction with its load batch and its ledger rows.
//!
//! Changed calls are deleted and inserted whole, unchanged ones are not touched; a flag is never moved by UPDATE. A
//! load batch is named by what it loads, so loading the same again finds its batch and writes nothing. The assertions
//! run inside the transaction: when one fails, nobody ever saw the rows.

use std::sync::Arc;

use chrono::Utc;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{Decimal128Type, Field, Schema};
use portolan_catalog::postgres::{PoolLease, PostgresPool, copy_in, quote_identifier, server_error};
use portolan_catalog::star::{self, StarTable};

use crate::contract::Contract;
use crate::digest::row_hashes;
use crate::error::{IngestError, Result};
use crate::ledger;
use crate::report::{HopReport, Report, RunReport};

/// Schema of the star in the warehouse.
const SCHEMA: &str = "star";
/// Columns the load itself fills in.
const OWN: [&str; 3] = ["batch_id", "src_hash", "loaded_at"];

/// The contract of a star table's gold twin: all columns but those the load fills in.
pub(crate) fn contract(table: &str) -> Option<Contract> {
    let star = star::tables().into_iter().find(|star| star.name == table)?;
    let mut contract = Contract::of(&star.schema());
    for (column, declared) in contract.columns.iter_mut().zip(&star.columns) {
        column.kind = declared.arrow.clone();
    }
    contract.columns.retain(|column| !OWN.contains(&column.name.as_str()));
    Some(contract)
}

/// Creates the star if the warehouse has none.
pub(crate) async fn ensure(pool: &PostgresPool) -> Result<()> {
    let lease = pool.lease().await?;
    let refused = |error| server_error(None, "create the star", error);
    let found = lease
        .query_one("SELECT to_regclass('star.fact_cargo_operation') IS NOT NULL", &[])
        .await
        .map_err(refused)?;
    if !found.get::<_, bool>(0) {
        let script = format!("BEGIN;\n{};\nCOMMIT;", star::ddl(SCHEMA).join(";\n"));
        if let Err(error) = lease.batch_execute(&script).await {
            let error = server_error(None, "create the star", error);
            let _rolled_back = lease.batch_execute("ROLLBACK").await;
            return Err(error.into());
        }
    }
    lease.release();
    Ok(())
}

/// Whether a batch is the star's latest.
pub(crate) async fn is_loaded(pool: &PostgresPool, fingerprint: &str) -> Result<bool> {
    let lease = pool.lease().await?;
    let row = lease
        .query_opt(
            "SELECT fingerprint FROM portolan.load_batch ORDER BY loaded_at DESC, batch_id LIMIT 1",
            &[],
        )
        .await
        .map_err(|error| server_error(None, "read the load batches", error))?;
    lease.release();
    Ok(row.is_some_and(|row| row.get::<_, String>(0) == fingerprint))
}

/// Loads all five tables and records the reports in the same transaction. Gives the star's hops and the batch id.
pub(crate) async fn load(
    pool: &PostgresPool,
    gold: &[(String, Vec<RecordBatch>)],
    fingerprint: &str,
    reports: &mut [RunReport],
) -> Result<i64> {
    let stamp = Utc::now();
    let batch_id = star::surrogate_key("load_batch", fingerprint, stamp);
    let lease = pool.lease().await?;
    let outcome = Box::pin(transaction(&lease, gold, fingerprint, batch_id, reports)).await;
    if outcome.is_err() {
        let _rolled_back = lease.batch_execute("ROLLBACK").await;
    }
    outcome?;
    lease.release();
    Ok(batch_id)
}

async fn run(lease: &PoolLease, doing: &'static str, sql: &str) -> Result<()> {
    lease.batch_execute(sql).await.map_err(|error| {
        tracing::warn!(error = %error, detail = ?error.as_db_error(), doing, "the warehouse refused a statement");
        server_error(None, doing, error)
    })?;
    Ok(())
}

async fn transaction(
    lease: &PoolLease,
    gold: &[(String, Vec<RecordBatch>)],
    fingerprint: &str,
    batch_id: i64,
    reports: &mut [RunReport],
) -> Result<()> {
    run(lease, "begin the load", "BEGIN").await?;
    let tables = star::tables();
    let mut stale = Vec::new();
    let mut expected = (0_u64, 0_i128);
    let mut calls_changed = 0_i64;
    let mut hops = Vec::new();
    for table in &tables {
        let Some((_, batches)) = gold.iter().find(|(name, _)| name == table.name) else {
            return Err(IngestError::invariant(format!("no gold table publishes \"{}\"", table.name)));
        };
        let fact = table.name.starts_with("fact_");
        let rows: u64 = batches.iter().map(|batch| batch.num_rows() as u64).sum();
        let staged = if fact {
            expected = (rows, tonnes(batches)?);
            batches.iter().map(|batch| stamped(batch, batch_id)).collect::<Result<Vec<_>>>()?
        } else {
            batches.clone()
        };
        let staging = quote_identifier(&format!("stage_{}", table.name));
        let target = star::qualified(SCHEMA, table.name);
        let create = format!("CREATE TEMP TABLE {staging} (LIKE {target}) ON COMMIT DROP");
        run(lease, "create staging", &create).await?;
        copy_in(lease, &staging, &staged).await?;
        if fact {
            calls_changed = merge_fact(lease, table, &staging, &target).await?;
        } else {
            run(lease, "merge a dimension", &merge_dimension(table, &staging, &target)).await?;
            stale.push(format!(
                "DELETE FROM {target} d WHERE {key} >= 0 AND NOT EXISTS (SELECT 1 FROM {staging} s WHERE s.{key} = \
                 d.{key})",
                key = quote_identifier(table.primary_key)
            ));
        }
        let counts = Report { read: rows, written: rows, ..Report::default() };
        hops.push(HopReport {
            hop: "star",
            table: format!("star.{}", table.name),
            counts,
            version: batch_id,
            changed: true,
            rules: std::collections::BTreeMap::new(),
            warnings: std::collections::BTreeMap::new(),
        });
    }
    // Children first: the fact no longer refers to what is gone from gold.
    run(lease, "remove members that left gold", &stale.join(";\n")).await?;
    assertions(lease, expected).await?;
    if let Some(last) = reports.last_mut() {
        last.hops.extend(hops);
        last.batch_id = Some(batch_id);
        let batch = format!(
            "INSERT INTO portolan.load_batch (batch_id, fingerprint, run_id, rows, calls_changed) VALUES ({batch_id}, \
             '{fingerprint}', '{}', {}, {calls_changed});\n",
            last.run_id, expected.0
        );
        run(lease, "record the load", &format!("{batch}{}", ledger::statements(reports))).await?;
    }
    run(lease, "commit the load", "COMMIT").await?;
    run(lease, "analyze the fact", "ANALYZE star.fact_cargo_operation").await
}

/// Adds the columns the load fills in.
fn stamped(batch: &RecordBatch, batch_id: i64) -> Result<RecordBatch> {
    let rows = batch.num_rows();
    let hashes = row_hashes(batch)?;
    let hashes =
        Int64Array::from_iter_values(hashes.into_iter().map(|hash| i64::from_le_bytes(hash.to_le_bytes())));
    let now = Utc::now().timestamp_micros();
    let own: [ArrayRef; 3] = [
        Arc::new(Int64Array::from(vec![batch_id; rows])),
        Arc::new(hashes),
        Arc::new(TimestampMicrosecondArray::from(vec![now; rows]).with_timezone("UTC")),
    ];
    let mut fields: Vec<Field> = batch.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    let mut columns = batch.columns().to_vec();
    for (name, array) in OWN.into_iter().zip(own) {
        fields.push(Field::new(name, array.data_type().clone(), true));
        columns.push(array);
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// Changed members are updated before new ones come, so that a version closes before its successor opens.
fn merge_dimension(table: &StarTable, staging: &str, target: &str) -> String {
    let key = quote_identifier(table.primary_key);
    let names: Vec<String> = table.columns.iter().map(|column| quote_identifier(column.name)).collect();
    let list =
        |prefix: &str| names.iter().map(|name| format!("{prefix}{name}")).collect::<Vec<_>>().join(", ");
    format!(
        "UPDATE {target} t SET ({all}) = ROW({staged}) FROM {staging} s WHERE t.{key} = s.{key} AND ROW({existing}) IS \
         DISTINCT FROM ROW({staged});\nINSERT INTO {target} ({all}) SELECT {staged} FROM {staging} s WHERE NOT EXISTS \
         (SELECT 1 FROM {target} t WHERE t.{key} = s.{key})",
        all = list(""),
        staged = list("s."),
        existing = list("t."),
    )
}

async fn merge_fact(lease: &PoolLease, table: &StarTable, staging: &str, target: &str) -> Result<i64> {
    let all: Vec<String> = table.columns.iter().map(|column| quote_identifier(column.name)).collect();
    let all = all.join(", ");
    let sums = |from: &str| {
        format!(
            "SELECT port_call_id, count(*) AS n, sum(src_hash::numeric) AS h FROM {from} GROUP BY port_call_id"
        )
    };
    let sql = format!(
        "CREATE TEMP TABLE changed_call ON COMMIT DROP AS SELECT coalesce(a.port_call_id, b.port_call_id) AS port_call_id \
         FROM ({}) a FULL JOIN ({}) b USING (port_call_id) WHERE (a.n, a.h) IS DISTINCT FROM (b.n, b.h);\n\
         DELETE FROM {target} t USING changed_call c WHERE t.port_call_id = c.port_call_id;\n\
         INSERT INTO {target} ({all}) SELECT {staged} FROM {staging} s JOIN changed_call c USING (port_call_id)",
        sums(target),
        sums(staging),
        staged = table
            .columns
            .iter()
            .map(|c| format!("s.{}", quote_identifier(c.name)))
            .collect::<Vec<_>>()
            .join(", "),
    );
    run(lease, "merge the fact", &sql).await?;
    let row = lease
        .query_one("SELECT count(*) FROM changed_call", &[])
        .await
        .map_err(|error| server_error(None, "count changed calls", error))?;
    Ok(row.get(0))
}

/// Sum of tonnes in thousandths.
fn tonnes(batches: &[RecordBatch]) -> Result<i128> {
    let mut sum = 0;
    for batch in batches {
        let array =
            batch.column_by_name("tonnes").ok_or_else(|| IngestError::invariant("the fact has no tonnes"))?;
        let array = array
            .as_primitive_opt::<Decimal128Type>()
            .ok_or_else(|| IngestError::invariant("tonnes of the fact are not decimal"))?;
        sum += (0..array.len()).filter(|row| array.is_valid(*row)).map(|row| array.value(row)).sum::<i128>();
    }
    Ok(sum)
}

async fn assertions(lease: &PoolLease, (rows, tonnes): (u64, i128)) -> Result<()> {
    let row = lease
        .query_one(
            "SELECT (SELECT count(*) FROM star.fact_cargo_operation)::bigint, \
             (SELECT coalesce(sum(tonnes) * 1000, 0) FROM star.fact_cargo_operation)::bigint, \
             (SELECT count(*) FROM (SELECT port_call_id FROM star.fact_cargo_operation GROUP BY 1 HAVING count(*) \
             FILTER (WHERE is_call_row) <> 1) x)::bigint, \
             (SELECT count(*) FROM (SELECT visit_id FROM star.fact_cargo_operation WHERE visit_id IS NOT NULL GROUP BY 1 \
             HAVING count(*) FILTER (WHERE is_visit_row) <> 1) x)::bigint",
            &[],
        )
        .await
        .map_err(|error| server_error(None, "check the load", error))?;
    let (star_rows, star_tonnes): (i64, i64) = (row.get(0), row.get(1));
    let (calls, visits): (i64, i64) = (row.get(2), row.get(3));
    if i128::from(star_rows) != i128::from(rows) || i128::from(star_tonnes) != tonnes {
        return Err(IngestError::invariant(format!(
            "the star would hold {star_rows} rows and {star_tonnes} kg but gold has {rows} and {tonnes}"
        )));
    }
    if calls + visits != 0 {
        return Err(IngestError::invariant(format!(
            "{calls} calls and {visits} visits would not have exactly one flagged row"
        )));
    }
    Ok(())
}
