//! Numbers that no decimal here can hold, such as `1e307`: written as text until what stands beside them is known.
//!
//! PostgreSQL's are numerics of any length. Beside a float they are double precision there, and one that leaves its range
//! is 22003; beside other numbers, which all lie far nearer to zero (or are zero), a comparison has the same outcome as
//! with the float of the largest or smallest magnitude. Anything else that would need their digits is refused.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::RawBinaryExpr;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::operators::{Kind, kind};
use super::quoted::{read_literal, unknown};
use super::type_planner::BARE_NUMERIC;
use super::zeros::is_comparison;
use crate::error::QueryError;

/// The digits of a quoted literal that is cast to `numeric`; those that a decimal holds have been made one before.
fn written(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Cast(inner) if *inner.field.data_type() == BARE_NUMERIC => {
            unknown(&inner.expr).filter(|text| is_number(text))
        }
        _ => None,
    }
}

/// Whether a text is a finite number.
fn is_number(text: &str) -> bool {
    let digits = text.trim().trim_start_matches(['+', '-']);
    digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') && text.trim().parse::<f64>().is_ok()
}

/// The float that compares with numbers of few digits as the written number does.
fn stand_in(text: &str) -> Expr {
    let value: f64 = text.trim().parse().unwrap_or_default();
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let value = if value.is_infinite() {
        f64::MAX.copysign(value)
    } else if value == 0.0 && mantissa.contains(|c: char| ('1'..='9').contains(&c)) {
        f64::from_bits(1).copysign(value)
    } else {
        value
    };
    Expr::Literal(ScalarValue::Float64(Some(value)), None)
}

/// Makes floats of such numbers among some values, if a float is among them, or other numbers they are only compared with.
fn among(values: Vec<&mut Expr>, compared: bool, schema: &DFSchema) -> Result<bool> {
    if !values.iter().any(|value| written(value).is_some()) {
        return Ok(false);
    }
    let others = values.iter().filter(|value| written(value).is_none());
    let kinds: Vec<Kind> =
        others.filter_map(|value| value.get_type(schema).ok()).map(|of| kind(&of)).collect();
    let float = kinds.contains(&Kind::Float);
    let number = kinds.iter().any(|kind| matches!(kind, Kind::Integer | Kind::Numeric));
    if !(float || compared && number) {
        return Ok(false);
    }
    for value in values {
        let Some(text) = written(value) else { continue };
        let made = match float {
            true => read_literal(text, &DataType::Float64, chrono_tz::UTC)?
                .map_or_else(|| stand_in(text), |read| Expr::Literal(read, None)),
            false => stand_in(text),
        };
        *value = made;
    }
    Ok(true)
}

/// The operands of an operator, settled where it is planned.
///
/// # Errors
/// 22003 for a number that is no double precision beside a float.
pub(super) fn operands(raw: RawBinaryExpr, schema: &DFSchema) -> Result<RawBinaryExpr> {
    let RawBinaryExpr { op, mut left, mut right } = raw;
    let compared = matches!(
        op,
        BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::Lt
            | BinaryOperator::LtEq
            | BinaryOperator::Gt
            | BinaryOperator::GtEq
    );
    among(vec![&mut left, &mut right], compared, schema)?;
    Ok(RawBinaryExpr { op, left, right })
}

/// Settles such numbers in forms that are no operators, before their parts are.
///
/// # Errors
/// 22003 for a number that is no double precision beside a float.
pub(super) fn settle(mut expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let changed = match &mut expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_comparison(*op) => {
            among(vec![left.as_mut(), right.as_mut()], true, schema)?
        }
        Expr::Between(range) => {
            let values = vec![range.expr.as_mut(), range.low.as_mut(), range.high.as_mut()];
            among(values, true, schema)?
        }
        Expr::InList(list) => {
            let values = std::iter::once(list.expr.as_mut()).chain(&mut list.list).collect();
            among(values, true, schema)?
        }
        Expr::Case(case) => {
            let mut changed = false;
            if let Some(value) = &mut case.expr {
                let whens = case.when_then_expr.iter_mut().map(|(when, _)| when.as_mut());
                changed |= among(std::iter::once(value.as_mut()).chain(whens).collect(), true, schema)?;
            }
            let results = case.when_then_expr.iter_mut().map(|(_, then)| then.as_mut());
            let results = results.chain(case.else_expr.iter_mut().map(|result| result.as_mut())).collect();
            changed | among(results, false, schema)?
        }
        Expr::ScalarFunction(ScalarFunction { func, args })
            if matches!(func.name(), "coalesce" | "greatest" | "least" | "nullif" | "make_array") =>
        {
            among(args.iter_mut().collect(), false, schema)?
        }
        _ => false,
    };
    Ok(Transformed::new_transformed(expr, changed))
}

/// Refuses what is left of them where their digits would be needed.
///
/// # Errors
/// 0A000.
pub(super) fn check(expr: &Expr) -> Result<(), QueryError> {
    match unknown(expr) {
        Some(text) if is_number(text) => {
            let shown: String = text.trim().chars().take(60).collect();
            Err(QueryError::unsupported(format!("the numeric \"{shown}\", which has more than 38 digits,"))
                .with_hint(format!("write it as double precision: '{shown}'::float8")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_lies_on_the_same_side_of_every_decimal() {
        for (text, expected) in [
            ("1e307", 1e307),
            ("-1e400", f64::MIN),
            ("1e400", f64::MAX),
            ("1e-400", 5e-324),
            ("-1e-400", -5e-324),
            ("0e400", 0.0),
        ] {
            let Expr::Literal(ScalarValue::Float64(Some(value)), _) = stand_in(text) else {
                panic!("{text}")
            };
            assert_eq!(value.to_bits(), f64::to_bits(expected), "{text}");
        }
        for (text, number) in
            [("1e400", true), (" -.5e-9 ", true), ("NaN", false), ("inf", false), ("1e", false)]
        {
            assert_eq!(is_number(text), number, "{text}");
        }
    }
}
