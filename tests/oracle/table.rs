//! The logical tables: columns of logical types, and rows as PostgreSQL's text of each value.
//!
//! Every store gets these rows and no others. Values are chosen for what stores are known to confuse; the rows never
//! hold what only some stores can hold, except whole columns, which a store may lack (`Store::lacks`).

use std::sync::Arc;

use anyhow::{Context, Result};
use chrono::{NaiveDate, NaiveDateTime};
use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int16Array, Int32Array, Int64Array,
    RecordBatch, StringArray, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};

use crate::random::Random;

/// A logical column type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    Bool,
    Int2,
    Int4,
    Int8,
    Float8,
    /// A float of both zeros, which are equal and do not look it.
    SignedZero,
    Numeric(u8, i8),
    Text,
    /// Text of a closed set, stored as an enum whose order is not the alphabet's where a store has enums.
    Word,
    Date,
    Timestamp,
    Timestamptz,
}

/// The words of [`Kind::Word`], in the order an enum declares them.
pub(crate) const WORDS: [&str; 4] = ["quay", "anchor", "mole", "basin"];

impl Kind {
    /// The type as PostgreSQL writes it; a word is text.
    pub(crate) fn sql(self) -> String {
        match self {
            Self::Bool => "bool".into(),
            Self::Int2 => "int2".into(),
            Self::Int4 => "int4".into(),
            Self::Int8 => "int8".into(),
            Self::Float8 | Self::SignedZero => "float8".into(),
            Self::Numeric(precision, scale) => format!("numeric({precision},{scale})"),
            Self::Text | Self::Word => "text".into(),
            Self::Date => "date".into(),
            Self::Timestamp => "timestamp".into(),
            Self::Timestamptz => "timestamptz".into(),
        }
    }
}

/// One column: its SQL name, and a key that is safe as a field of a document.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) key: &'static str,
    pub(crate) kind: Kind,
}

/// One row: a text or null for each column.
pub(crate) type Row = Vec<Option<String>>;

/// A table every store gets.
#[derive(Debug, Clone)]
pub(crate) struct LogicalTable {
    pub(crate) name: &'static str,
    pub(crate) columns: &'static [Column],
    pub(crate) rows: Vec<Row>,
}

const fn column(name: &'static str, key: &'static str, kind: Kind) -> Column {
    Column { name, key, kind }
}

/// Columns of `seeds`, the wide table.
pub(crate) const SEEDS: &[Column] = &[
    column("id", "id", Kind::Int8),
    column("s", "s", Kind::Text),
    column("Upper", "c_upper", Kind::Text),
    column("word", "word", Kind::Word),
    column("select", "c_select", Kind::Int4),
    column("i2", "i2", Kind::Int2),
    column("i8", "i8", Kind::Int8),
    column("f8", "f8", Kind::Float8),
    column("zero", "zero", Kind::SignedZero),
    column("n", "n", Kind::Numeric(12, 2)),
    column("a.b", "c_dotted", Kind::Numeric(30, 10)),
    column("b", "b", Kind::Bool),
    column("day", "day", Kind::Date),
    column("q\"t", "c_quoted", Kind::Text),
    column("ts", "ts", Kind::Timestamp),
    column("tz", "tz", Kind::Timestamptz),
];

/// Columns of `links`, `one` and `nothing`.
pub(crate) const LINKS: &[Column] = &[
    column("id", "id", Kind::Int8),
    column("seed_id", "seed_id", Kind::Int8),
    column("s", "s", Kind::Text),
    column("word", "word", Kind::Word),
    column("select", "c_select", Kind::Int4),
    column("n", "n", Kind::Numeric(12, 2)),
    column("day", "day", Kind::Date),
];

/// Texts that stores, languages and escapes are known to confuse.
pub(crate) const TEXTS: &[&str] = &[
    "",
    "a",
    "a ",
    "A",
    " a",
    "Dakar",
    "DAKAR",
    "dákar",
    "ß",
    "ss",
    "É",
    "E\u{301}",
    "🚢",
    "it's",
    "\"",
    "\\",
    "\\'",
    "%",
    "_",
    "a%",
    "`",
    "';--",
    "*/",
    "x\ny",
    "x\n",
    "$x",
    "$1",
    "a.b",
    "NULL",
    "0",
    "12abc",
    "-1",
    "' OR 1=1 --",
    "\t",
];

/// The pool of a type's values, extremes first.
pub(crate) fn pool(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Bool => &["true", "false"],
        Kind::Int2 => &["-32768", "32767", "0", "1", "-1", "7"],
        Kind::Int4 => &["-2147483648", "2147483647", "0", "1", "-1", "2", "3", "7", "40"],
        Kind::Int8 => &[
            "-9223372036854775808",
            "9223372036854775807",
            "9007199254740991",
            "9007199254740992",
            "9007199254740993",
            "0",
            "1",
            "-1",
            "2",
            "5",
        ],
        Kind::Float8 => &[
            "NaN",
            "Infinity",
            "-Infinity",
            "0",
            "1.5",
            "-1.5",
            "2.5",
            "0.1",
            "5e-324",
            "1e150",
            "9007199254740993",
            "3",
        ],
        Kind::SignedZero => &["-0", "0", "1.5"],
        Kind::Numeric(precision, _) if precision > 12 => &[
            "99999999999999999999.9999999999",
            "-99999999999999999999.9999999999",
            "0.0000000001",
            "0",
            "1",
            "1.5",
            "-2.5",
            "9007199254740993",
        ],
        Kind::Numeric(..) => {
            &["9999999999.99", "-9999999999.99", "0", "0.01", "-0.01", "1.50", "2.50", "-2.50", "3"]
        }
        Kind::Text => TEXTS,
        Kind::Word => &WORDS,
        Kind::Date => &[
            "0001-01-01",
            "9999-12-31",
            "1899-12-31",
            "1969-12-31",
            "1970-01-01",
            "2024-02-29",
            "2024-03-31",
            "2262-04-12",
            "2026-10-25",
        ],
        Kind::Timestamp => &[
            "0001-01-01 00:00:00",
            "9999-12-31 23:59:59.999999",
            "1969-12-31 23:59:59.999999",
            "2262-04-12 00:00:00",
            "2024-03-31 02:30:00",
            "2026-10-25 02:30:00",
            "2024-02-29 12:00:00.5",
            "1899-12-31 00:00:00",
        ],
        Kind::Timestamptz => &[
            "0001-01-01 00:00:00+00",
            "9999-12-31 23:59:59.999999+00",
            "1969-12-31 23:59:59.999999+00",
            "2262-04-12 00:00:00+00",
            "2024-03-31 01:00:00+00",
            "2026-10-25 00:30:00+00",
            "2026-10-25 01:30:00+00",
            "2024-02-29 12:00:00.5+00",
        ],
    }
}

/// All tables; the same for every seed, so that a query is named by its seed alone.
pub(crate) fn tables() -> Vec<LogicalTable> {
    let mut random = Random::new(13, 0);
    let seeds = rows(&mut random, SEEDS, 44, 6);
    let links = rows(&mut random, LINKS, 24, 4);
    let one = rows(&mut random, LINKS, 1, 0);
    vec![
        LogicalTable { name: "seeds", columns: SEEDS, rows: seeds },
        LogicalTable { name: "links", columns: LINKS, rows: links },
        LogicalTable { name: "one", columns: LINKS, rows: one },
        LogicalTable { name: "nothing", columns: LINKS, rows: Vec::new() },
    ]
}

/// Rows with ids from 1; the last ones repeat earlier ones in every other column.
fn rows(random: &mut Random, columns: &[Column], count: usize, repeated: usize) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::with_capacity(count + repeated);
    for index in 0..count {
        let row = columns.iter().map(|column| match column.name {
            "id" => Some((index + 1).to_string()),
            "seed_id" if random.percent(85) => Some(random.between(1, 60).to_string()),
            "seed_id" => None,
            _ if random.percent(14) => None,
            // Every value once, then any of them.
            _ => {
                let pool = pool(column.kind);
                Some(if index < pool.len() { pool[index] } else { random.pick(pool) }.to_string())
            }
        });
        rows.push(row.collect());
    }
    for index in 0..repeated {
        let mut row = rows[index * 3].clone();
        row[0] = Some((count + index + 1).to_string());
        rows.push(row);
    }
    rows
}

fn wall_clock(text: &str) -> Result<i64> {
    let text = text.strip_suffix("+00").unwrap_or(text);
    let at = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").context("a wall-clock time")?;
    Ok(at.and_utc().timestamp_micros())
}

fn days(text: &str) -> Result<i32> {
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").context("a date")?;
    Ok(i32::try_from(date.signed_duration_since(NaiveDate::default()).num_days())?)
}

/// A decimal's digits at a scale.
fn unscaled(text: &str, scale: i8) -> Result<i128> {
    let scale = usize::try_from(scale)?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    Ok(format!("{whole}{fraction:0<scale$}").parse()?)
}

impl LogicalTable {
    fn parsed<T>(&self, index: usize, read: impl Fn(&str) -> Result<T>) -> Result<Vec<Option<T>>> {
        self.rows.iter().map(|row| row[index].as_deref().map(&read).transpose()).collect()
    }

    fn array(&self, index: usize) -> Result<ArrayRef> {
        Ok(match self.columns[index].kind {
            Kind::Bool => Arc::new(BooleanArray::from(self.parsed(index, |text| Ok(text == "true"))?)),
            Kind::Int2 => Arc::new(Int16Array::from(self.parsed(index, |text| Ok(text.parse()?))?)),
            Kind::Int4 => Arc::new(Int32Array::from(self.parsed(index, |text| Ok(text.parse()?))?)),
            Kind::Int8 => Arc::new(Int64Array::from(self.parsed(index, |text| Ok(text.parse()?))?)),
            Kind::Float8 | Kind::SignedZero => {
                Arc::new(Float64Array::from(self.parsed(index, |text| Ok(text.parse()?))?))
            }
            Kind::Numeric(precision, scale) => Arc::new(
                Decimal128Array::from(self.parsed(index, |text| unscaled(text, scale))?)
                    .with_precision_and_scale(precision, scale)?,
            ),
            Kind::Text | Kind::Word => {
                Arc::new(StringArray::from_iter(self.rows.iter().map(|row| row[index].as_deref())))
            }
            Kind::Date => Arc::new(Date32Array::from(self.parsed(index, days)?)),
            Kind::Timestamp => Arc::new(TimestampMicrosecondArray::from(self.parsed(index, wall_clock)?)),
            Kind::Timestamptz => Arc::new(
                TimestampMicrosecondArray::from(self.parsed(index, wall_clock)?).with_timezone("UTC"),
            ),
        })
    }

    /// The rows in Arrow, without the columns of kinds that a store lacks.
    pub(crate) fn batch(&self, lacks: &[Kind]) -> Result<RecordBatch> {
        let kept: Vec<usize> =
            (0..self.columns.len()).filter(|index| !lacks.contains(&self.columns[*index].kind)).collect();
        let arrays: Vec<ArrayRef> = kept.iter().map(|index| self.array(*index)).collect::<Result<_>>()?;
        let fields: Vec<Field> = kept
            .iter()
            .zip(&arrays)
            .map(|(index, array)| Field::new(self.columns[*index].name, array.data_type().clone(), true))
            .collect();
        debug_assert!(
            fields
                .iter()
                .all(|field| !matches!(field.data_type(), DataType::Timestamp(TimeUnit::Nanosecond, _)))
        );
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
    }
}
