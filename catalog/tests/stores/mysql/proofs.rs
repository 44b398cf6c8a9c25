//! What a server proved outlives the process, and not the server.

use std::path::Path;

use portolan_catalog::config::MysqlConfig;
use portolan_catalog::source::SourceErrorKind;

use super::fixture::{Database, open};
use crate::kept::{self, Process};

fn process(folder: &Path, config: &MysqlConfig) -> Process {
    Process::open(folder, open("ops", config))
}

const BYTES: &str = "SELECT v FROM t WHERE v < 'b'";
const LIKE: &str = "SELECT v FROM t WHERE v LIKE 'b_'";

#[tokio::test]
async fn what_a_server_proved_is_planned_by_after_a_restart_before_it_is_reached() {
    let mut database = Database::new().await;
    database
        .run("CREATE TABLE t (k INT, v VARCHAR(9));\nINSERT INTO t VALUES (1, 'a'), (2, 'B'), (3, 'b'), (4, 'bé')")
        .await;
    let (live, folder) = (database.config(), tempfile::tempdir().unwrap());
    // Nobody listens there.
    let nowhere = MysqlConfig { port: 1, ..database.config() };
    let first = process(folder.path(), &live);
    assert!(first.proved_at().is_none());
    first.look().await;
    let proved = first.capabilities();
    assert!(first.proved_at().is_some() && proved.iter().all(|row| row.active), "{proved:#?}");
    drop(first);

    let second = process(folder.path(), &nowhere);
    assert_eq!(second.capabilities(), proved, "as of then");
    let leaf = second.leaf(BYTES).await;
    assert!(leaf.contains("AS BINARY) < "), "{leaf}");
    let leaf = second.leaf(LIKE).await;
    assert!(leaf.contains("COLLATE utf8mb4_bin"), "{leaf}");
    assert_eq!(second.rows(BYTES).await.unwrap_err().kind, SourceErrorKind::Unreachable);

    // The same server is not asked again, and one that says something else and answers alike costs no statement.
    let third = process(folder.path(), &live);
    assert_eq!(third.rows(BYTES).await.unwrap(), ["B", "a"]);
    assert_eq!(third.rows(LIKE).await.unwrap(), ["bé"]);
    assert_eq!(third.capabilities(), proved);
    let fingerprint = kept::content(folder.path(), "ops")["proofs"]["fingerprint"].clone();
    assert!(fingerprint.as_str().unwrap().contains("STRICT_TRANS_TABLES"), "{fingerprint}");
    kept::change(folder.path(), "ops", |content| content["proofs"]["fingerprint"] = "5.5".into());
    let fourth = process(folder.path(), &live);
    assert_eq!(fourth.proved_at(), third.proved_at());
    assert_eq!(fourth.rows(BYTES).await.unwrap(), ["B", "a"]);
    assert!(fourth.proved_at() > third.proved_at(), "nobody asked the server");
    fourth.catalog.check_all().await;
    assert_eq!(kept::content(folder.path(), "ops")["proofs"]["fingerprint"], fingerprint);

    // Other questions prove nothing of ours.
    kept::change(folder.path(), "ops", |content| content["proofs"]["probes"] = "others".into());
    let fifth = process(folder.path(), &nowhere);
    assert!(fifth.proved_at().is_none());
    for sql in [BYTES, LIKE] {
        let leaf = fifth.leaf(sql).await;
        assert!(leaf.contains("not proven on this server yet") && !leaf.contains(" WHERE "), "{leaf}");
    }
    database.finish().await;
}
