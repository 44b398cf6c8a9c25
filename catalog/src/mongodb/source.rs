//! The source itself: a name, a connector, declared tables, and what is known of the others.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use chrono::Utc;
use futures::StreamExt as _;
use mongodb::Database;
use mongodb::bson::doc;
use tracing::warn;

use super::client::Connector;
use super::executor::MongodbExecutor;
use super::introspect::{self, Listed};
use super::probe::Proved;
use super::shape::{TableShape, declared_tables};
use super::{MongodbConfig, MongodbTls};
use crate::asof::SourceVersion;
use crate::federation::{FragmentExecutor, Slots};
use crate::kills::Kills;
use crate::source::{
    Health, HealthState, Source, SourceError, SourceErrorKind, SourceKind, SourceName, TableDef,
};

/// A table's name, and what was found of it: its definition, the reason why it is not shown, or an error.
type Described = (String, mongodb::error::Result<Result<Arc<TableDef>, &'static str>>);

/// A MongoDB database, shown as the schema of the source's name.
#[derive(Debug)]
pub struct MongodbSource {
    name: SourceName,
    connector: Arc<Connector>,
    executor: Arc<MongodbExecutor>,
    /// Tables that are not shown and were reported.
    hidden: Mutex<BTreeSet<String>>,
}

impl MongodbSource {
    /// A source as configured. Contacts nobody and reads no secret.
    ///
    /// # Errors
    /// `Data` naming the table whose declaration cannot be right; `Unsupported` for [`MongodbTls::VerifyCa`].
    pub fn open(name: SourceName, config: MongodbConfig) -> Result<Self, SourceError> {
        if config.tls == MongodbTls::VerifyCa {
            let message = format!("source \"{name}\": tls: verify-ca is not supported for MongoDB");
            return Err(SourceError::new(SourceErrorKind::Unsupported, message)
                .with_source(&name)
                .with_hint("write tls: verify-full, or required, which checks no certificate"));
        }
        let tables = declared_tables(&name, &config)?;
        let on_mismatch = config.on_mismatch.unwrap_or_default();
        let connector = Arc::new(Connector::new(name.clone(), config));
        let executor = MongodbExecutor {
            connector: Arc::clone(&connector),
            tables,
            on_mismatch,
            misfits: Arc::new(AtomicU64::new(0)),
            proved: Arc::new(Proved::default()),
        };
        Ok(Self { name, connector, executor: Arc::new(executor), hidden: Mutex::default() })
    }

    /// Values that became NULL so far because they did not fit their column and `on_mismatch: null` says so.
    #[must_use]
    pub fn misfits(&self) -> u64 {
        self.executor.misfits.load(Ordering::Relaxed)
    }

    /// Tables to show: their names, what is declared of them, and what the server lists.
    fn shown(&self, listed: &[Listed]) -> Vec<(String, TableShape, Option<Listed>)> {
        let mut shown = Vec::new();
        for (table, shape) in &self.executor.tables {
            let collection = listed.iter().find(|listed| listed.name == shape.collection);
            shown.push((table.clone(), shape.clone(), collection.cloned()));
        }
        if self.connector.config.discover {
            for collection in listed {
                let declared =
                    self.executor.tables.iter().any(|(table, shape)| {
                        *table == collection.name || shape.collection == collection.name
                    });
                if !declared {
                    let shape = self.executor.shape(&collection.name);
                    shown.push((collection.name.clone(), shape, Some(collection.clone())));
                }
            }
        }
        shown
    }

    /// The table of a declaration that names its columns.
    fn declared(&self, table: &str, shape: &TableShape) -> Option<Arc<TableDef>> {
        let known = !shape.columns.is_empty();
        known.then(|| Arc::new(introspect::declared(self.name.as_str(), table, shape)))
    }

    /// Looks at one collection.
    async fn describe(
        &self,
        database: Database,
        table: String,
        shape: TableShape,
        listed: Option<Listed>,
    ) -> Described {
        let Some(listed) = listed else {
            // Declared, and not there (yet): its columns are known all the same.
            let declared = self.declared(&table, &shape);
            return (table, Ok(declared.ok_or("there is no such collection")));
        };
        let (schema, sample) = (self.name.as_str(), self.connector.config.sample);
        let found = introspect::describe(&database, schema, &table, &listed, &shape, sample).await;
        (table, found.map(|found| found.map(Arc::new)))
    }

    fn hide(&self, table: &str, reason: &str) {
        let mut hidden = self.hidden.lock().unwrap_or_else(PoisonError::into_inner);
        if hidden.insert(table.to_owned()) {
            warn!(source = %self.name, table, reason, "collection is not shown");
        }
    }
}

#[async_trait]
impl Source for MongodbSource {
    fn name(&self) -> &SourceName {
        &self.name
    }

    fn kind(&self) -> SourceKind {
        SourceKind::Mongodb
    }

    async fn check(&self) -> Health {
        let answer = self.connector.admin("ask the server's version", doc! { "buildInfo": 1 }).await;
        let checked_at = Utc::now();
        if answer.is_ok()
            && let Ok(database) = self.connector.database()
        {
            self.executor.proved.prove(&self.connector, &database).await;
        }
        match answer {
            Ok(answer) => Health {
                state: HealthState::Up,
                checked_at,
                error: None,
                server_version: answer.get_str("version").ok().map(str::to_owned),
            },
            Err(error) => Health {
                state: HealthState::Down,
                checked_at,
                error: Some(error.to_string()),
                server_version: None,
            },
        }
    }

    async fn tables(&self) -> Result<Vec<Arc<TableDef>>, SourceError> {
        if !self.connector.config.discover
            && self.executor.tables.values().all(|shape| !shape.columns.is_empty())
        {
            return Ok(self
                .executor
                .tables
                .iter()
                .filter_map(|(table, shape)| self.declared(table, shape))
                .collect());
        }
        let database = self.connector.database()?;
        let listed = introspect::list(&database)
            .await
            .map_err(|error| self.connector.failed("list collections", error))?;
        self.executor.proved.prove(&self.connector, &database).await;
        let shown = self.shown(&listed);
        let looks = shown
            .into_iter()
            .map(|(table, shape, listed)| Box::pin(self.describe(database.clone(), table, shape, listed)));
        let described: Vec<Described> = futures::stream::iter(looks.collect::<Vec<_>>())
            .buffered(self.connector.config.connections.clamp(1, 8))
            .collect()
            .await;
        let mut tables = Vec::with_capacity(described.len());
        let mut failed = None;
        for (table, outcome) in described {
            match outcome {
                Ok(Ok(found)) => tables.push(found),
                Ok(Err(reason)) => self.hide(&table, reason),
                // One collection that cannot be read must not hide the others.
                Err(error) => {
                    let error = self.connector.failed("look at a collection", error);
                    warn!(source = %self.name, table, error = %error, "collection is not shown");
                    failed = Some(error);
                }
            }
        }
        match failed {
            Some(error) if tables.is_empty() => Err(error),
            _ => Ok(tables),
        }
    }

    async fn version(&self) -> Result<SourceVersion, SourceError> {
        self.connector.version().await
    }

    fn mismatches(&self) -> u64 {
        self.misfits()
    }

    fn slots(&self) -> Option<Slots> {
        Some(self.connector.slots.clone())
    }

    fn kills(&self) -> Kills {
        Kills { verified: None, ..self.connector.kills.so_far() }
    }

    fn executor(&self) -> Arc<dyn FragmentExecutor> {
        Arc::clone(&self.executor) as Arc<dyn FragmentExecutor>
    }
}
