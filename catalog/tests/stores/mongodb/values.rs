//! Schemas, and values through the whole way.

use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Timestamp, doc};
use portolan_catalog::source::{Source as _, SourceErrorKind, TableKind};

use super::{Fixture, numbered};

fn decimal(text: &str) -> Bson {
    Bson::Decimal128(text.parse().unwrap())
}

/// Every type as its table says, through a sample.
#[tokio::test]
async fn types_are_found_and_values_come_back_exactly() {
    let fixture = Fixture::start("").await;
    let uuid = Binary { subtype: BinarySubtype::Uuid, bytes: (0..16).collect() };
    fixture
        .insert("t", [
            doc! {
                "_id": ObjectId::from_bytes([0xAB; 12]), "i": i32::MIN, "l": i64::MAX, "mixed": 1, "f": -0.0,
                "d": decimal("-9999999999999999999999999.999999999"), "s": "É e\u{301} ß \u{1F6A2} a \n\\\"'",
                "ok": true, "at": DateTime::from_millis(253_402_300_799_999), "u": uuid,
                "ts": Bson::Timestamp(Timestamp { time: 7, increment: 9 }), "a": [1, "x"], "o": { "k": 9_007_199_254_740_993_i64 },
                "odd": 1, "null": Bson::Null,
            },
            doc! { "mixed": 1.5, "odd": "x", "at": DateTime::from_millis(-62_135_596_800_000), "o": Bson::MinKey },
        ])
        .await;
    assert_eq!(
        fixture.columns("t").await,
        "_id Utf8View, i Int32, l Int64, mixed Float64, f Float64, d Decimal128(38, 10), s Utf8View, ok Boolean, \
         at Timestamp(µs, \"UTC\"), u FixedSizeBinary(16), ts Int64, a Utf8View, o Utf8View, odd Utf8View, null Utf8View"
    );
    assert_eq!(
        fixture.rows("SELECT * FROM t WHERE ok").await,
        ["abababababababababababab|-2147483648|9223372036854775807|1.0|-0.0|\
          -9999999999999999999999999.9999999990|É e\u{301} ß \u{1F6A2} a \n\\\"'|true|9999-12-31T23:59:59.999Z|\
          000102030405060708090a0b0c0d0e0f|30064771081|[1,\"x\"]|{\"k\":9007199254740993}|1|∅"]
    );
    assert_eq!(
        fixture.rows("SELECT mixed, odd, at, o, s FROM t WHERE ok IS NULL").await,
        ["1.5|\"x\"|0001-01-01T00:00:00Z|{\"$minKey\":1}|∅"]
    );
    let table = fixture.source.tables().await.unwrap().remove(0);
    assert_eq!((table.primary_key.join(","), table.row_estimate), ("_id".into(), Some(2)));
    let pg_type = |column: &str| {
        table.arrow.field_with_name(column).unwrap().metadata().get("portolan.pg_type").cloned()
    };
    assert_eq!(
        (pg_type("a").as_deref(), pg_type("u").as_deref(), pg_type("s")),
        (Some("jsonb"), Some("uuid"), None)
    );
    fixture.end().await;
}

/// Values at the edges that a column's type cannot hold are refused with their code and the column's name. Dates beyond
/// the range of microseconds are refused in the decoder's own tests: the test server stores none.
#[tokio::test]
async fn values_that_do_not_fit_are_refused_by_name() {
    let declared = "tables: { t: { columns: [{ name: k, type: int4 }, { name: i4, type: int4 }, { name: f8, type: float8 }, \
        { name: d, type: 'numeric(38,20)' }, { name: at, type: timestamptz }, { name: s, type: text }, { name: l, type: 'int8[]' }] } }";
    let fixture = Fixture::start(declared).await;
    let cases = [
        ("i4", Bson::Int64(1 << 31), Some("22003")),
        ("i4", Bson::Double(0.5), Some("22003")),
        ("i4", Bson::String("5".into()), None),
        ("i4", Bson::Array(vec![Bson::Int32(5)]), None),
        ("f8", Bson::Int64((1 << 53) + 1), Some("22003")),
        ("f8", Bson::Int64(-(1 << 53) - 1), Some("22003")),
        ("d", decimal("NaN"), Some("22003")),
        ("d", decimal("Infinity"), Some("22003")),
        ("d", decimal("-Infinity"), Some("22003")),
        ("d", decimal("0.000000000000000000001"), Some("22003")),
        ("d", decimal("1000000000000000000"), Some("22003")),
        ("at", Bson::String("2026-01-01".into()), None),
        ("s", Bson::String("a\0".into()), Some("22021")),
        ("s", Bson::MinKey, None),
        ("l", Bson::Array(vec![Bson::Int32(1), Bson::String("x".into())]), None),
    ];
    fixture
        .insert(
            "t",
            cases.iter().zip(0_i32..).map(|((column, value, _), k)| doc! { "k": k, *column: value.clone() }),
        )
        .await;
    for ((column, value, code), k) in cases.iter().zip(0_i32..) {
        let error = fixture.refused(&format!("SELECT {column} FROM t WHERE k = {k}")).await;
        assert_eq!(error.remote_code.as_deref(), *code, "{column} {value:?}: {error}");
        let kind = if code.is_some() { SourceErrorKind::Data } else { SourceErrorKind::Remote };
        assert_eq!(error.kind, kind, "{column} {value:?}: {error}");
        assert!(error.message.contains(&format!("\"docs.t.{column}\"")), "{error}");
    }
    // What fits is not disturbed by what does not.
    fixture.insert("t", [doc! { "k": 99, "i4": 5_i64, "f8": 1_i64 << 53, "d": decimal("999999999999999999.5"), "l": [1_i64, Bson::Null] }]).await;
    assert_eq!(
        fixture.try_rows("SELECT i4, f8, d, l FROM t WHERE k = 99", true).await.unwrap(),
        ["5|9007199254740992.0|999999999999999999.50000000000000000000|[1, ∅]"]
    );
    fixture.end().await;
}

/// A validator decides about types; a view is one; the server's own collections are not shown.
#[tokio::test]
async fn validators_and_views_are_introspected() {
    let fixture = Fixture::start("").await;
    let schema = doc! { "$jsonSchema": { "bsonType": "object", "properties": {
        "imo": { "bsonType": "int", "description": "the hull" }, "name": { "bsonType": ["string", "null"] },
    } } };
    fixture.database().create_collection("ships").validator(schema).await.unwrap();
    assert_eq!(fixture.columns("ships").await, "imo Int32, name Utf8View");
    fixture
        .insert("ships", numbered([doc! { "imo": 1, "name": "a" }, doc! { "imo": 2, "name": Bson::Null }]))
        .await;
    let only = vec![doc! { "$match": { "imo": 1 } }, doc! { "$project": { "imo": 1 } }];
    fixture.database().create_collection("ones").view_on("ships".to_owned()).pipeline(only).await.unwrap();
    fixture.catalog.refresh();
    let tables = fixture.source.tables().await.unwrap();
    let shown: Vec<_> = tables.iter().map(|table| (table.name.as_str(), table.kind)).collect();
    assert_eq!(shown, [("ones", TableKind::View), ("ships", TableKind::Table)]);
    assert_eq!(tables[1].arrow.field_with_name("imo").unwrap().metadata()["portolan.comment"], "the hull");
    assert_eq!(fixture.rows("SELECT imo FROM ones WHERE imo < 9").await, ["1"]);
    assert_eq!(fixture.rows("SELECT count(*) FROM ships WHERE name IS NULL").await, ["1"]);
    fixture.end().await;
}

/// An empty collection fixes no schema: it appears with its first document, with that document's columns.
#[tokio::test]
async fn an_empty_collection_fixes_no_schema() {
    let fixture =
        Fixture::start("tables: { known: { collection: empty, columns: [{ name: n, type: int8 }] } }").await;
    fixture.database().create_collection("empty").await.unwrap();
    fixture.database().create_collection("other").await.unwrap();
    let names = |tables: Vec<std::sync::Arc<portolan_catalog::source::TableDef>>| {
        tables.iter().map(|table| table.name.clone()).collect::<Vec<_>>().join(" ")
    };
    // A declared one is shown all the same.
    assert_eq!(names(fixture.source.tables().await.unwrap()), "known");
    assert!(fixture.rows("SELECT n FROM known").await.is_empty());
    fixture.insert("other", [doc! { "_id": 1, "late": true }]).await;
    assert_eq!(names(fixture.source.tables().await.unwrap()), "known other");
    fixture.end().await;
}

/// Declared paths read through documents, filter through documents, and stop at arrays.
#[tokio::test]
async fn declared_paths_reach_into_documents() {
    let declared = "tables: { calls: { columns: [{ name: imo, type: int8, from: ship.imo }, { name: port, type: text, from: stay.port.name }, { name: ship, type: jsonb }] } }";
    let fixture = Fixture::start(declared).await;
    fixture
        .insert(
            "calls",
            [
                doc! { "ship": { "imo": 9_074_729 }, "stay": { "port": { "name": "Dakar" } } },
                doc! { "ship": { "imo": 2_i64 }, "stay": Bson::Null },
                doc! { "ship": {} },
            ],
        )
        .await;
    assert_eq!(fixture.rows("SELECT imo, port FROM calls").await, ["2|∅", "9074729|Dakar", "∅|∅"]);
    assert_eq!(
        fixture.rows("SELECT ship FROM calls WHERE imo > 5 AND port = 'Dakar'").await,
        ["{\"imo\":9074729}"]
    );
    assert_eq!(fixture.rows("SELECT count(*) FROM calls WHERE imo IS NULL").await, ["1"]);
    let leaf = fixture.leaf("SELECT port FROM calls WHERE imo = 5").await;
    assert!(leaf.contains(r#""ship.imo":{"$eq":5}"#), "{leaf}");
    fixture.insert("calls", [doc! { "ship": [{ "imo": 5 }] }]).await;
    let error = fixture.refused("SELECT port FROM calls WHERE imo = 5").await;
    assert!(error.message.contains("\"docs.calls.imo\""), "{error}");
    fixture.end().await;
}
