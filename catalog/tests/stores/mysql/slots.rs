//! One connection to a real MySQL or MariaDB, and more readers than that.

use mysql_async::prelude::Queryable as _;
use portolan_catalog::config::MysqlConfig;
use portolan_catalog::limits::{SlotWait, SourceLimits};
use tokio::sync::Mutex;

use super::fixture::{Database, open};
use crate::crowd::{BIG, Crowd, FEW, SLOT_WAIT};

async fn store() -> Database {
    let mut database = Database::new().await;
    database.number_a_million().await;
    database
        .run(&format!(
            "CREATE TABLE big (id bigint PRIMARY KEY, pad varchar(80) NOT NULL);
             INSERT INTO big SELECT n, concat('x', sha2(n, 256)) FROM million WHERE n <= {BIG};
             CREATE TABLE few (id bigint PRIMARY KEY);
             INSERT INTO few SELECT n FROM million WHERE n <= {FEW};
             ANALYZE TABLE big, few"
        ))
        .await;
    database
}

fn crowd(database: &Database, memory: usize, disk: u64) -> Crowd {
    impatient(database, memory, disk, SlotWait::default())
}

/// As [`crowd`]; a query waits that long for the connection.
fn impatient(database: &Database, memory: usize, disk: u64, slot_wait: SlotWait) -> Crowd {
    let limits = SourceLimits { slot_wait, ..SourceLimits::default() };
    let config = MysqlConfig { connections: std::num::NonZeroU16::MIN, limits, ..database.config() };
    Crowd::new(open("ops", &config), memory, disk)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_client_keeps_nobody_waiting() {
    let database = store().await;
    crowd(&database, 256 << 20, 1 << 30).a_stalled_client_keeps_nobody_waiting().await;
    crowd(&database, 256 << 20, 1 << 20).the_space_for_a_stalled_client_has_an_end().await;
    database.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_leaves_share_one_connection() {
    let database = store().await;
    crowd(&database, 1 << 30, 1 << 30).a_query_of_many_leaves_never_waits_for_itself().await;
    database.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_for_the_connection_has_an_end() {
    let database = store().await;
    let crowd = impatient(&database, 256 << 20, 1 << 30, SLOT_WAIT);
    let waits = format!(
        "SELECT count(*) FROM information_schema.processlist \
         WHERE db = '{}' AND state LIKE 'Waiting for table metadata lock%'",
        database.name
    );
    let locker = Mutex::new(database.another().await);
    let lock = async { locker.lock().await.query_drop("LOCK TABLES big WRITE").await.unwrap() };
    let blocked = async {
        let mut asker = database.another().await;
        while asker.query_first::<u64, _>(&waits).await.unwrap() == Some(0) {}
        asker.disconnect().await.unwrap();
    };
    let unlock = async { locker.lock().await.query_drop("UNLOCK TABLES").await.unwrap() };
    crowd.a_wait_for_the_connection_has_an_end(lock, blocked, unlock).await;
    drop(crowd);
    locker.into_inner().disconnect().await.unwrap();
    database.finish().await;
}
