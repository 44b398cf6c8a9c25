//! The aggregates of a group: one state per measure, then its scale and its type.
//!
//! Inputs are columns that [`super::rows`] projected: `a` arguments, `f` filters, `s` states, `l` values, each with
//! the number of its leaf.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::functions_aggregate::{average, bool_and_or, count, min_max, stddev, sum};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Aggregate, AggregateUDF, Expr, LogicalPlan, LogicalPlanBuilder, cast, lit};

use super::{Leaf, Lowering, Part};
use crate::Measure;
use crate::stitch::column;
use crate::units::Ratio;

impl Lowering<'_> {
    pub(super) fn aggregate(
        &self,
        input: LogicalPlan,
        group: Vec<Expr>,
        leaves: &[(usize, &Leaf)],
        parts: &[Part],
        mut out: Vec<Expr>,
    ) -> Result<LogicalPlan> {
        let mut states = Vec::new();
        for ((index, leaf), part) in leaves.iter().zip(parts) {
            let args: Vec<Expr> = (0..part.args.len()).map(|at| column(&format!("a{index}_{at}"))).collect();
            let filter =
                (part.main.is_some() || part.any.is_some()).then(|| Box::new(column(&format!("f{index}"))));
            let state = format!("s{index}");
            match leaf {
                Leaf::Plain(function) => {
                    states.push(
                        call(Arc::clone(&function.func), args, function.params.distinct, filter)
                            .alias(&state),
                    );
                    out.push(column(&state).alias(format!("l{index}")));
                }
                Leaf::Measure { name, .. } => {
                    let Some(measure) = self.table.resolved.model.measures.iter().find(|m| m.name == *name)
                    else {
                        continue;
                    };
                    states.push(state_of(measure, args, filter).alias(&state));
                    out.push(self.value(measure, column(&state)).alias(format!("l{index}")));
                }
            }
        }
        if group.is_empty() && states.is_empty() {
            states.push(call(count::count_udaf(), vec![lit(1_i64)], false, None).alias("_n"));
            out.push(column("_n"));
        }
        let aggregate = LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(input), group, states)?);
        LogicalPlanBuilder::new(aggregate).project(out)?.build()
    }

    fn value(&self, measure: &Measure, state: Expr) -> Expr {
        let scaled = if measure.scale == Ratio::ONE { state } else { scaled(state, measure.scale) };
        match self.table.resolved.types.get(&measure.name) {
            Some(ty) => cast(scaled, ty.clone()),
            None => scaled,
        }
    }
}

/// Multiplies by an exact factor in float8.
pub(crate) fn scaled(value: Expr, by: Ratio) -> Expr {
    let side = |part: i128| cast(lit(ScalarValue::Decimal128(Some(part), 38, 0)), DataType::Float64);
    let value = cast(value, DataType::Float64);
    let value = if by.numerator() == 1 { value } else { value * side(by.numerator()) };
    if by.denominator() == 1 { value } else { value / side(by.denominator()) }
}

pub(super) fn call(
    function: Arc<AggregateUDF>,
    args: Vec<Expr>,
    distinct: bool,
    filter: Option<Box<Expr>>,
) -> Expr {
    Expr::AggregateFunction(AggregateFunction::new_udf(function, args, distinct, filter, vec![], None))
}

pub(super) fn inputs(parts: &[Part]) -> Vec<Expr> {
    let mut out = Vec::new();
    for part in parts {
        out.extend(
            part.args.iter().enumerate().map(|(at, arg)| arg.clone().alias(format!("a{}_{at}", part.index))),
        );
        out.extend(part.main.iter().map(|filter| filter.clone().alias(format!("f{}", part.index))));
    }
    out
}

fn state_of(measure: &Measure, mut args: Vec<Expr>, filter: Option<Box<Expr>>) -> Expr {
    use crate::Aggregate as Agg;
    if args.is_empty() {
        args.push(lit(1_i64));
    }
    let function = match measure.agg {
        Agg::Sum => sum::sum_udaf(),
        Agg::Count => count::count_udaf(),
        Agg::CountDistinct => return call(count::count_udaf(), args, true, filter),
        Agg::Min => min_max::min_udaf(),
        Agg::Max => min_max::max_udaf(),
        Agg::Avg => average::avg_udaf(),
        Agg::Stddev => stddev::stddev_udaf(),
        Agg::BoolOr => bool_and_or::bool_or_udaf(),
        Agg::BoolAnd => bool_and_or::bool_and_udaf(),
        Agg::Percentile(q) => crate::percentile::percentile(q),
    };
    call(function, args, false, filter)
}
