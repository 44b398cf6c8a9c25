//! Correlated subqueries whose conditions are not all equalities: each outer row is joined with the rows it finds, and
//! grouped again.
//!
//! DataFusion groups the inner rows by what is equal to outer values, which `e.ts <= s.ts` is not. Outer rows are told
//! apart by a number here, so equal ones stay as many as they are. It must be used only where there is no other way: every
//! pair of rows is looked at.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result};
use datafusion::functions_aggregate::first_last::first_value_udaf;
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::expr::{AggregateFunction, Sort as SortKey};
use datafusion::logical_expr::{
    Aggregate, Expr, JoinType, LogicalPlan, LogicalPlanBuilder, Projection, Window, lit,
};

/// Names of columns made here; no column of a user's is called so.
const ROW: &str = "\u{1}row";
const MATCHED: &str = "\u{1}matched";
const INNER: &str = "\u{1}inner";
const OUTER: &str = "\u{1}outer";

fn column(name: impl Into<String>) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}

/// The inner rows of a subquery, and when an outer row finds one.
#[derive(Debug)]
pub(super) struct Pairs {
    inner: LogicalPlan,
    /// The inner rows' columns, as the subquery knows them.
    schema: DFSchema,
    on: Expr,
    calls: Vec<Expr>,
    names: Vec<String>,
}

impl Pairs {
    /// `None` for rows that are not those of one condition.
    pub(super) fn of(rows: &LogicalPlan) -> Result<Option<Self>> {
        let LogicalPlan::Filter(filter) = rows else { return Ok(None) };
        if has_subquery(&filter.predicate)? || !filter.input.all_out_ref_exprs().is_empty() {
            return Ok(None);
        }
        let schema = filter.input.schema().as_ref().clone();
        let columns = schema.columns().into_iter().enumerate();
        let renamed = columns.map(|(place, known)| Expr::Column(known).alias(format!("{INNER}{place}")));
        let shown = renamed.chain([lit(true).alias(MATCHED)]).collect();
        let inner = LogicalPlan::Projection(Projection::try_new(shown, Arc::clone(&filter.input))?);
        let on = placed(filter.predicate.clone(), &schema)?;
        Ok(Some(Self { inner, schema, on, calls: Vec::new(), names: Vec::new() }))
    }

    /// Adds an aggregate of the rows that an outer row finds, under a name. False for one that cannot be computed so.
    pub(super) fn add(&mut self, call: AggregateFunction, name: String) -> Result<bool> {
        let AggregateFunction { func, mut params } = call;
        for expr in params.args.iter().chain(params.filter.as_deref()) {
            if has_subquery(expr)? {
                return Ok(false);
            }
        }
        let args = params.args.into_iter().map(|arg| placed(arg, &self.schema));
        params.args = args.collect::<Result<_>>()?;
        let keys = params
            .order_by
            .into_iter()
            .map(|key| Ok(SortKey::new(placed(key.expr, &self.schema)?, key.asc, key.nulls_first)));
        params.order_by = keys.collect::<Result<_>>()?;
        let filter = match params.filter {
            Some(filter) => placed(*filter, &self.schema)?.and(column(MATCHED)),
            None => column(MATCHED),
        };
        params.filter = Some(Box::new(filter));
        self.calls.push(Expr::AggregateFunction(AggregateFunction { func, params }).alias(name.clone()));
        self.names.push(name);
        Ok(true)
    }

    /// Rows with what each of them finds as further columns.
    pub(super) fn beside(self, outer: LogicalPlan) -> Result<LogicalPlan> {
        let shown = outer.schema().columns();
        let numbered = Window::try_new(vec![row_number().alias(ROW)], Arc::new(outer))?;
        let pairs = LogicalPlanBuilder::from(LogicalPlan::Window(numbered))
            .join_on(self.inner, JoinType::Left, [self.on])?
            .build()?;
        // An order lets the engine keep one list of values and not one accumulator for each row.
        let by = vec![SortKey::new(column(ROW), true, false)];
        let kept = shown.iter().enumerate().map(|(place, known)| {
            let args = vec![Expr::Column(known.clone())];
            let call = AggregateFunction::new_udf(first_value_udaf(), args, false, None, by.clone(), None);
            Expr::AggregateFunction(call).alias(format!("{OUTER}{place}"))
        });
        let calls = kept.chain(self.calls).collect();
        let groups = Aggregate::try_new(Arc::new(pairs), vec![column(ROW)], calls)?;
        let kept = shown.into_iter().enumerate().map(|(place, known)| {
            column(format!("{OUTER}{place}")).alias_qualified(known.relation, known.name)
        });
        let all = kept.chain(self.names.into_iter().map(column)).collect();
        let plan = Projection::try_new(all, Arc::new(LogicalPlan::Aggregate(groups)))?;
        Ok(LogicalPlan::Projection(plan))
    }
}

pub(super) fn has_subquery(expr: &Expr) -> Result<bool> {
    expr.exists(|part| {
        Ok(matches!(
            part,
            Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_)
        ))
    })
}

/// An expression of a subquery over pairs of rows.
fn placed(expr: Expr, inner: &DFSchema) -> Result<Expr> {
    let expr = expr.transform_up(|part| {
        Ok(match part {
            Expr::Column(known) => match inner.maybe_index_of_column(&known) {
                Some(place) => Transformed::yes(column(format!("{INNER}{place}"))),
                None => Transformed::no(Expr::Column(known)),
            },
            Expr::OuterReferenceColumn(_, known) => Transformed::yes(Expr::Column(known)),
            other => Transformed::no(other),
        })
    })?;
    Ok(expr.data)
}
