//! The source itself: a name, a pool, one database, and what is known of its tables.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::Utc;

use super::column::RETYPING;
use super::config::{MysqlConfig, ZeroDates};
use super::error::server_error;
use super::pool::Pool;
use super::{MysqlExecutor, introspect};
use crate::asof::SourceVersion;
use crate::declared::Declarations;
use crate::federation::FragmentExecutor;
use crate::kills::Kills;
use crate::source::{Health, HealthState, Source, SourceError, SourceKind, SourceName, TableDef};

/// A MySQL or MariaDB database, shown as the schema of the source's name.
#[derive(Debug)]
pub struct MysqlSource {
    name: SourceName,
    pool: Pool,
    database: String,
    zero_dates: ZeroDates,
    executor: Arc<MysqlExecutor>,
    declarations: Declarations,
}

impl MysqlSource {
    /// A source for a configured server. Contacts nobody and reads no secret.
    #[must_use]
    pub fn open(name: SourceName, config: &MysqlConfig) -> Self {
        let pool = Pool::new(&name, config);
        let (database, zero_dates) = (config.database.clone(), config.zero_dates);
        let executor = Arc::new(MysqlExecutor::new(name.clone(), pool.clone(), database.clone(), zero_dates));
        let (tables, columns) = (config.tables.clone(), config.columns.clone());
        let declarations = Declarations::new(name.clone(), tables, columns, RETYPING);
        Self { name, pool, database, zero_dates, executor, declarations }
    }

    /// Connections that no statement holds, of those that read.
    #[must_use]
    pub fn free_connections(&self) -> usize {
        self.pool.free_slots()
    }

    /// Zero dates that were read as null since the source was opened.
    #[must_use]
    pub fn nulled_dates(&self) -> u64 {
        self.executor.nulled_dates()
    }
}

#[async_trait]
impl Source for MysqlSource {
    fn name(&self) -> &SourceName {
        &self.name
    }

    fn kind(&self) -> SourceKind {
        SourceKind::Mysql
    }

    async fn check(&self) -> Health {
        let answer = self.pool.ping().await;
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
        let (mut lease, _) = self.pool.ready(None, None).await?;
        let maria = lease.is_maria();
        let read =
            introspect::tables(lease.conn(), &self.database, self.name.as_str(), maria, self.zero_dates)
                .await;
        match read {
            Ok(tables) => {
                if let Err(error) = self.executor.prove(lease.conn()).await {
                    lease.close().await;
                    return Err(error);
                }
                lease.release();
                Ok(tables)
            }
            Err(error) => {
                lease.close().await;
                Err(server_error(&self.name, "read the catalog", error))
            }
        }
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
        let (lease, version) = self.pool.ready(None, None).await?;
        lease.release();
        Ok(version)
    }

    fn mismatches(&self) -> u64 {
        self.executor.nulled_dates()
    }

    fn kills(&self) -> Kills {
        self.pool.kills()
    }

    fn executor(&self) -> Arc<dyn FragmentExecutor> {
        Arc::clone(&self.executor) as Arc<dyn FragmentExecutor>
    }
}
