//! Dates and timestamps where more than two values stand: ranges, lists, branches, subqueries and unions.
//!
//! DataFusion makes nanoseconds of a date beside a timestamp, which end in 2262 and know no infinity. Here the common type
//! is PostgreSQL's (parse_coerce.c, select_common_type), and what is compared by an operator there is compared by it here.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{Between, Case, InList, InSubquery};
use datafusion::logical_expr::utils::disjunction;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, Operator, lit, when};

use super::{days, elapsed, operators};

/// Whether values are converted before they stand in one column.
pub(super) fn differ(values: &[&Expr], schema: &DFSchema) -> bool {
    days::differ(values, schema) || elapsed::differ(values, schema)
}

/// Values that are to have one type: a timestamp, or an interval.
pub(super) fn alike(values: Vec<Expr>, schema: &DFSchema, zone: chrono_tz::Tz) -> Vec<Expr> {
    elapsed::alike(days::alike(values, schema, zone), schema)
}

/// `value BETWEEN low AND high`, spelled out if its three types differ.
pub(super) fn between(range: Between, schema: &DFSchema, zone: chrono_tz::Tz) -> Result<Expr> {
    if !days::differ(&[&range.expr, &range.low, &range.high], schema) || range.expr.is_volatile() {
        return Ok(Expr::Between(range));
    }
    let Between { expr, negated, low, high } = range;
    let above = operators::comparison(expr.as_ref().clone(), Operator::GtEq, *low, schema, zone)?;
    let below = operators::comparison(*expr, Operator::LtEq, *high, schema, zone)?;
    let both = above.and(below);
    Ok(if negated { Expr::Not(Box::new(both)) } else { both })
}

/// `value IN (…)`, spelled out if its types differ: each is compared by the operator of its own types.
pub(super) fn in_list(list: InList, schema: &DFSchema, zone: chrono_tz::Tz) -> Result<Expr> {
    let values: Vec<&Expr> = std::iter::once(list.expr.as_ref()).chain(&list.list).collect();
    if !days::differ(&values, schema) || list.expr.is_volatile() {
        return Ok(Expr::InList(list));
    }
    let InList { expr, list, negated } = list;
    let equal = |item| operators::comparison(expr.as_ref().clone(), Operator::Eq, item, schema, zone);
    let any = disjunction(list.into_iter().map(equal).collect::<Result<Vec<_>>>()?);
    let any = any.unwrap_or_else(|| lit(false));
    Ok(if negated { Expr::Not(Box::new(any)) } else { any })
}

/// `nullif(value, other)` of types that differ: it compares, but is the first one's value.
pub(super) fn nullif(
    value: &Expr,
    other: &Expr,
    schema: &DFSchema,
    zone: chrono_tz::Tz,
) -> Result<Option<Expr>> {
    if !days::differ(&[value, other], schema) {
        return Ok(None);
    }
    let equal = operators::comparison(value.clone(), Operator::Eq, other.clone(), schema, zone)?;
    let nothing = Expr::Literal(ScalarValue::try_from(&value.get_type(schema)?)?, None);
    Ok(Some(when(equal, nothing).otherwise(value.clone())?))
}

/// The results of a CASE, and what its value is compared with, each under one type.
pub(super) fn case(mut case: Case, schema: &DFSchema, zone: chrono_tz::Tz) -> Transformed<Expr> {
    let mut changed = false;
    let mut settle = |places: Vec<&mut Expr>| {
        let values: Vec<&Expr> = places.iter().map(|place| &**place).collect();
        if !differ(&values, schema) {
            return;
        }
        changed = true;
        let values: Vec<Expr> = values.into_iter().cloned().collect();
        for (place, value) in places.into_iter().zip(alike(values, schema, zone)) {
            *place = value;
        }
    };
    if let Some(value) = &mut case.expr {
        let mut compared = vec![value.as_mut()];
        compared.extend(case.when_then_expr.iter_mut().map(|(when, _)| when.as_mut()));
        settle(compared);
    }
    let mut results: Vec<&mut Expr> = case.when_then_expr.iter_mut().map(|(_, then)| then.as_mut()).collect();
    results.extend(case.else_expr.iter_mut().map(|result| result.as_mut()));
    settle(results);
    let expr = Expr::Case(case);
    if changed { Transformed::yes(expr) } else { Transformed::no(expr) }
}

/// `value IN (SELECT column …)` whose column is made what the value is.
pub(super) fn in_subquery(
    mut membership: InSubquery,
    schema: &DFSchema,
    zone: chrono_tz::Tz,
) -> Result<Transformed<Expr>> {
    let plan = Arc::clone(&membership.subquery.subquery);
    let mut columns = plan.schema().columns();
    let (Some(column), true) = (columns.pop(), columns.is_empty()) else {
        return Ok(Transformed::no(Expr::InSubquery(membership)));
    };
    let found = Expr::Column(column.clone());
    let (Ok(of_value), Ok(of_column)) = (membership.expr.get_type(schema), found.get_type(plan.schema()))
    else {
        return Ok(Transformed::no(Expr::InSubquery(membership)));
    };
    let Some(member) = days::member(found, &of_column, &of_value, zone) else {
        if days::common([&of_value, &of_column].into_iter()).is_some() {
            let value = std::mem::take(membership.expr.as_mut());
            membership.expr = Box::new(days::as_instant(value, &of_value, true, zone));
            return Ok(Transformed::yes(Expr::InSubquery(membership)));
        }
        return Ok(Transformed::no(Expr::InSubquery(membership)));
    };
    let member = member.alias_qualified(column.relation, column.name);
    membership.subquery.subquery = Arc::new(LogicalPlanBuilder::from(plan).project([member])?.build()?);
    Ok(Transformed::yes(Expr::InSubquery(membership)))
}

/// The inputs of a union, whose columns above one another have one type.
pub(super) fn union(inputs: Vec<Arc<LogicalPlan>>, zone: chrono_tz::Tz) -> Result<Vec<Arc<LogicalPlan>>> {
    let width = inputs.first().map_or(0, |input| input.schema().fields().len());
    let wanted: Vec<Option<bool>> = (0..width)
        .map(|place| {
            let fields = inputs.iter().filter_map(|input| input.schema().fields().get(place));
            days::common(fields.map(|field| field.data_type()))
        })
        .collect();
    let spread: Vec<bool> = (0..width)
        .map(|place| {
            let fields = inputs.iter().filter_map(|input| input.schema().fields().get(place));
            elapsed::mixed(fields.map(|field| field.data_type()))
        })
        .collect();
    if wanted.iter().all(Option::is_none) && !spread.contains(&true) {
        return Ok(inputs);
    }
    let settled = inputs.into_iter().map(|input| -> Result<Arc<LogicalPlan>> {
        let schema = Arc::clone(input.schema());
        let columns = schema.columns().into_iter().zip(schema.fields()).zip(wanted.iter().zip(&spread));
        let columns = columns.map(|((column, field), (wanted, spread))| {
            let value = Expr::Column(column.clone());
            let value = match (wanted, spread) {
                (Some(with_zone), _) => days::as_instant(value, field.data_type(), *with_zone, zone),
                (None, true) => elapsed::as_interval(value, field.data_type()),
                (None, false) => return value,
            };
            value.alias_qualified(column.relation, column.name)
        });
        let columns: Vec<Expr> = columns.collect();
        Ok(Arc::new(LogicalPlanBuilder::from(input).project(columns)?.build()?))
    });
    settled.collect()
}
