//! What fails at a worker, and what fails of one.
//!
//! An error of the statement (a division by zero) is told by the worker in a form of ours, because the crate's own form
//! keeps the text and loses what our errors are; it is the statement's error here as well. Everything else that comes
//! back over the link is a [`WorkerFailed`]: whether the statement was wrong or the worker is not known, so it may be
//! answered once more without workers.

use std::error::Error;
use std::fmt;

use datafusion::error::DataFusionError;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::error::{ErrorCode, QueryError};

/// Marks the beginning and the end of an error of ours in the text of another's.
const MARKS: (&str, &str) = ("\u{2}portolan ", "\u{3}");

/// A worker that did not do its part.
#[derive(Debug, Clone)]
pub(super) struct WorkerFailed {
    /// Which worker, as it is configured.
    pub(super) worker: String,
    /// What was heard of it; for the log, not for clients.
    pub(super) heard: String,
}

impl fmt::Display for WorkerFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker \"{}\" failed", self.worker)
    }
}

impl Error for WorkerFailed {}

impl WorkerFailed {
    /// The worker's failure in a chain of errors.
    pub(super) fn of(error: &DataFusionError) -> Option<&Self> {
        let mut next: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(current) = next {
            if let Some(failed) = current.downcast_ref::<Self>() {
                return Some(failed);
            }
            next = current.source();
        }
        None
    }
}

impl From<WorkerFailed> for DataFusionError {
    fn from(failed: WorkerFailed) -> Self {
        Self::External(Box::new(failed))
    }
}

/// The form in which errors travel.
#[derive(Debug, Serialize, Deserialize)]
enum Told {
    /// An error of the statement.
    Statement { state: String, message: String, detail: Option<String>, hint: Option<String> },
    /// Another worker failed the one that tells.
    Worker { worker: String, heard: String },
}

/// What an error that was told says, between its marks.
fn between_marks(text: &str) -> Option<&str> {
    text.split_once(MARKS.0)?.1.split_once(MARKS.1).map(|(told, _)| told)
}

/// An error at a worker, in the form that travels. One of the same worker's other stages has that form already.
pub(super) fn tell(error: &DataFusionError) -> DataFusionError {
    if let Some(told) = between_marks(&error.to_string()) {
        return DataFusionError::Execution(format!("{}{told}{}", MARKS.0, MARKS.1));
    }
    let told = match WorkerFailed::of(error) {
        Some(WorkerFailed { worker, heard }) => Told::Worker { worker: worker.clone(), heard: heard.clone() },
        None => {
            let QueryError { code, message, detail, hint, position: _ } =
                QueryError::from_datafusion(error, None);
            if code == ErrorCode::Internal {
                // Not an error that a statement should end with while there is another way to answer it.
                return DataFusionError::Execution(format!(
                    "a worker cannot do this: {}",
                    without_marks(error)
                ));
            }
            Told::Statement { state: code.sqlstate().to_owned(), message, detail, hint }
        }
    };
    match serde_json::to_string(&told) {
        Ok(text) => DataFusionError::Execution(format!("{}{text}{}", MARKS.0, MARKS.1)),
        Err(cause) => DataFusionError::Execution(format!("a worker cannot tell its error: {cause}")),
    }
}

/// An error that came over the link to a worker, as what it is.
pub(super) fn heard(worker: &Url, error: &DataFusionError) -> DataFusionError {
    if let Some(failed) = WorkerFailed::of(error) {
        return failed.clone().into();
    }
    let text = error.to_string();
    let told = between_marks(&text).and_then(|told| serde_json::from_str::<Told>(told).ok());
    match told {
        Some(Told::Statement { state, message, detail, hint }) => QueryError {
            code: ErrorCode::from_sqlstate(&state).unwrap_or(ErrorCode::Internal),
            message,
            detail,
            hint,
            position: None,
        }
        .into(),
        Some(Told::Worker { worker, heard }) => WorkerFailed { worker, heard }.into(),
        None => WorkerFailed {
            worker: worker.as_str().trim_end_matches('/').to_owned(),
            heard: without_marks(error),
        }
        .into(),
    }
}

fn without_marks(error: &DataFusionError) -> String {
    error.to_string().chars().filter(|c| !c.is_control()).take(400).collect()
}

/// The error that a client sees if a worker failed; `None` if something else did.
pub(crate) fn lost(error: &DataFusionError) -> Option<QueryError> {
    let failed = WorkerFailed::of(error)?;
    tracing::warn!(worker = failed.worker, heard = failed.heard, "a worker failed a statement");
    Some(
        QueryError::new(ErrorCode::SystemError, format!("{failed} in the middle of the answer"))
            .with_hint("repeat the statement; system.workers tells how the workers do"),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn errors_of_a_statement_arrive_as_they_were() {
        let worker = Url::parse("http://127.0.0.1:7001").unwrap();
        let sent = QueryError::new(ErrorCode::DivisionByZero, "division by zero").with_hint("do not");
        let told = tell(&DataFusionError::Shared(Arc::new(sent.clone().into())));
        // The crate keeps the text and wraps it as it likes.
        let wrapped = DataFusionError::Context("somewhere".into(), Box::new(told));
        let text = DataFusionError::Execution(wrapped.to_string());
        assert_eq!(QueryError::from(heard(&worker, &text)), sent);
        assert!(lost(&heard(&worker, &text)).is_none());
        // From stage to stage within one worker it has passed no link.
        assert_eq!(QueryError::from(heard(&worker, &tell(&text))), sent);
    }

    #[test]
    fn a_worker_that_failed_another_is_the_one_named() {
        let (first, second) = ("http://127.0.0.1:7001", "http://127.0.0.1:7002");
        let broken = DataFusionError::Execution("transport error".into());
        let at_first = heard(&Url::parse(second).unwrap(), &broken);
        let here = heard(&Url::parse(first).unwrap(), &tell(&at_first));
        let said = lost(&here).unwrap();
        assert_eq!(said.code.sqlstate(), "58000");
        assert!(said.message.contains(second) && said.hint.is_some(), "{said:?}");
    }
}
