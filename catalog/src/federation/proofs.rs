//! What a live server proved: per construct, whether its answer to constants was ours.
//!
//! A kind of store brings the constructs and asks the questions; what follows from the answers is the same for all.
//! What is not proved stays here, and so does a construct that was answered otherwise, until the server is another
//! one. Planning reads what is known; nothing here may contact anybody.
//!
//! Proofs outlive the process in the source's snapshot, and statements are planned by them before anybody is contacted.
//! They are of one fingerprint, so an executor compares its connection's before it sends a statement, and asks the
//! server anew where they differ. A statement planned by a proof that is lost since then must not be sent: it is refused
//! as outdated, and planned again.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::{self, Debug};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tracing::warn;

use super::{Capability, Reason, Verdict};
use crate::source::{SourceError, SourceErrorKind, SourceName};

/// Why a construct stays here that nobody asked about yet.
pub(crate) const UNPROVEN: Reason = Reason::Borrowed("not proven on this server yet");

/// The constructs of one kind of store that only a server itself can prove. Their names, as `Debug` has them, are kept.
pub(crate) trait Provable: Copy + Ord + Debug + Send + Sync + 'static {
    /// All of them.
    const ALL: &'static [Self];

    /// The [`digest`] of what a server is asked about them and of what is said here.
    fn probes() -> &'static str;
}

/// What an executor trusts its store with because the store proved it. Nothing here contacts the store.
pub trait Proven: Debug + Send + Sync {
    /// How often something that was proved was lost. What was planned in an earlier epoch may rest on it: its executor
    /// refuses it as [`outdated`], before any row of it.
    fn epoch(&self) -> u64;

    /// What is known, to be kept over a restart; `None` if nobody answered yet.
    fn kept(&self) -> Option<KeptProofs>;

    /// Plans by what was kept in an earlier process, until the store is found to be another. What does not fit is left
    /// aside.
    fn remember(&self, kept: KeptProofs);
}

/// The proofs of one server.
#[derive(Debug)]
pub(crate) struct Proofs<C>(RwLock<Known<C>>);

#[derive(Debug)]
struct Known<C> {
    fingerprint: String,
    at: Option<DateTime<Utc>>,
    /// Per construct, how the server's answer differed, if it did.
    answers: BTreeMap<C, Option<String>>,
    /// How often something that was proved was lost.
    epoch: u64,
}

impl<C> Default for Known<C> {
    fn default() -> Self {
        Self { fingerprint: String::new(), at: None, answers: BTreeMap::new(), epoch: 0 }
    }
}

impl<C> Default for Proofs<C> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

/// What one server proved, as it is kept over a restart: no word of a user's data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptProofs {
    /// What the server said of itself: version and settings.
    pub fingerprint: String,
    /// Digest of what it was asked, and of what would be answered here.
    pub probes: String,
    /// When it answered, UTC.
    pub at: DateTime<Utc>,
    /// Per construct, how its answer differed, if it did.
    pub answers: BTreeMap<String, Option<String>>,
}

/// How an answer differs from ours, if it does.
pub(crate) fn mismatch(theirs: &str, ours: &str) -> Option<String> {
    (theirs != ours).then(|| format!("{theirs} instead of {ours}"))
}

/// A digest of all that makes up a set of probes. Another version of Portolan has another.
pub(crate) fn digest<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut all = Sha256::new();
    for part in std::iter::once(env!("CARGO_PKG_VERSION")).chain(parts) {
        all.update(part.len().to_le_bytes());
        all.update(part.as_bytes());
    }
    all.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What marks the refusal of a statement that was planned by what is not proved any more.
#[derive(Debug, Clone, Copy)]
struct Outdated;

impl fmt::Display for Outdated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what the statement was planned by is not proved any more")
    }
}

impl Error for Outdated {}

/// The refusal to send a statement that was planned by what is not proved any more.
#[must_use]
pub fn outdated(source: &SourceName) -> SourceError {
    let message = format!("source \"{source}\" is not the server it was when the statement was planned");
    SourceError::new(SourceErrorKind::Conflict, message)
        .with_source(source)
        .with_hint("run the statement again: it is planned by what the server proves now")
        .with_cause(Outdated)
}

/// Whether an error is [`outdated`]: a new plan does without what is not proved any more.
#[must_use]
pub fn is_outdated(error: &SourceError) -> bool {
    error.cause.as_ref().is_some_and(|cause| cause.is::<Outdated>())
}

impl<C: Provable> Proofs<C> {
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

    /// Whether a statement may rest on them at a server of this fingerprint: they are its, or there are none.
    pub(crate) fn fit(&self, fingerprint: &str) -> bool {
        self.are_of(fingerprint) || self.prove_nothing()
    }

    /// Whether nothing is proved, so that no statement rests on them.
    pub(crate) fn prove_nothing(&self) -> bool {
        self.read().answers.values().all(Option::is_some)
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
        self.replace(fingerprint, Some(Utc::now()), answers);
    }

    /// Takes nothing for proved any more.
    pub(crate) fn forget(&self) {
        self.replace(String::new(), None, BTreeMap::new());
    }

    fn replace(&self, fingerprint: String, at: Option<DateTime<Utc>>, answers: BTreeMap<C, Option<String>>) {
        let mut known = self.write();
        let stays = |construct: &C| matches!(answers.get(construct), Some(None));
        let lost = known.answers.iter().any(|(construct, answer)| answer.is_none() && !stays(construct));
        let epoch = known.epoch + u64::from(lost);
        *known = Known { fingerprint, at, answers, epoch };
    }

    fn kept_of(&self, probes: &str) -> Option<KeptProofs> {
        let known = self.read();
        let answers = known.answers.iter();
        Some(KeptProofs {
            at: known.at?,
            fingerprint: known.fingerprint.clone(),
            probes: probes.to_owned(),
            answers: answers.map(|(construct, answer)| (format!("{construct:?}"), answer.clone())).collect(),
        })
    }

    /// Takes over what was kept, unless something else was asked then, or a server has answered since.
    fn restore(&self, kept: KeptProofs, probes: &str) {
        if kept.probes != probes || self.read().at.is_some() {
            return;
        }
        let KeptProofs { fingerprint, at, answers, .. } = kept;
        let answer = |construct: &C| Some((*construct, answers.get(&format!("{construct:?}"))?.clone()));
        self.replace(fingerprint, Some(at), C::ALL.iter().filter_map(answer).collect());
    }
}

impl<C: Provable> Proven for Proofs<C> {
    fn epoch(&self) -> u64 {
        self.read().epoch
    }

    fn kept(&self) -> Option<KeptProofs> {
        self.kept_of(C::probes())
    }

    fn remember(&self, kept: KeptProofs) {
        self.restore(kept, C::probes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    enum Construct {
        Order,
        Sum,
    }

    impl Provable for Construct {
        const ALL: &'static [Self] = &[Self::Order, Self::Sum];

        fn probes() -> &'static str {
            "probes"
        }
    }

    fn proved(fingerprint: &str, sum: Option<&str>) -> Proofs<Construct> {
        let proofs = Proofs::default();
        let told = [(Construct::Order, None), (Construct::Sum, sum.map(str::to_owned))];
        proofs.learn(fingerprint.into(), told);
        proofs
    }

    #[test]
    fn what_was_kept_is_proved_again_at_its_time_and_only_for_the_same_questions() {
        let before = proved("one", Some("1 instead of 2"));
        let kept = before.kept_of("probes").unwrap();
        let text = serde_json::to_string(&kept).unwrap();
        assert_eq!(serde_json::from_str::<KeptProofs>(&text).unwrap(), kept);

        let after: Proofs<Construct> = Proofs::default();
        assert_eq!(after.kept_of("probes"), None);
        after.restore(kept.clone(), "other probes");
        assert_eq!(after.under([Construct::Order], Verdict::Exact), Verdict::Keep(UNPROVEN));
        after.restore(kept.clone(), "probes");
        assert_eq!(after.under([Construct::Order], Verdict::Exact), Verdict::Exact);
        assert!(matches!(after.under([Construct::Sum], Verdict::Exact), Verdict::Keep(_)));
        assert!(after.are_of("one") && after.fit("one") && !after.fit("two"));
        assert_eq!((after.kept_of("probes").as_ref(), after.epoch()), (Some(&kept), 0));

        // A server's own word is newer than anything that was kept.
        let live = proved("two", None);
        live.restore(kept, "probes");
        assert!(live.are_of("two"));
        assert_eq!(live.under([Construct::Sum], Verdict::Exact), Verdict::Exact);
    }

    #[test]
    fn only_what_loses_a_proof_begins_another_epoch() {
        let proofs: Proofs<Construct> = Proofs::default();
        assert!(proofs.fit("anyone"), "nothing rests on nothing");
        let told = |sum: Option<&str>| {
            [(Construct::Order, None), (Construct::Sum, sum.map(str::to_owned))].into_iter()
        };
        proofs.learn("one".into(), told(None));
        proofs.learn("two".into(), told(None));
        assert_eq!(proofs.epoch(), 0, "another server that answers alike");
        proofs.learn("three".into(), told(Some("otherwise")));
        assert_eq!(proofs.epoch(), 1);
        proofs.learn("two".into(), told(None));
        assert_eq!(proofs.epoch(), 1);
        proofs.forget();
        proofs.forget();
        assert_eq!(proofs.epoch(), 2);
        assert!(proofs.fit("two") && !proofs.are_of("two"));
    }

    #[test]
    fn an_outdated_statement_is_known_by_its_error_and_a_digest_by_its_parts() {
        let source = SourceName::try_new("ops").unwrap();
        assert!(is_outdated(&outdated(&source)));
        assert!(!is_outdated(&SourceError::new(SourceErrorKind::Conflict, "a concurrent writer won")));
        assert_ne!(digest(["ab", "c"]), digest(["a", "bc"]));
        assert_ne!(digest(["a"]), digest(["a", ""]));
    }
}
