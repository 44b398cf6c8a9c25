//! Lists of values with reals among them (PostgreSQL 17, parse_expr.c, transformAExprIn).
//!
//! Two or more constants get one type together with the value that is looked for, so `real IN (0.1, 0)` finds the real
//! nearest to 0.1, while one constant, and whatever names a column, is compared by an operator of its own: `real IN (0.1)`
//! finds nothing.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::utils::disjunction;
use datafusion::logical_expr::{Expr, ExprSchemable, Operator, lit};

use super::{common, compared, double, is_float, is_number, real};
use crate::functions::quoted::{typed, unknown};

/// Whether an item names a column of its own query, which makes it no constant of a list.
pub(in crate::functions) fn is_variable(expr: &Expr) -> bool {
    let names = expr.exists(|node| {
        Ok(match node {
            Expr::Column(_) => true,
            Expr::ScalarSubquery(subquery) => !subquery.outer_ref_columns.is_empty(),
            _ => false,
        })
    });
    names.unwrap_or(true)
}

/// An item with its type; none for what takes its type from the others.
type Item = (Expr, Option<DataType>);

/// `value IN (…)` if a real is among its values and other numbers too.
pub(super) fn in_list(list: InList, schema: &DFSchema, zone: chrono_tz::Tz) -> Result<Transformed<Expr>> {
    let Ok(of) = list.expr.get_type(schema) else { return Ok(Transformed::no(Expr::InList(list))) };
    let mut types = Vec::with_capacity(list.list.len());
    for item in &list.list {
        types.push(match item.get_type(schema) {
            Ok(DataType::Null) => None,
            Ok(_) if unknown(item).is_some() => None,
            Ok(found) if is_number(&found) => Some(found),
            _ => return Ok(Transformed::no(Expr::InList(list))),
        });
    }
    let floats = is_float(&of) || types.iter().flatten().any(is_float);
    let alike = types.iter().flatten().all(|found| *found == of);
    // Beside double precision everything is double precision, whichever way it is compared.
    if !is_number(&of) || of == DataType::Float64 || !floats || alike {
        return Ok(Transformed::no(Expr::InList(list)));
    }
    let InList { expr, list, negated } = list;
    let (variables, constants): (Vec<Item>, Vec<Item>) =
        list.into_iter().zip(types).partition(|(item, _)| is_variable(item));
    let mut tests = Vec::new();
    if constants.len() == 1 {
        for (item, found) in constants {
            let item = if found.is_none() { value_of(item, &of, zone)? } else { item };
            tests.push(compared(expr.as_ref().clone(), Operator::Eq, item, schema)?);
        }
    } else if !constants.is_empty() {
        tests.push(among(expr.as_ref().clone(), &of, constants, zone)?);
    }
    for (item, _) in variables {
        tests.push(compared(expr.as_ref().clone(), Operator::Eq, item, schema)?);
    }
    let any = disjunction(tests).unwrap_or_else(|| lit(false));
    Ok(Transformed::yes(match any {
        Expr::InList(list) if negated => Expr::InList(InList { negated, ..list }),
        any if negated => Expr::Not(Box::new(any)),
        any => any,
    }))
}

/// What takes its type from the others, as a value of that type.
fn value_of(item: Expr, wanted: &DataType, zone: chrono_tz::Tz) -> Result<Expr> {
    if unknown(&item).is_some() {
        return typed(item, wanted, zone);
    }
    Ok(Expr::Literal(ScalarValue::try_from(wanted)?, None))
}

/// A list of constants, all of one type.
fn among(expr: Expr, of: &DataType, constants: Vec<Item>, zone: chrono_tz::Tz) -> Result<Expr> {
    let found = || std::iter::once(of).chain(constants.iter().filter_map(|(_, found)| found.as_ref()));
    let wanted = match common(found()) {
        Some(wanted) => Some(wanted),
        None if found().any(|found| *found == DataType::Float64) => Some(DataType::Float64),
        None => None,
    };
    let Some(wanted) = wanted else {
        // No float is among the constants.
        let list = constants.into_iter().map(|(item, found)| match found {
            Some(_) => Ok(item),
            None => value_of(item, of, zone),
        });
        let list = list.collect::<Result<Vec<_>>>()?;
        return Ok(Expr::InList(InList::new(Box::new(expr), list, false)));
    };
    let same = wanted == *of;
    let list = constants.into_iter().map(|(item, found)| {
        let item = match found {
            None => value_of(item, &wanted, zone)?,
            Some(found) if wanted == DataType::Float64 => double(item, &found),
            Some(found) => real(item, &found),
        };
        // The value keeps its type, and an operator between two is one of double precision.
        Ok(if same { item } else { double(item, &wanted) })
    });
    let list = list.collect::<Result<Vec<_>>>()?;
    let expr = if same { expr } else { double(expr, of) };
    Ok(Expr::InList(InList::new(Box::new(expr), list, false)))
}
