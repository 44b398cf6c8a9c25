//! A client's session, and the only place that builds a DataFusion session.
//!
//! One per connection: its settings, its role, its own view of the catalog (so that `portolan.pushdown` is nobody
//! else's), over a runtime and function registry shared by all. Nothing of DataFusion's own configuration, file
//! formats or table factories is reachable from SQL: they are not registered at all.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProviderList, SchemaProvider, TableProvider,
};
use datafusion::config::Dialect;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::execution::{
    SessionStateDefaults, memory_pool::FairSpillPool, runtime_env::RuntimeEnvBuilder,
};
use datafusion::prelude::SessionConfig;
use portolan_catalog::copies::Copies;
use portolan_catalog::federation::{FederationOptions, Fragment, physical_optimizer_rules};
use portolan_catalog::simplify::optimizer_rules;
use portolan_catalog::source::{SourceError, SourceName, TableDef};

use portolan_semantic::{Semantics, TableResolver};

use crate::engine::{ColumnAliases, UnorderedUnions, guarded};
use crate::error::QueryError;
use crate::functions::SessionZone;
use crate::settings::Settings;

/// The name of the one catalog, which is also the database's name.
pub const CATALOG: &str = "portolan";

/// Who a session belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user who logged in.
    pub user: String,
    /// The connection's identifier, `pg_backend_pid()`.
    pub pid: i32,
    /// How the client speaks: `postgres`, `flight` or `internal`.
    pub protocol: &'static str,
}

/// What makes a session's tables: the catalog of sources, per session because providers obey its options.
#[async_trait::async_trait]
pub trait TableCatalog: fmt::Debug + Send + Sync {
    /// The catalog for one session, with further schemas beside those of the sources.
    fn provider(
        &self,
        options: Arc<FederationOptions>,
        extra: Vec<(String, Arc<dyn SchemaProvider>)>,
    ) -> Arc<dyn CatalogProvider>;

    /// Changes whenever a table appears, disappears or changes its columns.
    fn version(&self) -> u64;

    /// Has the tables of a source, or of all, listed again now. Returns a line per source: how many tables it has, and
    /// what has changed since they were listed before.
    ///
    /// # Errors
    /// 42704 for a source that is not configured; the source's own error when one is named that cannot tell.
    async fn refresh(&self, source: Option<&str>) -> Result<String, QueryError>;

    /// Takes the trust in what a fragment has its source evaluate, because the answer was not ours; `sample` says how it
    /// differed. Tables that nothing is pushed down to have nothing to lose.
    fn distrust(&self, _source: &str, _fragment: &Fragment, _sample: &str) {}

    /// Where copies of a source's tables are, if there are any.
    fn fallback(&self, _source: &SourceName) -> Option<String> {
        None
    }

    /// Copies of these tables of a source, all read by one run of ingest. `None` if there are none.
    ///
    /// # Errors
    /// Why those there are cannot stand for the tables together.
    async fn copies(
        &self,
        _source: &SourceName,
        _tables: &[Arc<TableDef>],
    ) -> Result<Option<Copies>, SourceError> {
        Ok(None)
    }

    /// Notes that data read at a time, UTC, were given in a source's place.
    fn stood_in(&self, _source: &str, _read_at: DateTime<Utc>) {}
}

/// Finds base tables for the KPI language among a session's own.
#[derive(Debug)]
pub(crate) struct SessionTables(pub(crate) Arc<dyn CatalogProvider>);

#[async_trait::async_trait]
impl TableResolver for SessionTables {
    async fn table(&self, schema: &str, name: &str) -> Option<Arc<dyn TableProvider>> {
        let found = self.0.schema(schema)?.table(name).await;
        found
            .inspect_err(|error| tracing::debug!(error = %error, "a table of a KPI is not to be had"))
            .ok()
            .flatten()
    }
}

/// A session. Cheap to share; statements of one session may run one after another only.
#[derive(Debug)]
pub struct Session {
    /// Who it belongs to.
    pub identity: Identity,
    settings: Arc<Mutex<Settings>>,
    federation: Arc<FederationOptions>,
    state: SessionState,
    zone: SessionZone,
    built_for: u64,
}

impl Session {
    /// The session's settings. Never held across an await.
    pub fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The settings themselves, for whoever looks at them later.
    pub(crate) fn shared_settings(&self) -> Arc<Mutex<Settings>> {
        Arc::clone(&self.settings)
    }

    /// The catalog version the session was built for; when it has moved on, open a new session with these settings.
    #[must_use]
    pub fn built_for(&self) -> u64 {
        self.built_for
    }

    /// The DataFusion session for one statement, with the settings as they are now.
    pub(crate) fn state(&self) -> SessionState {
        let settings = self.settings();
        self.federation.set_pushdown(settings.pushdown());
        self.zone.set(settings.time_zone());
        let mut state = self.state.clone();
        let options = state.config_mut().options_mut();
        options.execution.time_zone = Some(settings.time_zone().to_owned());
        state
    }
}

/// Builds the DataFusion sessions of one engine.
#[derive(Debug, Clone)]
pub(crate) struct SessionFactory {
    runtime: Arc<RuntimeEnv>,
    partitions: usize,
    batch_rows: Option<usize>,
}

impl SessionFactory {
    /// A factory whose sessions share one memory pool of so many bytes.
    pub(crate) fn open(memory_bytes: usize, partitions: usize) -> Result<Self, QueryError> {
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(memory_bytes)))
            .build_arc()
            .map_err(QueryError::from)?;
        Ok(Self { runtime, partitions, batch_rows: None })
    }

    /// Sessions whose operators pass on so many rows at once.
    pub(crate) fn with_batch_rows(self, rows: usize) -> Self {
        Self { batch_rows: Some(rows.max(1)), ..self }
    }

    /// The runtime all sessions share.
    pub(crate) fn runtime(&self) -> &Arc<RuntimeEnv> {
        &self.runtime
    }

    pub(crate) fn session(
        &self,
        identity: Identity,
        settings: Arc<Mutex<Settings>>,
        tables: &Arc<dyn TableCatalog>,
        semantics: Option<&Semantics>,
        mut extra: Vec<(String, Arc<dyn SchemaProvider>)>,
    ) -> Session {
        let federation = Arc::new(FederationOptions::default());
        let zone = SessionZone::default();
        let semantics = semantics.map(|semantics| {
            let base = tables.provider(Arc::clone(&federation), Vec::new());
            semantics.for_session(Arc::new(SessionTables(base)))
        });
        if let Some(semantics) = &semantics {
            extra.extend(semantics.schemas());
        }
        let built_for = tables.version();
        let catalogs = MemoryCatalogProviderList::new();
        catalogs.register_catalog(CATALOG.to_owned(), tables.provider(Arc::clone(&federation), extra));
        let mut scalar = crate::functions::scalar();
        scalar.push(crate::functions::refresh(Arc::clone(tables)));
        let mut physical = guarded(physical_optimizer_rules());
        // After what is moved to the sources, before orders are thought about.
        physical.insert(1, Arc::new(UnorderedUnions));
        let mut builder = SessionStateBuilder::new()
            .with_config(config(self.partitions, self.batch_rows))
            .with_runtime_env(Arc::clone(&self.runtime))
            .with_catalog_list(Arc::new(catalogs))
            .with_type_planner(Arc::new(crate::functions::PgTypePlanner))
            .with_scalar_functions(scalar)
            .with_aggregate_functions(crate::functions::aggregate())
            .with_window_functions(SessionStateDefaults::default_window_functions())
            .with_table_function_list(crate::functions::table_functions())
            .with_expr_planners(crate::functions::planners(zone.clone()))
            .with_relation_planners(vec![Arc::new(ColumnAliases)])
            .with_optimizer_rules(optimizer_rules())
            .with_physical_optimizer_rules(physical);
        if let Some(semantics) = &semantics {
            builder = semantics.install(builder);
        }
        Session { identity, settings, federation, zone, state: builder.build(), built_for }
    }
}

fn config(partitions: usize, batch_rows: Option<usize>) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema(CATALOG, "public")
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(false)
        .with_target_partitions(partitions.max(1));
    if let Some(rows) = batch_rows {
        config = config.with_batch_size(rows);
    }
    let options = config.options_mut();
    options.execution.time_zone = Some("UTC".to_owned());
    options.execution.parquet.coerce_int96 = Some("us".to_owned());
    // A join tells the source of its probe side the keys themselves, as long as one statement can hold them; more are noted
    // by a node of the catalog's, where estimates say that there are more.
    options.optimizer.hash_join_inlist_pushdown_max_distinct_values = 50_000;
    options.optimizer.hash_join_inlist_pushdown_max_size = 8 << 20;
    // It compares notes of columns too, which the branches of a UNION lose one by one: groups over it were refused.
    options.execution.skip_physical_aggregate_schema_check = true;
    // Its grouped top-N by min or max panics on some groups, and orders floats another way than PostgreSQL.
    options.optimizer.enable_topk_aggregation = false;
    options.sql_parser.dialect = Dialect::PostgreSQL;
    options.sql_parser.parse_float_as_decimal = true;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.sql_parser.collect_spans = true;
    options.sql_parser.enable_ident_normalization = true;
    config
}
