//! One error type for all jobs, and the class that decides retry and exit code.
//!
//! The class is a property of the failure, never of the call site. Texts must never carry a row's values or a
//! secret: the cause is kept for the log only.

use std::sync::Arc;

use datafusion::error::DataFusionError;
use portolan_catalog::source::{SourceError, SourceErrorKind};

/// What a failure means for the operator: whether a retry can help, and which exit code the command ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// A retry may help: source or store unreachable, timed out, throttled, conflicting.
    Transient,
    /// The outcome of a commit is not known; only a resolver may go on.
    Unknown,
    /// The data breaks a rule that stops the interval.
    Data,
    /// The source's shape changed against its contract.
    Schema,
    /// Configuration, usage or permission.
    Config,
    /// An equation of the ledger does not hold, or something nobody foresaw. Nothing was published.
    Invariant,
    /// The run was cancelled at a batch boundary.
    Cancelled,
}

impl ErrorClass {
    /// The process exit code of a command that ends with this class.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Transient | Self::Unknown => 75,
            Self::Data | Self::Schema => 65,
            Self::Config => 2,
            Self::Invariant => 70,
            Self::Cancelled => 130,
        }
    }

    /// The class's name in ledgers and machine output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Unknown => "unknown",
            Self::Data => "data",
            Self::Schema => "schema",
            Self::Config => "config",
            Self::Invariant => "invariant",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A job's failure. `Display` is safe to show to a user.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct IngestError {
    /// What the failure means.
    pub class: ErrorClass,
    /// What failed: lower case, no full stop, names in double quotes.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The cause, for the log only.
    #[source]
    pub cause: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// Result of a job or of a step in it.
pub type Result<T, E = IngestError> = std::result::Result<T, E>;

impl IngestError {
    /// A failure of a class; hint and cause are added by the `with_` methods.
    #[must_use]
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), hint: None, cause: None }
    }

    /// A broken equation or an unforeseen state.
    #[must_use]
    pub fn invariant(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Invariant, message)
    }

    /// Says what the reader should do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Keeps the cause for the log.
    #[must_use]
    pub fn with_cause(mut self, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.cause = Some(Arc::new(cause));
        self
    }

    /// Puts "verb + object" in front of the message.
    #[must_use]
    pub fn context(mut self, doing: impl std::fmt::Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }
}

impl From<SourceError> for IngestError {
    fn from(error: SourceError) -> Self {
        let class = match error.kind {
            SourceErrorKind::Unreachable
            | SourceErrorKind::Timeout
            | SourceErrorKind::Busy
            | SourceErrorKind::Conflict
            | SourceErrorKind::Remote => ErrorClass::Transient,
            SourceErrorKind::StateUnknown => ErrorClass::Unknown,
            SourceErrorKind::Auth
            | SourceErrorKind::NotFound
            | SourceErrorKind::Unsupported
            | SourceErrorKind::Limit => ErrorClass::Config,
            SourceErrorKind::Data => ErrorClass::Data,
            SourceErrorKind::Cancelled => ErrorClass::Cancelled,
        };
        let message = match &error.source_name {
            Some(name) if !error.message.contains(name.as_str()) => {
                format!("source \"{name}\": {}", error.message)
            }
            Some(_) | None => error.message.clone(),
        };
        Self { class, message, hint: error.hint.clone(), cause: Some(Arc::new(error)) }
    }
}

impl From<DataFusionError> for IngestError {
    fn from(error: DataFusionError) -> Self {
        if let DataFusionError::External(inner) = error.find_root() {
            if let Some(source) = inner.downcast_ref::<SourceError>() {
                return Self::from(source.clone());
            }
            if let Some(ours) = inner.downcast_ref::<Self>() {
                return ours.clone();
            }
        }
        let class = match error.find_root() {
            DataFusionError::Plan(_) | DataFusionError::SchemaError(_, _) | DataFusionError::SQL(_, _) => {
                ErrorClass::Config
            }
            DataFusionError::ResourcesExhausted(_) => ErrorClass::Transient,
            _ => ErrorClass::Data,
        };
        Self::new(class, error.strip_backtrace()).with_cause(error)
    }
}

impl From<datafusion::arrow::error::ArrowError> for IngestError {
    fn from(error: datafusion::arrow::error::ArrowError) -> Self {
        Self::new(ErrorClass::Data, error.to_string()).with_cause(error)
    }
}
