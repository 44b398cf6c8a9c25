//! A PostgreSQL database of a test's own, on a server that is shared and kept.
//!
//! A test that is killed cannot drop its database, so the next one of its family drops those that are an hour old and
//! that nobody is connected to: no test runs for so long.

use tokio_postgres::Client;

/// Seconds after which no test runs any more.
const OLD: f64 = 3_600.0;

/// Databases of a family that were made so many seconds ago or longer, and that nobody uses.
const LEFT_OVER: &str = "SELECT d.datname FROM pg_database d WHERE d.datname ~ ('^' || $1 || '_[0-9a-f]{32}$') \
     AND (pg_stat_file('base/' || d.oid || '/PG_VERSION', true)).modification < now() - make_interval(secs => $2) \
     AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.datname = d.datname)";

/// Makes an empty database, named after a family of tests, on the server a superuser is connected to.
#[expect(clippy::unwrap_used, reason = "a test without its database fails")]
pub(crate) async fn new_database(admin: &Client, family: &str) -> String {
    drop_left_over(admin, family, OLD).await;
    let name = format!("{family}_{}", uuid::Uuid::new_v4().simple());
    admin.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    name
}

#[expect(clippy::unwrap_used, reason = "a server that cannot be asked fails the test")]
async fn drop_left_over(admin: &Client, family: &str, older: f64) {
    for row in admin.query(LEFT_OVER, &[&family, &older]).await.unwrap() {
        let name: String = row.get(0);
        // Another run may be dropping it at this moment, or have begun to look at it.
        let _ = admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name}")).await;
    }
}

#[tokio::test]
async fn only_old_databases_of_the_family_that_nobody_uses_are_dropped() {
    let config: tokio_postgres::Config = crate::servers::postgres().parse().unwrap();
    let connect = async |database: Option<&str>| {
        let mut config = config.clone();
        if let Some(database) = database {
            config.dbname(database);
        }
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    };
    let admin = connect(None).await;
    // Another run's databases are not of this family.
    let family = format!("old_{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
    let (left, used) = (new_database(&admin, &family).await, new_database(&admin, &family).await);
    let user = connect(Some(&used)).await;
    let there = async |name: &str| {
        let asked = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)";
        admin.query_one(asked, &[&name]).await.unwrap().get::<_, bool>(0)
    };
    drop_left_over(&admin, &family, OLD).await;
    assert!(there(&left).await && there(&used).await, "both are young");
    drop_left_over(&admin, &family, 0.0).await;
    assert!(!there(&left).await && there(&used).await, "one is used");
    drop(user);
    admin.batch_execute(&format!("DROP DATABASE {used} WITH (FORCE)")).await.unwrap();
}
