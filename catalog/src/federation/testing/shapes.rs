//! A whole fragment over one table in memory, by the engine's own operators.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, JoinType, Result, plan_err};
use datafusion::functions_aggregate::expr_fn::{count, count_distinct, max, min, sum};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, ExprFunctionExt, cast, lit};
use datafusion::prelude::{DataFrame, SessionContext};

use crate::federation::{
    AggregateCall, AggregateFunction, Fragment, FragmentJoinKind, PushedFilter, Verdict,
};

fn named(name: String) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}

/// The rows that pass the filters, under names `<prefix>0`, `<prefix>1`, …
fn table(rows: &RecordBatch, filters: &[PushedFilter], first: usize) -> Result<DataFrame> {
    let mut frame = SessionContext::new().read_batch(rows.clone())?;
    if let Some(filter) = conjunction(filters.iter().map(|filter| filter.expr.clone())) {
        frame = frame.filter(filter)?;
    }
    let columns = rows.schema();
    let shown = columns.fields().iter().enumerate();
    frame.select(
        shown
            .map(|(n, field)| named(field.name().clone()).alias(format!("c{}", first + n)))
            .collect::<Vec<_>>(),
    )
}

fn call(call: &AggregateCall, rows: &RecordBatch) -> Result<Expr> {
    let column = call.column.map(|index| named(format!("c{index}")));
    let made = match (call.function, column) {
        (AggregateFunction::Count, None) => count(lit(1_i64)),
        (AggregateFunction::Count, Some(column)) if call.distinct => count_distinct(column),
        (AggregateFunction::Count, Some(column)) => count(column),
        (AggregateFunction::Min, Some(column)) => min(column),
        (AggregateFunction::Max, Some(column)) => max(column),
        (_, Some(column)) => sum(column),
        (_, None) => return plan_err!("only rows are counted without a column"),
    };
    let Some(filter) = call.filter.clone() else { return Ok(made) };
    let filter = filter.transform(|node| {
        Ok(match node {
            Expr::Column(column) => {
                Transformed::yes(named(format!("c{}", rows.schema().index_of(&column.name)?)))
            }
            other => Transformed::no(other),
        })
    })?;
    made.filter(filter.data).build()
}

/// Every table of the fragment is the given one.
pub(super) async fn evaluate(rows: &RecordBatch, fragment: &Fragment) -> Result<Vec<RecordBatch>> {
    let mut frame = table(rows, &fragment.filters, 0)?;
    let mut width = rows.num_columns();
    for join in &fragment.joins {
        let shown = join.kind.shows_columns();
        let first = if shown { width } else { 1_000 };
        let kind = match join.kind {
            FragmentJoinKind::Inner => JoinType::Inner,
            FragmentJoinKind::Left => JoinType::Left,
            FragmentJoinKind::Semi => JoinType::LeftSemi,
            FragmentJoinKind::Anti => JoinType::LeftAnti,
        };
        let keys: (Vec<String>, Vec<String>) =
            join.on.iter().map(|(left, right)| (format!("c{left}"), format!("c{}", first + right))).unzip();
        let left: Vec<&str> = keys.0.iter().map(String::as_str).collect();
        let right: Vec<&str> = keys.1.iter().map(String::as_str).collect();
        frame = frame.join(table(rows, &join.filters, first)?, kind, &left, &right, None)?;
        width += if shown { rows.num_columns() } else { 0 };
    }
    let promised = fragment.schema()?;
    let outputs: Vec<Expr> = match &fragment.aggregate {
        Some(aggregate) => {
            let groups: Vec<Expr> = aggregate.groups.iter().map(|index| named(format!("c{index}"))).collect();
            let calls = aggregate.calls.iter().map(|wanted| call(wanted, rows)).enumerate();
            let calls = calls
                .map(|(n, call)| call.map(|call| call.alias(format!("a{n}"))))
                .collect::<Result<Vec<_>>>()?;
            let results = (0..calls.len()).map(|n| named(format!("a{n}")));
            let outputs = groups.clone().into_iter().chain(results).collect();
            frame = frame.aggregate(groups, calls)?;
            outputs
        }
        None => fragment.projection.iter().map(|index| named(format!("c{index}"))).collect(),
    };
    let typed = outputs
        .into_iter()
        .zip(promised.fields())
        .enumerate()
        .map(|(n, (output, field))| cast(output, field.data_type().clone()).alias(format!("o{n}")));
    frame = frame.select(typed.collect::<Vec<_>>())?;
    if !fragment.sort.is_empty() {
        let keys = fragment
            .sort
            .iter()
            .map(|key| named(format!("o{}", key.column)).sort(!key.descending, key.nulls_first));
        frame = frame.sort(keys.collect())?;
    }
    frame = frame.limit(0, fragment.limit)?;
    let batches = frame.collect().await?;
    batches
        .into_iter()
        .map(|batch| Ok(RecordBatch::try_new(Arc::clone(&promised), batch.columns().to_vec())?))
        .collect()
}

/// Everything but text, whose spellings this store takes for one.
pub(super) fn unless_text(column: Option<&Field>) -> Verdict {
    match column.map(Field::data_type) {
        Some(DataType::Utf8) => Verdict::Keep("spellings are one here".into()),
        _ => Verdict::Exact,
    }
}
