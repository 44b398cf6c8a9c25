//! One connection to a real MySQL or MariaDB, and more readers than that.

use portolan_catalog::config::MysqlConfig;

use super::fixture::{Database, open};
use crate::crowd::{BIG, Crowd, FEW};

async fn store() -> Database {
    let mut database = Database::new().await;
    database
        .run(&format!(
            "CREATE TABLE big (id bigint PRIMARY KEY, pad varchar(80) NOT NULL);
             INSERT INTO big SELECT seq, concat('x', md5(seq), md5(seq)) FROM seq_1_to_{BIG};
             CREATE TABLE few (id bigint PRIMARY KEY);
             INSERT INTO few SELECT seq FROM seq_1_to_{FEW};
             ANALYZE TABLE big, few"
        ))
        .await;
    database
}

fn crowd(database: &Database, memory: usize, disk: u64) -> Crowd {
    let config = MysqlConfig { connections: std::num::NonZeroU16::MIN, ..database.config() };
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
