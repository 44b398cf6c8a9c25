//! Capabilities proved on the live server: its answer to constants, compared with ours bit for bit.
//!
//! Two statements a server, run where its tables are read and again when its fingerprint has changed. What is not
//! proved stays here; a construct that once answered otherwise stays here until it does not. Planning reads what is
//! known and contacts nobody. A probe must never touch a table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use datafusion::arrow::array::{Array, Int64Array, StringArray};
use datafusion::arrow::compute::kernels::comparison::like;
use datafusion::arrow::compute::{SortOptions, sort_to_indices};
use datafusion::common::Result;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error, Params, Row, Value};
use tracing::warn;

use super::error::OUT_OF_RANGE;
use super::introspect::text;
use super::render::{as_bytes, broken, guard};
use super::shape::Part;
use crate::federation::{Capability, Evidence, Proofs, Reason, Verdict, mismatch};

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
}

const ALL: [Construct; 6] = [
    Construct::TextBytes,
    Construct::TextPattern,
    Construct::NullOrder,
    Construct::IntegerSum,
    Construct::DecimalSum,
    Construct::DateGuard,
];

impl Construct {
    /// The construct of such words; none is that of a sum, which is exact as it stands.
    pub(super) fn of(words: &str) -> Option<Self> {
        ALL.into_iter().find(|construct| construct.words() == words)
    }

    /// In which words a condition is sent that rests on it.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::TextBytes => "text is compared as bytes, CAST(… AS BINARY)",
            Self::TextPattern => "patterns are matched by character, COLLATE utf8mb4_bin",
            Self::NullOrder => "nulls are placed by a key of their own",
            Self::IntegerSum | Self::DecimalSum => "sums are decimals",
            Self::DateGuard => "a date that is none is an error there too",
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

const ROWS: [Entry; 29] = [
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
    proofs: Proofs<Construct>,
    /// Parts of statements that the server refused, with state and number.
    refused: RwLock<BTreeMap<Part, String>>,
}

impl Proved {
    /// The verdict, if what it rests on is proved; otherwise the construct stays here.
    pub(super) fn under(&self, part: Part, rests_on: &BTreeSet<Construct>, verdict: Verdict) -> Verdict {
        if !matches!(verdict, Verdict::Keep(_)) && self.refused().contains_key(&part) {
            return Verdict::Keep("this server refused it".into());
        }
        self.proofs.under(rests_on.iter().copied(), verdict)
    }

    fn refused(&self) -> RwLockReadGuard<'_, BTreeMap<Part, String>> {
        self.refused.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps parts of statements here from now on, until the server is another one.
    pub(super) fn refuse(&self, parts: Vec<Part>, code: &str) {
        warn!(parts = ?parts, code, "this server refused a statement");
        let mut refused = self.refused.write().unwrap_or_else(PoisonError::into_inner);
        refused.extend(parts.into_iter().map(|part| (part, format!("refused with {code}"))));
    }

    /// The rows of `system.pushdown`.
    pub(super) fn capabilities(&self) -> Vec<Capability> {
        let refused = self.refused();
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
                    rewrite: rewrite.clone(),
                    evidence,
                    proven_at: None,
                    active: true,
                    mismatch: None,
                };
                let judged = self.proofs.judged(rests_on, claimed);
                match refused.get(&Part::of_construct(row.construct)) {
                    Some(said) => {
                        let mismatch = Some(said.clone());
                        Capability { verdict: "keep", rewrite, active: false, mismatch, ..judged }
                    }
                    None => judged,
                }
            })
            .collect()
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
                self.forget();
                Ok(())
            }
            Err(error) => {
                self.forget();
                if matches!(error, Error::Server(_)) {
                    warn!(error = %error, "probes failed, unproven constructs stay here");
                    return Ok(());
                }
                Err(error)
            }
        }
    }

    fn forget(&self) {
        self.proofs.forget();
        self.refused.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    async fn ask(&self, conn: &mut Conn) -> std::result::Result<Result<()>, Error> {
        let row: Option<Row> = conn.query_first(FINGERPRINT).await?;
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
            (construct, unraised.or_else(|| mismatch(&theirs, &ours)))
        });
        self.proofs.learn(fingerprint, told);
        // What another server refused says nothing of this one.
        self.refused.write().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(Ok(()))
    }
}

const FINGERPRINT: &str = "SELECT CONCAT_WS('|', @@version, @@session.sql_mode, @@session.collation_connection, \
    @@session.time_zone, @@session.max_sort_length, @@global.lower_case_table_names)";

/// Whether a guarded date that is none is an error.
async fn raises(conn: &mut Conn) -> std::result::Result<bool, Error> {
    let sql = format!("SELECT {} FROM (SELECT CAST(? AS DATE) AS `v`) AS u", guard("`v`"));
    match conn.exec_first::<Row, _, _>(sql.as_str(), ("0000-00-00",)).await {
        Err(Error::Server(server)) if server.code == OUT_OF_RANGE => Ok(true),
        Err(error) => Err(error),
        Ok(_) => Ok(false),
    }
}

const TEXTS: [&str; 18] = [
    "", "a", "a ", "A", "Dakar", "DAKAR", "dákar", "ß", "ss", "\u{c9}", "E\u{301}", "🚢", "%", "_", "'",
    "\\", "x\ny", "x\n",
];
const PATTERNS: [&str; 8] = ["%", "_", "a%", "%a%", "x%y", "D_kar", "x_", "%\n"];
const NUMBERS_AND_NULLS: [Option<i64>; 6] = [Some(1), None, Some(-1), Some(0), None, Some(i64::MAX)];
const BIGINTS: [i64; 4] = [i64::MAX, i64::MAX, i64::MAX, -1];
const DECIMALS: [&str; 3] =
    ["99999999999999999999999999999999.999999", "0.000001", "99999999999999999999999999999999.999999"];
const DECIMAL_SUM: &str = "199999999999999999999999999999999.999999";
/// Dates, and whether each is none.
const DAYS: [(&str, bool); 7] = [
    ("0001-01-01", false),
    ("1582-10-15", false),
    ("2024-02-29", false),
    ("9999-12-31", false),
    ("0000-00-00", true),
    ("2018-02-00", true),
    ("2018-00-07", true),
];

/// Rows of constants, each in a cast, with its number.
fn rows(cast: &str, count: usize) -> String {
    let rows: Vec<String> =
        (1..=count).map(|place| format!("SELECT {place} AS `i`, CAST(? AS {cast}) AS `v`")).collect();
    format!("({})", rows.join(" UNION ALL "))
}

/// All probes in one statement, one column each, and the constants it binds.
fn statement() -> (String, Vec<Value>) {
    let bytes = as_bytes("u.`v`");
    let sql = format!(
        "SELECT (SELECT CONCAT(GROUP_CONCAT(u.`i` ORDER BY {bytes} DESC SEPARATOR ','), ' ', COUNT(DISTINCT {bytes})) \
           FROM {texts} AS u), \
         (SELECT GROUP_CONCAT(CONVERT(u.`v` USING utf8mb4) COLLATE utf8mb4_bin LIKE w.`v` \
           ORDER BY u.`i`, w.`i` SEPARATOR '') FROM {texts} AS u, {patterns} AS w), \
         (SELECT GROUP_CONCAT(u.`i` ORDER BY (u.`v` IS NULL) DESC, u.`v` DESC, u.`i` SEPARATOR ',') FROM {numbers} AS u), \
         (SELECT CAST(SUM(u.`v`) AS CHAR) FROM {bigints} AS u), \
         (SELECT CAST(SUM(u.`v`) AS CHAR) FROM {decimals} AS u), \
         (SELECT GROUP_CONCAT({none} ORDER BY u.`i` SEPARATOR '') FROM {days} AS u)",
        texts = rows("CHAR(20)", TEXTS.len()),
        patterns = rows("CHAR(20)", PATTERNS.len()),
        numbers = rows("SIGNED", NUMBERS_AND_NULLS.len()),
        bigints = rows("SIGNED", BIGINTS.len()),
        decimals = rows("DECIMAL(38,6)", DECIMALS.len()),
        days = rows("DATE", DAYS.len()),
        none = broken("u.`v`"),
    );
    let word = |text: &str| Value::Bytes(text.into());
    let values = (TEXTS.iter().chain(&TEXTS).chain(&PATTERNS).map(|text| word(text)))
        .chain(NUMBERS_AND_NULLS.iter().map(|number| number.map_or(Value::NULL, Value::Int)))
        .chain(BIGINTS.iter().map(|number| Value::Int(*number)))
        .chain(DECIMALS.iter().map(|number| word(number)))
        .chain(DAYS.iter().map(|(day, _)| word(day)))
        .collect();
    (sql, values)
}

/// What our engine says to the same constants, in the order of the statement's columns.
fn ours() -> Result<[(Construct, String); 6]> {
    let places = |values: &dyn Array, nulls_first: bool| -> Result<String> {
        let options = SortOptions { descending: true, nulls_first };
        let indices = sort_to_indices(values, Some(options), None)?;
        Ok(indices.values().iter().map(|index| (index + 1).to_string()).collect::<Vec<_>>().join(","))
    };
    let texts = StringArray::from(TEXTS.to_vec());
    let different = TEXTS.iter().collect::<BTreeSet<_>>().len();
    let mut patterns = String::new();
    for text in TEXTS {
        for pattern in PATTERNS {
            let matched = like(&StringArray::from(vec![text]), &StringArray::from(vec![pattern]))?.value(0);
            patterns.push(if matched { '1' } else { '0' });
        }
    }
    let sum: i128 = BIGINTS.iter().map(|number| i128::from(*number)).sum();
    let nulls = places(&Int64Array::from(NUMBERS_AND_NULLS.to_vec()), true)?;
    Ok([
        (Construct::TextBytes, format!("{} {different}", places(&texts, true)?)),
        (Construct::TextPattern, patterns),
        (Construct::NullOrder, nulls),
        (Construct::IntegerSum, sum.to_string()),
        (Construct::DecimalSum, DECIMAL_SUM.to_owned()),
        (Construct::DateGuard, DAYS.iter().map(|(_, none)| if *none { '1' } else { '0' }).collect()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::federation::UNPROVEN;

    #[test]
    fn what_is_not_proved_or_was_refuted_stays_here() {
        let proved = Proved::default();
        let rests_on = BTreeSet::from([Construct::TextBytes]);
        assert_eq!(proved.under(Part::Conditions, &rests_on, Verdict::Exact), Verdict::Keep(UNPROVEN));
        assert_eq!(proved.under(Part::Conditions, &BTreeSet::new(), Verdict::Exact), Verdict::Exact);
        assert!(proved.capabilities().iter().any(|row| row.evidence == Evidence::Probe && !row.active));
        let all = |answer: Option<&str>| {
            ALL.map(|construct| {
                let differs = answer.filter(|_| construct == Construct::TextBytes);
                (construct, differs.map(str::to_owned))
            })
        };
        proved.proofs.learn("test".into(), all(None));
        assert_eq!(proved.under(Part::Conditions, &rests_on, Verdict::Exact), Verdict::Exact);
        assert!(proved.capabilities().iter().all(|row| row.active));
        proved.proofs.learn("other".into(), all(Some("2,1 instead of 1,2")));
        assert!(matches!(
            proved.under(Part::Conditions, &rests_on, Verdict::Superset("x".into())),
            Verdict::Keep(_)
        ));
        let rows = proved.capabilities();
        let refuted = rows.iter().find(|row| row.mismatch.is_some()).unwrap();
        assert_eq!((refuted.active, refuted.verdict), (false, "keep"));
        proved.refuse(vec![Part::Join], "42000/1104");
        let kept = proved.under(Part::Join, &BTreeSet::new(), Verdict::Exact);
        assert_eq!(kept, Verdict::Keep("this server refused it".into()));
        assert_eq!(proved.under(Part::Order, &BTreeSet::new(), Verdict::Exact), Verdict::Exact);
        let joins: Vec<_> =
            proved.capabilities().into_iter().filter(|row| row.construct.starts_with("join")).collect();
        assert!(joins.iter().all(|row| !row.active && row.mismatch.is_some()), "{joins:#?}");
    }

    #[test]
    fn our_own_answers_are_what_they_should_be() {
        let ours = ours().unwrap();
        assert_eq!(ours[2].1, "2,5,6,1,4,3");
        assert_eq!(ours[3].1, "27670116110564327420");
        assert_eq!(ours[5].1, "0000111");
        let (sql, values) = statement();
        assert_eq!(sql.matches('?').count(), values.len());
    }
}
