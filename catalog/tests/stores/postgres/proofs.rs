//! What a server proved outlives the process, and not the server.

use std::num::NonZeroU16;
use std::path::Path;

use portolan_catalog::federation::is_outdated;
use portolan_catalog::source::{HealthState, SourceErrorKind};
use tokio_postgres::Config;

use super::fixture::{Fixture, source};
use crate::kept::{self, Process};

fn open(folder: &Path, config: &Config) -> Process {
    Process::open(folder, source("ops", config, NonZeroU16::new(4).unwrap(), "port"))
}

/// A server that nobody will ever reach.
fn nowhere() -> Config {
    let mut config = Config::new();
    config.host("127.0.0.1").port(1).dbname("nowhere").user("nobody");
    config
}

const ORDERED: &str = "SELECT txt FROM t WHERE txt < 'b'";
const LIKE: &str = "SELECT txt FROM t WHERE txt LIKE 'D_k%'";

#[tokio::test]
async fn what_a_server_proved_is_planned_by_after_a_restart_before_it_is_reached() {
    let fixture = Fixture::start().await;
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path(), &fixture.config);
    assert!(first.proved_at().is_none());
    first.look().await;
    let proved = first.capabilities();
    assert!(first.proved_at().is_some() && proved.iter().all(|row| row.active), "{proved:#?}");
    let rows = first.rows(ORDERED).await.unwrap();
    drop(first);

    let kept = kept::content(folder.path(), "ops");
    let fingerprint = kept["proofs"]["fingerprint"].as_str().unwrap();
    assert!(fingerprint.starts_with("PostgreSQL") && fingerprint.contains("UTF8"), "{fingerprint}");
    let second = open(folder.path(), &nowhere());
    assert_eq!(second.capabilities(), proved, "as of then");
    let leaf = second.leaf(ORDERED).await;
    assert!(leaf.contains(r#"("txt" COLLATE "C") < "#), "{leaf}");
    let leaf = second.leaf(LIKE).await;
    assert!(leaf.contains(r#"("txt" LIKE "#), "{leaf}");
    assert_eq!(second.rows(ORDERED).await.unwrap_err().kind, SourceErrorKind::Unreachable);

    // The same server is not asked again, and one that says something else and answers alike costs no statement.
    let third = open(folder.path(), &fixture.config);
    assert_eq!(third.rows(ORDERED).await.unwrap(), rows);
    assert_eq!(third.capabilities(), proved);
    kept::change(folder.path(), "ops", |content| content["proofs"]["fingerprint"] = "PostgreSQL 9".into());
    let fourth = open(folder.path(), &fixture.config);
    assert_eq!(fourth.proved_at(), third.proved_at());
    assert_eq!(fourth.rows(ORDERED).await.unwrap(), rows);
    assert!(fourth.proved_at() > third.proved_at(), "nobody asked the server");
    assert_eq!(fourth.catalog.check_all().await[0].1.state, HealthState::Up);
    assert_eq!(kept::content(folder.path(), "ops")["proofs"]["fingerprint"], fingerprint);

    // Other questions prove nothing of ours.
    kept::change(folder.path(), "ops", |content| content["proofs"]["probes"] = "others".into());
    let fifth = open(folder.path(), &nowhere());
    assert!(fifth.proved_at().is_none());
    for sql in [ORDERED, LIKE] {
        let leaf = fifth.leaf(sql).await;
        assert!(leaf.contains("not proven on this server yet") && !leaf.contains(" WHERE "), "{leaf}");
    }
    fixture.stop().await;
}

/// The database becomes like another server's: it says that it is of another version, and its LIKE matches nothing.
#[tokio::test]
async fn a_statement_planned_by_what_another_server_proved_is_refused_and_never_answered() {
    let fixture = Fixture::start().await;
    let folder = tempfile::tempdir().unwrap();
    open(folder.path(), &fixture.config).look().await;
    let database = fixture.config.get_dbname().unwrap();
    let replaced = format!(
        "CREATE SCHEMA theirs; \
         CREATE FUNCTION theirs.version() RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'PostgreSQL 99' $$; \
         CREATE FUNCTION theirs.never(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT false $$; \
         CREATE OPERATOR theirs.~~ (LEFTARG = text, RIGHTARG = text, FUNCTION = theirs.never); \
         ALTER DATABASE {database} SET search_path = theirs, pg_catalog, public"
    );
    fixture.client.batch_execute(&replaced).await.unwrap();

    let second = open(folder.path(), &fixture.config);
    let leaf = second.leaf(LIKE).await;
    assert!(leaf.contains(r#"("txt" LIKE "#), "nobody knows yet: {leaf}");
    let refused = second.rows(LIKE).await.unwrap_err();
    assert!(is_outdated(&refused), "{refused:?}");
    assert_eq!(second.rows(LIKE).await.unwrap(), ["Dakar"]);
    let leaf = second.leaf(LIKE).await;
    assert!(leaf.contains("this server answers otherwise"), "{leaf}");
    let leaf = second.leaf(ORDERED).await;
    assert!(leaf.contains(r#"("txt" COLLATE "C") < "#), "what it does prove is sent: {leaf}");

    // What was found while a statement was read is kept at the next look at the server.
    second.catalog.check_all().await;
    let third = open(folder.path(), &nowhere());
    assert_eq!(third.capabilities(), second.capabilities());
    assert!(third.capabilities().iter().any(|row| row.mismatch.is_some()));
    assert!(third.leaf(LIKE).await.contains("this server answers otherwise"));
    fixture.stop().await;
}
