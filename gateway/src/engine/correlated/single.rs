//! Correlated subqueries that stand for a value, as aggregates of the rows they find.
//!
//! DataFusion takes only such a subquery apart that is an aggregate. What other rows there are is told by an aggregate of
//! ours, or the first of them by `first_value`; that there is more than one is an error above the join with the outer rows
//! and never below it. A value that is computed is computed above the join as well, for the rows that are asked for: it may
//! fail, and it may need values of the outer row.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, Result, ScalarValue, internal_err};
use datafusion::functions_aggregate::first_last::first_value_udaf;
use datafusion::logical_expr::expr::{AggregateFunction, Case, Sort as SortKey};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Distinct, Expr, ExprSchemable, FetchType, LogicalPlan, Operator, Projection,
    SkipType, Subquery, lit,
};

use super::paired::{Pairs, has_subquery};
use super::{Rows, rows};
use crate::error::QueryError;
use crate::functions::{a_row, found, only_row, part_of};

/// Names of columns made here; no column of a user's is called so.
const VALUE: &str = "\u{1}value";
const KEY: &str = "\u{1}key";
const FOUND: &str = "\u{1}found";
const DISTINCT: &str = "\u{1}distinct";
const PAIRED: &str = "\u{1}paired";

/// What stands in the place of a subquery.
pub(super) enum Value {
    /// The subquery as it is.
    Itself(Subquery),
    Expr(Expr),
    /// An expression that has the subquery's value in several places, as a column.
    Above(Subquery, Box<dyn FnOnce(Expr) -> Result<Expr>>),
    /// An expression over columns of the rows that are joined with what they find.
    Paired(Box<Pairs>, Expr),
}

/// Which of its rows a subquery has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// Any that there are; no more than two are two as well.
    All,
    First,
    None,
}

fn wanted(plan: &Arc<LogicalPlan>) -> Result<(Wanted, Arc<LogicalPlan>)> {
    let LogicalPlan::Limit(limit) = plan.as_ref() else { return Ok((Wanted::All, Arc::clone(plan))) };
    let wanted = match (limit.get_skip_type()?, limit.get_fetch_type()?) {
        (SkipType::Literal(0), FetchType::Literal(Some(0))) => Wanted::None,
        (SkipType::Literal(0), FetchType::Literal(Some(1))) => Wanted::First,
        (SkipType::Literal(0), FetchType::Literal(_)) => Wanted::All,
        _ => {
            return Err(QueryError::unsupported("OFFSET or a computed LIMIT in a correlated subquery")
                .with_hint("number the rows by row_number() in a subquery of FROM, and join the one you want")
                .into());
        }
    };
    Ok((wanted, Arc::clone(&limit.input)))
}

/// The value of a correlated subquery for each row of a schema; `number` is its own among those of a node.
///
/// # Errors
/// 0A000 for what would be taken apart wrongly.
pub(super) fn value(subquery: Subquery, outer: &DFSchema, number: usize) -> Result<Value> {
    refuse_windows(&subquery.subquery)?;
    let (wanted, plan) = wanted(&subquery.subquery)?;
    let Some(field) = plan.schema().fields().first().filter(|_| plan.schema().fields().len() == 1) else {
        return Ok(Value::Itself(subquery));
    };
    if wanted == Wanted::None {
        return Ok(Value::Expr(Expr::Literal(ScalarValue::try_from(field.data_type())?, None)));
    }
    let one = !matches!(rows(&plan), Rows::Any);
    let plan = if one { without_order(plan) } else { plan };
    if compares(&plan)? {
        let found = if one { of_groups(&plan, number)? } else { of_pairs(&plan, wanted, outer, number)? };
        return found.ok_or_else(|| {
            let what = "a correlated subquery with another condition on the outer row than an equality";
            let refused = QueryError::unsupported(what);
            refused.with_hint("join with the table under that condition, and group by the outer row").into()
        });
    }
    let whole = match plan.as_ref() {
        LogicalPlan::Projection(shown) => !shown.expr.iter().any(Expr::contains_outer),
        _ => true,
    };
    if one && whole {
        return Ok(Value::Itself(asked(Arc::unwrap_or_clone(plan), &subquery)));
    }
    let Ordered { value, keys, rows } = ordered(&plan)?;
    let above = Above::of(&value, rows.schema(), outer)?;
    let given = above.as_ref().map_or_else(|| value.clone(), Above::row);
    let found = if one {
        let shown = Projection::try_new(vec![given.alias(VALUE)], rows)?;
        asked(LogicalPlan::Projection(shown), &subquery)
    } else {
        asked(found_of(given, keys, rows, wanted)?, &subquery)
    };
    let only = !one && wanted == Wanted::All;
    let row = move |found: Expr| if only { only_row(found) } else { found };
    Ok(match above {
        Some(above) => Value::Above(found, Box::new(move |found: Expr| above.value(&row(found)))),
        None => Value::Expr(row(Expr::ScalarSubquery(found))),
    })
}

/// One row is in every order, and distinct.
fn without_order(plan: Arc<LogicalPlan>) -> Arc<LogicalPlan> {
    match plan.as_ref() {
        LogicalPlan::Sort(sort) => without_order(Arc::clone(&sort.input)),
        LogicalPlan::Distinct(Distinct::All(input)) => without_order(Arc::clone(input)),
        _ => plan,
    }
}

fn asked(plan: LogicalPlan, before: &Subquery) -> Subquery {
    let outer_ref_columns = plan.all_out_ref_exprs();
    Subquery { subquery: Arc::new(plan), outer_ref_columns, spans: before.spans.clone() }
}

/// A window is computed over the rows of all outer rows once its subquery is taken apart.
fn refuse_windows(plan: &LogicalPlan) -> Result<()> {
    let over_all = plan.exists(|node| {
        let LogicalPlan::Window(window) = node else { return Ok(false) };
        Ok(!window.input.all_out_ref_exprs().is_empty())
    })?;
    if over_all {
        return Err(QueryError::unsupported("a window function in a correlated subquery")
            .with_hint("compute it in a subquery of FROM, and join with that")
            .into());
    }
    Ok(())
}

/// Whether something else than a column that is equal to an outer value tells which rows an outer row finds: groups of
/// inner rows cannot be made then. What is in the way elsewhere is refused by the engine.
fn compares(plan: &LogicalPlan) -> Result<bool> {
    plan.exists(|node| match node {
        // A condition on aggregates stands above them.
        LogicalPlan::Filter(filter) if !matches!(filter.input.as_ref(), LogicalPlan::Aggregate(_)) => {
            let mut parts = split_conjunction(&filter.predicate).into_iter();
            Ok(parts.any(|part| part.contains_outer() && !tells_groups(part)))
        }
        LogicalPlan::Sort(sort) => Ok(sort.expr.iter().any(|key| key.expr.contains_outer())),
        _ => Ok(false),
    })
}

/// The value of an aggregate by pairs of rows. `None` for what is not computed from one condition.
fn of_groups(plan: &Arc<LogicalPlan>, number: usize) -> Result<Option<Value>> {
    let (mut shown, rows) = projected(plan)?;
    let LogicalPlan::Aggregate(groups) = rows.as_ref() else { return Ok(None) };
    let (Some(value), Some(mut pairs)) = (shown.pop(), Pairs::of(&groups.input)?) else { return Ok(None) };
    if has_subquery(&value)? {
        return Ok(None);
    }
    for (place, call) in groups.aggr_expr.iter().enumerate() {
        let Expr::AggregateFunction(call) = call.clone().unalias() else { return Ok(None) };
        if !pairs.add(call, paired(number, place))? {
            return Ok(None);
        }
    }
    let value = value.transform_up(|part| {
        Ok(match part {
            Expr::Column(column) => match groups.schema.maybe_index_of_column(&column) {
                Some(place) => Transformed::yes(Expr::Column(Column::new_unqualified(paired(number, place)))),
                None => Transformed::no(Expr::Column(column)),
            },
            Expr::OuterReferenceColumn(_, column) => Transformed::yes(Expr::Column(column)),
            other => Transformed::no(other),
        })
    })?;
    Ok(Some(Value::Paired(Box::new(pairs), value.data)))
}

/// The value of what a subquery finds by pairs of rows. `None` for what is not computed from one condition.
fn of_pairs(
    plan: &Arc<LogicalPlan>,
    wanted: Wanted,
    outer: &DFSchema,
    number: usize,
) -> Result<Option<Value>> {
    let Ordered { value, keys, rows } = ordered(plan)?;
    let Some(mut pairs) = Pairs::of(&rows)? else { return Ok(None) };
    let of_list = |key: &SortKey| matches!(key.expr.get_type(rows.schema().as_ref()), Ok(DataType::List(_)));
    if has_subquery(&value)? || keys.iter().any(of_list) {
        return Ok(None);
    }
    let above = Above::of(&value, rows.schema(), outer)?;
    let given = vec![above.as_ref().map_or_else(|| value.clone(), Above::row)];
    let call = if wanted == Wanted::First {
        AggregateFunction::new_udf(first_value_udaf(), given, false, None, keys, None)
    } else {
        AggregateFunction::new_udf(found(), given, false, None, Vec::new(), None)
    };
    if !pairs.add(call, paired(number, 0))? {
        return Ok(None);
    }
    let found = Expr::Column(Column::new_unqualified(paired(number, 0)));
    let row = if wanted == Wanted::All { only_row(found) } else { found };
    let value = match above {
        Some(above) => above.value(&row)?,
        None => row,
    };
    Ok(Some(Value::Paired(Box::new(pairs), value)))
}

fn paired(number: usize, place: usize) -> String {
    format!("{PAIRED}{number}_{place}")
}

/// Whether a condition is an inner value that is equal to an outer one.
fn tells_groups(condition: &Expr) -> bool {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition else { return false };
    let inner = |side: &Expr| !side.contains_outer();
    let outer = |side: &Expr| !side.any_column_refs();
    inner(left) && outer(right) || outer(left) && inner(right)
}

/// The rows of a subquery that has no LIMIT: their value, their order, and what they are computed from.
struct Ordered {
    value: Expr,
    keys: Vec<SortKey>,
    rows: Arc<LogicalPlan>,
}

fn ordered(plan: &Arc<LogicalPlan>) -> Result<Ordered> {
    let (mut shown, below) = projected(plan)?;
    let Some(value) = shown.pop() else { return internal_err!("a subquery without a value") };
    let LogicalPlan::Sort(sort) = below.as_ref() else {
        return Ok(Ordered { value, keys: Vec::new(), rows: below });
    };
    let (shown, rows) = projected(&sort.input)?;
    let schema = sort.input.schema();
    let value = inlined(value, schema, &shown)?;
    let keys = sort.expr.iter().map(|key| {
        let expr = inlined(key.expr.clone(), schema, &shown)?;
        Ok(SortKey::new(expr, key.asc, key.nulls_first))
    });
    Ok(Ordered { value, keys: keys.collect::<Result<_>>()?, rows })
}

/// What a plan shows, and of which rows. Distinct values get a name that no column compared with the outer row has.
fn projected(plan: &Arc<LogicalPlan>) -> Result<(Vec<Expr>, Arc<LogicalPlan>)> {
    match plan.as_ref() {
        LogicalPlan::Projection(shown) => {
            let exprs = shown.expr.iter().map(|expr| expr.clone().unalias()).collect();
            Ok((exprs, Arc::clone(&shown.input)))
        }
        LogicalPlan::Distinct(Distinct::All(input))
            if let LogicalPlan::Projection(shown) = input.as_ref()
                && let [value] = shown.expr.as_slice() =>
        {
            let value = value.clone().unalias().alias(DISTINCT);
            let shown = Projection::try_new(vec![value], Arc::clone(&shown.input))?;
            let distinct = Distinct::All(Arc::new(LogicalPlan::Projection(shown)));
            let column = Expr::Column(Column::new_unqualified(DISTINCT));
            Ok((vec![column], Arc::new(LogicalPlan::Distinct(distinct))))
        }
        _ => Ok((plan.schema().columns().into_iter().map(Expr::Column).collect(), Arc::clone(plan))),
    }
}

/// An expression over what is shown, over what that is computed from.
fn inlined(expr: Expr, schema: &DFSchema, shown: &[Expr]) -> Result<Expr> {
    let expr = expr.transform_up(|part| {
        let Expr::Column(column) = &part else { return Ok(Transformed::no(part)) };
        Ok(match schema.maybe_index_of_column(column).and_then(|place| shown.get(place)) {
            Some(expr) => Transformed::yes(expr.clone()),
            None => Transformed::no(part),
        })
    })?;
    Ok(expr.data)
}

/// What is found of some rows, as one row.
fn found_of(value: Expr, keys: Vec<SortKey>, rows: Arc<LogicalPlan>, wanted: Wanted) -> Result<LogicalPlan> {
    let mut shown = vec![value.alias(VALUE)];
    let column = Expr::Column(Column::new_unqualified(VALUE));
    let call = if wanted == Wanted::First {
        let mut by = Vec::with_capacity(keys.len());
        for (place, key) in keys.into_iter().enumerate() {
            if matches!(key.expr.get_type(rows.schema().as_ref())?, DataType::List(_)) {
                return Err(QueryError::unsupported("a correlated subquery in the order of an array")
                    .with_hint("join with the table instead, and take the first row by DISTINCT ON")
                    .into());
            }
            let name = format!("{KEY}{place}");
            let column = Expr::Column(Column::new_unqualified(name.clone()));
            by.push(SortKey::new(column, key.asc, key.nulls_first));
            shown.push(key.expr.alias(name));
        }
        let call = AggregateFunction::new_udf(first_value_udaf(), vec![column], false, None, by, None);
        Expr::AggregateFunction(call)
    } else {
        found().call(vec![column])
    };
    let shown = LogicalPlan::Projection(Projection::try_new(shown, rows)?);
    let groups = Aggregate::try_new(Arc::new(shown), Vec::new(), vec![call.alias(FOUND)])?;
    let found = Expr::Column(Column::new_unqualified(FOUND)).alias(VALUE);
    let plan = Projection::try_new(vec![found], Arc::new(LogicalPlan::Aggregate(groups)))?;
    Ok(LogicalPlan::Projection(plan))
}

/// A value that is computed where the outer row is known.
struct Above {
    /// Over the subquery's columns and those of the outer row that are named as outer ones.
    value: Expr,
    /// What it is computed from: columns, and what subqueries of its own found, which may be too much.
    parts: Vec<(Expr, FieldRef)>,
}

impl Above {
    /// `None` for what is taken as it is: a column, a constant, and what has subqueries of its own that are no values.
    fn of(value: &Expr, inner: &DFSchema, outer: &DFSchema) -> Result<Option<Self>> {
        let tests = value.exists(|part| {
            Ok(matches!(part, Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_)))
        })?;
        if matches!(value, Expr::Column(_) | Expr::Literal(..)) || tests && !value.contains_outer() {
            return Ok(None);
        }
        let unknown = value.exists(|part| {
            Ok(matches!(part, Expr::OuterReferenceColumn(_, column) if !outer.has_column(column)))
        })?;
        if tests || unknown {
            let what = "a correlated subquery whose value is computed with this outer row";
            return Err(QueryError::unsupported(what).with_hint("join with the table instead").into());
        }
        let mut parts: Vec<(Expr, FieldRef)> = Vec::new();
        value.apply(|part| {
            let field = match part {
                Expr::Column(column) => Arc::clone(inner.qualified_field_from_column(column)?.1),
                Expr::ScalarSubquery(_) => part.to_field(inner)?.1,
                _ => return Ok(TreeNodeRecursion::Continue),
            };
            if !parts.iter().any(|(known, _)| known == part) {
                parts.push((part.clone(), field));
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(Some(Self { value: value.clone(), parts }))
    }

    /// What must be known of the inner row.
    fn row(&self) -> Expr {
        let parts: Vec<Expr> = self.parts.iter().map(|(part, _)| part.clone()).collect();
        a_row(if parts.is_empty() { vec![lit(true)] } else { parts })
    }

    /// The value by a row that was found; null if none was.
    fn value(self, row: &Expr) -> Result<Expr> {
        let Self { value, parts } = self;
        // From above: what is put in has no parts to be replaced, and outer columns are columns only then.
        let value = value.transform_down(|part| {
            if let Some((place, (_, field))) = parts.iter().enumerate().find(|(_, (known, _))| *known == part)
            {
                let part = part_of(row.clone(), place, Arc::clone(field));
                return Ok(Transformed::new(part, true, TreeNodeRecursion::Jump));
            }
            Ok(match part {
                Expr::OuterReferenceColumn(_, column) => Transformed::yes(Expr::Column(column)),
                other => Transformed::no(other),
            })
        })?;
        let known = Expr::IsNotNull(Box::new(row.clone()));
        Ok(Expr::Case(Case::new(None, vec![(Box::new(known), Box::new(value.data))], None)))
    }
}
