//! Constructs that a source was trusted with and is not any more, because it refused one or gave another answer.
//!
//! The gate asks here before it asks the executor. A construct is an expression's shape over types, so that what went
//! wrong with one column is not tried with the next; no value of a row or of a statement is kept.
//!
//! A refusal names no construct, so all that a fragment asked for are suspects. After a while each is sent again, one at a
//! time, so that a refusal then has a culprit: the statement that it costs is planned once more. What an audit found stays
//! here until somebody mends the rule: a wrong answer is never tried a second time. Where snapshots are kept it is held
//! over a restart, for as long as Portolan is the same version; what was refused is simply tried again then.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, Utc};
use datafusion::arrow::datatypes::Field;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::InList;
use serde::{Deserialize, Serialize};

use crate::federation::{AggregateCall, Fragment, Reason};
use crate::health::Clock;
use crate::source::{PG_TYPE_KEY, SOURCE_TYPE_KEY, SourceError, SourceErrorKind, TableDef};

/// How long a refused construct stays here before it is tried: the first time, and at most. Doubled with each refusal.
const HELD_FIRST: Duration = Duration::from_secs(600);
const HELD_LONGEST: Duration = Duration::from_secs(24 * 3_600);
/// A trial that no statement has decided for so long keeps no other construct from its own.
const UNDECIDED: Duration = Duration::from_secs(60);

/// Why a construct is quarantined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The source does not know it, or not for these types.
    Refused,
    /// Its answer was not ours.
    Audit,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "the source refused it",
            Self::Audit => "an audit found another answer",
        })
    }
}

/// When a construct is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// Not by this version of Portolan.
    Never,
    /// By the first statement that has it after this time, UTC, while no other construct of the source is on trial.
    After(DateTime<Utc>),
    /// Now: the next answer or refusal decides.
    OnTrial,
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("it is not sent again"),
            Self::After(at) => {
                write!(f, "it is tried again after {}", at.to_rfc3339_opts(SecondsFormat::Secs, true))
            }
            Self::OnTrial => f.write_str("it is on trial"),
        }
    }
}

/// One quarantined construct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Its shape, such as `lower(varchar(20)) = ?`, `order by text` or `sum(integer)`.
    pub construct: String,
    /// Why.
    pub cause: Cause,
    /// What the source said, or how its answer differed.
    pub sample: String,
    /// Since when, UTC; of several refusals the last.
    pub since: DateTime<Utc>,
    /// When it is sent again.
    pub release: Release,
}

/// A construct that an audit found to change an answer, as it is kept over a restart: neither a value nor a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audited {
    /// Its shape.
    pub construct: String,
    /// How the answer differed.
    pub sample: String,
    /// Since when it is not sent, UTC.
    pub since: DateTime<Utc>,
}

/// What is kept of one construct.
#[derive(Debug)]
struct Held {
    cause: Cause,
    sample: String,
    since: DateTime<Utc>,
    until: Instant,
    /// How long it is held this time.
    span: Duration,
    /// Since when it is sent again.
    trial: Option<Instant>,
}

impl Held {
    fn new(cause: Cause, sample: &str, span: Duration, (now, at): (Instant, DateTime<Utc>)) -> Self {
        Self { cause, sample: sample.to_owned(), since: at, until: now + span, span, trial: None }
    }

    /// The same after one more refusal.
    fn refused_again(&self, sample: &str, now: (Instant, DateTime<Utc>)) -> Self {
        Self::new(self.cause, sample, (self.span * 2).min(HELD_LONGEST), now)
    }

    fn is_due(&self, now: Instant) -> bool {
        self.cause == Cause::Refused && now >= self.until
    }

    fn release(&self) -> Release {
        match (self.cause, self.trial) {
            (Cause::Audit, _) => Release::Never,
            (Cause::Refused, Some(_)) => Release::OnTrial,
            (Cause::Refused, None) => Release::After(self.since + self.span),
        }
    }
}

/// The quarantined constructs of one source.
#[derive(Debug)]
pub(crate) struct Quarantine {
    clock: Clock,
    any: AtomicBool,
    /// Whether any is on trial.
    trying: AtomicBool,
    held: Mutex<BTreeMap<String, Held>>,
}

impl Quarantine {
    /// Nothing is quarantined yet.
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, any: AtomicBool::new(false), trying: AtomicBool::new(false), held: Mutex::default() }
    }

    /// Why a construct stays here, if it is quarantined; one whose time has come is on trial from now on. `shape` is asked
    /// for only if anything is quarantined.
    pub(crate) fn holds(&self, shape: impl FnOnce() -> String) -> Option<Reason> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let shape = shape();
        let (now, _) = self.clock.now();
        let mut held = self.lock();
        let is_undecided =
            |other: &Held| other.trial.is_some_and(|since| now.saturating_duration_since(since) < UNDECIDED);
        let has_room = !held.values().any(is_undecided);
        let found = held.get_mut(&shape)?;
        if found.trial.is_none() && has_room && found.is_due(now) {
            found.trial = Some(now);
            self.trying.store(true, Ordering::Release);
        }
        if found.trial.is_some() {
            return None;
        }
        Some(format!("quarantined: {}", found.cause).into())
    }

    /// Quarantines every construct of a fragment; of a refused one that has some on trial those alone. Returns how many
    /// were sent until now.
    pub(crate) fn add(&self, fragment: &Fragment, cause: Cause, sample: &str) -> usize {
        let now = self.clock.now();
        let constructs = constructs(fragment);
        let mut held = self.lock();
        let mut lost = 0;
        if cause == Cause::Refused {
            for construct in &constructs {
                if let Some(found) = held.get_mut(construct).filter(|found| found.trial.is_some()) {
                    *found = found.refused_again(sample, now);
                    lost += 1;
                }
            }
        }
        if lost == 0 {
            for construct in constructs {
                match held.entry(construct) {
                    Entry::Vacant(place) => {
                        place.insert(Held::new(cause, sample, HELD_FIRST, now));
                        lost += 1;
                    }
                    // A wrong answer outweighs any refusal.
                    Entry::Occupied(mut found) if cause == Cause::Audit => {
                        lost += usize::from(found.get().trial.is_some());
                        found.insert(Held::new(cause, sample, HELD_FIRST, now));
                    }
                    Entry::Occupied(_) => {}
                }
            }
        }
        self.note(&held);
        lost
    }

    /// Whether any construct is on trial, so that somebody waits for what comes of a fragment.
    pub(crate) fn is_trying(&self) -> bool {
        self.trying.load(Ordering::Acquire)
    }

    /// Trusts the source again with what of a fragment was on trial: it answered.
    pub(crate) fn passed(&self, fragment: &Fragment) {
        let constructs = constructs(fragment);
        let mut held = self.lock();
        held.retain(|construct, found| found.trial.is_none() || !constructs.contains(construct));
        self.note(&held);
    }

    /// What audits found, by construct.
    pub(crate) fn audited(&self) -> Vec<Audited> {
        let held = self.lock();
        let audits = held.iter().filter(|(_, held)| held.cause == Cause::Audit);
        let kept = audits.map(|(construct, held)| Audited {
            construct: construct.clone(),
            sample: held.sample.clone(),
            since: held.since,
        });
        kept.collect()
    }

    /// Holds what audits of an earlier process found.
    pub(crate) fn hold_again(&self, audits: &[Audited]) {
        let (now, _) = self.clock.now();
        let mut held = self.lock();
        for Audited { construct, sample, since } in audits {
            let again = Held::new(Cause::Audit, sample, HELD_FIRST, (now, *since));
            held.insert(construct.clone(), again);
        }
        self.note(&held);
    }

    /// All of them, by construct.
    pub(crate) fn list(&self) -> Vec<Quarantined> {
        let shown = |(construct, held): (&String, &Held)| Quarantined {
            construct: construct.clone(),
            cause: held.cause,
            sample: held.sample.clone(),
            since: held.since,
            release: held.release(),
        };
        self.lock().iter().map(shown).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, held: &BTreeMap<String, Held>) {
        self.any.store(!held.is_empty(), Ordering::Release);
        self.trying.store(held.values().any(|held| held.trial.is_some()), Ordering::Release);
    }
}

/// Whether a source refused what it was asked, not what was in it: SQLSTATE class 42 without the missing tables, columns
/// and rights that are other kinds of errors.
#[must_use]
pub fn is_refusal(error: &SourceError) -> bool {
    error.kind == SourceErrorKind::Remote
        && error.remote_code.as_ref().is_some_and(|code| code.starts_with("42"))
}

fn type_of(field: &Field) -> String {
    let metadata = field.metadata();
    let told = metadata.get(SOURCE_TYPE_KEY).or_else(|| metadata.get(PG_TYPE_KEY));
    told.cloned().unwrap_or_else(|| field.data_type().to_string())
}

/// The shape of a condition: its columns' types in their place, and no literal.
pub(crate) fn shape(table: &TableDef, expr: &Expr) -> String {
    let named = |name: String| Expr::Column(Column::from_name(name));
    let shaped: Result<Transformed<Expr>> = expr.clone().transform_up(|node| {
        Ok(match node {
            Expr::Column(column) => {
                let found = table.arrow.field_with_name(&column.name);
                Transformed::yes(named(found.map_or_else(|_| column.name.clone(), type_of)))
            }
            Expr::Literal(..) => Transformed::yes(named("?".to_owned())),
            Expr::InList(InList { expr, negated, .. }) => {
                Transformed::yes(Expr::InList(InList { expr, list: vec![named("?".to_owned())], negated }))
            }
            other => Transformed::no(other),
        })
    });
    shaped.map_or_else(|_| expr.variant_name().to_owned(), |shaped| shaped.data.to_string())
}

/// The shape of a key that rows are sorted by.
pub(crate) fn sort_shape(column: &Field) -> String {
    format!("order by {}", type_of(column))
}

/// The shape of a column that rows are grouped by.
pub(crate) fn group_shape(column: &Field) -> String {
    format!("group by {}", type_of(column))
}

/// The shape of an aggregate.
pub(crate) fn aggregate_shape(call: &AggregateCall, column: Option<&Field>) -> String {
    let distinct = if call.distinct { "distinct " } else { "" };
    format!("{}({distinct}{})", call.function.name(), column.map_or_else(|| "*".to_owned(), type_of))
}

/// The shape of a join of two columns.
pub(crate) fn join_shape(left: &Field, right: &Field) -> String {
    format!("join {} = {}", type_of(left), type_of(right))
}

/// Every construct a fragment has the source evaluate.
fn constructs(fragment: &Fragment) -> Vec<String> {
    let mut found: Vec<String> =
        fragment.filters.iter().map(|filter| shape(&fragment.table, &filter.expr)).collect();
    let column = |index: usize| fragment.column(index).map(|(_, field)| field);
    for join in &fragment.joins {
        found.extend(join.filters.iter().map(|filter| shape(&join.table, &filter.expr)));
        for (left, right) in &join.on {
            if let (Some(left), Some(right)) = (column(*left), join.table.arrow.fields().get(*right)) {
                found.push(join_shape(left, right));
            }
        }
    }
    if let Some(aggregate) = &fragment.aggregate {
        found.extend(aggregate.groups.iter().filter_map(|index| column(*index)).map(group_shape));
        for call in &aggregate.calls {
            found.push(aggregate_shape(call, call.column.and_then(column)));
            found.extend(call.filter.iter().map(|filter| shape(&fragment.table, filter)));
        }
    }
    if let Ok(schema) = fragment.schema() {
        let keys = fragment.sort.iter().filter_map(|key| schema.fields().get(key.column));
        found.extend(keys.map(|field| sort_shape(field)));
    }
    found
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    use datafusion::arrow::datatypes::{DataType, Schema};
    use datafusion::logical_expr::{col, lit};

    use super::*;
    use crate::federation::PushedFilter;

    fn table() -> Arc<TableDef> {
        let word = Field::new("word", DataType::Utf8, true)
            .with_metadata([(SOURCE_TYPE_KEY.to_owned(), "varchar(9)".to_owned())].into());
        let schema = Schema::new(vec![word, Field::new("n", DataType::Int32, true)]);
        Arc::new(TableDef::view("ops".into(), "t".into(), Arc::new(schema), None))
    }

    #[test]
    fn a_shape_has_types_and_no_values_and_holds_for_other_values() {
        let table = table();
        let secret = col("word").eq(lit("secret")).and(col("n").in_list(vec![lit(1), lit(2)], false));
        let shown = shape(&table, &secret);
        assert!(!shown.contains("secret") && shown.contains("varchar(9)"), "{shown}");
        let other = col("word").eq(lit("x")).and(col("n").in_list(vec![lit(3)], false));
        assert_eq!(shown, shape(&table, &other));

        let quarantine = Quarantine::new(Clock::system());
        assert_eq!(quarantine.holds(|| shown.clone()), None);
        let fragment = Fragment {
            filters: vec![PushedFilter { expr: secret, exact: true }],
            ..Fragment::whole(Arc::clone(&table))
        };
        assert_eq!(quarantine.add(&fragment, Cause::Refused, "42883"), 1);
        assert_eq!(quarantine.add(&fragment, Cause::Audit, "again"), 0);
        assert!(quarantine.holds(|| shape(&table, &other)).is_some());
        assert_eq!(quarantine.holds(|| shape(&table, &col("n").eq(lit(1)))), None);
        let listed: Vec<_> = quarantine.list().into_iter().map(|row| (row.cause, row.release)).collect();
        assert_eq!(listed, [(Cause::Audit, Release::Never)], "a wrong answer outweighs a refusal");
    }

    /// A clock moved by hand, in seconds.
    fn by_hand() -> (Quarantine, Arc<AtomicU64>, DateTime<Utc>) {
        let start = (Instant::now(), Utc::now());
        let seconds = Arc::new(AtomicU64::new(0));
        let read = Arc::clone(&seconds);
        let clock = Clock::reading(move || {
            let passed = Duration::from_secs(read.load(Ordering::SeqCst));
            (start.0 + passed, start.1 + passed)
        });
        (Quarantine::new(clock), seconds, start.1)
    }

    fn asking(conditions: Vec<Expr>) -> Fragment {
        let filters = conditions.into_iter().map(|expr| PushedFilter { expr, exact: true }).collect();
        Fragment { filters, ..Fragment::whole(table()) }
    }

    #[test]
    fn what_was_refused_together_is_tried_one_by_one_and_only_the_culprit_stays() {
        let (quarantine, seconds, start) = by_hand();
        let (good, bad) = (col("n").gt(lit(1)), col("word").like(lit("a%")));
        let held = |expr: &Expr| quarantine.holds(|| shape(&table(), expr)).is_some();
        assert_eq!(quarantine.add(&asking(vec![good.clone(), bad.clone()]), Cause::Refused, "42883"), 2);
        seconds.store(599, Ordering::SeqCst);
        assert!(held(&good) && held(&bad) && !quarantine.is_trying());
        assert_eq!(quarantine.list()[0].release, Release::After(start + HELD_FIRST));

        seconds.store(600, Ordering::SeqCst);
        assert!(!held(&bad) && held(&good), "one at a time");
        assert!(!held(&bad), "until it is decided");
        assert!(quarantine.is_trying());
        assert!(quarantine.list().iter().any(|row| row.release == Release::OnTrial));
        // Another construct of the statement is no suspect.
        let (other, with_bad) = (col("n").is_null(), asking(vec![col("n").is_null(), bad.clone()]));
        assert_eq!(quarantine.add(&with_bad, Cause::Refused, "42000/1064"), 1);
        assert!(held(&bad) && !held(&other) && !quarantine.is_trying());

        assert!(!held(&good));
        quarantine.passed(&asking(vec![other]));
        assert_eq!(quarantine.list().len(), 2, "it was not asked for");
        quarantine.passed(&asking(vec![good.clone()]));
        let left = quarantine.list();
        assert_eq!(left.iter().map(|row| row.sample.as_str()).collect::<Vec<_>>(), ["42000/1064"]);
        // Twice as long as before.
        assert_eq!(left[0].release, Release::After(start + HELD_FIRST * 3));
        seconds.store(1_799, Ordering::SeqCst);
        assert!(held(&bad) && !held(&good));
        seconds.store(1_800, Ordering::SeqCst);
        assert!(!held(&bad));
        quarantine.passed(&asking(vec![bad]));
        assert_eq!((quarantine.list(), quarantine.is_trying()), (vec![], false));
    }

    #[test]
    fn a_trial_that_nobody_decides_keeps_no_other_waiting_and_an_audit_ends_all_trials() {
        let (quarantine, seconds, _) = by_hand();
        let (one, two) = (col("n").gt(lit(1)), col("word").like(lit("a%")));
        let held = |expr: &Expr| quarantine.holds(|| shape(&table(), expr)).is_some();
        quarantine.add(&asking(vec![one.clone(), two.clone()]), Cause::Refused, "42883");
        seconds.store(600, Ordering::SeqCst);
        assert!(!held(&one) && held(&two));
        seconds.store(660, Ordering::SeqCst);
        assert!(!held(&one) && !held(&two), "two are on trial");
        assert_eq!(quarantine.add(&asking(vec![one.clone()]), Cause::Audit, "2 rows instead of 1"), 1);
        seconds.store(10_000_000, Ordering::SeqCst);
        assert!(held(&one) && !held(&two));
        // However often it is refused, it is tried once a day.
        for _ in 0..20 {
            quarantine.add(&asking(vec![two.clone()]), Cause::Refused, "42883");
            let last = seconds.load(Ordering::SeqCst);
            seconds.store(last + HELD_LONGEST.as_secs(), Ordering::SeqCst);
            assert!(!held(&two));
        }
    }

    #[test]
    fn what_an_audit_found_is_held_by_the_next_process_and_what_was_refused_is_not() {
        let (before, _, start) = by_hand();
        let (refused, lied) = (col("n").gt(lit(1)), col("word").like(lit("a%")));
        before.add(&asking(vec![refused.clone()]), Cause::Refused, "42883");
        before.add(&asking(vec![lied.clone()]), Cause::Audit, "2 rows instead of 1");
        let kept = before.audited();
        assert_eq!(kept.iter().map(|audit| audit.since).collect::<Vec<_>>(), [start]);

        let (after, _, _) = by_hand();
        after.hold_again(&kept);
        assert_eq!(after.holds(|| shape(&table(), &refused)), None);
        assert!(after.holds(|| shape(&table(), &lied)).is_some());
        assert_eq!(
            (after.audited(), after.list().first().map(|row| row.release)),
            (kept, Some(Release::Never))
        );
    }

    #[test]
    fn only_what_a_source_does_not_know_is_a_refusal() {
        let error = |kind, code: &str| SourceError::new(kind, "x").with_remote_code(code);
        assert!(is_refusal(&error(SourceErrorKind::Remote, "42883")));
        assert!(is_refusal(&error(SourceErrorKind::Remote, "42000/1064")));
        assert!(!is_refusal(&error(SourceErrorKind::NotFound, "42703")));
        assert!(!is_refusal(&error(SourceErrorKind::Remote, "XX000")));
        assert!(!is_refusal(&SourceError::new(SourceErrorKind::Remote, "x")));
    }
}
