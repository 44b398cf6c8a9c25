//! A connection that is killed while its statement waits for its first row.

use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable as _;
use portolan_catalog::federation::QueryId;
use portolan_catalog::mysql::ZeroDates;

use super::fixture::Database;

const PATIENCE: Duration = Duration::from_secs(20);

/// Kills the connection of a query that waits for a table, once it does. Others may read the table behind queries.
async fn kill_who_waits(database: &mut Database, query: QueryId) {
    let waiting = format!(
        "SELECT id FROM information_schema.processlist WHERE state LIKE 'Waiting for table metadata lock%' \
         AND info LIKE '%portolan/{query}/%'"
    );
    let start = Instant::now();
    loop {
        let ids: Vec<u64> = database.admin.query(waiting.as_str()).await.unwrap();
        for id in &ids {
            database.admin.query_drop(format!("KILL CONNECTION {id}")).await.unwrap();
        }
        if !ids.is_empty() {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "nobody waits for the table");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_killed_before_its_first_row_costs_no_answer_and_is_told() {
    let mut database = Database::new().await;
    database
        .run(
            "CREATE TABLE t (id INT PRIMARY KEY);
             INSERT INTO t VALUES (1), (2), (3)",
        )
        .await;
    let session = database.session(ZeroDates::Error);
    let sql = "SELECT id FROM t WHERE id > 1";
    let plain = ["2", "3"];
    let sorted = |rows: Result<Vec<String>, String>| {
        let mut rows = rows.unwrap();
        rows.sort();
        rows
    };
    assert_eq!(sorted(session.rows(sql, true).await), plain);
    let mut locker = database.another().await;
    for explained in [false, true] {
        locker.query_drop("LOCK TABLES t WRITE").await.unwrap();
        let text = if explained { format!("EXPLAIN ANALYZE {sql}") } else { sql.to_owned() };
        let (answer, ()) = tokio::join!(session.rows(&text, true), async {
            kill_who_waits(&mut database, session.query.query).await;
            locker.query_drop("UNLOCK TABLES").await.unwrap();
        });
        if explained {
            let plan = answer.unwrap().join("\n");
            assert!(plan.contains(" retries=1"), "{plan}");
        } else {
            assert_eq!(sorted(answer), plain, "every row once");
        }
    }
    locker.disconnect().await.unwrap();
    drop(session);
    database.finish().await;
}
