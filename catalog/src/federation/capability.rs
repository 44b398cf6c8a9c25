//! What is known of one construct on one source: the verdict, what it rests on, and since when.
//!
//! Plain data, shown in `system.pushdown`. Executors decide by the same entries they show, so the table cannot say
//! other than what is done; it must never hold a value of a user's row.

use chrono::{DateTime, Utc};

use super::Reason;

/// What a verdict rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// Equal by definition, such as the order of integers.
    Rule,
    /// A property the source states of the column, such as its collation.
    ColumnFact,
    /// The source's own answer to constants was compared with ours, bit for bit.
    Probe,
}

impl Evidence {
    /// As shown in `system.pushdown`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rule => "rule",
            Self::ColumnFact => "column fact",
            Self::Probe => "probe",
        }
    }
}

/// One construct on one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability {
    /// The construct, such as `order by`.
    pub construct: &'static str,
    /// Types of its operands, such as `text`.
    pub types: &'static str,
    /// Class of collation it holds for, if text is among them.
    pub collation: Option<&'static str>,
    /// `exact`, `rewrite`, `superset` or `keep`.
    pub verdict: &'static str,
    /// The other words, or why it stays.
    pub rewrite: Option<Reason>,
    /// What the verdict rests on.
    pub evidence: Evidence,
    /// When it was proved; `None` for what needs no proof, or has none yet.
    pub proven_at: Option<DateTime<Utc>>,
    /// False while it is not proved, or was found untrue: then it stays here.
    pub active: bool,
    /// Where the source's answer differed.
    pub mismatch: Option<String>,
}
