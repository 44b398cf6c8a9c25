use super::fixture::Fixture;

#[tokio::test(flavor = "multi_thread")]
async fn wrong_statements_have_postgresqls_state_and_position() {
    let fixture = Fixture::open();
    for (sql, state, position) in [
        ("select 1 +", "42601", Some(11)),
        ("selec 1", "42601", Some(1)),
        ("select * from nowhere", "42P01", Some(15)),
        ("select * from tos.nowhere", "42P01", Some(15)),
        ("select nope from t", "42703", Some(8)),
        ("select i5 from t", "42703", Some(8)),
        ("select nosuch(1) from t", "42883", Some(8)),
        ("select i4, count(*) from t", "42803", None),
        ("select i4 from t, t u", "42702", Some(8)),
        ("insert into t values (1)", "25006", None),
        ("create table x (a int)", "25006", None),
        ("copy t to '/tmp/x'", "25006", None),
        ("select 1; select 2", "42601", None),
        ("select 1 from t for update", "25006", None),
        ("select 7/0", "22012", None),
        ("set datafusion.execution.batch_size = 1", "0A000", None),
    ] {
        let error = match fixture.one(sql).await {
            Ok(answer) => panic!("{sql} answered {answer:?}"),
            Err(error) => error,
        };
        assert_eq!(error.code.sqlstate(), state, "{sql}: {error:?}");
        if position.is_some() {
            assert_eq!(error.position, position, "{sql}: {error:?}");
        }
    }
    let hint = fixture.one("select i5 from t").await.unwrap_err().hint.unwrap_or_default();
    assert!(hint.contains("i4") || hint.contains("i2") || hint.contains("i8"), "{hint}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_terms_are_refused_and_two_hundred_work() {
    let fixture = Fixture::open();
    let many = format!("select 1{}", "+1".repeat(100_000));
    assert_eq!(fixture.one(&many).await.unwrap_err().code.sqlstate(), "54001");
    let some = format!("select i4 {} from t where i4 = 7", "+1".repeat(200));
    assert_eq!(fixture.one(&some).await.unwrap().1, "207");
}

/// Each level reads the one before twice: the plan doubles with every line.
#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_with_queries_that_doubles_is_refused_before_it_is_walked() {
    let fixture = Fixture::open();
    let chain = |levels: usize| {
        let more: String = (1..levels)
            .map(|level| format!(", w{level} as (select a.n from w{0} a, w{0} b limit 9)", level - 1))
            .collect();
        format!("with w0 as (select 1 as n){more} select count(*) from w{}", levels - 1)
    };
    assert_eq!(fixture.one(&chain(5)).await.unwrap().1, "1");
    assert_eq!(fixture.one(&chain(40)).await.unwrap_err().code.sqlstate(), "54001");
    let nested = |levels: usize| {
        format!(
            "select count(*) from t where {}i4 = 7{}",
            "i4 in (select i4 from t where ".repeat(levels),
            ")".repeat(levels)
        )
    };
    assert_eq!(fixture.one(&nested(4)).await.unwrap().1, "1");
    assert_eq!(fixture.one(&nested(40)).await.unwrap_err().code.sqlstate(), "54001");
    let hidden = format!("select 1 where exists ({})", chain(40));
    assert_eq!(fixture.one(&hidden).await.unwrap_err().code.sqlstate(), "54001");
}
