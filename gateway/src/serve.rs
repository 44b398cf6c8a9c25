//! Serving an opened catalog: engine, KPIs, the mirrored catalog, the two front doors and health.
//!
//! `portolan demo` and `portolan serve` differ in where their stores come from and in nothing behind this module. It
//! must never open a store: it is handed a catalog whose sources may be up or down.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use portolan_catalog::Catalog;
use portolan_catalog::federation::FederationOptions;
use portolan_catalog::source::TableDef;
use portolan_semantic::{Model, Semantics};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Admin};
use crate::engine::{Engine, EngineConfig};
use crate::flight::{self, FlightConfig};
use crate::mirror::{Names, SourceTables, model};
use crate::pg::bridge::Bridge;
use crate::pg::connections::Connections;
use crate::pg::listener::{FrontDoor, FrontDoorConfig};
use crate::pg::scram::{Credentials, FixedCredentials, Verifier};
use crate::scaleout::{WorkerUrl, Workers};
use crate::session::{CATALOG, SessionTables};
use crate::shadow::Shadow;
use crate::system::{self, SystemTable};

/// How often the mirrored catalog is compared with the sources'; one atomic read when nothing has changed.
const MIRROR_EVERY: Duration = Duration::from_secs(1);
/// Turns of that after which the sources are asked for their tables: another process may make some.
const ASK_EVERY: u32 = 15;

/// What is served, to whom.
#[derive(Debug)]
pub struct ServeConfig {
    /// The sources.
    pub catalog: Arc<Catalog>,
    /// KPI definitions; `None` leaves the schemas `kpi` and `kpi_flat` away.
    pub kpis: Option<Arc<Model>>,
    /// Tables of the schema `system` that come from the stores, such as the ledger.
    pub system: Vec<Arc<dyn SystemTable>>,
    /// The catalog that clients browse.
    pub shadow: Arc<Shadow>,
    /// Users and what proves their passwords.
    pub users: BTreeMap<String, Verifier>,
    /// How much may be used.
    pub limits: Limits,
    /// Processes that may do parts of statements; none is usual.
    pub workers: Vec<WorkerUrl>,
}

/// How much a gateway may use.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections served at once.
    pub connections: usize,
    /// Bytes all queries together may hold.
    pub memory_bytes: usize,
    /// Parallel parts of one query.
    pub partitions: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 200, memory_bytes: 2 << 30, partitions: 2 }
    }
}

/// Sockets that already listen.
#[derive(Debug)]
pub struct Listeners {
    /// The PostgreSQL protocol.
    pub pg: TcpListener,
    /// Arrow Flight SQL.
    pub flight: TcpListener,
    /// Health.
    pub http: TcpListener,
}

/// A serving gateway.
#[derive(Debug)]
pub struct Serving {
    /// Address of the PostgreSQL front door.
    pub pg: SocketAddr,
    /// Address of the Flight SQL front door.
    pub flight: SocketAddr,
    /// Address of health and status.
    pub http: SocketAddr,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    health: JoinHandle<()>,
    /// Ends health, which outlives the front doors to tell that they are draining.
    closed: CancellationToken,
}

impl Serving {
    /// Mirrors the catalog and opens the front doors; `stop` closes them.
    ///
    /// # Errors
    /// When the shadow refuses the mirrored catalog, or the engine's threads cannot be started.
    pub async fn open(
        config: ServeConfig,
        listeners: Listeners,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let ServeConfig { catalog, kpis, mut system, shadow, users, limits, workers } = config;
        let workers = Workers::new(workers).map(Arc::new);
        let semantics = kpis.map(|model| {
            let tables = catalog.catalog_provider(Arc::new(FederationOptions::default()), Vec::new());
            Arc::new(Semantics::new(model, Arc::new(SessionTables(tables))))
        });
        system.push(system::sources(Arc::clone(&catalog)));
        system.push(system::pushdown(Arc::clone(&catalog)));
        system.push(system::workers(workers.clone()));
        system.extend(semantics.as_deref().map(system::kpis));
        let engine = Engine::open(EngineConfig {
            tables: Arc::new(SourceTables(Arc::clone(&catalog))),
            semantics,
            system,
            memory_bytes: limits.memory_bytes,
            partitions: limits.partitions,
        })?;
        let engine = Arc::new(engine.with_workers(workers));
        let mirror = Mirroring {
            catalog: Arc::clone(&catalog),
            engine: Arc::clone(&engine),
            shadow: Arc::clone(&shadow),
            names: Arc::new(Names::default()),
            users: users.keys().cloned().collect(),
        };
        let shown = mirror.refresh().await.context("mirror the catalog")?;

        let connections = Connections::new(limits.connections);
        let credentials: Arc<dyn Credentials> = Arc::new(FixedCredentials(users));
        let mut flights = FlightConfig::new(
            Arc::clone(&engine),
            Arc::clone(&credentials),
            Arc::clone(&mirror.names),
            Arc::clone(&connections),
        );
        flights.shadow = Some(Arc::clone(&shadow));
        let health = Admin {
            catalog: Arc::clone(&catalog),
            engine: Arc::clone(&engine),
            connections: Arc::clone(&connections),
            closing: stop.clone(),
        };
        let bridge =
            Bridge::new(engine, Some(shadow), Arc::clone(&mirror.names) as _, Arc::clone(&connections));
        let door = FrontDoor::new(
            FrontDoorConfig::new(vec![CATALOG.to_owned()], credentials),
            Arc::new(bridge),
            connections,
        );
        let (pg, http) = (listeners.pg.local_addr()?, listeners.http.local_addr()?);
        let flight = listeners.flight.local_addr()?;
        let mut tasks = JoinSet::new();
        tasks.spawn(door.serve(listeners.pg, stop.clone()));
        tasks.spawn(flight::serve(listeners.flight, flights, stop.clone()));
        tasks.spawn(mirror.watch(shown, stop.clone()));
        tasks.spawn({
            let stop = stop.clone();
            async move { catalog.watch(stop).await }
        });
        let closed = CancellationToken::new();
        let health = tokio::spawn(admin::serve(listeners.http, health, closed.clone()));
        Ok(Self { pg, flight, http, stop, tasks, health, closed })
    }

    /// Closes the front doors and waits until those inside have left.
    pub async fn drain(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a task of the gateway ended badly");
            }
        }
        self.closed.cancel();
        if let Err(error) = self.health.await {
            tracing::error!(%error, "health ended badly");
        }
    }
}

/// Keeps what clients browse equal to what they can query.
#[derive(Debug)]
struct Mirroring {
    catalog: Arc<Catalog>,
    engine: Arc<Engine>,
    shadow: Arc<Shadow>,
    names: Arc<Names>,
    users: Vec<String>,
}

impl Mirroring {
    /// Makes the mirror equal to the catalog as it is now. Returns the generation it shows.
    async fn refresh(&self) -> anyhow::Result<u64> {
        let mut tables = self.catalog.tables().await;
        let generation = self.catalog.generation();
        let mut schemas = self.catalog.schema_names();
        schemas.insert(system::SCHEMA.to_owned());
        tables.extend(self.engine.system_tables());
        if let Some(semantics) = self.engine.semantics() {
            schemas.extend(semantics.schemas().into_iter().map(|(name, _)| name));
            for view in semantics.views().await.context("find the columns of the KPIs")? {
                let comment = Some(view.comment);
                tables.push(Arc::new(TableDef::view(view.schema, view.name, view.arrow, comment)));
            }
        }
        let users: Vec<&str> = self.users.iter().map(String::as_str).collect();
        let model = model(generation, &schemas, &tables, &users);
        self.names.replace(&model);
        self.shadow.ensure(&model).await.map_err(|error| anyhow::anyhow!(error.message))?;
        Ok(generation)
    }

    /// Refreshes after every change of the catalog, until told to stop.
    async fn watch(self, mut shown: u64, stop: CancellationToken) {
        for turn in (0..ASK_EVERY).cycle() {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(MIRROR_EVERY) => {}
            }
            if turn + 1 == ASK_EVERY {
                let asked = self.catalog.tables();
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = asked => {}
                }
            }
            if self.catalog.generation() == shown {
                continue;
            }
            match self.refresh().await {
                Ok(generation) => shown = generation,
                Err(error) => tracing::warn!("the mirrored catalog is behind: {error:#}"),
            }
        }
    }
}
