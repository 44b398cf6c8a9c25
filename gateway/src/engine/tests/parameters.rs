//! Parameters without a type: what they are told to be, and that beside them operators mean what they mean between
//! columns. Types and values were looked up in PostgreSQL 15.

use datafusion::common::ScalarValue;

use super::fixture::Fixture;
use crate::pgtypes::PgType;

const ROWS: &str = "with t(id, s, i, b, n, w, d, ts, sp, ok) as (values \
    (1, 7::int2, 2147483647, 9223372036854775807, 1.235::numeric(14,3), 'a', date '2024-02-29', \
     timestamp '2024-02-29 10:11:12', interval '1 day', true), \
    (2, 1::int2, 10, 100, 0.1, 'b', '2024-03-01', '2024-03-01', '2 days', false))";

fn number(digits: i128, precision: u8, scale: i8) -> ScalarValue {
    ScalarValue::Decimal128(Some(digits), precision, scale)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_is_told_to_be_what_postgresql_infers() {
    let fixture = Fixture::open();
    for (query, wanted) in [
        ("select i + $1 from t", PgType::INT4),
        ("select $1 - s from t", PgType::INT2),
        ("select b / $1 from t", PgType::INT8),
        ("select n * $1 from t", PgType::NUMERIC),
        ("select ts + $1 from t", PgType::INTERVAL),
        ("select $1 + ts from t", PgType::INTERVAL),
        ("select ts - $1 from t", PgType::TIMESTAMP),
        ("select d - $1 from t", PgType::DATE),
        ("select sp + $1 from t", PgType::INTERVAL),
        ("select i || $1 from t", PgType::TEXT),
        ("select case when id = 1 then $1 else i end from t", PgType::INT4),
        ("select case i when $1 then 1 else 2 end from t", PgType::INT4),
        ("select coalesce($1, n) from t", PgType::NUMERIC),
        ("select nullif(b, $1) from t", PgType::INT8),
        ("select greatest(d, $1) from t", PgType::DATE),
        ("select left(w, $1) from t", PgType::INT4),
        ("select lag(i, $1) over (order by id) from t", PgType::INT4),
        ("select id from t where $1", PgType::BOOL),
        ("select id from t where not $1", PgType::BOOL),
        ("select id from t where i = coalesce($1, i)", PgType::INT4),
        ("select id from t where $1::int is null or i = $1", PgType::INT4),
        ("select id from t where i = $1 or $1 is null", PgType::INT4),
        ("select id from t where i = $1 or b = $1 or n = $1", PgType::INT4),
        ("select id from t where ts = $1 or d = $1", PgType::TIMESTAMP),
        ("select id from t where i = $1 and $1::text = w", PgType::INT4),
        ("select array[$1, i] from t", PgType::INT4),
        ("select id from t where $1 = any(array[i, 1])", PgType::INT4),
        ("select $1 x from t union all select b from t", PgType::INT8),
        ("select n from t union select $1", PgType::NUMERIC),
        ("select id from t order by id limit $1", PgType::INT8),
        ("select id from t order by id offset $1", PgType::INT8),
    ] {
        let sql = format!("{ROWS} {query}");
        let prepared = fixture.engine.prepare(&fixture.session, &sql, &[]).await;
        let prepared = prepared.unwrap_or_else(|error| panic!("{query}: {error:?}"));
        let oids: Vec<u32> = prepared.parameters.iter().map(|pg| pg.oid).collect();
        assert_eq!(oids, [wanted.oid], "{query}");
    }
    for query in ["select id from t where w = $1 or i = $1", "select id from t where d = $1 or ok = $1"] {
        let error =
            fixture.engine.prepare(&fixture.session, &format!("{ROWS} {query}"), &[]).await.unwrap_err();
        assert_eq!(error.code.sqlstate(), "42P08", "{query}");
    }
    for (query, code) in [
        ("select $0 from t", "42P02"),
        ("select sum(i) over (order by id rows $1 preceding) from t", "0A000"),
    ] {
        let error =
            fixture.engine.prepare(&fixture.session, &format!("{ROWS} {query}"), &[]).await.unwrap_err();
        assert_eq!(error.code.sqlstate(), code, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_beside_a_parameter_are_checked() {
    let fixture = Fixture::open();
    let one = ScalarValue::Int32(Some(1));
    let far = ScalarValue::Int64(Some(i64::MAX));
    for (query, value) in [
        ("select i + $1 from t where id = 1", one.clone()),
        ("select $1 + i from t where id = 1", one.clone()),
        ("select b * $1 from t", far),
        ("select s + $1 from t where id = 1", ScalarValue::Int16(Some(i16::MAX))),
    ] {
        let error = fixture.ask(&format!("{ROWS} {query}"), &[], vec![value]).await.unwrap_err();
        assert_eq!(error.code.sqlstate(), "22003", "{query}");
    }
    let sql = format!("{ROWS} select id from t order by case when $1 = $2 then id else -id end limit 1");
    let words = ["x", "y"].map(|word| ScalarValue::Utf8(Some(word.to_owned())));
    let (_, rows) = fixture.ask(&sql, &[], words.to_vec()).await.unwrap();
    assert_eq!(rows.concat(), ["2"]);
    for (query, value, header, row) in [
        ("select i - $1 x from t where id = 2", one.clone(), "x:int4", "9"),
        ("select d - $1 x from t where id = 2", ScalarValue::Date32(Some(19782)), "x:int4", "1"),
        ("select t.id from t join (values ($1)) v(x) on n = x", number(12350, 5, 4), "id:int4", "1"),
        ("select id from t where i = $1 or b = $1", ScalarValue::Int32(Some(100)), "id:int4", "2"),
        ("select id from t order by id limit $1", ScalarValue::Int64(Some(1)), "id:int4", "1"),
    ] {
        let (got, rows) = fixture.ask(&format!("{ROWS} {query}"), &[], vec![value]).await.unwrap();
        assert_eq!((got, rows), (vec![header.to_owned()], vec![vec![row.to_owned()]]), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declared_type_decides_what_an_operator_is() {
    let fixture = Fixture::open();
    let month = ScalarValue::new_interval_mdn(1, 0, 0);
    for (query, declared, value, header, row) in [
        ("select d - $1 x from t", PgType::INTERVAL, month.clone(), "x:timestamp", "2024-01-29T00:00:00"),
        ("select $1 + d x from t", PgType::INTERVAL, month, "x:timestamp", "2024-03-29T00:00:00"),
        ("select d - $1 x from t", PgType::INT4, ScalarValue::Int32(Some(1)), "x:date", "2024-02-28"),
        ("select i - $1 x from t", PgType::INT8, ScalarValue::Int64(Some(1)), "x:int8", "2147483646"),
    ] {
        let sql = format!("{ROWS} {query} where id = 1");
        let (got, rows) = fixture.ask(&sql, &[Some(declared)], vec![value]).await.unwrap();
        assert_eq!((got, rows), (vec![header.to_owned()], vec![vec![row.to_owned()]]), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_digits_of_a_numeric_parameter_are_all_compared() {
    let fixture = Fixture::open();
    let list = |value: ScalarValue| {
        let of = value.data_type();
        ScalarValue::List(ScalarValue::new_list_nullable(&[value], &of))
    };
    for (condition, value, expected) in [
        ("n = $1", number(1235, 4, 3), &["1"][..]),
        ("n = $1", number(12350, 5, 4), &["1"]),
        ("n = $1", number(12349, 5, 4), &[]),
        ("n < $1", number(12349, 5, 4), &["2"]),
        ("n < $1", number(12351, 5, 4), &["1", "2"]),
        ("n in ($1, 7)", number(12349, 5, 4), &[]),
        ("n between $1 and 2", number(12351, 5, 4), &[]),
        ("n < $1", number(10_i128.pow(20), 21, 0), &["1", "2"]),
        ("n > $1", number(1, 30, 30), &["1", "2"]),
        ("n = any($1)", list(number(12349, 5, 4)), &[]),
        ("n = any($1)", list(number(12350, 5, 4)), &["1"]),
        ("n = $1 or i = $1", number(1, 1, 0), &[]),
    ] {
        let sql = format!("{ROWS} select id from t where {condition} order by id");
        let array = matches!(value, ScalarValue::List(_));
        for declared in [None, if array { PgType::NUMERIC.array() } else { Some(PgType::NUMERIC) }] {
            let declared = [declared];
            let declared = if declared == [None] { &[][..] } else { &declared[..] };
            let answer = fixture.ask(&sql, declared, vec![value.clone()]).await;
            let (_, rows) = answer.unwrap_or_else(|error| panic!("{condition} {value}: {error:?}"));
            assert_eq!(rows.concat(), expected, "{condition} {value}");
        }
    }
    for (query, value, expected) in [
        ("select $1::numeric x from t where id = 1", number(150, 3, 2), "1.50"),
        ("select $1::numeric(5,2) x from t where id = 1", number(123_499_999_999_999, 15, 14), "1.23"),
        ("select n - $1 x from t where id = 1", number(1, 4, 4), "1.2349"),
        ("select coalesce($1, n) x from t where id = 1", number(12349, 5, 4), "1.2349"),
    ] {
        let (header, rows) = fixture.ask(&format!("{ROWS} {query}"), &[], vec![value]).await.unwrap();
        assert_eq!(
            (header.join(""), rows.concat().join("")),
            ("x:numeric".into(), expected.into()),
            "{query}"
        );
    }
    // And a column of its own digits beside one that is declared.
    let sql = format!("{ROWS} select n / $1 x from t where id = 2");
    let (_, rows) = fixture.ask(&sql, &[Some(PgType::NUMERIC)], vec![number(4, 1, 0)]).await.unwrap();
    assert_eq!(rows.concat(), ["0.0250000000000000"]);
}
