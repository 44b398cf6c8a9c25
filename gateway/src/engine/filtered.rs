//! The arguments of `sum(a / n) FILTER (WHERE n <> 0)` are computed for the rows that the FILTER lets through.
//!
//! DataFusion computes them for all rows of a group and leaves some out afterwards, so that what the FILTER guards
//! against fails all the same. Inside a CASE of the same condition they are not computed. The FILTER stays, and so does
//! an argument that is a column: sources know both by their form. A condition that may say something else the second
//! time it is asked, or asks a query itself, is left alone.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::Case;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};

/// Puts computed arguments of filtered aggregates behind their condition.
pub(super) fn arguments(plan: LogicalPlan) -> Result<LogicalPlan> {
    let done = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Aggregate(aggregate) = &node else { return Ok(Transformed::no(node)) };
        let schema = aggregate.input.schema().as_ref().clone();
        let names = NamePreserver::new(&node);
        let node = node.map_expressions(|expr| {
            let name = names.save(&expr);
            let changed = expr.transform_up(|expr| behind_its_condition(expr, &schema))?;
            Ok(if changed.transformed { changed.update_data(|expr| name.restore(expr)) } else { changed })
        })?;
        if node.transformed { node.map_data(LogicalPlan::recompute_schema) } else { Ok(node) }
    })?;
    Ok(done.data)
}

fn behind_its_condition(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::AggregateFunction(mut call) = expr else { return Ok(Transformed::no(expr)) };
    let condition = match call.params.filter.as_deref() {
        Some(filter) if !filter.is_volatile() && !asks(filter)? => filter.clone(),
        _ => return Ok(Transformed::no(Expr::AggregateFunction(call))),
    };
    let mut changed = false;
    for argument in &mut call.params.args {
        if is_computed(argument, schema) {
            let inner = Box::new(std::mem::take(argument));
            *argument = Expr::Case(Case::new(None, vec![(Box::new(condition.clone()), inner)], None));
            changed = true;
        }
    }
    let call = Expr::AggregateFunction(call);
    Ok(if changed { Transformed::yes(call) } else { Transformed::no(call) })
}

/// Whether a condition has a query in it.
fn asks(condition: &Expr) -> Result<bool> {
    condition.exists(|expr| {
        Ok(matches!(
            expr,
            Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_)
        ))
    })
}

/// Whether an argument is more than a column or a constant. A column that the analyser widened is still one.
fn is_computed(argument: &Expr, schema: &DFSchema) -> bool {
    match argument {
        Expr::Column(_) | Expr::Literal(..) | Expr::Case(_) => false,
        Expr::Alias(alias) => is_computed(&alias.expr, schema),
        Expr::Cast(cast) => {
            let widened = |from: DataType| from.is_numeric() || matches!(from, DataType::Null);
            is_computed(&cast.expr, schema) || !cast.expr.get_type(schema).is_ok_and(widened)
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::fixture::Fixture;

    /// The second row has no value for what is summed; the FILTER takes it away.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_filter_takes_away_is_not_computed() {
        let fixture = Fixture::open();
        for (sql, rows) in [
            ("select sum(i4 + i2) filter (where i8 < 100) from t", "8"),
            (
                "select i8 < 100, sum(i4 + i2) filter (where i8 < 100) from t group by 1 order by 1",
                "false|NULL\ntrue|8\nNULL|NULL",
            ),
            (
                "select txt, max(1 / (i2 - 32767)) filter (where i2 < 5), count(*) from t group by txt order by txt limit 1",
                "Bé|NULL|1",
            ),
            ("select sum(i4) filter (where i8 < 100), count(i4 + i2) filter (where flag) from t", "7|1"),
            ("select count(distinct i4 + i2) filter (where i2 = 1) as n from t having count(*) > 1", "1"),
        ] {
            let (_, answer) = fixture.one(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
            assert_eq!(answer, rows, "{sql}");
        }
        let error = fixture.one("select sum(i4 + i2) filter (where i8 > 0) from t").await.unwrap_err();
        assert_eq!(error.code.sqlstate(), "22003");
    }
}
