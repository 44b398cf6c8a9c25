use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::functions::expr_fn::substring;
use datafusion::logical_expr::{cast, col, lit};

use super::operand::DECLARED;
use super::*;
use crate::declared::DeclaredType;
use crate::mysql::column::{RETYPING, RemoteColumn, field};
use crate::mysql::config::ZeroDates;
use crate::source::{TableDef, TableKind};

fn text(name: &str, base: &str, charset: &str, collation: &str) -> Field {
    let column = RemoteColumn {
        name: name.into(),
        base: base.into(),
        declared: format!("{base}(9)"),
        charset: Some(charset.into()),
        collation: Some(collation.into()),
        nullable: true,
        ..RemoteColumn::default()
    };
    field(&column, ZeroDates::Error)
}

fn plain(name: &str, base: &str, declared: &str, precision: u64, scale: u64) -> Field {
    let column = RemoteColumn {
        name: name.into(),
        base: base.into(),
        declared: declared.into(),
        precision: Some(precision),
        scale: Some(scale),
        nullable: true,
        ..RemoteColumn::default()
    };
    field(&column, ZeroDates::Error)
}

pub(in crate::mysql) fn table() -> Arc<TableDef> {
    let document =
        RemoteColumn { json: true, name: "doc".into(), base: "longtext".into(), ..RemoteColumn::default() };
    let fields = vec![
        plain("n", "int", "int(11)", 10, 0),
        text("t", "varchar", "utf8mb4", "utf8mb4_general_ci"),
        text("lat", "varchar", "latin1", "latin1_swedish_ci"),
        text("e", "enum", "utf8mb4", "utf8mb4_bin"),
        text("nopad", "varchar", "utf8mb4", "utf8mb4_nopad_bin"),
        field(&document, ZeroDates::Error),
        plain("u", "bigint", "bigint(20) unsigned", 20, 0),
        plain("h", "decimal", "decimal(14,6)", 14, 6),
        plain("f", "float", "float", 12, 0),
        plain("d", "date", "date", 0, 0),
        plain("ts", "timestamp", "timestamp", 0, 0),
        plain("y", "year", "year(4)", 0, 0),
        plain("b", "bit", "bit(1)", 1, 0),
        plain("vb", "varbinary", "varbinary(9)", 0, 0),
        plain("dur", "time", "time", 0, 0),
        plain("ip", "inet6", "inet6", 0, 0),
        plain("we`ird", "int", "int(11)", 10, 0),
        text("bin", "varchar", "utf8mb4", "utf8mb4_bin"),
        text("sj", "varchar", "sjis", "sjis_japanese_ci"),
        plain("dbl", "double", "double", 22, 0),
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

fn rendered(zero_dates: ZeroDates, expr: &Expr) -> Walked<Rendered> {
    let scope = Scope { table: &table(), alias: None, zero_dates };
    (Walk { scope }).predicate(expr, Place::Truth, 0)
}

fn verdict(expr: &Expr) -> Verdict {
    super::verdict(Scope { table: &table(), alias: None, zero_dates: ZeroDates::Null }, expr).0
}

/// The bytes of a part of a column's text.
fn part_of(column: &str) -> String {
    as_bytes(&format!("SUBSTRING(CONVERT(`{column}` USING utf8mb4), ?, ?)"))
}

const BYTES_OF_T: &str = "CAST(CONVERT(`t` USING utf8mb4) AS BINARY)";

#[test]
fn values_are_bound_and_never_text() {
    let hostile = "a'b\\\"; -- ? :x `";
    let micros = ScalarValue::TimestampMicrosecond(Some(1_767_225_600_000_001), Some("UTC".into()));
    let bytes = |text: &str| Value::Bytes(text.into());
    for (expr, sql, values) in [
        (col("n").eq(lit(5_i32)), "(`n` = ?)".to_owned(), vec![Value::Int(5)]),
        (col("u").gt(lit(u64::MAX)), "(`u` > ?)".into(), vec![Value::UInt(u64::MAX)]),
        (cast(col("n"), DataType::Int64).lt(lit(5_i64)), "(`n` < ?)".into(), vec![Value::Int(5)]),
        (col("t").eq(lit(hostile)), "(`t` = ?)".into(), vec![bytes(hostile)]),
        (col("t").lt(lit("x")), format!("({BYTES_OF_T} < CAST(? AS BINARY))"), vec![bytes("x")]),
        (col("t").not_eq(lit("x")), format!("({BYTES_OF_T} <> CAST(? AS BINARY))"), vec![bytes("x")]),
        (
            Expr::Not(Box::new(col("t").eq(lit("x")))),
            format!("(NOT ({BYTES_OF_T} = CAST(? AS BINARY)))"),
            vec![bytes("x")],
        ),
        (
            col("t").in_list(vec![lit("x"), lit("y")], true),
            format!("({BYTES_OF_T} NOT IN (CAST(? AS BINARY), CAST(? AS BINARY)))"),
            vec![bytes("x"), bytes("y")],
        ),
        (
            col("t").in_list(vec![lit("x"), lit("y")], false),
            "(`t` IN (?, ?))".into(),
            vec![bytes("x"), bytes("y")],
        ),
        (
            col("bin").in_list(vec![lit("x"), lit("y")], false),
            "(`bin` IN (?, ?) AND CAST(CONVERT(`bin` USING utf8mb4) AS BINARY) IN (CAST(? AS BINARY), CAST(? AS BINARY)))"
                .into(),
            vec![bytes("x"), bytes("y"), bytes("x"), bytes("y")],
        ),
        (
            col("lat").eq(lit("漢")),
            "(CAST(CONVERT(`lat` USING utf8mb4) AS BINARY) = CAST(? AS BINARY))".into(),
            vec![bytes("漢")],
        ),
        (
            col("e").eq(lit("1")),
            "(CAST(CONVERT(`e` USING utf8mb4) AS BINARY) = CAST(? AS BINARY))".into(),
            vec![bytes("1")],
        ),
        (
            col("t").like(lit("%a_")),
            "(CONVERT(`t` USING utf8mb4) COLLATE utf8mb4_bin LIKE ?)".into(),
            vec![bytes("%a_")],
        ),
        (
            substring(col("t"), lit(1_i64), lit(2_i64)).in_list(vec![lit("13"), lit("é")], false),
            format!("({} IN (CAST(? AS BINARY), CAST(? AS BINARY)))", part_of("t")),
            vec![Value::Int(1), Value::Int(2), bytes("13"), bytes("é")],
        ),
        (
            substring(col("nopad"), lit(3_i64), lit(0_i64)).not_eq(lit("a")),
            format!("({} <> CAST(? AS BINARY))", part_of("nopad")),
            vec![Value::Int(3), Value::Int(0), bytes("a")],
        ),
        (
            substring(col("lat"), lit(1_i64), lit(2_i64)).like(lit("_a")),
            "(CONVERT(SUBSTRING(CONVERT(`lat` USING utf8mb4), ?, ?) USING utf8mb4) COLLATE utf8mb4_bin LIKE ?)".into(),
            vec![Value::Int(1), Value::Int(2), bytes("_a")],
        ),
        (
            col("h").gt_eq(lit(ScalarValue::Decimal128(Some(-1_500), 14, 6))),
            "(`h` >= CAST(? AS DECIMAL(7,6)))".into(),
            vec![bytes("-0.001500")],
        ),
        (col("ts").lt(lit(micros)), "(`ts` < ?)".into(), vec![Value::Date(2026, 1, 1, 0, 0, 0, 1)]),
        (col("f").gt(lit(2.5_f32)), "(`f` > ?)".into(), vec![Value::Float(2.5)]),
        (col("y").eq(lit(70_i16)), "((`y` + 0) = ?)".into(), vec![Value::Int(70)]),
        (col("b").and(col("n").is_null()), "(((`b` + 0) <> 0) AND (`n` IS NULL))".into(), vec![]),
        (
            col("vb").eq(lit(ScalarValue::Binary(Some(vec![0, 39, 255])))),
            "(`vb` = UNHEX(?))".into(),
            vec![bytes("0027ff")],
        ),
        (col("d").is_null(), "(`d` IS NULL OR MONTH(`d`) = 0 OR DAYOFMONTH(`d`) = 0)".into(), vec![]),
        (Expr::Not(Box::new(col("doc").is_not_null())), "(NOT (`doc` IS NOT NULL))".into(), vec![]),
        (col("we`ird").eq(lit(1_i64)), "(`we``ird` = ?)".into(), vec![Value::Int(1)]),
        (
            col("n").eq(lit(1_i32)).or(col("t").eq(lit("x"))).and(col("n").lt(lit(9_i32))),
            "(((`n` = ?) OR (`t` = ?)) AND (`n` < ?))".into(),
            vec![Value::Int(1), bytes("x"), Value::Int(9)],
        ),
    ] {
        let found = rendered(ZeroDates::Null, &expr).unwrap();
        assert_eq!((found.sql, found.values), (sql, values), "{expr}");
    }
}

#[test]
fn verdicts_say_what_the_source_does_differently() {
    let superset = |expr: Expr, reason: &str| match verdict(&expr) {
        Verdict::Superset(why) => assert!(why.contains(reason), "{expr}: {why}"),
        other => panic!("{expr}: {other:?}"),
    };
    superset(col("t").eq(lit("DAKAR")), "utf8mb4_general_ci is not bytewise");
    superset(col("lat").eq(lit("DAKAR")), "latin1_swedish_ci is not bytewise");
    superset(col("t").eq(lit("x")).or(col("n").eq(lit(1_i32))), "not bytewise");
    superset(col("d").lt(lit(ScalarValue::Date32(Some(1)))), "zero dates");
    superset(Expr::Not(Box::new(col("d").lt(lit(ScalarValue::Date32(Some(1)))))), "zero dates");
    superset(col("d").is_null(), "zero dates");
    for expr in [
        col("t").not_eq(lit("x")),
        col("t").between(lit("a"), lit("b")),
        col("t").eq(col("lat")),
        Expr::Not(Box::new(col("t").eq(lit("x")))),
        Expr::IsTrue(Box::new(col("t").eq(lit("x")))),
        col("e").eq(lit("z")),
        col("bin").eq(lit("z")),
    ] {
        assert_eq!(verdict(&expr), Verdict::Rewrite(Construct::TextBytes.words().into()), "{expr}");
    }
    assert_eq!(verdict(&col("t").like(lit("a%"))), Verdict::Rewrite(Construct::TextPattern.words().into()));
    assert_eq!(verdict(&col("nopad").eq(lit("a "))), Verdict::Exact);
    assert_eq!(verdict(&col("n").gt(lit(1_i32))), Verdict::Exact);
    let scope = Scope { table: &table(), alias: None, zero_dates: ZeroDates::Null };
    let (part, rests_on) = super::verdict(scope, &substring(col("bin"), lit(1_i64), lit(2_i64)).eq(lit("a")));
    assert_eq!(part, Verdict::Rewrite(Construct::TextBytes.words().into()));
    assert_eq!(rests_on, BTreeSet::from([Construct::TextBytes, Construct::PartOfText]));
}

#[test]
fn what_is_not_proven_stays_with_a_reason() {
    let many = (0..=MAX_LIST).map(|_| lit(1_i32)).collect();
    let early = ScalarValue::TimestampMicrosecond(Some(-1), Some("UTC".into()));
    for (expr, reason) in [
        (col("doc").eq(lit("{}")), "documents"),
        (col("f").gt(lit(0.0_f32)), "around zero"),
        (col("t").like(lit("a\\_")), "escapes"),
        (col("t").ilike(lit("a")), "locale"),
        (col("n").in_list(many, false), "50001 items"),
        ((col("n") + lit(1_i32)).eq(lit(5_i32)), "computed"),
        ((col("n") / lit(2_i32)).eq(lit(5_i32)), "computed"),
        (cast(col("ts"), DataType::Date32).eq(lit(ScalarValue::Date32(Some(1)))), "cast to Date32"),
        (cast(col("t"), DataType::Int64).eq(lit(5_i64)), "cast to Int64"),
        (cast(col("f"), DataType::Float64).eq(lit(0.1_f64)), "cast to Float64"),
        (col("d").lt(lit(ScalarValue::Date32(Some(i32::MAX)))), "outside what"),
        (col("ts").lt(lit(early)), "outside what"),
        (col("n").eq(lit(ScalarValue::Int32(None))), "null"),
        (col("n").eq(lit("5")), "different types"),
        (col("dur").is_null().and(col("dur").eq(col("dur"))), "Interval"),
        (col("ip").eq(lit("::1")), "inet6"),
        (substring(col("t"), lit(0_i64), lit(2_i64)).eq(lit("a")), "this form of substr"),
        (substring(col("t"), lit(1_i64), lit(-1_i64)).eq(lit("a")), "this form of substr"),
        (substring(col("t"), col("n"), lit(1_i64)).eq(lit("a")), "this form of substr"),
        (substring(col("ip"), lit(1_i64), lit(1_i64)).eq(lit("a")), "inet6"),
        (substring(col("sj"), lit(1_i64), lit(1_i64)).eq(lit("a")), "this form of substr"),
        (Expr::IsTrue(Box::new(col("d").eq(lit(ScalarValue::Date32(Some(1)))))), "tested here"),
        ((0..100).fold(col("b"), |deep, _| Expr::Not(Box::new(deep))), "nested"),
    ] {
        match verdict(&expr) {
            Verdict::Keep(why) => assert!(why.contains(reason), "{expr}: {why}"),
            other => panic!("{expr}: {other:?}"),
        }
    }
}

/// Where a zero date is an error, each date that is looked at is checked first, and the condition is exact.
#[test]
fn dates_are_guarded_where_zero_is_an_error() {
    let scope = Scope { table: &table(), alias: Some("t1"), zero_dates: ZeroDates::Error };
    let day = || lit(ScalarValue::Date32(Some(0)));
    let guard = "9223372036854775807 + (NOT (FROM_DAYS(TO_DAYS(t1.`d`)) <=> DATE(t1.`d`))) > 0";
    for (expr, sql) in [
        (col("d").lt(day()), format!("({guard} AND t1.`d` < ?)")),
        (Expr::Not(Box::new(col("d").eq(day()))), format!("(NOT ({guard} AND t1.`d` = ?))")),
        (col("d").between(day(), day()), format!("({guard} AND t1.`d` BETWEEN ? AND ?)")),
        (col("d").in_list(vec![day()], true), format!("({guard} AND t1.`d` NOT IN (?))")),
        (col("d").is_null(), format!("({guard} AND t1.`d` IS NULL)")),
        (Expr::IsTrue(Box::new(col("d").gt(day()))), format!("(({guard} AND t1.`d` > ?) IS TRUE)")),
    ] {
        let found = condition(scope, &expr).unwrap();
        assert_eq!((found.sql, found.guarded), (sql, vec!["t1.`d`".to_owned()]), "{expr}");
        let words = Construct::DateGuard.words();
        let expected = (Verdict::Rewrite(words.into()), BTreeSet::from([Construct::DateGuard]));
        assert_eq!(super::verdict(scope, &expr), expected, "{expr}");
    }
    let both = col("t").like(lit("a%")).or(col("t").not_eq(lit("x"))).or(col("t").eq(lit("x")));
    let (verdict, rests_on) = super::verdict(scope, &both);
    assert!(matches!(verdict, Verdict::Superset(_)), "{verdict:?}");
    assert_eq!(rests_on, BTreeSet::from([Construct::TextBytes, Construct::TextPattern]));
}

#[test]
fn a_number_declared_bool_is_asked_for_by_what_it_is_not() {
    let flag = (RETYPING.field)(&plain("flag", "tinyint", "tinyint(1)", 3, 0), DeclaredType::Bool).unwrap();
    let arrow = Arc::new(Schema::new(vec![flag, plain("n", "int", "int(11)", 10, 0)]));
    let table = TableDef { arrow, ..TableDef::clone(&table()) };
    let scope = Scope { table: &table, alias: None, zero_dates: ZeroDates::Error };
    let flag = || Box::new(col("flag"));
    let five = || col("n").eq(lit(5_i32));
    for (expr, sql) in [
        (col("flag"), "(`flag` <> 0)"),
        (Expr::Not(flag()), "(`flag` <> 1)"),
        (Expr::IsTrue(flag()), "(`flag` <> 0)"),
        (Expr::IsFalse(flag()), "(`flag` <> 1)"),
        (Expr::IsNotTrue(flag()), "(`flag` <> 1 OR `flag` IS NULL)"),
        (Expr::IsNotFalse(flag()), "(`flag` <> 0 OR `flag` IS NULL)"),
        (col("flag").or(five()), "((`flag` <> 0) OR (`n` = ?))"),
    ] {
        let found = super::verdict(scope, &expr).0;
        assert!(matches!(found, Verdict::Superset(_)), "{expr}: {found:?}");
        assert_eq!(condition(scope, &expr).unwrap().sql, sql);
    }
    for expr in [
        col("flag").eq(lit(true)),
        col("flag").is_null(),
        Expr::Not(Box::new(col("flag").and(five()))),
        Expr::IsTrue(Box::new(Expr::Not(flag()))),
        col("flag").in_list(vec![lit(true)], false),
    ] {
        assert_eq!(super::verdict(scope, &expr).0, Verdict::Keep(DECLARED), "{expr}");
    }
}
