use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::logical_expr::{cast, col, lit};

use super::*;
use crate::postgres::column::READ_AS_KEY;
use crate::source::{SOURCE_TYPE_KEY, TableKind};

pub(crate) fn table() -> Arc<TableDef> {
    let loose = HashMap::from([(LOOSE_COLLATION_KEY.to_owned(), "true".to_owned())]);
    let padded = HashMap::from([(READ_AS_KEY.to_owned(), "text".to_owned())]);
    let document = HashMap::from([(SOURCE_TYPE_KEY.to_owned(), "jsonb".to_owned())]);
    let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let fields = vec![
        Field::new("n", DataType::Int32, true),
        Field::new("t", DataType::Utf8View, true),
        Field::new("loose", DataType::Utf8View, true).with_metadata(loose),
        Field::new("padded", DataType::Utf8View, true).with_metadata(padded),
        Field::new("doc", DataType::Utf8View, true).with_metadata(document),
        Field::new("f", DataType::Float64, true),
        Field::new("d", DataType::Date32, true),
        Field::new("ts", instant, true),
        Field::new("h", DataType::Decimal128(14, 6), true),
        Field::new("b", DataType::Boolean, true),
        Field::new("we\"ird", DataType::Int64, true),
        Field::new("u", DataType::FixedSizeBinary(16), true),
        Field::new("ti", DataType::Time64(TimeUnit::Microsecond), true),
        Field::new("r", DataType::Float32, true),
    ];
    Arc::new(TableDef {
        schema: "ops".into(),
        name: "calls".into(),
        arrow: Arc::new(Schema::new(fields)),
        comment: None,
        primary_key: vec![],
        foreign_keys: vec![],
        row_estimate: None,
        kind: TableKind::Table,
    })
}

#[test]
fn expressions_render_or_stay() {
    let micros = ScalarValue::TimestampMicrosecond(Some(1_767_225_600_000_001), Some("UTC".into()));
    let decimal = ScalarValue::Decimal128(Some(-1_500), 14, 6);
    let uuid = |last: u8| {
        let bytes = [[0; 15].as_slice(), &[last]].concat();
        lit(ScalarValue::FixedSizeBinary(16, Some(bytes)))
    };
    for (expr, expected) in [
        (col("u").eq(uuid(10)), "(\"u\" = '00000000-0000-0000-0000-00000000000a'::uuid)"),
        (
            col("u").in_list(vec![uuid(1), uuid(2)], true),
            "(\"u\" NOT IN ('00000000-0000-0000-0000-000000000001'::uuid, '00000000-0000-0000-0000-000000000002'::uuid))",
        ),
        (
            col("ti").lt(lit(ScalarValue::Time64Microsecond(Some(86_400_000_000)))),
            "(\"ti\" < '24:00:00.000000'::time)",
        ),
        (col("n").eq(lit(5_i32)), "(\"n\" = (5))"),
        (col("n").gt(lit(-5_i32)), "(\"n\" > (-5))"),
        (cast(col("n"), DataType::Int64).lt(lit(5_i64)), "(\"n\" < (5))"),
        (col("t").eq(lit("a'b\\")), "(\"t\" = 'a''b\\'::text)"),
        (col("t").lt(lit("x")), "((\"t\" COLLATE \"C\") < ('x'::text COLLATE \"C\"))"),
        (col("t").eq(col("padded")), "((\"t\" COLLATE \"C\") = (\"padded\"::text COLLATE \"C\"))"),
        (col("padded").eq(lit("x")), "(\"padded\"::text = 'x'::text)"),
        (col("t").like(lit("%a_")), "(\"t\" LIKE '%a_')"),
        (col("h").gt_eq(lit(decimal)), "(\"h\" >= '-0.001500'::numeric)"),
        (col("ts").lt(lit(micros)), "(\"ts\" < '2026-01-01 00:00:00.000001+00'::timestamptz)"),
        (col("f").gt(lit(2.5_f64)), "(\"f\" > '2.5e0'::float8)"),
        (col("r").gt_eq(lit(2.5_f32)), "(\"r\" >= '2.5e0'::float4)"),
        // PostgreSQL compares a real with double precision as double precision.
        (cast(col("r"), DataType::Float64).eq(lit(0.1_f64)), "(\"r\" = '1e-1'::float8)"),
        (col("b").and(col("n").is_null()), "(\"b\" AND (\"n\" IS NULL))"),
        (Expr::Not(Box::new(col("doc").is_not_null())), "(NOT (\"doc\" IS NOT NULL))"),
        (col("n").in_list(vec![lit(1_i32), lit(2_i32)], true), "(\"n\" NOT IN ((1), (2)))"),
        (col("we\"ird").eq(lit(1_i64)), "(\"we\"\"ird\" = (1))"),
        // The ends of the integers are infinity, which has no time zone.
        (col("d").eq(lit(ScalarValue::Date32(Some(i32::MAX)))), "(\"d\" = 'infinity'::date)"),
        (
            col("ts").gt(lit(ScalarValue::TimestampMicrosecond(Some(i64::MIN), Some("UTC".into())))),
            "(\"ts\" > '-infinity'::timestamptz)",
        ),
    ] {
        let rendered = (Walk { table: &table(), alias: None }).predicate(&expr, 0);
        assert_eq!(rendered.map(|rendered| rendered.sql), Ok(expected.to_owned()), "{expr}");
    }
}

#[test]
fn what_is_not_proven_stays_with_a_reason() {
    let many = (0..50_001).map(lit).collect();
    for (expr, reason) in [
        (col("loose").eq(lit("x")), "collation"),
        (col("doc").eq(lit("{}")), "documents"),
        (col("f").gt(lit(0.0_f64)), "around zero"),
        (col("f").eq(lit(f64::NAN)), "around zero"),
        (col("t").eq(lit("a\0b")), "NUL"),
        (col("t").like(lit("a\\_")), "escapes"),
        (col("t").ilike(lit("a")), "locale"),
        (col("n").in_list(many, false), "50001 items"),
        ((col("n") + lit(1_i32)).eq(lit(5_i32)), "computed"),
        (cast(col("ts"), DataType::Date32).eq(lit(ScalarValue::Date32(Some(1)))), "cast to Date32"),
        (cast(col("t"), DataType::Int64).eq(lit(5_i64)), "cast to Int64"),
        (cast(col("n"), DataType::Float64).eq(lit(5.5_f64)), "cast to Float64"),
        (cast(col("r"), DataType::Float64).eq(col("f")), "two floats"),
        (col("d").lt(lit(ScalarValue::Date32(Some(i32::MAX - 1)))), "no safe text"),
        (col("n").eq(lit(ScalarValue::Int32(None))), "null"),
        (col("u").eq(lit(ScalarValue::FixedSizeBinary(16, None))), "null"),
        (col("u").eq(lit(ScalarValue::Binary(Some(vec![0; 16])))), "constants of type Binary"),
        ((0..100).fold(col("b"), |deep, _| Expr::Not(Box::new(deep))), "nested"),
    ] {
        match verdict(&table(), &expr) {
            Verdict::Keep(why) => assert!(why.contains(reason), "{expr}: {why}"),
            other => panic!("{expr}: {other:?}"),
        }
    }
    assert_eq!(verdict(&table(), &col("t").gt(lit("x"))), Verdict::Rewrite(COLLATE.into()));
    assert_eq!(verdict(&table(), &col("t").not_eq(lit("x"))), Verdict::Exact);
}
