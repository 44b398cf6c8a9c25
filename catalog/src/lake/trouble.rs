//! What an HDFS said when a call failed, in words that survive every library above it.
//!
//! Those libraries wrap each other's errors, and one of them drops the cause and keeps its text. So the trouble is
//! looked for in the chain of causes first, and then in the text. It must never show what the NameNode appends to
//! its texts: a stack trace.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use hdfs_native::HdfsError;

use crate::source::SourceErrorKind;

/// A call that failed, took too long or broke off.
#[derive(Debug)]
pub(super) struct Trouble {
    kind: SourceErrorKind,
    why: String,
    cause: Option<object_store::Error>,
}

const OPENING: &str = "[hdfs ";
const CLOSING: char = ']';

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{OPENING}{}: {}{CLOSING}", word(self.kind), self.why)
    }
}

impl Error for Trouble {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_ref().map(|cause| cause as &(dyn Error + 'static))
    }
}

impl From<Trouble> for object_store::Error {
    fn from(trouble: Trouble) -> Self {
        Self::Generic { store: "HDFS", source: Box::new(trouble) }
    }
}

impl Trouble {
    /// A call that was given up.
    pub(super) fn stalled(what: &str, limit: Duration) -> Self {
        let why = format!("{what} took longer than {limit:?}");
        Self { kind: SourceErrorKind::Unreachable, why, cause: None }
    }

    /// Fewer bytes came than the file has.
    pub(super) fn short(what: &str) -> Self {
        let why = format!("{what} gave fewer bytes than the file has");
        Self { kind: SourceErrorKind::Unreachable, why, cause: None }
    }

    /// Says of a client's error what it means; what every object store tells in the same way stays.
    pub(super) fn explain(error: object_store::Error) -> object_store::Error {
        let mut next: Option<&(dyn Error + 'static)> = Some(&error);
        while let Some(current) = next {
            if current.is::<Self>() {
                return error;
            }
            if let Some(said) = current.downcast_ref::<HdfsError>() {
                let Some((kind, why)) = said_by_hdfs(said) else { return error };
                return Self { kind, why, cause: Some(error) }.into();
            }
            next = current.source();
        }
        error
    }

    /// Whether reading may succeed when it is tried again.
    pub(super) fn may_pass(error: &object_store::Error) -> bool {
        match error {
            object_store::Error::Generic { source, .. } => source
                .downcast_ref::<Self>()
                .is_some_and(|trouble| trouble.kind == SourceErrorKind::Unreachable),
            object_store::Error::JoinError { .. } => true,
            _ => false,
        }
    }
}

const KINDS: [SourceErrorKind; 3] =
    [SourceErrorKind::Unreachable, SourceErrorKind::Auth, SourceErrorKind::Remote];

fn word(kind: SourceErrorKind) -> &'static str {
    match kind {
        SourceErrorKind::Unreachable => "unreachable",
        SourceErrorKind::Auth => "refused",
        _ => "failed",
    }
}

/// What the store said, if it had a part in an error.
pub(super) fn said_by_store(error: &(dyn Error + 'static)) -> Option<(SourceErrorKind, String)> {
    let mut next = Some(error);
    while let Some(current) = next {
        if let Some(trouble) = current.downcast_ref::<Trouble>() {
            return Some((trouble.kind, trouble.why.clone()));
        }
        next = current.source();
    }
    let text = error.to_string();
    let (_, said) = text.split_once(OPENING)?;
    let (said, _) = said.split_once(CLOSING)?;
    let (known, why) = said.split_once(": ")?;
    let kind = KINDS.into_iter().find(|kind| word(*kind) == known)?;
    Some((kind, why.to_owned()))
}

/// Kind and reason of a client's error; nothing for those that are told by kinds of their own.
fn said_by_hdfs(error: &HdfsError) -> Option<(SourceErrorKind, String)> {
    Some(match error {
        HdfsError::AlreadyExists(_) | HdfsError::FileNotFound(_) => return None,
        HdfsError::IOError(_) => (SourceErrorKind::Unreachable, "the connection failed".into()),
        HdfsError::DataTransferError(_) | HdfsError::ChecksumError | HdfsError::OperationFailed(_) => {
            (SourceErrorKind::Unreachable, "a DataNode does not serve".into())
        }
        HdfsError::BlocksNotFound(_) => {
            (SourceErrorKind::Unreachable, "no DataNode has a block of a file".into())
        }
        HdfsError::RPCError(class, _) | HdfsError::FatalRPCError(class, _) => {
            let class: String = class
                .rsplit('.')
                .next()
                .unwrap_or_default()
                .chars()
                .filter(|letter| letter.is_ascii_alphanumeric())
                .collect();
            let kind = match class.as_str() {
                "AccessControlException" | "AuthorizationException" => SourceErrorKind::Auth,
                "SafeModeException" | "StandbyException" | "RetriableException" => {
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
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_found_in_causes_and_in_texts() {
        let refused = HdfsError::RPCError(
            "org.apache.hadoop.security.AccessControlException".into(),
            "Permission denied: user=alice\n\tat java.lang".into(),
        );
        let error = object_store::Error::Generic { store: "HdfsObjectStore", source: Box::new(refused) };
        let explained = Trouble::explain(error);
        let expected = (SourceErrorKind::Auth, "the NameNode says AccessControlException".to_owned());
        assert_eq!(said_by_store(&explained), Some(expected.clone()));
        assert!(!Trouble::may_pass(&explained));
        // A library that keeps nothing but the text.
        let text = std::io::Error::other(format!("Kernel error: {explained}, and more"));
        assert_eq!(said_by_store(&text), Some(expected));
        let stalled = object_store::Error::from(Trouble::stalled("reading a file", Duration::from_secs(2)));
        assert!(Trouble::may_pass(&stalled));
        let why = "reading a file took longer than 2s".to_owned();
        assert_eq!(said_by_store(&stalled), Some((SourceErrorKind::Unreachable, why)));
        assert_eq!(said_by_store(&std::io::Error::other("no entry [here]")), None);
    }
}
