//! Prepared statements and portals of one connection; SQL's PREPARE and DECLARE share them with the protocol.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::pg::backend::{Column, Format, Prepared};
use crate::pg::classify::Class;
use crate::pg::fault::Fault;
use crate::pg::rows::Source;

/// Most prepared statements of a connection.
pub(crate) const MAX_STATEMENTS: usize = 1000;
/// Most portals and cursors of a connection.
pub(crate) const MAX_PORTALS: usize = 64;

/// A prepared statement.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) sql: Arc<str>,
    pub(crate) class: Class,
    /// `None` for session commands and the empty statement.
    pub(crate) plan: Option<Prepared>,
    /// Made by SQL PREPARE.
    pub(crate) by_sql: bool,
}

impl Statement {
    pub(crate) fn parameters(&self) -> &[u32] {
        self.plan.as_ref().map_or(&[], |plan| &plan.parameters)
    }
}

/// A command tag.
#[derive(Debug, Clone)]
pub(crate) enum Tag {
    /// The row count follows.
    Counted(&'static str),
    Plain(String),
}

impl Tag {
    pub(crate) fn with(&self, rows: u64) -> String {
        match self {
            Self::Counted(word) => format!("{word} {rows}"),
            Self::Plain(text) => text.clone(),
        }
    }
}

/// Rows that have been asked for and not all sent.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) columns: Arc<[Column]>,
    pub(crate) source: Source,
    pub(crate) tag: Tag,
    /// The error behind the last row.
    pub(crate) tail: Option<Fault>,
}

/// What a statement came to.
#[derive(Debug)]
pub(crate) enum Yield {
    Rows(Box<Answered>),
    /// Nothing but a tag; rows, if any, were sent already.
    Tag(String),
    Empty,
}

/// Where a portal stands.
#[derive(Debug)]
pub(crate) enum State {
    /// Bound, not started.
    Ready,
    Rows(Box<Answered>),
    /// Ran dry, or never had rows; the tag of a further Execute.
    Done(Tag),
    /// Its statement failed or was cancelled in mid-result.
    Broken,
}

/// A bound statement, or a cursor.
#[derive(Debug)]
pub(crate) struct Portal {
    pub(crate) statement: Arc<Statement>,
    /// The client's values.
    pub(crate) values: Vec<(Format, Option<bytes::Bytes>)>,
    pub(crate) decoded: Vec<datafusion::scalar::ScalarValue>,
    pub(crate) formats: Vec<Format>,
    pub(crate) state: State,
    /// Made by DECLARE.
    pub(crate) cursor: Option<CursorKind>,
    /// Savepoints open when it was made.
    pub(crate) depth: usize,
    /// Rows from before the first (0) to behind the last (n + 1), as FETCH counts.
    pub(crate) position: u64,
    /// Cancels what outlives one message.
    pub(crate) cancel: CancellationToken,
}

/// The values of a Bind message, as they were sent and as they were read.
#[derive(Debug, Default)]
pub(crate) struct Bound {
    pub(crate) values: Vec<(Format, Option<bytes::Bytes>)>,
    pub(crate) decoded: Vec<datafusion::scalar::ScalarValue>,
}

/// How a cursor was declared.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CursorKind {
    pub(crate) hold: bool,
    pub(crate) scroll: bool,
    pub(crate) binary: bool,
    /// Its transaction has committed.
    pub(crate) committed: bool,
}

impl CursorKind {
    pub(crate) fn declared(hold: bool, scroll: Option<bool>, binary: bool) -> Self {
        Self { hold, scroll: scroll == Some(true), binary, committed: false }
    }
}

impl Portal {
    /// Output columns, when they are known without running it.
    pub(crate) fn columns(&self) -> Option<Arc<[Column]>> {
        if let State::Rows(result) = &self.state {
            return Some(Arc::clone(&result.columns));
        }
        self.statement.plan.as_ref().and_then(|plan| plan.columns.clone())
    }
}

impl Drop for Portal {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}
