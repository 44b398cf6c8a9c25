//! Capabilities proved on the live server: its answer to constants, compared with ours bit for bit.
//!
//! Two statements a server, run where its tables are read and again when its fingerprint has changed, at the latest
//! before a statement is sent over a connection that has another. What is not proved stays here; a construct that once
//! answered otherwise stays here until it does not. Planning reads what is known and contacts nobody. A probe must never
//! touch a table.

mod questions;

use std::collections::BTreeSet;

use datafusion::common::Result;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error, Params, Row};
use tracing::warn;

pub(super) use self::questions::FINGERPRINT;
use self::questions::{PROBES, ours, raises, statement, without_negative_zeros};
use super::introspect::text;
use crate::federation::{Capability, Evidence, Proofs, Provable, Reason, Verdict, mismatch};

/// What only the server itself can prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Construct {
    /// Text cast to its bytes is equal, ordered and counted as ours.
    TextBytes,
    /// LIKE matches what ours matches, newlines and all.
    TextPattern,
    /// Nulls stand where a key of their own puts them.
    NullOrder,
    /// A sum of bigints is exact beyond a bigint.
    IntegerSum,
    /// A sum of decimals is exact.
    DecimalSum,
    /// A date that is none is found, and is an error where it is guarded.
    DateGuard,
    /// A part of a text has the characters that ours has.
    PartOfText,
    /// The least and the greatest of floats are ours, zeros with their sign.
    FloatExtreme,
}

impl Provable for Construct {
    const ALL: &'static [Self] = &[
        Self::TextBytes,
        Self::TextPattern,
        Self::NullOrder,
        Self::IntegerSum,
        Self::DecimalSum,
        Self::DateGuard,
        Self::PartOfText,
        Self::FloatExtreme,
    ];

    fn probes() -> &'static str {
        &PROBES
    }
}

impl Construct {
    /// The construct of such words; none is that of a sum, which is exact as it stands.
    pub(super) fn of(words: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|construct| construct.words() == words)
    }

    /// In which words a condition is sent that rests on it.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::TextBytes => "text is compared as bytes, CAST(… AS BINARY)",
            Self::TextPattern => "patterns are matched by character, COLLATE utf8mb4_bin",
            Self::NullOrder => "nulls are placed by a key of their own",
            Self::IntegerSum | Self::DecimalSum => "sums are decimals",
            Self::DateGuard => "a date that is none is an error there too",
            Self::PartOfText => "characters are counted in Unicode, CONVERT(… USING utf8mb4)",
            Self::FloatExtreme => "a zero has the sign that its angle tells",
        }
    }
}

/// Where a construct stands in `system.pushdown`.
struct Entry {
    construct: &'static str,
    types: &'static str,
    collation: Option<&'static str>,
    verdict: &'static str,
    proof: Proof,
}

enum Proof {
    Known(Evidence),
    Probe(Construct),
}

const fn row(construct: &'static str, types: &'static str, verdict: &'static str, proof: Proof) -> Entry {
    Entry { construct, types, collation: None, verdict, proof }
}

const RULE: Proof = Proof::Known(Evidence::Rule);
const FACT: Proof = Proof::Known(Evidence::ColumnFact);
const NUMBERS: &str = "integers, decimal(p,s), year";
const DATES: &str = "date, datetime, timestamp; zero_dates: error";

const ROWS: [Entry; 31] = [
    row("= <> < <= > >= IN BETWEEN", NUMBERS, "exact", RULE),
    row("= <> < <= > >= IN BETWEEN", DATES, "rewrite", Proof::Probe(Construct::DateGuard)),
    row("= <> < <= > >= IN BETWEEN", "date, datetime, timestamp; zero_dates: null", "superset", RULE),
    Entry { collation: Some("bytewise without padding"), ..row("= <> IN", "text", "exact", FACT) },
    Entry {
        collation: Some("binary with padding"),
        ..row("= IN", "text", "rewrite", Proof::Probe(Construct::TextBytes))
    },
    Entry { collation: Some("any other"), ..row("= IN", "text", "superset", FACT) },
    row("<> NOT IN < <= > >= BETWEEN", "text", "rewrite", Proof::Probe(Construct::TextBytes)),
    row("LIKE", "text", "rewrite", Proof::Probe(Construct::TextPattern)),
    row("substr from 1 on", "text", "rewrite", Proof::Probe(Construct::PartOfText)),
    row("ILIKE, regular expressions", "text", "keep", RULE),
    row("= <> < <= > >=", "float around zero, json, time, geometry", "keep", RULE),
    row("IS NULL", "any but dates", "exact", RULE),
    row("IS NULL", DATES, "rewrite", Proof::Probe(Construct::DateGuard)),
    row(
        "order by … limit",
        "integers, decimal(p,s), year, bit(1)",
        "rewrite",
        Proof::Probe(Construct::NullOrder),
    ),
    row(
        "order by … limit",
        "char, varchar up to 255 characters, enum",
        "rewrite",
        Proof::Probe(Construct::TextBytes),
    ),
    row("order by … limit", DATES, "rewrite", Proof::Probe(Construct::DateGuard)),
    row("order by … limit", "float, longer text, set, json, time, binary", "keep", RULE),
    row("group by, distinct", NUMBERS, "exact", RULE),
    row(
        "group by, distinct",
        "char, varchar up to 255 characters, enum",
        "rewrite",
        Proof::Probe(Construct::TextBytes),
    ),
    row("group by, distinct", DATES, "rewrite", Proof::Probe(Construct::DateGuard)),
    row("group by, distinct", "float, longer text, set, json, time, bit, binary", "keep", RULE),
    row("count", "any but dates where zero_dates is null", "exact", RULE),
    row("min, max", "integers, decimal(p,s)", "exact", RULE),
    row(
        "min, max",
        "char, varchar up to 255 characters, enum",
        "rewrite",
        Proof::Probe(Construct::TextBytes),
    ),
    row("min, max", DATES, "rewrite", Proof::Probe(Construct::DateGuard)),
    row("min, max", "double", "rewrite", Proof::Probe(Construct::FloatExtreme)),
    row("sum, avg", "integers", "exact", Proof::Probe(Construct::IntegerSum)),
    row("sum, avg", "decimal(p,s) up to 43 digits", "exact", Proof::Probe(Construct::DecimalSum)),
    row("sum, avg", "float, year, bit, wider decimals", "keep", RULE),
    row("join on equal keys, semi, anti", "integers, decimal(p,s) of one type", "exact", RULE),
    row(
        "join on equal keys, semi, anti",
        "text of one collation",
        "rewrite",
        Proof::Probe(Construct::TextBytes),
    ),
];

/// What is proved of one server.
#[derive(Debug, Default)]
pub(super) struct Proved {
    pub(super) proofs: Proofs<Construct>,
}

impl Proved {
    /// The verdict, if what it rests on is proved; otherwise the construct stays here.
    pub(super) fn under(&self, rests_on: &BTreeSet<Construct>, verdict: Verdict) -> Verdict {
        self.proofs.under(rests_on.iter().copied(), verdict)
    }

    /// The rows of `system.pushdown`.
    pub(super) fn capabilities(&self) -> Vec<Capability> {
        ROWS.iter()
            .map(|row| {
                let (evidence, rests_on) = match row.proof {
                    Proof::Known(evidence) => (evidence, None),
                    Proof::Probe(construct) => (Evidence::Probe, Some(construct)),
                };
                let words = rests_on.filter(|_| row.verdict == "rewrite").map(Construct::words);
                let rewrite = words.map(Reason::Borrowed);
                let claimed = Capability {
                    construct: row.construct,
                    types: row.types,
                    collation: row.collation,
                    verdict: row.verdict,
                    rewrite,
                    evidence,
                    proven_at: None,
                    active: true,
                    mismatch: None,
                };
                self.proofs.judged(rests_on, claimed)
            })
            .collect()
    }

    /// Whether the proofs are of a server that says this of itself, or there are none.
    pub(super) fn fit(&self, fingerprint: &str) -> bool {
        self.proofs.fit(fingerprint)
    }

    /// Asks the server, unless it is the one that was asked before. A failure leaves everything unproven; the
    /// connection is as usable after it as the error says.
    ///
    /// # Errors
    /// When the connection was lost.
    pub(super) async fn prove(&self, conn: &mut Conn) -> std::result::Result<(), Error> {
        match self.ask(conn).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                warn!(error = %error, "probes failed, unproven constructs stay here");
                self.proofs.forget();
                Ok(())
            }
            Err(error) => {
                self.proofs.forget();
                if matches!(error, Error::Server(_)) {
                    warn!(error = %error, "probes failed, unproven constructs stay here");
                    return Ok(());
                }
                Err(error)
            }
        }
    }

    async fn ask(&self, conn: &mut Conn) -> std::result::Result<Result<()>, Error> {
        let row: Option<Row> = conn.query_first(format!("SELECT {FINGERPRINT}")).await?;
        let fingerprint = row.and_then(|row| text(&row, 0)).unwrap_or_default();
        if self.proofs.are_of(&fingerprint) {
            return Ok(Ok(()));
        }
        let (sql, values) = statement();
        let row: Option<Row> = conn.exec_first(sql.as_str(), Params::Positional(values)).await?;
        let raised = raises(conn).await?;
        let ours = match ours() {
            Ok(ours) => ours,
            Err(error) => return Ok(Err(error)),
        };
        let told = ours.into_iter().enumerate().map(|(index, (construct, ours))| {
            let theirs = row.as_ref().and_then(|row| text(row, index)).unwrap_or_default();
            let unraised = construct == Construct::DateGuard && !raised;
            let unraised = unraised.then(|| "a sum beyond the largest bigint is no error".to_owned());
            let other = construct == Construct::FloatExtreme && theirs == without_negative_zeros();
            (construct, unraised.or_else(|| mismatch(&theirs, &ours).filter(|_| !other)))
        });
        self.proofs.learn(fingerprint, told);
        Ok(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::federation::UNPROVEN;

    #[test]
    fn what_is_not_proved_or_was_refuted_stays_here() {
        let proved = Proved::default();
        let rests_on = BTreeSet::from([Construct::TextBytes]);
        assert_eq!(proved.under(&rests_on, Verdict::Exact), Verdict::Keep(UNPROVEN));
        assert_eq!(proved.under(&BTreeSet::new(), Verdict::Exact), Verdict::Exact);
        assert!(proved.capabilities().iter().any(|row| row.evidence == Evidence::Probe && !row.active));
        let all = |answer: Option<&str>| {
            let told = |construct: &Construct| {
                let differs = answer.filter(|_| *construct == Construct::TextBytes);
                (*construct, differs.map(str::to_owned))
            };
            Construct::ALL.iter().map(told).collect::<Vec<_>>()
        };
        proved.proofs.learn("test".into(), all(None));
        assert_eq!(proved.under(&rests_on, Verdict::Exact), Verdict::Exact);
        assert!(proved.capabilities().iter().all(|row| row.active));
        proved.proofs.learn("other".into(), all(Some("2,1 instead of 1,2")));
        assert!(matches!(proved.under(&rests_on, Verdict::Superset("x".into())), Verdict::Keep(_)));
        let rows = proved.capabilities();
        let refuted = rows.iter().find(|row| row.mismatch.is_some()).unwrap();
        assert_eq!((refuted.active, refuted.verdict), (false, "keep"));
    }
}
