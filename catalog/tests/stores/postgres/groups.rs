//! Conditions over groups are tested where the groups are made, and never change the answer.

use super::fixture::Fixture;

#[tokio::test(flavor = "multi_thread")]
async fn groups_that_cannot_pass_are_left_out_at_the_server() {
    let fixture = Fixture::start().await;
    for (sql, sent) in [
        (
            "SELECT bucket, sum(id) FROM many GROUP BY bucket HAVING sum(id) > 2000000",
            "WHERE (\"c1\" > (2000000))",
        ),
        ("SELECT label, count(*) FROM many GROUP BY label HAVING count(*) <> 20", "WHERE (\"c1\" <> (20))"),
        (
            "SELECT txt, max(vc) FROM t GROUP BY txt HAVING max(vc) > 'a'",
            "AS g WHERE ((\"c1\" COLLATE \"C\") >",
        ),
        ("SELECT txt, min(n) FROM t GROUP BY txt HAVING min(n) IS NULL OR count(*) > 1", "AS g WHERE"),
        ("SELECT bp, count(i4) FROM t GROUP BY bp HAVING count(i4) = 0", "AS g WHERE (\"c1\" = (0))"),
        (
            "SELECT bucket, sum(id) s FROM many GROUP BY bucket HAVING sum(id) > 2000000 ORDER BY s DESC LIMIT 3",
            "AS g WHERE",
        ),
    ] {
        let leaves = fixture.same(sql).await;
        assert!(leaves.iter().any(|leaf| leaf.contains(sent)), "{sql}\n{leaves:#?}");
    }
    // One group of all rows comes back whatever it is; a sum without room to spare may be an error; an average is
    // finished here.
    for sql in [
        "SELECT count(*) FROM many HAVING count(*) < 5",
        "SELECT i4, sum(n) FROM t GROUP BY i4 HAVING avg(n) > 1",
        "SELECT txt, count(*) FROM t GROUP BY txt HAVING avg(i4) > 0",
    ] {
        let leaves = fixture.same(sql).await;
        assert!(leaves.iter().all(|leaf| !leaf.contains(" AS g ")), "{sql}\n{leaves:#?}");
    }
    fixture.stop().await;
}
