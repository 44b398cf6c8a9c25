//! From errors of the lake's libraries to ours: unreachable, refused, or damaged.
//!
//! What the store said decides; what it does not explain is damage, which an operator must look at.

use std::error::Error;

use super::TablePath;
use super::trouble::said_by_store;
use crate::source::{SourceError, SourceErrorKind};

/// The error for a table whose log or files cannot be read; says what an operator can do.
pub(super) fn damaged(path: &TablePath, cause: impl Error + Send + Sync + 'static) -> SourceError {
    if let Some((kind, why)) = said_by_store(&cause) {
        return of_store(kind, format!("table \"{path}\" of the lake cannot be reached: {why}"))
            .with_cause(cause);
    }
    SourceError::new(SourceErrorKind::Data, format!("table \"{path}\" of the lake cannot be read"))
        .with_hint("its log or a data file is damaged or missing; silver and gold can be rebuilt from bronze")
        .with_cause(cause)
}

/// The error for a lake that cannot be listed or opened.
pub(super) fn unreachable(cause: impl Error + Send + Sync + 'static) -> SourceError {
    let (kind, why) = said_by_store(&cause)
        .unwrap_or((SourceErrorKind::Unreachable, "its root cannot be listed".to_owned()));
    of_store(kind, format!("the lake cannot be reached: {why}")).with_cause(cause)
}

fn of_store(kind: SourceErrorKind, message: String) -> SourceError {
    SourceError::new(kind, message).with_hint(match kind {
        SourceErrorKind::Auth => "grant the user HADOOP_USER_NAME names access to the lake's folder",
        _ => "check the lake's URL, the NameNode and the DataNodes",
    })
}

/// Whether the outcome of a call that failed for this cause is unknown: it may still be carried out.
pub(super) fn may_come_late(cause: &(dyn Error + 'static)) -> bool {
    matches!(said_by_store(cause), Some((SourceErrorKind::Unreachable, _)))
}
