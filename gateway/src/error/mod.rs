//! The one error a client sees, and the one conversion every lower error goes through.
//!
//! A message says what failed in lower case without a full stop; the hint says what to do. Neither ever holds row
//! data, a path, a type of our code or a secret: what has no better text becomes "internal error" with an id, and the
//! chain goes to the log under that id. Position is in characters of the client's own text.

mod code;
mod coercion;
mod convert;
mod position;
mod texts;

#[cfg(test)]
mod tests;

use std::fmt;

pub use code::ErrorCode;
pub(crate) use convert::{cancelled, from_parser, too_deep};
pub use position::{char_position, find_identifier};
pub(crate) use texts::nearest_hint;

/// What a client is told about a failed statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueryError {
    /// The condition.
    pub code: ErrorCode,
    /// What failed.
    pub message: String,
    /// More about what failed.
    pub detail: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// Where in the client's text, counted in characters from 1.
    pub position: Option<usize>,
}

impl QueryError {
    /// An error with a code and a message; the rest is added by the `with_` methods.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), detail: None, hint: None, position: None }
    }

    /// The refusal of something we do not do: 0A000 with the thing's name.
    #[must_use]
    pub fn unsupported(what: impl fmt::Display) -> Self {
        Self::new(ErrorCode::FeatureNotSupported, format!("{what} is not supported"))
    }

    /// An internal error: the cause goes to the log under an id that the client sees in DETAIL.
    #[must_use]
    pub fn internal(cause: &(dyn fmt::Display + Send + Sync)) -> Self {
        let id = uuid::Uuid::new_v4().simple().to_string();
        tracing::error!(error_id = %id, error = %cause, "internal error");
        Self::new(ErrorCode::Internal, "internal error").with_detail(format!("error id {id}"))
    }

    /// Adds a detail.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a position, counted in characters from 1.
    #[must_use]
    pub fn at(mut self, position: usize) -> Self {
        self.position = Some(position);
        self
    }

    /// Adds a position unless there is one.
    #[must_use]
    pub fn at_if_none(mut self, position: Option<usize>) -> Self {
        self.position = self.position.or(position);
        self
    }
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for QueryError {}

impl From<QueryError> for datafusion::error::DataFusionError {
    /// Carries our error through DataFusion unchanged; the conversion at the edge takes it out again.
    fn from(error: QueryError) -> Self {
        Self::External(Box::new(error))
    }
}
