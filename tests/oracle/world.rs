//! The engines over the loaded stores, and one question asked of them in every way that must give one answer.
//!
//! A way is a choice of stores, of push-down and of engine. It must never change what is asked: the same tree is
//! printed for each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use datafusion::common::ScalarValue;
use futures::StreamExt;
use portolan::engine::{Engine, EngineConfig, QueryControl};
use portolan::error::QueryError;
use portolan::mirror::SourceTables;
use portolan::pgtypes::PgType;
use portolan::session::{Identity, Session};
use portolan_catalog::Catalog;
use portolan_catalog::source::{Source, SourceName};
use tokio_util::sync::DropGuard;

use crate::doors::{self, Door, Doors, Visitor};
use crate::memory::{Manner, MemorySource};
use crate::outcome::{Cell, Outcome, cells};
use crate::stores::Store;
use crate::syntax::Query;
use crate::table::{Kind, LogicalTable};
use crate::workers;

/// The longest a single question may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Schema of the reference.
pub(crate) const REFERENCE: &str = "mem";

/// A way to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Way {
    /// The schema tables are read from.
    pub(crate) schema: &'static str,
    /// The schema every second table is read from.
    pub(crate) moved: &'static str,
    pub(crate) pushdown: bool,
    pub(crate) shape: Shape,
}

/// How an engine is set up; an answer must not show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One part, the usual batches, memory enough.
    Usual,
    /// Four parts and 64 MiB.
    Parts,
    /// Two parts and one row at a time.
    Steps,
    /// Two parts, few rows at a time, so that small tables are worth parts, and three workers.
    Workers,
}

impl Shape {
    const ALL: [Self; 4] = [Self::Usual, Self::Parts, Self::Steps, Self::Workers];

    /// Its place in [`Shape::ALL`].
    const fn index(self) -> usize {
        match self {
            Self::Usual => 0,
            Self::Parts => 1,
            Self::Steps => 2,
            Self::Workers => 3,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Usual => "",
            Self::Parts => ", four parts",
            Self::Steps => ", row by row",
            Self::Workers => ", three workers",
        }
    }
}

impl Way {
    pub(crate) const fn of(schema: &'static str, pushdown: bool) -> Self {
        Self { schema, moved: schema, pushdown, shape: Shape::Usual }
    }

    pub(crate) const fn moved(self, other: &'static str) -> Self {
        Self { moved: other, ..self }
    }

    pub(crate) const fn shaped(self, shape: Shape) -> Self {
        Self { shape, ..self }
    }

    pub(crate) fn sql(self, query: &Query) -> String {
        query.sql(&|_, slot| if slot % 2 == 0 { self.moved } else { self.schema }.to_owned())
    }

    pub(crate) fn name(self) -> String {
        let moved = if self.moved == self.schema { String::new() } else { format!(" and {}", self.moved) };
        format!(
            "{}{moved}, push-down {}{}",
            self.schema,
            if self.pushdown { "on" } else { "off" },
            self.shape.words()
        )
    }
}

/// The stores, opened.
#[derive(Debug)]
pub(crate) struct World {
    /// One engine a shape, in the order of [`Shape::ALL`].
    engines: [Arc<Engine>; 4],
    /// End the workers.
    _workers: Vec<DropGuard>,
    doors: Option<Doors>,
    /// Schemas with the kinds they lack.
    lacking: Vec<(&'static str, &'static [Kind])>,
    plain: Option<Plain>,
}

/// A plain PostgreSQL with all rows: its URL, and the namespace of the tables.
pub(crate) type Plain = (String, String);

impl World {
    /// Loads every store, and opens engines over them and the reference.
    pub(crate) async fn open(
        stores: &[&dyn Store],
        manner: Manner,
        tables: &[LogicalTable],
        plain: Option<Plain>,
    ) -> Result<Self> {
        let mut sources: Vec<Arc<dyn Source>> = Vec::new();
        let mut lacking = Vec::new();
        let mut lakes = Vec::new();
        for store in stores {
            for table in tables {
                store.load(table).await.with_context(|| format!("load {}.{}", store.schema(), table.name))?;
            }
            sources.push(store.open(tables)?);
            lakes.extend(store.lake()?);
            lacking.push((store.schema(), store.lacks()));
        }
        for (schema, manner) in [(REFERENCE, Manner::Good), ("planted", manner)] {
            let name = SourceName::try_new(schema).map_err(anyhow::Error::msg)?;
            sources.push(Arc::new(MemorySource::new(name, manner, tables)?));
        }
        let mut builder = Catalog::builder();
        for source in sources {
            builder = builder.add(source);
        }
        let catalog = builder.build()?;
        catalog.tables().await;
        let open = |memory_bytes, partitions| {
            Engine::open(EngineConfig {
                tables: Arc::new(SourceTables(Arc::clone(&catalog))),
                semantics: None,
                system: Vec::new(),
                memory_bytes,
                partitions,
            })
        };
        let (workers, guards) = workers::start(&lakes)?;
        // A batch of one row takes as much as one of many: small memory is the other one's trial.
        let [usual, parts, steps] = [open(512 << 20, 1)?, open(64 << 20, 4)?, open(1 << 30, 2)?];
        let spread = open(512 << 20, 2)?.with_batch_rows(4).with_workers(workers);
        let engines = [usual, parts, steps.with_batch_rows(1), spread].map(Arc::new);
        let doors = if plain.is_some() { Some(Doors::open(&engines[0]).await?) } else { None };
        Ok(Self { engines, _workers: guards, doors, lacking, plain })
    }

    /// Bytes that the queries of all engines hold.
    pub(crate) fn held(&self) -> usize {
        self.engines.iter().map(|engine| engine.memory_reserved()).sum()
    }

    /// Whether a query reads only what the stores of a way hold.
    pub(crate) fn holds(&self, way: Way, query: &Query) -> bool {
        let lacked =
            |schema: &str| self.lacking.iter().find(|(known, _)| *known == schema).map(|(_, kinds)| *kinds);
        [way.schema, way.moved].iter().all(|schema| lacked(schema).is_none_or(|kinds| !query.reads(kinds)))
    }

    /// Somebody who asks, one question at a time.
    pub(crate) async fn asker(&self) -> Result<Asker<'_>> {
        let session = |engine: &Engine, on: bool| {
            let session = engine.session(Identity { user: "oracle".into(), pid: 1, protocol: "internal" });
            session.settings().set("portolan.pushdown", Some(if on { "on" } else { "off" }))?;
            session.settings().set("portolan.worker_bytes", Some("1"))?;
            Ok::<_, QueryError>(session)
        };
        let mut sessions = Vec::new();
        for shape in Shape::ALL {
            let engine = &self.engines[shape.index()];
            sessions.push([session(engine, false)?, session(engine, true)?]);
        }
        let plain = match &self.plain {
            None => None,
            Some((url, _)) => {
                let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
                tokio::spawn(connection);
                client.batch_execute("SET TimeZone = 'UTC'; SET extra_float_digits = 1").await?;
                Some(client)
            }
        };
        let visitor = match &self.doors {
            Some(doors) => Some(doors.enter().await?),
            None => None,
        };
        Ok(Asker { world: self, sessions, plain, visitor })
    }
}

/// A set of sessions.
pub(crate) struct Asker<'a> {
    pub(crate) world: &'a World,
    /// For each shape one with push-down off and one with it on.
    sessions: Vec<[Session; 2]>,
    plain: Option<tokio_postgres::Client>,
    visitor: Option<Visitor>,
}

fn refused(error: &QueryError) -> Outcome {
    Outcome::Error { sqlstate: error.code.sqlstate().to_owned(), message: error.message.clone() }
}

impl Asker<'_> {
    /// The answer of one way.
    pub(crate) async fn ask(&self, way: Way, query: &Query) -> Result<Outcome> {
        self.ask_text(way, &way.sql(query)).await
    }

    /// The answer to a text.
    pub(crate) async fn ask_text(&self, way: Way, sql: &str) -> Result<Outcome> {
        self.ask_with(way, sql, Vec::new()).await
    }

    /// The answer to a text with parameters, all of them texts.
    pub(crate) async fn ask_with(
        &self,
        way: Way,
        sql: &str,
        parameters: Vec<ScalarValue>,
    ) -> Result<Outcome> {
        let engine = &self.world.engines[way.shape.index()];
        let session = &self.sessions[way.shape.index()][usize::from(way.pushdown)];
        let prepared = match engine.prepare(session, sql, &vec![Some(PgType::TEXT); parameters.len()]).await {
            Ok(prepared) => prepared,
            Err(error) => return Ok(refused(&error)),
        };
        let control = QueryControl { deadline: Some(Instant::now() + PATIENCE), ..QueryControl::default() };
        let mut answer = match engine.execute(session, &prepared, parameters, control).await {
            Ok(answer) => answer,
            Err(error) => return Ok(refused(&error)),
        };
        let mut rows = Vec::new();
        while let Some(batch) = answer.rows.next().await {
            match batch {
                Ok(batch) => rows.extend(cells(&batch)?),
                Err(error) => return Ok(refused(&QueryError::from(error))),
            }
        }
        Ok(Outcome::Rows { types: prepared.columns.iter().map(|column| column.pg.oid).collect(), rows })
    }

    /// The plan of one way.
    pub(crate) async fn explain(&self, way: Way, query: &Query) -> String {
        match self.ask_text(way, &format!("EXPLAIN {}", way.sql(query))).await {
            Ok(Outcome::Rows { rows, .. }) => rows
                .iter()
                .flatten()
                .map(|cell| if let Cell::Text(line) = cell { format!("    {line}") } else { String::new() })
                .collect::<Vec<_>>()
                .join("\n"),
            other => format!("    no plan: {other:?}"),
        }
    }

    /// Whether there is a plain PostgreSQL to ask.
    pub(crate) fn has_opinion(&self) -> bool {
        self.plain.is_some()
    }

    /// The text a plain PostgreSQL is asked.
    pub(crate) fn plain_sql(&self, query: &Query) -> String {
        query.sql(&|_, _| {
            self.world.plain.as_ref().map_or_else(String::new, |(_, namespace)| namespace.clone())
        })
    }

    /// What a plain PostgreSQL that holds all rows says.
    pub(crate) async fn opinion(&self, query: &Query) -> Result<Outcome> {
        let client = self.plain.as_ref().context("there is no plain PostgreSQL")?;
        let sql = self.plain_sql(query);
        let types: Vec<u32> = match client.prepare(&sql).await {
            Ok(prepared) => prepared.columns().iter().map(|column| column.type_().oid()).collect(),
            Err(error) => return doors::refused(&error),
        };
        let messages = match client.simple_query(&sql).await {
            Ok(messages) => messages,
            Err(error) => return doors::refused(&error),
        };
        Ok(Outcome::Rows { rows: doors::texts(messages, &types)?, types })
    }

    /// Whether there are doors to ask at.
    pub(crate) fn has_doors(&self) -> bool {
        self.visitor.is_some()
    }

    /// What is answered at a door.
    pub(crate) async fn knock(&self, door: Door, sql: &str) -> Result<Outcome> {
        self.visitor.as_ref().context("there are no doors")?.ask(door, sql).await
    }
}
