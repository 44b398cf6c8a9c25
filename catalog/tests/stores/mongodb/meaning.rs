//! What means something else at the server: the place of nulls, arrays and missing fields in conditions, casts.

use mongodb::bson::{Bson, doc};

use super::{Fixture, numbered};

/// Nulls stand where they are asked for, missing or not: there they are the smallest.
#[tokio::test]
async fn trap_w2() {
    let fixture = Fixture::start("").await;
    let documents = [doc! { "n": 2 }, doc! { "n": Bson::Null }, doc! {}, doc! { "n": 1 }, doc! { "n": 3 }];
    fixture.insert("t", numbered(documents)).await;
    for (order, rows) in [
        ("n NULLS LAST", "1 2 3"),
        ("n NULLS FIRST", "1 ∅ ∅"),
        ("n DESC NULLS LAST", "1 2 3"),
        ("n DESC NULLS FIRST", "3 ∅ ∅"),
    ] {
        let sql = format!("SELECT n FROM t ORDER BY {order} LIMIT 3");
        assert_eq!(fixture.rows(&sql).await.join(" "), rows, "{order}");
        let leaf = fixture.leaf(&sql).await;
        assert!(leaf.contains("$sort") && leaf.contains("$limit"), "{order}\n{leaf}");
    }
    fixture.end().await;
}

/// An array with a null in it is none, and a missing number is below no number, within an aggregate too.
#[tokio::test]
async fn trap_w17_arrays_and_missing_fields_are_no_scalars() {
    let fixture = Fixture::start("").await;
    let documents = [
        doc! { "n": 1, "o": { "k": 1 } },
        doc! { "n": 7, "o": [Bson::Null] },
        doc! { "n": Bson::Null, "o": Bson::Null },
        doc! {},
    ];
    fixture.insert("t", numbered(documents)).await;
    for (sql, rows, stage) in [
        ("SELECT _id FROM t WHERE o IS NULL", "3 4", "$match"),
        ("SELECT _id FROM t WHERE o IS NOT NULL", "1 2", "$match"),
        ("SELECT _id FROM t WHERE n < 6", "1", "$match"),
        ("SELECT count(*) FILTER (WHERE n < 6), count(*) FROM t", "1|4", "$group"),
        ("SELECT count(*) FILTER (WHERE n <= 7), count(n) FROM t", "2|2", "$group"),
    ] {
        assert_eq!(fixture.rows(sql).await.join(" "), rows, "{sql}");
        let leaf = fixture.leaf(sql).await;
        assert!(leaf.contains(stage), "{sql}\n{leaf}\nlacks {stage}");
    }
    fixture.end().await;
}

/// A number that is cut to a smaller type is not the number.
#[tokio::test]
async fn trap_w5_a_cast_that_changes_values_stays() {
    let fixture = Fixture::start("").await;
    fixture.insert("t", numbered([1.1, 2.0].map(|f| doc! { "f": f }))).await;
    let sql = "SELECT _id FROM t WHERE CAST(f AS real) = CAST(1.1 AS real)";
    assert_eq!(fixture.rows(sql).await, ["1"]);
    let leaf = fixture.leaf(sql).await;
    assert!(!leaf.contains("$match"), "{leaf}");
    fixture.end().await;
}
