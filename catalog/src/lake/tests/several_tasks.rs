//! A fragment that several tasks read: its rows are those of the table, its filters are evaluated once, and whoever
//! goes away leaves nothing behind.

use std::time::Duration;

use datafusion::physical_plan::{ExecutionPlanProperties, displayable};
use datafusion::prelude::Expr;
use futures::StreamExt;

use super::*;
use crate::federation::in_parts;

const ROWS: i64 = 200_000;

/// A table of one file with one row group.
async fn large() -> (tempfile::TempDir, LakeSource, Fragment) {
    let (directory, lake, path) = lake().await;
    lake.append(&path, vec![rows(&(0..ROWS).collect::<Vec<_>>())], &commit(1)).await.unwrap();
    let source = LakeSource::new(SourceName::try_new("lake").unwrap(), lake);
    let table = source.tables().await.unwrap().remove(0);
    (directory, source, Fragment { projection: vec![0], ..Fragment::whole(table) })
}

fn under(fragment: &Fragment, filter: Expr) -> Fragment {
    Fragment { filters: vec![PushedFilter { expr: filter, exact: true }], ..fragment.clone() }
}

async fn ids(source: &LakeSource, fragment: &Fragment) -> Vec<i64> {
    let stream = source.execute(fragment, Arc::new(QueryContext::default())).await.unwrap();
    let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
    let mut ids = Vec::new();
    for batch in batches {
        let column = batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
        ids.extend(column.values().iter().copied());
    }
    ids.sort_unstable();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn each_row_of_a_large_file_comes_once_whatever_is_asked() {
    let (_directory, source, whole) = large().await;
    let (_, plan) =
        source.planned(&source.path_of(&whole.table), &whole, &QueryContext::default()).await.unwrap();
    let plan = in_parts(plan, 3).await.unwrap();
    assert_eq!(plan.output_partitioning().partition_count(), 3);
    assert_eq!(ids(&source, &whole).await, (0..ROWS).collect::<Vec<_>>());
    let third = |id: &i64| id % 3 != 0;
    let list = |step: i64, count: i64| {
        col("id").in_list((0..count).map(|number| lit(number * step)).collect(), false)
    };
    for (filter, expected) in [
        // Decoded, then filtered.
        (col("id").gt_eq(lit(100_i64)), (100..ROWS).collect::<Vec<_>>()),
        (col("name").is_not_null(), (0..ROWS).filter(third).collect()),
        (col("id").lt(lit(50_000_i64)).and(col("name").is_not_null()), (0..50_000).filter(third).collect()),
        // Next to nothing is left: other columns are spared.
        (col("id").eq(lit(123_456_i64)), vec![123_456]),
        (col("id").between(lit(99_990_i64), lit(100_020_i64)), (99_990..=100_020).collect()),
        (list(1_999, 90), (0..90).map(|number| number * 1_999).collect()),
        // A list that is tested by a hash.
        (list(997, 190), (0..190).map(|number| number * 997).collect()),
        (col("id").lt(lit(-1_i64)), vec![]),
    ] {
        let fragment = under(&whole, filter.clone());
        assert_eq!(ids(&source, &fragment).await, expected, "{}", filter.human_display());
        let none = Fragment { projection: vec![], ..fragment.clone() };
        let stream = source.execute(&none, Arc::new(QueryContext::default())).await.unwrap();
        assert_eq!(count(&stream.try_collect::<Vec<_>>().await.unwrap()), expected.len());
        for limit in [0, 1, 40] {
            let limited = Fragment { limit: Some(limit), ..fragment.clone() };
            let found = ids(&source, &limited).await;
            assert_eq!(found.len(), limit.min(expected.len()), "{}", filter.human_display());
            assert!(found.iter().all(|id| expected.contains(id)));
        }
    }
    // Shares of other processes are read in parts as well.
    let division = source.divide(&whole, &QueryContext::default()).await.unwrap().unwrap();
    for shares in [1, 2, 3] {
        let mut all = Vec::new();
        for share in division.shares(shares) {
            all.extend(ids(&source, &Fragment { share: Some(share), ..whole.clone() }).await);
        }
        all.sort_unstable();
        assert_eq!(all, (0..ROWS).collect::<Vec<_>>(), "{shares} shares");
    }
}

/// Delta and the engine's optimizer both hand filters to the reader, which would evaluate both.
#[tokio::test]
async fn a_filter_is_evaluated_once() {
    let (_directory, source, whole) = large().await;
    for (filter, early) in [(col("id").gt_eq(lit(1_234_i64)), true), (col("id").eq(lit(1_234_i64)), false)] {
        let fragment = under(&whole, filter);
        let (_, plan) =
            source.planned(&source.path_of(&whole.table), &fragment, &QueryContext::default()).await.unwrap();
        let shown = displayable(plan.as_ref()).indent(true).to_string();
        assert_eq!(shown.contains("FilterExec"), early, "{shown}");
        assert_eq!(told(&shown), 1, "{shown}");
    }
    // Why the provider is made by another session than the one that plans.
    let table = source.lake.require(&source.path_of(&whole.table)).await.unwrap();
    let late = Arc::clone(&source.lake.late);
    let provider = table.table_provider().with_session(Arc::clone(&late)).await.unwrap();
    let session = datafusion::prelude::SessionContext::new_with_state(late.as_ref().clone());
    let frame = session.read_table(provider).unwrap().filter(col("id").eq(lit(1_234_i64))).unwrap();
    let plan = frame.create_physical_plan().await.unwrap();
    let shown = displayable(plan.as_ref()).indent(true).to_string();
    assert_eq!(told(&shown), 2, "a session of one kind would do: {shown}");
}

/// How often a plan's Parquet reader is told the condition.
fn told(shown: &str) -> usize {
    let scan = shown.lines().find(|line| line.contains("DataSourceExec")).unwrap();
    let predicate = scan.split("predicate=").nth(1).unwrap();
    predicate.split(", ").next().unwrap().matches("1234").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_goes_away_leaves_no_task() {
    let (_directory, source, whole) = large().await;
    // Whatever the store keeps of its own is there by now.
    ids(&source, &whole).await;
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = alive();
    let mut stream = source.execute(&whole, Arc::new(QueryContext::default())).await.unwrap();
    assert!(stream.next().await.unwrap().unwrap().num_rows() > 0);
    drop(stream);
    let gone = async {
        while alive() > before {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("no task is left");
}

/// Cut off behind the gateway's back: an error, and never the rows of the other part.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_missing_is_an_error() {
    let (directory, source, whole) = large().await;
    assert_eq!(ids(&source, &whole).await.len(), 200_000);
    let folder = directory.path().join("lake/bronze/ships");
    let files = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    let file = files.into_iter().find(|path| path.extension().is_some_and(|end| end == "parquet")).unwrap();
    let opened = std::fs::OpenOptions::new().write(true).open(file).unwrap();
    opened.set_len(opened.metadata().unwrap().len() / 4).unwrap();
    let outcome = match source.execute(&whole, Arc::new(QueryContext::default())).await {
        Ok(stream) => stream.try_collect::<Vec<_>>().await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    assert!(outcome.unwrap_err().contains("bronze.ships"));
}

/// What is committed while a statement runs is of the next one.
#[tokio::test]
async fn all_leaves_of_a_statement_read_one_version() {
    let (_directory, lake, path) = lake().await;
    lake.append(&path, vec![rows(&[1, 2])], &commit(1)).await.unwrap();
    let source = LakeSource::new(SourceName::try_new("lake").unwrap(), lake.clone());
    let whole = Fragment::whole(source.tables().await.unwrap().remove(0));
    let read = async |context: &Arc<QueryContext>| {
        let stream = source.execute(&whole, Arc::clone(context)).await.unwrap();
        count(&stream.try_collect::<Vec<_>>().await.unwrap())
    };
    let statement = Arc::new(QueryContext::default());
    assert_eq!(read(&statement).await, 2);
    lake.append(&path, vec![rows(&[3])], &commit(2)).await.unwrap();
    assert_eq!(read(&statement).await, 2);
    assert_eq!(source.divide(&whole, &statement).await.unwrap().unwrap().version, 1);
    let next = Arc::new(QueryContext::default());
    assert_eq!(read(&next).await, 3);
    assert_eq!(read(&statement).await, 2);
    assert_eq!(statement.as_of.snapshot().0.values().map(ToString::to_string).collect::<Vec<_>>(), ["v:1"]);
}
