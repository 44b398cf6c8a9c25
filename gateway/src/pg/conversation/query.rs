//! The simple protocol, and what both protocols do with a statement: admit it, plan it, start it, send its rows.
//!
//! The statements of one Query message are one implicit transaction; the first error ends it. Rows are never
//! gathered: [`Conversation::pull`] hands a stream to the socket as that drains.

use std::sync::Arc;
use std::time::Instant;

use pgwire::messages::response::EmptyQueryResponse;

use super::{Conversation, Halt, shifted};
use crate::pg::backend::{Control, Format, Outcome, Prepared, Run};
use crate::pg::classify::{Class, SessionCommand};
use crate::pg::fault::Fault;
use crate::pg::portal::{Answered, Tag, Yield};
use crate::pg::rows::{RowsError, Sink, Source};
use crate::pg::transaction::Status;

impl Conversation {
    /// A Query message.
    pub(super) async fn query(&mut self, sql: &str, received: Instant) -> Result<(), Halt> {
        // A simple query drops the unnamed statement and portal.
        self.portals.remove("");
        self.statements.remove("");
        self.begin_implicit();
        let mut control = self.control(Some(sql), received);
        let statements = self.backend.split(sql)?;
        if statements.is_empty() {
            self.socket.out.send(&EmptyQueryResponse::new());
            return Ok(());
        }
        self.transaction.implicit = statements.len() > 1;
        for (index, text) in statements.iter().enumerate() {
            let statement = sql.get(text.range.clone()).unwrap_or_default();
            if index > 0 {
                control = self.control(None, Instant::now());
            }
            let offset = text.position_offset;
            Box::pin(self.simple(statement, &control)).await.map_err(|halt| shifted(halt, offset))?;
        }
        Ok(())
    }

    async fn simple(&mut self, sql: &str, control: &Control) -> Result<(), Halt> {
        let class = self.backend.classify(sql)?;
        self.admit(&class)?;
        let yielded = match &class {
            Class::Empty => Yield::Empty,
            Class::Session(command) => Box::pin(self.command(command, sql, control, None)).await?,
            _ => {
                let plan = self.plan(sql, &class, &[], false, control).await?;
                if !plan.parameters.is_empty() {
                    return Err(Fault::new("42P02", "there is no parameter $1").into());
                }
                let run = Run { control: control.clone(), ..Run::default() };
                Box::pin(self.start(&plan, run, control)).await?
            }
        };
        match yielded {
            Yield::Empty => self.socket.out.send(&EmptyQueryResponse::new()),
            Yield::Tag(tag) => self.socket.out.complete(&tag),
            Yield::Rows(mut answered) => {
                self.socket.out.row_description(&answered.columns, &[]);
                let (rows, _) = self.pull(&mut answered, &[], None, control).await?;
                if let Some(fault) = answered.tail.take() {
                    return Err(fault.into());
                }
                self.socket.out.complete(&answered.tag.with(rows));
            }
        }
        Ok(())
    }

    /// Refuses what may not run now.
    pub(super) fn admit(&self, class: &Class) -> Result<(), Fault> {
        let ends = matches!(
            class,
            Class::Empty
                | Class::Session(
                    SessionCommand::Commit { .. }
                        | SessionCommand::Rollback { .. }
                        | SessionCommand::RollbackTo(_)
                )
        );
        if self.transaction.status() == Status::Failed && !ends {
            return Err(Fault::new(
                "25P02",
                "current transaction is aborted, commands ignored until end of transaction block",
            ));
        }
        match class {
            Class::Refused(error) => Err(error.clone().into()),
            _ => Ok(()),
        }
    }

    pub(crate) async fn plan(
        &mut self,
        sql: &str,
        class: &Class,
        types: &[u32],
        describe: bool,
        control: &Control,
    ) -> Result<Prepared, Halt> {
        let Self { socket, backend, .. } = self;
        let plan = socket.during(control, backend.prepare(sql, class, types, describe)).await??;
        if plan.columns.as_ref().is_some_and(|columns| columns.len() > 1664) {
            return Err(Fault::new("54011", "target lists can have at most 1664 entries").into());
        }
        Ok(plan)
    }

    /// Starts a planned statement.
    pub(crate) async fn start(
        &mut self,
        plan: &Prepared,
        run: Run,
        control: &Control,
    ) -> Result<Yield, Halt> {
        let Self { socket, backend, .. } = self;
        let outcome = socket.during(control, backend.execute(plan, run)).await??;
        match outcome {
            Outcome::Rows { rows, notices } => {
                for notice in &notices {
                    self.notice(notice);
                }
                let columns = plan.columns.clone().unwrap_or_default();
                let tag = if plan.tag == "SELECT" {
                    Tag::Counted("SELECT")
                } else {
                    Tag::Plain(plan.tag.to_owned())
                };
                Ok(Yield::Rows(Box::new(Answered { columns, source: Source::stream(rows), tag, tail: None })))
            }
            Outcome::Done { tag, notices } => {
                for notice in &notices {
                    self.notice(notice);
                }
                Ok(Yield::Tag(tag))
            }
            Outcome::Relayed(relayed) => {
                for notice in &relayed.notices {
                    self.notice(notice);
                }
                for setting in &relayed.settings {
                    self.assign(&setting.name, setting.value.as_deref(), setting.local, control).await?;
                }
                let Some(columns) = relayed.columns.or_else(|| plan.columns.clone()) else {
                    return match relayed.error {
                        Some(fault) => Err(fault.into()),
                        None => Ok(Yield::Tag(relayed.tag)),
                    };
                };
                let tag = if relayed.tag.starts_with("SELECT") || relayed.tag.is_empty() {
                    Tag::Counted("SELECT")
                } else {
                    Tag::Plain(relayed.tag)
                };
                let source = Source::Relayed { rows: relayed.rows, formats: relayed.formats, at: 0 };
                Ok(Yield::Rows(Box::new(Answered { columns, source, tag, tail: relayed.error })))
            }
        }
    }

    /// Sends rows.
    pub(crate) async fn pull(
        &mut self,
        answered: &mut Answered,
        formats: &[Format],
        limit: Option<u64>,
        control: &Control,
    ) -> Result<(u64, bool), Halt> {
        let style = self.style();
        let columns = Arc::clone(&answered.columns);
        let sink = Sink::Rows { columns: &columns, formats };
        let result = answered.source.send(&mut self.socket, control, &style, limit, &sink).await;
        result.map_err(|error| self.halt(error))
    }

    pub(crate) fn halt(&self, error: RowsError) -> Halt {
        match error {
            RowsError::Stop(stop) => stop.into(),
            RowsError::Fault(fault) => fault.into(),
            RowsError::Engine(error) => self.backend.fault(error).into(),
        }
    }
}
