//! What a condition keeps away is not evaluated: `SELECT a / n FROM t WHERE n <> 0` must not divide by zero.
//!
//! DataFusion evaluates the right side of AND for all rows unless few pass the left one. Whether a statement fails then
//! depends on plans and on what else is in the table, and differs with push-down on and off. So of the conditions of a
//! filter those that cannot fail come first, the others after them in the order in which they are written. It must never
//! drop a condition, and no row or column may change. That what a select list computes stays above its filter is seen to
//! where the rules are listed, in the catalog.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{BinaryExpr, CaseExpr, CastExpr, LikeExpr};
use datafusion::physical_expr::utils::{conjunction, split_conjunction};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use portolan_catalog::federation::never_fails;

type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// DataFusion's rule that moves projections down; it runs twice.
const MOVES_PROJECTIONS: &str = "ProjectionPushdown";

/// Functions that have a value for every argument.
const TOTAL: [&str; 10] = [
    "lower",
    "upper",
    "btrim",
    "ltrim",
    "rtrim",
    "character_length",
    "starts_with",
    "strpos",
    "coalesce",
    "one_zero",
];

/// The engine's physical rules, and after those that move projections one that puts conditions in order.
pub(crate) fn guarded(rules: Vec<Rule>) -> Vec<Rule> {
    let mut guarded = rules;
    if let Some(last) = guarded.iter().rposition(|rule| rule.name() == MOVES_PROJECTIONS) {
        guarded.insert(last + 1, Arc::new(SafeFirst));
    }
    guarded
}

/// Takes filters with conditions that may fail apart.
#[derive(Debug)]
struct SafeFirst;

impl PhysicalOptimizerRule for SafeFirst {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let apart = plan.transform_up(|node| {
            let Some(filter) = node.downcast_ref::<FilterExec>() else { return Ok(Transformed::no(node)) };
            Ok(match taken_apart(filter)? {
                Some(filters) => Transformed::yes(filters),
                None => Transformed::no(node),
            })
        })?;
        Ok(apart.data)
    }

    fn name(&self) -> &'static str {
        "safe_conditions_first"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// One filter above another, the lowest with all conditions that cannot fail; nothing if one is enough.
fn taken_apart(filter: &FilterExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let schema = filter.input().schema();
    let (fallible, safe): (Vec<_>, Vec<_>) = split_conjunction(filter.predicate())
        .into_iter()
        .map(Arc::clone)
        .partition(|condition| may_fail(condition, &schema));
    let mut steps: Vec<Arc<dyn PhysicalExpr>> = Vec::with_capacity(fallible.len() + 1);
    if !safe.is_empty() {
        steps.push(conjunction(safe));
    }
    steps.extend(fallible);
    let Some(top) = steps.pop().filter(|_| !steps.is_empty()) else { return Ok(None) };
    let mut input = Arc::clone(filter.input());
    for step in steps {
        let below = FilterExecBuilder::new(step, input).with_batch_size(filter.batch_size());
        input = Arc::new(below.build()?);
    }
    let above = FilterExecBuilder::from(filter).with_input(input).with_predicate(top);
    Ok(Some(Arc::new(above.build()?)))
}

/// Whether an expression may have no value for some row. `true` for anything unknown.
fn may_fail(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> bool {
    let has_a_value = |node: &Arc<dyn PhysicalExpr>| {
        if let Some(cast) = node.downcast_ref::<CastExpr>() {
            return cast.expr().data_type(schema).is_ok_and(|from| widens(&from, cast.cast_type()));
        }
        if let Some(call) = node.downcast_ref::<ScalarFunctionExpr>() {
            return TOTAL.contains(&call.fun().name());
        }
        let joins_texts = |binary: &BinaryExpr| *binary.op() == Operator::StringConcat;
        node.is::<LikeExpr>()
            || node.is::<CaseExpr>()
            || node.downcast_ref::<BinaryExpr>().is_some_and(joins_texts)
    };
    !never_fails(expr, &has_a_value)
}

/// Whether every value of one type has its like in another. Not whatever could be proved: a cast that is not named
/// here is only evaluated later.
fn widens(from: &DataType, to: &DataType) -> bool {
    let text = |data_type: &DataType| {
        matches!(
            data_type,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Dictionary(..)
        )
    };
    match (from, to) {
        (from, to) if from == to || (text(from) && text(to)) => true,
        (DataType::Int16, DataType::Int32 | DataType::Int64)
        | (DataType::Int32, DataType::Int64)
        | (DataType::Float32, DataType::Float64) => true,
        (from, DataType::Float64) => from.is_integer(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::fixture::Fixture;
    use portolan_catalog::federation::physical_optimizer_rules;

    use super::*;

    #[test]
    fn conditions_are_put_in_order_when_projections_have_moved() {
        let before: Vec<String> =
            physical_optimizer_rules().iter().map(|rule| rule.name().to_owned()).collect();
        let after: Vec<String> =
            guarded(physical_optimizer_rules()).iter().map(|rule| rule.name().to_owned()).collect();
        assert_eq!(before.iter().filter(|name| *name == MOVES_PROJECTIONS).count(), 2);
        assert_eq!(after.iter().filter(|name| *name != "safe_conditions_first").count(), before.len());
        let last = after.iter().rposition(|name| name == MOVES_PROJECTIONS).unwrap();
        assert_eq!(after[last + 1], "safe_conditions_first");
    }

    /// The second row has no value for what is computed; the condition takes it away.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_condition_takes_away_is_not_computed() {
        let fixture = Fixture::open();
        for (sql, rows) in [
            ("select i4 + i2, i8 from t where abs(i8) < 100 order by i8", "8|7"),
            ("select i4 + i2 from t where abs(i8) < 100 order by i8", "8"),
            ("select 1 / (i4 - 2147483647) + i2, i8 from t where i8 < 100 order by i8", "1|7"),
            ("select i8 from t where i8 < 100 and i4 + i2 > 0", "7"),
            ("select i8 from t where i4 + i2 > 0 and i8 < 100", "7"),
            ("select i8 from t where abs(f8) > 1 and i4 + i2 > 0", "7"),
            ("select i8 from t where txt = 'a' and 1 / (i2 - 32767) < 1 and flag", "7"),
            ("select count(*) from t where lower(txt) = 'a' and i4 + i2 > 0 and i8 + 1 > 0", "1"),
        ] {
            let (_, answer) = fixture.one(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
            assert_eq!(answer, rows, "{sql}");
        }
        for sql in [
            "select i4 + i2, i8 from t order by i8",
            "select i8 from t where i4 + i2 > 0 or i8 < 100",
            "select i8 from t where i4 + i2 > 0",
        ] {
            assert_eq!(fixture.one(sql).await.unwrap_err().code.sqlstate(), "22003", "{sql}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn conditions_that_cannot_fail_stay_in_one_filter() {
        let fixture = Fixture::open();
        let filters = async |sql: &str| {
            let (_, plan) = fixture.one(&format!("explain {sql}")).await.unwrap();
            plan.matches("FilterExec").count()
        };
        let safe =
            "select i8 from t where i4 < 5 and txt like 'a%' and (flag or day is null) and i2 in (1, 2)";
        assert_eq!(filters(safe).await, 1);
        assert_eq!(filters("select i8 from t where i4 < 5 and i4 + i2 > 3").await, 2);
        assert_eq!(filters("select i8 from t where i4 + i2 > 3").await, 1);
        assert_eq!(
            filters("select i8 from t where abs(i4) < 5 and flag and i4 + i2 > 3 and i4 > 1").await,
            3
        );
    }
}
