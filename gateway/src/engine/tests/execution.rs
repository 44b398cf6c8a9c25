//! Running statements: what ends them early, what they see of the clock and the settings, and EXPLAIN.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures::StreamExt;
use portolan_catalog::federation::QueryId;
use tokio_util::sync::CancellationToken;

use super::fixture::Fixture;
use crate::engine::QueryControl;
use crate::error::QueryError;

/// Takes hours unless somebody stops it.
const ENDLESS: &str = "select sum(x % 7) from generate_series(1, 1000000000000) g(x)";

async fn outcome(fixture: &Fixture, sql: &str, control: QueryControl) -> Result<usize, QueryError> {
    let prepared = fixture.engine.prepare(&fixture.session, sql, &[]).await?;
    let mut answer = fixture.engine.execute(&fixture.session, &prepared, Vec::new(), control).await?;
    let mut rows = 0;
    while let Some(batch) = answer.rows.next().await {
        rows += batch.map_err(QueryError::from)?.num_rows();
    }
    Ok(rows)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_a_running_statement() {
    let fixture = Fixture::open();
    let started = Instant::now();
    let control =
        QueryControl { deadline: Some(started + Duration::from_millis(300)), ..QueryControl::default() };
    let error = outcome(&fixture, ENDLESS, control).await.unwrap_err();
    assert_eq!((error.code.sqlstate(), error.message.contains("timeout")), ("57014", true), "{error:?}");
    // What still computes notices on its own threads.
    while !fixture.engine.running().list().is_empty() {
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_by_pid_ends_a_running_statement_and_leaves_the_session_usable() {
    let fixture = Fixture::open();
    let canceller = async {
        while fixture.engine.running().list().is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(fixture.engine.running().cancel_pid(1));
    };
    let (result, ()) = tokio::join!(outcome(&fixture, ENDLESS, QueryControl::default()), canceller);
    assert_eq!(result.unwrap_err().code.sqlstate(), "57014");
    assert_eq!(outcome(&fixture, "select 1", QueryControl::default()).await, Ok(1));
    assert!(!fixture.engine.running().cancel_query(QueryId::random()));
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_rows_stops_the_work() {
    let fixture = Fixture::open();
    let prepared = fixture.engine.prepare(&fixture.session, ENDLESS, &[]).await.unwrap();
    let cancel = CancellationToken::new();
    let control = QueryControl { cancel: cancel.clone(), ..QueryControl::default() };
    let answer = fixture.engine.execute(&fixture.session, &prepared, Vec::new(), control).await.unwrap();
    assert_eq!(fixture.engine.running().list().len(), 1);
    drop(answer);
    let deadline = Instant::now() + Duration::from_secs(5);
    while !fixture.engine.running().list().is_empty() {
        assert!(Instant::now() < deadline, "the statement still runs");
        tokio::task::yield_now().await;
    }
    assert!(!cancel.is_cancelled(), "the caller's own token is not ours to cancel");
}

#[tokio::test(flavor = "multi_thread")]
async fn now_is_what_the_transaction_says() {
    let fixture = Fixture::open();
    let start: DateTime<Utc> = DateTime::from_timestamp_micros(1_709_633_472_500_000).unwrap();
    let control = QueryControl { now: Some(start), ..QueryControl::default() };
    let sql =
        "select 1 where now() = timestamptz '2024-03-05 10:11:12.5Z' and current_date = date '2024-03-05'";
    assert_eq!(outcome(&fixture, sql, control).await, Ok(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_is_one_text_column_and_analyze_measures() {
    let fixture = Fixture::open();
    let (header, rows) = fixture.one("explain select i4 from t where i4 > 1").await.unwrap();
    assert_eq!(header, "QUERY PLAN:text");
    assert!(rows.contains("FilterExec") && !rows.contains('\u{1}'), "{rows}");
    let (_, rows) = fixture.one("explain (analyze, costs off) select i4, i4 from t").await.unwrap();
    assert!(rows.contains("Execution Time") && rows.contains("3 rows"), "{rows}");
    assert_eq!(fixture.one("explain (format json) select 1").await.unwrap_err().code.sqlstate(), "0A000");
    assert_eq!(fixture.one("explain (nosuch) select 1").await.unwrap_err().code.sqlstate(), "42601");
    assert_eq!(fixture.one("explain delete from t").await.unwrap_err().code.sqlstate(), "25006");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_a_table_of_the_session() {
    let fixture = Fixture::open();
    fixture.session.settings().set("portolan.pushdown", Some("off")).unwrap();
    let (_, rows) =
        fixture.one("select setting from system.settings where name = 'portolan.pushdown'").await.unwrap();
    assert_eq!(rows, "off");
}
