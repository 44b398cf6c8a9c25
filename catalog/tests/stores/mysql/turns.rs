//! What one leaf asks for in several statements.

use std::sync::Arc;

use datafusion::arrow::array::{AsArray as _, RecordBatch};
use datafusion::arrow::datatypes::Int32Type;
use datafusion::logical_expr::{col, lit};
use futures::TryStreamExt as _;
use mysql_async::prelude::Queryable as _;
use portolan_catalog::federation::{ExecContext, Fragment, PushedFilter, Run};
use portolan_catalog::mysql::ZeroDates;
use portolan_catalog::source::Source as _;

use super::fixture::{Database, table};

const ROWS: &str = "CREATE TABLE crate (id int NOT NULL, label char(200) NOT NULL, KEY (id)) ENGINE = InnoDB;
INSERT INTO crate SELECT n, repeat('x', 200) FROM million WHERE n <= 200000;
";

/// They are of one moment: the first is still being sent when a row's key moves from what the second asks for to what
/// the first did.
#[tokio::test(flavor = "multi_thread")]
async fn the_turns_of_one_leaf_see_one_moment() {
    let mut database = Database::new().await;
    database.number_a_million().await;
    database.run(ROWS).await;
    let source = database.source();
    let table = table(&source, "crate").await;
    let turn = |condition| Run { join: None, filters: vec![PushedFilter { expr: condition, exact: true }] };
    let runs = vec![turn(col("id").lt_eq(lit(150_000))), turn(col("id").gt(lit(150_000)))];
    let fragment = Fragment { runs, ..Fragment::whole(table) };
    let mut batches = source.executor().execute(&fragment, ExecContext::default()).await.unwrap();
    let mut seen: Vec<i32> = Vec::new();
    let mut note = |batch: RecordBatch| seen.extend(batch.column(0).as_primitive::<Int32Type>().values());
    note(batches.try_next().await.unwrap().unwrap());
    database.admin.query_drop("UPDATE crate SET id = 0 WHERE id = 200000").await.unwrap();
    while let Some(batch) = batches.try_next().await.unwrap() {
        note(batch);
    }
    seen.sort_unstable();
    assert!(seen.iter().copied().eq(1..=200_000), "{} rows", seen.len());
    drop(batches);
    let connection = Arc::clone(&source);
    assert_eq!(connection.executor().slots().map(|slots| slots.free()), Some(4));
    database.finish().await;
}

/// A list that makes a statement too long is left out of all of its turns, or rows would come once a turn.
#[tokio::test(flavor = "multi_thread")]
async fn turns_whose_conditions_do_not_fit_are_one() {
    let mut database = Database::new().await;
    database.run("CREATE TABLE crate (id int NOT NULL, name varchar(20) COLLATE utf8mb4_bin NOT NULL);\nINSERT INTO crate VALUES (1, 'a'), (2, 'b'), (3, 'c');\n").await;
    let source = database.source();
    let table = table(&source, "crate").await;
    let many = |first: char| {
        let names = (0..49_000).map(|n| lit(format!("{first}{n:019}"))).chain([lit(first.to_string())]);
        let expr = col("name").in_list(names.collect(), false);
        Run { join: None, filters: vec![PushedFilter { expr, exact: false }] }
    };
    let fragment = Fragment { runs: vec![many('a'), many('b')], ..Fragment::whole(table) };
    let batches = super::fixture::read(&source, &fragment).await.unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 3);
    database.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trap_p2_more_keys_than_a_statement_holds_are_asked_for_in_turns() {
    let mut database = Database::new().await;
    database.number_a_million().await;
    database
        .run("CREATE TABLE mark (id bigint PRIMARY KEY, n int NOT NULL);\nINSERT INTO mark SELECT n, n % 7 FROM million WHERE n <= 400000;\nANALYZE TABLE mark;\n")
        .await;
    let session = database.session(ZeroDates::Error);
    let sql = "SELECT count(*), sum(m.n), min(m.id), max(m.id) \
               FROM (SELECT value * 3 AS id FROM generate_series(1, 120000)) k JOIN mark m ON m.id = k.id";
    assert_eq!(session.rows(sql, true).await, session.rows(sql, false).await);
    let ran = session.rows(&format!("EXPLAIN ANALYZE {sql}"), true).await.unwrap().join("\n");
    assert!(ran.contains("in turns of 3") && ran.contains("output_rows=120.0 K"), "{ran}");
    database.finish().await;
}
