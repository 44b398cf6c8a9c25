//! One connection to a real PostgreSQL, and more readers than that.

use std::num::NonZeroU16;
use std::sync::Arc;

use portolan_catalog::postgres::{PostgresPool, PostgresSource};
use portolan_catalog::source::SourceName;
use tokio_postgres::{Client, Config, NoTls};

use crate::crowd::{BIG, Crowd, FEW};

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
        let database = format!("slots_{}", uuid::Uuid::new_v4().simple());
        admin.batch_execute(&format!("CREATE DATABASE {database}")).await.unwrap();
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
        let name = SourceName::try_new("ops").unwrap();
        let pool = PostgresPool::with_connections(&name, self.config.clone(), NonZeroU16::MIN).unwrap();
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
