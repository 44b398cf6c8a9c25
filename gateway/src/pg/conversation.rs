//! The protocol's state machine after login: simple and extended queries, transaction status, portals.
//!
//! Message texts and codes are PostgreSQL's (PostgreSQL 17, `postgres.c`, `portalcmds.c`). After an error in the
//! extended protocol everything up to Sync is skipped. An error of a statement never ends the connection; only a
//! stream that is no longer the protocol, a timeout of the session and a shutdown do.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::pg::backend::{
    BackendSession, Column, Control, Format, Held, Outcome, Prepared, Route, Run, TransactionEvent,
};
use crate::pg::classify::{Class, SessionCommand};
use crate::pg::connections::Connection;
use crate::pg::fault::{Fault, Severity};
use crate::pg::frame::{self, Bind, FrameLimits, Frontend, Target};
use crate::pg::portal::{Answered, MAX_PORTALS, MAX_STATEMENTS, Portal, State, Statement, Tag, Yield};
use crate::pg::rows::{RowsError, Sink, Source};
use crate::pg::socket::{FLUSH_BYTES, Received, Socket, Stop};
use crate::pg::style::Style;
use crate::pg::transaction::{Ending, Status, Transaction};

/// Why a statement did not complete.
#[derive(Debug)]
pub(crate) enum Halt {
    Fault(Fault),
    /// Nobody is there any more.
    Gone,
}

impl From<Fault> for Halt {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Stop> for Halt {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Cancelled => Self::Fault(Fault::cancelled()),
            Stop::TimedOut => Self::Fault(Fault::timed_out()),
            Stop::Gone => Self::Gone,
        }
    }
}

/// One logged-in connection.
#[derive(Debug)]
pub(crate) struct Conversation {
    pub(crate) socket: Socket,
    pub(crate) backend: Box<dyn BackendSession>,
    pub(crate) connection: Arc<Connection>,
    pub(crate) limits: FrameLimits,
    pub(crate) drain: CancellationToken,
    pub(crate) transaction: Transaction,
    pub(crate) statements: HashMap<String, Arc<Statement>>,
    pub(crate) portals: HashMap<String, Portal>,
    pub(crate) reported: Vec<(&'static str, String)>,
    /// End of the transaction by `transaction_timeout`.
    pub(crate) transaction_deadline: Option<Instant>,
    /// An extended batch failed; everything up to Sync is ignored.
    skipping: bool,
    /// An extended batch has begun and its Sync is to come.
    in_batch: bool,
}

/// Whether the connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    End,
}

impl Conversation {
    pub(crate) fn new(
        socket: Socket,
        backend: Box<dyn BackendSession>,
        connection: Arc<Connection>,
        limits: FrameLimits,
        drain: CancellationToken,
    ) -> Self {
        let reported = backend.reported();
        Self {
            socket,
            backend,
            connection,
            limits,
            drain,
            transaction: Transaction::default(),
            statements: HashMap::new(),
            portals: HashMap::new(),
            reported,
            transaction_deadline: None,
            skipping: false,
            in_batch: false,
        }
    }

    /// Serves the connection to its end.
    pub(crate) async fn run(mut self) {
        loop {
            let received = match self.wait().await {
                Ok(received) => received,
                Err(fault) => {
                    self.socket.out.fault(&fault);
                    break;
                }
            };
            let flow = match received {
                None => Flow::On,
                Some(Received::Closed) => Flow::End,
                Some(Received::TooLarge(tag, fault)) => self.too_large(tag, fault).await,
                Some(Received::Message(tag, body)) => self.message(tag, body).await,
            };
            if flow == Flow::End {
                break;
            }
        }
        self.portals.clear();
        self.socket.close().await;
    }

    /// Waits for a message, a reason to end, or 5 ms with unsent output.
    async fn wait(&mut self) -> Result<Option<Received>, Fault> {
        let shutdown = || Fault::fatal("57P01", "terminating connection due to administrator command");
        let resting = !self.in_batch;
        let idle = resting && self.transaction.status() == Status::Idle;
        let (timeout, timeout_fault) = if !resting {
            (None, None)
        } else if idle {
            (
                self.milliseconds("idle_session_timeout"),
                Some(Fault::fatal("57P05", "terminating connection due to idle-session timeout")),
            )
        } else {
            (
                self.milliseconds("idle_in_transaction_session_timeout"),
                Some(Fault::fatal("25P03", "terminating connection due to idle-in-transaction timeout")),
            )
        };
        let transaction_deadline = self.transaction_deadline;
        let unsent = !self.socket.out.buffer.is_empty();
        tokio::select! {
            biased;
            () = self.connection.terminate.cancelled() => Err(shutdown()),
            () = self.drain.cancelled(), if idle => Err(shutdown()),
            received = self.socket.receive(&self.limits, true) => received.map(Some),
            () = tokio::time::sleep(Duration::from_millis(5)), if unsent => {
                if self.socket.flush().await { Ok(None) } else { Ok(Some(Received::Closed)) }
            }
            () = tokio::time::sleep(timeout.unwrap_or_default()), if timeout.is_some() && !unsent => {
                Err(timeout_fault.unwrap_or_else(shutdown))
            }
            () = tokio::time::sleep_until(transaction_deadline.unwrap_or_else(Instant::now).into()),
                if transaction_deadline.is_some() && !unsent =>
            {
                Err(Fault::fatal("25P04", "terminating connection due to transaction timeout"))
            }
        }
    }

    fn milliseconds(&self, setting: &str) -> Option<Duration> {
        let value: u64 = self.backend.setting(setting)?.parse().ok()?;
        (value > 0).then(|| Duration::from_millis(value))
    }

    async fn too_large(&mut self, tag: u8, fault: Fault) -> Flow {
        if self.skipping {
            return Flow::On;
        }
        let _ = self.fail(Halt::Fault(fault));
        if tag == b'Q' {
            return self.ready().await;
        }
        self.in_batch = true;
        self.skipping = true;
        Flow::On
    }

    async fn message(&mut self, tag: u8, body: Bytes) -> Flow {
        if self.skipping && !matches!(tag, b'S' | b'X') {
            return Flow::On;
        }
        let received = Instant::now();
        let parsed = frame::parse(tag, body, &self.limits);
        let extended = tag != b'Q';
        let result = match parsed {
            Err(fault) => Err(Halt::Fault(fault)),
            Ok(Frontend::Terminate) => return Flow::End,
            Ok(Frontend::Copy) => Ok(()),
            Ok(Frontend::Flush) => return self.flushed().await,
            Ok(Frontend::Sync) => return self.sync().await,
            Ok(Frontend::FunctionCall) => {
                let fault = Fault::unsupported("the function call protocol")
                    .with_hint("call the function in a SELECT statement");
                let _ = self.fail(Halt::Fault(fault));
                return self.ready().await;
            }
            Ok(Frontend::Query(sql)) => {
                self.in_batch = false;
                let result = Box::pin(self.query(&sql, received)).await;
                self.connection.end(self.transaction.idle_word());
                match result {
                    Ok(()) => {}
                    Err(halt) => {
                        if self.fail(halt) == Flow::End {
                            return Flow::End;
                        }
                    }
                }
                if self.settle() == Flow::End {
                    return Flow::End;
                }
                return self.ready().await;
            }
            Ok(message) => {
                self.begin_batch();
                let result = Box::pin(self.extended(message, received)).await;
                self.connection.end(self.transaction.idle_word());
                result
            }
        };
        match result {
            Ok(()) => {
                if self.socket.out.buffer.len() >= FLUSH_BYTES {
                    return self.flushed().await;
                }
                Flow::On
            }
            Err(halt) => {
                let flow = self.fail(halt);
                if extended {
                    self.in_batch = true;
                    self.skipping = true;
                    return flow;
                }
                if flow == Flow::End { Flow::End } else { self.ready().await }
            }
        }
    }

    async fn flushed(&mut self) -> Flow {
        if self.socket.flush().await { Flow::On } else { Flow::End }
    }

    /// ReadyForQuery, sent at once unless the next message is already here.
    async fn ready(&mut self) -> Flow {
        self.report();
        self.socket.out.ready(self.transaction.byte());
        if self.socket.has_input() && self.socket.out.buffer.len() < FLUSH_BYTES {
            return Flow::On;
        }
        self.flushed().await
    }

    /// Sends the settings that changed.
    fn report(&mut self) {
        let now = self.backend.reported();
        for (name, value) in &now {
            if self.reported.iter().any(|(old, same)| old == name && same == value) {
                continue;
            }
            self.socket.out.parameter_status(name, value);
            if *name == "application_name" {
                self.connection.set_application_name(value.clone());
            }
        }
        self.reported = now;
    }

    /// Answers a failed statement: error, transaction state, cursors.
    fn fail(&mut self, halt: Halt) -> Flow {
        let Halt::Fault(mut fault) = halt else { return Flow::End };
        if self.connection.terminate.is_cancelled()
            && fault.sqlstate == "57014"
            && self.connection.was_terminated()
        {
            fault = Fault::fatal("57P01", "terminating connection due to administrator command");
        }
        self.socket.out.fault(&fault);
        if fault.severity == Severity::Fatal {
            return Flow::End;
        }
        let was_block = self.transaction.status() != Status::Idle;
        let ending = self.transaction.fail();
        if let Some(settings) = ending.restore {
            self.backend.restore(settings);
        }
        if !was_block {
            self.close_portals(true);
            self.backend.transaction(TransactionEvent::Rollback);
        }
        Flow::On
    }

    /// Ends what a statement outside a block began.
    fn settle(&mut self) -> Flow {
        self.transaction.implicit = false;
        if self.transaction.status() == Status::Idle {
            let Self { transaction, backend, .. } = self;
            let ending = transaction.settle(|| backend.snapshot());
            self.apply(ending);
            self.close_portals(false);
            self.backend.transaction(TransactionEvent::Commit);
        }
        Flow::On
    }

    /// Applies the end of a transaction.
    pub(crate) fn apply(&mut self, ending: Ending) {
        if let Some(settings) = ending.restore {
            self.backend.restore(settings);
        }
        if let Some(notice) = ending.notice {
            self.notice(&notice);
        }
        if ending.ended {
            self.transaction_deadline = None;
        }
    }

    /// Closes what does not outlive its transaction. Held cursors stay; after a rollback only those of earlier
    /// transactions.
    pub(crate) fn close_portals(&mut self, rolled_back: bool) {
        self.portals.retain(|_, portal| match &mut portal.cursor {
            Some(kind) if kind.hold && (kind.committed || !rolled_back) => {
                kind.committed = true;
                true
            }
            _ => false,
        });
    }

    fn begin_batch(&mut self) {
        if !self.in_batch {
            self.in_batch = true;
            self.begin_implicit();
        }
    }

    fn begin_implicit(&mut self) {
        if self.transaction.status() == Status::Idle {
            let isolation = self.isolation();
            self.backend.transaction(TransactionEvent::Begin { block: false, isolation });
        }
    }

    pub(crate) fn isolation(&self) -> String {
        self.backend.setting("default_transaction_isolation").unwrap_or_else(|| "read committed".to_owned())
    }

    async fn sync(&mut self) -> Flow {
        self.skipping = false;
        self.in_batch = false;
        let _ = self.settle();
        self.connection.end(self.transaction.idle_word());
        self.ready().await
    }

    /// Sends a notice if the client wants it.
    pub(crate) fn notice(&mut self, fault: &Fault) {
        let rank = |word: &str| match word.to_ascii_lowercase().as_str() {
            "debug5" | "debug4" | "debug3" | "debug2" | "debug1" | "debug" => 0,
            "log" => 1,
            "notice" => 2,
            "warning" => 3,
            "error" => 4,
            _ => 2,
        };
        let wanted = rank(&self.backend.setting("client_min_messages").unwrap_or_default());
        if fault.severity == Severity::Info || rank(fault.severity.word()) >= wanted {
            self.socket.out.notice(fault);
        }
    }

    pub(crate) fn style(&self) -> Style {
        Style::from_settings(|name| self.backend.setting(name))
    }

    fn control(&self, query: Option<&str>, since: Instant) -> Control {
        let cancel = self.connection.begin(query);
        let deadline = self.milliseconds("statement_timeout").and_then(|timeout| since.checked_add(timeout));
        Control { cancel, deadline }
    }

    /// A Query message.
    async fn query(&mut self, sql: &str, received: Instant) -> Result<(), Halt> {
        // A simple query drops the unnamed statement and portal.
        self.portals.remove("");
        self.statements.remove("");
        self.begin_implicit();
        let mut control = self.control(Some(sql), received);
        let statements = self.backend.split(sql)?;
        if statements.is_empty() {
            self.socket.out.bare(b'I');
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
            Yield::Empty => self.socket.out.bare(b'I'),
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
    fn admit(&self, class: &Class) -> Result<(), Fault> {
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

    async fn extended(&mut self, message: Frontend, received: Instant) -> Result<(), Halt> {
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
                self.socket.out.bare(b'3');
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
        self.socket.out.bare(b'1');
        Ok(())
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
            Class::Empty | Class::Session(_) => None,
            _ => Some(
                self.plan(text, &class, types, true, control).await.map_err(|halt| shifted(halt, offset))?,
            ),
        };
        Ok(Statement { sql: Arc::from(text), class, plan, by_sql })
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
            .map(|(index, value)| (crate::pg::encode::format_at(&formats, index), value))
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
        self.socket.out.bare(b'2');
        Ok(())
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

    /// Output columns of a statement, as far as they are known before it runs.
    fn statement_columns(&self, statement: &Statement) -> Option<Arc<[Column]>> {
        match &statement.class {
            Class::Session(command) => self.command_columns(command),
            _ => statement.plan.as_ref().and_then(|plan| plan.columns.clone()),
        }
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
            None => self.socket.out.bare(b'n'),
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
                    self.socket.out.bare(b'I');
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
                portal.position += rows;
                if !exhausted {
                    self.socket.out.bare(b's');
                    return Ok(());
                }
                if let Some(fault) = answered.tail.take() {
                    return Err(fault.into());
                }
                self.socket.out.complete(&answered.tag.with(rows));
                portal.state = State::Done(answered.tag.clone());
            }
            State::Done(tag) => self.socket.out.complete(&tag.with(0)),
            State::Ready | State::Broken => {
                return Err(Fault::new("55000", "portal cannot be run").into());
            }
        }
        Ok(())
    }

    /// Whether the running command came through the extended protocol, where Describe is a message of its own.
    pub(crate) fn in_extended(&self) -> bool {
        self.in_batch
    }

    /// Tells the backend which cursors and statements there are.
    pub(crate) fn held(&mut self) {
        let cursors = self
            .portals
            .iter()
            .filter_map(|(name, portal)| {
                let kind = portal.cursor?;
                Some((name.clone(), Arc::clone(&portal.statement.sql), kind.hold, kind.binary, kind.scroll))
            })
            .collect();
        let statements = self
            .statements
            .iter()
            .filter(|(name, _)| !name.is_empty())
            .map(|(name, statement)| {
                (name.clone(), Arc::clone(&statement.sql), statement.parameters().to_vec(), statement.by_sql)
            })
            .collect();
        self.backend.holds(&Held { cursors, statements });
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

pub(crate) fn shifted(halt: Halt, characters: usize) -> Halt {
    match halt {
        Halt::Fault(fault) => Halt::Fault(fault.shifted(characters)),
        Halt::Gone => Halt::Gone,
    }
}
