use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, FieldRef, Schema};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{col, lit};

use super::super::shape::{aggregate_verdict, group_verdict, join_verdict, sort_verdict};
use super::*;
use crate::declared::DeclaredType;
use crate::federation::{PushedFilter, Verdict};
use crate::mysql::column::{RETYPING, RemoteColumn, field as column_field};
use crate::mysql::render::operand::DECLARED;
use crate::mysql::render::tests::table;
use crate::source::TableDef;

fn call(function: AggregateFunction, column: Option<usize>, output: DataType) -> AggregateCall {
    AggregateCall { function, column, distinct: false, filter: None, output }
}

fn field(name: &str) -> Field {
    table().arrow.field_with_name(name).unwrap().clone()
}

fn output(name: &str, nullable: bool) -> FieldRef {
    Arc::new(Field::new(name, DataType::Int64, nullable))
}

fn sql(fragment: &Fragment) -> String {
    select("p", ZeroDates::Error, fragment).unwrap().sql
}

fn sort(column: usize, descending: bool, nulls_first: bool) -> FragmentSort {
    FragmentSort { column, descending, nulls_first }
}

const DAYS: &str = "(9223372036854775807 + (NOT (FROM_DAYS(TO_DAYS(`d`)) <=> DATE(`d`))) > 0)";

#[test]
fn a_fragment_is_one_select() {
    let filters = vec![
        PushedFilter { expr: col("n").gt(lit(1_i32)), exact: true },
        PushedFilter { expr: col("t").eq(lit("it's")), exact: false },
    ];
    let fragment = Fragment { projection: vec![15, 0], filters, ..Fragment::whole(table()) };
    let statement = select("po`rt", ZeroDates::Error, &fragment).unwrap();
    assert_eq!(
        statement.shown(),
        "SELECT CAST(`ip` AS CHAR), `n` FROM `po``rt`.`calls` WHERE (`n` > ?) AND (`t` = ?) values: 1, 'it''s'"
    );
    let counted = Fragment { projection: vec![], filters: vec![], limit: Some(7), ..fragment };
    assert_eq!(sql(&counted), "SELECT 1 FROM `p`.`calls` LIMIT 7");
}

#[test]
fn nulls_are_placed_by_a_key_of_their_own() {
    let keys = vec![sort(1, true, false), sort(0, false, true), sort(2, true, true)];
    let fragment =
        Fragment { projection: vec![1, 0, 9], sort: keys, limit: Some(5), ..Fragment::whole(table()) };
    assert_eq!(
        sql(&fragment),
        format!(
            "SELECT `t`, `n`, `d` FROM `p`.`calls` WHERE {DAYS} ORDER BY (`n` IS NULL) ASC, `n` DESC, \
             (`t` IS NULL) DESC, CAST(CONVERT(`t` USING utf8mb4) AS BINARY) ASC, (`d` IS NULL) DESC, `d` DESC LIMIT 5"
        )
    );
}

#[test]
fn groups_are_bytes_and_values_are_bound_in_the_order_of_the_text() {
    let filtered = AggregateCall {
        filter: Some(col("n").gt(lit(3_i32))),
        ..call(AggregateFunction::Count, None, DataType::Int64)
    };
    let calls = vec![
        filtered,
        call(AggregateFunction::Sum, Some(0), DataType::Int64),
        call(AggregateFunction::Max, Some(1), DataType::Utf8View),
        AggregateCall { distinct: true, ..call(AggregateFunction::Count, Some(9), DataType::Int64) },
    ];
    let outputs = ["g", "c", "s", "m", "d"].map(|name| output(name, name != "c"));
    let aggregate = FragmentAggregate { groups: vec![1], calls, outputs: outputs.to_vec() };
    let filters = vec![PushedFilter { expr: col("u").lt(lit(9_u64)), exact: true }];
    let fragment = Fragment { filters, aggregate: Some(aggregate), ..Fragment::whole(table()) };
    let statement = select("p", ZeroDates::Error, &fragment).unwrap();
    let bytes = "CAST(CONVERT(`t` USING utf8mb4) AS BINARY)";
    let max = format!("CONVERT(MAX({bytes}) USING utf8mb4)");
    let rest = format!("FROM `p`.`calls` WHERE (`u` < ?) AND {DAYS} GROUP BY {bytes}");
    assert_eq!(
        statement.sql,
        format!(
            "SELECT MIN(`t`), COUNT(CASE WHEN (`n` > ?) THEN 1 END), SUM(`n`), {max}, COUNT(DISTINCT `d`) {rest}"
        )
    );
    assert_eq!(
        (statement.values, statement.guarded),
        (vec![Value::Int(3), Value::UInt(9)], vec!["`d`".into()])
    );
    // A top-N of groups orders the columns of a derived table.
    let top = Fragment { sort: vec![sort(1, true, true), sort(0, false, false)], limit: Some(2), ..fragment };
    let statement = select("p", ZeroDates::Error, &top).unwrap();
    assert_eq!(
        statement.sql,
        format!(
            "SELECT `c0`, `c1`, `c2`, `c3`, `c4` FROM (SELECT MIN(`t`) AS `c0`, \
             COUNT(CASE WHEN (`n` > ?) THEN 1 END) AS `c1`, SUM(`n`) AS `c2`, {max} AS `c3`, \
             COUNT(DISTINCT `d`) AS `c4` {rest}) AS g ORDER BY `c1` DESC, (`c0` IS NULL) ASC, \
             CAST(CONVERT(`c0` USING utf8mb4) AS BINARY) ASC LIMIT 2"
        )
    );
    assert_eq!(statement.values, [Value::Int(3), Value::UInt(9)]);
}

#[test]
fn groups_are_tested_as_a_derived_table_and_its_values_come_last() {
    let outputs = ["g", "s"].map(|name| output(name, true));
    let aggregate = FragmentAggregate {
        groups: vec![0],
        calls: vec![AggregateCall {
            filter: Some(col("n").gt(lit(3_i32))),
            ..call(AggregateFunction::Sum, Some(0), DataType::Int64)
        }],
        outputs: outputs.to_vec(),
    };
    let having = |expr| PushedFilter { expr, exact: false };
    let fragment = Fragment {
        filters: vec![PushedFilter { expr: col("u").lt(lit(9_u64)), exact: true }],
        aggregate: Some(aggregate),
        having: vec![having(col("c1").gt(lit(300_i64))), having(col("c0").is_not_null())],
        ..Fragment::whole(table())
    };
    let statement = select("p", ZeroDates::Error, &fragment).unwrap();
    assert_eq!(
        statement.sql,
        "SELECT `c0`, `c1` FROM (SELECT `n` AS `c0`, SUM(CASE WHEN (`n` > ?) THEN `n` END) AS `c1` \
         FROM `p`.`calls` WHERE (`u` < ?) GROUP BY `n`) AS g WHERE (`c1` > ?) AND (`c0` IS NOT NULL)"
    );
    assert_eq!(statement.values, [Value::Int(3), Value::UInt(9), Value::Int(300)]);
}

#[test]
fn joins_keep_their_filters_on_their_side_and_their_values_in_place() {
    let above =
        |column: &str, value: i32| vec![PushedFilter { expr: col(column).gt(lit(value)), exact: true }];
    let join =
        |kind, value, on| FragmentJoin { kind, table: table(), filters: above("n", value), on: vec![on] };
    let joins = vec![
        join(FragmentJoinKind::Left, 1, (0, 0)),
        join(FragmentJoinKind::Anti, 4, (1, 1)),
        join(FragmentJoinKind::Inner, 2, (20, 0)),
    ];
    let fragment =
        Fragment { projection: vec![0, 20, 40], filters: above("n", 3), joins, ..Fragment::whole(table()) };
    let statement = select("p", ZeroDates::Error, &fragment).unwrap();
    assert_eq!(
        statement.sql,
        "SELECT t0.`n`, t1.`n`, t3.`n` FROM `p`.`calls` AS t0 \
         LEFT JOIN `p`.`calls` AS t1 ON t0.`n` = t1.`n` AND (t1.`n` > ?) \
         JOIN `p`.`calls` AS t3 ON t1.`n` = t3.`n` AND (t3.`n` > ?) \
         WHERE (t0.`n` > ?) AND NOT EXISTS (SELECT 1 FROM `p`.`calls` AS t2 WHERE t0.`t` = t2.`t` AND \
         CAST(CONVERT(t0.`t` USING utf8mb4) AS BINARY) = CAST(CONVERT(t2.`t` USING utf8mb4) AS BINARY) AND (t2.`n` > ?))"
    );
    assert_eq!(statement.values, [1, 2, 3, 4].map(Value::Int));
}

#[test]
fn what_the_server_orders_or_adds_otherwise_stays() {
    let sent = |verdict| matches!(verdict, Verdict::Exact | Verdict::Rewrite(_));
    for (name, sorted, grouped) in [
        ("n", true, true),
        ("u", true, true),
        ("h", true, true),
        ("e", true, true),
        ("y", true, true),
        ("b", true, false),
        ("doc", false, false),
        ("f", false, false),
        ("d", true, true),
        ("ts", true, true),
        ("vb", false, false),
        ("dur", false, false),
        ("ip", false, false),
    ] {
        assert_eq!(sent(sort_verdict(ZeroDates::Error, &field(name))), sorted, "{name}");
        assert_eq!(sent(group_verdict(ZeroDates::Error, &field(name))), grouped, "{name}");
    }
    assert!(!sent(sort_verdict(ZeroDates::Null, &field("d"))));
    assert!(!sent(group_verdict(ZeroDates::Null, &field("ts"))));
    let sent = |function, name: &str, output| {
        let verdict =
            aggregate_verdict(ZeroDates::Null, &call(function, Some(0), output), Some(&field(name)));
        matches!(verdict, Verdict::Exact | Verdict::Rewrite(_))
    };
    use AggregateFunction::{Count, Max, Min, Sum};
    assert!(sent(Sum, "n", DataType::Int64));
    assert!(sent(Sum, "u", DataType::Decimal128(38, 0)));
    assert!(sent(Sum, "h", DataType::Decimal128(24, 6)));
    assert!(!sent(Sum, "h", DataType::Decimal128(24, 2)));
    assert!(!sent(Sum, "f", DataType::Float64));
    assert!(!sent(Sum, "y", DataType::Int64));
    assert!(!sent(Min, "d", DataType::Date32));
    assert!(sent(Min, "dbl", DataType::Float64));
    assert!(!sent(Max, "f", DataType::Float32));
    assert!(!sent(Count, "d", DataType::Int64));
    assert!(sent(Count, "t", DataType::Int64));
    assert!(sent(Max, "n", DataType::Int32));
    assert!(!sent(Max, "n", DataType::Int64));
    let join = |left: &str, right: &str| join_verdict(&field(left), &field(right));
    assert_eq!(join("n", "we`ird"), Verdict::Exact);
    assert!(matches!(join("t", "t"), Verdict::Rewrite(_)));
    for (left, right) in
        [("t", "lat"), ("n", "u"), ("f", "f"), ("d", "d"), ("y", "y"), ("b", "b"), ("t", "e")]
    {
        assert!(matches!(join(left, right), Verdict::Keep(_)), "{left} = {right}");
    }
}

#[test]
fn what_is_declared_is_checked_here() {
    let declared = |name: &str, base: &str, scale, to| {
        let column = RemoteColumn {
            name: name.into(),
            base: base.into(),
            declared: base.into(),
            precision: Some(20),
            scale: Some(scale),
            ..RemoteColumn::default()
        };
        (RETYPING.field)(&column_field(&column, ZeroDates::Error), to).unwrap()
    };
    let flag = declared("flag", "tinyint", 0, DeclaredType::Bool);
    let weight = declared("w", "decimal", 9, DeclaredType::Numeric(6, 2));
    let here = Verdict::Keep(DECLARED);
    assert_eq!(sort_verdict(ZeroDates::Error, &flag), here);
    assert_eq!(group_verdict(ZeroDates::Error, &flag), here);
    assert_eq!(join_verdict(&flag, &flag), here);
    assert_eq!(group_verdict(ZeroDates::Error, &weight), Verdict::Exact);
    assert!(matches!(sort_verdict(ZeroDates::Error, &weight), Verdict::Rewrite(_)));
    use AggregateFunction::{Count, Max, Min, Sum};
    for function in [Count, Min, Max, Sum] {
        for column in [&flag, &weight] {
            let output = if function == Count { DataType::Int64 } else { column.data_type().clone() };
            let found = aggregate_verdict(ZeroDates::Error, &call(function, Some(0), output), Some(column));
            assert_eq!(found, here, "{function:?}");
        }
    }
    let table = TableDef { arrow: Arc::new(Schema::new(vec![flag, weight])), ..TableDef::clone(&table()) };
    assert_eq!(sql(&Fragment::whole(Arc::new(table))), "SELECT `flag`, `w` FROM `p`.`calls`");
}

#[test]
fn the_least_zero_is_negative_if_any_is() {
    let least = AggregateCall {
        filter: Some(col("n").gt(lit(3_i32))),
        ..call(AggregateFunction::Min, Some(19), DataType::Float64)
    };
    let outputs = vec![Arc::new(Field::new("least", DataType::Float64, true))];
    let aggregate = FragmentAggregate { groups: vec![], calls: vec![least], outputs };
    let fragment = Fragment { aggregate: Some(aggregate), ..Fragment::whole(table()) };
    let statement = select("p", ZeroDates::Error, &fragment).unwrap();
    let value = "CASE WHEN (`n` > ?) THEN `dbl` END";
    let expected = format!(
        "SELECT CASE WHEN MIN({value}) = 0 THEN \
         IF(MAX(CASE WHEN {value} = 0 THEN ATAN2({value}, -1e0) < 0 END), -1e0 * 0e0, 0e0) \
         ELSE MIN({value}) END FROM `p`.`calls`"
    );
    assert_eq!((statement.sql, statement.values), (expected, vec![Value::Int(3); 4]));
}

/// A decimal so wide that the server's sum could lose digits is summed here.
#[test]
fn sums_end_where_the_server_would_clip() {
    let wide = |digits| Field::new("w", DataType::Decimal256(digits, 2), true);
    for (digits, sent) in [(43, true), (44, false), (65, false)] {
        let call = call(AggregateFunction::Sum, Some(0), DataType::Decimal256(76, 2));
        let verdict = aggregate_verdict(ZeroDates::Error, &call, Some(&wide(digits)));
        assert_eq!(verdict == Verdict::Exact, sent, "{digits}");
    }
    let day = lit(ScalarValue::Date32(Some(0)));
    let filters = vec![PushedFilter { expr: col("d").eq(day), exact: true }];
    let fragment = Fragment { projection: vec![0], filters, ..Fragment::whole(table()) };
    assert_eq!(
        select("p", ZeroDates::Null, &fragment).unwrap().sql,
        "SELECT `n` FROM `p`.`calls` WHERE (`d` = ?)"
    );
}
