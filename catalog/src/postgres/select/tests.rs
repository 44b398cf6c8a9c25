//! Fragments as text, one by one: what is promised is what is written.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{FieldRef, Schema};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{col, lit};

use super::*;
use crate::declared::DeclaredType;
use crate::federation::PushedFilter;
use crate::postgres::column::RETYPING;
use crate::postgres::render::tests::table;
use crate::postgres::render::verdict;
use crate::source::{PG_TYPE_KEY, TableDef};

fn output(name: &str, ty: DataType) -> FieldRef {
    Arc::new(Field::new(name, ty, true))
}

fn call(function: AggregateFunction, column: Option<usize>, output: DataType) -> AggregateCall {
    AggregateCall { function, column, distinct: false, filter: None, output }
}

fn above_one(column: &str) -> Vec<PushedFilter> {
    vec![PushedFilter { expr: col(column).gt(lit(1_i32)), exact: true }]
}

#[test]
fn a_fragment_is_one_select() {
    let whole = Fragment::whole(table());
    let fragment =
        Fragment { projection: vec![3, 0], filters: above_one("n"), limit: Some(7), ..whole.clone() };
    assert_eq!(
        select("pu\"b", &fragment).unwrap(),
        "SELECT \"padded\"::text, \"n\" FROM \"pu\"\"b\".\"calls\" WHERE (\"n\" > (1)) LIMIT 7"
    );
    let counted = Fragment { projection: vec![], ..whole };
    assert_eq!(select("public", &counted).unwrap(), "SELECT  FROM \"public\".\"calls\"");
}

#[test]
fn a_top_n_spells_out_collation_nulls_and_negative_zero() {
    let sort = vec![
        FragmentSort { column: 0, descending: true, nulls_first: false },
        FragmentSort { column: 1, descending: false, nulls_first: true },
        FragmentSort { column: 2, descending: true, nulls_first: true },
    ];
    let fragment = Fragment { projection: vec![0, 3, 5], sort, limit: Some(5), ..Fragment::whole(table()) };
    assert_eq!(
        select("public", &fragment).unwrap(),
        "SELECT \"n\", \"padded\"::text, \"f\" FROM \"public\".\"calls\" ORDER BY \"n\" DESC NULLS LAST, \
         \"padded\"::text COLLATE \"C\" ASC NULLS FIRST, \"f\" DESC NULLS FIRST, \
         ((\"f\")::text = '-0') ASC NULLS FIRST LIMIT 5"
    );
}

#[test]
fn an_aggregate_sends_groups_then_states() {
    let aggregate = FragmentAggregate {
        groups: vec![2],
        calls: vec![
            call(AggregateFunction::Count, None, DataType::Int64),
            AggregateCall { distinct: true, ..call(AggregateFunction::Count, Some(2), DataType::Int64) },
            AggregateCall {
                filter: Some(col("b").is_true()),
                ..call(AggregateFunction::Sum, Some(0), DataType::Int64)
            },
            call(AggregateFunction::Max, Some(1), DataType::Utf8View),
        ],
        outputs: vec![output("loose", DataType::Utf8View)],
    };
    let fragment =
        Fragment { aggregate: Some(aggregate), filters: above_one("n"), ..Fragment::whole(table()) };
    assert_eq!(
        select("public", &fragment).unwrap(),
        "SELECT (\"loose\" COLLATE \"C\"), count(*), count(DISTINCT \"loose\" COLLATE \"C\"), \
         (sum(\"n\") FILTER (WHERE (\"b\" IS TRUE)))::int8, max(\"t\"::text COLLATE \"C\") \
         FROM \"public\".\"calls\" WHERE (\"n\" > (1)) GROUP BY (\"loose\" COLLATE \"C\")"
    );
}

#[test]
fn the_least_zero_is_negative_if_any_is() {
    let calls = vec![call(AggregateFunction::Min, Some(5), DataType::Float64)];
    let aggregate =
        FragmentAggregate { groups: vec![], calls, outputs: vec![output("f", DataType::Float64)] };
    let fragment = Fragment { aggregate: Some(aggregate), ..Fragment::whole(table()) };
    assert_eq!(
        select("public", &fragment).unwrap(),
        "SELECT CASE WHEN min(\"f\") = 0 THEN \
         CASE WHEN bool_or(CASE WHEN \"f\" = 0 THEN (\"f\")::text = '-0' END) THEN '-0'::float8 ELSE '0'::float8 END \
         ELSE min(\"f\") END FROM \"public\".\"calls\""
    );
    let field = table().arrow.field(5).clone();
    let verdict = |output| aggregate_verdict(&call(AggregateFunction::Max, Some(5), output), Some(&field));
    assert_eq!(verdict(DataType::Float64), Verdict::Rewrite(SIGNED_ZERO.into()));
    assert!(matches!(verdict(DataType::Float32), Verdict::Keep(_)));
}

#[test]
fn joins_keep_their_filters_on_their_side() {
    let width = table().arrow.fields().len();
    let join = |kind, on| FragmentJoin { kind, table: table(), filters: above_one("n"), on: vec![on] };
    let joins = vec![
        join(FragmentJoinKind::Left, (0, 0)),
        join(FragmentJoinKind::Anti, (1, 1)),
        join(FragmentJoinKind::Inner, (width, 0)),
    ];
    let fragment = Fragment { projection: vec![0, width, 2 * width], joins, ..Fragment::whole(table()) };
    assert_eq!(
        select("p", &fragment).unwrap(),
        "SELECT t0.\"n\", t1.\"n\", t3.\"n\" FROM \"p\".\"calls\" AS t0 \
         LEFT JOIN \"p\".\"calls\" AS t1 ON t0.\"n\" = t1.\"n\" AND (t1.\"n\" > (1)) \
         JOIN \"p\".\"calls\" AS t3 ON t1.\"n\" = t3.\"n\" AND (t3.\"n\" > (1)) \
         WHERE NOT EXISTS (SELECT 1 FROM \"p\".\"calls\" AS t2 WHERE \
         t0.\"t\" COLLATE \"C\" = t2.\"t\" COLLATE \"C\" AND (t2.\"n\" > (1)))"
    );
    assert!(fragment.schema().unwrap().field(1).is_nullable());
}

#[test]
fn what_is_not_proven_is_not_grouped_summed_or_ordered() {
    let table = table();
    let field = |index: usize| table.arrow.field(index);
    let key = FragmentSort { column: 0, descending: false, nulls_first: false };
    assert!(matches!(group_verdict(field(5)), Verdict::Keep(_)), "floats");
    assert!(matches!(group_verdict(field(4)), Verdict::Keep(_)), "documents");
    assert!(matches!(sort_verdict(field(4), &key), Verdict::Keep(_)), "documents");
    assert_eq!(group_verdict(field(1)), Verdict::Exact);
    assert!(matches!(group_verdict(field(2)), Verdict::Rewrite(_)), "a loose collation");
    let sum = |column: usize, output: DataType| {
        aggregate_verdict(&call(AggregateFunction::Sum, Some(column), output), Some(field(column)))
    };
    assert_eq!(sum(0, DataType::Int64), Verdict::Exact);
    assert_eq!(sum(8, DataType::Decimal128(38, 6)), Verdict::Exact);
    // A sum of bigints in a bigint could wrap here; in a numeric it cannot.
    assert!(matches!(sum(10, DataType::Int64), Verdict::Keep(_)));
    assert_eq!(sum(10, DataType::Decimal128(38, 0)), Verdict::Exact);
    assert!(matches!(sum(5, DataType::Float64), Verdict::Keep(_)));
    assert!(matches!(join_verdict(field(5), field(5)), Verdict::Keep(_)));
    assert!(matches!(join_verdict(field(0), field(10)), Verdict::Keep(_)), "int4 and int8");
}

#[test]
fn what_is_declared_is_read_as_such_and_its_values_are_checked_here() {
    let made = |name: &str, ty: DataType, source: &str, declared: DeclaredType| {
        let mut metadata = HashMap::from([(SOURCE_TYPE_KEY.to_owned(), source.to_owned())]);
        if source == "numeric" {
            metadata.insert(PG_TYPE_KEY.to_owned(), source.to_owned());
        }
        (RETYPING.field)(&Field::new(name, ty, true).with_metadata(metadata), declared).unwrap()
    };
    let bare = DataType::Decimal128(38, 10);
    let list = DataType::List(Arc::new(Field::new_list_field(DataType::Int32, true)));
    let narrow = made("w", bare.clone(), "numeric", DeclaredType::Numeric(20, 4));
    let text = made("x", bare, "numeric", DeclaredType::Text);
    let document = made("a", list, "integer[]", DeclaredType::Json);
    let arrow = Arc::new(Schema::new(vec![narrow.clone(), text.clone(), document.clone()]));
    let table = Arc::new(TableDef { arrow, ..TableDef::clone(&table()) });
    let filters = ["w", "x"].map(|name| {
        let value = if name == "w" { lit(ScalarValue::Decimal128(Some(15_000), 20, 4)) } else { lit("1.5") };
        PushedFilter { expr: col(name).eq(value), exact: true }
    });
    let fragment = Fragment { filters: filters.to_vec(), ..Fragment::whole(Arc::clone(&table)) };
    assert_eq!(
        select("p", &fragment).unwrap(),
        "SELECT \"w\", \"x\"::text, pg_catalog.to_jsonb(\"a\") FROM \"p\".\"calls\" \
         WHERE (\"w\" = '1.5000'::numeric) AND (\"x\"::text = '1.5'::text)"
    );
    assert!(matches!(verdict(&table, &col("a").eq(lit("[1]"))), Verdict::Keep(_)));
    assert_eq!(verdict(&table, &col("a").is_null()), Verdict::Exact);
    let key = FragmentSort { column: 0, descending: false, nulls_first: false };
    assert_eq!((group_verdict(&narrow), sort_verdict(&narrow, &key)), (Verdict::Exact, Verdict::Exact));
    assert!(matches!(sort_verdict(&text, &key), Verdict::Rewrite(_)));
    for what in [group_verdict(&document), sort_verdict(&document, &key), join_verdict(&document, &document)]
    {
        assert!(matches!(what, Verdict::Keep(_)), "{what:?}");
    }
    use AggregateFunction::{Count, Max, Sum};
    let here = Verdict::Keep("each value of a declared type is checked here".into());
    let narrow_type = narrow.data_type().clone();
    for (function, distinct, output) in
        [(Max, false, narrow_type), (Sum, false, DataType::Decimal128(30, 4)), (Count, true, DataType::Int64)]
    {
        let call = AggregateCall { distinct, ..call(function, Some(0), output) };
        assert_eq!(aggregate_verdict(&call, Some(&narrow)), here, "{function:?}");
    }
}
