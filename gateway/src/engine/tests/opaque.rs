//! Bytes, UUIDs, times of day and arrays beside what has no type of its own: parameters and quoted literals.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;

use super::fixture::Fixture;
use crate::pgtypes::PgType;

const ROWS: &str = "with t(id, b, u, ti, a) as (values \
    (1, '\\x00ff'::bytea, '550e8400-e29b-41d4-a716-446655440000'::uuid, '24:00'::time, '{1,2}'::int[]), \
    (2, '\\x01', 'ffffffff-ffff-ffff-ffff-ffffffffffff', '10:11', '{}'))";

fn uuid() -> ScalarValue {
    let bytes = uuid::Uuid::parse_str("550e8400-e29b-41d4-a716-446655440000").unwrap().into_bytes();
    ScalarValue::FixedSizeBinary(16, Some(bytes.to_vec()))
}

fn bytes(bytes: &[u8]) -> ScalarValue {
    ScalarValue::Binary(Some(bytes.to_vec()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_beside_them_is_of_their_type() {
    let fixture = Fixture::open();
    let noon = ScalarValue::Time64Microsecond(Some(86_400_000_000));
    for (condition, declared, pg, value) in [
        ("b = $1", None, PgType::BYTEA, bytes(&[0, 255])),
        ("$1 = b", None, PgType::BYTEA, bytes(&[0, 255])),
        ("b in ($1, '\\x02')", None, PgType::BYTEA, bytes(&[0, 255])),
        ("b between $1 and '\\x00ff'", None, PgType::BYTEA, bytes(&[0])),
        ("b like $1", None, PgType::BYTEA, bytes(b"%\xff")),
        ("b = $1", Some(PgType::BYTEA), PgType::BYTEA, bytes(&[0, 255])),
        ("b = $1::bytea", None, PgType::BYTEA, bytes(&[0, 255])),
        ("u = $1", None, PgType::UUID, uuid()),
        ("u <= $1", None, PgType::UUID, uuid()),
        ("u in ($1)", None, PgType::UUID, uuid()),
        ("u = $1", Some(PgType::UUID), PgType::UUID, uuid()),
        ("u = $1::uuid", None, PgType::UUID, uuid()),
        ("ti = $1", None, PgType::TIME, noon),
    ] {
        let sql = format!("{ROWS} select id from t where {condition}");
        let declared = [declared];
        let declared = if declared == [None] { &[][..] } else { &declared[..] };
        let prepared = fixture.engine.prepare(&fixture.session, &sql, declared).await;
        let prepared = prepared.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        assert_eq!(prepared.parameters, [pg], "{condition}");
        let (_, rows) = fixture.ask(&sql, declared, vec![value]).await.unwrap();
        assert_eq!(rows, [["1"]], "{condition}");
    }
    // A client that says text is told what PostgreSQL tells it.
    for condition in ["b = $1", "u = $1"] {
        let sql = format!("{ROWS} select id from t where {condition}");
        let error = fixture.engine.prepare(&fixture.session, &sql, &[Some(PgType::TEXT)]).await.unwrap_err();
        assert_eq!(error.code.sqlstate(), "42883", "{condition}");
    }
}

/// Drivers that ask for the types of parameters send an array only where they are told of one.
#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_behind_any_is_an_array_of_what_stands_before_it() {
    let fixture = Fixture::open();
    let list = |values: &[ScalarValue]| {
        let of = values.first().map_or(DataType::Null, ScalarValue::data_type);
        ScalarValue::List(ScalarValue::new_list_nullable(values, &of))
    };
    let numbers = || list(&[ScalarValue::Int32(Some(1)), ScalarValue::Int32(Some(9))]);
    for (condition, declared, element, value) in [
        ("id = any($1)", None, PgType::INT4, numbers()),
        ("id = any($1) and $1 is not null", None, PgType::INT4, numbers()),
        ("id = some ($1)", PgType::INT8.array(), PgType::INT8, list(&[ScalarValue::Int64(Some(1))])),
        ("id::bigint = any($1)", None, PgType::INT8, list(&[ScalarValue::Int64(Some(1))])),
        ("u = any($1)", None, PgType::UUID, list(&[uuid()])),
        ("b = any($1)", None, PgType::BYTEA, list(&[bytes(&[0, 255])])),
        ("not id <> all($1)", None, PgType::INT4, numbers()),
    ] {
        let sql = format!("{ROWS} select id from t where {condition}");
        let declared = [declared];
        let declared = if declared == [None] { &[][..] } else { &declared[..] };
        let prepared = fixture.engine.prepare(&fixture.session, &sql, declared).await;
        let prepared = prepared.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        assert_eq!(prepared.parameters, [element.array().unwrap()], "{condition}");
        let (_, rows) = fixture.ask(&sql, declared, vec![value]).await.unwrap();
        assert_eq!(rows, [["1"]], "{condition}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn their_columns_are_announced_as_they_are_sent() {
    let fixture = Fixture::open();
    for (sql, header, rows) in [
        ("select u::text from t where id = 1", "u:text", "550e8400-e29b-41d4-a716-446655440000"),
        ("select b::text from t where id = 1", "b:text", "\\x00ff"),
        (
            "select coalesce(u, u) is null, b || b from t where id = 2",
            "?column?:bool|?column?:bytea",
            "false|0101",
        ),
        ("select length(b), substring(b from 2) from t where id = 1", "length:int4|substring:bytea", "2|ff"),
        ("select array_agg(u) is null from t", "?column?:bool", "false"),
        ("select max(id) from t group by u order by u limit 1", "max:int4", "1"),
    ] {
        let (got, shown) =
            fixture.one(&format!("{ROWS} {sql}")).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        assert_eq!((got.as_str(), shown.as_str()), (header, rows), "{sql}");
    }
    let (header, _) =
        fixture.one(&format!("{ROWS} select u, array_agg(u), min(ti) from t group by u")).await.unwrap();
    assert_eq!(header, "u:uuid|array_agg:_uuid|min:time");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_literal_is_told_in_postgresqls_words() {
    let fixture = Fixture::open();
    for (condition, state, message) in [
        ("b = '\\xg0'", "22023", "invalid hexadecimal digit: \"g\""),
        ("b > '\\x0'", "22023", "invalid hexadecimal data: odd number of digits"),
        ("b in ('a\\')", "22P02", "invalid input syntax for type bytea"),
        ("u = 'x'", "22P02", "invalid input syntax for type uuid: \"x\""),
        ("u between 'x' and 'y'", "22P02", "invalid input syntax for type uuid: \"x\""),
        ("ti = '24:01'", "22008", "date/time field value out of range: \"24:01\""),
        ("a = '{1,x}'", "22P02", "invalid input syntax for type integer: \"x\""),
        ("a = '1,2'", "22P02", "malformed array literal: \"1,2\""),
        ("b = 'a'::text", "42883", "operator does not exist: bytea = text"),
        ("u = 1::int", "42883", "operator does not exist: uuid = integer"),
        ("u like '5%'", "42883", "operator does not exist: uuid ~~ unknown"),
        ("b not like 'x' escape '!'", "42883", "operator does not exist: bytea !~~ text"),
        ("b::int = 1", "42846", "cannot cast type bytea to integer"),
        ("u::bytea = b", "42846", "cannot cast type uuid to bytea"),
    ] {
        let error = fixture.one(&format!("{ROWS} select id from t where {condition}")).await.unwrap_err();
        assert_eq!((error.code.sqlstate(), error.message.as_str()), (state, message), "{condition}");
    }
}
