//! What can go wrong between the gateway and the shadow, in PostgreSQL's own terms.
//!
//! An error of the shadow's server keeps its SQLSTATE, so the code is text here and not one of the gateway's own
//! codes. Texts never name a path or the child process.

/// An error to report to the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StatementError {
    /// Five characters.
    pub sqlstate: String,
    /// What failed.
    pub message: String,
    /// Further detail.
    pub detail: Option<String>,
    /// What to do.
    pub hint: Option<String>,
    /// 1-based character of the client's own text.
    pub position: Option<usize>,
}

impl StatementError {
    /// Makes an error without detail, hint and position.
    #[must_use]
    pub fn new(sqlstate: &str, message: impl Into<String>) -> Self {
        Self {
            sqlstate: sqlstate.to_owned(),
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
        }
    }

    /// Adds a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a position.
    #[must_use]
    pub fn at(mut self, position: usize) -> Self {
        self.position = Some(position);
        self
    }

    /// The catalog did not come back in time.
    #[must_use]
    pub fn restarting() -> Self {
        Self::new("58000", "the catalog is restarting").with_hint("repeat the statement in a few seconds")
    }
}
