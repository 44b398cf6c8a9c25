//! From text to a checked, analysed plan with typed columns and parameters.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::catalog::CatalogProvider;
use datafusion::common::SchemaError;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::parser::Statement as DFStatement;
use datafusion::sql::sqlparser::ast::Statement;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Tokenizer;

use super::dialect::EngineDialect;
use super::relations::Tables;
use super::{
    CommandTag, Engine, Prepared, ResultColumn, adapt, authorize, budget, explain, recursive, relations,
    tables,
};
use crate::error::{ErrorCode, QueryError, find_identifier, from_parser};
use crate::pgtypes::PgType;
use crate::session::{CATALOG, Session};

/// What a plan depends on beside its text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Environment {
    search_path: Vec<String>,
    time_zone: String,
    user: String,
    version: u64,
}

impl Environment {
    pub(super) fn of(engine: &Engine, session: &Session) -> Self {
        let settings = session.settings();
        Self {
            search_path: settings.search_path(),
            time_zone: settings.time_zone().to_owned(),
            user: session.identity.user.clone(),
            version: engine.catalog_version(),
        }
    }
}

impl Environment {
    /// The same whatever other tables the catalog has.
    pub(super) fn of_any_version(&self) -> Self {
        Self { version: 0, ..self.clone() }
    }
}

/// Most parameters of a statement.
const MAX_PARAMETERS: usize = 65_535;

pub(super) async fn prepare(
    engine: &Engine,
    session: &Session,
    sql: &str,
    declared: &[Option<PgType>],
) -> Result<Prepared, QueryError> {
    budget::check(sql)?;
    let sql: Arc<str> = Arc::from(sql);
    let declared = declared.to_vec();
    let state = session.state();
    let environment = Environment::of(engine, session);
    let semantics = engine.semantics.clone();
    let work = async move {
        let statement = parse(&sql)?;
        let (inner, mode) = explain::split(statement)?;
        plan(&sql, inner, mode, declared, &state, environment)
            .await
            .map_err(|failure| failure.explain(semantics.as_deref(), &sql))
    };
    super::execute::on_runtime(engine, work).await
}

/// A failure of planning: ours, or DataFusion's, which the KPI language may know more about.
pub(super) enum Failure {
    Ours(QueryError),
    Planner(Box<DataFusionError>),
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        Self::Ours(error)
    }
}

impl From<DataFusionError> for Failure {
    fn from(error: DataFusionError) -> Self {
        Self::Planner(Box::new(error))
    }
}

impl Failure {
    pub(super) fn explain(self, semantics: Option<&portolan_semantic::Semantics>, sql: &str) -> QueryError {
        match self {
            Self::Ours(error) => error,
            Self::Planner(error) => {
                let converted = semantics.and_then(|semantics| semantics.explain(&error)).map_or_else(
                    || QueryError::from_datafusion(&error, Some(sql)),
                    |refusal| QueryError::from(&refusal),
                );
                refuse(locate(converted, sql))
            }
        }
    }
}

/// A function PostgreSQL has and we do not is unsupported, not missing.
fn refuse(error: QueryError) -> QueryError {
    let name =
        error.message.strip_prefix("function ").and_then(|rest| rest.split('(').next()).map(str::to_owned);
    match name {
        Some(name)
            if error.code == ErrorCode::UndefinedFunction
                && crate::functions::REFUSED.contains(&name.as_str()) =>
        {
            QueryError::unsupported(format!("function {name}")).at_if_none(error.position)
        }
        _ => error,
    }
}

/// Finds the place of a name the message quotes, if the planner gave none.
fn locate(error: QueryError, sql: &str) -> QueryError {
    if error.position.is_some() {
        return error;
    }
    let name = match error.code {
        ErrorCode::UndefinedColumn | ErrorCode::AmbiguousColumn => {
            error.message.split('"').nth(1).map(str::to_owned).or_else(|| {
                error.message.split(' ').nth(1).map(|name| name.rsplit('.').next().unwrap_or(name).to_owned())
            })
        }
        ErrorCode::UndefinedFunction => error
            .message
            .strip_prefix("function ")
            .and_then(|rest| rest.split('(').next())
            .map(|name| name.trim().to_owned()),
        ErrorCode::UndefinedTable => error
            .message
            .strip_prefix("missing FROM-clause entry for table ")
            .map(|name| name.trim_matches('"').to_owned()),
        _ => None,
    };
    let position = name.and_then(|name| find_identifier(sql, &name));
    error.at_if_none(position)
}

/// Parses exactly one statement.
pub(super) fn parse(sql: &str) -> Result<Statement, QueryError> {
    let statements = Tokenizer::new(&EngineDialect, sql)
        .tokenize_with_location()
        .map_err(ParserError::from)
        .and_then(|tokens| {
            Parser::new(&EngineDialect)
                .with_recursion_limit(400)
                .with_tokens_with_locations(tables::spelled_out(tokens))
                .parse_statements()
        })
        .map_err(|error| from_parser(&error, Some(sql)))?;
    let mut statements = statements.into_iter();
    match (statements.next(), statements.next()) {
        (Some(statement), None) => Ok(statement),
        (None, _) => Err(QueryError::new(ErrorCode::SyntaxError, "the statement is empty")),
        (Some(_), Some(_)) => Err(QueryError::new(
            ErrorCode::SyntaxError,
            "cannot insert multiple commands into a prepared statement",
        )),
    }
}

/// Refuses what is no query, in PostgreSQL's words.
fn only_queries(statement: &Statement) -> Result<(), QueryError> {
    if matches!(statement, Statement::Query(_)) {
        return Ok(());
    }
    let text = statement.to_string();
    let mut words = text.split_whitespace().map(str::to_uppercase);
    let first = words.next().unwrap_or_default();
    let command = match first.as_str() {
        "CREATE" | "DROP" | "ALTER" => format!("{first} {}", words.next().unwrap_or_default()),
        _ => first,
    };
    let writes = [
        "INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE", "CREATE", "DROP", "ALTER", "GRANT", "REVOKE",
        "COMMENT", "ANALYZE", "VACUUM", "LISTEN", "NOTIFY", "COPY", "REFRESH", "REINDEX", "CLUSTER",
    ];
    if writes.iter().any(|write| command.starts_with(write)) {
        return Err(QueryError::new(
            ErrorCode::ReadOnlyTransaction,
            format!("cannot execute {command} in a read-only transaction"),
        ));
    }
    Err(QueryError::unsupported(format!("statement {command}")))
}

pub(super) async fn plan(
    sql: &Arc<str>,
    statement: Statement,
    mode: Option<explain::ExplainMode>,
    declared: Vec<Option<PgType>>,
    state: &SessionState,
    environment: Environment,
) -> Result<Prepared, Failure> {
    only_queries(&statement)?;
    budget::check_reads(&statement)?;
    let catalog = state.catalog_list().catalog(CATALOG);
    if let Some(catalog) = &catalog {
        relations::look_up(&statement, &environment.search_path, catalog.as_ref()).await?;
    }
    let mut adapting =
        Adapting { sql, state, declared: &declared, environment: &environment, names_schemas: false };
    let adapted = adapting.adapt(&statement, catalog.as_deref(), &Tables::new())?;
    let mut planned = Box::pin(state.statement_to_plan(adapted)).await;
    // Only what is refused without it.
    if planned.as_ref().is_err_and(is_of_a_table) {
        adapting.names_schemas = true;
        let adapted = adapting.adapt(&statement, catalog.as_deref(), &Tables::new())?;
        planned = Box::pin(state.statement_to_plan(adapted)).await;
    }
    let plan = match planned {
        // Only what is refused without it is asked for the keys of its tables.
        Err(error) if is_of_groups(&error) => {
            let Some(catalog) = &catalog else { return Err(error.into()) };
            let keyed = relations::keyed(&statement, &environment.search_path, catalog.as_ref()).await;
            if keyed.is_empty() {
                return Err(error.into());
            }
            let adapted = adapting.adapt(&statement, Some(catalog.as_ref()), &keyed)?;
            Box::pin(state.statement_to_plan(adapted)).await.map_err(|_| error)?
        }
        planned => planned?,
    };
    authorize::check(&plan)?;
    let plan = super::correlated::spelled_out(crate::functions::inferred(plan, &declared)?)?;
    let plan = crate::functions::lower(plan, environment.time_zone.parse().unwrap_or(chrono_tz::UTC))?;
    let (plan, parameters) = parameters(plan, &declared)?;
    let plan = state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {})?;
    let plan = recursive::of_one_note(plan)?;
    let columns = match mode {
        Some(_) => columns(explain::schema().fields().iter().cloned()),
        None => columns(plan.schema().fields().iter().cloned()),
    };
    if columns.len() > budget::MAX_COLUMNS {
        return Err(budget::too_many_columns().into());
    }
    Ok(Prepared {
        sql: Arc::clone(sql),
        columns: columns.into(),
        parameters,
        tag: if mode.is_some() { CommandTag::Explain } else { CommandTag::Select },
        statement: Arc::new(statement),
        plan: Arc::new(plan),
        explain: mode,
        declared,
        planned_at: Instant::now(),
        environment,
    })
}

/// Whether a column is refused for not being grouped by.
fn is_of_groups(error: &DataFusionError) -> bool {
    let text = error.strip_backtrace();
    text.contains("must appear in the GROUP BY clause") || text.contains("must be in GROUP BY")
}

/// Whether a column is refused that is named with its table.
fn is_of_a_table(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::SchemaError(schema, _)
        if matches!(schema.as_ref(), SchemaError::FieldNotFound { field, .. } if field.relation.is_some()))
}

/// What a statement is adapted with.
struct Adapting<'a> {
    sql: &'a str,
    state: &'a SessionState,
    declared: &'a [Option<PgType>],
    environment: &'a Environment,
    /// Whether columns are named with their tables' schemas.
    names_schemas: bool,
}

impl Adapting<'_> {
    /// The statement as the planner takes it; `keyed` are tables whose keys stand for their other columns in GROUP BY.
    fn adapt(
        &self,
        statement: &Statement,
        catalog: Option<&dyn CatalogProvider>,
        keyed: &Tables,
    ) -> Result<DFStatement, QueryError> {
        let exists = |schema: &str, table: &str| {
            catalog.and_then(|catalog| catalog.schema(schema)).is_some_and(|schema| schema.table_exist(table))
        };
        let names = || {
            let Some(catalog) = catalog else { return Vec::new() };
            let schemas = catalog.schema_names().into_iter();
            schemas
                .filter_map(|name| Some((catalog.schema(&name)?, name)))
                .flat_map(|(schema, name)| {
                    schema.table_names().into_iter().map(move |table| (name.clone(), table))
                })
                .collect()
        };
        let aggregates = |name: &str| self.state.aggregate_functions().contains_key(name);
        let surroundings = adapt::Surroundings {
            sql: self.sql,
            search_path: self.environment.search_path.clone(),
            exists: &exists,
            names: &names,
            keyed,
            aggregates: &aggregates,
            declared: self.declared,
            user: &self.environment.user,
        };
        let mut adapted = statement.clone();
        adapt::adapt(&mut adapted, surroundings)?;
        if self.names_schemas {
            adapt::qualified::name_schemas(&mut adapted);
        }
        Ok(DFStatement::Statement(Box::new(adapted)))
    }
}

/// Public names and wire types of a plan's columns.
fn columns(fields: impl Iterator<Item = FieldRef>) -> Vec<ResultColumn> {
    fields
        .map(|field| {
            let name = field.name().split(adapt::MARK).next().unwrap_or_default().to_owned();
            let mut pg = PgType::from_field(&field);
            // Only a declared column has a modifier in PostgreSQL; what is computed has none.
            if (pg.oid == PgType::NUMERIC.oid || pg.element().is_some_and(|of| of.oid == PgType::NUMERIC.oid))
                && !field.metadata().contains_key(portolan_catalog::source::PG_TYPE_KEY)
            {
                pg = pg.without_typmod();
            }
            ResultColumn { name, pg, arrow: field, table_oid: 0, attnum: 0 }
        })
        .collect()
}

/// Settles every parameter's type: declared, inferred, or text.
fn parameters(plan: LogicalPlan, declared: &[Option<PgType>]) -> Result<(LogicalPlan, Vec<PgType>), Failure> {
    let found = plan.get_parameter_fields()?;
    let mut highest = declared.len();
    for name in found.keys() {
        let number = name.strip_prefix('$').and_then(|n| n.parse::<usize>().ok());
        match number {
            Some(number) if number > 0 && number <= MAX_PARAMETERS => highest = highest.max(number),
            _ => {
                return Err(QueryError::new(
                    ErrorCode::UndefinedParameter,
                    format!("there is no parameter {}", name.replace('\0', "")),
                )
                .into());
            }
        }
    }
    let mut types = Vec::with_capacity(highest);
    let mut fields: HashMap<String, FieldRef> = HashMap::new();
    for index in 0..highest {
        let name = format!("${}", index + 1);
        let inferred = found.get(&name).cloned().flatten();
        let pg = declared
            .get(index)
            .copied()
            .flatten()
            .filter(|pg| pg.oid != PgType::UNKNOWN.oid && pg.oid != 0)
            .unwrap_or_else(|| {
                inferred.as_ref().map_or(PgType::TEXT, |field| PgType::from_field(field).without_typmod())
            });
        let arrow = match (&inferred, declared.get(index).copied().flatten()) {
            (Some(field), None) => field.data_type().clone(),
            _ => pg.to_arrow().unwrap_or(DataType::Utf8),
        };
        fields.insert(name.clone(), Arc::new(Field::new(name, arrow, true)));
        types.push(pg);
    }
    if fields.is_empty() {
        return Ok((plan, types));
    }
    let plan = plan
        .transform_up_with_subqueries(|node| {
            let node = node.map_expressions(|expr| {
                expr.transform_up(|expr| match expr {
                    Expr::Placeholder(Placeholder { id, .. }) => {
                        let field = fields.get(&id).cloned();
                        Ok(Transformed::yes(Expr::Placeholder(Placeholder { id, field })))
                    }
                    other => Ok(Transformed::no(other)),
                })
            })?;
            node.map_data(LogicalPlan::recompute_schema)
        })?
        .data;
    Ok((plan, types))
}
