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
        ("select 1, sum(1) over () from t group by 1, 2", "42P20", None),
        ("select i4 from t group by i4, rank() over ()", "42P20", None),
        ("select round(f8, 'a') is null from t", "42883", None),
        ("select - txt from t", "42883", None),
        ("select string_agg(-1::text, ',') from t limit 0", "42883", None),
        ("select i4 from t union select flag from t", "42804", None),
        ("select greatest(i4, flag) from t", "42804", None),
        ("select avg(rank() over ()) from t", "42803", None),
        ("insert into t values (1)", "25006", None),
        ("create table x (a int)", "25006", None),
        ("copy t to '/tmp/x'", "25006", None),
        ("select 1; select 2", "42601", None),
        ("select 1 from t for update", "25006", None),
        ("select 7/0", "22012", None),
        ("set datafusion.execution.batch_size = 1", "0A000", None),
        ("select i4 from t where txt = b'101'", "0A000", None),
        ("select x'ff' from t", "0A000", None),
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

/// Sets of groups multiply; PostgreSQL's limits, and one of our own for what a plan holds.
#[tokio::test(flavor = "multi_thread")]
async fn sets_of_groups_that_multiply_are_refused_before_they_are_planned() {
    let fixture = Fixture::open();
    let keys = |count: usize| (0..count).map(|n| format!("i4 % {}", n + 2)).collect::<Vec<_>>().join(", ");
    let grouped = |by: String| format!("select count(*) from (select 1 from t group by {by}) x");
    for (by, state, message) in [
        (format!("cube ({})", keys(13)), "54011", "CUBE is limited to 12 elements"),
        (
            format!("cube ({}), cube ({})", keys(6), keys(7)),
            "54001",
            "too many grouping sets present (maximum 4096)",
        ),
        (
            format!("grouping sets ({})", "(), ".repeat(4_096) + "()"),
            "54001",
            "too many grouping sets present (maximum 4096)",
        ),
        (
            format!("rollup ({}), rollup ({})", keys(63), keys(64)),
            "54001",
            "too many grouping sets present (maximum 4096)",
        ),
        (format!("cube ({})", keys(12)), "54001", "statement is too complex"),
        (format!("rollup ({})", keys(300)), "54001", "statement is too complex"),
    ] {
        let sql = grouped(by);
        let started = std::time::Instant::now();
        let error = fixture.one(&sql).await.unwrap_err();
        assert_eq!((error.code.sqlstate(), error.message.as_str()), (state, message), "{sql}");
        assert!(started.elapsed().as_secs() < 5, "{sql}");
    }
    assert_eq!(fixture.one(&grouped("cube (flag, i4)".into())).await.unwrap().1, "10");
    let inner = format!("select 1 where exists (select 1 from t group by cube ({}))", keys(13));
    assert_eq!(fixture.one(&inner).await.unwrap_err().code.sqlstate(), "54011");
    let deep = format!("select count(*) from t where {}flag{}", "not (".repeat(199), ")".repeat(199));
    assert_eq!(fixture.one(&deep).await.unwrap_err().code.sqlstate(), "54001");
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
