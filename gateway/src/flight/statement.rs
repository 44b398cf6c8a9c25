//! From a client's text to what will run: planned once when it is asked for, run when it is fetched.
//!
//! The text is told apart by the same rules as on the other door, so a statement means the same here. A plan is made
//! again when the catalog or the settings have moved on, and must then have the same columns.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use portolan_catalog::federation::QueryId;
use tokio_util::sync::CancellationToken;

use super::FlightConfig;
use super::bind;
use super::catalog::CatalogQuery;
use super::command::Command;
use super::placeholders;
use super::schema;
use super::session::{FlightSession, fingerprint};
use super::status::{from_fault, from_statement, refused};
use crate::engine::{Engine, Prepared, QueryControl, Staleness};
use crate::error::{ErrorCode, QueryError, cancelled};
use crate::pg::classify::{Class, Limits, classify};
use crate::pg::statement as reader;
use crate::pgtypes::PgType;
use crate::session::Session;
use crate::settings::Settings;

/// Values of the parameters of one execution, `$1` first.
pub(super) type Values = Vec<ScalarValue>;

/// Rows as they come out.
pub(super) type Rows = BoxStream<'static, Result<RecordBatch, QueryError>>;

/// Rows, and what is old about them.
pub(super) struct Fetched {
    pub(super) rows: Rows,
    pub(super) stale: Option<Arc<Staleness>>,
}

impl Fetched {
    fn new(rows: Rows) -> Self {
        Self { rows, stale: None }
    }
}

/// What a statement is.
#[derive(Debug, Clone)]
pub(super) enum Planned {
    /// Rows of the engine.
    Query(Arc<Query>),
    /// Rows of the shadow catalog.
    Catalog(Arc<CatalogQuery>),
    /// An answer of the session.
    Command(Command),
}

/// A planned query with the session it was planned in.
#[derive(Debug)]
pub(super) struct Query {
    session: Arc<Session>,
    prepared: Prepared,
    declared: Vec<Option<PgType>>,
    schema: SchemaRef,
}

/// A result that was asked for and can be fetched by its ticket.
#[derive(Debug)]
pub(super) struct Flight {
    /// What runs.
    pub(super) planned: Planned,
    /// One execution per entry, their rows one after another.
    pub(super) executions: Vec<Values>,
    /// Ends whatever was fetched of it, and refuses to run it again.
    pub(super) cancel: CancellationToken,
}

/// A prepared statement of a session.
#[derive(Debug)]
pub(super) struct PreparedStatement {
    planned: Mutex<Planned>,
    bound: Mutex<Option<Vec<Values>>>,
}

impl Planned {
    /// Columns of the result.
    pub(super) fn schema(&self) -> SchemaRef {
        match self {
            Self::Query(query) => Arc::clone(&query.schema),
            Self::Catalog(query) => Arc::clone(&query.schema),
            Self::Command(command) => command.schema(),
        }
    }

    /// What the client asked; a command of the session is none that runs.
    pub(super) fn sql(&self) -> &str {
        match self {
            Self::Query(query) => &query.prepared.sql,
            Self::Catalog(query) => &query.sql,
            Self::Command(_) => "",
        }
    }

    /// Types of the parameters.
    pub(super) fn parameters(&self) -> &[PgType] {
        match self {
            Self::Query(query) => &query.prepared.parameters,
            Self::Catalog(query) => &query.parameters,
            Self::Command(_) => &[],
        }
    }
}

impl PreparedStatement {
    pub(super) fn new(planned: Planned) -> Self {
        Self { planned: Mutex::new(planned), bound: Mutex::new(None) }
    }

    /// What it is now.
    pub(super) fn planned(&self) -> Planned {
        self.planned.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes the values of its next executions, planning it again for parameters they declare.
    ///
    /// # Errors
    /// Those of planning, and of values that do not fit.
    pub(super) async fn bind(
        &self,
        config: &FlightConfig,
        session: &FlightSession,
        batches: &[RecordBatch],
    ) -> Result<(), QueryError> {
        let zone = session.settings().time_zone().to_owned();
        let mut planned = self.planned();
        if let Planned::Query(query) = &planned {
            let declared = bind::declared(batches, planned.parameters());
            if declared.iter().any(Option::is_some) {
                let again = Query::plan(config, session, &query.prepared.sql, declared).await?;
                planned = Planned::Query(Arc::new(again));
                *self.planned.lock().unwrap_or_else(PoisonError::into_inner) = planned.clone();
            }
        }
        let values = bind::values(batches, planned.parameters(), &zone)?;
        *self.bound.lock().unwrap_or_else(PoisonError::into_inner) = Some(values);
        Ok(())
    }

    /// A flight with the values bound last, planned for the settings as they are now.
    ///
    /// # Errors
    /// Those of planning again; 0A000 when the columns are others now.
    pub(super) async fn flight(
        &self,
        config: &FlightConfig,
        session: &FlightSession,
        cancel: CancellationToken,
    ) -> Result<Flight, QueryError> {
        let planned = match self.planned() {
            Planned::Query(query) => {
                let settings = session.settings().clone();
                Planned::Query(query.current(&config.engine, Some(settings)).await?)
            }
            other @ (Planned::Catalog(_) | Planned::Command(_)) => other,
        };
        *self.planned.lock().unwrap_or_else(PoisonError::into_inner) = planned.clone();
        let bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Flight { planned, executions: bound.unwrap_or_else(|| vec![Vec::new()]), cancel })
    }
}

/// Plans one statement.
///
/// # Errors
/// As the engine's; 42601 for several statements; 0A000 for what belongs to the other door.
pub(super) async fn plan(
    config: &FlightConfig,
    session: &FlightSession,
    text: &str,
) -> Result<Planned, QueryError> {
    let statements = reader::split(text).map_err(from_fault)?;
    let [statement] = statements.as_slice() else {
        let message = match statements.len() {
            0 => "the statement is empty",
            _ => "cannot insert multiple commands into a prepared statement",
        };
        return Err(QueryError::new(ErrorCode::SyntaxError, message));
    };
    let own = text.get(statement.range.clone()).unwrap_or_default();
    let numbered = placeholders::number(own).map_err(from_fault)?;
    let planned = plan_numbered(config, session, &numbered.sql).await;
    planned.map_err(|mut error| {
        error.position =
            error.position.map(|position| numbered.original(position) + statement.position_offset);
        error
    })
}

async fn plan_numbered(
    config: &FlightConfig,
    session: &FlightSession,
    sql: &str,
) -> Result<Planned, QueryError> {
    let search_path = session.settings().search_path();
    let class = classify(sql, &search_path, config.names.as_ref(), &Limits::default()).map_err(from_fault)?;
    let by_postgres = match class {
        Class::Session(command) => return Command::of(command).map(Planned::Command),
        Class::Refused(error) => return Err(from_statement(error)),
        Class::Catalog | Class::Unparseable => true,
        Class::Empty | Class::Constant | Class::Data | Class::Mixed => false,
    };
    if !by_postgres {
        return Query::plan(config, session, sql, Vec::new()).await.map(Arc::new).map(Planned::Query);
    }
    let Some(shadow) = &config.shadow else {
        let query = Query::plan(config, session, sql, Vec::new()).await.map_err(no_catalog)?;
        return Ok(Planned::Query(Arc::new(query)));
    };
    let described = CatalogQuery::plan(config, shadow, session, sql).await?;
    // PostgreSQL does not say the scale of a computed number; the engine does, if it understands the statement alike.
    if described.has_loose_numbers()
        && let Ok(query) = Query::plan(config, session, sql, Vec::new()).await
        && described.agrees(&query.prepared.columns)
    {
        return Ok(Planned::Query(Arc::new(query)));
    }
    Ok(Planned::Catalog(Arc::new(described)))
}

/// The other door would have asked PostgreSQL; what the engine has no answer for is refused by name.
fn no_catalog(error: QueryError) -> QueryError {
    match error.code {
        ErrorCode::UndefinedTable
        | ErrorCode::UndefinedFunction
        | ErrorCode::UndefinedObject
        | ErrorCode::InvalidSchemaName
        | ErrorCode::FeatureNotSupported => refused("a system catalog or a function of PostgreSQL alone")
            .with_detail(error.message)
            .with_hint("ask with GetTables and its like, or connect with the PostgreSQL protocol"),
        _ => error,
    }
}

impl Query {
    async fn plan(
        config: &FlightConfig,
        session: &FlightSession,
        sql: &str,
        declared: Vec<Option<PgType>>,
    ) -> Result<Self, QueryError> {
        let session = session.open(&config.engine);
        let prepared = config.engine.prepare(&session, sql, &declared).await?;
        let schema = schema::of_columns(&prepared.columns);
        Ok(Self { session, prepared, declared, schema })
    }

    /// The query as it must be planned now: for these settings, or those it was planned with.
    async fn current(
        self: &Arc<Self>,
        engine: &Engine,
        settings: Option<Settings>,
    ) -> Result<Arc<Self>, QueryError> {
        let before = self.session.settings().clone();
        let settings = settings.unwrap_or_else(|| before.clone());
        if self.session.built_for() == engine.catalog_version()
            && fingerprint(&settings) == fingerprint(&before)
        {
            return Ok(Arc::clone(self));
        }
        let session = Arc::new(engine.session_with(self.session.identity.clone(), settings));
        let prepared = engine.prepare(&session, &self.prepared.sql, &self.declared).await?;
        let schema = schema::of_columns(&prepared.columns);
        let (new, old) = (&prepared.columns, &self.prepared.columns);
        let same = new.len() == old.len()
            && new.iter().zip(old.iter()).all(|(new, old)| new.name == old.name && new.pg == old.pg);
        if !same || prepared.parameters != self.prepared.parameters {
            return Err(QueryError::new(
                ErrorCode::FeatureNotSupported,
                "cached plan must not change result type",
            )
            .with_hint("prepare the statement again"));
        }
        Ok(Arc::new(Self { session, prepared, declared: self.declared.clone(), schema }))
    }

    /// Starts one execution. Dropping the rows stops it.
    async fn execute(
        self: Arc<Self>,
        engine: Arc<Engine>,
        values: Values,
        cancel: CancellationToken,
        tells_staleness: bool,
    ) -> Result<Fetched, QueryError> {
        let deadline = self.session.settings().statement_timeout().map(|timeout| Instant::now() + timeout);
        let query_id = QueryId::random();
        let control = QueryControl { cancel, deadline, query_id, now: None, tells_staleness };
        let answer = engine.execute(&self.session, &self.prepared, values, control).await?;
        let stale = answer.receipt.stale();
        Ok(Fetched { rows: answer.rows.map_err(QueryError::from).boxed(), stale })
    }
}

impl Flight {
    /// Runs it: rows of the result's schema or the error of the first execution. `cancel` ends it with 57014.
    ///
    /// # Errors
    /// Those of a plan made again and of the start; later ones come through the rows.
    pub(super) async fn run(
        &self,
        config: &FlightConfig,
        session: &FlightSession,
        cancel: CancellationToken,
    ) -> Result<Fetched, QueryError> {
        let engine = &config.engine;
        let query = match &self.planned {
            Planned::Catalog(query) => {
                return self.run_catalog(config, session, query, &cancel).await.map(Fetched::new);
            }
            Planned::Command(command) => {
                let batch = command.run(session)?;
                return Ok(Fetched::new(stream::once(async { Ok(batch) }).boxed()));
            }
            Planned::Query(query) => query.current(engine, None).await?,
        };
        let mut executions = self.executions.clone().into_iter();
        let Some(first) = executions.next() else { return Ok(Fetched::new(stream::empty().boxed())) };
        // The client is told before the first row, so only a first execution can say that it is old.
        let tells = executions.as_slice().is_empty();
        let start = {
            let engine = Arc::clone(engine);
            move |values: Values| {
                Arc::clone(&query).execute(Arc::clone(&engine), values, cancel.child_token(), tells)
            }
        };
        let Fetched { rows, stale } = start(first).await?;
        let others = stream::iter(executions).then(start).map_ok(|fetched| fetched.rows).try_flatten();
        Ok(Fetched { rows: rows.chain(others).boxed(), stale })
    }

    async fn run_catalog(
        &self,
        config: &FlightConfig,
        session: &FlightSession,
        query: &CatalogQuery,
        cancel: &CancellationToken,
    ) -> Result<Rows, QueryError> {
        let Some(shadow) = &config.shadow else {
            return Err(QueryError::new(ErrorCode::SystemError, "the catalog is restarting"));
        };
        let mut batches = Vec::with_capacity(self.executions.len());
        for values in &self.executions {
            let answer = query.run(config, shadow, session, values);
            let batch = tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(cancelled()),
                batch = answer => batch?,
            };
            batches.push(Ok(batch));
        }
        Ok(stream::iter(batches).boxed())
    }
}
