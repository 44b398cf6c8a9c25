//! Values that are compared by what a function makes of them, where DataFusion compares columns only.
//!
//! That is so in `NOT IN (SELECT …)`, whose null-aware join compares columns, in correlated conditions, which group an
//! aggregate by columns, and in `DISTINCT ON`. What the function makes then becomes a column of the rows below. The
//! columns a plan shows, their names and types stay what they were, except that a correlated condition's rows have one
//! more, which nobody above reads.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::expr::InSubquery;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, merge_schema, split_conjunction_owned};
use datafusion::logical_expr::{Distinct, DistinctOn, Expr, Filter, LogicalPlan, Projection};

use super::correlate;

/// Values of a kind, and what they are compared by.
#[derive(Debug, Clone, Copy)]
pub(super) struct ComparedBy {
    /// The function's name.
    pub(super) name: &'static str,
    /// A call of it.
    pub(super) call: fn(Expr) -> Expr,
    /// Whether an expression is of the kind.
    pub(super) concerns: fn(&Expr, &DFSchema) -> bool,
    /// Puts a call in the place of such an expression; false for any other.
    pub(super) wrap: fn(&mut Expr, &DFSchema) -> bool,
    /// Puts calls where an expression compares; the last says whether an outer query's values are compared as well.
    pub(super) compare: fn(Expr, &DFSchema, bool) -> Result<Transformed<Expr>>,
}

/// Expressions that become columns.
pub(super) struct Computed {
    by: ComparedBy,
    columns: Vec<Expr>,
}

impl Computed {
    pub(super) const fn new(by: ComparedBy) -> Self {
        Self { by, columns: Vec::new() }
    }

    /// The column that what a value is compared by becomes.
    pub(super) fn column(&mut self, value: Expr) -> Expr {
        self.named((self.by.call)(value))
    }

    /// The column that a call becomes; no column of a user's is called so.
    fn named(&mut self, call: Expr) -> Expr {
        let name = format!("\u{1}{}{}", self.by.name, self.columns.len());
        self.columns.push(call.alias(name.clone()));
        Expr::Column(Column::new_unqualified(name))
    }

    /// The rows with these columns, and the columns they had before.
    pub(super) fn over(self, input: Arc<LogicalPlan>) -> Result<(Arc<LogicalPlan>, Vec<Expr>)> {
        let shown: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
        let all = shown.iter().cloned().chain(self.columns).collect();
        Ok((Arc::new(LogicalPlan::Projection(Projection::try_new(all, input)?)), shown))
    }

    /// A membership of a call as one of a column.
    fn member(&mut self, membership: InSubquery) -> Expr {
        let name = self.by.name;
        let is_ours = |expr: &Expr| matches!(expr, Expr::ScalarFunction(call) if call.func.name() == name);
        Expr::InSubquery(if is_ours(&membership.expr) {
            InSubquery { expr: Box::new(self.named(*membership.expr)), ..membership }
        } else {
            membership
        })
    }
}

impl ComparedBy {
    /// Puts calls wherever the expressions of a node compare, under the names they have. An outer query's values are
    /// compared in filters only.
    pub(super) fn expressions(self, node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        let outer = matches!(node, LogicalPlan::Filter(_));
        let inputs = node.inputs();
        let schema = if inputs.is_empty() { node.schema().as_ref().clone() } else { merge_schema(&inputs) };
        let names = NamePreserver::new(&node);
        let node = node.map_expressions(|expr| {
            let name = names.save(&expr);
            let changed = expr.transform_up(|expr| (self.compare)(expr, &schema, outer))?;
            Ok(if changed.transformed { changed.update_data(|expr| name.restore(expr)) } else { changed })
        })?;
        if node.transformed { node.map_data(LogicalPlan::recompute_schema) } else { Ok(node) }
    }

    /// The conditions of a filter.
    pub(super) fn filter(self, filter: Filter) -> Result<Transformed<LogicalPlan>> {
        let node = self.expressions(LogicalPlan::Filter(filter))?;
        if !node.transformed {
            return Ok(node);
        }
        let LogicalPlan::Filter(filter) = node.data else { return Ok(node) };
        let correlated = format!("\u{1}{}_correlated", self.name);
        let mut computed = Computed::new(self);
        let conditions: Vec<Expr> = split_conjunction_owned(filter.predicate.clone())
            .into_iter()
            .map(|condition| match condition {
                Expr::InSubquery(membership) if membership.negated => computed.member(membership),
                Expr::Not(inner) => Expr::Not(Box::new(match *inner {
                    Expr::InSubquery(membership) if !membership.negated => computed.member(membership),
                    other => other,
                })),
                other => other,
            })
            .collect();
        let (false, Some(predicate)) = (computed.columns.is_empty(), conjunction(conditions)) else {
            let node = correlate::project_conditions(LogicalPlan::Filter(filter), &correlated)?;
            return Ok(Transformed::yes(node.data));
        };
        let (input, shown) = computed.over(filter.input)?;
        let filter = LogicalPlan::Filter(Filter::try_new(predicate, input)?);
        let filter = correlate::project_conditions(filter, &correlated)?.data;
        let plan = Projection::try_new(shown, Arc::new(filter))?;
        Ok(Transformed::yes(LogicalPlan::Projection(plan)))
    }

    /// `DISTINCT ON`: by what its keys are compared by. What is shown of the first row is what it has.
    pub(super) fn distinct_on(self, on: DistinctOn) -> Result<Transformed<LogicalPlan>> {
        let node = self.expressions(LogicalPlan::Distinct(Distinct::On(on)))?;
        let LogicalPlan::Distinct(Distinct::On(on)) = node.data else { return Ok(node) };
        let schema = Arc::clone(on.input.schema());
        let concerns = |expr: &Expr| (self.concerns)(expr, &schema);
        let keyed = on.on_expr.iter().any(concerns);
        let ordered = on.sort_expr.iter().flatten().skip(on.on_expr.len()).any(|key| concerns(&key.expr));
        if !keyed && !ordered {
            let same = LogicalPlan::Distinct(Distinct::On(on));
            return Ok(Transformed::new_transformed(same, node.transformed));
        }
        let DistinctOn { on_expr, select_expr, mut sort_expr, input, .. } = on;
        let mut computed = Computed::new(self);
        let keys: Vec<Expr> =
            on_expr.into_iter().map(|key| if concerns(&key) { computed.column(key) } else { key }).collect();
        // The first keys of the order are those of the groups.
        for (place, sort) in sort_expr.iter_mut().flatten().enumerate() {
            match keys.get(place) {
                Some(key) => sort.expr = key.clone(),
                None => {
                    (self.wrap)(&mut sort.expr, &schema);
                }
            }
        }
        let (input, _) = computed.over(input)?;
        let on = DistinctOn::try_new(keys, select_expr, sort_expr, input)?;
        Ok(Transformed::yes(LogicalPlan::Distinct(Distinct::On(on))))
    }
}
