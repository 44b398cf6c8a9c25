//! Dates and timestamps beside one another at the ends of their ranges. Expected values: PostgreSQL 17, same statements.

use super::fixture::Fixture;

/// The rows that are asked: infinity, its opposite, the last day of four digits, a day of now, nothing.
const ROWS: &str = "with w(id, d, t, z) as (values \
    (1, date 'infinity', timestamp 'infinity', timestamptz 'infinity'), \
    (2, date '-infinity', timestamp '-infinity', timestamptz '-infinity'), \
    (3, date '9999-12-31', timestamp '9999-12-31 00:00', timestamptz '9999-12-31 12:00Z'), \
    (4, date '2024-05-17', timestamp '2024-05-17 10:00', timestamptz '2024-05-17 00:00Z'), \
    (5, null::date, null::timestamp, null::timestamptz)) ";

async fn all_are(fixture: &Fixture, expected: &[(&str, &str)]) {
    let mut wrong = Vec::new();
    for (sql, rows) in expected {
        match fixture.one(&format!("{ROWS}{sql}")).await {
            Ok((_, got)) if got == *rows => {}
            other => wrong.push(format!("{sql}\n  {other:?}, expected {rows:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn infinity_beside_dates_and_timestamps_is_postgresqls() {
    let fixture = Fixture::open();
    let expected = [
        (
            "select id, (d::timestamp)::text, (d::timestamptz)::text, (t::date)::text, (z::date)::text, (z::timestamp)::text, (t::timestamptz)::text from w order by id",
            "1|infinity|infinity|infinity|infinity|infinity|infinity\n2|-infinity|-infinity|-infinity|-infinity|-infinity|-infinity\n3|9999-12-31 00:00:00|9999-12-31 00:00:00+00|9999-12-31|9999-12-31|9999-12-31 12:00:00|9999-12-31 00:00:00+00\n4|2024-05-17 00:00:00|2024-05-17 00:00:00+00|2024-05-17|2024-05-17|2024-05-17 00:00:00|2024-05-17 10:00:00+00\n5|NULL|NULL|NULL|NULL|NULL|NULL",
        ),
        (
            "select id, (d = t)::text, (d < t)::text, (d >= t)::text, (d is distinct from t)::text from w order by id",
            "1|true|false|true|false\n2|true|false|true|false\n3|true|false|true|false\n4|false|true|false|true\n5|NULL|NULL|NULL|false",
        ),
        (
            "select id, (d = z)::text, (d > z)::text, (t = z)::text, (t <= z)::text from w order by id",
            "1|true|false|true|true\n2|true|false|true|true\n3|false|false|false|true\n4|true|false|false|false\n5|NULL|NULL|NULL|NULL",
        ),
        ("select a.id, b.id from w a join w b on a.d = b.t order by 1, 2", "1|1\n2|2\n3|3"),
        ("select a.id, b.id from w a join w b on a.t = b.z order by 1, 2", "1|1\n2|2"),
        (
            "select a.id, b.id from w a join w b on a.d < b.z order by 1, 2",
            "2|1\n2|3\n2|4\n3|1\n3|3\n4|1\n4|3",
        ),
        ("select id from w where d > now() order by id", "1\n3"),
        ("select id from w where t > now() order by id", "1\n3"),
        ("select id from w where now() >= d order by id", "2\n4"),
        ("select id from w where d > timestamp '2024-05-16 10:00' order by id", "1\n3\n4"),
        ("select id from w where d >= timestamp '2024-05-17' order by id", "1\n3\n4"),
        ("select id from w where d < timestamp '2024-05-17 00:00:00.000001' order by id", "2\n4"),
        ("select id from w where d <= timestamp '2024-05-17' order by id", "2\n4"),
        ("select id from w where d = timestamp '2024-05-17 10:00' order by id", ""),
        ("select id from w where d <> timestamp '2024-05-17 10:00' order by id", "1\n2\n3\n4"),
        ("select id from w where t >= date '9999-12-31' order by id", "1\n3"),
        ("select id from w where t < date '300000-01-01' order by id", "2\n3\n4"),
        ("select id from w where t >= date '300000-01-01' order by id", "1"),
        ("select id from w where z <= date 'infinity' order by id", "1\n2\n3\n4"),
        (
            "select id from w where d between timestamp '2024-05-17' and timestamp 'infinity' order by id",
            "1\n3\n4",
        ),
        ("select id from w where d not between timestamp '2024-05-17' and now() order by id", "1\n2\n3"),
        ("select id from w where d in (timestamp '2024-05-17', timestamp 'infinity') order by id", "1\n4"),
        (
            "select id from w where d not in (timestamp '2024-05-17', timestamp 'infinity') order by id",
            "2\n3",
        ),
        ("select id from w where t in (date '2024-05-17', date '-infinity') order by id", "2"),
        ("select id from w where d in (select t from w) order by id", "1\n2\n3"),
        ("select id from w where d not in (select t from w where t is not null) order by id", "4"),
        ("select id from w where t in (select d from w) order by id", "1\n2\n3"),
        ("select id from w x where exists (select 1 from w y where y.d = x.t) order by id", "1\n2\n3"),
        (
            "select id, coalesce(d, t)::text, greatest(d, t)::text, least(t, z)::text, nullif(d, t)::text from w order by id",
            "1|infinity|infinity|infinity|NULL\n2|-infinity|-infinity|-infinity|NULL\n3|9999-12-31 00:00:00|9999-12-31 00:00:00|9999-12-31 00:00:00+00|NULL\n4|2024-05-17 00:00:00|2024-05-17 10:00:00|2024-05-17 00:00:00+00|2024-05-17\n5|NULL|NULL|NULL|NULL",
        ),
        (
            "select id, (case when id < 3 then d else t end)::text from w order by id",
            "1|infinity\n2|-infinity\n3|9999-12-31 00:00:00\n4|2024-05-17 10:00:00\n5|NULL",
        ),
        (
            "select case d when timestamp 'infinity' then 'end' when t then 'midnight' else 'other' end from w order by id",
            "end\nmidnight\nmidnight\nother\nother",
        ),
        (
            "select x::text from (select d as x from w union select t from w) u order by x",
            "-infinity\n2024-05-17 00:00:00\n2024-05-17 10:00:00\n9999-12-31 00:00:00\ninfinity\nNULL",
        ),
        (
            "select max(d)::text, min(d)::text, max(t)::text, min(z)::text from w",
            "infinity|-infinity|infinity|-infinity",
        ),
        (
            "select id, date_trunc('month', d)::text, date_trunc('year', t)::text, date_trunc('week', z)::text from w order by id",
            "1|infinity|infinity|infinity\n2|-infinity|-infinity|-infinity\n3|9999-12-01 00:00:00+00|9999-01-01 00:00:00|9999-12-27 00:00:00+00\n4|2024-05-01 00:00:00+00|2024-01-01 00:00:00|2024-05-13 00:00:00+00\n5|NULL|NULL|NULL",
        ),
        (
            "select id, date_part('year', d)::text, date_part('month', t)::text, date_part('epoch', z)::text from w order by id",
            "1|Infinity|NULL|Infinity\n2|-Infinity|NULL|-Infinity\n3|9999|12|253402257600\n4|2024|5|1715904000\n5|NULL|NULL|NULL",
        ),
        (
            "select id, (d + 1)::text, (d - 1)::text, (t + interval '1 month')::text, (z - interval '1 day')::text, (d + interval '1 day')::text from w order by id",
            "1|infinity|infinity|infinity|infinity|infinity\n2|-infinity|-infinity|-infinity|-infinity|-infinity\n3|10000-01-01|9999-12-30|10000-01-31 00:00:00|9999-12-30 12:00:00+00|10000-01-01 00:00:00\n4|2024-05-18|2024-05-16|2024-06-17 10:00:00|2024-05-16 00:00:00+00|2024-05-18 00:00:00\n5|NULL|NULL|NULL|NULL|NULL",
        ),
        (
            "select id, (t - timestamp '2024-01-01')::text, (z - timestamptz '2024-01-01 00:00Z')::text from w order by id",
            "1|infinity|infinity\n2|-infinity|-infinity\n3|2913173 days|2913173 days 12:00:00\n4|137 days 10:00:00|137 days\n5|NULL|NULL",
        ),
        (
            "select id, (t - timestamp '2024-01-01' > interval '1 day')::text, (t - timestamp '2024-01-01' < interval '9000 years')::text from w order by id",
            "1|true|false\n2|false|true\n3|true|true\n4|true|true\n5|NULL|NULL",
        ),
        ("select id, (t - d)::text from w where id > 2 order by id", "3|00:00:00\n4|10:00:00\n5|NULL"),
        (
            "select max(t - timestamp '2024-01-01')::text, min(t - timestamp '2024-01-01')::text from w",
            "infinity|-infinity",
        ),
        (
            "select id, (d::text)::date::text, (t::text)::timestamp::text, (z::text)::timestamptz::text from w order by id",
            "1|infinity|infinity|infinity\n2|-infinity|-infinity|-infinity\n3|9999-12-31|9999-12-31 00:00:00|9999-12-31 12:00:00+00\n4|2024-05-17|2024-05-17 10:00:00|2024-05-17 00:00:00+00\n5|NULL|NULL|NULL",
        ),
        (
            "select id, (t at time zone 'Asia/Hong_Kong')::text, (z at time zone 'Asia/Hong_Kong')::text from w order by id",
            "1|infinity|infinity\n2|-infinity|-infinity\n3|9999-12-30 16:00:00+00|9999-12-31 20:00:00\n4|2024-05-17 02:00:00+00|2024-05-17 08:00:00\n5|NULL|NULL",
        ),
        (
            "select (date '300000-01-01' > timestamp '2020-01-01')::text, (date '300000-01-01' > timestamp 'infinity')::text, (date '300000-01-01' = timestamp '2020-01-01')::text",
            "true|false|false",
        ),
        (
            "select date '5874897-12-31'::text, date '294247-01-10'::timestamp::text",
            "5874897-12-31|294247-01-10 00:00:00",
        ),
    ];
    all_are(&fixture, &expected).await;
}

/// A date begins where the session is.
#[tokio::test(flavor = "multi_thread")]
async fn infinity_has_no_time_zone() {
    let fixture = Fixture::open();
    fixture.session.settings().set("TimeZone", Some("Asia/Hong_Kong")).unwrap();
    let expected = [
        (
            "select (d::timestamptz)::text from w order by id",
            "infinity\n-infinity\n9999-12-31 00:00:00+08\n2024-05-17 00:00:00+08\nNULL",
        ),
        (
            "select (z::date)::text, (z::timestamp)::text, (t::timestamptz)::text from w order by id",
            "infinity|infinity|infinity\n-infinity|-infinity|-infinity\n9999-12-31|9999-12-31 20:00:00|9999-12-31 00:00:00+08\n2024-05-17|2024-05-17 08:00:00|2024-05-17 10:00:00+08\nNULL|NULL|NULL",
        ),
        ("select id from w where d = z order by id", "1\n2"),
        ("select id from w where d < timestamptz '2024-05-17 00:00Z' order by id", "2\n4"),
        ("select id from w where d <= timestamptz '2024-05-16 16:00Z' order by id", "2\n4"),
        ("select id from w where z >= date '2024-05-17' order by id", "1\n3\n4"),
        (
            "select a.id, b.id from w a join w b on a.d <= b.z order by 1, 2",
            "1|1\n2|1\n2|2\n2|3\n2|4\n3|1\n3|3\n4|1\n4|3\n4|4",
        ),
        (
            "select (date_trunc('month', d))::text, (date_trunc('day', z))::text from w order by id",
            "infinity|infinity\n-infinity|-infinity\n9999-12-01 00:00:00+08|9999-12-31 00:00:00+08\n2024-05-01 00:00:00+08|2024-05-17 00:00:00+08\nNULL|NULL",
        ),
        ("select id from w where t = z order by id", "1\n2"),
        ("select id, (z - d)::text from w where id > 2 order by id", "3|20:00:00\n4|08:00:00\n5|NULL"),
    ];
    all_are(&fixture, &expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_place_is_refused_in_postgresqls_words() {
    let fixture = Fixture::open();
    let mut wrong = Vec::new();
    for (sql, message) in [
        ("select date '300000-01-01'::timestamp", "date out of range for timestamp"),
        (
            "select d::timestamp from (values (date '300000-01-01'), (date '2024-01-01')) v(d)",
            "date out of range for timestamp",
        ),
        (
            "select d::timestamptz from (values (date '300000-01-01'), (date '2024-01-01')) v(d)",
            "date out of range for timestamp",
        ),
        ("select timestamp 'infinity' - timestamp 'infinity'", "interval out of range"),
        ("select date 'infinity' - date '2024-01-01'", "cannot subtract infinite dates"),
        (
            "select d - date '2024-01-01' from (values (date 'infinity')) v(d)",
            "cannot subtract infinite dates",
        ),
        ("select d + 2147483647 from (values (date '2024-01-01')) v(d)", "date out of range"),
        ("select timestamp '294277-01-01'", "timestamp out of range: \"294277-01-01\""),
        ("select date '5874898-01-01'", "date out of range: \"5874898-01-01\""),
    ] {
        match fixture.one(sql).await {
            Err(error) if error.code.sqlstate() == "22008" && error.message == message => {}
            other => wrong.push(format!("{sql}\n  {other:?}, expected {message:?}")),
        }
    }
    for sql in [
        "select avg(t - timestamp '2024-01-01') from (values (timestamp 'infinity')) v(t)",
        "select (t - timestamp '2024-01-01') + interval '1 day' from (values (timestamp 'infinity')) v(t)",
    ] {
        match fixture.one(sql).await {
            Err(error) if error.code.sqlstate() == "0A000" && error.hint.is_some() => {}
            other => wrong.push(format!("{sql}\n  {other:?}, expected 0A000")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is constant is converted, so that a source, a partition or a statistic is asked about its own column.
#[tokio::test(flavor = "multi_thread")]
async fn a_column_beside_a_constant_stays_a_column() {
    let fixture = Fixture::open();
    for (condition, told) in [
        ("day >= '2024-01-01'", ">= 2024-01-01"),
        ("day > timestamp '2024-01-01 10:00'", "> 2024-01-01"),
        ("day >= timestamp '2024-01-01 10:00'", ">= 2024-01-02"),
        ("day < timestamptz '2024-01-01 10:00Z'", "< 2024-01-02"),
        ("ts >= date '2024-01-01'", ">= 1704067200000000"),
        ("tz < date '2024-01-01'", "< 1704067200000000"),
        ("ts > timestamptz '2024-01-01 00:00Z'", "> 1704067200000000"),
        ("tz > timestamp '2024-01-01'", "> 1704067200000000"),
        ("day > now() and ts >= current_date and ts < now() and tz <= current_date", "day@"),
    ] {
        let (_, plan) = fixture.one(&format!("explain select i4 from t where {condition}")).await.unwrap();
        assert!(plan.contains(told), "{condition}: {told} is not in\n{plan}");
        for computed in ["(", "CAST", "now", "current_date"] {
            let filter = plan.lines().find(|line| line.contains("FilterExec")).unwrap();
            assert!(!filter.contains(computed), "{condition}: {computed} is in\n{plan}");
        }
    }
}

/// PostgreSQL: NaN is the last of floats whatever made it, and a zero has a sign that is shown.
#[tokio::test(flavor = "multi_thread")]
async fn a_negated_nan_is_the_same_nan() {
    let fixture = Fixture::open();
    let mut wrong = Vec::new();
    for (sql, rows) in [
        (
            "select x::text as shown from (values ('NaN'::float8), (1), ('-Infinity'), (-2)) v(x) order by -x",
            "1\n-2\n-Infinity\nNaN",
        ),
        ("select x::text as shown from (values ('NaN'::float4), (1), (-2)) v(x) order by -x", "1\n-2\nNaN"),
        (
            "select x::text from (values (-'NaN'::float8), (1), ('Infinity')) v(x) order by x",
            "1\nInfinity\nNaN",
        ),
        ("select k from (values (1, 'Infinity'::float8), (2, 1)) v(k, x) order by x - x * 1 desc", "1\n2"),
        ("select k from (values (1, 'NaN'::float8), (2, 1)) v(k, x) where -x = 'NaN'", "1"),
        ("select k from (values (1, 'NaN'::float8), (2, 1)) v(k, x) where -x > 'Infinity'", "1"),
        ("select k from (values (1, 'NaN'::float8), (2, 1)) v(k, x) where x * -1 in ('NaN', 5)", "1"),
        ("select (-x)::text, (- 0.0::float8)::text from (values (0::float8)) v(x)", "-0|-0"),
        ("select count(*)::text from t where f8 > -(1.5::float8)", "2"),
    ] {
        match fixture.one(sql).await {
            Ok((_, got)) if got == rows => {}
            other => wrong.push(format!("{sql}\n  {other:?}, expected {rows:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
