//! The extended protocol: Parse, Bind, Describe, Execute and Close.
//!
//! Each message is carried out when it comes; what it answers is buffered until Sync or Flush. A portal that is
//! executed row by row keeps its stream here between messages, so a suspended query holds no task of its own.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use pgwire::messages::data::NoData;
use pgwire::messages::extendedquery::{BindComplete, CloseComplete, ParseComplete, PortalSuspended};
use pgwire::messages::response::EmptyQueryResponse;

use super::{Conversation, Halt, shifted};
use crate::pg::backend::{Column, Control, Format, Route, Run};
use crate::pg::classify::{Class, SessionCommand};
use crate::pg::encode::format_at;
use crate::pg::fault::Fault;
use crate::pg::frame::{self, Bind, Frontend, Target};
use crate::pg::portal::{
    Bound, CursorKind, MAX_PORTALS, MAX_STATEMENTS, Portal, State, Statement, Tag, Yield,
};

impl Conversation {
    pub(super) async fn extended(&mut self, message: Frontend, received: Instant) -> Result<(), Halt> {
        match message {
            Frontend::Parse { name, sql, types } => self.parse(name, &sql, &types, received).await,
            Frontend::Bind(bind) => self.bind(bind),
            Frontend::Describe(target, name) => self.describe(target, &name),
            Frontend::Execute { portal, max_rows } => self.execute(&portal, max_rows, received).await,
            Frontend::Close(target, name) => {
                match target {
                    Target::Statement => {
                        self.statements.remove(&name);
                    }
                    Target::Portal => {
                        self.portals.remove(&name);
                    }
                }
                self.held();
                self.socket.out.send(&CloseComplete::new());
                Ok(())
            }
            Frontend::Query(_)
            | Frontend::Sync
            | Frontend::Flush
            | Frontend::FunctionCall
            | Frontend::Copy
            | Frontend::Terminate => Ok(()),
        }
    }

    async fn parse(&mut self, name: String, sql: &str, types: &[u32], received: Instant) -> Result<(), Halt> {
        let control = self.control(Some(sql), received);
        let statement = self.statement(&name, sql, types, false, &control).await?;
        self.statements.insert(name, Arc::new(statement));
        self.held();
        self.socket.out.send(&ParseComplete::new());
        Ok(())
    }

    fn bind(&mut self, bind: Bind) -> Result<(), Halt> {
        let Bind { portal, statement: name, formats, values, result_formats } = bind;
        let statement = self.find_statement(&name)?;
        self.admit(&statement.class)?;
        let parameters = statement.parameters();
        if values.len() != parameters.len() {
            return Err(Fault::protocol(format!(
                "bind message supplies {} parameters, but prepared statement \"{name}\" requires {}",
                values.len(),
                parameters.len()
            ))
            .into());
        }
        let formats: Vec<Format> = formats.into_iter().map(frame::format).collect::<Result<_, _>>()?;
        let result_formats: Vec<Format> =
            result_formats.into_iter().map(frame::format).collect::<Result<_, _>>()?;
        let columns = self.statement_columns(&statement).map_or(0, |columns| columns.len());
        if result_formats.len() > 1 && result_formats.len() != columns && !has_late_columns(&statement) {
            return Err(Fault::protocol(format!(
                "bind message has {} result formats but query has {columns} columns",
                result_formats.len()
            ))
            .into());
        }
        if !portal.is_empty() && self.portals.contains_key(&portal) {
            return Err(Fault::new("42P03", format!("cursor \"{portal}\" already exists")).into());
        }
        if self.portals.len() >= MAX_PORTALS {
            return Err(too_many_portals().into());
        }
        let values: Vec<(Format, Option<Bytes>)> = values
            .into_iter()
            .enumerate()
            .map(|(index, value)| (format_at(&formats, index), value))
            .collect();
        let decoded = self.decode(&statement, &values)?;
        let portal_state = Portal {
            statement,
            values,
            decoded,
            formats: result_formats,
            state: State::Ready,
            cursor: None,
            depth: self.transaction.depth(),
            position: 0,
            cancel: self.connection.terminate.child_token(),
        };
        self.portals.insert(portal, portal_state);
        self.socket.out.send(&BindComplete::new());
        Ok(())
    }

    fn describe(&mut self, target: Target, name: &str) -> Result<(), Halt> {
        let (columns, formats) = match target {
            Target::Statement => {
                let statement = self.find_statement(name)?;
                self.admit_describe(&statement)?;
                self.socket.out.parameter_description(statement.parameters());
                (self.statement_columns(&statement), Vec::new())
            }
            Target::Portal => {
                let portal = self
                    .portals
                    .get(name)
                    .ok_or_else(|| Fault::new("34000", format!("portal \"{name}\" does not exist")))?;
                let columns = match &portal.statement.class {
                    Class::Session(command) if portal.cursor.is_none() => self.command_columns(command),
                    _ => portal.columns(),
                };
                (columns, portal.formats.clone())
            }
        };
        match columns {
            Some(columns) => self.socket.out.row_description(&columns, &formats),
            None => self.socket.out.send(&NoData::new()),
        }
        Ok(())
    }

    /// In an aborted transaction PostgreSQL does not describe statements that return rows.
    fn admit_describe(&self, statement: &Statement) -> Result<(), Fault> {
        if self.statement_columns(statement).is_some() { self.admit(&statement.class) } else { Ok(()) }
    }

    async fn execute(&mut self, name: &str, max_rows: i32, received: Instant) -> Result<(), Halt> {
        let missing = || Fault::new("34000", format!("portal \"{name}\" does not exist"));
        let statement =
            self.portals.get(name).map(|portal| Arc::clone(&portal.statement)).ok_or_else(missing)?;
        self.admit(&statement.class)?;
        let control = self.control(Some(&statement.sql), received);
        // Taken out while it runs: an error or a cancel drops its stream, and a command may change the map.
        let mut portal = self.portals.remove(name).ok_or_else(missing)?;
        let limit = u64::try_from(max_rows).ok().filter(|limit| *limit > 0);
        let result = Box::pin(self.execute_portal(&mut portal, limit, &control)).await;
        let ended_by_itself = matches!(
            &statement.class,
            Class::Session(
                SessionCommand::Commit { .. } | SessionCommand::Rollback { .. } | SessionCommand::Discard(_)
            )
        );
        if result.is_err() {
            portal.state = State::Broken;
        }
        if !ended_by_itself {
            self.portals.insert(name.to_owned(), portal);
        }
        result
    }

    async fn execute_portal(
        &mut self,
        portal: &mut Portal,
        limit: Option<u64>,
        control: &Control,
    ) -> Result<(), Halt> {
        if matches!(portal.state, State::Ready) {
            let statement = Arc::clone(&portal.statement);
            let yielded = match (&statement.class, &statement.plan) {
                (Class::Session(SessionCommand::Declare { name, binary, scroll, hold, .. }), Some(plan)) => {
                    let kind = CursorKind::declared(*hold, *scroll, *binary);
                    let bound = Bound { values: portal.values.clone(), decoded: portal.decoded.clone() };
                    Box::pin(self.declare_bound(name, kind, plan.clone(), bound, control)).await?;
                    Yield::Tag("DECLARE CURSOR".to_owned())
                }
                (Class::Session(command), _) => {
                    Box::pin(self.command(command, &statement.sql, control, Some(&portal.formats))).await?
                }
                (_, Some(plan)) => {
                    // What may be suspended outlives this message's deadline and cancel token.
                    let own = match limit {
                        Some(_) => Control { cancel: portal.cancel.clone(), deadline: None },
                        None => control.clone(),
                    };
                    let run = Run {
                        values: portal.decoded.clone(),
                        raw: portal.values.clone(),
                        result_formats: portal.formats.clone(),
                        extended: true,
                        control: own,
                    };
                    Box::pin(self.start(plan, run, control)).await?
                }
                _ => Yield::Empty,
            };
            match yielded {
                Yield::Empty => {
                    self.socket.out.send(&EmptyQueryResponse::new());
                    return Ok(());
                }
                Yield::Tag(tag) => {
                    self.socket.out.complete(&tag);
                    portal.state = State::Done(Tag::Plain(tag));
                    return Ok(());
                }
                Yield::Rows(answered) => portal.state = State::Rows(answered),
            }
        }
        let formats = portal.formats.clone();
        match &mut portal.state {
            State::Rows(answered) => {
                let (rows, exhausted) = self.pull(answered, &formats, limit, control).await?;
                // A cursor's place behind its last row is one further, and is read from again.
                let end = answered.source.kept().map(|(total, _)| u64::try_from(total).unwrap_or(u64::MAX));
                portal.position = portal.position.saturating_add(rows + u64::from(exhausted));
                if let Some(total) = end {
                    portal.position = portal.position.min(total.saturating_add(1));
                }
                if !exhausted {
                    self.socket.out.send(&PortalSuspended::new());
                    return Ok(());
                }
                if let Some(fault) = answered.tail.take() {
                    return Err(fault.into());
                }
                self.socket.out.complete(&answered.tag.with(rows));
                if portal.cursor.is_none() {
                    portal.state = State::Done(answered.tag.clone());
                }
            }
            State::Done(tag) => self.socket.out.complete(&tag.with(0)),
            State::Ready | State::Broken => {
                return Err(Fault::new("55000", "portal cannot be run").into());
            }
        }
        Ok(())
    }

    /// Output columns of a statement, as far as they are known before it runs.
    fn statement_columns(&self, statement: &Statement) -> Option<Arc<[Column]>> {
        match &statement.class {
            Class::Session(command) => self.command_columns(command),
            _ => statement.plan.as_ref().and_then(|plan| plan.columns.clone()),
        }
    }

    /// Whether the running command came through the extended protocol, where Describe is a message of its own.
    pub(crate) fn in_extended(&self) -> bool {
        self.in_batch
    }

    /// Plans a statement to be kept under a name.
    pub(crate) async fn statement(
        &mut self,
        name: &str,
        sql: &str,
        types: &[u32],
        by_sql: bool,
        control: &Control,
    ) -> Result<Statement, Halt> {
        let texts = self.backend.split(sql)?;
        if texts.len() > 1 {
            return Err(
                Fault::new("42601", "cannot insert multiple commands into a prepared statement").into()
            );
        }
        let (text, offset) = match texts.first() {
            Some(text) => (sql.get(text.range.clone()).unwrap_or_default(), text.position_offset),
            None => ("", 0),
        };
        let class = if texts.is_empty() {
            Class::Empty
        } else {
            self.backend.classify(text).map_err(|fault| fault.shifted(offset))?
        };
        self.admit(&class).map_err(|fault| fault.shifted(offset))?;
        if !name.is_empty() && self.statements.contains_key(name) {
            return Err(Fault::new("42P05", format!("prepared statement \"{name}\" already exists")).into());
        }
        if self.statements.len() >= MAX_STATEMENTS {
            return Err(Fault::new(
                "53400",
                format!("a connection can have at most {MAX_STATEMENTS} prepared statements"),
            )
            .with_hint("close statements that are no longer needed, or DEALLOCATE ALL")
            .into());
        }
        let plan = match &class {
            Class::Session(SessionCommand::Declare { query, .. }) => {
                let inner = self.inner(text, query, types, control).await;
                inner.map_err(|halt| shifted(halt, offset))?.plan
            }
            Class::Empty | Class::Session(_) => None,
            _ => Some(
                self.plan(text, &class, types, true, control).await.map_err(|halt| shifted(halt, offset))?,
            ),
        };
        Ok(Statement { sql: Arc::from(text), class, plan, by_sql })
    }

    pub(crate) fn decode(
        &self,
        statement: &Statement,
        values: &[(Format, Option<Bytes>)],
    ) -> Result<Vec<datafusion::scalar::ScalarValue>, Fault> {
        let Some(plan) = statement.plan.as_ref().filter(|plan| plan.route == Route::Engine) else {
            return Ok(Vec::new());
        };
        let zone = self.style().zone;
        plan.parameters
            .iter()
            .zip(values)
            .enumerate()
            .map(|(index, (oid, (format, value)))| {
                crate::pg::decode::decode(*oid, *format, value.as_deref(), index, zone)
            })
            .collect()
    }

    pub(crate) fn find_statement(&self, name: &str) -> Result<Arc<Statement>, Fault> {
        self.statements.get(name).map(Arc::clone).ok_or_else(|| {
            let message = if name.is_empty() {
                "unnamed prepared statement does not exist".to_owned()
            } else {
                format!("prepared statement \"{name}\" does not exist")
            };
            Fault::new("26000", message)
        })
    }
}

/// FETCH and EXECUTE name something that may be made in the same batch, so their columns are known only later.
fn has_late_columns(statement: &Statement) -> bool {
    matches!(statement.class, Class::Session(SessionCommand::Fetch { .. } | SessionCommand::Execute { .. }))
}

pub(crate) fn too_many_portals() -> Fault {
    Fault::new("53400", format!("a connection can have at most {MAX_PORTALS} open portals and cursors"))
        .with_hint("close cursors that are no longer needed")
}
