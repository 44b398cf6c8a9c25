//! Values of correlated subqueries as columns of the rows they are asked for.
//!
//! DataFusion takes such a subquery apart in a select list and in WHERE only; elsewhere, and where its value is needed in
//! several places, it becomes a column of the rows below. The columns a plan shows and their names stay what they were.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, merge_schema, split_conjunction_owned};
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, Projection, Sort, Subquery, lit};

use super::paired::Pairs;
use super::single::{self, Value};
use crate::error::QueryError;

/// The name of a column made here; no column of a user's is called so.
const NAME: &str = "\u{1}subquery";

fn correlated(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarSubquery(subquery) if !subquery.outer_ref_columns.is_empty())
}

/// Subqueries that become columns.
#[derive(Default)]
struct Columns(Vec<Expr>);

impl Columns {
    fn column(&mut self, subquery: Subquery) -> Expr {
        let name = format!("{NAME}{}", self.0.len());
        self.0.push(Expr::ScalarSubquery(subquery).alias(name.clone()));
        Expr::Column(Column::new_unqualified(name))
    }
}

/// Puts the values of correlated subqueries into the expressions of a node.
///
/// # Errors
/// 0A000 for what would be taken apart wrongly.
pub(super) fn values(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let mut asks = false;
    node.apply_expressions(|expr| {
        asks |= expr.exists(|part| Ok(correlated(part)))?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    if !asks {
        return Ok(Transformed::no(node));
    }
    if matches!(node, LogicalPlan::Join(_)) {
        return Err(QueryError::unsupported("a correlated subquery in the condition of a join")
            .with_hint("put the condition into WHERE")
            .into());
    }
    let (outer, shown) = (rows_of(&node), merge_schema(&node.inputs()));
    let apart = matches!(node, LogicalPlan::Projection(_) | LogicalPlan::Filter(_));
    let mut columns = Columns::default();
    let mut pairs = Vec::new();
    let names = NamePreserver::new(&node);
    let node = node.map_expressions(|expr| {
        if !expr.exists(|part| Ok(correlated(part)))? {
            return Ok(Transformed::no(expr));
        }
        let name = names.save(&expr);
        let changed = expr.transform_up(|part| {
            let Expr::ScalarSubquery(subquery) = part else { return Ok(Transformed::no(part)) };
            if subquery.outer_ref_columns.is_empty() {
                return Ok(Transformed::no(Expr::ScalarSubquery(subquery)));
            }
            refuse_farther(&subquery, &outer)?;
            let outside = subquery.outer_ref_columns.clone();
            let value = match single::value(subquery, &outer, pairs.len())? {
                Value::Itself(subquery) => Expr::ScalarSubquery(subquery),
                Value::Expr(value) => value,
                Value::Above(subquery, value) => value(columns.column(subquery))?,
                Value::Paired(rows, value) => {
                    refuse_unless(outside.iter().all(|expr| is_of(expr, &shown)))?;
                    pairs.push(*rows);
                    value
                }
            };
            if apart {
                return Ok(Transformed::yes(value));
            }
            let value = value.transform_up(|part| {
                Ok(match part {
                    Expr::ScalarSubquery(subquery) => Transformed::yes(columns.column(subquery)),
                    other => Transformed::no(other),
                })
            })?;
            Ok(Transformed::yes(value.data))
        })?;
        Ok(if changed.transformed { changed.update_data(|expr| name.restore(expr)) } else { changed })
    })?;
    if columns.0.is_empty() && pairs.is_empty() {
        return node.map_data(LogicalPlan::recompute_schema);
    }
    Ok(Transformed::yes(over(node.data, columns, pairs)?))
}

/// The rows that a node's subqueries are asked for.
fn rows_of(node: &LogicalPlan) -> DFSchema {
    let mut schema = merge_schema(&node.inputs());
    // The keys of an order may need columns that are not shown.
    if let LogicalPlan::Sort(sort) = node
        && let LogicalPlan::Projection(shown) = sort.input.as_ref()
    {
        schema.merge(shown.input.schema());
    }
    schema
}

/// Whether rows have the column that is named as an outer one.
fn is_of(expr: &Expr, schema: &DFSchema) -> bool {
    !matches!(expr, Expr::OuterReferenceColumn(_, column) if !schema.has_column(column))
}

/// Refuses a subquery that names columns of a query around the one it stands in: what there is below has none of them.
fn refuse_farther(subquery: &Subquery, outer: &DFSchema) -> Result<()> {
    if subquery.outer_ref_columns.iter().all(|expr| is_of(expr, outer)) {
        return Ok(());
    }
    let what = "a subquery that refers to a query farther out than the next, or to what is grouped away,";
    Err(QueryError::unsupported(what).with_hint("join with its table instead").into())
}

/// Refuses an order by what is not to be had where the rows are sorted.
fn refuse_unless(shown: bool) -> Result<()> {
    if shown {
        return Ok(());
    }
    Err(QueryError::unsupported("ORDER BY a correlated subquery computed with what is not shown")
        .with_hint("select its value under a name, and order by the name")
        .into())
}

/// A node over its input with further columns, which it does not show.
fn over(node: LogicalPlan, columns: Columns, pairs: Vec<Pairs>) -> Result<LogicalPlan> {
    let node = match node {
        LogicalPlan::Sort(sort) if pairs.is_empty() => return over_shown(sort, columns),
        // Fewer rows are paired if the other conditions come first.
        LogicalPlan::Filter(filter) if !pairs.is_empty() => LogicalPlan::Filter(others_first(filter)?),
        other => other,
    };
    let inputs = node.inputs();
    let [input] = inputs.as_slice() else {
        return Err(QueryError::unsupported("a correlated subquery in this place").into());
    };
    refuse_unless(!matches!(node, LogicalPlan::Sort(_)) || knows(input.schema(), &columns))?;
    let before: Vec<Expr> = node.schema().columns().into_iter().map(Expr::Column).collect();
    let mut input = (*input).clone();
    for rows in pairs {
        input = rows.beside(input)?;
    }
    if !columns.0.is_empty() {
        let shown = input.schema().columns().into_iter().map(Expr::Column).chain(columns.0).collect();
        input = LogicalPlan::Projection(Projection::try_new(shown, Arc::new(input))?);
    }
    let same = matches!(node, LogicalPlan::Projection(_) | LogicalPlan::Aggregate(_));
    let node = node.with_new_exprs(node.expressions(), vec![input])?;
    if same {
        return Ok(node);
    }
    Ok(LogicalPlan::Projection(Projection::try_new(before, Arc::new(node))?))
}

/// A filter whose conditions on what there is already stand below it.
fn others_first(filter: Filter) -> Result<Filter> {
    let Filter { predicate, input, .. } = filter;
    let schema = Arc::clone(input.schema());
    let (others, own): (Vec<Expr>, Vec<Expr>) =
        split_conjunction_owned(predicate).into_iter().partition(|condition| {
            !condition.exists(|part| Ok(correlated(part))).unwrap_or(true)
                && condition.column_refs().iter().all(|column| schema.has_column(column))
        });
    let input = match conjunction(others) {
        Some(others) => Arc::new(LogicalPlan::Filter(Filter::try_new(others, input)?)),
        None => input,
    };
    // One of them at least asks a subquery.
    Filter::try_new(conjunction(own).unwrap_or_else(|| lit(true)), input)
}

/// A sort by further columns, which are computed beside those that it has, from the rows that those are computed from if
/// there are all outer columns among them.
fn over_shown(sort: Sort, columns: Columns) -> Result<LogicalPlan> {
    let before: Vec<Expr> = sort.input.schema().columns().into_iter().map(Expr::Column).collect();
    let input = match sort.input.as_ref() {
        LogicalPlan::Projection(shown) if knows(shown.input.schema(), &columns) => {
            let exprs = shown.expr.iter().cloned().chain(columns.0).collect();
            Projection::try_new(exprs, Arc::clone(&shown.input))?
        }
        _ => Projection::try_new(before.iter().cloned().chain(columns.0).collect(), Arc::clone(&sort.input))?,
    };
    let shown = |column: &&Column| input.schema.has_column(column);
    refuse_unless(sort.expr.iter().all(|key| key.expr.column_refs().iter().all(shown)))?;
    let sort = Sort { input: Arc::new(LogicalPlan::Projection(input)), ..sort };
    Ok(LogicalPlan::Projection(Projection::try_new(before, Arc::new(LogicalPlan::Sort(sort)))?))
}

/// Whether rows have all columns that subqueries name as outer ones.
fn knows(schema: &DFSchema, columns: &Columns) -> bool {
    columns.0.iter().all(|column| match column.clone().unalias() {
        Expr::ScalarSubquery(subquery) => subquery.outer_ref_columns.iter().all(|expr| is_of(expr, schema)),
        _ => true,
    })
}
