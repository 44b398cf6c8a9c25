//! The port-management system of the demo: the simulated tables in an embedded PostgreSQL, loaded in one transaction.

use anyhow::Context;
use portolan_catalog::embedded::EmbeddedPostgres;
use portolan_catalog::postgres::{copy_in, quote_identifier, quote_literal};
use portolan_simulator::{Port, TOS_SCHEMA};

use super::feeds::{DemoPlan, Feeds};

/// Where the fingerprint of the loaded plan stands; written in the transaction that loads the tables.
const MARKER: &str = "portolan_demo.loaded";

/// Loads the tables of a plan unless they are there. `port` spares simulating again. Returns rows loaded now.
///
/// # Errors
/// When the embedded server cannot be reached or refuses a table; nothing is changed then.
pub async fn load_operational(
    database: &EmbeddedPostgres,
    plan: &DemoPlan,
    port: Option<Port>,
) -> anyhow::Result<u64> {
    let lease = database.lease().await?;
    let wanted = plan.fingerprint();
    lease
        .batch_execute(&format!(
            "CREATE SCHEMA IF NOT EXISTS portolan_demo; CREATE TABLE IF NOT EXISTS {MARKER} (plan text NOT NULL)"
        ))
        .await
        .context("prepare the operational database")?;
    let loaded =
        lease.query(&format!("SELECT plan FROM {MARKER}"), &[]).await.context("read what is loaded")?;
    if loaded.first().is_some_and(|row| row.get::<_, String>(0) == wanted) {
        lease.release();
        return Ok(0);
    }
    let port = match port {
        Some(port) => port,
        None => Feeds::again(plan)?,
    };
    lease
        .batch_execute(&format!("BEGIN; DROP SCHEMA IF EXISTS {TOS_SCHEMA} CASCADE; DELETE FROM {MARKER}"))
        .await
        .context("begin loading the operational database")?;
    let mut rows = 0;
    for table in port.tos_tables() {
        lease.batch_execute(&table.ddl).await.with_context(|| format!("create table \"{}\"", table.name))?;
        let qualified = format!("{}.{}", quote_identifier(TOS_SCHEMA), quote_identifier(table.name));
        rows += copy_in(&lease, &qualified, &table.batches)
            .await
            .with_context(|| format!("load table \"{}\"", table.name))?;
    }
    let marker = quote_literal(&wanted).context("a plan has no NUL")?;
    lease
        .batch_execute(&format!("INSERT INTO {MARKER} VALUES ({marker}); COMMIT; ANALYZE"))
        .await
        .context("commit the operational database")?;
    lease.release();
    Ok(rows)
}
