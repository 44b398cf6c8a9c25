//! Refusals at query time. One type, because the caller needs four things of each: rule, SQLSTATE, text, hint.
//!
//! A refusal travels inside `DataFusionError::External` and is found again by [`SemanticError::find`]. It never carries
//! a row's value.

use datafusion::error::DataFusionError;

/// A statement that the semantic layer refuses, with the SQLSTATE and a hint that runs as written where one exists.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SemanticError {
    /// The rule, such as `KPI901`.
    pub rule: &'static str,
    /// The five characters sent to the client.
    pub sqlstate: &'static str,
    /// What failed: lower case, no full stop.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl SemanticError {
    /// Makes a refusal without a hint.
    pub fn new(rule: &'static str, sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self { rule, sqlstate, message: message.into(), hint: None }
    }

    /// Adds the hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Wraps the refusal for a DataFusion signature.
    pub fn into_datafusion(self) -> DataFusionError {
        DataFusionError::External(Box::new(self))
    }

    /// Finds a refusal anywhere in an error's chain.
    pub fn find(error: &DataFusionError) -> Option<&Self> {
        let mut cause: &(dyn std::error::Error + 'static) = error;
        loop {
            if let Some(found) = cause.downcast_ref::<Self>() {
                return Some(found);
            }
            if let Some(DataFusionError::External(inner)) = cause.downcast_ref::<DataFusionError>()
                && let Some(found) = inner.downcast_ref::<Self>()
            {
                return Some(found);
            }
            cause = cause.source()?;
        }
    }
}

impl From<SemanticError> for DataFusionError {
    fn from(error: SemanticError) -> Self {
        error.into_datafusion()
    }
}
