//! A schema's steps on a real server: run once whoever starts, undone when they fail, refused when they are not ours.

use portolan_catalog::postgres::{MigrationStep, Migrations, PostgresPool};
use portolan_catalog::source::{SourceErrorKind, SourceName};
use tokio_postgres::{Client, Config, NoTls};

const fn step(version: i64, sql: &'static str) -> MigrationStep {
    MigrationStep { version, description: "a step", sql }
}

/// None of these can be run twice, and the first is slow enough for others to come.
const STEPS: &[MigrationStep] = &[
    step(1, "CREATE TABLE kept.mark (step int4); SELECT pg_sleep(0.3); INSERT INTO kept.mark VALUES (1)"),
    step(2, "ALTER TABLE kept.mark ADD COLUMN said text; INSERT INTO kept.mark VALUES (2, 'it''s; \"so\"')"),
];
const KEPT: Migrations = Migrations { schema: "kept", steps: STEPS };

/// An empty database.
struct Place {
    admin: Client,
    client: Client,
    config: Config,
    name: String,
}

async fn connect(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

impl Place {
    async fn new() -> Self {
        let mut config: Config = crate::servers::postgres().parse().unwrap();
        let admin = connect(&config).await;
        let name = crate::database::new_database(&admin, "feeds").await;
        config.dbname(&name);
        let client = connect(&config).await;
        Self { admin, client, config, name }
    }

    fn pool(&self) -> PostgresPool {
        PostgresPool::remote(&SourceName::try_new("warehouse").unwrap(), self.config.clone()).unwrap()
    }

    async fn text(&self, sql: &str) -> String {
        self.client.query_one(sql, &[]).await.unwrap().get::<_, Option<String>>(0).unwrap_or_default()
    }

    async fn finish(self) {
        drop(self.client);
        self.admin.batch_execute(&format!("DROP DATABASE {} WITH (FORCE)", self.name)).await.unwrap();
    }
}

#[tokio::test]
async fn eight_starters_run_every_step_once() {
    let place = Place::new().await;
    let starters = (0..8).map(|_| {
        let pool = place.pool();
        tokio::spawn(async move { pool.migrate(&KEPT).await })
    });
    for starter in futures::future::join_all(starters).await {
        starter.unwrap().unwrap();
    }
    let marks = "SELECT string_agg(step || coalesce(said, ''), ',' ORDER BY step) FROM kept.mark";
    assert_eq!(place.text(marks).await, "1,2it's; \"so\"");
    let steps = "SELECT string_agg(version || ' ' || success, ',' ORDER BY version) FROM kept.migrations";
    assert_eq!(place.text(steps).await, "1 true,2 true");
    // Nobody holds the lock, and nobody stays.
    let left = "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND database = \
                (SELECT oid FROM pg_database WHERE datname = current_database())";
    assert_eq!(place.text(left).await, "0");
    place.finish().await;
}

#[tokio::test]
async fn tables_from_before_there_were_steps_are_adopted_with_their_rows() {
    const ADOPT: Migrations = Migrations {
        schema: "kept",
        steps: &[
            step(1, "CREATE TABLE IF NOT EXISTS kept.run (id int4 PRIMARY KEY)"),
            step(2, "ALTER TABLE kept.run ADD COLUMN IF NOT EXISTS done boolean NOT NULL DEFAULT false"),
        ],
    };
    let place = Place::new().await;
    place.client.batch_execute("CREATE SCHEMA kept; CREATE TABLE kept.run (id int4 PRIMARY KEY); INSERT INTO kept.run VALUES (7)").await.unwrap();
    place.pool().migrate(&ADOPT).await.unwrap();
    assert_eq!(place.text("SELECT string_agg(id || ' ' || done, ',') FROM kept.run").await, "7 false");
    place.finish().await;
}

#[tokio::test]
async fn a_step_of_another_text_or_of_a_newer_version_is_refused() {
    const CHANGED: Migrations =
        Migrations { schema: "kept", steps: &[step(1, "CREATE TABLE kept.mark (step int8)"), STEPS[1]] };
    const OLDER: Migrations = Migrations { schema: "kept", steps: &[STEPS[0]] };
    const OTHER: Migrations = Migrations { schema: "kept", steps: &[STEPS[0], step(3, "SELECT 1")] };
    let place = Place::new().await;
    let pool = place.pool();
    pool.migrate(&KEPT).await.unwrap();
    for (migrations, said) in [
        (&CHANGED, "step 1 of schema \"kept\" was run with another text than this version has"),
        (&OLDER, "schema \"kept\" is at step 2, and this version knows 1 steps"),
        (&OTHER, "schema \"kept\" has a step 2 that this version does not know"),
    ] {
        let error = pool.migrate(migrations).await.unwrap_err();
        assert_eq!((error.kind, error.to_string().as_str()), (SourceErrorKind::Unsupported, said));
        assert!(error.hint.as_ref().is_some_and(|hint| hint.contains("version")), "{error:?}");
    }
    // A refusal changes nothing and keeps no lock.
    pool.migrate(&KEPT).await.unwrap();
    assert_eq!(place.text("SELECT count(*)::text FROM kept.migrations").await, "2");
    place.finish().await;
}

#[tokio::test]
async fn a_step_that_fails_is_undone_and_can_be_tried_again() {
    const BROKEN: Migrations = Migrations {
        schema: "kept",
        steps: &[STEPS[0], step(2, "CREATE TABLE kept.half (a int4); INSERT INTO kept.half SELECT 1 / 0")],
    };
    let place = Place::new().await;
    let pool = place.pool();
    let error = pool.migrate(&BROKEN).await.unwrap_err();
    assert_eq!(error.to_string(), "step 2 of schema \"kept\" cannot be migrated: the server refused a value");
    assert_eq!(error.remote_code.as_deref(), Some("22012"));
    assert_eq!(place.text("SELECT to_regclass('kept.half')::text").await, "");
    assert_eq!(place.text("SELECT count(*)::text FROM kept.migrations").await, "1");
    pool.migrate(&KEPT).await.unwrap();
    assert_eq!(place.text("SELECT count(*)::text FROM kept.mark").await, "2");
    place.finish().await;
}

#[tokio::test]
async fn a_refused_password_is_told_without_it() {
    let place = Place::new().await;
    let mut config = place.config.clone();
    config.password("no such secret");
    let name = SourceName::try_new("warehouse").unwrap();
    let error = PostgresPool::remote(&name, config).unwrap().migrate(&KEPT).await.unwrap_err();
    let said = "schema \"kept\" cannot be migrated: the server refused the credentials";
    assert_eq!((error.kind, error.to_string().as_str()), (SourceErrorKind::Auth, said));
    assert!(!format!("{error:?}").contains("no such secret"), "{error:?}");
    assert_eq!(error.source_name, Some(name));
    place.finish().await;
}
