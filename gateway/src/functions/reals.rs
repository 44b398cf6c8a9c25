//! `real` beside other numbers, and floats beside numerics, where PostgreSQL takes one type for several values
//! (parse_oper.c, parse_expr.c, select_common_type).
//!
//! An operator between a real and another number is one of double precision there: 16777217 is no real, and 0.1 is not
//! the real nearest to it. DataFusion compares reals, and finds what is not there. Where one type is chosen for many
//! values (two or more constants of a list, results of CASE, columns of UNION) a real wins over integers and numerics,
//! and double precision over all. A constant that is a real stays one, and a bound is moved to the next real: sources
//! and pruning then see a plain column. Must run before types are coerced; what is shown of a KPI view stays as it is.

mod branches;
mod lists;

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{Between, InSubquery, ScalarFunction};
use datafusion::logical_expr::planner::RawBinaryExpr;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlanBuilder, Operator, cast, when};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::digits;
use super::lower::of_kpi;
use super::operators::{Kind, kind};
use super::quoted::typed;
use super::zeros::is_comparison;

pub(super) use branches::inputs;
pub(super) use lists::is_variable;

fn is_float(of: &DataType) -> bool {
    matches!(of, DataType::Float32 | DataType::Float64)
}

fn is_number(of: &DataType) -> bool {
    is_float(of) || matches!(kind(of), Kind::Integer | Kind::Numeric)
}

/// Whether an operator between two types is PostgreSQL's of double precision, and not DataFusion's.
fn differ(left: &DataType, right: &DataType) -> bool {
    match (left, right) {
        (DataType::Float32, other) | (other, DataType::Float32) => {
            *other != DataType::Float32 && is_number(other)
        }
        (DataType::Float64, other) | (other, DataType::Float64) => kind(other) == Kind::Numeric,
        _ => false,
    }
}

/// The one type of several numbers, if a float is among them and a numeric or an integer stands beside it.
fn common<'a>(types: impl Iterator<Item = &'a DataType>) -> Option<DataType> {
    let (mut real, mut double, mut exact) = (false, false, false);
    for of in types {
        match of {
            DataType::Null => {}
            DataType::Float32 => real = true,
            DataType::Float64 => double = true,
            of if is_number(of) => exact = true,
            _ => return None,
        }
    }
    match (exact, double, real) {
        (true, true, _) => Some(DataType::Float64),
        (true, false, true) => Some(DataType::Float32),
        _ => None,
    }
}

/// The digits of a constant number, as a float is read from them.
fn digits(expr: &Expr) -> Option<String> {
    let Expr::Literal(value, _) = expr else { return None };
    let scaled = |value: String, scale: i8| format!("{value}e{}", -i32::from(scale));
    Some(match value {
        ScalarValue::Int16(Some(value)) => value.to_string(),
        ScalarValue::Int32(Some(value)) => value.to_string(),
        ScalarValue::Int64(Some(value)) => value.to_string(),
        ScalarValue::Decimal128(Some(value), _, scale) => scaled(value.to_string(), *scale),
        ScalarValue::Decimal256(Some(value), _, scale) => scaled(value.to_string(), *scale),
        _ => return None,
    })
}

/// The value of a constant as double precision.
fn constant(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::Literal(ScalarValue::Float64(Some(value)), _) => Some(*value),
        Expr::Literal(ScalarValue::Float32(Some(value)), _) => Some(f64::from(*value)),
        other => digits(other)?.parse().ok(),
    }
}

/// The real nearest to a value; an infinity beyond the largest.
fn nearest(value: f64) -> Option<f32> {
    match ScalarValue::Float64(Some(value)).cast_to(&DataType::Float32) {
        Ok(ScalarValue::Float32(Some(real))) => Some(real),
        _ => None,
    }
}

/// The real that a value is, bit by bit.
fn same(value: f64) -> Option<f32> {
    nearest(value).filter(|real| f64::from(*real).to_bits() == value.to_bits())
}

/// The least real that is not below a value.
fn at_least(value: f64) -> Option<f32> {
    nearest(value).map(|real| if f64::from(real) < value { real.next_up() } else { real })
}

/// The greatest real that is not above a value.
fn at_most(value: f64) -> Option<f32> {
    nearest(value).map(|real| if f64::from(real) > value { real.next_down() } else { real })
}

fn literal(value: f32) -> Expr {
    Expr::Literal(ScalarValue::Float32(Some(value)), None)
}

/// The constant that a real is compared with in the place of another; none for one that no real is equal to.
fn bound(op: Operator, value: f64) -> Option<Expr> {
    let real = match op {
        Operator::Lt | Operator::GtEq => at_least(value),
        Operator::LtEq | Operator::Gt => at_most(value),
        _ => same(value),
    };
    real.map(literal)
}

/// A number as double precision.
fn double(expr: Expr, of: &DataType) -> Expr {
    if *of == DataType::Float64 {
        return expr;
    }
    match constant(&expr) {
        Some(value) => Expr::Literal(ScalarValue::Float64(Some(value)), None),
        None => cast(expr, DataType::Float64),
    }
}

/// A number that is not double precision as a real.
fn real(expr: Expr, of: &DataType) -> Expr {
    if *of == DataType::Float32 {
        return expr;
    }
    match digits(&expr).and_then(|digits| digits.parse().ok()) {
        Some(value) => literal(value),
        None => cast(expr, DataType::Float32),
    }
}

/// Both sides of a comparison between types that [`differ`].
fn sides(left: Expr, op: Operator, right: Expr, (of_left, of_right): (&DataType, &DataType)) -> (Expr, Expr) {
    if *of_left == DataType::Float32
        && let Some(bound) = constant(&right).and_then(|value| bound(op, value))
    {
        return (left, bound);
    }
    if *of_right == DataType::Float32
        && let Some(swapped) = op.swap()
        && let Some(bound) = constant(&left).and_then(|value| bound(swapped, value))
    {
        return (bound, right);
    }
    (double(left, of_left), double(right, of_right))
}

fn binary(left: Expr, op: Operator, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
}

/// A comparison of two values, by the operator of their types.
fn compared(left: Expr, op: Operator, right: Expr, schema: &DFSchema) -> Result<Expr> {
    let (of_left, of_right) = (left.get_type(schema)?, right.get_type(schema)?);
    if !differ(&of_left, &of_right) {
        return Ok(binary(left, op, right));
    }
    let (left, right) = sides(left, op, right, (&of_left, &of_right));
    Ok(binary(left, op, right))
}

/// Arithmetic between a real and another number: both double precision, so that what is made of it has that type
/// from the start.
pub(super) fn planned(
    raw: RawBinaryExpr,
    left: DataType,
    right: DataType,
) -> (RawBinaryExpr, DataType, DataType) {
    let arithmetic = matches!(
        raw.op,
        BinaryOperator::Plus | BinaryOperator::Minus | BinaryOperator::Multiply | BinaryOperator::Divide
    );
    let exact = |of: &DataType| is_number(of) && !is_float(of);
    let mixed = left == DataType::Float32 && exact(&right) || exact(&left) && right == DataType::Float32;
    if !arithmetic || !mixed {
        return (raw, left, right);
    }
    let RawBinaryExpr { op, left: left_expr, right: right_expr } = raw;
    let raw = RawBinaryExpr { op, left: double(left_expr, &left), right: double(right_expr, &right) };
    (raw, DataType::Float64, DataType::Float64)
}

/// Gives the values of one expression the types that PostgreSQL compares them in.
pub(super) fn settle(expr: Expr, schema: &DFSchema, zone: chrono_tz::Tz) -> Result<Transformed<Expr>> {
    match expr {
        Expr::BinaryExpr(comparison) if is_comparison(comparison.op) => {
            let types = (comparison.left.get_type(schema), comparison.right.get_type(schema));
            let (Ok(left), Ok(right)) = types else {
                return Ok(Transformed::no(Expr::BinaryExpr(comparison)));
            };
            if !differ(&left, &right) {
                return Ok(Transformed::no(Expr::BinaryExpr(comparison)));
            }
            let BinaryExpr { left: left_expr, op, right: right_expr } = comparison;
            let (left, right) = sides(*left_expr, op, *right_expr, (&left, &right));
            Ok(Transformed::yes(binary(left, op, right)))
        }
        Expr::Between(range) => between(range, schema, zone),
        Expr::InList(list) => lists::in_list(list, schema, zone),
        Expr::InSubquery(membership) => in_subquery(membership, schema),
        Expr::Case(case) => branches::of_case(case, schema, zone),
        Expr::ScalarFunction(call) => of_call(call, schema),
        other => Ok(Transformed::no(other)),
    }
}

/// `value BETWEEN low AND high`: each bound by the operator of its own type.
fn between(range: Between, schema: &DFSchema, zone: chrono_tz::Tz) -> Result<Transformed<Expr>> {
    let Between { expr, negated, low, high } = range;
    let types = (expr.get_type(schema), low.get_type(schema), high.get_type(schema));
    let (Ok(of), Ok(of_low), Ok(of_high)) = types else {
        return Ok(Transformed::no(Expr::Between(Between { expr, negated, low, high })));
    };
    if !differ(&of, &of_low) && !differ(&of, &of_high) {
        return Ok(Transformed::no(Expr::Between(Between { expr, negated, low, high })));
    }
    let (low, high) = (typed(*low, &of, zone)?, typed(*high, &of, zone)?);
    let (of_low, of_high) = (low.get_type(schema)?, high.get_type(schema)?);
    if !(is_float(&of) || is_float(&of_low) && is_float(&of_high)) {
        let above = compared(expr.as_ref().clone(), Operator::GtEq, low, schema)?;
        let below = compared(*expr, Operator::LtEq, high, schema)?;
        let both = above.and(below);
        return Ok(Transformed::yes(if negated { Expr::Not(Box::new(both)) } else { both }));
    }
    let reals = (constant(&low).and_then(at_least), constant(&high).and_then(at_most));
    let (expr, low, high) = match reals {
        (Some(low), Some(high)) if of == DataType::Float32 => (*expr, literal(low), literal(high)),
        _ => (double(*expr, &of), double(low, &of_low), double(high, &of_high)),
    };
    Ok(Transformed::yes(Expr::Between(Between::new(Box::new(expr), negated, Box::new(low), Box::new(high)))))
}

/// `value IN (SELECT number …)`: compared as double precision.
fn in_subquery(mut membership: InSubquery, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let plan = Arc::clone(&membership.subquery.subquery);
    let mut columns = plan.schema().columns();
    let (Some(column), true) = (columns.pop(), columns.is_empty()) else {
        return Ok(Transformed::no(Expr::InSubquery(membership)));
    };
    let member = Expr::Column(column.clone());
    let types = (membership.expr.get_type(schema), member.get_type(plan.schema()));
    let (Ok(of), Ok(of_member)) = types else { return Ok(Transformed::no(Expr::InSubquery(membership))) };
    if !differ(&of, &of_member) {
        return Ok(Transformed::no(Expr::InSubquery(membership)));
    }
    let value = std::mem::take(membership.expr.as_mut());
    membership.expr = Box::new(double(value, &of));
    if of_member != DataType::Float64 {
        let member = double(member, &of_member).alias_qualified(column.relation, column.name);
        let plan = LogicalPlanBuilder::from(plan).project([member])?.build()?;
        membership.subquery.subquery = Arc::new(plan);
    }
    Ok(Transformed::yes(Expr::InSubquery(membership)))
}

/// Functions that compare their arguments, or give one of them back.
fn of_call(mut call: ScalarFunction, schema: &DFSchema) -> Result<Transformed<Expr>> {
    if call.args.iter().any(|argument| of_kpi(argument, schema)) {
        return Ok(Transformed::no(Expr::ScalarFunction(call)));
    }
    match (call.func.name(), call.args.as_slice()) {
        ("coalesce" | "greatest" | "least" | "make_array", _) => {
            let changed = branches::alike(call.args.iter_mut().collect(), schema);
            let expr = Expr::ScalarFunction(call);
            Ok(if changed { Transformed::yes(expr) } else { Transformed::no(expr) })
        }
        // What is given back is the left side of the operator that compares: a real as it is, others as they are compared.
        ("nullif", [value, other]) => {
            let types = (value.get_type(schema), other.get_type(schema));
            let (Ok(of), Ok(of_other)) = types else {
                return Ok(Transformed::no(Expr::ScalarFunction(call)));
            };
            if !differ(&of, &of_other) {
                return Ok(Transformed::no(Expr::ScalarFunction(call)));
            }
            let (left, right) = sides(value.clone(), Operator::Eq, other.clone(), (&of, &of_other));
            let shown = if is_float(&of) { value.clone() } else { double(value.clone(), &of) };
            let nothing = Expr::Literal(ScalarValue::try_from(&shown.get_type(schema)?)?, None);
            Ok(Transformed::yes(when(binary(left, Operator::Eq, right), nothing).otherwise(shown)?))
        }
        // `value = ANY (array)`.
        ("array_has", [array, value]) => {
            let (Ok(DataType::List(item)), Ok(of)) = (array.get_type(schema), value.get_type(schema)) else {
                return Ok(Transformed::no(Expr::ScalarFunction(call)));
            };
            let list_of = |item| DataType::List(Arc::new(Field::new_list_field(item, true)));
            if let Some(both) = digits::of_both(item.data_type(), &of) {
                call.args = vec![cast(array.clone(), list_of(both.clone())), cast(value.clone(), both)];
                return Ok(Transformed::yes(Expr::ScalarFunction(call)));
            }
            if !differ(item.data_type(), &of) {
                return Ok(Transformed::no(Expr::ScalarFunction(call)));
            }
            call.args = vec![cast(array.clone(), list_of(DataType::Float64)), double(value.clone(), &of)];
            Ok(Transformed::yes(Expr::ScalarFunction(call)))
        }
        _ => Ok(Transformed::no(Expr::ScalarFunction(call))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(value: f64) -> (Option<f32>, Option<f32>, Option<f32>) {
        (at_least(value), same(value), at_most(value))
    }

    #[test]
    fn a_bound_is_moved_to_the_real_that_keeps_its_meaning() {
        assert_eq!(bounds(16_777_217.0), (Some(16_777_218.0), None, Some(16_777_216.0)));
        assert_eq!(bounds(16_777_216.0), (Some(16_777_216.0), Some(16_777_216.0), Some(16_777_216.0)));
        let nearest = 0.1_f32;
        assert!(f64::from(nearest) > 0.1);
        assert_eq!(bounds(0.1), (Some(nearest), None, Some(nearest.next_down())));
        assert_eq!(bounds(1e300), (Some(f32::INFINITY), None, Some(f32::MAX)));
        assert_eq!(bounds(-1e300), (Some(f32::MIN), None, Some(f32::NEG_INFINITY)));
        assert_eq!(bounds(1e-60), (Some(f32::from_bits(1)), None, Some(0.0)));
        assert_eq!(bounds(f64::INFINITY), (Some(f32::INFINITY), Some(f32::INFINITY), Some(f32::INFINITY)));
    }

    #[test]
    fn constants_are_read_from_their_digits() {
        let number = |value| Expr::Literal(value, None);
        assert_eq!(constant(&number(ScalarValue::Decimal128(Some(1), 1, 1))), Some(0.1));
        assert_eq!(constant(&number(ScalarValue::Decimal128(Some(15), 38, -2))), Some(1500.0));
        assert_eq!(constant(&number(ScalarValue::Int64(Some(16_777_217)))), Some(16_777_217.0));
        assert_eq!(constant(&number(ScalarValue::Utf8(Some("1".into())))), None);
        assert_eq!(
            real(number(ScalarValue::Decimal128(Some(1), 1, 1)), &DataType::Decimal128(1, 1)),
            literal(0.1)
        );
    }

    #[test]
    fn one_type_is_chosen_as_postgresql_chooses_it() {
        use DataType::{Decimal128, Float32, Float64, Int64, Null, Utf8};
        for (types, wanted) in [
            (vec![Float32, Int64], Some(Float32)),
            (vec![Decimal128(3, 1), Float32], Some(Float32)),
            (vec![Float32, Decimal128(3, 1), Float64], Some(Float64)),
            (vec![Null, Int64, Float64], Some(Float64)),
            (vec![Int64, Decimal128(3, 1)], None),
            (vec![Float32, Float64], None),
            (vec![Float32, Utf8, Int64], None),
        ] {
            assert_eq!(common(types.iter()), wanted, "{types:?}");
        }
    }
}
