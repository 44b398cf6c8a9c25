//! Parts of texts are taken at the server, and are the same parts.

use super::fixture::Fixture;

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_texts_are_taken_at_the_server() {
    let fixture = Fixture::start().await;
    for (condition, sent) in [
        ("substr(txt, 1, 1) IN ('D', 'a', 'd')", true),
        ("substr(txt, 2, 3) = 'áka'", true),
        ("substr(vc, 1, 1) <> 'a'", true),
        ("substr(vc, 3, 0) = ''", true),
        ("substr(bp, 1, 9) = 'a'", true),
        ("substr(lo, 2, 2) > 'AK'", true),
        ("substr(dic, 1, 1) IN ('b', 'É')", true),
        ("substr(txt, 90, 2) = ''", true),
        ("substr(txt, 0, 2) = 'D'", false),
        ("substr(txt, -1, 3) = 'D'", false),
        ("substr(txt, 2) = 'akar'", false),
        ("substr(txt, i4::int8, 2) = 'Da'", false),
    ] {
        let sql = format!("SELECT i4, txt, vc, bp FROM t WHERE {condition}");
        let leaves = fixture.same(&sql).await;
        let there = leaves.iter().any(|leaf| leaf.contains("pg_catalog.substr("));
        assert_eq!(there, sent, "{sql}\n{leaves:#?}");
    }
    fixture.stop().await;
}
