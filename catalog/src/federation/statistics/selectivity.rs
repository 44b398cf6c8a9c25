//! The share of a table's rows that a condition leaves, from what the source told of its columns.
//!
//! A guess where nothing is known. It must never be used for more than a choice of plans.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{Between, InList};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use super::{ColumnSummary, TableStatistics};

/// One row in so many passes a condition of which nothing is known.
const UNKNOWN: f64 = 0.2;
/// One row in so many has a given value, if nothing is known of the values: PostgreSQL's guess, 200 different ones.
const EQUAL: f64 = 0.005;
/// One row in so many lies between two ends of which nothing is known: whoever names both asks for little.
const CLOSED: f64 = 0.01;
/// One row in so many matches a pattern.
const MATCHES: f64 = 0.1;
/// One row in so many lies in a range of which nothing is known.
const RANGE: f64 = 0.33;

/// The share of rows for which a condition holds, 0 to 1.
pub(super) fn share(expr: &Expr, table: &TableStatistics) -> f64 {
    known(expr, table).unwrap_or_else(|| guess(expr)).clamp(0.0, 1.0)
}

/// The share of a condition by its form alone.
fn guess(expr: &Expr) -> f64 {
    match expr {
        Expr::BinaryExpr(BinaryExpr { op: Operator::Eq, .. }) => EQUAL,
        Expr::BinaryExpr(BinaryExpr { op: Operator::NotEq, .. }) => 1.0 - EQUAL,
        Expr::InList(InList { list, negated, .. }) => {
            let any = (list.len() as f64 * EQUAL).min(0.5);
            if *negated { 1.0 - any } else { any }
        }
        Expr::Like(like) => {
            if like.negated {
                1.0 - MATCHES
            } else {
                MATCHES
            }
        }
        Expr::Not(inner) => 1.0 - guess(inner),
        _ => UNKNOWN,
    }
}

/// The share of rows for which all conditions hold. The two ends of a range belong together: they leave what lies
/// between them, and not the product of both.
pub(super) fn share_of_all(conditions: &[&Expr], table: &TableStatistics) -> f64 {
    let mut all = 1.0;
    let mut ranges: BTreeMap<&str, Ends> = BTreeMap::new();
    for condition in conditions.iter().flat_map(|condition| split_conjunction(condition)) {
        match end_of_range(condition, table) {
            Some((name, left, is_lower)) => {
                let ends = ranges.entry(name).or_default();
                let end = if is_lower { &mut ends.lower } else { &mut ends.upper };
                *end = Some(match (*end, left) {
                    (Some(Some(one)), Some(two)) => Some(one.min(two)),
                    (one, two) => one.flatten().or(two),
                });
            }
            None => all *= share(condition, table),
        }
    }
    ranges.into_values().fold(all, |all, ends| all * ends.between())
}

/// The share that each end of a range leaves by itself; inside `None` if nothing is known of the values.
#[derive(Debug, Default)]
#[expect(clippy::option_option, reason = "no end is something else than an unknown one")]
struct Ends {
    lower: Option<Option<f64>>,
    upper: Option<Option<f64>>,
}

impl Ends {
    fn between(&self) -> f64 {
        match (self.lower, self.upper) {
            (Some(None), Some(None)) => CLOSED,
            (Some(None), None) | (None, Some(None)) => UNKNOWN,
            (lower, upper) => {
                let left = |end: Option<Option<f64>>| end.flatten().unwrap_or(1.0);
                (left(lower) + left(upper) - 1.0).max(0.0)
            }
        }
    }
}

/// Which column a condition bounds, the share that it leaves if that is known, and whether it is the lower end.
fn end_of_range<'a>(expr: &'a Expr, table: &TableStatistics) -> Option<(&'a str, Option<f64>, bool)> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else { return None };
    let (Expr::Column(bounded), Some(value)) = (left.as_ref(), literal(right)) else { return None };
    let is_lower = match op {
        Operator::Gt | Operator::GtEq => true,
        Operator::Lt | Operator::LtEq => false,
        _ => return None,
    };
    let name = bounded.name.as_str();
    let Some(known) = table.columns.get(name) else { return Some((name, None, is_lower)) };
    if !known.common.is_empty() && known.bounds.is_empty() {
        // The values themselves are known.
        return None;
    }
    if known.bounds.len() < 2 {
        return Some((name, None, is_lower));
    }
    let left = compared(known, *op, value)?;
    // Of the rows with a value: those without are outside of every range.
    let left = (left / (1.0 - known.nulls).max(f64::EPSILON)).clamp(0.0, 1.0);
    Some((name, Some(left), is_lower))
}

fn known(expr: &Expr, table: &TableStatistics) -> Option<f64> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            Some(share(left, table) * share(right, table))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let (left, right) = (share(left, table), share(right, table));
            Some(left + right - left * right)
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (column(left, table), literal(right)) {
            (Some(column), Some(value)) => compared(column, *op, value),
            _ => compared(column(right, table)?, op.swap()?, literal(left)?),
        },
        Expr::Not(inner) => Some(1.0 - known(inner, table)?),
        Expr::IsNull(inner) => Some(column(inner, table)?.nulls),
        Expr::IsNotNull(inner) => Some(1.0 - column(inner, table)?.nulls),
        Expr::InList(InList { expr, list, negated }) => {
            let column = column(expr, table)?;
            let each = list.iter().map(|value| equal(column, literal(value)?));
            let any = each.sum::<Option<f64>>()?.min(1.0);
            Some(if *negated { 1.0 - any } else { any })
        }
        Expr::Between(Between { expr, negated, low, high }) => {
            let column = column(expr, table)?;
            let inside = compared(column, Operator::GtEq, literal(low)?)?
                + compared(column, Operator::LtEq, literal(high)?)?
                - (1.0 - column.nulls);
            Some(if *negated { 1.0 - inside } else { inside }.max(0.0))
        }
        _ => None,
    }
}

/// A column of which something is known; a cast around it changes no order.
fn column<'a>(expr: &Expr, table: &'a TableStatistics) -> Option<&'a ColumnSummary> {
    match expr {
        Expr::Column(column) => table.columns.get(&column.name),
        Expr::Cast(cast) => column(&cast.expr, table),
        _ => None,
    }
}

fn literal(expr: &Expr) -> Option<&ScalarValue> {
    match expr {
        Expr::Literal(value, _) if !value.is_null() => Some(value),
        Expr::Cast(cast) => literal(&cast.expr),
        _ => None,
    }
}

fn compared(column: &ColumnSummary, op: Operator, value: &ScalarValue) -> Option<f64> {
    let there = 1.0 - column.nulls;
    match op {
        Operator::Eq => equal(column, value),
        Operator::NotEq => Some(there - equal(column, value)?),
        Operator::Lt | Operator::LtEq => Some(below(column, value)),
        Operator::Gt | Operator::GtEq => Some((there - below(column, value)).max(0.0)),
        _ => None,
    }
}

fn equal(column: &ColumnSummary, value: &ScalarValue) -> Option<f64> {
    if let Some((_, share)) = column.common.iter().find(|(common, _)| common == value) {
        return Some(*share);
    }
    let outside = |bound: Option<&ScalarValue>, way| {
        bound.and_then(|bound| order(value, bound)).is_some_and(|found| found == way)
    };
    if column.common.is_empty()
        && (outside(column.bounds.first(), Ordering::Less)
            || outside(column.bounds.last(), Ordering::Greater))
    {
        return Some(0.0);
    }
    let others = 1.0 - column.nulls - column.common.iter().map(|(_, share)| share).sum::<f64>();
    let values = column.distinct.or_else(|| span(&column.bounds))? - column.common.len() as f64;
    Some(others.max(0.0) / values.max(1.0))
}

/// How many values lie between the least and the greatest, both included; nothing where there is no next value.
pub(super) fn span(bounds: &[ScalarValue]) -> Option<f64> {
    let (least, greatest) = (bounds.first()?, bounds.last()?);
    let whole = match least {
        ScalarValue::Decimal128(_, _, scale) => *scale <= 0,
        ScalarValue::Date32(_) => true,
        least => least.data_type().is_integer(),
    };
    if !whole {
        return None;
    }
    Some((number(greatest)? - number(least)? + 1.0).max(1.0))
}

/// The share of rows whose value is smaller.
fn below(column: &ColumnSummary, value: &ScalarValue) -> f64 {
    let mut common = 0.0;
    let mut smaller = 0.0;
    for (one, share) in &column.common {
        common += share;
        if order(one, value) == Some(Ordering::Less) {
            smaller += share;
        }
    }
    let others = (1.0 - column.nulls - common).max(0.0);
    smaller + others * position(&column.bounds, value).unwrap_or(RANGE)
}

/// How far into the ordered values a value lies, 0 to 1.
fn position(bounds: &[ScalarValue], value: &ScalarValue) -> Option<f64> {
    let parts = bounds.len().checked_sub(1).filter(|parts| *parts > 0)? as f64;
    let mut passed = 0.0;
    for pair in bounds.windows(2) {
        let [low, high] = pair else { return None };
        if order(value, low)? == Ordering::Less {
            return Some(passed / parts);
        }
        if order(value, high)? == Ordering::Less {
            let inside = match (number(low), number(value), number(high)) {
                (Some(low), Some(value), Some(high)) if high > low => (value - low) / (high - low),
                _ => 0.5,
            };
            return Some((passed + inside) / parts);
        }
        passed += 1.0;
    }
    Some(1.0)
}

fn order(one: &ScalarValue, two: &ScalarValue) -> Option<Ordering> {
    match (number(one), number(two)) {
        (Some(one), Some(two)) => one.partial_cmp(&two),
        _ => one.partial_cmp(two),
    }
}

/// A value on a line, so that distances mean something; days for dates and times alike.
pub(super) fn number(value: &ScalarValue) -> Option<f64> {
    const DAY: f64 = 86_400e6;
    let scaled = |digits: f64, scale: i8| digits / 10_f64.powi(i32::from(scale));
    match value {
        ScalarValue::Int8(value) => value.map(f64::from),
        ScalarValue::Int16(value) => value.map(f64::from),
        ScalarValue::Int32(value) => value.map(f64::from),
        ScalarValue::Int64(value) => value.map(|value| value as f64),
        ScalarValue::UInt8(value) => value.map(f64::from),
        ScalarValue::UInt16(value) => value.map(f64::from),
        ScalarValue::UInt32(value) => value.map(f64::from),
        ScalarValue::UInt64(value) => value.map(|value| value as f64),
        ScalarValue::Float32(value) => value.map(f64::from),
        ScalarValue::Float64(value) => *value,
        ScalarValue::Decimal128(value, _, scale) => value.map(|value| scaled(value as f64, *scale)),
        ScalarValue::Date32(days) => days.map(f64::from),
        ScalarValue::TimestampMicrosecond(micros, _) => micros.map(|micros| micros as f64 / DAY),
        ScalarValue::TimestampNanosecond(nanos, _) => nanos.map(|nanos| nanos as f64 / DAY / 1e3),
        _ => None,
    }
}
