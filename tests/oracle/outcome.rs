//! What a query answered, in a form that two stores, two plans and two engines can be compared by.
//!
//! Floats are their bits, everything else is PostgreSQL's text of the value, written from the server's rules and not
//! with the gateway's encoder. Nothing is forgiven here that the caller did not ask for.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use chrono::{DateTime, Datelike, NaiveDate, Timelike};
use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, TimeUnit, TimestampMicrosecondType,
};

/// One value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cell {
    Null,
    Text(String),
    /// The bits of a float; every not-a-number is one.
    Float(u64),
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// OIDs of the columns, and the rows as they came.
    Rows { types: Vec<u32>, rows: Vec<Vec<Cell>> },
    /// SQLSTATE and message.
    Error { sqlstate: String, message: String },
}

/// What may differ.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tolerance {
    /// Result columns that are sums of floats.
    pub(crate) approximate: Vec<usize>,
    /// A limit leaves a choice among ties: nothing but the keys of the order is compared.
    pub(crate) keys_only: bool,
    /// Result columns the rows are ordered by: their sequence is compared too.
    pub(crate) ordered: Vec<usize>,
    /// Both zeros of floats are one.
    pub(crate) zeros: bool,
    /// Decimals are compared by value, errors by class: for another engine.
    pub(crate) foreign: bool,
}

impl Cell {
    pub(crate) fn float(value: f64) -> Self {
        Self::Float(if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() })
    }

    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Null => "NULL".to_owned(),
            Self::Text(text) if text.is_empty() => "(empty)".to_owned(),
            Self::Text(text) => text.replace('\n', "\\n").replace('\t', "\\t"),
            Self::Float(bits) => format!("{:?}", f64::from_bits(*bits)),
        }
    }
}

/// PostgreSQL's text of a day.
pub(crate) fn date_text(date: NaiveDate) -> String {
    let (year, rest) = (date.year(), date.format("%m-%d"));
    if year > 0 { format!("{year:04}-{rest}") } else { format!("{:04}-{rest} BC", 1 - year) }
}

/// PostgreSQL's text of microseconds since 1970, in UTC.
pub(crate) fn timestamp_text(micros: i64, zoned: bool) -> Result<String> {
    match micros {
        i64::MAX => return Ok("infinity".to_owned()),
        i64::MIN => return Ok("-infinity".to_owned()),
        _ => {}
    }
    let Some(at) = DateTime::from_timestamp_micros(micros) else { bail!("no such instant: {micros}") };
    let (date, time) = (date_text(at.date_naive()), at.time());
    let fraction = match time.nanosecond() / 1_000 {
        0 => String::new(),
        micros => format!(".{micros:06}").trim_end_matches('0').to_owned(),
    };
    let clock = format!("{}{fraction}{}", time.format("%H:%M:%S"), if zoned { "+00" } else { "" });
    Ok(date.strip_suffix(" BC").map_or_else(|| format!("{date} {clock}"), |day| format!("{day} {clock} BC")))
}

/// One value of a batch.
fn cell(array: &dyn Array, row: usize) -> Result<Cell> {
    if array.is_null(row) {
        return Ok(Cell::Null);
    }
    Ok(Cell::Text(match array.data_type() {
        DataType::Boolean => if array.as_boolean().value(row) { "t" } else { "f" }.to_owned(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).to_string(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Float32 => {
            return Ok(Cell::float(f64::from(array.as_primitive::<Float32Type>().value(row))));
        }
        DataType::Float64 => return Ok(Cell::float(array.as_primitive::<Float64Type>().value(row))),
        DataType::Decimal128(..) => array.as_primitive::<Decimal128Type>().value_as_string(row),
        DataType::Decimal256(..) => array.as_primitive::<Decimal256Type>().value_as_string(row),
        DataType::Utf8 => array.as_string::<i32>().value(row).to_owned(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).to_owned(),
        DataType::Utf8View => array.as_string_view().value(row).to_owned(),
        DataType::Date32 => {
            let days = array.as_primitive::<Date32Type>().value(row);
            match NaiveDate::default().checked_add_signed(chrono::TimeDelta::days(i64::from(days))) {
                Some(date) => date_text(date),
                None => format!("day {days}"),
            }
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            timestamp_text(array.as_primitive::<TimestampMicrosecondType>().value(row), zone.is_some())?
        }
        DataType::Null => return Ok(Cell::Null),
        other => bail!("no rule for the Arrow type {other}"),
    }))
}

/// The rows of a batch.
pub(crate) fn cells(batch: &RecordBatch) -> Result<Vec<Vec<Cell>>> {
    (0..batch.num_rows())
        .map(|row| batch.columns().iter().map(|column| cell(column.as_ref(), row)).collect())
        .collect()
}

/// SQLSTATE of what is not there.
const REFUSED: &str = "0A000";
/// OID of `numeric`.
const NUMERIC: u32 = 1700;

/// A decimal without the zeros its scale adds.
fn by_value(text: &str) -> String {
    if !text.contains('.') {
        return text.to_owned();
    }
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" || text.is_empty() { "0".to_owned() } else { text.to_owned() }
}

fn close(left: &Cell, right: &Cell) -> bool {
    match (left, right) {
        (Cell::Float(left), Cell::Float(right)) if left != right => {
            let (left, right) = (f64::from_bits(*left), f64::from_bits(*right));
            // In another order a denormal among larger numbers may be lost, or not.
            (left - right).abs() <= f64::MIN_POSITIVE.max(1e-9 * left.abs().max(right.abs()))
        }
        _ => left == right,
    }
}

/// The first difference of two answers in words; `None` if there is none.
pub(crate) fn difference(left: &Outcome, right: &Outcome, tolerance: &Tolerance) -> Option<String> {
    let (left_types, left_rows, right_types, right_rows) = match (left, right) {
        (Outcome::Error { sqlstate: left, .. }, Outcome::Error { sqlstate: right, .. }) => {
            if tolerance.foreign && left == REFUSED {
                return None;
            }
            // Which of two failing rows comes first is not said, so another engine is held to the class only.
            let same = if tolerance.foreign { left.get(..2) == right.get(..2) } else { left == right };
            return (!same).then(|| format!("errors {left} and {right}"));
        }
        // What we refuse by name is no answer, and so no wrong one.
        (Outcome::Error { sqlstate, .. }, Outcome::Rows { .. })
            if tolerance.foreign && sqlstate == REFUSED =>
        {
            return None;
        }
        (Outcome::Error { sqlstate, message }, Outcome::Rows { rows, .. }) => {
            return Some(format!("error {sqlstate} ({message}) and {} rows", rows.len()));
        }
        (Outcome::Rows { rows, .. }, Outcome::Error { sqlstate, message }) => {
            return Some(format!("{} rows and error {sqlstate} ({message})", rows.len()));
        }
        (Outcome::Rows { types, rows }, Outcome::Rows { types: other_types, rows: other_rows }) => {
            (types, rows, other_types, other_rows)
        }
    };
    // A door that tells no types is not compared by them.
    if left_types != right_types && !right_types.is_empty() {
        return Some(format!("types {left_types:?} and {right_types:?}"));
    }
    if left_rows.len() != right_rows.len() {
        return Some(format!("{} and {} rows", left_rows.len(), right_rows.len()));
    }
    let normal = |rows: &[Vec<Cell>]| -> Vec<Vec<Cell>> {
        rows.iter()
            .map(|row| {
                row.iter()
                    .zip(left_types)
                    .map(|(cell, oid)| match cell {
                        Cell::Text(text) if tolerance.foreign && *oid == NUMERIC => {
                            Cell::Text(by_value(text))
                        }
                        // Which of two equal zeros comes out of an order, a group or a minimum is not said.
                        Cell::Float(bits) if f64::from_bits(*bits) == 0.0 && tolerance.zeros => {
                            Cell::Float(0)
                        }
                        other => other.clone(),
                    })
                    .collect()
            })
            .collect()
    };
    let (left, right) = (normal(left_rows), normal(right_rows));
    let keys = |rows: &[Vec<Cell>], keys: &[usize]| -> Vec<Vec<Cell>> {
        rows.iter().map(|row| keys.iter().map(|key| row[*key].clone()).collect()).collect()
    };
    let (left_keys, right_keys) = (keys(&left, &tolerance.ordered), keys(&right, &tolerance.ordered));
    for (index, (one, other)) in left_keys.iter().zip(&right_keys).enumerate() {
        if !one.iter().zip(other).all(|(one, other)| close(one, other)) {
            return Some(format!("row {index} is ordered as {} and {}", row_text(one), row_text(other)));
        }
    }
    if tolerance.keys_only { None } else { unordered(left, right, tolerance) }
}

fn row_text(row: &[Cell]) -> String {
    row.iter().map(Cell::shown).collect::<Vec<_>>().join(" | ")
}

/// Compares multisets; sums of floats are compared within rows that agree in everything else.
fn unordered(left: Vec<Vec<Cell>>, right: Vec<Vec<Cell>>, tolerance: &Tolerance) -> Option<String> {
    type Grouped = BTreeMap<Vec<Cell>, Vec<Vec<Cell>>>;
    let grouped = |rows: Vec<Vec<Cell>>| -> Grouped {
        let mut groups = Grouped::new();
        for row in rows {
            let (mut exact, mut loose) = (Vec::new(), Vec::new());
            for (index, cell) in row.into_iter().enumerate() {
                if tolerance.approximate.contains(&index) { loose.push(cell) } else { exact.push(cell) }
            }
            groups.entry(exact).or_default().push(loose);
        }
        groups.values_mut().for_each(|rows| rows.sort());
        groups
    };
    let (left, right) = (grouped(left), grouped(right));
    for (side, (these, others)) in [("left", (&left, &right)), ("right", (&right, &left))] {
        for (exact, loose) in these {
            let found = others.get(exact).map_or(0, Vec::len);
            if found < loose.len() {
                return Some(format!(
                    "row ({}) {} times only on the {side}",
                    row_text(exact),
                    loose.len() - found
                ));
            }
        }
    }
    for (exact, loose) in &left {
        let others = &right[exact];
        let same =
            loose.iter().zip(others).all(|(one, other)| one.iter().zip(other).all(|(a, b)| close(a, b)));
        if !same {
            return Some(format!("row ({}) with {loose:?} and {others:?}", row_text(exact)));
        }
    }
    None
}

impl Outcome {
    /// Whether there was no answer in time.
    pub(crate) fn is_late(&self) -> bool {
        matches!(self, Self::Error { sqlstate, .. } if sqlstate == "57014")
    }

    /// The first rows, or the error, to read.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Error { sqlstate, message } => format!("error {sqlstate}: {message}"),
            Self::Rows { types, rows } => {
                let mut lines = vec![format!("{} rows, types {types:?}", rows.len())];
                lines.extend(rows.iter().take(12).map(|row| row_text(row)));
                lines.join("\n    ")
            }
        }
    }
}
