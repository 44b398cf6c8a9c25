//! Versions of sources, and the vector of versions an answer was read at.
//!
//! A version is whatever a store offers as proof of "this state and no other". It must never claim more than the
//! store promises: an equal log position alone does not prove equal data in PostgreSQL (a commit waiting for its
//! synchronous standby becomes visible at an unchanged position), so its snapshot travels with it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use chrono::{DateTime, SecondsFormat, Utc};

use crate::source::SourceName;

/// The version of one source at the moment it was read.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SourceVersion {
    /// Version number of a Delta table's log.
    Delta(i64),
    /// Load batch of the warehouse's ledger.
    Batch(u64),
    /// PostgreSQL write-ahead log position with the text of `pg_current_snapshot()`.
    Lsn { position: u64, snapshot: String },
    /// Set of global transaction ids of MySQL or MariaDB, read before the data: what is answered is at least as new.
    Gtid(String),
    /// MongoDB cluster time: seconds in the high 32 bits, increment in the low ones.
    ClusterTime(u64),
    /// Kafka end offsets as (partition, next offset), ordered by partition.
    Offsets(Vec<(i32, i64)>),
    /// Content digest over the files of a source.
    Digest(String),
    /// A source without versions: when it was fetched.
    FetchedAt(DateTime<Utc>),
}

impl fmt::Display for SourceVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delta(version) => write!(f, "v:{version}"),
            Self::Batch(batch) => write!(f, "batch:{batch}"),
            Self::Lsn { position, snapshot } => {
                write!(f, "lsn:{:X}/{:X},{snapshot}", position >> 32, position & 0xFFFF_FFFF)
            }
            Self::Gtid(set) => write!(f, "gtid:{set}"),
            Self::ClusterTime(time) => write!(f, "ct:{}.{}", time >> 32, time & 0xFFFF_FFFF),
            Self::Offsets(offsets) => {
                f.write_str("offsets:")?;
                for (index, (partition, offset)) in offsets.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(f, "{comma}{partition}@{offset}")?;
                }
                Ok(())
            }
            Self::Digest(digest) => write!(f, "digest:{digest}"),
            Self::FetchedAt(at) => write!(f, "at:{}", at.to_rfc3339_opts(SecondsFormat::Micros, true)),
        }
    }
}

/// The versions an answer was read at, one per thing read. Keys are a source's name, or `source.table` where a
/// source versions its tables one by one, as a lake does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AsOf(pub BTreeMap<String, SourceVersion>);

impl fmt::Display for AsOf {
    /// Text form: `lake.gold.closures=v:118;ops=at:2026-11-25T13:00:00.000000Z`, ordered by key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, version)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ";" };
            write!(f, "{separator}{key}={version}")?;
        }
        Ok(())
    }
}

/// Collects the versions a running query reads. Cheap to clone; all clones share one vector.
#[derive(Debug, Clone, Default)]
pub struct AsOfRecorder(Arc<Mutex<AsOf>>);

impl AsOfRecorder {
    /// Notes the version a source, or one of its tables, was read at. A second note for the same key wins.
    pub fn record(&self, source: &SourceName, table: Option<&str>, version: SourceVersion) {
        let key = table.map_or_else(|| source.to_string(), |table| format!("{source}.{table}"));
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).0.insert(key, version);
    }

    /// A recorder that has noted a whole vector.
    #[must_use]
    pub fn of(as_of: AsOf) -> Self {
        Self(Arc::new(Mutex::new(as_of)))
    }

    /// The vector as it stands now.
    #[must_use]
    pub fn snapshot(&self) -> AsOf {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_is_ordered_and_complete() {
        let recorder = AsOfRecorder::default();
        let ops = SourceName::try_new("ops").unwrap();
        let lake = SourceName::try_new("lake").unwrap();
        recorder.record(
            &ops,
            None,
            SourceVersion::Lsn { position: 0x0001_0000_00AB, snapshot: "7:9:8".into() },
        );
        recorder.record(&lake, Some("gold.closures"), SourceVersion::Delta(118));
        let text = recorder.snapshot().to_string();
        assert_eq!(text, "lake.gold.closures=v:118;ops=lsn:1/AB,7:9:8");
        recorder.record(&ops, None, SourceVersion::Gtid("0-1-5512".into()));
        assert!(recorder.snapshot().to_string().ends_with(";ops=gtid:0-1-5512"));
    }
}
