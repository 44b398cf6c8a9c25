//! What may be computed at the server beyond conditions, and which proofs it rests on.
//!
//! Only columns for which misfits are looked for are judged there. Never floats: not-a-number is the smallest number
//! there and the largest here, and -0 is 0 there.

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::logical_expr::Expr;

use super::check::TYPES_KEY;
use super::kind::Kind;
use super::probe::Construct;
use super::render::{COLLATION_KEY, PLAIN_KEY};
use crate::federation::{AggregateCall, AggregateFunction, FragmentSort, Provable as _, Reason, Verdict};
use crate::source::{SOURCE_TYPE_KEY, TableDef};

/// Digits of a decimal column whose sums stay within the 34 of the server's decimals: 10^15 rows.
const SUMMED_DIGITS: u8 = 19;

/// Why joins are not sent.
pub(super) const LOOKUP: Reason = Reason::Borrowed(
    "$lookup matches missing with null and arrays by their items: collections are joined here",
);

/// A column the server may judge by.
fn judged(column: &Field) -> Result<Kind, Reason> {
    if !column.metadata().contains_key(TYPES_KEY) {
        return Err("values that do not fit this column are only seen here".into());
    }
    if column.metadata().contains_key(COLLATION_KEY) {
        return Err("the view compares text by a collation of its own".into());
    }
    Kind::of(column).ok_or("no MongoDB value is of this type".into())
}

fn ordered(kind: Kind) -> bool {
    matches!(kind, Kind::Integer | Kind::Decimal | Kind::Text | Kind::ObjectId | Kind::Instant | Kind::Stamp)
}

pub(super) fn sort_verdict(column: &Field, key: &FragmentSort) -> Verdict {
    // A column has its type at the source; a count or a sum has none, and is null or a number.
    let computed = !column.metadata().contains_key(SOURCE_TYPE_KEY)
        && matches!(column.data_type(), DataType::Int64 | DataType::Decimal128(..));
    if !computed {
        match judged(column) {
            Ok(Kind::Text) if !column.metadata().contains_key(PLAIN_KEY) => {
                return Verdict::Keep("the collection may order text by a collation of its own".into());
            }
            Ok(kind) if ordered(kind) || kind == Kind::Boolean => {}
            Ok(Kind::Float) => {
                return Verdict::Keep("not-a-number and -0 have another place in the server's order".into());
            }
            Ok(_) => return Verdict::Keep("order of this type is made here".into()),
            Err(reason) => return Verdict::Keep(reason),
        }
    }
    if key.nulls_first == key.descending {
        Verdict::Rewrite("null has a key of its own".into())
    } else {
        Verdict::Exact
    }
}

pub(super) fn group_verdict(column: &Field) -> Verdict {
    match judged(column) {
        Ok(Kind::Float) => Verdict::Keep("-0 and 0 are one group there".into()),
        Ok(kind) if ordered(kind) || matches!(kind, Kind::Boolean | Kind::Uuid) => Verdict::Exact,
        Ok(_) => Verdict::Keep("groups of this type are made here".into()),
        Err(reason) => Verdict::Keep(reason),
    }
}

pub(super) fn aggregate_verdict(call: &AggregateCall, column: Option<&Field>) -> Verdict {
    let Some(column) = column else {
        return match (call.function, call.column) {
            (AggregateFunction::Count, None) => Verdict::Exact,
            _ => Verdict::Keep("its column is not known".into()),
        };
    };
    let kind = match judged(column) {
        Ok(kind) => kind,
        Err(reason) => return Verdict::Keep(reason),
    };
    match (call.function, kind, column.data_type(), &call.output) {
        (AggregateFunction::Count, ..) => Verdict::Exact,
        (AggregateFunction::Min | AggregateFunction::Max, kind, ..) if ordered(kind) => Verdict::Exact,
        (AggregateFunction::Min | AggregateFunction::Max, ..) => {
            Verdict::Keep("order of this type is made here".into())
        }
        (AggregateFunction::Sum, Kind::Integer, DataType::Int16 | DataType::Int32, DataType::Int64)
        | (AggregateFunction::Sum, Kind::Integer, _, DataType::Decimal128(..)) => {
            Verdict::Rewrite("integers are added as decimals".into())
        }
        (
            AggregateFunction::Sum,
            Kind::Decimal,
            DataType::Decimal128(digits, _),
            DataType::Decimal128(..),
        ) if *digits <= SUMMED_DIGITS => Verdict::Exact,
        (AggregateFunction::Sum, Kind::Decimal, ..) => {
            Verdict::Keep("its sums may have more digits than the server's decimals".into())
        }
        (AggregateFunction::Sum, ..) => Verdict::Keep("sums of this type are made here".into()),
    }
}

/// What a condition rests on.
pub(super) fn condition_rests_on(table: &TableDef, expr: &Expr) -> Vec<Construct> {
    let mut rests_on = Vec::new();
    let walked = expr.apply(|node| {
        match node {
            Expr::Like(_) => rests_on.push(Construct::TextPattern),
            Expr::Column(column) => {
                let field = table.arrow.field_with_name(&column.name).ok();
                if field.and_then(Kind::of) == Some(Kind::Decimal) {
                    rests_on.push(Construct::DecimalDigits);
                }
            }
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    });
    if walked.is_err() { Construct::ALL.to_vec() } else { rests_on }
}

pub(super) fn order_rests_on(column: &Field) -> Vec<Construct> {
    match Kind::of(column) {
        Some(Kind::Text) => vec![Construct::NullOrder, Construct::TextOrder],
        Some(Kind::Decimal) => vec![Construct::NullOrder, Construct::DecimalDigits],
        _ => vec![Construct::NullOrder],
    }
}

pub(super) fn group_rests_on(column: &Field) -> Vec<Construct> {
    match Kind::of(column) {
        Some(Kind::Decimal) => vec![Construct::Groups, Construct::DecimalDigits],
        _ => vec![Construct::Groups],
    }
}

pub(super) fn call_rests_on(call: &AggregateCall, column: Option<&Field>) -> Vec<Construct> {
    let mut rests_on = vec![Construct::Groups];
    match call.function {
        AggregateFunction::Count => {}
        AggregateFunction::Sum => rests_on.push(Construct::ExactSum),
        AggregateFunction::Min | AggregateFunction::Max => {
            if column.and_then(Kind::of) == Some(Kind::Text) {
                rests_on.push(Construct::TextOrder);
            }
        }
    }
    if column.and_then(Kind::of) == Some(Kind::Decimal) {
        rests_on.push(Construct::DecimalDigits);
    }
    if call.filter.is_some() {
        rests_on.push(Construct::Conditions);
    }
    rests_on
}
