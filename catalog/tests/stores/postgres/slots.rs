//! One connection to a real PostgreSQL, and more readers than that.

use std::num::NonZeroU16;
use std::sync::Arc;

use portolan_catalog::limits::SlotWait;
use portolan_catalog::postgres::{PostgresPool, PostgresSource};
use portolan_catalog::source::SourceName;
use tokio_postgres::{Client, Config, NoTls};

use crate::crowd::{BIG, Crowd, FEW, SLOT_WAIT};

/// A database with the two tables; `stop` drops it.
struct Store {
    admin: Client,
    database: String,
    config: Config,
}

impl Store {
    async fn start() -> Self {
        let mut config: Config = crate::servers::postgres().parse().unwrap();
        let (admin, connection) = config.connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        let database = crate::database::new_database(&admin, "slots").await;
        let (client, connection) = config.dbname(&database).connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        let fill = format!(
            "CREATE TABLE big AS SELECT g AS id, 'x' || repeat(md5(g::text), 2) AS pad \
             FROM generate_series(1, {BIG}::int8) g; \
             CREATE TABLE few AS SELECT g AS id FROM generate_series(1, {FEW}::int8) g; ANALYZE"
        );
        client.batch_execute(&fill).await.unwrap();
        Self { admin, database, config }
    }

    /// A session over the source, which has one connection.
    fn crowd(&self, memory: usize, disk: u64) -> Crowd {
        self.impatient(memory, disk, SlotWait::default())
    }

    /// As [`Store::crowd`]; a query waits that long for the connection.
    fn impatient(&self, memory: usize, disk: u64, wait: SlotWait) -> Crowd {
        let name = SourceName::try_new("ops").unwrap();
        let pool = PostgresPool::with_slots(&name, self.config.clone(), NonZeroU16::MIN, wait).unwrap();
        Crowd::new(Arc::new(PostgresSource::new(name, pool, "public")), memory, disk)
    }

    async fn stop(self) {
        self.admin.batch_execute(&format!("DROP DATABASE {} WITH (FORCE)", self.database)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_client_keeps_nobody_waiting() {
    let store = Store::start().await;
    store.crowd(256 << 20, 1 << 30).a_stalled_client_keeps_nobody_waiting().await;
    store.crowd(256 << 20, 1 << 20).the_space_for_a_stalled_client_has_an_end().await;
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_leaves_share_one_connection() {
    let store = Store::start().await;
    store.crowd(1 << 30, 1 << 30).a_query_of_many_leaves_never_waits_for_itself().await;
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_for_the_connection_has_an_end() {
    let store = Store::start().await;
    let (locker, connection) = store.config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    let lock =
        async { locker.batch_execute("BEGIN; LOCK TABLE big IN ACCESS EXCLUSIVE MODE").await.unwrap() };
    let blocked = async {
        let waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'big'::regclass)";
        while !locker.query_one(waits, &[]).await.unwrap().get::<_, bool>(0) {}
    };
    let unlock = async { locker.batch_execute("ROLLBACK").await.unwrap() };
    let crowd = store.impatient(256 << 20, 1 << 30, SLOT_WAIT);
    crowd.a_wait_for_the_connection_has_an_end(lock, blocked, unlock).await;
    drop((crowd, locker));
    store.stop().await;
}
