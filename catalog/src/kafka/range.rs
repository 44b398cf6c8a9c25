//! What a filter says about the messages that must be fetched: partitions, a range of offsets, a first time.
//!
//! Partitions and offsets are exact, because a message has exactly one of each. A time only ever moves the start:
//! messages are not ordered by their timestamps, so an upper time bound says nothing about where to stop.

use std::collections::BTreeSet;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, Operator};

use super::rows::{OFFSET, PARTITION, TIMESTAMP};

/// One conjunct, as far as the cluster can serve it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bound {
    /// Only these partitions.
    Partitions(BTreeSet<i32>),
    /// Offsets from the first up to, not including, the second.
    Offsets { from: i64, until: i64, exact: bool },
    /// Messages of this time or later, in ms since 1970; others may come along.
    Since(i64),
}

/// The range a whole fragment asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) partitions: Option<BTreeSet<i32>>,
    pub(super) from: i64,
    pub(super) until: i64,
    pub(super) since: Option<i64>,
}

impl Range {
    /// Everything the filters leave.
    pub(super) fn of<'a>(filters: impl IntoIterator<Item = &'a Expr>) -> Self {
        let mut range = Self { partitions: None, from: 0, until: i64::MAX, since: None };
        for bound in filters.into_iter().filter_map(bound) {
            match bound {
                Bound::Partitions(wanted) => {
                    range.partitions = Some(match range.partitions.take() {
                        Some(known) => known.intersection(&wanted).copied().collect(),
                        None => wanted,
                    });
                }
                Bound::Offsets { from, until, .. } => {
                    range.from = range.from.max(from);
                    range.until = range.until.min(until);
                }
                Bound::Since(since) => range.since = range.since.max(Some(since)),
            }
        }
        range
    }

    /// Whether no message can be in it.
    pub(super) fn is_empty(&self) -> bool {
        self.from >= self.until || self.partitions.as_ref().is_some_and(BTreeSet::is_empty)
    }
}

/// What a conjunct over the table's columns says, if anything.
pub(super) fn bound(expr: &Expr) -> Option<Bound> {
    match expr {
        // What the planner found to be impossible.
        Expr::Literal(ScalarValue::Boolean(Some(false) | None), _) => {
            Some(Bound::Offsets { from: 0, until: 0, exact: true })
        }
        Expr::BinaryExpr(binary) => match (binary.left.as_ref(), binary.right.as_ref()) {
            (Expr::Column(column), Expr::Literal(value, _)) => compared(&column.name, binary.op, value),
            (Expr::Literal(value, _), Expr::Column(column)) => {
                compared(&column.name, binary.op.swap()?, value)
            }
            _ => None,
        },
        Expr::Between(between) if !between.negated => {
            match (between.expr.as_ref(), between.low.as_ref(), between.high.as_ref()) {
                (Expr::Column(column), Expr::Literal(low, _), Expr::Literal(high, _)) => {
                    match column.name.as_str() {
                        OFFSET => {
                            let (from, last) = (whole(low)?, whole(high)?);
                            Some(Bound::Offsets { from, until: last.saturating_add(1), exact: true })
                        }
                        TIMESTAMP => compared(TIMESTAMP, Operator::GtEq, low),
                        _ => None,
                    }
                }
                _ => None,
            }
        }
        Expr::InList(list) if !list.negated => {
            let Expr::Column(column) = list.expr.as_ref() else { return None };
            let values: Option<Vec<i64>> = list
                .list
                .iter()
                .map(|item| match item {
                    Expr::Literal(value, _) => whole(value),
                    _ => None,
                })
                .collect();
            let values = values?;
            match column.name.as_str() {
                PARTITION => Some(Bound::Partitions(partitions(&values))),
                OFFSET => {
                    let (first, last) = (*values.iter().min()?, *values.iter().max()?);
                    Some(Bound::Offsets { from: first, until: last.saturating_add(1), exact: false })
                }
                _ => None,
            }
        }
        _ => None,
    }
}

fn compared(column: &str, operator: Operator, value: &ScalarValue) -> Option<Bound> {
    match (column, operator) {
        (PARTITION, Operator::Eq) => Some(Bound::Partitions(partitions(&[whole(value)?]))),
        (OFFSET, _) => {
            let value = whole(value)?;
            let after = value.saturating_add(1);
            let (from, until) = match operator {
                Operator::Eq => (value, after),
                Operator::Gt => (after, i64::MAX),
                Operator::GtEq => (value, i64::MAX),
                Operator::Lt => (0, value),
                Operator::LtEq => (0, after),
                _ => return None,
            };
            Some(Bound::Offsets { from, until, exact: true })
        }
        (TIMESTAMP, Operator::Eq | Operator::GtEq) => {
            Some(Bound::Since(first_ms(nanos(value)?.checked_add(999_999)?)))
        }
        (TIMESTAMP, Operator::Gt) => Some(Bound::Since(first_ms(nanos(value)?.checked_add(1_000_000)?))),
        _ => None,
    }
}

/// The partitions of a list; numbers no partition can have name none.
fn partitions(values: &[i64]) -> BTreeSet<i32> {
    values.iter().filter_map(|value| i32::try_from(*value).ok()).collect()
}

fn whole(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::Int8(value) => value.map(i64::from),
        ScalarValue::Int16(value) => value.map(i64::from),
        ScalarValue::Int32(value) => value.map(i64::from),
        ScalarValue::Int64(value) => *value,
        _ => None,
    }
}

/// An instant in ns since 1970; a wall-clock literal was cast by the planner or is not understood.
fn nanos(value: &ScalarValue) -> Option<i128> {
    let (at, unit) = match value {
        ScalarValue::TimestampSecond(Some(at), Some(_)) => (at, 1_000_000_000),
        ScalarValue::TimestampMillisecond(Some(at), Some(_)) => (at, 1_000_000),
        ScalarValue::TimestampMicrosecond(Some(at), Some(_)) => (at, 1_000),
        ScalarValue::TimestampNanosecond(Some(at), Some(_)) => (at, 1),
        _ => return None,
    };
    Some(i128::from(*at) * unit)
}

/// Whole ms of an instant, rounded down; never negative, because the protocol gives negative times other meanings.
fn first_ms(nanos: i128) -> i64 {
    i64::try_from(nanos.div_euclid(1_000_000).max(0)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{col, lit};

    use super::*;

    fn at(micros: i64) -> Expr {
        lit(ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into())))
    }

    #[test]
    fn only_what_the_protocol_serves_becomes_a_bound() {
        let offsets = |from, until, exact| Some(Bound::Offsets { from, until, exact });
        for (expr, expected) in [
            (col(PARTITION).eq(lit(2_i32)), Some(Bound::Partitions([2].into()))),
            (
                col(PARTITION).in_list(vec![lit(2_i32), lit(0_i32)], false),
                Some(Bound::Partitions([0, 2].into())),
            ),
            (col(PARTITION).in_list(vec![lit(2_i32)], true), None),
            (col(PARTITION).gt(lit(2_i32)), None),
            (col(OFFSET).gt_eq(lit(5_i64)), offsets(5, i64::MAX, true)),
            (lit(5_i64).lt(col(OFFSET)), offsets(6, i64::MAX, true)),
            (col(OFFSET).lt_eq(lit(i64::MAX)), offsets(0, i64::MAX, true)),
            (col(OFFSET).between(lit(3_i64), lit(4_i64)), offsets(3, 5, true)),
            (col(OFFSET).in_list(vec![lit(9_i64), lit(4_i64)], false), offsets(4, 10, false)),
            (lit(false), offsets(0, 0, true)),
            (lit(true), None),
            (col(OFFSET).not_eq(lit(5_i64)), None),
            (col(OFFSET).eq(lit(ScalarValue::Int64(None))), None),
            (col(TIMESTAMP).gt_eq(at(1_500)), Some(Bound::Since(2))),
            (col(TIMESTAMP).gt_eq(at(2_000)), Some(Bound::Since(2))),
            (col(TIMESTAMP).gt(at(2_000)), Some(Bound::Since(3))),
            (col(TIMESTAMP).gt(at(1_999)), Some(Bound::Since(2))),
            (col(TIMESTAMP).eq(at(-5)), Some(Bound::Since(0))),
            (col(TIMESTAMP).between(at(7_000), at(9_000)), Some(Bound::Since(7))),
            (col(TIMESTAMP).lt(at(2_000)), None),
            (col(TIMESTAMP).lt_eq(at(2_000)), None),
            (col(OFFSET).eq(lit(1_i64)).or(col(OFFSET).eq(lit(2_i64))), None),
        ] {
            assert_eq!(bound(&expr), expected, "{expr}");
        }
    }

    #[test]
    fn bounds_narrow_each_other() {
        let range = Range::of(&[
            col(OFFSET).gt_eq(lit(5_i64)),
            col(OFFSET).lt(lit(9_i64)),
            col(PARTITION).in_list(vec![lit(1_i32), lit(2_i32)], false),
            col(PARTITION).eq(lit(2_i32)),
            col(TIMESTAMP).gt_eq(at(4_000)),
            col(TIMESTAMP).gt_eq(at(3_000)),
        ]);
        assert_eq!(range, Range { partitions: Some([2].into()), from: 5, until: 9, since: Some(4) });
        assert!(!range.is_empty());
        assert!(Range::of(&[col(OFFSET).lt(lit(0_i64))]).is_empty());
        assert!(Range::of(&[col(PARTITION).eq(lit(1_i32)), col(PARTITION).eq(lit(2_i32))]).is_empty());
    }
}
