//! Columns that are read as a declared type, and tables that are not shown, on a real PostgreSQL.

use datafusion::arrow::datatypes::DataType;
use portolan_catalog::source::SourceErrorKind;
use serde_json::{Value, json};

use super::fixture::Fixture;

/// A weight of twenty places, one that is no number, and arrays of two dimensions.
const CARGO: &str = r#"
CREATE TABLE port.cargo (id int4 PRIMARY KEY, w numeric, x numeric, many int4[], named text[], plain numeric(10,2));
INSERT INTO port.cargo VALUES
  (1, 1.5, 1.10, '{{1,2},{3,NULL}}', '{a,"b c"}', 1.25),
  (2, 0.12345678901234567891, 'NaN', '{1}', NULL, 2.50),
  (3, NULL, 12345678901234567890123456789012345678901234567890.5, NULL, '{{"é"}}', NULL),
  (4, 1.50, 1.1, '{}', '{NULL}', 1.25),
  (5, -999999999999999999.99999999999999999999, 'Infinity', '{1}', '{}', -1);
CREATE TABLE port.tmp_load (id int4);
"#;

async fn loaded() -> Fixture {
    let fixture = Fixture::start().await;
    fixture.client.batch_execute(CARGO).await.unwrap();
    fixture
}

fn types() -> Value {
    json!({"cargo.w": "numeric(38,20)", "cargo.x": "text", "cargo.many": "jsonb", "cargo.named": "jsonb",
           "cargo.plain": "numeric(12,4)"})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declared_column_has_its_type_and_push_down_changes_nothing() {
    let fixture = loaded().await.declaring("dec", "port", json!({"exclude": ["tmp_*"]}), types());
    let all =
        fixture.run("SELECT id, w, x, many, named, plain FROM dec.cargo ORDER BY id", true).await.unwrap();
    let (text, decimal) = (DataType::Utf8View, DataType::Decimal128(38, 20));
    let expected = [DataType::Int32, decimal, text.clone(), text.clone(), text, DataType::Decimal128(12, 4)];
    assert_eq!(all.types, expected);
    assert_eq!(
        all.rows,
        [
            r#"1|1.50000000000000000000|1.10|[[1, 2], [3, null]]|["a", "b c"]|1.2500"#,
            "2|0.12345678901234567891|NaN|[1]|∅|2.5000",
            r#"3|∅|12345678901234567890123456789012345678901234567890.5|∅|[["é"]]|∅"#,
            "4|1.50000000000000000000|1.1|[]|[null]|1.2500",
            "5|-999999999999999999.99999999999999999999|Infinity|[1]|[]|-1.0000",
        ]
    );
    let exactly = "CAST('1.5' AS DECIMAL(38,20))";
    for (sql, sent, kept) in [
        (format!("SELECT id FROM dec.cargo WHERE w = {exactly}"), "(\"w\" = '1.5", ""),
        (format!("SELECT id FROM dec.cargo WHERE w > {exactly} OR w IS NULL"), "IS NULL", ""),
        ("SELECT id FROM dec.cargo WHERE x IN ('1.1', 'NaN')".into(), "(\"x\"::text ", ""),
        ("SELECT x, count(*) FROM dec.cargo GROUP BY x".into(), "GROUP BY \"x\"::text", ""),
        ("SELECT w, count(*) FROM dec.cargo GROUP BY w".into(), "GROUP BY \"w\"", ""),
        ("SELECT max(x), count(DISTINCT x) FROM dec.cargo".into(), "", ""),
        ("SELECT max(w), min(plain) FROM dec.cargo".into(), "", "declared type"),
        ("SELECT sum(plain) FROM dec.cargo".into(), "", "declared type"),
        ("SELECT count(DISTINCT w), max(id) FROM dec.cargo".into(), "", ""),
        ("SELECT id, w FROM dec.cargo ORDER BY w DESC NULLS LAST LIMIT 2".into(), "ORDER BY \"w\" DESC", ""),
        ("SELECT id FROM dec.cargo WHERE many = '[1]'".into(), "", "documents are compared here"),
        ("SELECT many, count(*) FROM dec.cargo GROUP BY many".into(), "", ""),
        ("SELECT id FROM dec.cargo WHERE named IS NULL".into(), "\"named\" IS NULL", ""),
        (
            "SELECT a.id, b.id FROM dec.cargo a JOIN dec.cargo b ON a.w = b.w AND a.plain = b.plain".into(),
            "",
            "",
        ),
        ("SELECT a.id, b.id FROM dec.cargo a JOIN dec.cargo b ON a.x = b.x".into(), "", ""),
    ] {
        let leaves = fixture.same(&sql).await;
        assert!(leaves.iter().any(|leaf| leaf.contains(sent)), "{sql}\n{leaves:#?}");
        let all = fixture.run(&format!("EXPLAIN {sql}"), true).await.unwrap().rows.join("\n");
        assert!(all.contains(kept), "{sql}\n{all}");
    }
    // What is excluded is not there.
    let hidden = fixture.run("SELECT * FROM dec.tmp_load", true).await.unwrap_err();
    assert!(hidden.contains("not found"), "{hidden}");
    assert!(fixture.run("SELECT * FROM ops.tmp_load", true).await.is_ok());
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_does_not_fit_names_its_column_and_the_line_to_write() {
    let tight = json!({"cargo.w": "numeric(10,2)", "cargo.plain": "numeric(10,1)"});
    let fixture = loaded().await.declaring("tight", "port", json!({}), tight);
    for (sql, column, line) in [
        ("SELECT w FROM ops.cargo", "ops.cargo.w", r#"{cargo.w: "numeric(38,20)"}"#),
        ("SELECT x FROM ops.cargo WHERE id = 2", "ops.cargo.x", r#"{cargo.x: "text"}"#),
        ("SELECT x FROM ops.cargo WHERE id = 3", "ops.cargo.x", r#"{cargo.x: "numeric(60,10)"}"#),
        ("SELECT x FROM ops.cargo WHERE id = 5", "ops.cargo.x", r#"{cargo.x: "text"}"#),
        (
            "SELECT a.label, b.w FROM ops.many a JOIN ops.cargo b ON a.id = b.id WHERE b.id = 2",
            "ops.cargo.w",
            "",
        ),
        ("SELECT w FROM tight.cargo WHERE id = 2", "tight.cargo.w", r#"{cargo.w: "numeric(28,20)"}"#),
        ("SELECT max(w) FROM tight.cargo", "tight.cargo.w", ""),
        ("SELECT plain, count(*) FROM tight.cargo GROUP BY plain", "tight.cargo.plain", ""),
        ("SELECT plain FROM tight.cargo", "tight.cargo.plain", r#"{cargo.plain: "numeric(11,2)"}"#),
    ] {
        for pushdown in [true, false] {
            let error = fixture.refusal(sql, pushdown).await;
            assert_eq!(error.kind, SourceErrorKind::Data, "{sql}: {error}");
            let expected = format!("a value of column \"{column}\" does not fit its type");
            assert_eq!(error.message, expected, "{sql}");
            let hint = error.hint.unwrap();
            assert!(hint.starts_with("write columns: {"), "{sql}: {hint}");
            // Without push-down rows are read that nobody asked for, and an earlier one may be the first.
            assert!(!pushdown || hint.contains(line), "{sql}: {hint}");
        }
    }
    let array = fixture.refusal("SELECT many FROM ops.cargo", true).await;
    assert_eq!(array.kind, SourceErrorKind::Unsupported);
    assert!(array.hint.unwrap().contains(r#"columns: {cargo.many: "jsonb"}"#));
    // A column that is not asked for keeps nobody from the others.
    fixture.same("SELECT id FROM tight.cargo WHERE id > 1").await;
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_cannot_be_kept_is_an_error_of_its_table() {
    let columns = json!({"cargo.id": "bool", "berth.depth": "numeric(6,2)", "mark.weight": "numeric(5,0)"});
    let fixture = loaded().await.declaring("bad", "port", json!({}), columns);
    for (table, message) in [
        ("cargo", "column \"bad.cargo.id\" is integer, which is not read as bool"),
        ("mark", "column \"bad.mark.weight\" is smallint, which is not read as numeric(5,0)"),
    ] {
        let error = fixture.refusal(&format!("SELECT * FROM bad.{table}"), true).await;
        assert_eq!((error.kind, error.message.as_str()), (SourceErrorKind::Unsupported, message));
        assert!(error.hint.unwrap().contains("in columns of source \"bad\"; a numeric may be"));
    }
    fixture.same("SELECT id, depth FROM bad.berth").await;
    fixture.stop().await;

    // A column that becomes another one is noticed by who reads it, and then by who names it.
    let fixture = loaded().await.declaring("dec", "port", json!({}), types());
    fixture.same("SELECT id, w FROM dec.cargo").await;
    fixture.client.batch_execute("ALTER TABLE port.cargo ALTER w TYPE numeric(38,20)").await.unwrap();
    let error = fixture.refusal("SELECT w FROM dec.cargo", true).await;
    assert_eq!(error.kind, SourceErrorKind::NotFound, "{error}");
    fixture.same("SELECT id, w FROM dec.cargo").await;
    fixture.client.batch_execute("ALTER TABLE port.cargo ALTER w TYPE text").await.unwrap();
    let error = fixture.refusal("SELECT w FROM dec.cargo", true).await;
    assert_eq!(error.kind, SourceErrorKind::NotFound, "{error}");
    let error = fixture.refusal("SELECT id FROM dec.cargo", true).await;
    assert_eq!(error.message, "column \"dec.cargo.w\" is text, which is not read as numeric(38,20)");
    fixture.stop().await;
}
