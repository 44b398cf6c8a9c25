//! The calls of Flight SQL: what is asked for becomes a ticket, a ticket becomes rows.
//!
//! Asking plans and executes no query; fetching executes. Writes are refused as a read-only server refuses them,
//! transactions and Substrait by name.

use std::sync::Arc;

use arrow_flight::sql::{
    ActionCancelQueryResult, ActionCreatePreparedStatementResult, Command, DoPutPreparedStatementResult,
    DoPutUpdateResult, ProstMessageExt, TicketStatementQuery,
};
use arrow_flight::{Action, FlightData, IpcMessage, SchemaAsIpc};
use bytes::Bytes;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::ipc::writer::IpcWriteOptions;
use futures::{Stream, TryStreamExt, stream};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::auth::Sessions;
use super::message::{bare, name_of, packed, printable, unpacked};
use super::rows::{self, Messages};
use super::session::{FlightSession, Running};
use super::statement::{self, Fetched, Flight, Planned, PreparedStatement};
use super::status::refused;
use super::{FlightConfig, bind, lists};
use crate::engine::Staleness;
use crate::error::{ErrorCode, QueryError};

/// The actions there are, with what they do.
pub(super) const ACTIONS: &[(&str, &str)] = &[
    ("CreatePreparedStatement", "plans a statement and keeps it under a handle"),
    ("ClosePreparedStatement", "forgets a prepared statement"),
    ("CancelQuery", "ends whatever was fetched of a flight"),
    ("CancelFlightInfo", "ends whatever was fetched of a flight"),
    ("CloseSession", "ends the session of the token"),
];

/// `CANCELLED` of CancelFlightInfo and `CLOSED` of CloseSession: field 1, value 1.
const DONE: &[u8] = &[0x08, 0x01];
/// `CANCELLED` of CancelQuery.
const CANCELLED: i32 = 1;

/// What a client asks about a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Its columns.
    Schema,
    /// The way to its rows.
    Flight,
}

/// Answers calls whose caller is known.
#[derive(Debug)]
pub(super) struct Service {
    config: FlightConfig,
    sessions: Arc<Sessions>,
    /// Ends all that runs when draining took too long.
    abort: CancellationToken,
}

/// A schema as a message of its own.
pub(super) fn encoded(schema: &Schema) -> Result<Bytes, QueryError> {
    let options = IpcWriteOptions::default();
    let message: Result<IpcMessage, _> = SchemaAsIpc::new(schema, &options).try_into();
    message.map(|IpcMessage(bytes)| bytes).map_err(|error| QueryError::internal(&error))
}

fn no_transaction(id: Option<&Bytes>) -> Result<(), QueryError> {
    match id {
        Some(id) if !id.is_empty() => Err(no_transactions()),
        _ => Ok(()),
    }
}

fn no_transactions() -> QueryError {
    refused("a transaction").with_hint("turn autocommit on; every statement is a transaction of its own")
}

fn no_substrait() -> QueryError {
    refused("Substrait").with_hint("send the query as SQL")
}

fn no_such_flight() -> QueryError {
    QueryError::new(ErrorCode::InvalidStatementName, "this session has no such flight")
        .with_hint("cancel a flight with the login it was asked for with")
}

impl Service {
    pub(super) fn new(config: FlightConfig, sessions: Arc<Sessions>, abort: CancellationToken) -> Self {
        Self { config, sessions, abort }
    }

    /// Plans what a command asks for. Returns the ticket it is fetched with, and its columns. A SET is done at once if
    /// its flight is wanted, and not if only its columns are.
    ///
    /// # Errors
    /// Those of planning; 0A000 for a command we do not answer.
    pub(super) async fn ask(
        &self,
        session: &FlightSession,
        command: Command,
        wanted: Wanted,
    ) -> Result<(Bytes, SchemaRef), QueryError> {
        let mut flight = match command {
            Command::CommandStatementQuery(query) => {
                no_transaction(query.transaction_id.as_ref())?;
                let planned = statement::plan(&self.config, session, &query.query).await?;
                if !planned.parameters().is_empty() {
                    return Err(QueryError::new(ErrorCode::UndefinedParameter, "there is no parameter $1")
                        .with_hint("prepare the statement and bind its parameters"));
                }
                Flight { planned, executions: vec![Vec::new()], cancel: self.abort.child_token() }
            }
            Command::CommandPreparedStatementQuery(query) => {
                let statement = session.statements.get(&query.prepared_statement_handle)?;
                statement.flight(&self.config, session, self.abort.child_token()).await?
            }
            Command::CommandStatementSubstraitPlan(_) => return Err(no_substrait()),
            Command::CommandStatementUpdate(_) | Command::CommandPreparedStatementUpdate(_) => {
                return Err(refused("the flight of an update").with_hint("send an update with DoPut"));
            }
            list => {
                let Some(schema) = lists::schema(&list)? else {
                    return Err(refused(&format!("the command \"{}\"", name_of(list.type_url()))));
                };
                return Ok((packed(list.into_any()), schema));
            }
        };
        if let (Planned::Command(command), Wanted::Flight) = (&flight.planned, wanted) {
            flight.planned = Planned::Command(command.clone().settled(session)?);
        }
        let schema = flight.planned.schema();
        let statement_handle = session.tickets.insert(flight)?;
        Ok((packed(TicketStatementQuery { statement_handle }.as_any()), schema))
    }

    /// The rows of a ticket, and what is old about them. Dropping them stops the work.
    ///
    /// # Errors
    /// 28000 for a ticket of somebody else, 26000 for one that has expired; those of the start of an execution.
    pub(super) async fn fetch(
        &self,
        session: Arc<FlightSession>,
        ticket: Command,
    ) -> Result<(Messages, Option<Arc<Staleness>>), QueryError> {
        let flight = match ticket {
            Command::TicketStatementQuery(ticket) => session.tickets.get(&ticket.statement_handle)?,
            Command::CommandPreparedStatementQuery(query) => {
                let statement = session.statements.get(&query.prepared_statement_handle)?;
                Arc::new(statement.flight(&self.config, &session, self.abort.child_token()).await?)
            }
            list => {
                let name = name_of(list.type_url());
                let Some(batch) = lists::rows(&self.config, &session, list).await? else {
                    return Err(refused(&format!("the ticket \"{name}\""))
                        .with_hint("fetch the tickets of GetFlightInfo"));
                };
                let schema = batch.schema();
                return Ok((rows::messages(stream::once(async { Ok(batch) }), schema), None));
            }
        };
        let schema = flight.planned.schema();
        // A token of this fetch: the same flight may be fetched again.
        let cancel = flight.cancel.child_token();
        let running = Running::begin(&session, flight.planned.sql(), cancel.clone());
        let Fetched { rows, stale } = flight.run(&self.config, &session, cancel.clone()).await?;
        let abort = self.abort.clone();
        let rows = rows.map_err(move |error| {
            // The session counts as used, and its statement as running, while its rows run.
            let _in_use = (&session, &running);
            match error.code {
                ErrorCode::QueryCanceled if abort.is_cancelled() => QueryError::new(
                    ErrorCode::AdminShutdown,
                    "terminating connection due to administrator command",
                ),
                _ => error,
            }
        });
        let messages = rows::watched(rows::messages(rows, schema), self.config.write_stall_timeout, cancel);
        Ok((messages, stale))
    }

    /// Takes what a client puts: parameters of a prepared statement, or a statement run for its effect.
    ///
    /// # Errors
    /// 25006 for a write, 0A000 for what is neither.
    pub(super) async fn put(
        &self,
        session: &FlightSession,
        command: Command,
        data: impl Stream<Item = Result<FlightData, Status>> + Send + 'static,
    ) -> Result<Bytes, QueryError> {
        let planned = match command {
            Command::CommandPreparedStatementQuery(query) => {
                let handle = query.prepared_statement_handle;
                let statement = session.statements.get(&handle)?;
                let parameters = statement.planned().parameters().len();
                let batches = bind::read(data, parameters).await?;
                statement.bind(&self.config, session, &batches).await?;
                return Ok(bare(&DoPutPreparedStatementResult { prepared_statement_handle: Some(handle) }));
            }
            Command::CommandStatementUpdate(update) => {
                no_transaction(update.transaction_id.as_ref())?;
                statement::plan(&self.config, session, &update.query).await?
            }
            Command::CommandPreparedStatementUpdate(update) => {
                session.statements.get(&update.prepared_statement_handle)?.planned()
            }
            Command::CommandStatementIngest(_) => {
                return Err(QueryError::new(
                    ErrorCode::ReadOnlyTransaction,
                    "cannot execute INSERT in a read-only transaction",
                ));
            }
            Command::CommandStatementSubstraitPlan(_) => return Err(no_substrait()),
            other => return Err(refused(&format!("a put of \"{}\"", name_of(other.type_url())))),
        };
        match planned {
            Planned::Command(command) => command.run(session)?,
            Planned::Query(_) | Planned::Catalog(_) => {
                return Err(refused("a query as an update").with_hint("send it as a query"));
            }
        };
        Ok(bare(&DoPutUpdateResult { record_count: 0 }))
    }

    /// Does an action. Returns the body of its one result, if it has one.
    ///
    /// # Errors
    /// Those of planning; 0A000 for an action we do not have.
    pub(super) async fn act(
        &self,
        session: &FlightSession,
        action: Action,
    ) -> Result<Option<Bytes>, QueryError> {
        match action.r#type.as_str() {
            // These two have a body that is no packed command.
            "CancelFlightInfo" => {
                return cancel(session, &action.body).map(|()| Some(Bytes::from_static(DONE)));
            }
            "CloseSession" => {
                self.sessions.close(session);
                return Ok(Some(Bytes::from_static(DONE)));
            }
            known if ACTIONS.iter().any(|(name, _)| *name == known) => {}
            "BeginTransaction" | "EndTransaction" | "BeginSavepoint" | "EndSavepoint" => {
                return Err(no_transactions());
            }
            "CreatePreparedSubstraitPlan" => return Err(no_substrait()),
            "SetSessionOptions" | "GetSessionOptions" => {
                return Err(refused(&format!("the action \"{}\"", action.r#type))
                    .with_hint("send SET and SHOW as statements"));
            }
            other => return Err(refused(&format!("the action \"{}\"", printable(other)))),
        }
        match unpacked(&action.body)? {
            Command::ActionCreatePreparedStatementRequest(request) => {
                no_transaction(request.transaction_id.as_ref())?;
                let planned = statement::plan(&self.config, session, &request.query).await?;
                let dataset_schema = encoded(&planned.schema())?;
                let parameter_schema = encoded(&parameters(&planned))?;
                let handle = session.statements.insert(PreparedStatement::new(planned))?;
                let result = ActionCreatePreparedStatementResult {
                    prepared_statement_handle: handle,
                    dataset_schema,
                    parameter_schema,
                };
                Ok(Some(packed(result.as_any())))
            }
            Command::ActionClosePreparedStatementRequest(request) => {
                session.statements.remove(&request.prepared_statement_handle);
                Ok(None)
            }
            Command::ActionCancelQueryRequest(request) => {
                cancel(session, &request.info)?;
                Ok(Some(packed(ActionCancelQueryResult { result: CANCELLED }.as_any())))
            }
            other => Err(QueryError::new(
                ErrorCode::ProtocolViolation,
                format!(
                    "the action \"{}\" came with the body of \"{}\"",
                    printable(&action.r#type),
                    name_of(other.type_url())
                ),
            )),
        }
    }
}

/// The parameters of a statement as columns to bind.
fn parameters(planned: &Planned) -> Schema {
    let fields: Vec<Field> = planned
        .parameters()
        .iter()
        .zip(1..)
        .map(|(pg, number)| Field::new(format!("${number}"), pg.to_arrow().unwrap_or(DataType::Utf8), true))
        .collect();
    Schema::new(fields)
}

/// Ends the flights a message names: it holds a flight, and the flight its ticket.
fn cancel(session: &FlightSession, message: &[u8]) -> Result<(), QueryError> {
    let flights = session.tickets.mentioned_in(message);
    if flights.is_empty() {
        return Err(no_such_flight());
    }
    flights.iter().for_each(|flight| flight.cancel.cancel());
    Ok(())
}
