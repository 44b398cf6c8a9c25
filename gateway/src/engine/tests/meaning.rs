use super::fixture::Fixture;
use datafusion::common::ScalarValue;

#[tokio::test(flavor = "multi_thread")]
async fn names_are_postgresqls_and_may_repeat() {
    let fixture = Fixture::open();
    for (sql, header) in [
        ("select 1, 1", "?column?:int4|?column?:int4"),
        (
            "select 1, 1, count(*), max(i4), 'a'||'b' from t",
            "?column?:int4|?column?:int4|count:int8|max:int4|?column?:text",
        ),
        ("select i4, i4 from t", "i4:int4|i4:int4"),
        ("select t.i4, u.i4 from t, t u", "i4:int4|i4:int4"),
        ("select i4::int8, 5::int8, case when flag then 1 end from t", "i4:int8|int8:int8|case:int4"),
        ("select coalesce(i4, 0), nullif(i4, 0), upper(txt) from t", "coalesce:int4|nullif:int4|upper:text"),
        (
            "select (select max(i4) from t), timestamp '2024-01-01', date '2024-01-01'",
            "max:int4|timestamp:timestamp|date:date",
        ),
        ("select * from (select count(*), max(i4) from t) q", "count:int8|max:int4"),
        ("with w as (select i4 from t) select * from w", "i4:int4"),
    ] {
        let (got, _) = fixture.one(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        assert_eq!(got, header, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_become_typed_literals() {
    let fixture = Fixture::open();
    let (_, rows) = fixture
        .ask(
            "select i4 from t where i4 = $1 and txt = $2",
            &[],
            vec![ScalarValue::Int32(Some(7)), ScalarValue::Utf8(Some("a".into()))],
        )
        .await
        .unwrap();
    assert_eq!(rows, [["7"]]);
}
