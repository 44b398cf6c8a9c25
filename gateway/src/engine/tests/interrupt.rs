//! Joins that would run for hours without a row end with their statement, by cancel, by deadline and by going away.

use std::time::{Duration, Instant};

use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use super::fixture::Fixture;
use crate::engine::{Answer, QueryControl};
use crate::error::QueryError;

/// Each compares at least 10^10 pairs and finds nothing, or next to nothing, for a long time.
const JOINS: &[&str] = &[
    "select count(*) from generate_series(1, 100000) a(n), generate_series(1, 100000) b(n), \
     generate_series(1, 100000) c(n) where a.n + b.n + c.n = -1",
    "select count(*) from generate_series(1, 300000) a(n) left join generate_series(1, 300000) b(n) on a.n + b.n = -1",
    "select count(*) from generate_series(1, 300000) a(n) full join generate_series(1, 300000) b(n) on a.n + b.n = -1",
    "select count(*) from generate_series(1, 300000) a(n) \
     where not exists (select 1 from generate_series(1, 300000) b(n) where a.n + b.n = -1)",
    "select count(*) from generate_series(1, 300000) a(n) join generate_series(1, 300000) b(n) on a.n % 2 = b.n % 2 \
     where a.n + b.n = -1",
    "select count(*) from generate_series(1, 300000) a(n) \
     where a.n % 1 in (select b.n % 1 from generate_series(1, 300000) b(n))",
    "select sum(a.n % 7 * b.n) from generate_series(1, 300000) a(n), generate_series(1, 300000) b(n)",
    "with recursive r(n) as (select 1 union all select n from r) select count(*) from r",
];

/// One second is the bound; the rest is for a machine that is busy with other tests. The joins alone take days.
const SOON: Duration = Duration::from_secs(10);

async fn start(fixture: &Fixture, sql: &str, control: QueryControl) -> Answer {
    let prepared = fixture.engine.prepare(&fixture.session, sql, &[]).await.unwrap();
    fixture.engine.execute(&fixture.session, &prepared, Vec::new(), control).await.unwrap()
}

async fn end(answer: &mut Answer) -> QueryError {
    match answer.rows.next().await {
        Some(Err(error)) => QueryError::from(error),
        other => panic!("it answered: {other:?}"),
    }
}

/// Waits until no thread works on anything any more.
async fn idle(fixture: &Fixture, sql: &str) {
    let since = Instant::now();
    while fixture.engine.work() > 0 {
        assert!(since.elapsed() < SOON, "{} tasks still run after {SOON:?}: {sql}", fixture.engine.work());
        tokio::task::yield_now().await;
    }
    assert!(fixture.engine.running().list().is_empty(), "{sql}");
}

/// Waits until a statement holds rows in memory: one side of a join is read, and the comparing has begun.
async fn comparing(fixture: &Fixture, sql: &str) {
    let since = Instant::now();
    while fixture.engine.memory_reserved() == 0 {
        assert!(since.elapsed() < Duration::from_secs(60), "never begins: {sql}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_ends_a_join_that_finds_nothing() {
    let fixture = Fixture::open();
    for sql in JOINS {
        let deadline = Instant::now() + Duration::from_millis(700);
        let control = QueryControl { deadline: Some(deadline), ..QueryControl::default() };
        let mut answer = start(&fixture, sql, control).await;
        let error = end(&mut answer).await;
        assert_eq!(error.code.sqlstate(), "57014", "{sql}: {error:?}");
        assert!(error.message.contains("statement timeout"), "{sql}: {error:?}");
        assert!(deadline.elapsed() < SOON, "{:?} late: {sql}", deadline.elapsed());
        drop(answer);
        idle(&fixture, sql).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_ends_a_join_that_finds_nothing() {
    let fixture = Fixture::open();
    for sql in JOINS {
        let cancel = CancellationToken::new();
        let control = QueryControl { cancel: cancel.clone(), ..QueryControl::default() };
        let mut answer = start(&fixture, sql, control).await;
        comparing(&fixture, sql).await;
        cancel.cancel();
        let since = Instant::now();
        let error = end(&mut answer).await;
        assert_eq!(error.code.sqlstate(), "57014", "{sql}: {error:?}");
        assert!(error.message.contains("user request"), "{sql}: {error:?}");
        assert!(since.elapsed() < SOON, "{:?} late: {sql}", since.elapsed());
        idle(&fixture, sql).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waiting_for_rows_ends_a_join_that_finds_nothing() {
    let fixture = Fixture::open();
    for sql in JOINS {
        let answer = start(&fixture, sql, QueryControl::default()).await;
        comparing(&fixture, sql).await;
        drop(answer);
        idle(&fixture, sql).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_that_finds_nothing_leaves_threads_for_others() {
    let fixture = Fixture::open();
    let busy = start(&fixture, JOINS[0], QueryControl::default()).await;
    comparing(&fixture, JOINS[0]).await;
    let since = Instant::now();
    let (_, rows) = fixture.one("select count(*) from t a join t b on a.i4 = b.i4").await.unwrap();
    assert_eq!(rows, "2");
    assert!(since.elapsed() < SOON, "waited for {:?}", since.elapsed());
    drop(busy);
    idle(&fixture, JOINS[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_answer_what_they_answered() {
    let fixture = Fixture::open();
    for (sql, rows) in [
        (
            "select count(*) from generate_series(1, 50) a(n) left join generate_series(1, 50) b(n) on a.n + b.n = 3",
            "50",
        ),
        (
            "select count(*) from generate_series(1, 50) a(n) full join generate_series(1, 50) b(n) on a.n + b.n = 3",
            "98",
        ),
        (
            "select count(*) from generate_series(1, 50) a(n) full join generate_series(51, 60) b(n) on true",
            "500",
        ),
        (
            "select count(*) from generate_series(1, 50) a(n) \
             where not exists (select 1 from generate_series(1, 50) b(n) where a.n + b.n = 3)",
            "48",
        ),
        (
            "select count(*) from generate_series(1, 50) a(n) \
             where a.n % 10 in (select b.n from generate_series(1, 5) b(n))",
            "25",
        ),
        (
            "select count(*) from generate_series(1, 50) a(n) \
             where a.n not in (select b.n from generate_series(1, 5) b(n))",
            "45",
        ),
        (
            "select count(*) from generate_series(1, 50) a(n) join generate_series(1, 50) b(n) on a.n % 5 = b.n \
             where a.n > b.n + 10",
            "28",
        ),
        ("select count(*) from generate_series(1, 50) a(n), generate_series(1, 50) b(n)", "2500"),
        ("select sum(a.n * b.n) from generate_series(1, 5) a(n), generate_series(1, 5) b(n)", "225"),
    ] {
        assert_eq!(fixture.one(sql).await.unwrap().1, rows, "{sql}");
    }
    let (_, plan) = fixture
        .one("explain select count(*) from generate_series(1, 5) a(n) join generate_series(1, 5) b(n) on a.n < b.n")
        .await
        .unwrap();
    assert!(plan.contains("NestedLoopJoinExec") && plan.contains("filter=n@0 < n@1"), "{plan}");
}
