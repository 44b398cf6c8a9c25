//! A failed statement as a gRPC status: code, text and the SQLSTATE as a trailer of its own.
//!
//! The text is `message (SQLSTATE state)`, then a line each for detail, hint and position, because most clients show
//! the text and nothing else. The trailer `portolan-sqlstate` is for programs.

use tonic::Status;
use tonic::metadata::{MetadataMap, MetadataValue};

use crate::error::{ErrorCode, QueryError};
use crate::pg::fault::Fault;
use crate::shadow::StatementError;

/// The trailer that carries the SQLSTATE.
pub(super) const SQLSTATE: &str = "portolan-sqlstate";
/// The trailer that carries the position, in characters of the client's text from 1.
const POSITION: &str = "portolan-position";
/// Longest part of a text. The text travels as a header, escaped up to threefold, and clients allow 8 KiB of those.
const PART_BYTES: usize = 600;

/// The status of an error.
pub(super) fn status(error: &QueryError) -> Status {
    let state = error.code.sqlstate();
    let mut text = format!("{} (SQLSTATE {state})", cut(&error.message));
    for (name, part) in [("detail", &error.detail), ("hint", &error.hint)] {
        if let Some(part) = part {
            text.push_str(&format!("\n{name}: {}", cut(part)));
        }
    }
    let mut metadata = MetadataMap::new();
    metadata.insert(SQLSTATE, MetadataValue::from_static(state));
    if let Some(position) = error.position {
        text.push_str(&format!("\nposition: {position}"));
        metadata.insert(POSITION, MetadataValue::from(position));
    }
    Status::with_metadata(error.code.grpc(), text, metadata)
}

impl From<QueryError> for Status {
    fn from(error: QueryError) -> Self {
        status(&error)
    }
}

fn cut(text: &str) -> &str {
    if text.len() <= PART_BYTES {
        return text;
    }
    let mut end = PART_BYTES;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// The refusal of a call we do not answer: 0A000 with its name.
pub(super) fn refused(what: &str) -> QueryError {
    QueryError::unsupported(format!("{what} over Flight SQL"))
}

/// An error of the statement reader, which knows its SQLSTATE as text only.
pub(super) fn from_fault(fault: Fault) -> QueryError {
    let Fault { sqlstate, message, detail, hint, position, severity: _ } = fault;
    rebuilt(&sqlstate, message, detail, hint, position)
}

/// The same for an error of the classifier.
pub(super) fn from_statement(error: StatementError) -> QueryError {
    let StatementError { sqlstate, message, detail, hint, position } = error;
    rebuilt(&sqlstate, message, detail, hint, position)
}

fn rebuilt(
    sqlstate: &str,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
    position: Option<usize>,
) -> QueryError {
    let code = ErrorCode::from_sqlstate(sqlstate).unwrap_or(ErrorCode::Internal);
    QueryError { code, message, detail, hint, position }
}
