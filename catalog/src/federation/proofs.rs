//! What a live server proved: per construct, whether its answer to constants was ours.
//!
//! A kind of store brings the constructs and asks the questions; what follows from the answers is the same for all.
//! What is not proved stays here, and so does a construct that was answered otherwise, until the server is another
//! one. Planning reads what is known; nothing here may contact anybody.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use chrono::{DateTime, Utc};
use tracing::warn;

use super::{Capability, Reason, Verdict};

/// Why a construct stays here that nobody asked about yet.
pub(crate) const UNPROVEN: Reason = Reason::Borrowed("not proven on this server yet");

/// The proofs of one server.
#[derive(Debug)]
pub(crate) struct Proofs<C>(RwLock<Known<C>>);

#[derive(Debug)]
struct Known<C> {
    fingerprint: String,
    at: Option<DateTime<Utc>>,
    /// Per construct, how the server's answer differed, if it did.
    answers: BTreeMap<C, Option<String>>,
}

impl<C> Default for Known<C> {
    fn default() -> Self {
        Self { fingerprint: String::new(), at: None, answers: BTreeMap::new() }
    }
}

impl<C> Default for Proofs<C> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

/// How an answer differs from ours, if it does.
pub(crate) fn mismatch(theirs: &str, ours: &str) -> Option<String> {
    (theirs != ours).then(|| format!("{theirs} instead of {ours}"))
}

impl<C: Ord + Debug> Proofs<C> {
    fn read(&self) -> RwLockReadGuard<'_, Known<C>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known<C>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The verdict, if all it rests on is proved; otherwise the construct stays here.
    pub(crate) fn under(&self, rests_on: impl IntoIterator<Item = C>, verdict: Verdict) -> Verdict {
        if matches!(verdict, Verdict::Keep(_)) {
            return verdict;
        }
        let known = self.read();
        for construct in rests_on {
            match known.answers.get(&construct) {
                Some(None) => {}
                Some(Some(_)) => return Verdict::Keep("this server answers otherwise".into()),
                None => return Verdict::Keep(UNPROVEN),
            }
        }
        verdict
    }

    /// A row of `system.pushdown` as it stands: as claimed, if what it rests on is proved or needs no proof.
    pub(crate) fn judged(&self, rests_on: Option<C>, claimed: Capability) -> Capability {
        let Some(construct) = rests_on else { return claimed };
        let known = self.read();
        let answer = known.answers.get(&construct);
        let active = matches!(answer, Some(None));
        Capability {
            verdict: if active { claimed.verdict } else { "keep" },
            rewrite: if active { claimed.rewrite } else { Some(UNPROVEN) },
            proven_at: known.at.filter(|_| answer.is_some()),
            active,
            mismatch: answer.cloned().flatten(),
            ..claimed
        }
    }

    /// Whether it was this server that was asked.
    pub(crate) fn are_of(&self, fingerprint: &str) -> bool {
        self.read().fingerprint == fingerprint
    }

    /// Takes over a server's answers, each as its difference from ours. A construct that was asked about several times
    /// is proved if no answer differed.
    pub(crate) fn learn(&self, fingerprint: String, told: impl IntoIterator<Item = (C, Option<String>)>) {
        let mut answers: BTreeMap<C, Option<String>> = BTreeMap::new();
        for (construct, mismatch) in told {
            if let Some(sample) = &mismatch {
                warn!(construct = ?construct, sample = %sample, "this server answers a probe otherwise");
            }
            let answer = answers.entry(construct).or_default();
            *answer = answer.take().or(mismatch);
        }
        *self.write() = Known { fingerprint, at: Some(Utc::now()), answers };
    }

    /// Takes nothing for proved any more.
    pub(crate) fn forget(&self) {
        *self.write() = Known::default();
    }
}
