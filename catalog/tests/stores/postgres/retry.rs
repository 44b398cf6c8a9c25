//! A backend that is terminated while a statement waits for its first row.

use std::time::{Duration, Instant};

use super::fixture::Fixture;

const PATIENCE: Duration = Duration::from_secs(20);

impl Fixture {
    async fn lock(&self) {
        self.client.batch_execute("BEGIN; LOCK TABLE port.many IN ACCESS EXCLUSIVE MODE").await.unwrap();
    }

    async fn unlock(&self) {
        self.client.batch_execute("ROLLBACK").await.unwrap();
    }

    /// Terminates the backends that wait for the table, once there are some.
    async fn terminate_who_waits(&self) {
        let terminate = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks \
                         WHERE NOT granted AND relation = 'port.many'::regclass";
        let start = Instant::now();
        while self.client.query_one(terminate, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            assert!(start.elapsed() < PATIENCE, "nobody waits for the table");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_terminated_before_its_first_row_costs_no_answer_and_is_told() {
    let fixture = Fixture::start().await;
    let sql = "SELECT id FROM many WHERE id <= 3";
    let mut rows = fixture.run(sql, true).await.unwrap().rows;
    rows.sort();
    assert_eq!(rows, ["1", "2", "3"]);
    let fall = async || {
        fixture.terminate_who_waits().await;
        fixture.unlock().await;
    };

    fixture.lock().await;
    let (answer, ()) = tokio::join!(fixture.run(sql, true), fall());
    let mut rows = answer.unwrap().rows;
    rows.sort();
    assert_eq!(rows, ["1", "2", "3"], "every row once");

    fixture.lock().await;
    let explain = format!("EXPLAIN ANALYZE {sql}");
    let (leaves, ()) = tokio::join!(fixture.explain(&explain), fall());
    assert!(leaves.concat().contains(" retries=1"), "{leaves:#?}");
    let quiet = fixture.explain(&explain).await;
    assert!(!quiet.concat().contains("retries"), "{quiet:#?}");
    fixture.stop().await;
}

/// Two leaves read one snapshot; a second attempt of one would read another moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_leaf_that_shares_its_snapshot_is_not_asked_for_again() {
    let fixture = Fixture::start().await;
    let sql = "SELECT count(*) FROM many a JOIN many b ON a.id + 0 = b.id + 0";
    assert_eq!(fixture.run(sql, true).await.unwrap().rows, ["20000"]);
    assert_eq!(fixture.leaves(sql).await.len(), 2);
    fixture.lock().await;
    let (answer, ()) = tokio::join!(fixture.run(sql, true), async {
        fixture.terminate_who_waits().await;
        fixture.unlock().await;
    });
    let error = answer.unwrap_err();
    assert!(error.contains("source \"ops\": cannot read a table"), "{error}");
    assert_eq!(fixture.run(sql, true).await.unwrap().rows, ["20000"]);
    fixture.stop().await;
}
