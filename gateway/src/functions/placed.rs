//! Dates, timestamps and quoted literals where no operator says what they are: arguments of calls, lists and arrays.
//!
//! An instant is read, shown and made of a date where the session is. DataFusion would do it in UTC, so what is not
//! settled here is refused, and must never be left to its casts.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::{
    Case, Cast, InList, InSubquery, Placeholder, ScalarFunction, SetComparison, WindowFunction,
};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder};

use super::elapsed::SPAN;
use super::lower::{of_kpi, rewrite_cast};
use super::operators::{Kind, kind};
use super::quoted::{typed, unknown};
use super::{days, time};
use crate::error::QueryError;
use crate::pgtypes::PgType;

/// Settles one expression whose parts are settled.
///
/// # Errors
/// 0A000 for what would be answered in UTC; what is wrong with a literal.
pub(super) fn settle(expr: Expr, schema: &DFSchema, zone: chrono_tz::Tz) -> Result<Transformed<Expr>> {
    match expr {
        Expr::ScalarFunction(call) if !call.args.iter().any(|argument| of_kpi(argument, schema)) => {
            of_call(call, schema, zone)
        }
        Expr::Case(case) => compared(case, schema, zone),
        Expr::InList(list) => in_list(list, schema, zone),
        Expr::InSubquery(membership) => in_subquery(membership, zone),
        Expr::SetComparison(comparison) => quantified(comparison, schema, zone),
        Expr::WindowFunction(call) => beyond_the_partition(call, schema, zone),
        Expr::Cast(cast) => of_array(cast, schema, zone),
        other => Ok(Transformed::no(other)),
    }
}

fn is_moment(data_type: &DataType) -> bool {
    matches!(kind(data_type), Kind::Date | Kind::Stamp)
}

fn is_zoned(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(_, Some(_)))
}

fn of_call(mut call: ScalarFunction, schema: &DFSchema, zone: chrono_tz::Tz) -> Result<Transformed<Expr>> {
    let types: Vec<DataType> =
        call.args.iter().map(|argument| argument.get_type(schema).unwrap_or(DataType::Null)).collect();
    match (call.func.name(), call.args.as_mut_slice(), types.as_slice()) {
        // A date, a quoted literal and a parameter without a type are instants there.
        ("timezone", [_, value], [_, of]) => {
            let settled = match &mut *value {
                Expr::Placeholder(Placeholder { id, field: None }) => {
                    let field = Arc::new(Field::new(id.clone(), time::zoned(), true));
                    Expr::Placeholder(Placeholder { id: std::mem::take(id), field: Some(field) })
                }
                value if *of == DataType::Date32 => days::of_day(std::mem::take(value), true, zone),
                value if unknown(value).is_some() => typed(std::mem::take(value), &time::zoned(), zone)?,
                _ => return Ok(Transformed::no(Expr::ScalarFunction(call))),
            };
            *value = settled;
            Ok(Transformed::yes(Expr::ScalarFunction(call)))
        }
        ("date_bin", [stride, value, origin], [_, of_value, of_origin]) => {
            *stride = typed(std::mem::take(stride), &SPAN, zone)?;
            let wanted = [of_value, of_origin].into_iter().find(|of| kind(of) == Kind::Stamp);
            let wanted = wanted.cloned().unwrap_or_else(time::zoned);
            let mut sides = [std::mem::take(value), std::mem::take(origin)];
            for side in &mut sides {
                *side = typed(std::mem::take(side), &wanted, zone)?;
            }
            // A date is a timestamp without time zone only beside one.
            let with_zone =
                sides.iter().filter_map(|side| side.get_type(schema).ok()).any(|of| is_zoned(&of))
                    || is_zoned(&wanted);
            [*value, *origin] = sides.map(|side| {
                let of = side.get_type(schema).unwrap_or(DataType::Null);
                days::as_instant(side, &of, with_zone, zone)
            });
            Ok(Transformed::yes(Expr::ScalarFunction(call)))
        }
        ("greatest" | "least" | "nullif", values, types) if types.iter().any(is_moment) => {
            let wanted = types.iter().find(|of| is_zoned(of));
            let wanted = wanted.or_else(|| types.iter().find(|of| kind(of) == Kind::Stamp));
            let wanted = wanted.cloned().unwrap_or(DataType::Date32);
            let mut changed = false;
            for value in values {
                if unknown(value).is_some() {
                    *value = typed(std::mem::take(value), &wanted, zone)?;
                    changed = true;
                }
            }
            Ok(Transformed::new_transformed(Expr::ScalarFunction(call), changed))
        }
        ("array_to_string", _, [DataType::List(item), ..]) if has_other_text(item.data_type()) => {
            let of = PgType::from_arrow(item.data_type()).without_typmod().format();
            Err(QueryError::unsupported(format!("array_to_string of {of}"))
                .with_hint("aggregate texts: string_agg(x::text, ',')")
                .into())
        }
        _ => Ok(Transformed::no(Expr::ScalarFunction(call))),
    }
}

/// Whether a type's text in an array is not what Arrow writes.
fn has_other_text(data_type: &DataType) -> bool {
    matches!(kind(data_type), Kind::Stamp | Kind::Interval | Kind::Float | Kind::Bool)
}

/// `CASE value WHEN '…'`: the literal is what the value is.
fn compared(mut case: Case, schema: &DFSchema, zone: chrono_tz::Tz) -> Result<Transformed<Expr>> {
    let of = case.expr.as_ref().and_then(|value| value.get_type(schema).ok()).filter(is_moment);
    let Some(of) = of else { return Ok(Transformed::no(Expr::Case(case))) };
    let mut changed = false;
    for (when, _) in &mut case.when_then_expr {
        if unknown(when).is_some() {
            **when = typed(std::mem::take(when.as_mut()), &of, zone)?;
            changed = true;
        }
    }
    Ok(Transformed::new_transformed(Expr::Case(case), changed))
}

/// `'…' IN (column, …)`: the literal is what the list is.
fn in_list(mut list: InList, schema: &DFSchema, zone: chrono_tz::Tz) -> Result<Transformed<Expr>> {
    let mut types = list.list.iter().filter_map(|item| item.get_type(schema).ok());
    let wanted = if unknown(&list.expr).is_some() { types.find(is_moment) } else { None };
    let Some(wanted) = wanted else { return Ok(Transformed::no(Expr::InList(list))) };
    *list.expr = typed(std::mem::take(list.expr.as_mut()), &wanted, zone)?;
    Ok(Transformed::yes(Expr::InList(list)))
}

fn column_type(plan: &LogicalPlan) -> Option<DataType> {
    plan.schema().fields().first().map(|field| field.data_type().clone())
}

/// `'…' IN (SELECT column …)`.
fn in_subquery(mut membership: InSubquery, zone: chrono_tz::Tz) -> Result<Transformed<Expr>> {
    match column_type(&membership.subquery.subquery).filter(is_moment) {
        Some(of) if unknown(&membership.expr).is_some() => {
            *membership.expr = typed(std::mem::take(membership.expr.as_mut()), &of, zone)?;
            Ok(Transformed::yes(Expr::InSubquery(membership)))
        }
        _ => Ok(Transformed::no(Expr::InSubquery(membership))),
    }
}

/// `value operator ANY (SELECT column …)` and `ALL`, both sides of one type.
fn quantified(
    mut comparison: SetComparison,
    schema: &DFSchema,
    zone: chrono_tz::Tz,
) -> Result<Transformed<Expr>> {
    let plan = Arc::clone(&comparison.subquery.subquery);
    let mut columns = plan.schema().columns();
    let (Some(column), Some(of_column)) = (columns.pop(), column_type(&plan).filter(is_moment)) else {
        return Ok(Transformed::no(Expr::SetComparison(comparison)));
    };
    let value = typed(comparison.expr.as_ref().clone(), &of_column, zone)?;
    let of_value = value.get_type(schema)?;
    let changed = value != *comparison.expr;
    *comparison.expr = value;
    let Some(with_zone) = days::common([&of_value, &of_column].into_iter()) else {
        return Ok(Transformed::new_transformed(Expr::SetComparison(comparison), changed));
    };
    let value = std::mem::take(comparison.expr.as_mut());
    *comparison.expr = days::as_instant(value, &of_value, with_zone, zone);
    let member = days::as_instant(Expr::Column(column.clone()), &of_column, with_zone, zone);
    let member = member.alias_qualified(column.relation, column.name);
    comparison.subquery.subquery = Arc::new(LogicalPlanBuilder::from(plan).project([member])?.build()?);
    Ok(Transformed::yes(Expr::SetComparison(comparison)))
}

/// What `lag` and `lead` give where there is no row.
fn beyond_the_partition(
    mut call: Box<WindowFunction>,
    schema: &DFSchema,
    zone: chrono_tz::Tz,
) -> Result<Transformed<Expr>> {
    if let ("lag" | "lead", [value, _, instead]) = (call.fun.name(), call.params.args.as_slice())
        && unknown(instead).is_some()
        && let Some(of) = value.get_type(schema).ok().filter(is_moment)
    {
        let instead = typed(instead.clone(), &of, zone)?;
        if let Some(place) = call.params.args.last_mut() {
            *place = instead;
        }
        return Ok(Transformed::yes(Expr::WindowFunction(call)));
    }
    Ok(Transformed::no(Expr::WindowFunction(call)))
}

/// The elements of an array that is written out become what they are by casts of their own; of another array the cast is
/// refused, if they would become something else.
fn of_array(mut cast: Cast, schema: &DFSchema, zone: chrono_tz::Tz) -> Result<Transformed<Expr>> {
    let target = cast.field.data_type().clone();
    let Ok(DataType::List(item)) = cast.expr.get_type(schema) else {
        return Ok(Transformed::no(Expr::Cast(cast)));
    };
    let from = item.data_type();
    let refuse = |to: String, hint: &str| -> Result<Transformed<Expr>> {
        let from = PgType::from_arrow(from).without_typmod().format();
        let message = format!("a cast of {from}[] to {to}");
        Err(QueryError::unsupported(message).with_hint(hint).into())
    };
    match target {
        DataType::Utf8 => refuse("text".to_owned(), "use array_to_string, or leave the array an array"),
        DataType::List(to) => {
            let to = to.data_type();
            let elsewhere = zone != chrono_tz::UTC
                && (is_zoned(from) != is_zoned(to))
                && matches!(kind(from), Kind::Date | Kind::Stamp | Kind::Text);
            let told = kind(to) == Kind::Text && kind(from) != Kind::Bool && has_other_text(from);
            if !elsewhere && !told {
                return Ok(Transformed::no(Expr::Cast(cast)));
            }
            let Expr::ScalarFunction(call) = cast.expr.as_mut() else {
                let to = PgType::from_arrow(to).without_typmod().format();
                return refuse(format!("{to}[]"), "cast its elements: ARRAY[x::type, …]");
            };
            if call.func.name() != "make_array" {
                let to = PgType::from_arrow(to).without_typmod().format();
                return refuse(format!("{to}[]"), "cast its elements: ARRAY[x::type, …]");
            }
            for argument in &mut call.args {
                let element = typed(std::mem::take(argument), to, zone)?;
                *argument = rewrite_cast(Cast::new(Box::new(element), to.clone()), schema, zone)?.data;
            }
            Ok(Transformed::yes(Expr::Cast(cast)))
        }
        _ => Ok(Transformed::no(Expr::Cast(cast))),
    }
}
