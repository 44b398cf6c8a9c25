//! Session commands: transactions, settings, cursors, SQL-level prepared statements.
//!
//! An inner query is classified and planned like one of its own, in the client's text, so positions stay right.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::{Bytes, BytesMut};

use crate::pg::backend::{Column, Control, Format, Route, Run, TransactionEvent};
use crate::pg::classify::Class;
use crate::pg::classify::command::{CopySource, SessionCommand, TransactionModes, quoted_names};
use crate::pg::conversation::{Conversation, Halt, shifted, too_many_portals};
use crate::pg::copy::CopyWriter;
use crate::pg::encode::ColumnEncoder;
use crate::pg::fault::Fault;
use crate::pg::oid::{self, PgType};
use crate::pg::portal::{Answered, CursorKind, MAX_PORTALS, Portal, State, Statement, Tag, Yield};
use crate::pg::rows::{Sink, Source, fields};
use crate::pg::transaction::Status;

impl Conversation {
    /// Carries out a session command. `formats` are Bind's result formats, `None` in the simple protocol.
    pub(crate) async fn command(
        &mut self,
        command: &SessionCommand,
        sql: &str,
        control: &Control,
        formats: Option<&[Format]>,
    ) -> Result<Yield, Halt> {
        match command {
            SessionCommand::Set { local, name, values } => {
                let value = values.as_ref().map(|values| listed(name, values));
                self.assign(name, value.as_deref(), *local, control).await?;
                Ok(Yield::Tag("SET".to_owned()))
            }
            SessionCommand::SetTransaction { session, modes } => {
                self.set_transaction(*session, modes, control).await?;
                Ok(Yield::Tag("SET".to_owned()))
            }
            SessionCommand::Show { name } => self.show(name, control).await,
            SessionCommand::Reset { name } => {
                match name {
                    Some(name) => self.assign(name, None, false, control).await?,
                    None => {
                        let Self { transaction, backend, .. } = self;
                        transaction.remember(|| backend.snapshot());
                        backend.reset_all();
                    }
                }
                Ok(Yield::Tag("RESET".to_owned()))
            }
            SessionCommand::Begin { start, modes } => {
                self.begin(modes, control).await?;
                Ok(Yield::Tag(if *start { "START TRANSACTION" } else { "BEGIN" }.to_owned()))
            }
            SessionCommand::Commit { chain } => self.commit(*chain, control).await,
            SessionCommand::Rollback { chain } => self.rollback(*chain, control).await,
            SessionCommand::Savepoint(name) => {
                let Self { transaction, backend, .. } = self;
                transaction.savepoint(name, || backend.snapshot())?;
                Ok(Yield::Tag("SAVEPOINT".to_owned()))
            }
            SessionCommand::Release(name) => {
                self.transaction.release(name)?;
                Ok(Yield::Tag("RELEASE".to_owned()))
            }
            SessionCommand::RollbackTo(name) => {
                let settings = self.transaction.rollback_to(name)?;
                self.backend.restore(settings);
                let depth = self.transaction.depth();
                self.portals.retain(|_, portal| portal.depth < depth);
                self.held();
                Ok(Yield::Tag("ROLLBACK".to_owned()))
            }
            SessionCommand::Declare { name, binary, scroll, hold, query } => {
                let kind = CursorKind {
                    hold: *hold,
                    scroll: *scroll == Some(true),
                    binary: *binary,
                    committed: false,
                };
                self.declare(name, kind, sql, query, control).await?;
                Ok(Yield::Tag("DECLARE CURSOR".to_owned()))
            }
            SessionCommand::Fetch { only_move, direction, name } => {
                self.fetch(name, *direction, *only_move, control, formats).await
            }
            SessionCommand::Close(None) => {
                self.portals.retain(|_, portal| portal.cursor.is_none());
                self.held();
                Ok(Yield::Tag("CLOSE CURSOR ALL".to_owned()))
            }
            SessionCommand::Close(Some(name)) => {
                if self.portals.remove(name).is_none() {
                    return Err(no_cursor(name).into());
                }
                self.held();
                Ok(Yield::Tag("CLOSE CURSOR".to_owned()))
            }
            SessionCommand::Prepare { name, types, query } => {
                self.prepare(name, types, sql, query, control).await?;
                Ok(Yield::Tag("PREPARE".to_owned()))
            }
            SessionCommand::Execute { name, arguments } => {
                self.execute_prepared(name, sql, arguments, control, formats).await
            }
            SessionCommand::Deallocate(None) => {
                self.statements.clear();
                self.held();
                Ok(Yield::Tag("DEALLOCATE ALL".to_owned()))
            }
            SessionCommand::Deallocate(Some(name)) => {
                if self.statements.remove(name).is_none() {
                    return Err(
                        Fault::new("26000", format!("prepared statement \"{name}\" does not exist")).into()
                    );
                }
                self.held();
                Ok(Yield::Tag("DEALLOCATE".to_owned()))
            }
            SessionCommand::CopyTo { source, options } => self.copy_to(source, options, sql, control).await,
            SessionCommand::Discard(what) => self.discard(what),
            SessionCommand::Unlisten => Ok(Yield::Tag("UNLISTEN".to_owned())),
            SessionCommand::LockAccessShare => {
                self.transaction.require("LOCK TABLE")?;
                Ok(Yield::Tag("LOCK TABLE".to_owned()))
            }
        }
    }

    /// Columns a command returns, as far as they are known before it runs.
    pub(crate) fn command_columns(&self, command: &SessionCommand) -> Option<Arc<[Column]>> {
        let text = |name: &str| Column::new(name, PgType::new(oid::TEXT));
        match command {
            SessionCommand::Show { name } if name == "all" => {
                Some([text("name"), text("setting"), text("description")].into())
            }
            SessionCommand::Show { name } => Some([text(name)].into()),
            SessionCommand::Fetch { only_move: false, name, .. } => self.portals.get(name)?.columns(),
            SessionCommand::Execute { name, .. } => self.statements.get(name)?.plan.as_ref()?.columns.clone(),
            _ => None,
        }
    }

    /// SET, RESET and an evaluated `set_config`.
    pub(crate) async fn assign(
        &mut self,
        name: &str,
        value: Option<&str>,
        local: bool,
        control: &Control,
    ) -> Result<(), Halt> {
        let Self { transaction, backend, .. } = self;
        if let Some(warning) = transaction.note_set(name, local, || backend.snapshot()) {
            self.notice(&warning);
            return Ok(());
        }
        let Self { socket, backend, .. } = self;
        match value {
            Some(value) => socket.during(control, backend.set(name, value)).await??,
            None => socket.during(control, backend.reset(name)).await??,
        }
        Ok(())
    }

    async fn set_transaction(
        &mut self,
        session: bool,
        modes: &TransactionModes,
        control: &Control,
    ) -> Result<(), Halt> {
        if !session && !self.transaction.in_block() {
            self.notice(&Fault::warning("25P01", "SET TRANSACTION can only be used in transaction blocks"));
            return Ok(());
        }
        let Some(isolation) = &modes.isolation else { return Ok(()) };
        let name = if session { "default_transaction_isolation" } else { "transaction_isolation" };
        self.assign(name, Some(isolation), !session, control).await
    }

    async fn show(&mut self, name: &str, control: &Control) -> Result<Yield, Halt> {
        let Self { socket, backend, .. } = self;
        let (columns, source) = if name == "all" {
            let rows: Vec<Vec<String>> = socket
                .during(control, backend.show_all())
                .await??
                .into_iter()
                .map(|(name, value, description)| vec![name, value, description])
                .collect();
            Source::texts(&["name", "setting", "description"], &rows)
        } else {
            let (name, value) = socket.during(control, backend.show(name)).await??;
            Source::texts(&[&name], &[vec![value]])
        };
        let answered = Answered { columns, source, tag: Tag::Plain("SHOW".to_owned()), tail: None };
        Ok(Yield::Rows(Box::new(answered)))
    }

    async fn begin(&mut self, modes: &TransactionModes, control: &Control) -> Result<(), Halt> {
        let Self { transaction, backend, .. } = self;
        let (began, warning) = transaction.begin(|| backend.snapshot());
        if let Some(warning) = warning {
            self.notice(&warning);
        }
        if !began {
            return Ok(());
        }
        let isolation = modes.isolation.clone().unwrap_or_else(|| self.isolation());
        self.backend.transaction(TransactionEvent::Begin { block: true, isolation });
        if let Some(isolation) = &modes.isolation {
            self.assign("transaction_isolation", Some(isolation), true, control).await?;
        }
        let timeout = self.backend.setting("transaction_timeout").and_then(|text| text.parse::<u64>().ok());
        self.transaction_deadline = timeout.filter(|timeout| *timeout > 0).and_then(|timeout| {
            std::time::Instant::now().checked_add(std::time::Duration::from_millis(timeout))
        });
        Ok(())
    }

    async fn commit(&mut self, chain: bool, control: &Control) -> Result<Yield, Halt> {
        if chain {
            self.transaction.require("COMMIT AND CHAIN")?;
        }
        let aborted = self.transaction.status() == Status::Failed;
        if !aborted {
            // A held cursor must be complete before its snapshot goes.
            let Self { portals, socket, .. } = self;
            let mut failure = None;
            for portal in portals.values_mut() {
                let Some(CursorKind { hold: true, committed: false, .. }) = portal.cursor else { continue };
                if let State::Rows(answered) = &mut portal.state
                    && let Err(error) = answered.source.keep(socket, control).await
                {
                    failure = Some(error);
                    break;
                }
            }
            if let Some(error) = failure {
                return Err(self.halt(error));
            }
        }
        let Self { transaction, backend, .. } = self;
        let ending = transaction.commit(|| backend.snapshot());
        let tag = ending.tag;
        self.close_portals(aborted);
        self.backend.transaction(if aborted { TransactionEvent::Rollback } else { TransactionEvent::Commit });
        self.apply(ending);
        self.held();
        if chain {
            self.begin(&TransactionModes::default(), control).await?;
        }
        Ok(Yield::Tag(tag.to_owned()))
    }

    async fn rollback(&mut self, chain: bool, control: &Control) -> Result<Yield, Halt> {
        if chain {
            self.transaction.require("ROLLBACK AND CHAIN")?;
        }
        let ending = self.transaction.rollback();
        self.close_portals(true);
        self.backend.transaction(TransactionEvent::Rollback);
        self.apply(ending);
        self.held();
        if chain {
            self.begin(&TransactionModes::default(), control).await?;
        }
        Ok(Yield::Tag("ROLLBACK".to_owned()))
    }

    fn discard(&mut self, what: &str) -> Result<Yield, Halt> {
        if what == "ALL" {
            if self.transaction.in_block() {
                return Err(Fault::new("25001", "DISCARD ALL cannot run inside a transaction block").into());
            }
            self.portals.clear();
            self.statements.clear();
            self.backend.reset_all();
            self.held();
        }
        Ok(Yield::Tag(format!("DISCARD {what}")))
    }

    /// Plans the query inside a command; `query` are its bytes in `sql`.
    async fn inner(
        &mut self,
        sql: &str,
        query: &Range<usize>,
        types: &[u32],
        control: &Control,
    ) -> Result<Statement, Halt> {
        let text = sql.get(query.clone()).unwrap_or_default();
        let before = sql.get(..query.start).unwrap_or_default().chars().count();
        let planned = async {
            let class = self.backend.classify(text)?;
            match &class {
                Class::Refused(error) => return Err(Fault::from(error.clone()).into()),
                Class::Session(_) | Class::Empty => {
                    return Err(Fault::new("42601", "a query is required here").at(1).into());
                }
                _ => {}
            }
            let plan = self.plan(text, &class, types, true, control).await?;
            Ok(Statement { sql: Arc::from(text), class, plan: Some(plan), by_sql: true })
        };
        Box::pin(planned).await.map_err(|halt: Halt| shifted(halt, before))
    }

    async fn declare(
        &mut self,
        name: &str,
        kind: CursorKind,
        sql: &str,
        query: &Range<usize>,
        control: &Control,
    ) -> Result<(), Halt> {
        if !kind.hold && !self.transaction.in_block() {
            return Err(Fault::new("25P01", "DECLARE CURSOR can only be used in transaction blocks").into());
        }
        if self.portals.contains_key(name) {
            return Err(Fault::new("42P03", format!("cursor \"{name}\" already exists")).into());
        }
        if self.portals.len() >= MAX_PORTALS {
            return Err(too_many_portals().into());
        }
        let statement = self.inner(sql, query, &[], control).await?;
        let Some(plan) = &statement.plan else {
            return Err(Fault::new("42601", "a query is required here").into());
        };
        if !plan.parameters.is_empty() {
            return Err(Fault::unsupported("a parameter in DECLARE CURSOR").into());
        }
        let formats = vec![if kind.binary { Format::Binary } else { Format::Text }];
        let cancel = self.connection.terminate.child_token();
        let run = Run {
            result_formats: formats.clone(),
            extended: true,
            control: Control { cancel: cancel.clone(), deadline: None },
            ..Run::default()
        };
        let Yield::Rows(mut answered) = Box::pin(self.start(plan, run, control)).await? else {
            return Err(Fault::new("42601", "a query is required here").into());
        };
        // Backward reading needs the rows; a held cursor outside a block outlives its statement at once.
        if (kind.scroll || (kind.hold && !self.transaction.in_block()))
            && let Err(error) = answered.source.keep(&mut self.socket, control).await
        {
            return Err(self.halt(error));
        }
        let portal = Portal {
            statement: Arc::new(statement),
            values: Vec::new(),
            decoded: Vec::new(),
            formats,
            state: State::Rows(answered),
            cursor: Some(kind),
            depth: self.transaction.depth(),
            position: 0,
            cancel,
        };
        self.portals.insert(name.to_owned(), portal);
        self.held();
        Ok(())
    }

    async fn prepare(
        &mut self,
        name: &str,
        types: &[String],
        sql: &str,
        query: &Range<usize>,
        control: &Control,
    ) -> Result<(), Halt> {
        let oids = types
            .iter()
            .map(|name| {
                PgType::parse(name)
                    .map(|pg| pg.oid)
                    .ok_or_else(|| Fault::new("42704", format!("type \"{name}\" does not exist")))
            })
            .collect::<Result<Vec<u32>, Fault>>()?;
        if self.statements.contains_key(name) {
            return Err(Fault::new("42P05", format!("prepared statement \"{name}\" already exists")).into());
        }
        if self.statements.len() >= crate::pg::portal::MAX_STATEMENTS {
            return Err(Fault::new("53400", "too many prepared statements").into());
        }
        let statement = self.inner(sql, query, &oids, control).await?;
        self.statements.insert(name.to_owned(), Arc::new(statement));
        self.held();
        Ok(())
    }

    async fn execute_prepared(
        &mut self,
        name: &str,
        sql: &str,
        arguments: &[Range<usize>],
        control: &Control,
        formats: Option<&[Format]>,
    ) -> Result<Yield, Halt> {
        let statement = self.find_statement(name)?;
        let Some(plan) = &statement.plan else {
            return Err(Fault::unsupported("EXECUTE of a session command").into());
        };
        let wanted = plan.parameters.len();
        if arguments.len() != wanted {
            return Err(Fault::new(
                "42601",
                format!("wrong number of parameters for prepared statement \"{name}\""),
            )
            .with_detail(format!("Expected {wanted} parameters but got {}.", arguments.len()))
            .into());
        }
        let values = self.evaluate(sql, arguments, control).await?;
        let decoded = self.decode(&statement, &values)?;
        let run = Run {
            values: decoded,
            raw: values,
            result_formats: formats.unwrap_or_default().to_vec(),
            extended: true,
            control: control.clone(),
        };
        Box::pin(self.start(plan, run, control)).await
    }

    /// Evaluates EXECUTE's arguments: one row of the client's own expressions, as text.
    async fn evaluate(
        &mut self,
        sql: &str,
        arguments: &[Range<usize>],
        control: &Control,
    ) -> Result<Vec<(Format, Option<Bytes>)>, Halt> {
        if arguments.is_empty() {
            return Ok(Vec::new());
        }
        let expressions: Vec<String> = arguments
            .iter()
            .map(|range| format!("({})", sql.get(range.clone()).unwrap_or_default()))
            .collect();
        let query = format!("SELECT {}", expressions.join(", "));
        // Positions would point into a text the client never wrote.
        let hidden = |halt: Halt| match halt {
            Halt::Fault(fault) => Halt::Fault(Fault { position: None, ..fault }),
            Halt::Gone => Halt::Gone,
        };
        let statement = self.inner(&query, &(0..query.len()), &[], control).await.map_err(hidden)?;
        let Some(plan) = &statement.plan else { return Ok(Vec::new()) };
        let run = Run { control: control.clone(), ..Run::default() };
        let Yield::Rows(answered) = Box::pin(self.start(plan, run, control)).await.map_err(hidden)? else {
            return Ok(Vec::new());
        };
        match answered.source {
            Source::Relayed { rows, .. } => Ok(rows
                .first()
                .map(fields)
                .unwrap_or_default()
                .into_iter()
                .map(|value| (Format::Text, value))
                .collect()),
            mut source => {
                source.keep(&mut self.socket, control).await.map_err(|error| hidden(self.halt(error)))?;
                let Source::Kept { batches, .. } = source else { return Ok(Vec::new()) };
                let batch = batches.into_iter().find(|batch| batch.num_rows() > 0);
                let batch = batch.ok_or_else(|| Fault::new("XX000", "internal error"))?;
                self.first_row(&batch, &answered.columns).map_err(Halt::from)
            }
        }
    }

    fn first_row(
        &self,
        batch: &RecordBatch,
        columns: &[Column],
    ) -> Result<Vec<(Format, Option<Bytes>)>, Fault> {
        let style = self.style();
        batch
            .columns()
            .iter()
            .zip(columns)
            .map(|(array, column)| {
                let encoder = ColumnEncoder::new(array, column.pg, Format::Text, &column.name)?;
                if encoder.is_null(0) {
                    return Ok((Format::Text, None));
                }
                let mut text = BytesMut::new();
                encoder.value(0, &style, &mut text)?;
                Ok((Format::Text, Some(text.freeze())))
            })
            .collect()
    }

    async fn copy_to(
        &mut self,
        source: &CopySource,
        options: &[(String, Option<String>)],
        sql: &str,
        control: &Control,
    ) -> Result<Yield, Halt> {
        let writer = CopyWriter::new(options)?;
        let statement = match source {
            CopySource::Query(query) => self.inner(sql, query, &[], control).await?,
            CopySource::Relation { name, columns } => {
                let list: Vec<String> =
                    columns.iter().map(|column| format!("\"{}\"", column.replace('"', "\"\""))).collect();
                let list = if list.is_empty() { "*".to_owned() } else { list.join(", ") };
                let query = format!("SELECT {list} FROM {}", sql.get(name.clone()).unwrap_or_default());
                self.inner(&query, &(0..query.len()), &[], control).await.map_err(|halt| match halt {
                    Halt::Fault(fault) => Halt::Fault(Fault { position: None, ..fault }),
                    Halt::Gone => Halt::Gone,
                })?
            }
        };
        let Some(plan) = &statement.plan else {
            return Err(Fault::new("42601", "a query is required here").into());
        };
        if !plan.parameters.is_empty() {
            return Err(Fault::new("42P02", "there is no parameter $1").into());
        }
        let run = Run {
            result_formats: vec![writer.value_format()],
            extended: plan.route == Route::Shadow,
            control: control.clone(),
            ..Run::default()
        };
        let Yield::Rows(mut answered) = Box::pin(self.start(plan, run, control)).await? else {
            return Err(Fault::new("42601", "a query is required here").into());
        };
        let columns = Arc::clone(&answered.columns);
        writer.begin(&columns, &mut self.socket.out);
        let style = self.style();
        let sink = Sink::Copy { columns: &columns, writer: &writer };
        let result = answered.source.send(&mut self.socket, control, &style, None, &sink).await;
        let (rows, _) = result.map_err(|error| self.halt(error))?;
        if let Some(fault) = answered.tail.take() {
            return Err(fault.into());
        }
        writer.end(&mut self.socket.out);
        Ok(Yield::Tag(format!("COPY {rows}")))
    }
}

pub(crate) fn no_cursor(name: &str) -> Fault {
    Fault::new("34000", format!("cursor \"{name}\" does not exist"))
}

/// The value of SET as the settings table wants it: lists are quoted and joined.
fn listed(name: &str, values: &[String]) -> String {
    let single = values.len() == 1 && name != "search_path";
    if single {
        return values.concat();
    }
    quoted_names(values)
}
