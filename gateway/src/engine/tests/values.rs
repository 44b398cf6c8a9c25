//! Subqueries that stand for a value: which of their rows an outer row asks for. More of them are in the corpus.

use super::fixture::Fixture;

/// Expected rows and SQLSTATEs are PostgreSQL's.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_row_is_an_error_for_who_asks_for_it() {
    let fixture = Fixture::open();
    let with = "with s(id, k) as (values (1, 10), (2, 20), (3, null)), \
                b(id, v) as (values (10, 'x'), (40, 'y'), (40, 'z')) ";
    for (sql, expected) in [
        ("select id, (select v from b where b.id = s.k) from s order by id", Ok("1|x\n2|NULL\n3|NULL")),
        ("select id from s where (select v from b where b.id = s.k + 20) = 'y' and s.id > 2", Ok("")),
        ("select id from s where (select v from b where b.id = s.k + 20) = 'y'", Err("21000")),
        (
            "select id, case when id <> 2 then (select upper(v) from b where b.id = s.k * 2) end from s order by id",
            Ok("1|NULL\n2|NULL\n3|NULL"),
        ),
        ("select (select upper(v) from b where b.id = s.k * 2) from s", Err("21000")),
        (
            "select id, (select v from b where b.id > s.k order by v desc limit 1) from s order by id",
            Ok("1|z\n2|z\n3|NULL"),
        ),
        ("select id, (select v from b where b.id > s.k) from s", Err("21000")),
        (
            "select id, (select count(*) from b where b.id >= s.k) + id from s order by id",
            Ok("1|4\n2|4\n3|3"),
        ),
    ] {
        let answer = fixture.one(&format!("{with}{sql}")).await;
        let answer = answer.map(|(_, rows)| rows).map_err(|error| error.code.sqlstate().to_owned());
        let expected = expected.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(answer, expected, "{sql}");
    }
}

/// Many batches of inner rows: what was found of a key in one part of them is merged with what was in another.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_found_in_parts_is_found_whole() {
    let fixture = Fixture::open();
    let sum = async |inner: &str| {
        let sql = format!(
            "select count(*), sum((select g.n % 6000 {inner} = o.n)) from generate_series(1, 3000) o(n)"
        );
        fixture.one(&sql).await.map(|(_, rows)| rows).map_err(|error| error.code.sqlstate().to_owned())
    };
    let once = sum("from generate_series(1, 30000) g(n) where g.n < 6000 and g.n").await;
    assert_eq!(once.as_deref(), Ok("3000|4501500"));
    let often = sum("from generate_series(1, 30000) g(n) where g.n % 6000").await;
    assert_eq!(often, Err("21000".to_owned()));
}
