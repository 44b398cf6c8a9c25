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

/// Expected values are PostgreSQL's, for the same rows; timestamps are printed in ISO form with a T.
#[tokio::test(flavor = "multi_thread")]
async fn values_and_types_are_postgresqls() {
    let fixture = Fixture::open();
    let mut wrong = Vec::new();
    for (sql, header, rows) in [
        ("select 7/2", "?column?:int4", "3"),
        ("select -7/2", "?column?:int4", "-3"),
        ("select 7%3", "?column?:int4", "1"),
        ("select 5/2.0", "?column?:numeric", "2.5000000000000000"),
        ("select 1.0/3", "?column?:numeric", "0.33333333333333333333"),
        ("select 100000/3.0", "?column?:numeric", "33333.333333333333"),
        ("select 2147483648", "?column?:int8", "2147483648"),
        ("select 1.5 + 1", "?column?:numeric", "2.5"),
        ("select i4 + 1 from t where i4 = 7", "?column?:int4", "8"),
        ("select i2 + i8 from t where i2 = 1", "?column?:int8", "8"),
        ("select avg(i4) from t where i4 = 7", "avg:numeric", "7.0000000000000000"),
        ("select avg(x) from (values (1),(2),(4)) v(x)", "avg:numeric", "2.3333333333333333"),
        ("select sum(i8) from t", "sum:numeric", "9223372036854775814"),
        ("select sum(i4) from t", "sum:int8", "2147483654"),
        ("select sum(num), avg(num) from t", "sum:numeric|avg:numeric", "11.845|5.9225000000000000"),
        ("select avg(f8) from t", "avg:float8", "1.0"),
        (
            "select cast(2.5 as int), cast(3.5 as int), cast(-2.5 as int)",
            "int4:int4|int4:int4|int4:int4",
            "3|4|-3",
        ),
        ("select cast(f8 as int) from t where flag", "f8:int4", "2"),
        ("select num::int from t where flag", "num:int4", "12"),
        ("select day + 1 from t where flag", "?column?:date", "2024-03-06"),
        ("select day - date '2024-03-01' from t where flag", "?column?:int4", "4"),
        ("select day + interval '1 day' from t where flag", "?column?:timestamp", "2024-03-06T00:00:00"),
        ("select timestamp '9999-12-31 23:59:59'", "timestamp:timestamp", "9999-12-31T23:59:59"),
        ("select row_number() over (order by i4) from t limit 1", "row_number:int8", "1"),
        ("select count(*) from t where tz > '2024-06-01'", "count:int8", "1"),
        (
            "select count(*) from t where tz between '2024-01-01T00:00:00Z' and '2024-06-01T00:00:00Z'",
            "count:int8",
            "1",
        ),
        ("select count(*) from t where tz >= day", "count:int8", "1"),
        ("select count(*) from t where i4 = '7'", "count:int8", "1"),
        ("select count(*) from t where i4 in ('7', '8')", "count:int8", "1"),
        ("select count(*) from t where day = '2024-03-05'", "count:int8", "1"),
        (
            "select extract(second from ts), date_part('dow', ts) from t where flag",
            "extract:float8|date_part:float8",
            "12.5|2.0",
        ),
        ("select extract(epoch from tz) from t where flag", "extract:float8", "1709633472.5"),
        (
            "select tz at time zone 'Asia/Hong_Kong' from t where flag",
            "timezone:timestamp",
            "2024-03-05T18:11:12.500",
        ),
        (
            "select (ts at time zone 'Asia/Hong_Kong') = timestamptz '2024-03-05 02:11:12.5Z' from t where flag",
            "?column?:bool",
            "true",
        ),
        ("select ts::text, f8::text from t where flag", "ts:text|f8:text", "2024-03-05 10:11:12.5|2.5"),
        ("select 1e20::float8::text, 0.00001::float8::text", "text:text|text:text", "1e+20|1e-05"),
        ("select now() = now(), now() = current_timestamp", "?column?:bool|?column?:bool", "true|true"),
        ("select i4::numeric from t where flag", "i4:numeric", "7"),
        ("select case when flag then 1 else 2.5 end from t where flag", "case:numeric", "1.0"),
        ("select txt || i4 from t where flag", "?column?:text", "a7"),
        (
            "select date_trunc('month', tz) from t where flag",
            "date_trunc:timestamptz",
            "2024-03-01T00:00:00Z",
        ),
        ("select count(*) from t where num > 2.5", "count:int8", "1"),
        ("select i4 from t order by 1 desc limit 2", "i4:int4", "NULL\n2147483647"),
        ("select sum(i4) over (order by i4) from t where flag", "sum:int8", "7"),
        ("select sum(i2), sum(f8) from t", "sum:int8|sum:float8", "32768|2.0"),
        ("select '1.5'::numeric + 1, 2.5::numeric(5,1)", "?column?:numeric|numeric:numeric", "2.5|2.5"),
        ("select i4, count(*) from t where flag group by 1 order by count", "i4:int4|count:int8", "7|1"),
        ("select x.i4 from t x join t y using (i4) where x.flag", "i4:int4", "7"),
        (
            "select state, query from system.queries",
            "state:text|query:text",
            "running|select state, query from system.queries",
        ),
    ] {
        match fixture.one(sql).await {
            Ok((got_header, got_rows)) if got_header == header && got_rows == rows => {}
            other => wrong.push(format!("{sql}\n  {other:?}, expected ({header:?}, {rows:?})")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_cannot_be_right_are_errors() {
    let fixture = Fixture::open();
    let mut wrong = Vec::new();
    for (sql, state) in [
        ("select i4 + 1 from t", "22003"),
        ("select i8 * 2 from t", "22003"),
        ("select 2147483647 + 1", "22003"),
        ("select i4 / 0 from t", "22012"),
        ("select f8 / 0 from t", "22012"),
        ("select f8 / (i4 - 7) from t", "22012"),
        ("select num / 0 from t", "22012"),
        ("select 5 / 0.0", "22012"),
        ("select count(*) from t where txt = 1", "42883"),
        ("select abs(0) - day from t", "42883"),
        ("select true or day from t", "42804"),
        ("select count(*) from t where i4 and flag", "42804"),
        ("select count(*) from t where day", "42804"),
        ("select i4 from t group by i4 having i4", "42804"),
        ("select day + day from t", "42883"),
        ("select ts * 2 from t", "42883"),
        ("select count(*) from t where i4 = 'x'", "22P02"),
        ("select count(*) from t where day = 'x'", "22007"),
        ("select count(*) from t where flag = 1", "42883"),
        ("select 'x'::int", "22P02"),
        ("select 99999999999::int4", "22003"),
        ("select to_char(ts, 'YYYY') from t", "0A000"),
        ("select mod(1, 0)", "22012"),
        ("select count(*) from t where day = '2024-02-30'", "22008"),
        ("select arrow_typeof(1)", "42883"),
        ("select sum(txt) from t", "42883"),
        ("select i4 from t where sum(i4) > 1", "42803"),
        ("select tz at time zone 'Mars/X' from t", "22023"),
        ("select (select i4 from t)", "21000"),
        ("select count(*) from t where i4::int2 <> 1::int2", "22003"),
        ("select -i8 from (values ('-9223372036854775808'::int8), (1)) v(i8)", "22003"),
    ] {
        match fixture.one(sql).await {
            Err(error) if error.code.sqlstate() == state => {}
            other => wrong.push(format!("{sql}: {other:?}, expected {state}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What generated queries over several stores once found to be another answer than PostgreSQL's.
#[tokio::test(flavor = "multi_thread")]
async fn floats_memberships_and_distinctness_are_postgresqls() {
    let fixture = Fixture::open();
    let mut wrong = Vec::new();
    for (sql, rows) in [
        (
            "select min(x), max(x) from (values (1, 'Infinity'::float8), (1, 'Infinity')) v(k, x) group by k",
            "inf|inf",
        ),
        (
            "select min(x), max(x) from (values (1, 'NaN'::float8), (1, 2.0::float8)) v(k, x) group by k",
            "2.0|NaN",
        ),
        ("select count(*) from (values ('Infinity'::float8), (1)) v(x) where x > 1.5::numeric", "1"),
        ("select count(*) from (values ('Infinity'::float8), (1)) v(x) where x in (1.5::numeric, 1)", "1"),
        ("select count(*) from t where f8 is distinct from 2.5::numeric", "2"),
        ("select count(*) from t where ts is distinct from '2024-03-05 10:11:12.5'", "2"),
        ("select count(*) from t where day is not distinct from timestamp '2024-03-05'", "1"),
        ("select count(*) from t where 5 not in (select i4 from t)", "0"),
        ("select count(*) from t where 5 not in (select i4 from t where i4 is not null)", "3"),
        ("select count(*) from t where (i4 in (select i4 from t where i4 is null)) is null", "3"),
        ("select count(*) from t where flag or i4 not in (select i4 from t where i4 is null)", "1"),
        ("select count(*) from t where flag or i4 not in (select i4 from t where false)", "3"),
        ("select floor(x), ceil(-x) from (values (-9.99::numeric(3,2))) v(x)", "-10|10"),
    ] {
        match fixture.one(sql).await {
            Ok((_, got)) if got == rows => {}
            other => wrong.push(format!("{sql}\n  {other:?}, expected {rows:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Unions, groups and orders of expressions that are rewritten before they run, over columns whose source says more of
/// them than their type.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_rewritten_may_stand_in_unions_groups_and_orders() {
    let fixture = Fixture::open();
    fixture.session.settings().set("TimeZone", Some("Asia/Hong_Kong")).unwrap();
    let mut wrong = Vec::new();
    for (sql, rows) in [
        ("select -i from declared union select i from declared order by 1", "-2\n-1\n1\n2"),
        ("select i from declared union select -i from declared order by 1", "-2\n-1\n1\n2"),
        ("select big::int4 from declared union select 7 order by 1", "1\n2\n3\n7"),
        ("select x::int4 from declared union select i from declared order by 1", "0\n1\n2"),
        ("select x::real from declared union select 2.5::real order by 1", "0.0\n1.5\n2.5"),
        ("select word::int4 from declared union select i from declared order by 1", "1\n2\n3"),
        ("select x::text from declared union select word from declared order by 1", "-0\n0\n1\n1.5\n2\n3"),
        ("select tz::date from declared union select date '2024-01-01' order by 1", "1970-01-01\n2024-01-01"),
        (
            "select count(*), n from (select -i as n from declared union all select big::int4 from declared) u group by n order by n",
            "2|-2\n1|-1\n1|1\n1|2\n1|3",
        ),
        ("select sum(n) from (select -i as n from declared union all select i from declared) u", "0"),
        ("select distinct -i from declared order by 1", "-2\n-1"),
        ("select -i from declared intersect select -i from declared order by 1", "-2\n-1"),
        ("select distinct flag is false from t order by 1", "false\ntrue"),
        (
            "select distinct flag is true, flag is not true, flag is not false, flag is unknown from t order by 1, 2, 3",
            "false|true|false|false\nfalse|true|true|true\ntrue|false|true|false",
        ),
        ("select count(distinct flag is true) from t", "2"),
        ("select flag is not unknown, count(*) from t group by 1 order by 1", "false|1\ntrue|2"),
        // Branches with equal and with constant columns, in order.
        (
            "select i, i as j from declared union all select i, 5 from declared order by 1, 2",
            "1|1\n1|5\n2|2\n2|2\n2|5\n2|5",
        ),
        ("select 1 as a, 1 as b union all select i, i from declared order by a, b", "1|1\n1|1\n2|2\n2|2"),
        (
            "select i, big from declared where i = 1 union all select i, i from declared order by i, big",
            "1|1\n1|1\n2|2\n2|2",
        ),
        (
            "select 7 as a, i as b from declared union all select 7, 7 from declared order by b, a limit 2",
            "7|1\n7|2",
        ),
        (
            "select i as a, i as b from declared union all select i, i from declared order by a desc, b",
            "2|2\n2|2\n2|2\n2|2\n1|1\n1|1",
        ),
        (
            "select i as a, 3 as b from declared union all select 3, i from declared order by b, a",
            "3|1\n3|2\n3|2\n1|3\n2|3\n2|3",
        ),
    ] {
        match fixture.one(sql).await {
            Ok((_, got)) if got == rows => {}
            other => wrong.push(format!("{sql}\n  {other:?}, expected {rows:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A column beside `*` is there twice, as in PostgreSQL.
#[tokio::test(flavor = "multi_thread")]
async fn a_column_beside_a_wildcard_is_there_twice() {
    let fixture = Fixture::open();
    for (sql, rows) in [
        ("select i, * from (values (1, 'a')) v(i, s)", "1|1|a"),
        ("select *, s, i from (values (1, 'a')) v(i, s)", "1|a|a|1"),
        ("select v.*, i from (values (1, 'a')) v(i, s) order by i", "1|a|1"),
        ("select x.i, x.s from (select s, * from (values (1, 'a')) v(i, s)) x", "1|a"),
        ("select v.*, w.s from (values (1, 'a')) v(i, s) join (values (1, 'b')) w(j, s) on i = j", "1|a|b"),
    ] {
        assert_eq!(fixture.one(sql).await.unwrap().1, rows, "{sql}");
    }
}

/// The two zeros are one value, and a float beside numerics makes floats of them.
#[tokio::test(flavor = "multi_thread")]
async fn zeros_are_equal_and_values_are_floats_beside_floats() {
    let fixture = Fixture::open();
    let mut wrong = Vec::new();
    for (sql, rows) in [
        (
            "select '-0'::float8 = 0, '-0'::float8 < 0, '-0'::float8 <> 0, '-0'::float8 >= '0'::float8",
            "true|false|false|true",
        ),
        ("select count(*) from declared where x = 0", "2"),
        ("select count(*) from declared where x < 0", "0"),
        ("select count(*) from declared where x <> 0", "1"),
        ("select count(*) from declared where x in (0, 7)", "2"),
        ("select count(*) from declared where x not in (0, 7)", "1"),
        ("select count(*) from declared where x between 0 and 1", "2"),
        ("select count(*) from declared where x = '-0'", "2"),
        ("select count(*) from declared where x is distinct from 0::float8", "1"),
        ("select count(distinct x) from declared", "2"),
        ("select count(*) from (select distinct x from declared) d", "2"),
        ("select count(*) from (select x from declared group by x) d", "2"),
        ("select count(*) from (select x from declared union select 0::float8) d", "2"),
        ("select count(*) from declared a join declared b on a.x = b.x", "5"),
        ("select count(*) from declared a join declared b using (x)", "5"),
        ("select count(*) from declared where x in (select 0::float8)", "2"),
        ("select count(*) from declared where x not in (select 0::float8)", "1"),
        ("select count(*) from declared where x not in (select x from declared where big = 3)", "1"),
        ("select count(*) from declared where not x in (select -f8 * 0 from t where f8 is not null)", "1"),
        ("select count(*) from declared where x not in (select f8 * 0 from t)", "0"),
        ("select count(*) from t where f8 * 0 not in (select x from declared where big = 3)", "0"),
        ("select count(*) from t where f8 * 0 not in (select x from declared where big = 1)", "2"),
        (
            "select count(*) from declared where big > 2 or x not in (select x from declared where big = 3)",
            "2",
        ),
        ("select distinct on (x) x, big from declared order by x, big desc", "0.0|3\n1.5|1"),
        ("select count(*) from (select distinct on (x) i from declared) d", "2"),
        ("select distinct on (i) i, x, big from declared order by i, x, big desc", "1|1.5|1\n2|0.0|3"),
        (
            "select count(*) from declared d where exists (select 1 from declared e where e.x = d.x and e.big <> d.big)",
            "2",
        ),
        (
            "select count(*) from declared d where not exists (select 1 from declared e where e.x = d.x and e.big = 3)",
            "1",
        ),
        (
            "select count(*) from declared d where exists (select 1 from declared e where e.x < d.x and e.big = 3)",
            "1",
        ),
        ("select count(*) from declared d where 2 in (select e.big from declared e where e.x = d.x)", "2"),
        ("select (select count(*) from declared e where e.x = d.x) from declared d order by big", "1\n2\n2"),
        (
            "select (select max(e.big) from declared e where e.x + 0 = d.x) from declared d order by big",
            "1\n3\n3",
        ),
        (
            "select count(*) from declared d where x not in (select e.x from declared e where e.big = d.big + 1)",
            "2",
        ),
        ("select x::real = 0::real, x::real < 0::real from declared where i = 2", "true|false\ntrue|false"),
        ("select x, i from declared order by x, big desc", "0.0|2\n-0.0|2\n1.5|1"),
        ("select nullif(x, 0) is null from declared order by big", "false\ntrue\ntrue"),
        ("select case x when 0 then 'zero' else 'more' end from declared order by big", "more\nzero\nzero"),
        ("select rank() over (order by x) from declared order by 1", "1\n1\n3"),
        // A NaN is one value too, whatever its sign.
        (
            "select count(*) from (values ('NaN'::float8), (1::float8)) v(x) where x is not distinct from -x",
            "1",
        ),
        ("select count(*) from (values ('NaN'::float8), (1::float8)) v(x) where x = -x", "1"),
        (
            "select count(distinct y) from (select x y from (values ('NaN'::float8)) v(x) union all select -x from (values ('NaN'::float8)) w(x)) d",
            "1",
        ),
        (
            "select count(*) from (values ('NaN'::float8)) v(x) join (values ('NaN'::float8)) w(y) on x = -y",
            "1",
        ),
        ("select count(*) over (partition by x) from declared order by 1", "1\n2\n2"),
        ("select * from (values ('NaN'::float8), (1.5::numeric)) v(x) order by 1", "1.5\nNaN"),
        ("select * from (values (1.5::numeric), ('Infinity'::float8)) v(x) order by 1", "1.5\ninf"),
        ("values (1), (2.5::float8), (1.25)", "1.0\n2.5\n1.25"),
    ] {
        match fixture.one(sql).await {
            Ok((_, got)) if got == rows => {}
            other => wrong.push(format!("{sql}\n  {other:?}, expected {rows:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Expected values: PostgreSQL with `SET TimeZone = 'Asia/Hong_Kong'`.
#[tokio::test(flavor = "multi_thread")]
async fn timestamps_with_zone_follow_the_session() {
    let fixture = Fixture::open();
    fixture.session.settings().set("TimeZone", Some("Asia/Hong_Kong")).unwrap();
    for (sql, rows) in [
        ("select tz::date from t where not flag", "2025-01-01"),
        ("select tz::timestamp from t where not flag", "2025-01-01T07:00:00"),
        ("select date_trunc('day', tz) from t where not flag", "2024-12-31T16:00:00Z"),
        ("select count(*) from t where tz >= '2025-01-01'", "1"),
        ("select count(*) from t where tz >= date '2025-01-01'", "1"),
        ("select count(*) from t where tz >= timestamp '2025-01-01 08:00'", "0"),
        ("select timestamptz '2024-07-01 00:00' = timestamptz '2024-06-30 16:00Z'", "true"),
        ("select extract(hour from tz) from t where not flag", "7.0"),
        ("select tz::text from t where not flag", "2025-01-01 07:00:00+08"),
    ] {
        let (_, got) = fixture.one(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        assert_eq!(got, rows, "{sql}");
    }
}

/// What is unknown is neither in a list nor outside it, however many lists there are. Expected values: PostgreSQL.
#[tokio::test(flavor = "multi_thread")]
async fn lists_of_one_value_forget_no_null() {
    let fixture = Fixture::open();
    for (sql, rows) in [
        ("select count(*) from t where i4 not in (7) or i4 not in (8)", "2"),
        ("select count(*) from t where i4 not in (7, 9) or i4 not in (null)", "1"),
        ("select count(*) from t where i4 in (7, 8) and i4 not in (8, null)", "0"),
        ("select count(*) from t where not (i4 in (1, 2) and i4 in (3, 4))", "2"),
        ("select count(*) from t where not ((i4 = 1 or i4 = 2) and (3 = i4 or 4 = i4))", "2"),
        ("select count(*) from t where (i4 in (1, 2) and i4 in (3, 4)) is null", "1"),
        ("select i4 in (1, 2) and i4 not in (1, 2) from t where txt is null", "NULL"),
        ("select count(*) from t where upper(txt) in ('A') and upper(txt) in ('A', 'B')", "1"),
        ("select count(*) from t where i4 = 7 or i4 = 8 or i4 in (9, 10)", "1"),
        ("select count(*) from t group by i4 in (7, 8), i4 in (8, 9) order by 1", "1\n1\n1"),
    ] {
        let (_, got) = fixture.one(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        assert_eq!(got, rows, "{sql}");
        let (_, plan) = fixture.one(&format!("explain {sql}")).await.unwrap();
        assert!(!plan.contains("told_apart"), "{plan}");
    }
}

/// Years of more than four digits, years before the first, and the ends of time. Expected values: PostgreSQL.
#[tokio::test(flavor = "multi_thread")]
async fn trap_e5_e7_times_beyond_the_usual_years() {
    let fixture = Fixture::open();
    let all = "select i4 from t where flag and ";
    for (sql, rows) in [
        ("select (date '9999-12-31' + i4)::text from t where flag", "10000-01-07"),
        ("select (date '0001-01-01' - i4)::text from t where flag", "0001-12-25 BC"),
        ("select 'on ' || (date '9999-12-31' + i4) from t where flag", "on 10000-01-07"),
        ("select concat(date '9999-12-31' + i4, '!') from t where flag", "10000-01-07!"),
        (
            "select (timestamp '9999-12-31 23:59:59' + interval '7 seconds')::text from t where flag",
            "10000-01-01 00:00:06",
        ),
        ("select (timestamp '0001-01-01' - interval '1 day')::text", "0001-12-31 00:00:00 BC"),
        ("select timestamp '9999-12-31'", "9999-12-31T00:00:00"),
        ("select date_trunc('month', timestamp '9999-12-31 23:59:59.999999')", "9999-12-01T00:00:00"),
        ("select date_trunc('day', timestamptz '9999-12-31 23:59:59Z')", "9999-12-31T00:00:00Z"),
        ("select extract(year from timestamp '9999-12-31')", "9999.0"),
        ("select timestamptz '9999-12-31 23:59:59Z' > timestamptz '2262-04-12 00:00Z'", "true"),
        ("select timestamp '1969-12-31 23:59:59.999999' < timestamp '1970-01-01'", "true"),
        (&format!("{all}ts < '9999-12-31'"), "7"),
        (&format!("{all}ts <> '9999-12-31 23:59:59.999999'"), "7"),
        (&format!("{all}tz <= '9999-12-31 23:59:59.999999Z'"), "7"),
        (&format!("{all}day < '9999-12-31'"), "7"),
        (&format!("{all}day between '0001-01-01' and '9999-12-31'"), "7"),
        (&format!("{all}date_trunc('month', ts) < '9999-12-01'"), "7"),
        (&format!("{all}ts in ('9999-12-31', '2024-03-05 10:11:12.5')"), "7"),
    ] {
        let (_, got) = fixture.one(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        assert_eq!(got, rows, "{sql}");
    }
}
