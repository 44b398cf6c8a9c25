//! The protocol's state machine after login: one message after the other, transaction status, what is reported.
//!
//! The simple protocol is in [`query`], the extended one in [`extended`]; session commands are in
//! [`crate::pg::command`]. Here is what they share: waiting, failing, settling.
//!
//! Message texts and codes are PostgreSQL's (PostgreSQL 17, `postgres.c`, `portalcmds.c`). After an error in the
//! extended protocol everything up to Sync is skipped. An error of a statement never ends the connection; only a
//! stream that is no longer the protocol, a timeout of the session and a shutdown do.

mod extended;
mod query;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::pg::backend::{BackendSession, Control, Held, TransactionEvent};
use crate::pg::connections::Connection;
use crate::pg::fault::{Fault, Severity};
use crate::pg::frame::{self, FrameLimits, Frontend};
use crate::pg::portal::{Portal, Statement};
use crate::pg::socket::{FLUSH_BYTES, Received, Socket, Stop};
use crate::pg::style::Style;
use crate::pg::transaction::{Ending, Status, Transaction};

pub(crate) use extended::too_many_portals;

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
        self.socket.out.ready(self.transaction.wire());
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
                // No savepoint of a later transaction is older.
                portal.depth = 0;
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

pub(crate) fn shifted(halt: Halt, characters: usize) -> Halt {
    match halt {
        Halt::Fault(fault) => Halt::Fault(fault.shifted(characters)),
        Halt::Gone => Halt::Gone,
    }
}
