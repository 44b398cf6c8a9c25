//! The source itself: a name, a pool, one remote namespace, and what is known of its tables.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::Utc;

use super::column::RETYPING;
use super::{PostgresExecutor, PostgresPool, introspect, server_error};
use crate::asof::SourceVersion;
use crate::declared::{ColumnTypes, Declarations, TablePatterns};
use crate::federation::{FragmentExecutor, attended};
use crate::kills::Kills;
use crate::source::{Health, HealthState, Source, SourceError, SourceKind, SourceName, TableDef};

/// A PostgreSQL namespace, shown as the schema of the source's name.
#[derive(Debug)]
pub struct PostgresSource {
    name: SourceName,
    pool: PostgresPool,
    namespace: String,
    executor: Arc<PostgresExecutor>,
    declarations: Declarations,
}

impl PostgresSource {
    /// A source over a pool. Contacts nobody.
    #[must_use]
    pub fn new(name: SourceName, pool: PostgresPool, namespace: impl Into<String>) -> Self {
        let namespace = namespace.into();
        let executor = Arc::new(PostgresExecutor::new(name.clone(), pool.clone(), namespace.clone()));
        let declarations =
            Declarations::new(name.clone(), TablePatterns::default(), ColumnTypes::default(), RETYPING);
        Self { name, pool, namespace, executor, declarations }
    }

    /// The same, of which only some tables are shown, and some columns read as another type than their own.
    #[must_use]
    pub fn declaring(self, tables: TablePatterns, columns: ColumnTypes) -> Self {
        Self { declarations: Declarations::new(self.name.clone(), tables, columns, RETYPING), ..self }
    }

    /// The connections, for loads and tests.
    #[must_use]
    pub fn pool(&self) -> &PostgresPool {
        &self.pool
    }

    async fn list(&self) -> Result<Vec<Arc<TableDef>>, SourceError> {
        let lease = self.pool.lease().await?;
        let tables = introspect::tables(&lease, &self.namespace, self.name.as_str())
            .await
            .map_err(|error| server_error(Some(&self.name), "read the catalog", error))?;
        self.executor
            .begin_anew(&lease)
            .await
            .map_err(|error| server_error(Some(&self.name), "read the catalog", error))?;
        self.executor.prove(&lease).await;
        lease.release();
        Ok(tables)
    }

    async fn position(&self) -> Result<SourceVersion, SourceError> {
        let lease = self.pool.lease().await?;
        let position = "SELECT (pg_current_wal_lsn() - '0/0')::int8, pg_current_snapshot()::text \
                        WHERE NOT pg_is_in_recovery()";
        let row = lease
            .query_opt(position, &[])
            .await
            .map_err(|error| server_error(Some(&self.name), "ask for the log position", error))?;
        lease.release();
        let Some(row) = row else { return Ok(SourceVersion::FetchedAt(Utc::now())) };
        let read = |error| server_error(Some(&self.name), "read the log position", error);
        let position: i64 = row.try_get(0).map_err(read)?;
        Ok(SourceVersion::Lsn { position: position.unsigned_abs(), snapshot: row.try_get(1).map_err(read)? })
    }

    async fn server_version(&self) -> Result<String, SourceError> {
        let lease = self.pool.lease().await?;
        let row = lease
            .query_one("SELECT current_setting('server_version')", &[])
            .await
            .map_err(|error| server_error(Some(&self.name), "ask the server's version", error))?;
        self.executor.prove(&lease).await;
        lease.release();
        row.try_get(0).map_err(|error| server_error(Some(&self.name), "read the server's version", error))
    }
}

#[async_trait]
impl Source for PostgresSource {
    fn name(&self) -> &SourceName {
        &self.name
    }

    fn kind(&self) -> SourceKind {
        SourceKind::Postgres
    }

    async fn check(&self) -> Health {
        let asking = self.server_version();
        let answer = attended(&self.name, self.executor.as_ref(), asking).await.flatten();
        let checked_at = Utc::now();
        match answer {
            Ok(version) => {
                Health { state: HealthState::Up, checked_at, error: None, server_version: Some(version) }
            }
            Err(error) => Health {
                state: HealthState::Down,
                checked_at,
                error: Some(error.to_string()),
                server_version: None,
            },
        }
    }

    async fn tables(&self) -> Result<Vec<Arc<TableDef>>, SourceError> {
        attended(&self.name, self.executor.as_ref(), self.list()).await.flatten()
    }

    fn shown(&self, told: Vec<Arc<TableDef>>) -> Vec<Arc<TableDef>> {
        self.declarations.apply(told)
    }

    fn misdeclared(&self) -> Vec<String> {
        self.declarations.told()
    }

    async fn obstacle(&self, _schema: &str, table: &str) -> Option<SourceError> {
        self.declarations.refused(table)
    }

    async fn version(&self) -> Result<SourceVersion, SourceError> {
        attended(&self.name, self.executor.as_ref(), self.position()).await.flatten()
    }

    fn kills(&self) -> Kills {
        self.pool.kills()
    }

    fn executor(&self) -> Arc<dyn FragmentExecutor> {
        Arc::clone(&self.executor) as Arc<dyn FragmentExecutor>
    }
}
