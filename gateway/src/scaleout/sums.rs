//! Sums of small integers under a name of their own.
//!
//! Two functions are called `sum`: the engine's, which planning takes for int2 and int4, and ours for everything else. A
//! function travels by its name, so the engine's goes under another one. It is the same function, and so are its states.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Result;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, Signature};
use datafusion::physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;

/// What the engine's sum is called on the way to a worker.
pub(super) const NAME: &str = "sum_of_small_integers";

#[derive(Debug, PartialEq, Eq, Hash)]
struct SmallSum {
    inner: Arc<AggregateUDF>,
}

/// The engine's sum under its other name.
pub(super) static SMALL_SUM: LazyLock<Arc<AggregateUDF>> =
    LazyLock::new(|| Arc::new(AggregateUDF::from(SmallSum { inner: sum_udaf() })));

impl AggregateUDFImpl for SmallSum {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        self.inner.accumulator(args)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        self.inner.inner().create_groups_accumulator(args)
    }
}

/// The aggregation with its sums of small integers under the name that travels; `None` if it has none.
pub(super) fn renamed(node: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(aggregate) = node.downcast_ref::<AggregateExec>() else { return Ok(None) };
    let engine = sum_udaf();
    if !aggregate.aggr_expr().iter().any(|call| call.fun() == engine.as_ref()) {
        return Ok(None);
    }
    let calls = aggregate
        .aggr_expr()
        .iter()
        .map(|call| {
            if call.fun() != engine.as_ref() {
                return Ok(Arc::clone(call));
            }
            let made: Result<AggregateFunctionExpr> =
                AggregateExprBuilder::new(Arc::clone(&SMALL_SUM), call.expressions())
                    .schema(aggregate.input_schema())
                    .alias(call.name())
                    .with_distinct(call.is_distinct())
                    .with_ignore_nulls(call.ignore_nulls())
                    .build();
            made.map(Arc::new)
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(Some(Arc::new(aggregate.with_new_aggr_exprs(calls))))
}
