//! Capabilities proved on the live server: its answer to constants, compared with ours bit for bit.
//!
//! One statement a server, run where its tables are read and again when its fingerprint has changed, at the latest
//! before a statement is sent over a connection that has another. What is not proved stays here; a construct that once
//! answered otherwise stays here until it does not. Planning reads what is known and contacts nobody. A probe must never
//! touch a table.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::arrow::array::{Array, Float64Array, StringArray};
use datafusion::arrow::compute::kernels::comparison::like;
use datafusion::arrow::compute::{SortOptions, max, min, sort_to_indices};
use datafusion::common::{Result, exec_datafusion_err};
use tokio_postgres::{Client, SimpleQueryMessage};
use tracing::warn;

use super::render::COLLATE;
use super::select::{SIGNED_ZERO, extreme};
use super::{PoolLease, quote_literal};
use crate::federation::{Capability, Evidence, Proofs, Provable, Proven, Reason, Verdict, digest, mismatch};

/// What only the server itself can prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Construct {
    /// `COLLATE "C"` orders text by its bytes.
    TextOrder,
    /// LIKE matches what ours matches, newlines and all.
    TextPattern,
    /// Floats are in our order, -0 before 0 by a key of its own.
    FloatOrder,
    /// The least and the greatest of floats are ours, zeros with their sign.
    FloatExtreme,
    /// A sum of bigints is exact beyond a bigint.
    IntegerSum,
    /// A sum of numerics is exact.
    NumericSum,
}

impl Provable for Construct {
    const ALL: &'static [Self] = &[
        Self::TextOrder,
        Self::TextPattern,
        Self::FloatOrder,
        Self::FloatExtreme,
        Self::IntegerSum,
        Self::NumericSum,
    ];

    fn probes() -> &'static str {
        &PROBES
    }
}

/// Where a construct stands in `system.pushdown`.
struct Row {
    construct: &'static str,
    types: &'static str,
    collation: Option<&'static str>,
    verdict: &'static str,
    rewrite: Option<&'static str>,
    proof: Proof,
}

enum Proof {
    Known(Evidence),
    Probe(Construct),
}

const fn row(construct: &'static str, types: &'static str, verdict: &'static str, proof: Proof) -> Row {
    Row { construct, types, collation: None, verdict, rewrite: None, proof }
}

const RULE: Proof = Proof::Known(Evidence::Rule);
const FACT: Proof = Proof::Known(Evidence::ColumnFact);
const ORDERED: &str = "boolean, integers, numeric(p,s), date, timestamp, timestamptz, time";

const ROWS: [Row; 25] = [
    row("= <> < <= > >= IN BETWEEN", ORDERED, "exact", RULE),
    row("= <> < <= > >= IN BETWEEN", "uuid", "exact", RULE),
    Row { collation: Some("deterministic"), ..row("= <> IN", "text", "exact", FACT) },
    Row { collation: Some("nondeterministic"), ..row("= <> IN", "text", "keep", FACT) },
    Row {
        rewrite: Some(COLLATE),
        ..row("< <= > >= BETWEEN", "text", "rewrite", Proof::Probe(Construct::TextOrder))
    },
    Row {
        collation: Some("deterministic"),
        ..row("LIKE", "text", "exact", Proof::Probe(Construct::TextPattern))
    },
    row("substr from 1 on", "text", "exact", RULE),
    row("ILIKE, regular expressions", "text", "keep", RULE),
    row("IS NULL, IS TRUE and the like", "any", "exact", RULE),
    row("order by … limit", ORDERED, "exact", RULE),
    Row {
        rewrite: Some(COLLATE),
        ..row("order by … limit", "text", "rewrite", Proof::Probe(Construct::TextOrder))
    },
    Row {
        rewrite: Some("-0 is smaller than 0 by a key of its own"),
        ..row("order by … limit", "float", "rewrite", Proof::Probe(Construct::FloatOrder))
    },
    row("group by, distinct", ORDERED, "exact", RULE),
    Row { collation: Some("deterministic"), ..row("group by, distinct", "text", "exact", FACT) },
    Row {
        collation: Some("nondeterministic"),
        rewrite: Some(COLLATE),
        ..row("group by, distinct", "text", "rewrite", Proof::Probe(Construct::TextOrder))
    },
    row("group by, distinct", "float, json, interval", "keep", RULE),
    row("count", "any", "exact", RULE),
    Row { rewrite: Some(COLLATE), ..row("min, max", "text", "rewrite", Proof::Probe(Construct::TextOrder)) },
    row("min, max", "integers, numeric(p,s), date, timestamp, timestamptz, time", "exact", RULE),
    Row {
        rewrite: Some(SIGNED_ZERO),
        ..row("min, max", "float", "rewrite", Proof::Probe(Construct::FloatExtreme))
    },
    row("sum, avg", "integers", "exact", Proof::Probe(Construct::IntegerSum)),
    row("sum, avg", "numeric(p,s)", "exact", Proof::Probe(Construct::NumericSum)),
    row("sum, avg", "float, numeric", "keep", RULE),
    Row {
        rewrite: Some(COLLATE),
        ..row("join on equal keys, semi, anti", "text", "rewrite", Proof::Probe(Construct::TextOrder))
    },
    row("join on equal keys, semi, anti", ORDERED, "exact", RULE),
];

/// What is proved of one server.
#[derive(Debug, Default)]
pub(super) struct Proved {
    pub(super) proofs: Proofs<Construct>,
    /// Whether any server was asked for its fingerprint by this process.
    compared: AtomicBool,
}

impl Proved {
    /// The verdict, if what it rests on is proved; otherwise the construct stays here.
    pub(super) fn under(&self, rests_on: Option<Construct>, verdict: Verdict) -> Verdict {
        match verdict {
            // Evaluated here as well.
            Verdict::Superset(_) => verdict,
            verdict => self.proofs.under(rests_on, verdict),
        }
    }

    /// The rows of `system.pushdown`.
    pub(super) fn capabilities(&self) -> Vec<Capability> {
        ROWS.iter()
            .map(|row| {
                let (evidence, rests_on) = match row.proof {
                    Proof::Known(evidence) => (evidence, None),
                    Proof::Probe(construct) => (Evidence::Probe, Some(construct)),
                };
                let claimed = Capability {
                    construct: row.construct,
                    types: row.types,
                    collation: row.collation,
                    verdict: row.verdict,
                    rewrite: row.rewrite.map(Reason::Borrowed),
                    evidence,
                    proven_at: None,
                    active: true,
                    mismatch: None,
                };
                self.proofs.judged(rests_on, claimed)
            })
            .collect()
    }

    /// Asks the server, unless it is the one that was asked before. A failure leaves everything unproven.
    pub(super) async fn prove(&self, client: &Client) {
        if let Err(error) = self.ask(client).await {
            warn!(error = %error, "probes failed, unproven constructs stay here");
            self.proofs.forget();
        }
    }

    /// Whether what was planned in an epoch may be sent over a connection. Its server is asked before, if it is not the
    /// one that was.
    pub(super) async fn stand(&self, lease: &PoolLease, epoch: u64) -> bool {
        let same = match lease.fingerprint() {
            Some(fingerprint) => self.proofs.fit(fingerprint),
            // One server for as long as the process lives.
            None => self.compared.load(Ordering::Acquire) || self.proofs.prove_nothing(),
        };
        if !same {
            self.prove(lease).await;
        }
        self.proofs.epoch() == epoch
    }

    async fn ask(&self, client: &Client) -> Result<()> {
        let lost = |error: tokio_postgres::Error| exec_datafusion_err!("a probe failed: {error}");
        let row = client.query_one(FINGERPRINT, &[]).await.map_err(lost)?;
        let fingerprint: String = row.try_get(0).map_err(lost)?;
        self.compared.store(true, Ordering::Release);
        if self.proofs.are_of(&fingerprint) {
            return Ok(());
        }
        let row = client.query_one(&statement(), &[]).await.map_err(lost)?;
        let mut told = Vec::new();
        for (index, (construct, ours)) in ours()?.into_iter().enumerate() {
            let theirs: Option<String> = row.try_get(index).map_err(lost)?;
            told.push((construct, mismatch(&theirs.unwrap_or_default(), &ours)));
        }
        self.proofs.learn(fingerprint, told);
        Ok(())
    }

    /// Everything taken as proved, for tests of what follows.
    #[cfg(test)]
    pub(super) fn all() -> Self {
        let proved = Self::default();
        proved.proofs.learn("test".into(), Construct::ALL.iter().map(|construct| (*construct, None)));
        proved
    }
}

/// A digest of what is asked and of what is said here.
static PROBES: LazyLock<String> = LazyLock::new(|| {
    let said = ours().map_or_else(|error| error.to_string(), |ours| format!("{ours:?}"));
    digest([FINGERPRINT, statement().as_str(), said.as_str()])
});

/// What a server says of itself; empty if it will not: then it proves nothing, and may be read all the same.
pub(super) async fn fingerprint(client: &Client) -> std::result::Result<String, tokio_postgres::Error> {
    let said = match client.simple_query(FINGERPRINT).await {
        Err(error) if error.code().is_none() => return Err(error),
        said => said.unwrap_or_default(),
    };
    let fingerprint = said.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    Ok(fingerprint.unwrap_or_default())
}

/// A SELECT of what a server is, as far as its answers may depend on it.
const FINGERPRINT: &str = "SELECT concat_ws('|', version(), current_setting('server_encoding'), \
    current_setting('TimeZone'), current_setting('standard_conforming_strings'), \
    (SELECT datcollate || '|' || datctype FROM pg_catalog.pg_database WHERE datname = current_database()))";

const TEXTS: [&str; 18] = [
    "", "a", "a ", "A", "Dakar", "DAKAR", "dákar", "ß", "ss", "\u{c9}", "E\u{301}", "🚢", "%", "_", "'",
    "\\", "x\ny", "x\n",
];
const PATTERNS: [&str; 8] = ["%", "_", "a%", "%a%", "x%y", "D_kar", "x_", "%\n"];
const FLOATS: [f64; 9] = [0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.5, -1.5, 5e-324, f64::MAX];
/// Floats of which the least and the greatest are taken.
const EXTREMES: [&[f64]; 7] = [
    &[0.0, -0.0],
    &[-0.0, -1.5],
    &[0.0, 1.5, -0.0],
    &[f64::NAN, -0.0],
    &[f64::NAN],
    &[f64::INFINITY, f64::NEG_INFINITY],
    &[],
];
const BIGINTS: &str = "{9223372036854775807,9223372036854775807,9223372036854775807,-1}";
const NUMERICS: &str =
    "{99999999999999999999999999999999.999999,0.000001,99999999999999999999999999999999.999999}";

/// All probes in one statement, one column each.
fn statement() -> String {
    let array = |texts: &[&str]| {
        let texts: Vec<String> = texts.iter().filter_map(|text| quote_literal(text)).collect();
        format!("ARRAY[{}]::text[]", texts.join(", "))
    };
    let float = |float: &f64| format!("'{float:e}'::float8");
    let floats: Vec<String> = FLOATS.iter().map(float).collect();
    let extremes = EXTREMES.iter().map(|floats| {
        let array: Vec<String> = floats.iter().map(float).collect();
        let (least, greatest) = (extreme("min", "f", "float8", ""), extreme("max", "f", "float8", ""));
        format!(
            "(SELECT concat_ws(' ', {least}, {greatest}) FROM unnest(ARRAY[{}]::float8[]) AS u(f))",
            array.join(", ")
        )
    });
    format!(
        "SELECT (SELECT string_agg(i::text, ',' ORDER BY v COLLATE \"C\" DESC) \
           FROM unnest({texts}) WITH ORDINALITY AS u(v, i)), \
         (SELECT string_agg((v LIKE p)::int::text, '' ORDER BY i, j) \
           FROM unnest({texts}) WITH ORDINALITY AS u(v, i), unnest({patterns}) WITH ORDINALITY AS w(p, j)), \
         (SELECT string_agg(i::text, ',' ORDER BY f ASC NULLS LAST, (f::text = '-0') DESC NULLS LAST) \
           FROM unnest(ARRAY[{floats}]) WITH ORDINALITY AS u(f, i)), \
         concat_ws(',', {extremes}), \
         (SELECT (sum(v))::numeric::text FROM unnest('{BIGINTS}'::int8[]) AS u(v)), \
         (SELECT (sum(v))::numeric::text FROM unnest('{NUMERICS}'::numeric(38,6)[]) AS u(v))",
        texts = array(&TEXTS),
        patterns = array(&PATTERNS),
        floats = floats.join(", "),
        extremes = extremes.collect::<Vec<_>>().join(", "),
    )
}

/// What our engine says to the same constants, in the order of the statement's columns.
fn ours() -> Result<[(Construct, String); 6]> {
    let places = |values: &dyn Array, descending: bool| -> Result<String> {
        let options = SortOptions { descending, nulls_first: false };
        let indices = sort_to_indices(values, Some(options), None)?;
        Ok(indices.values().iter().map(|index| (index + 1).to_string()).collect::<Vec<_>>().join(","))
    };
    let texts = StringArray::from(TEXTS.to_vec());
    let mut patterns = String::new();
    for text in TEXTS {
        for pattern in PATTERNS {
            let matched = like(&StringArray::from(vec![text]), &StringArray::from(vec![pattern]))?.value(0);
            patterns.push(if matched { '1' } else { '0' });
        }
    }
    let bigints: i128 = i128::from(i64::MAX) * 3 - 1;
    Ok([
        (Construct::TextOrder, places(&texts, true)?),
        (Construct::TextPattern, patterns),
        (Construct::FloatOrder, places(&Float64Array::from(FLOATS.to_vec()), false)?),
        (Construct::FloatExtreme, EXTREMES.map(least_and_greatest).join(",")),
        (Construct::IntegerSum, bigints.to_string()),
        (Construct::NumericSum, "199999999999999999999999999999999.999999".to_owned()),
    ])
}

/// Ours of some floats, in the server's spelling; nothing of none.
fn least_and_greatest(floats: &[f64]) -> String {
    let array = Float64Array::from(floats.to_vec());
    let shown = |float: Option<f64>| float.map(|float| float.to_string().replace("inf", "Infinity"));
    [min(&array), max(&array)].into_iter().filter_map(shown).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::federation::UNPROVEN;

    #[test]
    fn what_is_not_proved_or_was_refuted_stays_here() {
        let proved = Proved::default();
        let rests_on = Some(Construct::TextOrder);
        assert_eq!(proved.under(rests_on, Verdict::Exact), Verdict::Keep(UNPROVEN));
        assert_eq!(proved.under(None, Verdict::Exact), Verdict::Exact);
        assert!(proved.capabilities().iter().any(|row| row.evidence == Evidence::Probe && !row.active));
        let proved = Proved::all();
        assert_eq!(proved.under(rests_on, Verdict::Exact), Verdict::Exact);
        proved.proofs.learn("other".into(), [(Construct::TextOrder, Some("2,1 instead of 1,2".into()))]);
        assert!(matches!(proved.under(rests_on, Verdict::Exact), Verdict::Keep(_)));
        let rows = proved.capabilities();
        let refuted = rows.iter().find(|row| row.mismatch.is_some()).unwrap();
        assert_eq!((refuted.active, refuted.verdict), (false, "keep"));
    }

    #[test]
    fn our_own_answers_are_what_they_should_be() {
        let ours = ours().unwrap();
        assert_eq!(ours[2].1, "5,7,2,1,8,6,9,4,3");
        assert_eq!(ours[3].1, "-0 0,-1.5 -0,-0 1.5,-0 NaN,NaN NaN,-Infinity Infinity,");
        assert_eq!(ours[4].1, "27670116110564327420");
    }
}
