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
    let times = "select bool_and(ms >= first_byte_ms), bool_and(ms > 0), sum(retries) from system.fragments \
                 where state = 'done'";
    assert_eq!(fixture.one(times).await.unwrap().1, "true|true|0");
    let own = "select plan_ms > 0, exec_ms >= 0, plan_ms + exec_ms <= elapsed_ms + 1000, spilled_bytes \
               from system.queries where query like '%spilled%'";
    assert_eq!(fixture.one(own).await.unwrap().1, "true|true|true|0");
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
