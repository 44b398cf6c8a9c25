//! Comparisons of rows, `(a, b) = (1, 2)`, spelled out as comparisons of their parts.
//!
//! DataFusion makes a value of a row and compares values: nulls would be equal, and quoted literals would be texts. What
//! PostgreSQL says of rows it says of their parts (SQL, 8.2; parse_expr.c, make_row_comparison_op). A row that is compared
//! in any other way must not pass as a value.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, UnaryOperator};

use crate::error::{ErrorCode, QueryError};

/// Spells out one expression whose parts have been changed already.
pub(super) fn expression(expr: &mut Expr) -> Result<(), QueryError> {
    let spelled = match &*expr {
        Expr::BinaryOp { left, op, right } => match (row(left), row(right)) {
            (Some(left), Some(right)) => compared(left, op, right)?,
            _ => return Ok(()),
        },
        Expr::IsDistinctFrom(left, right) => match (row(left), row(right)) {
            (Some(left), Some(right)) => {
                any(pairs(left, right)?.map(|(left, right)| Expr::IsDistinctFrom(left, right)).collect())
            }
            _ => return Ok(()),
        },
        Expr::IsNotDistinctFrom(left, right) => match (row(left), row(right)) {
            (Some(left), Some(right)) => {
                all(pairs(left, right)?.map(|(left, right)| Expr::IsNotDistinctFrom(left, right)).collect())
            }
            _ => return Ok(()),
        },
        Expr::IsNull(tested) => match row(tested) {
            Some(parts) => all(parts.iter().map(|part| Expr::IsNull(Box::new(part.clone()))).collect()),
            None => return Ok(()),
        },
        Expr::IsNotNull(tested) => match row(tested) {
            Some(parts) => all(parts.iter().map(|part| Expr::IsNotNull(Box::new(part.clone()))).collect()),
            None => return Ok(()),
        },
        Expr::InList { expr: tested, list, negated } => match row(tested) {
            Some(tested) => {
                let mut members = Vec::with_capacity(list.len());
                for item in list {
                    let item = row(item).ok_or_else(|| unsupported("a row beside what is no row"))?;
                    members.push(compared(tested, &BinaryOperator::Eq, item)?);
                }
                negated_if(*negated, any(members))
            }
            None => return Ok(()),
        },
        Expr::Between { expr: tested, negated, low, high } => match (row(tested), row(low), row(high)) {
            (Some(tested), Some(low), Some(high)) => {
                let above = compared(tested, &BinaryOperator::GtEq, low)?;
                let below = compared(tested, &BinaryOperator::LtEq, high)?;
                negated_if(*negated, binary(above, BinaryOperator::And, below))
            }
            _ => return Ok(()),
        },
        Expr::InSubquery { expr: tested, .. } if row(tested).is_some() => {
            return Err(
                unsupported("a row IN (SELECT …)").with_hint("use EXISTS with a condition for each part")
            );
        }
        _ => return Ok(()),
    };
    *expr = spelled;
    Ok(())
}

fn unsupported(what: &str) -> QueryError {
    QueryError::unsupported(what).with_hint("compare the parts one by one")
}

/// The parts of a row.
fn row(expr: &Expr) -> Option<&[Expr]> {
    match expr {
        Expr::Tuple(parts) => Some(parts),
        Expr::Nested(inner) => row(inner),
        _ => None,
    }
}

type Pair = (Box<Expr>, Box<Expr>);

fn pairs(left: &[Expr], right: &[Expr]) -> Result<impl Iterator<Item = Pair>, QueryError> {
    if left.len() != right.len() {
        let message = "unequal number of entries in row expressions";
        return Err(QueryError::new(ErrorCode::SyntaxError, message));
    }
    Ok(left.iter().zip(right).map(|(left, right)| (Box::new(left.clone()), Box::new(right.clone()))))
}

fn compared(left: &[Expr], op: &BinaryOperator, right: &[Expr]) -> Result<Expr, QueryError> {
    let strict = match op {
        BinaryOperator::Eq => {
            return Ok(all(pairs(left, right)?.map(|(left, right)| equal(left, right)).collect()));
        }
        BinaryOperator::NotEq => {
            let differ = |(left, right)| Expr::BinaryOp { left, op: BinaryOperator::NotEq, right };
            return Ok(any(pairs(left, right)?.map(differ).collect()));
        }
        BinaryOperator::Lt | BinaryOperator::LtEq => BinaryOperator::Lt,
        BinaryOperator::Gt | BinaryOperator::GtEq => BinaryOperator::Gt,
        _ => return Err(unsupported(&format!("the operator {op} between rows"))),
    };
    // The first parts that are not equal decide.
    let mut decided: Option<Expr> = None;
    for (left, right) in pairs(left, right)?.collect::<Vec<_>>().into_iter().rev() {
        decided = Some(match decided {
            None => Expr::BinaryOp { left, op: op.clone(), right },
            Some(rest) => {
                let equal = equal(left.clone(), right.clone());
                let before = Expr::BinaryOp { left, op: strict.clone(), right };
                binary(before, BinaryOperator::Or, binary(equal, BinaryOperator::And, rest))
            }
        });
    }
    decided.ok_or_else(|| unsupported("a row without parts"))
}

fn equal(left: Box<Expr>, right: Box<Expr>) -> Expr {
    Expr::BinaryOp { left, op: BinaryOperator::Eq, right }
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

fn negated_if(negated: bool, expr: Expr) -> Expr {
    if negated { Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(expr) } } else { expr }
}

/// All of some conditions.
pub(super) fn all(conditions: Vec<Expr>) -> Expr {
    joined(conditions, &BinaryOperator::And, true)
}

/// One of some conditions at least.
pub(super) fn any(conditions: Vec<Expr>) -> Expr {
    joined(conditions, &BinaryOperator::Or, false)
}

/// A balanced tree: a long list must not become a deep one.
fn joined(mut conditions: Vec<Expr>, op: &BinaryOperator, none: bool) -> Expr {
    if conditions.len() > 1 {
        let right = conditions.split_off(conditions.len() / 2);
        return binary(joined(conditions, op, none), op.clone(), joined(right, op, none));
    }
    conditions.pop().unwrap_or_else(|| {
        use datafusion::sql::sqlparser::ast::Value;
        Expr::Value(Value::Boolean(none).into())
    })
}

#[cfg(test)]
mod tests {
    use super::super::parsed;
    use super::*;

    #[test]
    fn rows_are_compared_part_by_part() {
        for (sql, expected) in [
            ("(a, b) = (1, 'x')", "a = 1 AND b = 'x'"),
            ("(a, b) <> (1, 2)", "a <> 1 OR b <> 2"),
            ("(a, b) < (1, 2)", "a < 1 OR a = 1 AND b < 2"),
            ("(a, b) >= (1, 2)", "a > 1 OR a = 1 AND b >= 2"),
            ("(a, b) IN ((1, 2), (3, 4))", "a = 1 AND b = 2 OR a = 3 AND b = 4"),
            ("(a, b) IS NULL", "a IS NULL AND b IS NULL"),
            ("(a, b) IS NOT NULL", "a IS NOT NULL AND b IS NOT NULL"),
            ("a = 1", "a = 1"),
            ("(a) IN (1, 2)", "(a) IN (1, 2)"),
        ] {
            assert_eq!(parsed::expression(sql, expression).as_deref(), Ok(expected), "{sql}");
        }
        for (sql, state) in [
            ("(a, b) = (1, 2, 3)", "42601"),
            ("(a, b) IN (1)", "0A000"),
            ("(a, b) IN (SELECT 1, 2)", "0A000"),
            ("(a, b) + (1, 2)", "0A000"),
        ] {
            assert_eq!(parsed::expression(sql, expression), Err(state.to_owned()), "{sql}");
        }
    }
}
