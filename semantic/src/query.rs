//! What stands between an aggregate and its KPI view: column projections, aliases, filters – and nothing else.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan};

use crate::SemanticError;
use crate::view::{KpiTable, as_kpi};

/// A path from a plan node down to one KPI view.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) table: Arc<KpiTable>,
    /// Output columns of the node as expressions over unqualified columns of the view.
    pub(crate) outputs: Vec<Expr>,
    /// Filters on the way, over columns of the view.
    pub(crate) predicates: Vec<Expr>,
}

/// True if the plan scans a KPI view outside subqueries.
pub(crate) fn reads_kpi(plan: &LogicalPlan) -> Option<Arc<KpiTable>> {
    let mut found = None;
    let _ = plan.apply(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(table) = as_kpi(&scan.source)
        {
            found = Some(table);
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

/// KPI905 with the form that works.
pub(crate) fn below(table: &KpiTable, what: &str) -> SemanticError {
    let model = &table.resolved.model;
    let measure = model.measures.first().map_or("", |m| m.name.as_str());
    let dim = model.dimensions.first().map_or("month", |d| d.name.as_str());
    SemanticError::new("KPI905", "0A000", format!("{what} below a measure of kpi.{} is not supported", model.name)).hint(format!(
        "aggregate first: WITH k AS (SELECT {dim}, MEASURE({measure}) AS {measure} FROM kpi.{} GROUP BY {dim}) SELECT * FROM k",
        model.name
    ))
}

/// Replaces the columns of a node by what they stand for.
pub(crate) fn substitute(expr: Expr, schema: &DFSchema, outputs: &[Expr]) -> Result<Expr> {
    expr.transform_up(|expr| {
        let Expr::Column(column) = &expr else { return Ok(Transformed::no(expr)) };
        let at = schema.index_of_column(column)?;
        Ok(outputs.get(at).map_or(Transformed::no(expr), |output| Transformed::yes(output.clone())))
    })
    .data()
}

fn unalias(expr: Expr) -> Expr {
    match expr {
        Expr::Alias(alias) => unalias(*alias.expr),
        other => other,
    }
}

/// Walks down to a KPI view; `None` when the plan reads none.
pub(crate) fn walk(plan: &LogicalPlan) -> Result<Option<Chain>> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let Some(table) = as_kpi(&scan.source) else { return Ok(None) };
            let outputs = scan
                .projected_schema
                .fields()
                .iter()
                .map(|field| Expr::Column(Column::from_name(field.name())))
                .collect();
            let mut predicates = Vec::new();
            for filter in &scan.filters {
                predicates.push(
                    filter
                        .clone()
                        .transform_up(|expr| {
                            Ok(match expr {
                                Expr::Column(column) => {
                                    Transformed::yes(Expr::Column(Column::from_name(column.name)))
                                }
                                other => Transformed::no(other),
                            })
                        })
                        .data()?,
                );
            }
            Ok(Some(Chain { table, outputs, predicates }))
        }
        LogicalPlan::SubqueryAlias(alias) => walk(&alias.input),
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => walk(&sort.input),
        LogicalPlan::Filter(filter) => {
            let Some(mut chain) = walk(&filter.input)? else { return Ok(None) };
            let predicate = substitute(filter.predicate.clone(), filter.input.schema(), &chain.outputs)?;
            chain.predicates.push(predicate);
            Ok(Some(chain))
        }
        LogicalPlan::Projection(projection) => {
            let Some(mut chain) = walk(&projection.input)? else { return Ok(None) };
            let outputs = projection.expr.iter().map(|expr| {
                Ok(unalias(substitute(expr.clone(), projection.input.schema(), &chain.outputs)?))
            });
            chain.outputs = outputs.collect::<Result<_>>()?;
            Ok(Some(chain))
        }
        other => match reads_kpi(other) {
            Some(table) => {
                let what = match other {
                    LogicalPlan::Join(_) => "a join",
                    LogicalPlan::Limit(_) => "LIMIT",
                    LogicalPlan::Sort(_) => "ORDER BY with LIMIT",
                    LogicalPlan::Distinct(_) => "DISTINCT",
                    LogicalPlan::Union(_) => "UNION",
                    LogicalPlan::Window(_) => "a window function",
                    LogicalPlan::Aggregate(_) => "an aggregate",
                    _ => "this step",
                };
                Err(below(&table, what).into())
            }
            None => Ok(None),
        },
    }
}
