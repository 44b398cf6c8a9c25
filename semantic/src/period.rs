//! Time conditions as ranges of the raw clock column, which sources can use.
//!
//! `month = DATE '2026-02-01'` says nothing a source understands: the bucket is computed here. Every such condition
//! implies a half-open range of the clock. The range stands beside the condition, never instead of it, so that an odd
//! zone, or a date that starts no bucket, can cost rows read but never change an answer. Only constants are looked at:
//! a bound that may move, such as `current_date`, is left to the condition itself.

use chrono::{DateTime, Days, Months, NaiveDate, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use datafusion::arrow::datatypes::TimeUnit;
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::expr::{Between, InList};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, lit};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;

use crate::Grain;

/// Ranges of `instant` that a condition over the view's columns implies; none for other conditions.
pub(crate) fn implied(condition: &Expr, zone: Tz, instant: &Expr) -> Vec<Expr> {
    let bounds = match condition {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (grain(left), grain(right)) {
            (Some(grain), None) => compared(grain, *op, right, zone),
            (None, Some(grain)) => op.swap().map(|op| compared(grain, op, left, zone)).unwrap_or_default(),
            _ => Vec::new(),
        },
        Expr::Between(Between { expr, negated: false, low, high }) => {
            grain(expr).map_or_else(Vec::new, |grain| {
                let mut bounds = compared(grain, Operator::GtEq, low, zone);
                bounds.extend(compared(grain, Operator::LtEq, high, zone));
                bounds
            })
        }
        Expr::InList(InList { expr, list, negated: false }) => {
            grain(expr).map_or_else(Vec::new, |grain| hull(grain, list, zone))
        }
        _ => Vec::new(),
    };
    bounds
        .into_iter()
        .map(|bound| match bound {
            Bound::From(micros) => instant.clone().gt_eq(at(micros)),
            Bound::Until(micros) => instant.clone().lt(at(micros)),
        })
        .collect()
}

/// One end of a range of instants, microseconds since 1970 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    From(i64),
    Until(i64),
}

fn at(micros: i64) -> Expr {
    lit(ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into())))
}

fn grain(expr: &Expr) -> Option<Grain> {
    match expr {
        Expr::Column(column) if column.relation.is_none() => Grain::parse(&column.name),
        _ => None,
    }
}

fn compared(grain: Grain, op: Operator, other: &Expr, zone: Tz) -> Vec<Bound> {
    let Some((first, after)) = span(grain, other, zone) else { return Vec::new() };
    match op {
        Operator::Eq => vec![Bound::From(first), Bound::Until(after)],
        Operator::Gt | Operator::GtEq => vec![Bound::From(first)],
        Operator::Lt | Operator::LtEq => vec![Bound::Until(after)],
        _ => Vec::new(),
    }
}

/// From the first to the last bucket of a list; one that is not constant says nothing about the others.
fn hull(grain: Grain, list: &[Expr], zone: Tz) -> Vec<Bound> {
    let spans: Option<Vec<(i64, i64)>> = list.iter().map(|other| span(grain, other, zone)).collect();
    let spans = spans.unwrap_or_default();
    let first = spans.iter().map(|(first, _)| *first).min();
    let after = spans.iter().map(|(_, after)| *after).max();
    first.map(Bound::From).into_iter().chain(after.map(Bound::Until)).collect()
}

/// The instants of the bucket that starts at a constant; of a constant inside a bucket, those up to one bucket later,
/// which is no less than what `<` and `<=` let through.
fn span(grain: Grain, constant: &Expr, zone: Tz) -> Option<(i64, i64)> {
    let value = literal(constant)?;
    if grain == Grain::Hour {
        let start = instant(&value)?;
        return Some((start.timestamp_micros(), (start + TimeDelta::hours(1)).timestamp_micros()));
    }
    let start = date(&value)?;
    let end = match grain {
        Grain::Hour | Grain::Day => start.checked_add_days(Days::new(1)),
        Grain::Week => start.checked_add_days(Days::new(7)),
        Grain::Month => start.checked_add_months(Months::new(1)),
        Grain::Quarter => start.checked_add_months(Months::new(3)),
        Grain::Year => start.checked_add_months(Months::new(12)),
    }?;
    Some((midnight(start, zone)?.0, midnight(end, zone)?.1))
}

/// The first and the last instant at which a day begins; two where clocks are set back over midnight, the end of the
/// gap where they are set forward over it.
fn midnight(day: NaiveDate, zone: Tz) -> Option<(i64, i64)> {
    let mut local = day.and_hms_opt(0, 0, 0)?;
    // The longest gap of the time zone database is the day that Samoa left out.
    for _ in 0..104 {
        let found = zone.from_local_datetime(&local);
        if let (Some(first), Some(last)) = (found.earliest(), found.latest()) {
            return Some((first.timestamp_micros(), last.timestamp_micros()));
        }
        local += TimeDelta::minutes(15);
    }
    None
}

/// The value of an expression of literals and casts.
fn literal(expr: &Expr) -> Option<ScalarValue> {
    let constant = !expr
        .exists(|expr| {
            Ok(!matches!(expr, Expr::Literal(..) | Expr::Cast(_) | Expr::TryCast(_) | Expr::BinaryExpr(_)))
        })
        .unwrap_or(true);
    if !constant {
        return None;
    }
    match ExprSimplifier::new(SimplifyContext::default()).simplify(expr.clone()).ok()? {
        Expr::Literal(value, _) => Some(value),
        _ => None,
    }
}

fn text(value: &ScalarValue) -> Option<&str> {
    match value {
        ScalarValue::Utf8(text) | ScalarValue::LargeUtf8(text) | ScalarValue::Utf8View(text) => {
            text.as_deref()
        }
        _ => None,
    }
}

fn date(value: &ScalarValue) -> Option<NaiveDate> {
    match value {
        ScalarValue::Date32(Some(days)) => {
            NaiveDate::from_ymd_opt(1970, 1, 1)?.checked_add_signed(TimeDelta::try_days(i64::from(*days))?)
        }
        other => NaiveDate::parse_from_str(text(other)?, "%Y-%m-%d").ok(),
    }
}

fn instant(value: &ScalarValue) -> Option<DateTime<Utc>> {
    let of = |value: i64, unit: TimeUnit| match unit {
        TimeUnit::Second => DateTime::from_timestamp(value, 0),
        TimeUnit::Millisecond => DateTime::from_timestamp_millis(value),
        TimeUnit::Microsecond => DateTime::from_timestamp_micros(value),
        TimeUnit::Nanosecond => Some(DateTime::from_timestamp_nanos(value)),
    };
    match value {
        ScalarValue::TimestampSecond(Some(value), Some(_)) => of(*value, TimeUnit::Second),
        ScalarValue::TimestampMillisecond(Some(value), Some(_)) => of(*value, TimeUnit::Millisecond),
        ScalarValue::TimestampMicrosecond(Some(value), Some(_)) => of(*value, TimeUnit::Microsecond),
        ScalarValue::TimestampNanosecond(Some(value), Some(_)) => of(*value, TimeUnit::Nanosecond),
        other => DateTime::parse_from_rfc3339(text(other)?).ok().map(|found| found.to_utc()),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{col, in_list};

    use super::*;

    fn ranges(condition: &Expr, zone: Tz) -> Vec<String> {
        implied(condition, zone, &col("ts"))
            .into_iter()
            .map(|range| {
                let Expr::BinaryExpr(BinaryExpr { op, right, .. }) = range else { panic!("no comparison") };
                let Expr::Literal(ScalarValue::TimestampMicrosecond(Some(at), _), _) = *right else {
                    panic!("no instant")
                };
                format!("{op} {}", DateTime::from_timestamp_micros(at).unwrap().to_rfc3339())
            })
            .collect()
    }

    fn day(text: &str) -> Expr {
        lit(ScalarValue::Date32(Some(
            i32::try_from((text.parse::<NaiveDate>().unwrap() - NaiveDate::default()).num_days()).unwrap(),
        )))
    }

    #[test]
    fn a_month_is_a_half_open_range_in_the_models_zone() {
        let condition = col("month").eq(day("2026-03-01"));
        assert_eq!(
            ranges(&condition, chrono_tz::Europe::Paris),
            [">= 2026-02-28T23:00:00+00:00", "< 2026-03-31T22:00:00+00:00"]
        );
        assert_eq!(
            ranges(&day("2026-03-01").gt(col("month")), chrono_tz::UTC),
            ["< 2026-04-01T00:00:00+00:00"]
        );
        assert_eq!(
            ranges(&col("day").between(lit("2026-01-30"), lit("2026-01-31")), chrono_tz::UTC),
            [">= 2026-01-30T00:00:00+00:00", "< 2026-02-01T00:00:00+00:00"]
        );
        assert_eq!(
            ranges(&in_list(col("year"), vec![day("2026-01-01"), day("2024-01-01")], false), chrono_tz::UTC),
            [">= 2024-01-01T00:00:00+00:00", "< 2027-01-01T00:00:00+00:00"]
        );
        assert_eq!(
            ranges(&col("hour").gt_eq(lit("2026-01-01T05:00:00Z")), chrono_tz::UTC),
            [">= 2026-01-01T05:00:00+00:00"]
        );
    }

    #[test]
    fn midnights_that_are_skipped_or_come_twice_lose_nothing() {
        // Cuba sets clocks forward at midnight; Newfoundland set them back over midnight until 2011.
        let gap = col("day").eq(day("2026-03-08"));
        assert_eq!(
            ranges(&gap, chrono_tz::America::Havana),
            [">= 2026-03-08T05:00:00+00:00", "< 2026-03-09T04:00:00+00:00"]
        );
        let twice = col("day").lt(day("2010-11-06"));
        assert_eq!(ranges(&twice, chrono_tz::America::St_Johns), ["< 2010-11-07T03:30:00+00:00"]);
    }

    #[test]
    fn what_is_not_constant_or_not_a_bucket_implies_nothing() {
        for condition in [
            col("terminal").eq(lit("TAC")),
            col("month").not_eq(day("2026-03-01")),
            col("month").eq(col("quarter")),
            col("day").gt_eq(datafusion::functions::expr_fn::current_date()),
            col("day").eq(lit("yesterday")),
            in_list(col("day"), vec![day("2026-03-01")], true),
        ] {
            assert_eq!(ranges(&condition, chrono_tz::UTC), [""; 0], "{condition}");
        }
    }
}
