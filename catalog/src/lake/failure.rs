//! From errors of the lake's libraries to ours: unreachable, refused, or damaged.
//!
//! The libraries wrap each other, so the chain of causes is walked for what the store itself said. What it does not
//! explain is damage, which an operator must look at.

use std::error::Error;

use hdfs_native::HdfsError;

use super::TablePath;
use super::hdfs::Trouble;
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

/// What the store said, if an error of it is among the causes.
fn said_by_store(error: &(dyn Error + 'static)) -> Option<(SourceErrorKind, String)> {
    let mut next = Some(error);
    while let Some(current) = next {
        if let Some(trouble) = current.downcast_ref::<Trouble>() {
            return Some((SourceErrorKind::Unreachable, trouble.to_string()));
        }
        if let Some(error) = current.downcast_ref::<HdfsError>() {
            return Some(said_by_hdfs(error));
        }
        next = current.source();
    }
    None
}

fn said_by_hdfs(error: &HdfsError) -> (SourceErrorKind, String) {
    match error {
        HdfsError::IOError(_) => (SourceErrorKind::Unreachable, "the connection failed".into()),
        HdfsError::DataTransferError(_) | HdfsError::ChecksumError | HdfsError::OperationFailed(_) => {
            (SourceErrorKind::Unreachable, "a DataNode does not serve".into())
        }
        HdfsError::BlocksNotFound(_) => {
            (SourceErrorKind::Unreachable, "no DataNode has a block of a file".into())
        }
        HdfsError::RPCError(class, _) | HdfsError::FatalRPCError(class, _) => {
            // Their texts hold stack traces.
            let class = class.rsplit('.').next().unwrap_or_default().to_owned();
            let kind = match class.as_str() {
                "AccessControlException" | "AuthorizationException" => SourceErrorKind::Auth,
                "SafeModeException" | "StandbyException" | "RetriableException" | "RemoteException" => {
                    SourceErrorKind::Unreachable
                }
                _ => SourceErrorKind::Remote,
            };
            (kind, format!("the NameNode says {class}"))
        }
        HdfsError::SASLError(_) | HdfsError::GSSAPIError(..) | HdfsError::NoSASLMechanism => {
            (SourceErrorKind::Auth, "the NameNode does not accept who we are".into())
        }
        _ => (SourceErrorKind::Remote, "HDFS refused a call".into()),
    }
}
