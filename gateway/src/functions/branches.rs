//! The one type that the branches of a CASE and the inputs of a UNION have in PostgreSQL (parse_coerce.c, select_common_type).
//!
//! DataFusion makes texts of numbers where a text stands beside them, which is an answer of another type. A quoted literal
//! takes the others' type; any other text is refused.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::type_coercion::other::get_coerce_type_for_case_expression;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Union, cast};

use super::beside;
use super::opaque;
use super::quoted::typed;
use crate::error::{ErrorCode, QueryError};
use crate::pgtypes::PgType;

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Numbers, dates and booleans: what a text may not stand beside.
fn is_plain_value(data_type: &DataType) -> bool {
    use DataType::{Boolean, Date32, Decimal128, Float32, Float64, Int16, Int32, Int64, Timestamp};
    matches!(
        data_type,
        Boolean | Date32 | Decimal128(_, _) | Float32 | Float64 | Int16 | Int32 | Int64 | Timestamp(_, _)
    )
}

fn unmatched(what: &str, left: &DataType, right: &DataType) -> QueryError {
    let name = |data_type: &DataType| PgType::from_arrow(data_type).without_typmod().format();
    QueryError::new(
        ErrorCode::DatatypeMismatch,
        format!("{what} types {} and {} cannot be matched", name(left), name(right)),
    )
    .with_hint("cast one of them to the other's type")
}

/// The results of a CASE under one type: quoted literals under the others', numerics under one of all their digits.
pub(super) fn of_case(mut case: Case, schema: &DFSchema, zone: chrono_tz::Tz) -> Result<Transformed<Expr>> {
    let mut results: Vec<&mut Box<Expr>> = case.when_then_expr.iter_mut().map(|(_, then)| then).collect();
    results.extend(case.else_expr.iter_mut());
    let types: Vec<_> = results.iter().filter_map(|result| result.get_type(schema).ok()).collect();
    let Some(wanted) = types.into_iter().find(is_plain_value) else {
        return Ok(Transformed::no(Expr::Case(case)));
    };
    let mut changed = false;
    for result in results {
        let Ok(found) = result.get_type(schema) else { continue };
        if is_text(&found) {
            let read = typed(result.as_ref().clone(), &wanted, zone)?;
            if is_text(&read.get_type(schema)?) {
                return Err(unmatched("CASE", &wanted, &found).into());
            }
            **result = read;
            changed = true;
        }
    }
    changed |= one_scale(&mut case, schema);
    let expr = Expr::Case(case);
    Ok(if changed { Transformed::yes(expr) } else { Transformed::no(expr) })
}

/// Casts numerics of several scales, and integers beside them, to the type that the engine is going to give the CASE.
/// Until then its type is that of its first result, and what encloses it would be planned by too few digits.
fn one_scale(case: &mut Case, schema: &DFSchema) -> bool {
    use DataType::{Decimal128, Int16, Int32, Int64, Null};
    let mut results: Vec<&mut Expr> = case.when_then_expr.iter_mut().map(|(_, then)| then.as_mut()).collect();
    results.extend(case.else_expr.iter_mut().map(|result| result.as_mut()));
    let types: Result<Vec<DataType>> = results.iter().map(|result| result.get_type(schema)).collect();
    let Ok(types) = types else { return false };
    let numbers = types.iter().all(|of| matches!(of, Decimal128(_, _) | Int16 | Int32 | Int64 | Null));
    if !numbers || !types.iter().any(|of| matches!(of, Decimal128(_, _))) {
        return false;
    }
    let Some(wanted @ Decimal128(_, _)) = get_coerce_type_for_case_expression(&types, None) else {
        return false;
    };
    let mut changed = false;
    for (result, of) in results.into_iter().zip(&types) {
        if *of != wanted && *of != Null {
            *result = cast(std::mem::take(result), wanted.clone());
            changed = true;
        }
    }
    changed
}

/// Refuses a union of texts and what is no text, and gives others the columns that their inputs have by now.
pub(super) fn of_union(union: Union, zone: chrono_tz::Tz) -> Result<LogicalPlan> {
    let Some((first, rest)) = union.inputs.split_first() else { return Ok(LogicalPlan::Union(union)) };
    for other in rest {
        for (left, right) in first.schema().fields().iter().zip(other.schema().fields()) {
            let (left, right) = (left.data_type(), right.data_type());
            if is_text(left) && is_plain_value(right)
                || is_plain_value(left) && is_text(right)
                || opaque::differ(left, right)
            {
                return Err(unmatched("UNION", left, right).into());
            }
        }
    }
    // A union keeps the schema it was planned with, and what its inputs say of a column (its metadata, whether it has
    // nulls) has changed with their expressions.
    let inputs = beside::union(union.inputs, zone)?;
    let found = Union::try_new_with_loose_types(inputs)?;
    let fields = union.schema.iter().zip(found.schema.fields()).map(|((qualifier, before), now)| {
        (qualifier.cloned(), Arc::new(now.as_ref().clone().with_name(before.name())))
    });
    let schema = DFSchema::new_with_metadata(fields.collect(), found.schema.metadata().clone())?;
    Ok(LogicalPlan::Union(Union { inputs: found.inputs, schema: Arc::new(schema) }))
}
