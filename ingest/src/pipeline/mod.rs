//! Pipelines: files that declare how a source becomes bronze, silver and gold tables, as a checked graph.
//!
//! A pipeline file names a source, how its payload is taken apart, and tables made by SQL or by a named transform.
//! The tables a query names are its inputs, and that is the whole graph. Nothing here touches a source or a lake.

mod graph;
mod load;
pub(crate) mod model;
mod shipped;

use std::fmt;
use std::path::PathBuf;

pub use load::load_pipelines;
pub use model::Pipelines;
pub use shipped::shipped_pipelines;

/// One mistake in a pipeline, crosswalk or SQL file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    /// File, as given.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: u64,
    /// Column, from 1.
    pub column: u64,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file.display(), self.line, self.column, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " (hint: {hint})"),
            None => Ok(()),
        }
    }
}
