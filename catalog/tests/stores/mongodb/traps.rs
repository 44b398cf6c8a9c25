//! Traps that cost others wrong answers, by their names.

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, DateTime, doc};
use portolan_catalog::source::SourceErrorKind;

use super::{Fixture, numbered};

fn decimal(text: &str) -> Bson {
    Bson::Decimal128(text.parse().unwrap())
}

/// `<>`, NOT IN and NOT LIKE do not let nulls through, and several `<>` on one column all hold.
#[tokio::test]
async fn trap_w3() {
    let fixture = Fixture::start("").await;
    let texts = [Some("a"), Some("b"), Some("c"), Some("d"), None];
    let documents = texts.into_iter().map(|text| doc! { "s": text }).chain([doc! {}]);
    fixture.insert("t", numbered(documents)).await;
    for (condition, expected) in [
        ("s <> 'a'", "2 3 4"),
        ("s <> 'a' AND s <> 'b' AND s <> 'c'", "4"),
        ("NOT (s = 'a' OR s = 'b')", "3 4"),
        ("s NOT IN ('a', 'b')", "3 4"),
        // Of up to three values the engine makes comparisons.
        ("s NOT IN ('a', 'b', 'x', 'y', 'z')", "3 4"),
        ("s NOT LIKE 'a%'", "2 3 4"),
        ("NOT (s > 'b')", "1 2"),
        ("(s <> 'a') IS NOT TRUE", "1 5 6"),
        ("s IS NULL", "5 6"),
        ("s IS NOT NULL", "1 2 3 4"),
        ("s IS DISTINCT FROM 'a'", "2 3 4 5 6"),
    ] {
        let sql = format!("SELECT _id FROM t WHERE {condition}");
        assert_eq!(fixture.rows(&sql).await.join(" "), expected, "{condition}");
        assert!(fixture.leaf(&sql).await.contains("$match"), "{condition} was not sent");
    }
    fixture.end().await;
}

/// An object id is compared as one, and a cast of a column is not stripped.
#[tokio::test]
async fn trap_w4_w5() {
    let fixture = Fixture::start("").await;
    let id = ObjectId::parse_str("0123456789abcdef01234567").unwrap();
    let midnight = 1_767_225_600_000_i64;
    fixture
        .insert(
            "t",
            [
                doc! { "_id": id, "at": DateTime::from_millis(midnight), "owner": id },
                doc! { "_id": ObjectId::new(), "at": DateTime::from_millis(midnight + 3_600_000) },
                doc! { "_id": ObjectId::new(), "at": DateTime::from_millis(midnight - 1) },
            ],
        )
        .await;
    for (condition, expected) in [
        ("_id = '0123456789abcdef01234567'", 1),
        ("owner = '0123456789abcdef01234567'", 1),
        ("_id <> '0123456789abcdef01234567'", 2),
        ("_id IN ('0123456789abcdef01234567', 'x')", 1),
        ("_id NOT IN ('0123456789abcdef01234567')", 2),
        ("_id = '0123456789ABCDEF01234567'", 0),
        ("_id = 'not an id'", 0),
        ("_id <> 'not an id'", 3),
        ("owner <> 'not an id'", 1),
        ("_id <= '0123456789abcdef01234567'", 1),
    ] {
        let sql = format!("SELECT _id FROM t WHERE {condition}");
        assert_eq!(fixture.rows(&sql).await.len(), expected, "{condition}");
        assert!(fixture.leaf(&sql).await.contains("$match"), "{condition} was not sent");
    }
    let day = "SELECT _id FROM t WHERE CAST(at AS DATE) = DATE '2026-01-01'";
    assert_eq!(fixture.rows(day).await.len(), 2);
    fixture.end().await;
}

/// A value of another type than the sample's is an error or NULL and counted, decimals are exact, midnights stay
/// instants.
#[tokio::test]
async fn trap_w6() {
    let fixture =
        Fixture::start("sample: 4\ntables: { lenient: { collection: t, on_mismatch: null } }").await;
    let documents = (1..=9).map(|n| match n {
        5 => doc! { "n": "five", "d": decimal("1.0000000001"), "at": DateTime::from_millis(86_400_000) },
        n => doc! { "n": n, "d": decimal("1.0000000001"), "at": DateTime::from_millis(86_400_000) },
    });
    fixture.insert("t", numbered(documents)).await;
    let others = "tables: { t: {} }\nsample: 4";
    assert!(
        fixture.columns("lenient").await.contains("n Int32, d Decimal128(38, 10), at Timestamp(µs, \"UTC\")")
    );
    assert_eq!(fixture.rows("SELECT n FROM lenient WHERE n > 7 OR n IS NULL").await, ["8", "9", "∅"]);
    assert_eq!(fixture.rows("SELECT DISTINCT d FROM lenient").await, ["1.0000000001"]);
    assert!(fixture.source.misfits() > 0);
    fixture.end().await;

    let strict = Fixture::start(others).await;
    strict
        .insert(
            "t",
            numbered((1..=9).map(|n| {
                if n == 5 {
                    doc! { "n": "five" }
                } else {
                    doc! { "n": n }
                }
            })),
        )
        .await;
    // Whether the column is shown, only filtered by, or neither.
    for sql in ["SELECT n FROM t", "SELECT * FROM t", "SELECT _id FROM t WHERE n <> 3"] {
        let error = strict.refused(sql).await;
        assert_eq!(error.kind, SourceErrorKind::Remote, "{sql}: {error}");
        assert!(
            error.message.contains("type string") && error.message.contains("\"docs.t.n\""),
            "{sql}: {error}"
        );
    }
    assert_eq!(strict.try_rows("SELECT _id FROM t", true).await.unwrap().len(), 9);
    strict.end().await;
}

/// `%` and `_` match line breaks, and nothing ends before a last one; patterns are quoted.
#[tokio::test]
async fn trap_w8() {
    let fixture = Fixture::start("").await;
    let texts = ["x\ny", "x\n", "x", "xy", "X", "a.c", "abc", "a%c", "", "a(b", "^x$", "é", "a[b]{1}|c+d*?"];
    fixture.insert("t", numbered(texts.map(|text| doc! { "s": text }))).await;
    for (pattern, expected) in [
        ("x%", "1 2 3 4"),
        ("x", "3"),
        ("x_", "2 4"),
        ("x_y", "1"),
        ("%y", "1 4"),
        ("a.c", "6"),
        ("a_c", "6 7 8"),
        ("a(%", "10"),
        ("^x$", "11"),
        ("_", "12 3 5"),
        ("", "9"),
        ("%[b]{1}|c+d*?", "13"),
    ] {
        let sql = format!("SELECT _id FROM t WHERE s LIKE '{pattern}'");
        assert_eq!(fixture.rows(&sql).await.join(" "), expected, "{pattern}");
        let inverse = fixture.rows(&format!("SELECT _id FROM t WHERE s NOT LIKE '{pattern}'")).await;
        assert_eq!(inverse.len() + expected.split_whitespace().count(), texts.len(), "{pattern}");
    }
    assert!(fixture.leaf("SELECT _id FROM t WHERE s LIKE 'x_'").await.contains("\\\\Ax.\\\\z"));
    assert_eq!(fixture.rows("SELECT _id FROM t WHERE s ILIKE 'x'").await.join(" "), "3 5");
    fixture.end().await;
}

/// A condition on a scalar does not match an array that contains such an item, nor a missing field.
#[tokio::test]
async fn trap_w17() {
    let fixture = Fixture::start("on_mismatch: null").await;
    let documents = [
        doc! { "n": 1 },
        doc! { "n": 5 },
        doc! { "n": [5, 9] },
        doc! { "n": Bson::Null },
        doc! {},
        doc! { "n": [Bson::Null] },
        doc! { "n": 9 },
    ];
    fixture.insert("t", numbered(documents)).await;
    // Sampled, the field is mixed: documents. Declared, it is a number.
    assert!(fixture.columns("t").await.contains("n Utf8View"));
    assert_eq!(fixture.rows("SELECT _id FROM t WHERE n IS NULL").await.join(" "), "4 5");
    fixture.end().await;

    let declared =
        "tables: { t: { columns: [{ name: _id, type: int4 }, { name: n, type: int4 }], on_mismatch: null } }";
    let fixture = Fixture::start(declared).await;
    fixture
        .insert(
            "t",
            numbered([doc! { "n": 1 }, doc! { "n": 5 }, doc! { "n": [5, 9] }, doc! {}, doc! { "n": 9 }]),
        )
        .await;
    for (condition, expected) in [
        ("n = 5", "2"),
        ("n < 6", "1 2"),
        ("n > 6", "5"),
        ("n <> 5", "1 5"),
        ("n IS NULL", "3 4"),
        ("n IN (5, 9)", "2 5"),
    ] {
        let sql = format!("SELECT _id FROM t WHERE {condition}");
        assert_eq!(fixture.rows(&sql).await.join(" "), expected, "{condition}");
    }
    fixture.end().await;
}

/// Not-a-number is larger than infinity and equal to itself.
#[tokio::test]
async fn trap_w25() {
    let fixture = Fixture::start("").await;
    let values = [1.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0, 5e-324];
    fixture.insert("t", numbered(values.map(|f| doc! { "f": f }).into_iter().chain([doc! {}]))).await;
    for (condition, expected) in [
        ("f > 1.0", "1 2 3"),
        ("f >= 1.5", "1 2 3"),
        ("f < 1.5", "4 5 6 7"),
        ("f <= 1.5", "1 4 5 6 7"),
        ("f <> 1.5", "2 3 4 5 6 7"),
        ("NOT (f < 1.5)", "1 2 3"),
        ("f BETWEEN 1.0 AND 2.0", "1"),
        ("f NOT BETWEEN 1.0 AND 2.0", "2 3 4 5 6 7"),
        ("f = 'NaN'::double", "2"),
        ("f > 'Infinity'::double", "2"),
        ("f > 0.0", "1 2 3 7"),
    ] {
        let sql = format!("SELECT _id FROM t WHERE {condition}");
        assert_eq!(fixture.rows(&sql).await.join(" "), expected, "{condition}");
    }
    assert!(fixture.leaf("SELECT _id FROM t WHERE f > 1.0").await.contains("$or"));
    fixture.end().await;
}

/// NULL in an IN list, lists without a value that could match, and lists that look like ranges.
#[tokio::test]
async fn trap_w26() {
    let fixture = Fixture::start("").await;
    fixture.insert("t", numbered((1..=6).map(|n| doc! { "n": n }).chain([doc! { "n": Bson::Null }]))).await;
    for (condition, expected) in [
        ("n IN (1, NULL)", "1"),
        ("n NOT IN (1, NULL)", ""),
        ("NOT (n IN (1, NULL))", ""),
        ("(n IN (1, NULL)) IS NULL", "2 3 4 5 6 7"),
        ("n IN (1, 2, 3, 4, 5)", "1 2 3 4 5"),
        ("n NOT IN (1, 2, 3, 4, 5)", "6"),
        ("n IN (CAST(NULL AS INT))", ""),
        ("n IN (SELECT n FROM t WHERE n > 4)", "5 6"),
    ] {
        let sql = format!("SELECT _id FROM t WHERE {condition}");
        assert_eq!(fixture.rows(&sql).await.join(" "), expected, "{condition}");
    }
    fixture.end().await;
}
