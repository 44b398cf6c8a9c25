//! One type for values of which one is shown: results of CASE, arguments of COALESCE, columns of UNION, keys of joins.
//!
//! DataFusion makes numerics of floats that stand beside numerics, which fails for most floats and shows another type.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, JoinConstraint, NullEquality, Result};
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::{Expr, ExprSchemable, Join, LogicalPlan, LogicalPlanBuilder, Operator, Union};

use super::{common, compared, differ, double, is_float, is_number, real};
use crate::functions::lower::of_kpi;
use crate::functions::padded;
use crate::functions::quoted::typed;

fn as_type(expr: Expr, of: &DataType, wanted: &DataType) -> Expr {
    match (of, wanted) {
        (DataType::Null, _) => expr,
        (_, DataType::Float64) => double(expr, of),
        _ => real(expr, of),
    }
}

/// Gives values one type; false if they have one, or one that is not chosen here.
pub(super) fn alike(places: Vec<&mut Expr>, schema: &DFSchema) -> bool {
    let types: Result<Vec<DataType>> = places.iter().map(|place| place.get_type(schema)).collect();
    let Ok(types) = types else { return false };
    let Some(wanted) = common(types.iter()) else { return false };
    for (place, of) in places.into_iter().zip(&types) {
        *place = as_type(std::mem::take(place), of, &wanted);
    }
    true
}

/// What a CASE compares its value with, and its results.
pub(super) fn of_case(mut case: Case, schema: &DFSchema, zone: chrono_tz::Tz) -> Result<Transformed<Expr>> {
    let mut parts = case.expr.iter().map(|value| value.as_ref()).collect::<Vec<&Expr>>();
    parts.extend(case.when_then_expr.iter().flat_map(|(when, then)| [when.as_ref(), then.as_ref()]));
    parts.extend(case.else_expr.iter().map(|result| result.as_ref()));
    if parts.into_iter().any(|part| of_kpi(part, schema)) {
        return Ok(Transformed::no(Expr::Case(case)));
    }
    let mut changed = false;
    if let Some(value) = case.expr.take() {
        case = value_compared(*value, case, schema, zone, &mut changed)?;
    }
    let mut results: Vec<&mut Expr> = case.when_then_expr.iter_mut().map(|(_, then)| then.as_mut()).collect();
    results.extend(case.else_expr.iter_mut().map(|result| result.as_mut()));
    changed |= alike(results, schema);
    let expr = Expr::Case(case);
    Ok(if changed { Transformed::yes(expr) } else { Transformed::no(expr) })
}

/// `CASE value WHEN other …`: each is compared by the operator of its own types.
fn value_compared(
    value: Expr,
    case: Case,
    schema: &DFSchema,
    zone: chrono_tz::Tz,
    changed: &mut bool,
) -> Result<Case> {
    let Case { when_then_expr, else_expr, .. } = case;
    let of = value.get_type(schema);
    let types: Result<Vec<_>> = when_then_expr.iter().map(|(when, _)| when.get_type(schema)).collect();
    let (Ok(of), Ok(types)) = (of, types) else {
        return Ok(Case { expr: Some(Box::new(value)), when_then_expr, else_expr });
    };
    if !types.iter().any(|found| differ(&of, found)) {
        return Ok(Case { expr: Some(Box::new(value)), when_then_expr, else_expr });
    }
    *changed = true;
    let floats = is_float(&of) || types.iter().all(is_float);
    let mut made = Vec::with_capacity(when_then_expr.len());
    for (when, then) in when_then_expr {
        let when = typed(*when, &of, zone)?;
        let found = when.get_type(schema)?;
        let when = match (floats, is_number(&found)) {
            (true, true) => double(when, &found),
            (true, false) => when,
            (false, _) => compared(value.clone(), Operator::Eq, when, schema)?,
        };
        made.push((Box::new(when), then));
    }
    let expr = floats.then(|| Box::new(double(value, &of)));
    Ok(Case { expr, when_then_expr: made, else_expr })
}

/// The columns that the inputs of a node put beside one another: those of a union, and the keys of a join.
pub(in crate::functions) fn inputs(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    match node {
        LogicalPlan::Union(union) => of_union(union),
        LogicalPlan::Join(join) => Ok(of_join(join)),
        other => Ok(Transformed::no(other)),
    }
}

fn of_union(union: Union) -> Result<Transformed<LogicalPlan>> {
    let width = union.schema.fields().len();
    let wanted: Vec<Option<DataType>> = (0..width)
        .map(|place| {
            let fields = union.inputs.iter().filter_map(|input| input.schema().fields().get(place));
            common(fields.map(|field| field.data_type()))
        })
        .collect();
    if wanted.iter().all(Option::is_none) {
        return Ok(Transformed::no(LogicalPlan::Union(union)));
    }
    let settled = union.inputs.into_iter().map(|input| -> Result<Arc<LogicalPlan>> {
        let schema = Arc::clone(input.schema());
        let columns = schema.columns().into_iter().zip(schema.fields()).zip(&wanted);
        let columns = columns.map(|((column, field), wanted)| {
            let value = Expr::Column(column.clone());
            match wanted {
                Some(wanted) => {
                    as_type(value, field.data_type(), wanted).alias_qualified(column.relation, column.name)
                }
                None => value,
            }
        });
        let columns: Vec<Expr> = columns.collect();
        Ok(Arc::new(LogicalPlanBuilder::from(input).project(columns)?.build()?))
    });
    let inputs = settled.collect::<Result<Vec<_>>>()?;
    Ok(Transformed::yes(LogicalPlan::Union(Union { inputs, schema: union.schema })))
}

fn of_join(mut join: Join) -> Transformed<LogicalPlan> {
    // INTERSECT and EXCEPT are joins of rows under one type.
    let rows = join.null_equality == NullEquality::NullEqualsNull;
    let mut changed = false;
    for (left, right) in &mut join.on {
        changed |= padded::keys(left, join.left.schema(), right, join.right.schema());
        let types = (left.get_type(join.left.schema()), right.get_type(join.right.schema()));
        let (Ok(of_left), Ok(of_right)) = types else { continue };
        if !differ(&of_left, &of_right) {
            continue;
        }
        let wanted = [&of_left, &of_right].into_iter();
        let wanted = if rows { common(wanted) } else { None }.unwrap_or(DataType::Float64);
        *left = as_type(std::mem::take(left), &of_left, &wanted);
        *right = as_type(std::mem::take(right), &of_right, &wanted);
        changed = true;
    }
    if changed {
        // What USING means for names is settled, and its keys must be columns.
        join.join_constraint = JoinConstraint::On;
    }
    let node = LogicalPlan::Join(join);
    if changed { Transformed::yes(node) } else { Transformed::no(node) }
}
