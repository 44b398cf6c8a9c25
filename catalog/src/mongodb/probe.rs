//! Capabilities proved on the live server: the pipelines themselves, run over constants and decoded, compared with
//! what is computed here.
//!
//! A dozen pipelines a server, run where it is looked at and again when its fingerprint has changed, at the latest before
//! the first row over a connection made since it was last compared is given: the driver's connections do not say what
//! their server is. What is not proved stays here, also on a server that cannot make documents of constants. A probe must
//! never touch a collection.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{Array, StringArray};
use datafusion::arrow::compute::kernels::comparison::like;
use datafusion::arrow::compute::{SortOptions, sort_to_indices, take};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::{DataFusionError, Result, exec_datafusion_err};
use datafusion::logical_expr::{Expr, cast, col, lit};
use futures::TryStreamExt as _;
use mongodb::Database;
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use tracing::warn;

use super::check::mark;
use super::client::Connector;
use super::decode::Decoder;
use super::kind::found;
use super::pipeline::Pipeline;
use super::shape::TableShape;
use super::verdict::LOOKUP;
use crate::config::OnMismatch;
use crate::federation::{
    AggregateCall, AggregateFunction, Capability, Evidence, Fragment, FragmentAggregate, FragmentSort,
    Proofs, Provable, Proven, PushedFilter, Reason, Verdict, digest, mismatch,
};
use crate::source::{SourceError, TableDef, TableKind};

/// What only the server itself can prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Construct {
    /// Text is ordered by its bytes.
    TextOrder,
    /// A pattern matches what LIKE matches here.
    TextPattern,
    /// Nulls are where the key of their own puts them, missing or not.
    NullOrder,
    /// Equal numbers of all types are one group, missing and null are one.
    Groups,
    /// A sum of longs is exact beyond a long, and null without values.
    ExactSum,
    /// Conditions within an accumulator are those of `$match`.
    Conditions,
    /// Decimals with too many digits are found.
    DecimalDigits,
}

impl Provable for Construct {
    const ALL: &'static [Self] = &[
        Self::TextOrder,
        Self::TextPattern,
        Self::NullOrder,
        Self::Groups,
        Self::ExactSum,
        Self::Conditions,
        Self::DecimalDigits,
    ];

    fn probes() -> &'static str {
        &PROBES
    }
}

/// Where a construct stands in `system.pushdown`: words, types, verdict, other words, and what it rests on.
type Row = (&'static str, &'static str, &'static str, Option<&'static str>, Option<Construct>);

const ORDERED: &str = "integers, timestamptz, objectid";
const NULLS: Option<&str> = Some("null has a key of its own");

const ROWS: [Row; 20] = [
    ("= <> < <= > >= IN BETWEEN", ORDERED, "exact", None, None),
    ("= <> < <= > >= IN BETWEEN", "text", "exact", None, None),
    ("= <> < <= > >= IN BETWEEN", "numeric(p,s)", "exact", None, Some(Construct::DecimalDigits)),
    ("< <= > >= BETWEEN", "float", "rewrite", Some("not-a-number is the largest"), None),
    ("= <> IN", "boolean, uuid", "exact", None, None),
    ("LIKE", "text", "rewrite", Some("a regular expression of the whole text"), Some(Construct::TextPattern)),
    ("ILIKE, regular expressions", "text", "keep", None, None),
    ("IS NULL, IS TRUE and the like", "any but arrays, bytea and date", "exact", None, None),
    ("order by … limit", ORDERED, "rewrite", NULLS, Some(Construct::NullOrder)),
    ("order by … limit", "text", "rewrite", NULLS, Some(Construct::TextOrder)),
    ("order by … limit", "float", "keep", None, None),
    (
        "group by, distinct",
        "boolean, integers, text, timestamptz, objectid, uuid",
        "exact",
        None,
        Some(Construct::Groups),
    ),
    ("group by, distinct", "numeric(p,s)", "exact", None, Some(Construct::DecimalDigits)),
    ("group by, distinct", "float, jsonb, arrays", "keep", None, None),
    ("count", "any but arrays, bytea and date", "exact", None, Some(Construct::Groups)),
    ("min, max", ORDERED, "exact", None, Some(Construct::Groups)),
    ("min, max", "text", "exact", None, Some(Construct::TextOrder)),
    ("sum, avg", "integers", "rewrite", Some("integers are added as decimals"), Some(Construct::ExactSum)),
    ("FILTER", "any condition that is sent", "exact", None, Some(Construct::Conditions)),
    ("join", "any", "keep", None, None),
];

/// What is proved of one server.
#[derive(Debug)]
pub(super) struct Proved {
    pub(super) proofs: Proofs<Construct>,
    /// How many connections had been made when the server was last asked what it is.
    compared: AtomicU64,
}

impl Default for Proved {
    fn default() -> Self {
        Self { proofs: Proofs::default(), compared: AtomicU64::new(u64::MAX) }
    }
}

impl Proved {
    /// The verdict, if all it rests on is proved; otherwise the construct stays here.
    pub(super) fn under(&self, rests_on: &[Construct], verdict: Verdict) -> Verdict {
        self.proofs.under(rests_on.iter().copied(), verdict)
    }

    /// The rows of `system.pushdown`.
    pub(super) fn capabilities(&self) -> Vec<Capability> {
        let shown = |(construct, types, verdict, rewrite, rests_on): Row| {
            let words = if construct == "join" { Some(LOOKUP) } else { rewrite.map(Reason::Borrowed) };
            let claimed = Capability {
                construct,
                types,
                collation: (types == "text").then_some("simple"),
                verdict,
                rewrite: words,
                evidence: if rests_on.is_some() { Evidence::Probe } else { Evidence::Rule },
                proven_at: None,
                active: true,
                mismatch: None,
            };
            self.proofs.judged(rests_on, claimed)
        };
        ROWS.into_iter().map(shown).collect()
    }

    /// Whether what was planned in an epoch may be asked for, and what was answered be given. If a connection was made
    /// since the server last said what it is, it is asked before.
    ///
    /// # Errors
    /// When there is no client to ask by.
    pub(super) async fn stand(&self, connector: &Connector, epoch: u64) -> Result<bool, SourceError> {
        let same = self.compared.load(Ordering::Acquire) == connector.connects();
        if !same && !self.proofs.prove_nothing() {
            self.prove(connector, &connector.database()?).await;
        }
        Ok(self.proofs.epoch() == epoch)
    }

    /// Asks the server, unless it is the one that was asked before. A failure leaves everything unproven.
    pub(super) async fn prove(&self, connector: &Connector, database: &Database) {
        // A connection made meanwhile may be another server's.
        let connects = connector.connects();
        match self.ask(database).await {
            Ok(()) => self.compared.store(connects, Ordering::Release),
            Err(error) => {
                warn!(error = %error, "probes failed, unproven constructs stay here");
                self.proofs.forget();
            }
        }
    }

    async fn ask(&self, database: &Database) -> Result<()> {
        let told = database.run_command(doc! { "buildInfo": 1 }).await.map_err(lost)?;
        let told = |key| told.get_str(key).unwrap_or_default();
        let fingerprint = format!("{}|{}", told("version"), told("gitVersion"));
        if self.proofs.are_of(&fingerprint) {
            return Ok(());
        }
        let mut told = Vec::new();
        for Probe { construct, seeds, fragment, ours } in probes()? {
            let theirs = answer(database, &seeds, &fragment).await?;
            told.push((construct, mismatch(&theirs, &ours)));
        }
        self.proofs.learn(fingerprint, told);
        Ok(())
    }
}

/// A digest of what is asked and of what is computed here.
static PROBES: LazyLock<String> = LazyLock::new(|| {
    let all = probes().map(|probes| probes.iter().map(Probe::to_string).collect());
    let all: Vec<String> = all.unwrap_or_else(|error| vec![error.to_string()]);
    digest(all.iter().map(String::as_str))
});

fn lost(error: mongodb::error::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error)).context("a probe failed")
}

/// One pipeline over documents that are constants.
struct Probe {
    construct: Construct,
    seeds: Vec<Document>,
    fragment: Fragment,
    /// What is computed here.
    ours: String,
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { construct, seeds, fragment, ours } = self;
        write!(f, "{construct:?} {seeds:?} {ours} ")?;
        match Pipeline::of(&shape(), fragment) {
            Ok(pipeline) => {
                write!(f, "{} {:?}", pipeline.to_json(), pipeline.check.map(|check| check.stages))
            }
            Err(reason) => f.write_str(&reason),
        }
    }
}

/// Runs a fragment's pipeline, or its look for misfits, over constants; the rows as text, in their order.
async fn answer(database: &Database, seeds: &[Document], fragment: &Fragment) -> Result<String> {
    let never = |reason: Reason| exec_datafusion_err!("a probe cannot be written: {reason}");
    let pipeline = Pipeline::of(&shape(), fragment).map_err(never)?;
    let look = fragment.projection.is_empty() && fragment.aggregate.is_none();
    let (stages, wanted) = match pipeline.check {
        Some(check) if look => (check.stages, vec![]),
        _ => (pipeline.stages, pipeline.wanted),
    };
    // Text that begins with a dollar must be a constant here, too.
    let quoted = seeds.iter().map(|seed| {
        let fields = seed.iter().map(|(key, value)| (key.clone(), doc! { "$literal": value.clone() }.into()));
        Bson::Document(fields.collect())
    });
    let mut all = vec![doc! { "$documents": quoted.collect::<Vec<_>>() }];
    all.extend(stages);
    let documents: Vec<Document> =
        database.aggregate(all).await.map_err(lost)?.try_collect().await.map_err(lost)?;
    let schema = fragment.schema()?;
    let mut decoder = Decoder::new("probe".into(), schema, wanted, OnMismatch::Error)?;
    for document in &documents {
        let raw = RawDocumentBuf::from_document(document)
            .map_err(|error| exec_datafusion_err!("a probe's answer is malformed: {error}"))?;
        decoder.push(&raw)?;
    }
    let Some(batch) = decoder.finish()? else { return Ok(String::new()) };
    let format = FormatOptions::default().with_null("∅");
    let columns: Vec<ArrayFormatter<'_>> = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &format))
        .collect::<std::result::Result<_, _>>()?;
    let mut rows: Vec<String> = (0..batch.num_rows())
        .map(|row| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("|"))
        .collect();
    if fragment.sort.is_empty() {
        rows.sort();
    }
    Ok(rows.join(";"))
}

fn shape() -> TableShape {
    TableShape::undeclared("probe", OnMismatch::Error)
}

/// The table of the constants: 0 `k`, 1 `l`, 2 `d`, 3 `s`.
fn table() -> Arc<TableDef> {
    let columns = [("k", "int"), ("l", "long"), ("d", "decimal"), ("s", "string")];
    let mut fields = columns.map(|(name, ty)| found(name, &[ty].into_iter().collect(), None));
    mark(&mut fields, &shape(), &std::collections::BTreeSet::new());
    Arc::new(TableDef {
        schema: "probe".into(),
        name: "probe".into(),
        arrow: Arc::new(Schema::new(fields.to_vec())),
        comment: None,
        primary_key: vec![],
        foreign_keys: vec![],
        row_estimate: None,
        kind: TableKind::Table,
    })
}

const TEXTS: [&str; 20] = [
    "", "a", "a ", "A", "Dakar", "DAKAR", "dákar", "ß", "ss", "\u{c9}", "E\u{301}", "🚢", "%", "_", "'",
    "\\", "x\ny", "x\n", "$x", "a.b",
];
const PATTERNS: [&str; 5] = ["%a%", "x%y", "D_kar", "x_", "a."];

fn call(function: AggregateFunction, column: Option<usize>, output: DataType) -> AggregateCall {
    AggregateCall { function, column, distinct: false, filter: None, output }
}

fn aggregated(table: &Arc<TableDef>, groups: Vec<usize>, calls: Vec<AggregateCall>) -> Fragment {
    let keys = groups.iter().filter_map(|group| table.arrow.fields().get(*group)).map(Arc::clone);
    let results =
        calls.iter().map(|call| -> FieldRef { Arc::new(Field::new("result", call.output.clone(), true)) });
    let outputs = keys.chain(results).collect();
    let aggregate = Some(FragmentAggregate { groups, calls, outputs });
    Fragment { aggregate, ..Fragment::whole(Arc::clone(table)) }
}

fn probes() -> Result<Vec<Probe>> {
    let table = table();
    let texts: Vec<Document> = TEXTS.iter().map(|text| doc! { "s": *text }).collect();
    let mut probes = Vec::new();

    // Nulls, missing or not, at either end of text in either direction.
    let mut holes = texts.clone();
    holes.extend([doc! { "s": Bson::Null }, doc! { "l": 1 }]);
    let values = StringArray::from(TEXTS.into_iter().map(Some).chain([None, None]).collect::<Vec<_>>());
    for (descending, nulls_first) in [(false, false), (false, true), (true, false), (true, true)] {
        let options = SortOptions { descending, nulls_first };
        let order = sort_to_indices(&values, Some(options), Some(10))?;
        let taken = take(&values, &order, None)?;
        let ours =
            ArrayFormatter::try_new(&taken, &FormatOptions::default().with_null("∅")).map(|format| {
                (0..taken.len()).map(|row| format.value(row).to_string()).collect::<Vec<_>>().join(";")
            })?;
        let sort = vec![FragmentSort { column: 0, descending, nulls_first }];
        let fragment =
            Fragment { projection: vec![3], sort, limit: Some(10), ..Fragment::whole(Arc::clone(&table)) };
        for construct in [Construct::TextOrder, Construct::NullOrder] {
            let (seeds, fragment, ours) = (holes.clone(), fragment.clone(), ours.clone());
            probes.push(Probe { construct, seeds, fragment, ours });
        }
    }
    let ends =
        [AggregateFunction::Min, AggregateFunction::Max].map(|end| call(end, Some(3), DataType::Utf8View));
    probes.push(Probe {
        construct: Construct::TextOrder,
        seeds: holes,
        fragment: aggregated(&table, vec![], ends.to_vec()),
        ours: "|🚢".into(),
    });

    for pattern in PATTERNS {
        let matched = |text: &&str| {
            like(&StringArray::from(vec![*text]), &StringArray::from(vec![pattern]))
                .is_ok_and(|is| is.value(0))
        };
        let mut ours: Vec<&str> = TEXTS.into_iter().filter(matched).collect();
        ours.sort_unstable();
        let filters = vec![PushedFilter { expr: col("s").like(lit(pattern)), exact: true }];
        probes.push(Probe {
            construct: Construct::TextPattern,
            seeds: texts.clone(),
            fragment: Fragment { projection: vec![3], filters, ..Fragment::whole(Arc::clone(&table)) },
            ours: ours.join(";"),
        });
    }

    let five: Bson = decimal("5.00")?;
    let numbers = vec![
        doc! { "l": 5 },
        doc! { "l": 5_i64 },
        doc! { "l": 5.0 },
        doc! { "l": five },
        doc! { "l": Bson::Null },
        doc! {},
        doc! { "l": -1 },
    ];
    let count = |column| call(AggregateFunction::Count, column, DataType::Int64);
    probes.push(Probe {
        construct: Construct::Groups,
        seeds: numbers.clone(),
        fragment: aggregated(&table, vec![1], vec![count(None), count(Some(1))]),
        ours: "-1|1|1;5|4|4;∅|2|0".into(),
    });
    probes.push(Probe {
        construct: Construct::Groups,
        seeds: numbers,
        fragment: aggregated(&table, vec![], vec![AggregateCall { distinct: true, ..count(Some(1)) }]),
        ours: "2".into(),
    });

    let sum = call(AggregateFunction::Sum, Some(1), DataType::Decimal128(38, 0));
    probes.push(Probe {
        construct: Construct::ExactSum,
        seeds: vec![
            doc! { "k": 1, "l": i64::MAX },
            doc! { "k": 1, "l": i64::MAX },
            doc! { "k": 1, "l": 9_007_199_254_740_991.0 },
            doc! { "k": 1 },
            doc! { "k": 2, "l": Bson::Null },
        ],
        fragment: aggregated(&table, vec![0], vec![sum]),
        ours: format!("1|{};2|∅", i128::from(i64::MAX) * 2 + 9_007_199_254_740_991),
    });

    probes.push(conditions(&table, texts)?);

    let fits = [("1.5", true), ("99999999999999999999999.1234567891", true), ("0.00000000001", false)];
    let fits = fits.into_iter().chain([("1E+28", false), ("NaN", false), ("-Infinity", false)]);
    let mut seeds = vec![doc! {}, doc! { "d": 7_i64 }, doc! { "d": "1.5" }];
    let mut misfits = 1;
    for (text, fitting) in fits {
        seeds.push(doc! { "d": decimal(text)? });
        misfits += usize::from(!fitting);
    }
    // Only counted: none of them would be decoded.
    let filters = vec![PushedFilter { expr: col("d").is_null(), exact: true }];
    probes.push(Probe {
        construct: Construct::DecimalDigits,
        seeds,
        fragment: Fragment { projection: vec![], filters, ..Fragment::whole(table) },
        ours: vec![""; misfits].join(";"),
    });
    Ok(probes)
}

/// Conditions of every form, counted within accumulators, beside the same counted here.
fn conditions(table: &Arc<TableDef>, mut seeds: Vec<Document>) -> Result<Probe> {
    let longs = [i64::MIN, -1, 0, 5, i64::MAX];
    seeds.extend(longs.map(|long| doc! { "l": long }));
    seeds.push(doc! {});
    let texts = |test: fn(&str) -> bool| TEXTS.into_iter().filter(|text| test(text)).count();
    let of_longs = |test: fn(i64) -> bool| longs.into_iter().filter(|long| test(*long)).count();
    let (nulls, long_nulls) = (longs.len() + 1, TEXTS.len() + 1);
    let cases: Vec<(Expr, usize)> = vec![
        (col("s").lt(lit("a")), texts(|text| text < "a")),
        (col("s").gt_eq(lit("a")), texts(|text| text >= "a")),
        (col("s").eq(lit("$x")), 1),
        (col("s").not_eq(lit("$x")), TEXTS.len() - 1),
        (col("s").like(lit("x%")), texts(|text| text.starts_with('x'))),
        (col("s").not_like(lit("x%")), texts(|text| !text.starts_with('x'))),
        (col("s").is_null(), nulls),
        (col("s").eq(lit("a")).is_not_true(), TEXTS.len() - 1 + nulls),
        (col("l").lt(lit(5_i64)), of_longs(|long| long < 5)),
        (col("l").gt(lit(-1_i64)), of_longs(|long| long > -1)),
        (col("l").in_list(vec![lit(5_i64), lit(7_i64)], false), 1),
        (col("l").in_list(vec![lit(5_i64), lit(7_i64)], true), of_longs(|long| long != 5)),
        (col("l").is_null().or(col("s").eq(lit("a"))), long_nulls),
        (cast(col("k"), DataType::Int64).gt(lit(0_i64)), 0),
    ];
    let (mut calls, mut ours) = (Vec::new(), Vec::new());
    for (filter, expected) in cases {
        let counted = call(AggregateFunction::Count, None, DataType::Int64);
        calls.push(AggregateCall { filter: Some(filter), ..counted });
        ours.push(expected.to_string());
    }
    let fragment = aggregated(table, vec![], calls);
    Ok(Probe { construct: Construct::Conditions, seeds, fragment, ours: ours.join("|") })
}

fn decimal(text: &str) -> Result<Bson> {
    text.parse().map(Bson::Decimal128).map_err(|error| exec_datafusion_err!("{text} is no decimal: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::federation::UNPROVEN;

    #[test]
    fn what_is_not_proved_or_was_refuted_stays_here() {
        let proved = Proved::default();
        let rests_on = [Construct::Groups];
        assert_eq!(proved.under(&rests_on, Verdict::Exact), Verdict::Keep(UNPROVEN));
        assert_eq!(proved.under(&[], Verdict::Exact), Verdict::Exact);
        assert!(proved.capabilities().iter().any(|row| row.evidence == Evidence::Probe && !row.active));
        proved.proofs.learn("test".into(), [(Construct::Groups, None)]);
        assert_eq!(proved.under(&rests_on, Verdict::Exact), Verdict::Exact);
        let told = [(Construct::Groups, None), (Construct::ExactSum, Some("1 instead of 2".into()))];
        proved.proofs.learn("other".into(), told);
        let both = [Construct::Groups, Construct::ExactSum];
        assert!(matches!(proved.under(&both, Verdict::Exact), Verdict::Keep(_)));
        let rows = proved.capabilities();
        let refuted = rows.iter().find(|row| row.mismatch.is_some()).unwrap();
        assert_eq!((refuted.active, refuted.verdict), (false, "keep"));
    }

    #[test]
    fn every_construct_has_a_probe_that_can_be_written() {
        let probes = probes().unwrap();
        assert!(probes.len() <= 20, "{}", probes.len());
        for construct in Construct::ALL {
            assert!(probes.iter().any(|probe| probe.construct == *construct), "{construct:?}");
        }
        for probe in probes {
            assert!(Pipeline::of(&shape(), &probe.fragment).is_ok(), "{:?}", probe.construct);
        }
    }
}
