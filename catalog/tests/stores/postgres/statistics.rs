//! What the server's ANALYZE knows reaches the planner behind the first query of a table.

use std::time::{Duration, Instant};

use super::fixture::Fixture;

/// The estimate that a statement's only leaf shows.
async fn estimate(fixture: &Fixture, sql: &str) -> i64 {
    let leaves = fixture.leaves(sql).await;
    let [leaf] = leaves.as_slice() else { panic!("{sql}: {leaves:?}") };
    let (_, rest) = leaf.split_once("est_rows=").unwrap();
    rest.split(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_analyze_knows_is_asked_behind_a_query_and_refines_the_estimates() {
    let fixture = Fixture::start().await;
    let bucket = "SELECT id FROM many WHERE bucket = 7";
    // Planning alone asks for nothing, so this is a guess from the number of rows.
    for _ in 0..3 {
        assert_eq!(estimate(&fixture, bucket).await, 100);
    }
    fixture.run(bucket, true).await.unwrap();
    let start = Instant::now();
    while estimate(&fixture, bucket).await == 100 {
        assert!(start.elapsed() < Duration::from_secs(20), "nothing was asked behind the query");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for (sql, least, most) in [
        (bucket, 200, 200),
        ("SELECT id FROM many WHERE id > 15000", 4_800, 5_200),
        ("SELECT id FROM many WHERE id BETWEEN 1000 AND 1999", 900, 1_100),
        ("SELECT id FROM many WHERE label = 'k5'", 15, 25),
        ("SELECT id FROM many WHERE label IN ('k5', 'k6')", 30, 50),
        ("SELECT id FROM many WHERE bucket IS NULL", 1, 1),
        ("SELECT bucket, count(*) FROM many GROUP BY bucket", 100, 100),
    ] {
        let found = estimate(&fixture, sql).await;
        assert!((least..=most).contains(&found), "{sql}: {found}");
    }
    fixture.stop().await;
}
