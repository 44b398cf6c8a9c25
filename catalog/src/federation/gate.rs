//! The gate: decides per conjunct what may leave for a source.
//!
//! It first refuses what no source may ever see (volatile functions, subqueries, parameters, columns of other
//! tables, monstrous expressions), then asks the source's executor. It must never change the meaning of an
//! expression, and never call the source: a verdict is a pure function of table and expression, so it may be
//! recomputed at will – which is how a scan learns the reasons of filters that stayed.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DataFusionError};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};

use super::{FragmentExecutor, Verdict};
use crate::source::TableDef;

/// Longest list of values that is sent.
pub(crate) const MAX_LIST: usize = 50_000;

/// Expressions with more nodes stay here: rendering and parsing them costs the source more than it saves.
const MAX_NODES: usize = MAX_LIST + 1_000;

/// Decides about one conjunct, which may still be qualified by the table's name.
#[must_use]
pub fn decide(executor: &dyn FragmentExecutor, table: &TableDef, expr: &Expr) -> Verdict {
    if let Some(reason) = never_leaves(table, expr) {
        return Verdict::Keep(reason.into());
    }
    match unqualified(expr) {
        Ok(expr) => executor.verdict(table, &expr),
        Err(_) => Verdict::Keep("its columns cannot be resolved".into()),
    }
}

/// What the planner may count on: a filter that reaches [`super::FederatedTable`] is applied by its scan, at the
/// source or in a filter of the scan's own. The planner's own filter above would not do: the optimizer rewrites
/// pushed filters afterwards (`b IN ('x')` becomes `b = 'x'`), so the verdict of planning may not be the scan's.
pub(super) fn promise(table: &TableDef, expr: &Expr) -> TableProviderFilterPushDown {
    match never_leaves(table, expr) {
        Some(_) => TableProviderFilterPushDown::Unsupported,
        None => TableProviderFilterPushDown::Exact,
    }
}

/// The expression with every column stripped of its qualifier, as executors expect it.
///
/// # Errors
/// None that the traversal itself does not raise.
pub fn unqualified(expr: &Expr) -> Result<Expr, DataFusionError> {
    let rewritten = expr.clone().transform(|node| {
        Ok(match node {
            Expr::Column(Column { relation: Some(_), name, .. }) => {
                Transformed::yes(Expr::Column(Column::new_unqualified(name)))
            }
            other => Transformed::no(other),
        })
    })?;
    Ok(rewritten.data)
}

/// Why an expression may not leave for any source, if so.
fn never_leaves(table: &TableDef, expr: &Expr) -> Option<&'static str> {
    let mut nodes = 0_usize;
    let mut reason = None;
    let walked = expr.apply(|node| {
        nodes += 1;
        reason = match node {
            _ if nodes > MAX_NODES => Some("the expression is too large"),
            _ if node.is_volatile_node() => Some("volatile function"),
            Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_) => {
                Some("subquery")
            }
            Expr::OuterReferenceColumn(..) => Some("column of an outer query"),
            Expr::Placeholder(_) => Some("parameter without a value"),
            Expr::AggregateFunction(_) | Expr::WindowFunction(_) => Some("not a row expression"),
            Expr::Column(column) if table.arrow.column_with_name(&column.name).is_none() => {
                Some("column of another table")
            }
            _ => None,
        };
        Ok(if reason.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    if walked.is_err() { Some("the expression cannot be walked") } else { reason }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::functions::expr_fn::random;
    use datafusion::logical_expr::{col, lit, placeholder};

    use super::*;
    use crate::federation::testing::Scripted;
    use crate::source::TableKind;

    fn table() -> TableDef {
        TableDef {
            schema: "s".into(),
            name: "t".into(),
            arrow: Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)])),
            comment: None,
            primary_key: vec![],
            foreign_keys: vec![],
            row_estimate: None,
            kind: TableKind::Table,
        }
    }

    #[test]
    fn what_no_source_may_see_is_kept_whatever_the_executor_says() {
        let executor = Scripted::always(Verdict::Exact);
        for (expr, reason) in [
            (col("a").gt(random()), "volatile function"),
            (col("a").eq(placeholder("$1")), "parameter without a value"),
            (col("b").eq(lit(1_i64)), "column of another table"),
            (
                col("a").in_list((0..=MAX_NODES).map(|n| lit(n as u64)).collect(), false),
                "the expression is too large",
            ),
        ] {
            assert_eq!(decide(&executor, &table(), &expr), Verdict::Keep(reason.into()));
        }
        assert_eq!(decide(&executor, &table(), &col("a").gt(lit(1_i64))), Verdict::Exact);
    }

    #[test]
    fn executors_see_unqualified_columns() {
        let qualified = Expr::Column(Column::new(Some("s.t"), "a")).gt(lit(1_i64));
        assert_eq!(unqualified(&qualified).unwrap(), col("a").gt(lit(1_i64)));
    }

    #[test]
    fn what_never_leaves_is_not_taken_from_the_planner() {
        assert_eq!(promise(&table(), &col("a").gt(lit(1_i64))), TableProviderFilterPushDown::Exact);
        assert_eq!(promise(&table(), &col("a").gt(random())), TableProviderFilterPushDown::Unsupported);
    }
}
