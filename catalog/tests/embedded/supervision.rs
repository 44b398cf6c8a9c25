//! Death in every form: of the server, of its connection, of a lease in mid-statement.

use std::time::{Duration, Instant};

use portolan_catalog::embedded::EmbeddedPostgres;
use portolan_catalog::source::SourceErrorKind;

use crate::{Body, Shared, config};

pub(crate) const TESTS: &[(&str, Body)] = &[
    ("a_killed_server_comes_back_with_its_rows", killed),
    ("a_lease_dropped_in_mid_statement_stops_it", dropped_in_statement),
    ("a_lease_dropped_in_a_transaction_rolls_back", dropped_in_transaction),
    ("a_lease_dropped_in_copy_does_not_poison", dropped_in_copy),
    ("leases_are_granted_in_order", fair),
    ("two_servers_never_share_a_data_directory", one_owner),
];

async fn answer(server: &EmbeddedPostgres, sql: &str) -> i64 {
    let lease = server.lease().await.unwrap();
    let value = lease.query_one(sql, &[]).await.unwrap().get(0);
    lease.release();
    value
}

fn killed(shared: &Shared) {
    shared.runtime.block_on(async {
        let server = &shared.server;
        let lease = server.lease().await.unwrap();
        lease
            .batch_execute("CREATE TABLE kept (n int8); INSERT INTO kept SELECT generate_series(1, 1000)")
            .await
            .unwrap();
        lease.release();
        let starts = server.process().starts().await;
        server.process().kill().await;
        assert!(!server.process().is_alive().await);
        assert_eq!(answer(server, "SELECT sum(n)::int8 FROM kept").await, 500_500);
        assert_eq!(server.process().starts().await, starts + 1);
    });
}

fn dropped_in_statement(shared: &Shared) {
    shared.runtime.block_on(async {
        let server = &shared.server;
        let lease = server.lease().await.unwrap();
        let started = Instant::now();
        let endless = lease.query("SELECT count(*) FROM generate_series(1, 100000000000) AS n", &[]);
        assert!(tokio::time::timeout(Duration::from_millis(300), endless).await.is_err());
        let child = server.process().process_id().await;
        drop(lease);
        assert_eq!(answer(server, "SELECT 7::int8").await, 7);
        assert_ne!(server.process().process_id().await, child, "the server that ran the statement is gone");
        assert!(started.elapsed() < Duration::from_secs(15));
    });
}

fn dropped_in_transaction(shared: &Shared) {
    shared.runtime.block_on(async {
        let server = &shared.server;
        let lease = server.lease().await.unwrap();
        lease.batch_execute("CREATE TABLE undone (n int8)").await.unwrap();
        lease
            .batch_execute("BEGIN; INSERT INTO undone VALUES (1); SET search_path = pg_catalog")
            .await
            .unwrap();
        drop(lease);
        assert_eq!(answer(server, "SELECT count(*) FROM undone").await, 0);
    });
}

fn dropped_in_copy(shared: &Shared) {
    shared.runtime.block_on(async {
        let server = &shared.server;
        let lease = server.lease().await.unwrap();
        lease.batch_execute("CREATE TABLE half (n int8)").await.unwrap();
        let sink = lease.copy_in::<_, bytes::Bytes>("COPY half FROM STDIN").await.unwrap();
        drop(sink);
        drop(lease);
        assert_eq!(answer(server, "SELECT count(*) FROM half").await, 0);
        let lease = server.lease().await.unwrap();
        let rows = lease.copy_out("COPY (SELECT * FROM generate_series(1, 300000)) TO STDOUT").await.unwrap();
        drop(rows);
        drop(lease);
        assert_eq!(answer(server, "SELECT 1::int8").await, 1);
    });
}

fn fair(shared: &Shared) {
    shared.runtime.block_on(async {
        let first = shared.server.lease().await.unwrap();
        let order = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let mut waiting = Vec::new();
        for place in 0..5 {
            let (server, order) = (shared.server.clone(), std::sync::Arc::clone(&order));
            let task = tokio::spawn(async move {
                let lease = server.lease().await.unwrap();
                order.lock().unwrap().push(place);
                lease.release();
            });
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_millis(5)).await;
            waiting.push(task);
        }
        first.release();
        for task in waiting {
            task.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
    });
}

fn one_owner(shared: &Shared) {
    shared.runtime.block_on(async {
        let owner = shared.server.process().config().clone();
        let second = EmbeddedPostgres::start(owner).await.unwrap_err();
        assert_eq!(second.kind, SourceErrorKind::Conflict, "{second}");
        assert!(second.message.contains("in use by process"), "{second}");
        // The directory is free once its owner has stopped, and keeps what was committed.
        let data = tempfile::tempdir().unwrap();
        let other = EmbeddedPostgres::start(config("other", data.path())).await.unwrap();
        other.lease().await.unwrap().batch_execute("CREATE TABLE mine AS SELECT 3::int8 AS n").await.unwrap();
        other.shutdown().await;
        let again = EmbeddedPostgres::start(config("other", data.path())).await.unwrap();
        assert_eq!(answer(&again, "SELECT n FROM mine").await, 3);
        again.shutdown().await;
    });
}
