//! Long lists of values, tested by a hash of all of them.
//!
//! A join tells thousands of keys. As a part of the plan each of them would be looked at by every rule of the
//! optimizer, which costs more than the read; the range beside a list is what prunes files. A row is left out only if
//! its value is in no list, or is null.

use std::sync::Arc;

use datafusion::arrow::compute::cast;
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::InList;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, InListExpr};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExecBuilder;

use crate::federation::Fragment;

/// A list longer than this is not planned.
const LONG: usize = 100;

/// One list, over a column of the table.
#[derive(Debug)]
pub(super) struct LongList {
    /// The column's number in the table.
    column: usize,
    values: Vec<ScalarValue>,
}

/// The fragment without its long lists, which reads the columns they test after its own; and the lists.
pub(super) fn apart(fragment: &Fragment) -> (Fragment, Vec<LongList>) {
    let mut rest = fragment.clone();
    // A limit counts rows that pass all conditions.
    if fragment.limit.is_some() {
        return (rest, vec![]);
    }
    let mut lists = Vec::new();
    rest.filters.retain(|filter| match long(fragment, &filter.expr) {
        Some(list) => {
            lists.push(list);
            false
        }
        None => true,
    });
    for list in &lists {
        if !rest.projection.contains(&list.column) {
            rest.projection.push(list.column);
        }
    }
    (rest, lists)
}

fn long(fragment: &Fragment, expr: &Expr) -> Option<LongList> {
    let Expr::InList(InList { expr, list, negated: false }) = expr else { return None };
    let Expr::Column(column) = expr.as_ref() else { return None };
    if list.len() <= LONG {
        return None;
    }
    let values: Option<Vec<ScalarValue>> = list
        .iter()
        .map(|value| match value {
            Expr::Literal(value, _) => Some(value.clone()),
            _ => None,
        })
        .collect();
    Some(LongList { column: fragment.table.arrow.index_of(&column.name).ok()?, values: values? })
}

/// The plan of the fragment that is left, under its lists: the first `width` columns of what passes.
pub(super) fn filtered(
    plan: Arc<dyn ExecutionPlan>,
    read: &Fragment,
    lists: Vec<LongList>,
    width: usize,
) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
    let last = lists.len();
    let mut plan = plan;
    for (number, list) in lists.into_iter().enumerate() {
        let schema = plan.schema();
        let at = read.projection.iter().position(|column| *column == list.column);
        let at =
            at.ok_or_else(|| DataFusionError::Internal("a list tests a column that is not read".into()))?;
        let field = schema.field(at);
        let values = cast(&ScalarValue::iter_to_array(list.values)?, field.data_type())?;
        let column = Arc::new(Column::new(field.name(), at)) as Arc<dyn PhysicalExpr>;
        let test = InListExpr::try_new_from_array(column, values, false, &schema)?;
        let shown =
            (number + 1 == last && schema.fields().len() > width).then(|| (0..width).collect::<Vec<_>>());
        plan = Arc::new(FilterExecBuilder::new(Arc::new(test), plan).apply_projection(shown)?.build()?);
    }
    Ok(plan)
}
