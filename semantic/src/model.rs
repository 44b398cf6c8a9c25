//! The checked model of the KPI language: what the files mean once every name has been found.
//!
//! Nothing here is half-checked: a KPI with a mistake is not in the model, it is in [`KpiModel::disabled`] with its
//! first diagnostic. Types of columns are absent on purpose, because files are checked without a store.

use std::collections::BTreeMap;
use std::fmt;

use chrono_tz::Tz;
use datafusion::sql::sqlparser::ast;

use crate::Diagnostic;
use crate::units::Unit;

/// Every model of a set of files.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// The usable models, by name.
    pub models: Vec<KpiModel>,
    /// Names of models whose file has an error that leaves nothing usable, with the first diagnostic.
    pub broken: Vec<Disabled>,
}

impl Model {
    /// Finds a model by name.
    pub fn model(&self, name: &str) -> Option<&KpiModel> {
        self.models.iter().find(|model| model.name == name)
    }
}

/// A KPI, dimension or model that exists in a file but is not usable.
#[derive(Clone, Debug)]
pub struct Disabled {
    /// Its name.
    pub name: String,
    /// The first reason.
    pub reason: Diagnostic,
}

/// A table as SQL names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    /// Schema, such as `warehouse`.
    pub schema: String,
    /// Table, such as `fact_cargo_operation`.
    pub table: String,
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.table)
    }
}

/// Who answers for a KPI.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// Team.
    pub team: String,
    /// Address.
    pub contact: String,
}

/// Life cycle of a KPI.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// Being written.
    #[default]
    Draft,
    /// Reviewed.
    Approved,
    /// Reviewed, tested and with a freshness promise.
    Certified,
    /// Still answering, to be removed.
    Deprecated,
}

impl Status {
    /// Returns the word used in files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Approved => "approved",
            Self::Certified => "certified",
            Self::Deprecated => "deprecated",
        }
    }
}

/// A scalar SQL expression that passed the checks: no aggregate, window, subquery or volatile function.
#[derive(Clone, Debug)]
pub struct Scalar {
    /// The text as written.
    pub sql: String,
    /// The parsed text; identifiers are as written.
    pub ast: ast::Expr,
    /// Column of the fact: bare names. Dimensions a measure's `where` names are in `dimensions`.
    pub columns: Vec<String>,
    /// `join.column` references.
    pub joined: Vec<(String, String)>,
    /// Dimensions named (a measure's `where` only).
    pub dimensions: Vec<String>,
}

/// An event clock: a timestamptz column of the fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Name of the event.
    pub name: String,
    /// Column of the fact.
    pub column: String,
}

/// What happens to a fact row whose join finds nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unmatched {
    /// Text dimensions over the join show this label; others are NULL.
    Bucket {
        /// The label.
        label: String,
        /// True when the author wrote it, so that a non-text dimension is a mistake.
        explicit: bool,
    },
    /// Dimensions over the join are NULL.
    Null,
}

/// A many-to-one (or one-to-one) join of the fact to a table.
#[derive(Clone, Debug)]
pub struct JoinDef {
    /// Name used in expressions.
    pub name: String,
    /// Joined table.
    pub to: TableName,
    /// Pairs of fact column and joined column.
    pub on: Vec<(String, String)>,
    /// Fate of unmatched rows.
    pub unmatched: Unmatched,
    /// Keys that mean "unattributed".
    pub reserved: Vec<i64>,
}

/// Something coarser than the fact's grain, such as a call.
#[derive(Clone, Debug)]
pub struct Entity {
    /// Name.
    pub name: String,
    /// Key columns of the fact.
    pub keys: Vec<String>,
    /// True on exactly one row per entity.
    pub row: Scalar,
    /// Dimensions read from the value row.
    pub main: Vec<String>,
    /// Dimensions in whose every touched member the entity counts.
    pub any: Vec<String>,
}

/// What a code without a label becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unmapped {
    /// The code itself.
    Keep,
    /// This label.
    Bucket(String),
}

/// The declared SQL type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// `text`
    Text,
    /// `int8`
    Int8,
    /// `numeric(p,s)`
    Numeric(u8, i8),
    /// `float8`
    Float8,
    /// `date`
    Date,
    /// `timestamptz`
    TimestampTz,
    /// `boolean`
    Boolean,
}

/// A dimension.
#[derive(Clone, Debug)]
pub struct Dimension {
    /// Name; the column of the view.
    pub name: String,
    /// Title, if given.
    pub title: Option<String>,
    /// Description, if given.
    pub description: Option<String>,
    /// The expression.
    pub expr: Scalar,
    /// Declared type.
    pub ty: Option<ValueType>,
    /// Code → label, in the file's order.
    pub values: Vec<(String, String)>,
    /// What an unlisted code becomes; `None` when there are no values.
    pub unmapped: Option<Unmapped>,
    /// n:1 parent.
    pub parent: Option<String>,
    /// Unit, if it has one.
    pub unit: Option<Unit>,
}

/// Aggregations of the language.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aggregate {
    /// Sum; integers become numeric(38,0).
    Sum,
    /// Non-null `expr`, else rows or entities.
    Count,
    /// Distinct values.
    CountDistinct,
    /// Least.
    Min,
    /// Greatest.
    Max,
    /// Mean, float8.
    Avg,
    /// Sample standard deviation, float8.
    Stddev,
    /// Any true.
    BoolOr,
    /// All true.
    BoolAnd,
    /// Continuous percentile, 0 ≤ q ≤ 1, float8.
    Percentile(f64),
}

impl Aggregate {
    /// Returns the name used in files.
    pub fn label(&self) -> String {
        match self {
            Self::Sum => "sum".into(),
            Self::Count => "count".into(),
            Self::CountDistinct => "count_distinct".into(),
            Self::Min => "min".into(),
            Self::Max => "max".into(),
            Self::Avg => "avg".into(),
            Self::Stddev => "stddev".into(),
            Self::BoolOr => "bool_or".into(),
            Self::BoolAnd => "bool_and".into(),
            Self::Percentile(q) => format!("percentile({q})"),
        }
    }
}

/// A measure.
#[derive(Clone, Debug)]
pub struct Measure {
    /// Name; the column of the view.
    pub name: String,
    /// Title, if given.
    pub title: Option<String>,
    /// Description, if given.
    pub description: Option<String>,
    /// The aggregation.
    pub agg: Aggregate,
    /// What is aggregated; `None` counts rows or entities.
    pub expr: Option<Scalar>,
    /// Lowers to FILTER.
    pub filter: Option<Scalar>,
    /// Level at which the value exists once.
    pub entity: Option<String>,
    /// The event that dates it.
    pub clock: String,
    /// Output unit.
    pub unit: Unit,
    /// Exact factor from the inferred to the declared unit.
    pub scale: crate::units::Ratio,
    /// Declared type.
    pub ty: Option<ValueType>,
    /// NULL counts as zero.
    pub nulls_zero: bool,
    /// Plain aggregates a tool may send.
    pub accepts: Vec<String>,
    /// Who answers for it.
    pub owner: Owner,
    /// Life cycle.
    pub status: Status,
}

/// What a metric computes.
#[derive(Clone, Debug)]
pub enum MetricKind {
    /// Numerator over denominator in one context.
    Ratio {
        /// Measure or metric.
        num: String,
        /// Measure or metric.
        den: String,
    },
    /// Scalar over measures and metrics (its `columns`).
    Derived(Box<Scalar>),
    /// A part of the same value without the keys over some columns.
    Share {
        /// Measure or metric.
        of: String,
        /// Dimensions and grains whose keys the whole ignores.
        over: Vec<String>,
    },
}

/// A metric.
#[derive(Clone, Debug)]
pub struct Metric {
    /// Name; the column of the view.
    pub name: String,
    /// Title, if given.
    pub title: Option<String>,
    /// Description, if given.
    pub description: Option<String>,
    /// What it computes.
    pub kind: MetricKind,
    /// Rebinds the clock of everything below.
    pub clock: Option<String>,
    /// Output unit.
    pub unit: Unit,
    /// Exact factor from the inferred to the declared unit.
    pub scale: crate::units::Ratio,
    /// Plain aggregates a tool may send.
    pub accepts: Vec<String>,
    /// Who answers for it.
    pub owner: Owner,
    /// Life cycle.
    pub status: Status,
}

/// Time columns of every view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Grain {
    /// timestamptz
    Hour,
    /// date
    Day,
    /// date, Monday
    Week,
    /// date
    Month,
    /// date
    Quarter,
    /// date
    Year,
}

/// A flat view: bucket, dimensions, every KPI.
#[derive(Clone, Debug)]
pub struct Flat {
    /// Name; the view is `kpi_flat.<model>__<name>`.
    pub name: String,
    /// Bucket.
    pub grain: Grain,
    /// Dimensions.
    pub dims: Vec<String>,
}

/// A test of a model.
#[derive(Clone, Debug)]
pub enum KpiTest {
    /// `left = right` for every member of `by`.
    Identity {
        /// Left side, over measures and metrics.
        left: Box<Scalar>,
        /// Right side.
        right: Box<Scalar>,
        /// Grains and dimensions.
        by: Vec<String>,
        /// Greatest accepted absolute difference.
        tolerance: f64,
    },
    /// `min ≤ measure ≤ max`.
    Bounds {
        /// Measure or metric.
        measure: String,
        /// Lower bound.
        min: Option<f64>,
        /// Upper bound.
        max: Option<f64>,
    },
}

/// One fact at one grain with everything measured on it.
#[derive(Clone, Debug)]
pub struct KpiModel {
    /// Name; the view is `kpi.<name>`.
    pub name: String,
    /// Title.
    pub title: String,
    /// Description.
    pub description: String,
    /// The file it was read from, as named by the caller.
    pub file: std::path::PathBuf,
    /// The fact.
    pub source: TableName,
    /// Which rows belong.
    pub filter: Option<Scalar>,
    /// Unique, non-null key of the fact.
    pub grain: Vec<String>,
    /// Event clocks.
    pub clocks: Vec<Clock>,
    /// Clock of measures that name none.
    pub default_clock: String,
    /// Business zone of day … year.
    pub time_zone: Tz,
    /// Joins.
    pub joins: Vec<JoinDef>,
    /// Entities.
    pub entities: Vec<Entity>,
    /// Units of fact columns.
    pub units: BTreeMap<String, Unit>,
    /// Dimensions.
    pub dimensions: Vec<Dimension>,
    /// Measures.
    pub measures: Vec<Measure>,
    /// Metrics, in dependency order.
    pub metrics: Vec<Metric>,
    /// Meaning of `COUNT(*)`.
    pub count_star: Option<String>,
    /// Flat views.
    pub flats: Vec<Flat>,
    /// Who answers for it.
    pub owner: Owner,
    /// Life cycle.
    pub status: Status,
    /// Freshness promise as written: warn, error, closing.
    pub freshness: Option<(String, String, Option<String>)>,
    /// Tests.
    pub tests: Vec<KpiTest>,
    /// What the file has and cannot be used.
    pub disabled: Vec<Disabled>,
}
