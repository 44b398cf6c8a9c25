//! Aggregates: the partial half moves into the fragment, which sends one row of states for each group.
//!
//! The final half stays and merges what is merged already; it makes the result's type, raises its overflow and divides
//! an average. A distinct aggregate reaches us in two steps (group by keys and value, then aggregate the groups): when
//! the inner step is in the fragment, the outer one follows as `count(DISTINCT …)`.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::{CastExpr, Column, Literal};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;

use super::below::{Below, below, over};
use super::passed;
use crate::federation::gate::decide;
use crate::federation::leaf::KeptFilter;
use crate::federation::translate::{Strictness, TableColumn, translate};
use crate::federation::{AggregateCall, AggregateFunction, Fragment, FragmentAggregate, Reason};

/// What stays, and why.
type Kept = (String, Reason);

/// Replaces the partial half of an aggregate above a leaf by a leaf that sends its states.
pub(super) fn cut(node: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(partial) = node.downcast_ref::<AggregateExec>() else { return Ok(None) };
    if !matches!(partial.mode(), AggregateMode::Partial) {
        return Ok(None);
    }
    let Some(below) = below(partial.input()) else { return Ok(None) };
    let fragment = below.leaf.fragment();
    let distinct_groups = below.finished && fragment.aggregate.as_ref().is_some_and(|a| a.calls.is_empty());
    if fragment.limit.is_some() || fragment.aggregate.is_some() != distinct_groups {
        return Ok(None);
    }
    let asked = Asked { below: &below, fragment, distinct: distinct_groups };
    match asked.aggregate(partial) {
        Ok((aggregate, words)) => {
            let notes = words.into_iter().map(|(text, words)| KeptFilter::rewritten_operator(text, words));
            let wanted = Fragment { aggregate: Some(aggregate), ..fragment.clone() };
            let leaf = below.leaf.asking(wanted, partial.schema())?.noting(notes);
            Ok(Some(Arc::new(leaf)))
        }
        Err((text, reason)) => {
            let leaf = below.leaf.noting([KeptFilter::kept_operator(text, reason)]);
            let leaf: Arc<dyn ExecutionPlan> = Arc::new(leaf);
            replace_children_if_necessary(Arc::clone(node), vec![over(partial.input(), &leaf)?]).map(Some)
        }
    }
}

struct Asked<'a> {
    below: &'a Below<'a>,
    fragment: &'a Fragment,
    /// The rows below are distinct values, not rows of the table.
    distinct: bool,
}

impl Asked<'_> {
    fn aggregate(
        &self,
        partial: &AggregateExec,
    ) -> std::result::Result<(FragmentAggregate, Vec<Kept>), Kept> {
        let executor = self.below.leaf.executor();
        let by = partial.group_expr();
        if by.has_grouping_set() || !by.is_single() && !by.is_true_no_grouping() {
            return Err(("GROUPING SETS".into(), "several groupings at once are made here".into()));
        }
        let (mut groups, mut words) = (Vec::new(), Vec::new());
        for (expr, name) in by.expr() {
            let text = format!("group by {name}");
            let Some((row, field)) = self.column(expr) else {
                return Err((text, "computed keys are grouped here".into()));
            };
            match passed(executor.group_verdict(field)) {
                Ok(Some(said)) => words.push((text, said)),
                Ok(None) => {}
                Err(reason) => return Err((text, reason)),
            }
            groups.push(row);
        }
        let mut calls = Vec::new();
        for (call, filter) in partial.aggr_expr().iter().zip(partial.filter_expr()) {
            let text = call.human_display().unwrap_or_else(|| call.name()).to_owned();
            let filter = match filter {
                Some(filter) => Some(self.filter(filter).map_err(|reason| (text.clone(), reason))?),
                None => None,
            };
            for call in self.states_of(call, filter.as_ref()).map_err(|reason| (text.clone(), reason))? {
                let field = call.column.and_then(|row| self.fragment.column(row)).map(|(_, field)| field);
                match passed(executor.aggregate_verdict(&call, field)) {
                    Ok(Some(said)) => words.push((text.clone(), said)),
                    Ok(None) => {}
                    Err(reason) => return Err((text, reason)),
                }
                calls.push(call);
            }
        }
        if let Some(inner) = &self.fragment.aggregate {
            // Of rows distinct by more columns than these, one value may come several times.
            let all_of = |call: &AggregateCall| {
                inner.groups.iter().all(|row| groups.contains(row) || call.column == Some(*row))
            };
            if !calls.iter().all(|call| !call.distinct || all_of(call)) {
                return Err(("aggregate".into(), "its rows differ in more columns than these".into()));
            }
        }
        let outputs: Vec<_> = partial.schema().fields().iter().map(Arc::clone).collect();
        if outputs.len() != groups.len() + calls.len() {
            return Err(("aggregate".into(), "its states are not known".into()));
        }
        Ok((FragmentAggregate { groups, calls, outputs }, words))
    }

    /// The calls whose results are the states of an aggregate, in the order of its states.
    fn states_of(
        &self,
        call: &AggregateFunctionExpr,
        filter: Option<&datafusion::logical_expr::Expr>,
    ) -> std::result::Result<Vec<AggregateCall>, Reason> {
        if call.is_distinct() {
            return Err("distinct values beside other aggregates are kept apart here".into());
        }
        if call.ignore_nulls() || !call.order_bys().is_empty() {
            return Err("an aggregate over ordered rows is computed here".into());
        }
        let states = call.state_fields().map_err(|_unknown| Reason::Borrowed("its states are not known"))?;
        let arguments = call.expressions();
        let [argument] = arguments.as_slice() else { return Err("it has not one argument".into()) };
        let name = call.fun().name();
        let make = |function, column, output: &Field| AggregateCall {
            function,
            column,
            distinct: self.distinct && !matches!(function, AggregateFunction::Min | AggregateFunction::Max),
            filter: filter.cloned(),
            output: output.data_type().clone(),
        };
        match (name, states.as_slice()) {
            ("count", [count]) if is_constant(argument) => {
                if self.distinct {
                    return Err("distinct rows are counted here".into());
                }
                Ok(vec![make(AggregateFunction::Count, None, count)])
            }
            ("count", [count]) => {
                let (row, _) = self.widened(argument)?;
                Ok(vec![make(AggregateFunction::Count, Some(row), count)])
            }
            ("min" | "max", [value]) => {
                let (row, field) = self.column(argument).ok_or(COMPUTED)?;
                if field.data_type() != value.data_type() {
                    return Err("its type is not the column's".into());
                }
                let function = if name == "min" { AggregateFunction::Min } else { AggregateFunction::Max };
                Ok(vec![make(function, Some(row), value)])
            }
            ("sum", [sum]) => {
                let (row, _) = self.widened(argument)?;
                Ok(vec![make(AggregateFunction::Sum, Some(row), sum)])
            }
            ("avg", states) => {
                // DataFusion's own counts in UInt64 and divides by it unasked: a group without values must stay here.
                if states
                    .iter()
                    .any(|state| !matches!(state.data_type(), DataType::Int64 | DataType::Decimal128(..)))
                {
                    return Err("its states are not known".into());
                }
                let (row, _) = self.widened(argument)?;
                let mut calls = Vec::new();
                for state in states {
                    if state.name().ends_with("[sum]") {
                        calls.push(make(AggregateFunction::Sum, Some(row), state));
                    } else if state.name().ends_with("[count]") {
                        calls.push(make(AggregateFunction::Count, Some(row), state));
                    } else {
                        return Err("its states are not known".into());
                    }
                }
                if calls.len() == 2 { Ok(calls) } else { Err("its states are not known".into()) }
            }
            _ => Err("this aggregate is computed here".into()),
        }
    }

    /// A filter over the table's own columns, if the source evaluates it exactly.
    fn filter(
        &self,
        filter: &Arc<dyn PhysicalExpr>,
    ) -> std::result::Result<datafusion::logical_expr::Expr, Reason> {
        if self.distinct || !self.fragment.joins.is_empty() {
            return Err("its filter is evaluated here".into());
        }
        let names: Vec<Option<TableColumn>> = (0..self.below.columns.len())
            .map(|column| {
                let (_, field) = self.row(column)?;
                Some(TableColumn { place: 0, name: field.name().clone() })
            })
            .collect();
        let told = translate(filter, &names, Strictness::Exact)
            .ok_or(Reason::Borrowed("its filter is evaluated here"))?;
        passed(decide(self.below.leaf.executor(), &self.fragment.table, &told.expr))?;
        Ok(told.expr)
    }

    /// The row's column that a column of the operator is.
    fn row(&self, column: usize) -> Option<(usize, &Field)> {
        self.of_output(self.below.columns.get(column).copied().flatten()?)
    }

    /// The row's column that an output of the leaf is.
    fn of_output(&self, output: usize) -> Option<(usize, &Field)> {
        let row = match &self.fragment.aggregate {
            Some(aggregate) => *aggregate.groups.get(output)?,
            None => *self.fragment.projection.get(output)?,
        };
        self.fragment.column(row).map(|(_, field)| (row, field))
    }

    fn column(&self, expr: &Arc<dyn PhysicalExpr>) -> Option<(usize, &Field)> {
        self.row(expr.downcast_ref::<Column>()?.index())
    }

    /// A column under casts that only give a number more room.
    fn widened(&self, expr: &Arc<dyn PhysicalExpr>) -> std::result::Result<(usize, &Field), Reason> {
        let mut inner = expr;
        let mut casts = Vec::new();
        while let Some(cast) = inner.downcast_ref::<CastExpr>() {
            casts.push(cast.cast_type());
            inner = cast.expr();
        }
        let column = inner.downcast_ref::<Column>().ok_or(COMPUTED)?.index();
        let (output, before) = self.below.cast.get(column).and_then(Option::as_ref).ok_or(COMPUTED)?;
        let (row, field) = self.of_output(*output).ok_or(COMPUTED)?;
        let mut from = field.data_type();
        for to in before.iter().chain(casts.into_iter().rev()) {
            if !widens(from, to) {
                return Err(format!("cast to {to} is evaluated here").into());
            }
            from = to;
        }
        Ok((row, field))
    }
}

const COMPUTED: Reason = Reason::Borrowed("computed values are aggregated here");

fn is_constant(expr: &Arc<dyn PhysicalExpr>) -> bool {
    expr.downcast_ref::<Literal>().is_some_and(|literal| !literal.value().is_null())
}

/// Whether every number of the one type is the same number in the other.
fn widens(from: &DataType, to: &DataType) -> bool {
    let bits = |ty: &DataType| match ty {
        DataType::UInt8 => Some(8),
        DataType::UInt16 => Some(16),
        DataType::UInt32 => Some(32),
        DataType::UInt64 => Some(64),
        _ => None,
    };
    match (bits(from), bits(to), to.is_signed_integer()) {
        (Some(from), Some(to), _) => return from <= to,
        // One bit is the sign.
        (Some(bits), None, true) => return to.primitive_width().is_some_and(|bytes| bits < bytes * 8),
        // A negative number is in no unsigned type.
        (None, Some(_), _) => return false,
        _ => {}
    }
    let room = |ty: &DataType| match ty {
        DataType::Int8 | DataType::UInt8 => Some((3, 0)),
        DataType::Int16 | DataType::UInt16 => Some((5, 0)),
        DataType::Int32 | DataType::UInt32 => Some((10, 0)),
        DataType::Int64 => Some((19, 0)),
        DataType::UInt64 => Some((20, 0)),
        DataType::Decimal128(p, s) | DataType::Decimal256(p, s) => Some((i16::from(*p) - i16::from(*s), *s)),
        _ => None,
    };
    match (room(from), room(to)) {
        (Some((whole, scale)), Some((wider, finer))) => wider >= whole && finer >= scale,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsigned_numbers_need_room_for_their_last_bit() {
        use DataType::{Decimal128, Float64, Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64};
        for (from, to) in [
            (UInt8, Int16),
            (UInt16, UInt64),
            (UInt32, Int64),
            (UInt64, UInt64),
            (UInt64, Decimal128(20, 0)),
            (UInt64, Decimal128(38, 10)),
            (Int64, Decimal128(19, 0)),
            (Int8, Int32),
        ] {
            assert!(widens(&from, &to), "{from} to {to}");
        }
        for (from, to) in [
            (UInt8, Int8),
            (UInt32, Int32),
            (UInt64, Int64),
            (UInt64, UInt32),
            (Int8, UInt64),
            (Decimal128(3, 0), UInt64),
            (UInt64, Decimal128(19, 0)),
            (UInt64, Decimal128(38, 19)),
            (UInt64, Float64),
        ] {
            assert!(!widens(&from, &to), "{from} to {to}");
        }
    }
}
