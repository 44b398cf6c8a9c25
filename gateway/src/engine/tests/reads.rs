//! What statements read of sources is told to their user, with what was estimated, came, and was needed.

use super::audit::open;
use crate::session::Identity;

const READS: &str = "select source, sent, state, fragment, rows, minimal_rows, minimal_bytes = bytes, as_of \
                     from system.fragments order by started_at";

#[tokio::test(flavor = "multi_thread")]
async fn what_statements_read_is_told_to_their_user_alone() {
    let (mut fixture, _catalog) = open(false);
    fixture.session.settings().set("portolan.audit_per_mille", Some("0")).unwrap();
    let (_, none) = fixture.one(READS).await.unwrap();
    assert_eq!(none, "");
    fixture.one("select n from ops.t").await.unwrap();
    let (_, joined) =
        fixture.one("select count(*) from ops.t x join ops.t y on x.n + 0 = y.n + 0").await.unwrap();
    assert_eq!(joined, "3");
    let (_, reads) = fixture.one(READS).await.unwrap();
    let lines: Vec<&str> = reads.lines().collect();
    assert_eq!(lines.len(), 3, "a read each, two of the join: {reads}");
    assert_eq!(lines[0], "ops|t|done|1|3|3|true|batch:1");
    assert!(lines[1].starts_with("ops|t|done|1|3|") && lines[2].starts_with("ops|t|done|2|3|"), "{reads}");
    // EXPLAIN ANALYZE runs its statement, so it is told as well; EXPLAIN asks nobody.
    let (_, plan) = fixture.one("explain analyze select n from ops.t").await.unwrap();
    assert!(plan.contains(" rows=3 bytes=") && plan.contains(" minimal="), "{plan}");
    let (_, plan) = fixture.one("explain select n from ops.t").await.unwrap();
    assert!(!plan.contains(" rows="), "{plan}");
    let (_, count) = fixture.one("select count(*) from system.fragments").await.unwrap();
    assert_eq!(count, "4");

    fixture.session = fixture.engine.session(Identity { user: "other".into(), pid: 2, protocol: "internal" });
    let (_, none) = fixture.one(READS).await.unwrap();
    assert_eq!(none, "", "nobody sees what others read");
}
