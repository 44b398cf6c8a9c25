//! Intervals by their lengths: what the corpus cannot ask, which is parameters, and what DataFusion plans by itself.

use datafusion::common::ScalarValue;

use super::fixture::Fixture;

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_is_compared_by_its_length() {
    let fixture = Fixture::open();
    let day = ScalarValue::new_interval_mdn(0, 1, 0);
    for (sql, expected) in [
        (
            "select count(*) from (values (interval '24 hours'), (interval '1 day'), (interval '2 days')) v(x) where x = $1",
            "2",
        ),
        (
            "select count(*) from (values (interval '24 hours'), (interval '1 day'), (interval '2 days')) v(x) where x in ($1)",
            "2",
        ),
        (
            "select count(*) from (values (interval '24 hours'), (interval '1 mon')) v(x) where x between $1 and $1",
            "1",
        ),
    ] {
        let (_, rows) = fixture.ask(sql, &[], vec![day.clone()]).await.unwrap();
        assert_eq!(rows, [[expected]], "{sql}");
    }
}

/// A minimum prunes the rows below it as it falls; Arrow's order would prune the wrong ones. A column without nulls stays
/// one where it is grouped by.
#[tokio::test(flavor = "multi_thread")]
async fn the_plan_around_a_comparison_agrees_with_it() {
    let fixture = Fixture::open();
    let many =
        "(select case when i4 is null then interval '1 mon -2 days' else interval '29 days' end x from t)";
    for (sql, expected) in [
        (
            format!(
                "select min(x) = interval '28 days' from {many} v where exists (select 1 from t where i4 is null)"
            ),
            "true",
        ),
        (format!("select count(*) from (select x from {many} v group by x) g"), "2"),
        (
            format!(
                "select count(*) from (select x, count(*) n from {many} v group by x union all select x, 1 from {many} w) g where n > 0 and x > '1 day'"
            ),
            "5",
        ),
        (
            format!(
                "select count(*) from (select distinct x from {many} v order by x limit 1) g where x = '28 days'"
            ),
            "1",
        ),
    ] {
        let (_, rows) = fixture.one(&sql).await.unwrap();
        assert_eq!(rows, expected, "{sql}");
    }
}
