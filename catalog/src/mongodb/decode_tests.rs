//! Values into columns: exact, or refused by name.

use datafusion::arrow::array::Array as _;
use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, RawDocumentBuf, Timestamp, doc};

use super::super::kind::{MongodbType, declared};
use super::*;

/// The value as a column of the type shows it, or the error's code and text.
fn read(ty: &str, value: impl Into<Bson>) -> Result<String, String> {
    let (rows, _) = decode(ty, "v", vec![doc! { "v": value.into() }], OnMismatch::Error)?;
    Ok(rows.into_iter().next().unwrap())
}

fn decode(
    ty: &str,
    path: &str,
    documents: Vec<mongodb::bson::Document>,
    on_mismatch: OnMismatch,
) -> Result<(Vec<String>, u64), String> {
    let field = declared("v", MongodbType::try_from(ty.to_owned()).unwrap(), None);
    let schema = Arc::new(Schema::new(vec![field]));
    let wanted =
        Wanted { field: Arc::clone(&schema.fields()[0]), path: path.split('.').map(str::to_owned).collect() };
    let mut decoder = Decoder::new("docs.t".into(), schema, vec![wanted], on_mismatch).unwrap();
    for document in documents {
        decoder
            .push(&RawDocumentBuf::from_document(&document).unwrap())
            .map_err(|error| format!("{}: {error}", error.remote_code.as_deref().unwrap_or("-")))?;
    }
    let misfits = decoder.misfits();
    let batch = decoder.finish().unwrap().unwrap();
    let options = FormatOptions::new().with_null("NULL").with_display_error(true);
    let shown = ArrayFormatter::try_new(batch.column(0), &options).unwrap();
    Ok(((0..batch.column(0).len()).map(|row| shown.value(row).to_string()).collect(), misfits))
}

fn decimal(text: &str) -> Bson {
    Bson::Decimal128(text.parse().unwrap())
}

fn date(millis: i64) -> Bson {
    Bson::DateTime(DateTime::from_millis(millis))
}

#[test]
fn values_become_their_columns_type_without_loss() {
    let uuid = Binary { subtype: BinarySubtype::Uuid, bytes: vec![0xAB; 16] };
    for (ty, value, expected) in [
        ("int4", Bson::Int32(i32::MIN), "-2147483648"),
        ("int4", Bson::Int64(5), "5"),
        ("int4", Bson::Double(5.0), "5"),
        ("int8", Bson::Int64(i64::MAX), "9223372036854775807"),
        ("int8", decimal("9007199254740993"), "9007199254740993"),
        ("float8", Bson::Double(-0.0), "-0.0"),
        ("float8", Bson::Double(f64::NAN), "NaN"),
        ("float8", Bson::Double(5e-324), "5e-324"),
        ("float8", Bson::Int64(1 << 53), "9007199254740992.0"),
        (
            "numeric(38,20)",
            decimal("999999999999999999.9999999999999999"),
            "999999999999999999.99999999999999990000",
        ),
        ("numeric(38,10)", Bson::Int64(7), "7.0000000000"),
        ("text", Bson::String("É e\u{301} \u{1F6A2}\n".into()), "É e\u{301} \u{1F6A2}\n"),
        ("objectid", Bson::ObjectId(ObjectId::from_bytes([1; 12])), "010101010101010101010101"),
        ("timestamptz", date(253_402_300_799_999), "9999-12-31T23:59:59.999Z"),
        ("timestamptz", date(-62_135_596_800_000), "0001-01-01T00:00:00Z"),
        ("timestamptz", date(-1), "1969-12-31T23:59:59.999Z"),
        ("date", date(86_400_000), "1970-01-02"),
        ("uuid", Bson::Binary(uuid), "abababababababababababababababab"),
        ("jsonb", Bson::Timestamp(Timestamp { time: 1, increment: 2 }), "{\"$timestamp\":{\"t\":1,\"i\":2}}"),
        ("jsonb", Bson::MinKey, "{\"$minKey\":1}"),
        ("text[]", Bson::Array(vec!["a".into(), Bson::Null]), "[a, NULL]"),
        ("int4", Bson::Null, "NULL"),
    ] {
        assert_eq!(read(ty, value.clone()).as_deref(), Ok(expected), "{ty} {value:?}");
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name_and_code() {
    for (ty, value, code) in [
        ("int4", Bson::Int64(1 << 31), "22003"),
        ("int4", Bson::Double(5.5), "22003"),
        ("int8", Bson::Double(f64::NAN), "22003"),
        ("int8", Bson::Double(1e19), "22003"),
        ("float8", Bson::Int64((1 << 53) + 1), "22003"),
        ("numeric(38,10)", decimal("NaN"), "22003"),
        ("numeric(38,10)", decimal("-Infinity"), "22003"),
        ("numeric(38,10)", decimal("0.12345678901"), "22003"),
        ("timestamptz", date(i64::MAX), "22008"),
        ("timestamptz", date(i64::MIN / 1_000 - 1), "22008"),
        ("date", date(1), "22003"),
        ("text", Bson::String("a\0b".into()), "22021"),
        ("int4", Bson::String("5".into()), "-"),
        ("text", Bson::ObjectId(ObjectId::from_bytes([1; 12])), "-"),
        ("int4", Bson::Array(vec![Bson::Int32(5)]), "-"),
        ("int4", Bson::MinKey, "-"),
        ("numeric(38,10)", Bson::Double(1.5), "-"),
        ("text[]", Bson::Array(vec![Bson::Int32(5)]), "-"),
        ("jsonb", Bson::Undefined, "-"),
    ] {
        let said = read(ty, value.clone()).unwrap_err();
        assert!(
            said.starts_with(&format!("{code}: ")) && said.contains("\"docs.t.v\""),
            "{ty} {value:?}: {said}"
        );
        assert!(!said.contains("12345678901"), "{said}");
    }
}

#[test]
fn where_declared_misfits_are_null_and_counted() {
    let documents = vec![doc! { "v": 1 }, doc! { "v": "x" }, doc! {}, doc! { "v": [1] }, doc! { "v": 2 }];
    let (rows, misfits) = decode("int4", "v", documents, OnMismatch::Null).unwrap();
    assert_eq!((rows.join(" "), misfits), ("1 NULL NULL NULL 2".into(), 2));
    let documents = vec![doc! { "v": ["a", 1] }, doc! { "v": 1 }, doc! { "v": [] }];
    let (rows, misfits) = decode("text[]", "v", documents, OnMismatch::Null).unwrap();
    assert_eq!((rows.join(" "), misfits), ("[a, NULL] NULL []".into(), 2));
}

#[test]
fn paths_lead_through_documents_only() {
    let documents =
        vec![doc! { "a": { "b": 7 } }, doc! {}, doc! { "a": Bson::Null }, doc! { "a": { "c": 1 } }];
    let (rows, _) = decode("int4", "a.b", documents, OnMismatch::Error).unwrap();
    assert_eq!(rows.join(" "), "7 NULL NULL NULL");
    for value in [Bson::Int32(1), Bson::Array(vec![doc! { "b": 7 }.into()])] {
        assert!(decode("int4", "a.b", vec![doc! { "a": value }], OnMismatch::Error).is_err());
    }
}
