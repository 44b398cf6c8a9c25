//! Verdicts about a fragment's shape: what may be ordered, grouped, aggregated and joined at the server.
//!
//! Text goes only where the server looks at all of its bytes: it sorts by a prefix (`max_sort_length`, which the
//! session fixes). Floats stay, because -0 and 0 are equal there and not here, but for the least and the greatest, whose
//! sign is asked for; so do bits and documents. A sum comes back as a decimal, exact as long as 65 digits hold it. A
//! date that is none is an error there as here, or, where it is null here, dates stay. When unsure, keep.

use std::collections::BTreeSet;

use datafusion::arrow::datatypes::{DataType, Field};

use super::column::{CHARSET_KEY, COLLATION_KEY, base, is_doubtful, is_flag, may_misfit, text_width};
use super::config::ZeroDates;
use super::probe::Construct;
use super::render::operand::{Class, DECLARED, class_of};
use crate::federation::{AggregateCall, AggregateFunction, Fragment, Verdict};
use crate::source::SOURCE_TYPE_KEY;

/// Characters of a text whose bytes the server looks at when it sorts: 1,024 bytes, four a character at most.
const SORTED_WIDTH: u64 = 255;
/// Digits of a decimal whose sum cannot need more than the 65 that there are: 10^22 rows.
const SUMMED_DIGITS: u8 = 43;

const ZERO: &str = "zero dates are null here";

/// What a statement may have beside a table's columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// WHERE, and FILTER of an aggregate.
    Conditions,
    /// Further tables.
    Join,
    /// GROUP BY and aggregates.
    Aggregate,
    /// ORDER BY and LIMIT.
    Order,
}

impl Part {
    /// The parts a fragment has.
    pub(super) fn all_of(fragment: &Fragment) -> Vec<Self> {
        let parts = [
            (Self::Conditions, !fragment.filters.is_empty()),
            (Self::Join, !fragment.joins.is_empty()),
            (Self::Aggregate, fragment.aggregate.is_some()),
            (Self::Order, !fragment.sort.is_empty()),
        ];
        parts.into_iter().filter_map(|(part, there)| there.then_some(part)).collect()
    }

    /// In an error.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Conditions => "conditions",
            Self::Join => "a join",
            Self::Aggregate => "aggregates",
            Self::Order => "order by",
        }
    }
}

/// Whether a column holds dates, which may be none.
pub(super) fn is_temporal(column: &Field) -> bool {
    matches!(column.data_type(), DataType::Date32 | DataType::Timestamp(..))
}

/// May a top-N be taken in the order of a column, or of an aggregate's output?
pub(super) fn sort_verdict(zero_dates: ZeroDates, column: &Field) -> Verdict {
    match class_of(column) {
        _ if is_flag(column) => Verdict::Keep(DECLARED),
        Ok(Class::Text) if sorts_whole(column) => rewritten(Construct::TextBytes),
        Ok(Class::Text) => Verdict::Keep("long texts are ordered here".into()),
        Ok(Class::Number) if base(column) == "bit" => unordered(column),
        Ok(Class::Number | Class::Boolean) => rewritten(Construct::NullOrder),
        Ok(Class::Date | Class::Timestamp | Class::Instant) => dated(zero_dates),
        Ok(Class::Float32 | Class::Float64) => Verdict::Keep("-0 and 0 are equal there and not here".into()),
        Ok(Class::Bytes) | Err(_) => unordered(column),
    }
}

/// May rows be grouped by a column?
pub(super) fn group_verdict(zero_dates: ZeroDates, column: &Field) -> Verdict {
    match class_of(column) {
        _ if is_flag(column) => Verdict::Keep(DECLARED),
        Ok(Class::Text) if sorts_whole(column) => rewritten(Construct::TextBytes),
        Ok(Class::Text) => Verdict::Keep("long texts are grouped here".into()),
        Ok(Class::Number) if base(column) != "bit" => Verdict::Exact,
        Ok(Class::Date | Class::Timestamp | Class::Instant) => dated(zero_dates),
        Ok(Class::Float32 | Class::Float64) => {
            Verdict::Keep("-0 and 0 are one group there and two here".into())
        }
        Ok(Class::Number | Class::Boolean | Class::Bytes) | Err(_) => {
            Verdict::Keep(format!("values of type {} are grouped here", shown(column)).into())
        }
    }
}

/// May an aggregate be computed, in exactly the promised type?
pub(super) fn aggregate_verdict(
    zero_dates: ZeroDates,
    call: &AggregateCall,
    column: Option<&Field>,
) -> Verdict {
    let counted = call.output == DataType::Int64;
    let Some(column) = column else {
        let rows = call.function == AggregateFunction::Count && !call.distinct;
        return if rows && counted {
            Verdict::Exact
        } else {
            Verdict::Keep("only rows are counted without a column".into())
        };
    };
    match call.function {
        // A value that does not fit must be read, to be an error.
        _ if may_misfit(column) => Verdict::Keep(DECLARED),
        AggregateFunction::Count if !counted => {
            Verdict::Keep(format!("a count of type {} is made here", call.output).into())
        }
        AggregateFunction::Count if call.distinct => group_verdict(zero_dates, column),
        AggregateFunction::Count if is_temporal(column) => dated(zero_dates),
        AggregateFunction::Count if is_doubtful(column) => {
            Verdict::Keep("each of its texts is checked here".into())
        }
        AggregateFunction::Count => Verdict::Exact,
        AggregateFunction::Min | AggregateFunction::Max => match class_of(column) {
            _ if call.output != *column.data_type() => Verdict::Keep("its type is not the column's".into()),
            Ok(Class::Number) if !matches!(base(column), "bit" | "year") => Verdict::Exact,
            Ok(Class::Text) if sorts_whole(column) => rewritten(Construct::TextBytes),
            Ok(Class::Date | Class::Timestamp | Class::Instant) => dated(zero_dates),
            Ok(Class::Float64) => rewritten(Construct::FloatExtreme),
            _ => unordered(column),
        },
        AggregateFunction::Sum => sum_verdict(call, column),
    }
}

fn sum_verdict(call: &AggregateCall, column: &Field) -> Verdict {
    let exact = match (column.data_type(), &call.output) {
        _ if matches!(base(column), "bit" | "year") => false,
        // A sum of bigints in a bigint could wrap here.
        (DataType::Int16 | DataType::Int32, DataType::Int64) => true,
        (
            DataType::Int16 | DataType::Int32 | DataType::Int64 | DataType::UInt64,
            DataType::Decimal128(_, 0) | DataType::Decimal256(_, 0),
        ) => true,
        (
            DataType::Decimal128(digits, from) | DataType::Decimal256(digits, from),
            DataType::Decimal128(_, to) | DataType::Decimal256(_, to),
        ) => from == to && *digits <= SUMMED_DIGITS,
        _ => false,
    };
    if exact {
        Verdict::Exact
    } else {
        Verdict::Keep(format!("a sum of type {} is made here", call.output).into())
    }
}

/// May two columns be joined on being equal?
pub(super) fn join_verdict(left: &Field, right: &Field) -> Verdict {
    let same = |key: &str| left.metadata().get(key) == right.metadata().get(key);
    let number = |column: &Field| !matches!(base(column), "bit" | "year");
    match (class_of(left), class_of(right)) {
        _ if is_flag(left) || is_flag(right) => Verdict::Keep(DECLARED),
        _ if left.data_type() != right.data_type() => {
            Verdict::Keep("values of different types are joined here".into())
        }
        (Ok(Class::Number), Ok(Class::Number)) if number(left) && number(right) => Verdict::Exact,
        // Columns of two collations cannot be compared there without giving up the index.
        (Ok(Class::Text), Ok(Class::Text)) => {
            if same(CHARSET_KEY) && same(COLLATION_KEY) && !is_doubtful(left) {
                rewritten(Construct::TextBytes)
            } else {
                Verdict::Keep("texts of different collations are joined here".into())
            }
        }
        _ => Verdict::Keep(format!("values of type {} are joined here", shown(left)).into()),
    }
}

/// What a verdict rests on, beyond the definition of its types.
pub(super) fn rests_on(verdict: &Verdict) -> BTreeSet<Construct> {
    match verdict {
        Verdict::Rewrite(words) => Construct::of(words).into_iter().collect(),
        _ => BTreeSet::new(),
    }
}

/// What an aggregate rests on.
pub(super) fn call_rests_on(
    call: &AggregateCall,
    column: Option<&Field>,
    verdict: &Verdict,
) -> BTreeSet<Construct> {
    match (call.function, column.map(Field::data_type)) {
        (AggregateFunction::Sum, Some(DataType::Decimal128(..) | DataType::Decimal256(..))) => {
            BTreeSet::from([Construct::DecimalSum])
        }
        (AggregateFunction::Sum, _) => BTreeSet::from([Construct::IntegerSum]),
        _ => rests_on(verdict),
    }
}

fn rewritten(construct: Construct) -> Verdict {
    Verdict::Rewrite(construct.words().into())
}

fn dated(zero_dates: ZeroDates) -> Verdict {
    match zero_dates {
        ZeroDates::Error => rewritten(Construct::DateGuard),
        ZeroDates::Null => Verdict::Keep(ZERO.into()),
    }
}

fn unordered(column: &Field) -> Verdict {
    Verdict::Keep(format!("values of type {} are ordered here", shown(column)).into())
}

fn shown(column: &Field) -> String {
    column.metadata().get(SOURCE_TYPE_KEY).cloned().unwrap_or_else(|| column.data_type().to_string())
}

/// Whether the server looks at every byte of the column's texts when it sorts.
fn sorts_whole(column: &Field) -> bool {
    !is_doubtful(column) && text_width(column).is_some_and(|width| width <= SORTED_WIDTH)
}
