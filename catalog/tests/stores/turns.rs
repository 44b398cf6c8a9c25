//! What one leaf asks a server in two statements.

#![expect(clippy::unwrap_used, reason = "a helper of tests")]

use std::sync::Arc;

use datafusion::arrow::array::{AsArray as _, RecordBatch};
use datafusion::arrow::datatypes::Int32Type;
use datafusion::logical_expr::{col, lit};
use futures::TryStreamExt as _;
use portolan_catalog::federation::{ExecContext, Fragment, FragmentExecutor, PushedFilter, Run};
use portolan_catalog::source::TableDef;

/// The ids of a table of so many rows that the second statement is not sent before most of the first one's were taken;
/// `change` is made after the first of them came. In ascending order.
pub(crate) async fn ids_under(
    executor: &dyn FragmentExecutor,
    table: Arc<TableDef>,
    last_of_the_first: i32,
    change: impl Future<Output = ()>,
) -> Vec<i32> {
    let turn = |condition| Run { join: None, filters: vec![PushedFilter { expr: condition, exact: true }] };
    let last = lit(last_of_the_first);
    let runs = vec![turn(col("id").lt_eq(last.clone())), turn(col("id").gt(last))];
    let fragment = Fragment { runs, ..Fragment::whole(table) };
    let mut batches = executor.execute(&fragment, ExecContext::default()).await.unwrap();
    let mut seen: Vec<i32> = Vec::new();
    let mut note = |batch: RecordBatch| seen.extend(batch.column(0).as_primitive::<Int32Type>().values());
    note(batches.try_next().await.unwrap().unwrap());
    change.await;
    while let Some(batch) = batches.try_next().await.unwrap() {
        note(batch);
    }
    seen.sort_unstable();
    seen
}
