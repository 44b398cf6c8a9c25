//! The gate and the pipeline without a server: what goes down in which words, and what stays with which reason.

use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{cast, col, lit};

use super::super::config::{MongodbColumnConfig, MongodbConfig, MongodbTableConfig};
use super::super::kind::{MongodbType, declared, found};
use super::super::pipeline::Pipeline;
use super::super::shape::declared_tables;
use super::*;
use crate::federation::{Fragment, PushedFilter};
use crate::source::{SourceName, TableKind};

fn table(fields: Vec<Field>) -> TableDef {
    TableDef {
        schema: "docs".into(),
        name: "t".into(),
        arrow: Arc::new(Schema::new(fields)),
        comment: None,
        primary_key: vec![],
        foreign_keys: vec![],
        row_estimate: None,
        kind: TableKind::Table,
    }
}

fn sampled() -> TableDef {
    let column = |name: &str, ty: &'static str| found(name, &[ty].into_iter().collect(), None);
    table(vec![
        column("_id", "objectId"),
        column("n", "int"),
        column("l", "long"),
        column("f", "double"),
        column("d", "decimal"),
        column("s", "string"),
        column("ok", "bool"),
        column("at", "date"),
        column("doc", "object"),
        column("u", "uuid"),
        column("$odd", "int"),
        column("a.b", "int"),
    ])
}

fn strict() -> TableShape {
    TableShape::undeclared("t", OnMismatch::Error)
}

/// The argument of `$match` as JSON, or the reason why there is none.
fn words(expr: &Expr) -> Result<String, String> {
    match condition(&sampled(), &strict(), expr) {
        Ok(matcher) => {
            let document = matcher.into_document().unwrap_or_default();
            Ok(Bson::Document(document).into_relaxed_extjson().to_string())
        }
        Err(reason) => Err(reason.into_owned()),
    }
}

const HEX: &str = "0123456789abcdef01234567";

fn instant(micros: i64) -> Expr {
    lit(ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into())))
}

#[test]
fn conditions_are_query_operators_with_their_guards() {
    let guard = r#""$not":{"$type":"array"}"#;
    for (expr, expected) in [
        (col("n").eq(lit(5)), format!(r#"{{"n":{{"$eq":5,{guard}}}}}"#)),
        (lit(5).lt(col("n")), format!(r#"{{"n":{{"$gt":5,{guard}}}}}"#)),
        (col("n").not_eq(lit(5)), format!(r#"{{"n":{{"$nin":[5,null],{guard}}}}}"#)),
        (!col("n").eq(lit(5)), format!(r#"{{"n":{{"$nin":[5,null],{guard}}}}}"#)),
        (!(col("n").gt(lit(5))), format!(r#"{{"n":{{"$lte":5,{guard}}}}}"#)),
        (cast(col("n"), DataType::Int64).eq(lit(7_i64)), format!(r#"{{"n":{{"$eq":7,{guard}}}}}"#)),
        (col("n").is_null(), format!(r#"{{"n":{{"$eq":null,{guard}}}}}"#)),
        (col("n").is_not_null(), format!(r#"{{"n":{{"$ne":null,{guard}}}}}"#)),
        (col("doc").is_not_null(), format!(r#"{{"$nor":[{{"doc":{{"$eq":null,{guard}}}}}]}}"#)),
        (col("ok"), format!(r#"{{"ok":{{"$eq":true,{guard}}}}}"#)),
        (!col("ok"), format!(r#"{{"ok":{{"$eq":false,{guard}}}}}"#)),
        (col("ok").is_not_true(), format!(r#"{{"$nor":[{{"ok":{{"$eq":true,{guard}}}}}]}}"#)),
        (col("_id").eq(lit(HEX)), format!(r#"{{"_id":{{"$eq":{{"$oid":"{HEX}"}}}}}}"#)),
        (col("_id").eq(lit("bad")), r#"{"_id":{"$in":[]}}"#.into()),
        (col("_id").not_eq(lit(HEX.to_uppercase())), r#"{"_id":{"$ne":null}}"#.into()),
        (
            col("_id").in_list(vec![lit(HEX), lit("bad")], false),
            format!(r#"{{"_id":{{"$in":[{{"$oid":"{HEX}"}}]}}}}"#),
        ),
        (col("f").lt(lit(1.5)), format!(r#"{{"f":{{"$lt":1.5,"$ne":{{"$numberDouble":"NaN"}},{guard}}}}}"#)),
        (
            col("f").gt(lit(1.5)),
            format!(
                r#"{{"$or":[{{"f":{{"$gt":1.5,{guard}}}}},{{"f":{{"$eq":{{"$numberDouble":"NaN"}},{guard}}}}}]}}"#
            ),
        ),
        (
            col("d").eq(lit(ScalarValue::Decimal128(Some(150), 38, 2))),
            format!(r#"{{"d":{{"$eq":{{"$numberDecimal":"1.50"}},{guard}}}}}"#),
        ),
        (
            col("at").lt(instant(1_500)),
            format!(r#"{{"at":{{"$lte":{{"$date":"1970-01-01T00:00:00.001Z"}},{guard}}}}}"#),
        ),
        (
            col("at").gt_eq(instant(1_500)),
            format!(r#"{{"at":{{"$gt":{{"$date":"1970-01-01T00:00:00.001Z"}},{guard}}}}}"#),
        ),
        (col("at").eq(instant(1_500)), r#"{"_id":{"$in":[]}}"#.into()),
        (
            col("n").in_list(vec![lit(1), lit(ScalarValue::Int32(None))], false),
            format!(r#"{{"n":{{"$in":[1],{guard}}}}}"#),
        ),
        (col("n").in_list(vec![lit(1), lit(ScalarValue::Int32(None))], true), r#"{"_id":{"$in":[]}}"#.into()),
        (col("n").in_list(vec![lit(1), lit(2)], true), format!(r#"{{"n":{{"$nin":[1,2,null],{guard}}}}}"#)),
        (
            col("n").between(lit(1), lit(2)),
            format!(r#"{{"$and":[{{"n":{{"$gte":1,{guard}}}}},{{"n":{{"$lte":2,{guard}}}}}]}}"#),
        ),
        (
            col("n").not_eq(lit(1)).and(col("n").not_eq(lit(2))).and(col("n").not_eq(lit(3))),
            format!(
                r#"{{"$and":[{{"n":{{"$nin":[1,null],{guard}}}}},{{"n":{{"$nin":[2,null],{guard}}}}},{{"n":{{"$nin":[3,null],{guard}}}}}]}}"#
            ),
        ),
        (
            col("s").like(lit("a.%_b$")),
            format!(
                r#"{{"s":{{"$regex":{{"$regularExpression":{{"pattern":"\\Aa\\..*.b\\$\\z","options":"s"}}}},{guard}}}}}"#
            ),
        ),
        (
            col("s").like(lit("ab%")),
            format!(
                r#"{{"s":{{"$regex":{{"$regularExpression":{{"pattern":"\\Aab","options":"s"}}}},{guard}}}}}"#
            ),
        ),
        (col("s").eq(lit("$where")), format!(r#"{{"s":{{"$eq":"$where",{guard}}}}}"#)),
        (lit(true), "{}".into()),
        (lit(false), r#"{"_id":{"$in":[]}}"#.into()),
    ] {
        assert_eq!(words(&expr), Ok(expected), "{expr}");
    }
}

#[test]
fn what_has_no_exact_words_stays_with_its_reason() {
    for (expr, reason) in [
        (col("n").eq(col("l")), "two columns"),
        (cast(col("l"), DataType::Float64).gt(lit(1.0)), "cast to Float64"),
        (cast(col("at"), DataType::Date32).eq(lit(ScalarValue::Date32(Some(1)))), "cast to Date32"),
        (cast(col("_id"), DataType::Int64).eq(lit(1_i64)), "cast to Int64"),
        (col("f").eq(lit(0.0)), "compared with a constant"),
        (col("f").gt(lit(f64::NAN)), "compared with a constant"),
        (
            col("d").gt(lit(ScalarValue::Decimal128(Some(10_i128.pow(35) + 1), 38, 0))),
            "compared with a constant",
        ),
        (col("at").lt(instant(i64::MAX)), "compared with a constant"),
        (col("_id").gt(lit("bad")), "no object id"),
        (col("doc").eq(lit("{}")), "compared with a constant"),
        (col("ok").gt(lit(false)), "order of this type"),
        (col("s").ilike(lit("a%")), "case-insensitive"),
        (col("s").like(lit("a\\%")), "escapes"),
        (col("s").like(lit("%a%b%c%d%e%")), "a pattern this long"),
        (col("_id").like(lit("0%")), "patterns of this column"),
        (col("$odd").eq(lit(1)), "means something else"),
        (Expr::Column("a.b".into()).is_null(), "another table"),
        (Expr::Column(datafusion::common::Column::new_unqualified("a.b")).eq(lit(1)), "means something else"),
        (
            (0..40).fold(col("ok"), |expr, n| {
                if n % 2 == 0 { expr.and(col("n").eq(lit(1))) } else { expr.or(col("ok")) }
            }),
            "nested too deeply",
        ),
        (col("n").in_list((0..=MAX_LIST).map(|_| lit(1)).collect(), false), "a list of 50001 items"),
    ] {
        let said = words(&expr).unwrap_err();
        assert!(said.contains(reason), "{expr}: {said}");
        assert!(matches!(verdict(&sampled(), &strict(), &expr), Verdict::Keep(_)), "{expr}");
    }
}

#[test]
fn where_misfits_become_null_nothing_is_exact_and_no_complement_is_sent() {
    let lenient = TableShape::undeclared("t", OnMismatch::Null);
    let given = |expr: &Expr| verdict(&sampled(), &lenient, expr);
    assert!(matches!(given(&col("n").eq(lit(1))), Verdict::Superset(_)));
    assert!(matches!(given(&col("n").not_eq(lit(1))), Verdict::Superset(_)));
    assert!(matches!(given(&col("n").is_not_null()), Verdict::Superset(_)));
    assert!(matches!(given(&col("n").is_null()), Verdict::Keep(_)));
    assert!(matches!(given(&col("n").eq(lit(1)).is_not_true()), Verdict::Keep(_)));
    assert!(matches!(given(&col("n").eq(lit(1)).or(col("n").is_null())), Verdict::Keep(_)));
}

#[test]
fn a_views_own_collation_leaves_equality_only_and_as_a_superset() {
    let mut s = found("s", &["string"].into_iter().collect(), None);
    s.metadata_mut().insert(COLLATION_KEY.into(), "en".into());
    let view = table(vec![s]);
    let given = |expr: &Expr| verdict(&view, &strict(), expr);
    assert!(matches!(given(&col("s").eq(lit("a"))), Verdict::Superset(_)));
    assert!(matches!(given(&col("s").in_list(vec![lit("a")], false)), Verdict::Superset(_)));
    for kept in
        [col("s").not_eq(lit("a")), col("s").gt(lit("a")), col("s").like(lit("a%")), !col("s").eq(lit("a"))]
    {
        assert!(matches!(given(&kept), Verdict::Keep(_)), "{kept}");
    }
    assert_eq!(given(&col("s").is_null()), Verdict::Exact);
}

#[test]
fn a_pipeline_reads_only_what_is_needed_and_checks_what_it_filters_by() {
    let table = Arc::new(sampled());
    let shown = |projection: Vec<usize>, filters: Vec<Expr>, limit| {
        let filters = filters.into_iter().map(|expr| PushedFilter { expr, exact: true }).collect();
        let mut fragment = Fragment::whole(Arc::clone(&table));
        (fragment.projection, fragment.filters, fragment.limit) = (projection, filters, limit);
        let pipeline = Pipeline::of(&strict(), &fragment).unwrap();
        let read: Vec<String> = pipeline.wanted.iter().map(|wanted| wanted.field.name().clone()).collect();
        (pipeline.to_json(), read.join(" "))
    };
    let (json, read) = shown(vec![5, 0], vec![col("n").eq(lit(1))], Some(3));
    assert_eq!(
        json,
        r#"[{"$match":{"n":{"$eq":1,"$not":{"$type":"array"}}}},{"$limit":3},{"$project":{"s":1,"_id":1,"n":1}}]"#
    );
    assert_eq!(read, "s _id n");
    assert_eq!(shown(vec![], vec![], None).0, r#"[{"$project":{"_id":1}}]"#);
    assert_eq!(shown(vec![1], vec![], None).0, r#"[{"$project":{"n":1,"_id":0}}]"#);
    // A field whose name is no path comes with its whole document.
    assert_eq!(shown(vec![1, 10], vec![], None).0, "[]");
    assert_eq!(
        shown(vec![1], vec![lit(false)], None).0.split(',').next(),
        Some(r#"[{"$match":{"_id":{"$in":[]}}}"#)
    );
}

#[test]
fn declared_paths_are_sent_as_paths() {
    let column = |name: &str, from: &str| MongodbColumnConfig {
        name: name.into(),
        column_type: MongodbType::try_from("int8".to_owned()).unwrap(),
        from: Some(from.into()),
        comment: None,
    };
    let mut config: MongodbConfig =
        crate::yaml::parse(std::path::Path::new("p"), "{ hosts: [a], database: d, on_mismatch: null }")
            .unwrap();
    let columns = vec![column("imo", "ship.imo"), column("ship", "ship"), column("first", "calls.0.at")];
    config.tables.insert("t".into(), MongodbTableConfig { columns, ..MongodbTableConfig::default() });
    let shape = declared_tables(&SourceName::try_new("docs").unwrap(), &config).unwrap().remove("t").unwrap();
    assert_eq!(shape.on_mismatch, OnMismatch::Null);
    let table = table(shape.columns.clone());
    let words = condition(&table, &shape, &col("imo").eq(lit(7_i64))).unwrap().into_document().unwrap();
    assert_eq!(
        Bson::Document(words).into_relaxed_extjson().to_string(),
        r#"{"ship.imo":{"$eq":7,"$not":{"$type":"array"}},"ship":{"$not":{"$type":"array"}}}"#
    );
    assert!(condition(&table, &shape, &col("first").eq(lit(7_i64))).is_err());
    let mut fragment = Fragment::whole(Arc::new(table));
    fragment.projection = vec![0, 1];
    assert_eq!(Pipeline::of(&shape, &fragment).unwrap().to_json(), r#"[{"$project":{"ship":1,"_id":0}}]"#);
    for wrong in ["a..b", ""] {
        let columns = vec![column("x", wrong)];
        config.tables.insert("t".into(), MongodbTableConfig { columns, ..MongodbTableConfig::default() });
        assert!(declared_tables(&SourceName::try_new("docs").unwrap(), &config).is_err(), "{wrong:?}");
    }
    let day = declared("day", MongodbType::try_from("date".to_owned()).unwrap(), None);
    assert_eq!(Kind::of(&day), Some(Kind::Day));
}
