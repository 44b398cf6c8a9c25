//! What a server proved outlives the process, and not the server.

use std::path::Path;
use std::sync::Arc;

use mongodb::bson::doc;
use portolan_catalog::config::MongodbConfig;
use portolan_catalog::mongodb::MongodbSource;
use portolan_catalog::source::SourceName;

use super::{Fixture, server};
use crate::kept::{self, Process};

const GROUPS: &str = "SELECT s, count(*) FROM t GROUP BY s";

#[tokio::test]
async fn what_a_server_proved_is_planned_by_after_a_restart_before_it_is_reached() {
    let fixture = Fixture::start("").await;
    fixture.insert("t", ["a", "b", "a"].map(|s| doc! { "s": s })).await;
    let folder = tempfile::tempdir().unwrap();
    let open = |folder: &Path, (hosts, set): (String, Option<String>)| {
        let set = set.map_or_else(String::new, |set| format!("replica_set: {set}\n"));
        let yaml = format!("hosts: [\"{hosts}\"]\n{set}database: {}\n", fixture.name);
        let config: MongodbConfig = portolan_catalog::yaml::parse(Path::new("test"), &yaml).unwrap();
        let source = MongodbSource::open(SourceName::try_new("docs").unwrap(), config).unwrap();
        Process::open(folder, Arc::new(source))
    };
    // Nobody listens there.
    let nowhere = || ("127.0.0.1:1".to_owned(), None);
    let first = open(folder.path(), server());
    assert!(first.proved_at().is_none());
    first.look().await;
    let proved = first.capabilities();
    assert!(first.proved_at().is_some() && proved.iter().all(|row| row.active), "{proved:#?}");
    drop(first);

    let second = open(folder.path(), nowhere());
    assert_eq!(second.capabilities(), proved, "as of then");
    let leaf = second.leaf(GROUPS).await;
    assert!(leaf.contains("$group"), "{leaf}");

    // The same server is not asked again, and one that says something else and answers alike costs no statement.
    let third = open(folder.path(), server());
    assert_eq!(third.rows(GROUPS).await.unwrap(), ["a|2", "b|1"]);
    assert_eq!(third.capabilities(), proved);
    let fingerprint = kept::content(folder.path(), "docs")["proofs"]["fingerprint"].clone();
    kept::change(folder.path(), "docs", |content| content["proofs"]["fingerprint"] = "3.6|".into());
    let fourth = open(folder.path(), server());
    assert_eq!(fourth.proved_at(), third.proved_at());
    assert_eq!(fourth.rows(GROUPS).await.unwrap(), ["a|2", "b|1"]);
    assert!(fourth.proved_at() > third.proved_at(), "nobody asked the server");
    fourth.catalog.check_all().await;
    assert_eq!(kept::content(folder.path(), "docs")["proofs"]["fingerprint"], fingerprint);

    // Other questions prove nothing of ours.
    kept::change(folder.path(), "docs", |content| content["proofs"]["probes"] = "others".into());
    let fifth = open(folder.path(), nowhere());
    assert!(fifth.proved_at().is_none());
    let leaf = fifth.leaf(GROUPS).await;
    assert!(leaf.contains("not proven on this server yet") && !leaf.contains("$group"), "{leaf}");
    fixture.end().await;
}
