//! Collections and views with a collation of their own: equality is asked for and judged again here, order is made here.

use mongodb::bson::doc;

use super::{Fixture, numbered};

#[tokio::test]
async fn trap_w9_w12_what_is_collated_is_compared_here() {
    let fixture = Fixture::start("").await;
    let collation = doc! { "locale": "en", "strength": 2 };
    fixture.database().run_command(doc! { "create": "t", "collation": collation.clone() }).await.unwrap();
    fixture.insert("t", numbered(["Dakar", "DAKAR", "a", "B"].map(|s| doc! { "s": s }))).await;
    let view = doc! { "create": "v", "viewOn": "t", "pipeline": [], "collation": collation };
    fixture.database().run_command(view).await.unwrap();
    // A collection's own collation is set aside, but not in an order.
    let equal = "SELECT _id FROM t WHERE s = 'Dakar'";
    assert_eq!(fixture.rows(equal).await, ["1"]);
    let leaf = fixture.leaf(equal).await;
    assert!(leaf.contains("$match") && !leaf.contains("superset"), "{leaf}");
    let equal = "SELECT _id FROM v WHERE s IN ('Dakar', 'b')";
    assert_eq!(fixture.rows(equal).await, ["1"]);
    let leaf = fixture.leaf(equal).await;
    assert!(leaf.contains("$match") && leaf.contains("superset"), "{leaf}");
    for (sql, rows) in [
        ("SELECT s FROM t ORDER BY s LIMIT 2", "B DAKAR"),
        ("SELECT s FROM v ORDER BY s LIMIT 2", "B DAKAR"),
        ("SELECT _id FROM v WHERE s <> 'Dakar'", "2 3 4"),
        ("SELECT _id FROM v WHERE s NOT IN ('Dakar', 'b')", "2 3 4"),
        ("SELECT _id FROM v WHERE s > 'DB'", "1 3"),
        ("SELECT _id FROM v WHERE s LIKE 'D%'", "1 2"),
        ("SELECT s, count(*) FROM v GROUP BY s", "B|1 DAKAR|1 Dakar|1 a|1"),
        ("SELECT min(s), max(s) FROM v", "B|a"),
    ] {
        assert_eq!(fixture.rows(sql).await.join(" "), rows, "{sql}");
        let leaf = fixture.leaf(sql).await;
        assert!(leaf.contains("a collation of its own"), "{sql}\n{leaf}");
        assert!(["$match", "$sort", "$group"].iter().all(|stage| !leaf.contains(stage)), "{sql}\n{leaf}");
    }
    fixture.end().await;
}
