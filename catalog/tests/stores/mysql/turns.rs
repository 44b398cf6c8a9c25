//! What one leaf asks for in several statements.

use datafusion::arrow::array::RecordBatch;
use datafusion::logical_expr::{col, lit};
use mysql_async::prelude::Queryable as _;
use portolan_catalog::federation::{Fragment, PushedFilter, Run};
use portolan_catalog::mysql::ZeroDates;
use portolan_catalog::source::Source as _;

use super::fixture::{Database, table};
use crate::turns::ids_under;

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
    let moved = async {
        database.admin.query_drop("UPDATE crate SET id = 0 WHERE id = 200000").await.unwrap();
    };
    let seen = ids_under(source.executor().as_ref(), table, 150_000, moved).await;
    assert!(seen.iter().copied().eq(1..=200_000), "{} rows", seen.len());
    assert_eq!(source.executor().slots().map(|slots| slots.free()), Some(4));
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
