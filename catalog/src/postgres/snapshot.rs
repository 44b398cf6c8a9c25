//! One snapshot for all leaves of a query on one server.
//!
//! A transaction that reads nothing exports its snapshot and stays open until every leaf of the plan has taken it over,
//! or the query is gone. Each leaf has a connection and a transaction of its own, so one that is dropped early takes
//! nothing from the others. The exporting connection is not a reading slot: a leaf waits for its slot only after it has
//! the snapshot, and whoever holds a slot never waits for a snapshot. A leaf that comes after the transaction ended gets
//! an error, never another snapshot.

use std::sync::{Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use tokio_postgres::SimpleQueryMessage;
use tracing::debug;

use super::reading::version;
use super::{PoolLease, PostgresPool, quote_literal, server_error};
use crate::asof::SourceVersion;
use crate::federation::ExecContext;
use crate::source::{SourceError, SourceErrorKind, SourceName};

/// The snapshot of one query on one source.
#[derive(Debug)]
pub(super) struct SharedSnapshot {
    name: SourceName,
    exported: OnceCell<Exported>,
    /// Transactions that have not taken it over.
    to_begin: Mutex<usize>,
    /// The exporting transaction, while it is open.
    open: Mutex<Option<PoolLease>>,
}

#[derive(Debug)]
struct Exported {
    id: String,
    version: Option<SourceVersion>,
}

impl SharedSnapshot {
    /// The one of a query, made by its first leaf; `leaves` will take it over.
    pub(super) fn new(name: SourceName, leaves: usize) -> Self {
        Self { name, exported: OnceCell::new(), to_begin: Mutex::new(leaves), open: Mutex::default() }
    }

    /// Exports the snapshot unless another leaf did. To be called without a slot.
    pub(super) async fn export(&self, pool: &PostgresPool, context: &ExecContext) -> Result<(), SourceError> {
        self.exported
            .get_or_try_init(|| async {
                let lost = |error| server_error(Some(&self.name), "export a snapshot", error);
                let lease = pool.lease_beside(context.query).await?;
                let tag = quote_literal(&format!("portolan/{}", context.query)).unwrap_or_default();
                let said = lease
                    .simple_query(&format!(
                        "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; \
                         SET LOCAL application_name = {tag}; SET LOCAL idle_in_transaction_session_timeout = 0; \
                         SELECT {VERSION}, pg_catalog.pg_export_snapshot()"
                    ))
                    .await
                    .map_err(lost)?;
                let id = said.iter().find_map(|message| match message {
                    SimpleQueryMessage::Row(row) => row.get(2).map(str::to_owned),
                    _ => None,
                });
                let id = id.ok_or_else(|| {
                    let message = format!("source \"{}\" exported no snapshot", self.name);
                    SourceError::new(SourceErrorKind::Remote, message).with_source(&self.name)
                })?;
                *self.open.lock().unwrap_or_else(PoisonError::into_inner) = Some(lease);
                Ok(Exported { id, version: version(&said) })
            })
            .await
            .map(|_exported| ())
    }

    /// A leaf will take it over in so many transactions, where one was expected.
    pub(super) fn expect(&self, transactions: usize) {
        let mut left = self.to_begin.lock().unwrap_or_else(PoisonError::into_inner);
        *left = left.saturating_add(transactions.saturating_sub(1));
    }

    /// What makes a transaction that has just begun see the snapshot.
    ///
    /// # Errors
    /// `Conflict` if the exporting transaction has ended: this leaf is read once more than the plan said.
    pub(super) fn import(&self) -> Result<String, SourceError> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        match self.exported.get() {
            Some(exported) if open => {
                let id = quote_literal(&exported.id).unwrap_or_default();
                Ok(format!("SET TRANSACTION SNAPSHOT {id}; "))
            }
            _ => {
                let message = format!("the query's snapshot of source \"{}\" is gone", self.name);
                Err(SourceError::new(SourceErrorKind::Conflict, message)
                    .with_source(&self.name)
                    .with_hint("run the query again"))
            }
        }
    }

    /// The version that all leaves read.
    pub(super) fn version(&self) -> Option<SourceVersion> {
        self.exported.get().and_then(|exported| exported.version.clone())
    }

    /// A leaf has the snapshot. The last one ends the exporting transaction.
    pub(super) fn begun(&self) {
        let mut left = self.to_begin.lock().unwrap_or_else(PoisonError::into_inner);
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.end();
        }
    }

    fn end(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Without a runtime the connection is closed, which ends the transaction as well.
        let (Some(lease), Ok(runtime)) = (open, Handle::try_current()) else { return };
        let name = self.name.clone();
        runtime.spawn(async move {
            match lease.batch_execute("COMMIT").await {
                Ok(()) => lease.release(),
                Err(error) => debug!(source = %name, error = %error, "the exporting transaction was lost"),
            }
        });
    }
}

impl Drop for SharedSnapshot {
    fn drop(&mut self) {
        self.end();
    }
}

/// Log position and snapshot. An equal position alone does not prove equal data.
pub(super) const VERSION: &str = "(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END - '0/0')::int8, \
     pg_current_snapshot()::text";
