//! The source over a live server: types round-trip, filters mean the same on both sides, literals cannot escape.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray, StringViewArray};
use datafusion::arrow::compute::{concat_batches, filter_record_batch};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, col, lit};
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;
use portolan_catalog::federation::{Fragment, PushedFilter, QueryContext, Verdict};
use portolan_catalog::postgres::{PostgresPool, PostgresSource, copy_in};
use portolan_catalog::source::{Source as _, SourceErrorKind, SourceName, TableDef, TableKind};

use crate::{Body, Shared};

pub(crate) const TESTS: &[(&str, Body)] = &[
    ("every_type_is_read_as_the_server_shows_it", types),
    ("keys_comments_and_estimates_are_introspected", introspection),
    ("hostile_literals_find_exactly_their_row", hostile),
    ("a_pushed_filter_keeps_the_same_rows", filters),
    ("rows_are_counted_without_columns", counted),
    ("values_that_do_not_fit_are_refused", misfits),
    ("copied_batches_come_back_unchanged", round_trip),
    ("two_leaves_of_one_query_do_not_wait_for_each_other", two_leaves),
    ("a_large_answer_comes_in_batches", large),
];

fn source(shared: &Shared, namespace: &str) -> PostgresSource {
    let pool = PostgresPool::Embedded(shared.server.clone());
    PostgresSource::new(SourceName::try_new("ops").unwrap(), pool, namespace)
}

async fn run(shared: &Shared, sql: &str) {
    let lease = shared.server.lease().await.unwrap();
    lease.batch_execute(sql).await.unwrap();
    lease.release();
}

async fn table(source: &PostgresSource, name: &str) -> Arc<TableDef> {
    source.tables().await.unwrap().into_iter().find(|table| table.name == name).unwrap()
}

async fn read(source: &PostgresSource, fragment: &Fragment) -> RecordBatch {
    let stream = source.executor().execute(fragment, Arc::new(QueryContext::default())).await.unwrap();
    let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
    concat_batches(&fragment.schema().unwrap(), &batches).unwrap()
}

/// Columns, as PostgreSQL literals, with the text Arrow shows them as.
const TYPES: &[(&str, &str, &str)] = &[
    ("bool", "true", "true"),
    ("int2", "-32768", "-32768"),
    ("int4", "2147483647", "2147483647"),
    ("int8", "-9223372036854775808", "-9223372036854775808"),
    ("oid", "4294967295", "4294967295"),
    ("float4", "1.5", "1.5"),
    ("float8", "NaN", "NaN"),
    ("float8", "-Infinity", "-inf"),
    ("numeric(14,6)", "-12345.000001", "-12345.000001"),
    (
        "numeric(50,2)",
        "123456789012345678901234567890123456789012345.67",
        "123456789012345678901234567890123456789012345.67",
    ),
    ("numeric", "0.0000000001", "0.0000000001"),
    ("numeric(5,-2)", "1234567", "1234600"),
    ("text", "Thiès 港 \n\"", "Thiès 港 \n\""),
    ("varchar(8)", "abc", "abc"),
    ("char(7)", "9074729", "9074729"),
    ("char(7)", "ab", "ab"),
    ("name", "n", "n"),
    ("bytea", "\\x00ff", "00ff"),
    ("uuid", "00112233-4455-6677-8899-aabbccddeeff", "00112233445566778899aabbccddeeff"),
    ("json", "{\"a\":1}", "{\"a\":1}"),
    ("jsonb", "{\"a\":1}", "{\"a\": 1}"),
    ("date", "2026-11-25", "2026-11-25"),
    ("time", "24:00:00", "ERROR"),
    ("time", "01:02:03.000004", "01:02:03.000004"),
    ("timestamp", "2026-11-25 01:02:03.000004", "2026-11-25T01:02:03.000004"),
    ("timestamptz", "2026-11-25 01:02:03+02", "2026-11-24T23:02:03Z"),
    ("interval", "1 mon -2 days 00:00:01", "1 mons -2 days 1.000000000 secs"),
    ("int4[]", "{1,NULL,3}", "[1, , 3]"),
    ("text[]", "{}", "[]"),
    ("numeric(6,2)[]", "{1.50}", "[1.50]"),
    ("inet", "10.0.0.1/8", "10.0.0.1/8"),
    ("money", "1.50", "$1.50"),
    ("int4range", "[1,5)", "[1,5)"),
    ("mood", "glad", "glad"),
    ("tonnes", "7.125", "7.125"),
];

fn types(shared: &Shared) {
    shared.runtime.block_on(async {
        let mut ddl = String::from(
            "CREATE SCHEMA kinds; CREATE TYPE kinds.mood AS ENUM ('sad', 'glad'); \
             CREATE DOMAIN kinds.tonnes AS numeric(12,3); SET search_path = kinds; CREATE TABLE kinds.t (",
        );
        let columns: Vec<String> =
            TYPES.iter().enumerate().map(|(at, (ty, ..))| format!("c{at} {ty}")).collect();
        let values: Vec<String> =
            TYPES.iter().map(|(_, text, _)| format!("'{}'", text.replace('\'', "''"))).collect();
        ddl.push_str(&columns.join(", "));
        ddl.push_str(&format!("); INSERT INTO kinds.t VALUES ({}); ", values.join(", ")));
        ddl.push_str("INSERT INTO kinds.t DEFAULT VALUES; RESET search_path");
        run(shared, &ddl).await;
        let source = source(shared, "kinds");
        let table = table(&source, "t").await;
        let rows = read(&source, &Fragment::whole(Arc::clone(&table))).await;
        assert_eq!(rows.num_rows(), 2);
        let options = FormatOptions::new().with_display_error(true);
        for (at, (ty, _, expected)) in TYPES.iter().enumerate() {
            let column = rows.column(at);
            assert!(column.is_null(1), "{ty}");
            let shown = ArrayFormatter::try_new(column, &options).unwrap().value(0).to_string();
            if *expected == "ERROR" {
                assert!(shown.starts_with("ERROR"), "{ty}: {shown}");
            } else {
                assert_eq!(shown, *expected, "{ty}");
            }
            let source_type = &table.arrow.field(at).metadata()["portolan.source_type"];
            assert!(!source_type.is_empty());
        }
        // Infinities keep the extreme values; they order after and before everything.
        run(shared, "CREATE TABLE kinds.inf AS SELECT timestamptz 'infinity' AS a, timestamp '-infinity' AS b, date 'infinity' AS c").await;
        let table = self::table(&source, "inf").await;
        let rows = read(&source, &Fragment::whole(table)).await;
        let micros = |at: usize| rows.column(at).to_data().buffers()[0].typed_data::<i64>()[0];
        assert_eq!((micros(0), micros(1)), (i64::MAX, i64::MIN));
        assert_eq!(rows.column(2).to_data().buffers()[0].typed_data::<i32>()[0], i32::MAX);
    });
}

fn introspection(shared: &Shared) {
    shared.runtime.block_on(async {
        run(
            shared,
            "CREATE SCHEMA keys; CREATE TABLE keys.a (x int8, y text, PRIMARY KEY (y, x)); \
             CREATE TABLE keys.b (id int8 PRIMARY KEY, ax int8, ay text, FOREIGN KEY (ay, ax) REFERENCES keys.a (y, x)); \
             COMMENT ON TABLE keys.a IS 'it''s a'; COMMENT ON COLUMN keys.a.x IS 'the x'; \
             CREATE VIEW keys.v AS SELECT x FROM keys.a; INSERT INTO keys.a SELECT n, 'y' FROM generate_series(1, 500) n; \
             ANALYZE keys.a; CREATE TABLE keys.\"We\"\"ird\" (\"a b\" int4 NOT NULL)",
        )
        .await;
        let source = source(shared, "keys");
        let a = table(&source, "a").await;
        assert_eq!(a.primary_key, ["y", "x"]);
        assert_eq!(a.comment.as_deref(), Some("it's a"));
        assert_eq!(a.arrow.field(0).metadata()["portolan.comment"], "the x");
        assert_eq!(a.row_estimate, Some(500));
        assert!(!a.arrow.field(0).is_nullable() && !a.arrow.field(1).is_nullable());
        let b = table(&source, "b").await;
        assert_eq!(b.foreign_keys.len(), 1);
        assert_eq!(b.foreign_keys[0].columns, ["ay", "ax"]);
        assert_eq!(b.foreign_keys[0].to_columns, ["y", "x"]);
        assert_eq!((b.foreign_keys[0].to_schema.as_str(), b.foreign_keys[0].to_table.as_str()), ("ops", "a"));
        assert_eq!(table(&source, "v").await.kind, TableKind::View);
        let weird = table(&source, "We\"ird").await;
        assert_eq!(read(&source, &Fragment::whole(weird)).await.num_rows(), 0);
        assert!(source.version().await.unwrap().to_string().starts_with("lsn:"));
        assert!(source.check().await.server_version.unwrap().starts_with("17"));
    });
}

/// Texts that break careless quoting.
const HOSTILE: &[&str] = &[
    "",
    " ",
    "'",
    "''",
    "\"",
    "\\",
    "\\'",
    "\\\\'",
    "'; DROP TABLE hostile.t; --",
    "--",
    "/*",
    "*/",
    "$1",
    "$$",
    "$x$",
    "%",
    "_",
    "a\nb",
    "a\r\nb",
    "\t",
    "E'\\n'",
    "Thiès",
    "港",
    "\u{1F6A2}",
    "\u{FEFF}",
    "\u{202E}",
    "é",
    "e\u{301}",
    "NULL",
    "{}",
    "a ",
    "A",
    "ÿ",
    "\u{1}",
    "' OR 1=1 --",
    "\\' OR 1=1 --",
    "x'::int4",
    "\u{7F}",
    ";",
    "U&'\\0061'",
];

fn hostile(shared: &Shared) {
    shared.runtime.block_on(async {
        run(shared, "CREATE SCHEMA hostile; CREATE TABLE hostile.t (t text)").await;
        let schema = Arc::new(Schema::new(vec![Field::new("t", DataType::Utf8, true)]));
        let texts: ArrayRef = Arc::new(StringArray::from(HOSTILE.to_vec()));
        let lease = shared.server.lease().await.unwrap();
        let batch = RecordBatch::try_new(schema, vec![texts]).unwrap();
        assert_eq!(copy_in(&lease, "hostile.t", &[batch]).await.unwrap(), HOSTILE.len() as u64);
        lease.release();
        let source = source(shared, "hostile");
        let table = table(&source, "t").await;
        let with = |expr: Expr| {
            let verdict = source.executor().verdict(&table, &expr);
            assert!(matches!(verdict, Verdict::Exact | Verdict::Rewrite(_)), "{expr}: {verdict:?}");
            let filters = vec![PushedFilter { expr, exact: true }];
            Fragment { filters, ..Fragment::whole(Arc::clone(&table)) }
        };
        for text in HOSTILE {
            let rows = read(&source, &with(col("t").eq(lit(*text)))).await;
            assert_eq!(rows.num_rows(), 1, "{text:?}");
            assert_eq!(rows.column(0).as_string_view().value(0), *text);
            let rows = read(&source, &with(col("t").in_list(vec![lit(*text), lit("absent")], false))).await;
            assert_eq!(rows.num_rows(), 1, "{text:?}");
            let rows = read(&source, &with(col("t").lt_eq(lit(*text)))).await;
            assert_eq!(rows.num_rows(), HOSTILE.iter().filter(|other| *other <= text).count(), "{text:?}");
        }
        let nul = col("t").eq(lit("a\0b"));
        assert!(matches!(source.executor().verdict(&table, &nul), Verdict::Keep(_)));
    });
}

fn filters(shared: &Shared) {
    shared.runtime.block_on(async {
        run(
            shared,
            "CREATE SCHEMA same; CREATE TABLE same.t (n int4, i int8, h numeric(14,6), f float8, d date, ts timestamptz, \
             w timestamp, b bool, t text, u text, p char(4), clock time); \
             INSERT INTO same.t SELECT CASE WHEN n % 7 = 0 THEN NULL ELSE n END, n::int8 * 1000000007, \
             CASE WHEN n % 5 = 0 THEN NULL ELSE n * 0.333333 END, \
             (ARRAY[NULL, 'NaN'::float8, '-Infinity', 'Infinity', 0, '-0', 2.5, -2.5, 1e300])[1 + n % 9], \
             date '2026-01-01' + n, timestamptz '2026-01-01 00:00:00+00' + n * interval '37 min 0.000001 s', \
             timestamp '2026-01-01' + n * interval '1 h', (ARRAY[true, false, NULL])[1 + n % 3], \
             (ARRAY['a', 'B', 'b', 'é', 'é ', 'Z', NULL, 'a\nb', 'a%', '_', ''])[1 + n % 11], \
             (ARRAY['a', 'B', 'c'])[1 + n % 3], (ARRAY['ab', 'ab  ', 'abcd', NULL])[1 + n % 4], \
             time '00:00' + n * interval '7 min' FROM generate_series(0, 400) n",
        )
        .await;
        let source = source(shared, "same");
        let table = table(&source, "t").await;
        let all = read(&source, &Fragment::whole(Arc::clone(&table))).await;
        let micros = |value| lit(ScalarValue::TimestampMicrosecond(Some(value), Some("UTC".into())));
        let exprs = vec![
            col("n").gt(lit(100_i32)),
            col("n").is_null().or(col("n").not_eq(lit(3_i32))),
            Expr::Not(Box::new(col("n").lt(lit(200_i32)))),
            col("n").in_list(vec![lit(1_i32), lit(-5_i32), lit(17_i32)], false),
            col("n").in_list(vec![lit(1_i32), lit(17_i32)], true),
            col("n").between(lit(10_i32), lit(20_i32)),
            col("i").eq(lit(3_000_000_021_i64)),
            col("i").gt(lit(i64::MIN)),
            col("h").gt_eq(lit(ScalarValue::Decimal128(Some(33_333_300), 14, 6))),
            col("h").lt(lit(ScalarValue::Decimal128(Some(-1), 14, 6))),
            col("f").gt(lit(2.5_f64)),
            col("f").lt_eq(lit(2.5_f64)),
            col("f").not_eq(lit(1e300_f64)),
            col("d").gt(lit(ScalarValue::Date32(Some(20_500)))),
            col("ts").lt(micros(1_767_225_600_000_000 + 3_600_000_000)),
            col("w").gt_eq(lit(ScalarValue::TimestampMicrosecond(Some(1_767_300_000_000_000), None))),
            col("clock").lt(lit(ScalarValue::Time64Microsecond(Some(3_600_000_001)))),
            col("b"),
            col("b").is_not_true(),
            Expr::Not(Box::new(col("b"))).and(col("n").gt(lit(5_i32))),
            col("t").eq(lit("é")),
            col("t").not_eq(lit("b")),
            col("t").gt(lit("Z")),
            col("t").between(lit("B"), lit("b")),
            col("t").in_list(vec![lit("a%"), lit("")], true),
            col("t").like(lit("a%")),
            col("t").like(lit("a_b")),
            col("t").not_like(lit("%_")),
            col("t").like(lit("_")),
            col("t").eq(col("u")),
            col("t").lt(col("u")),
            col("p").eq(lit("ab")),
            col("p").gt(lit("ab")),
            col("p").is_not_null(),
        ];
        let local = SessionContext::new();
        for expr in exprs {
            let verdict = source.executor().verdict(&table, &expr);
            assert!(!matches!(verdict, Verdict::Keep(_) | Verdict::Superset(_)), "{expr}: {verdict:?}");
            let filters = vec![PushedFilter { expr: expr.clone(), exact: true }];
            let there = read(&source, &Fragment { filters, ..Fragment::whole(Arc::clone(&table)) }).await;
            let schema = datafusion::common::DFSchema::try_from(all.schema()).unwrap();
            let predicate = local.create_physical_expr(expr.clone(), &schema).unwrap();
            let kept = predicate.evaluate(&all).unwrap().into_array(all.num_rows()).unwrap();
            let here = filter_record_batch(&all, kept.as_boolean()).unwrap();
            assert_eq!(rows_of(&there), rows_of(&here), "{expr}");
            let trivial = matches!(here.num_rows(), 0);
            assert!(!trivial || expr.to_string().contains("h <"), "{expr} tests nothing");
        }
    });
}

fn rows_of(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::new().with_display_error(true).with_null("∅");
    let columns: Vec<ArrayFormatter<'_>> =
        batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
    let mut rows: Vec<String> = (0..batch.num_rows())
        .map(|row| columns.iter().map(|column| format!("{}|", column.value(row))).collect())
        .collect();
    rows.sort_unstable();
    rows
}

fn counted(shared: &Shared) {
    shared.runtime.block_on(async {
        run(
            shared,
            "CREATE SCHEMA counted; CREATE TABLE counted.t AS SELECT n FROM generate_series(1, 20000) n",
        )
        .await;
        let source = source(shared, "counted");
        let table = table(&source, "t").await;
        let fragment = Fragment { projection: vec![], ..Fragment::whole(Arc::clone(&table)) };
        let stream = source.executor().execute(&fragment, Arc::new(QueryContext::default())).await.unwrap();
        let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
        assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 20_000);
        let fragment = Fragment { limit: Some(3), ..Fragment::whole(table) };
        assert_eq!(read(&source, &fragment).await.num_rows(), 3);
    });
}

fn misfits(shared: &Shared) {
    shared.runtime.block_on(async {
        run(
            shared,
            "CREATE SCHEMA misfits; CREATE TABLE misfits.nan AS SELECT 'NaN'::numeric AS x; \
             CREATE TABLE misfits.long AS SELECT 0.123456789012345 AS x; \
             CREATE TABLE misfits.matrix AS SELECT '{{1,2},{3,4}}'::int4[] AS x; \
             CREATE TABLE misfits.span AS SELECT interval '3000000 hours' AS x",
        )
        .await;
        let source = source(shared, "misfits");
        for (name, kind) in [
            ("nan", SourceErrorKind::Data),
            ("long", SourceErrorKind::Data),
            ("span", SourceErrorKind::Data),
            ("matrix", SourceErrorKind::Unsupported),
        ] {
            let fragment = Fragment::whole(table(&source, name).await);
            let read = source.executor().execute(&fragment, Arc::new(QueryContext::default())).await;
            let Err(error) = read else { panic!("{name} was read") };
            assert_eq!(error.kind, kind, "{error}");
            assert!(error.message.contains(&format!("\"ops.{name}.x\"")), "{error}");
        }
    });
}

fn round_trip(shared: &Shared) {
    shared.runtime.block_on(async {
        run(
            shared,
            "CREATE SCHEMA back; CREATE TABLE back.t (LIKE same.t); CREATE TABLE back.j (j jsonb, n int8)",
        )
        .await;
        let same = source(shared, "same");
        let rows = read(&same, &Fragment::whole(table(&same, "t").await)).await;
        let lease = shared.server.lease().await.unwrap();
        assert_eq!(
            copy_in(&lease, "back.t", &[rows.slice(0, 100), rows.slice(100, 301)]).await.unwrap(),
            401
        );
        lease.release();
        let back = source(shared, "back");
        let again = read(&back, &Fragment::whole(table(&back, "t").await)).await;
        assert_eq!(rows_of(&rows), rows_of(&again));
        let j = table(&back, "j").await;
        let documents: ArrayRef = Arc::new(StringViewArray::from(vec![Some("{\"a\": 1}"), None]));
        let numbers: ArrayRef = Arc::new(datafusion::arrow::array::Int64Array::from(vec![Some(1), None]));
        let batch = RecordBatch::try_new(Arc::clone(&j.arrow), vec![documents, numbers]).unwrap();
        let lease = shared.server.lease().await.unwrap();
        assert_eq!(copy_in(&lease, "back.j", std::slice::from_ref(&batch)).await.unwrap(), 2);
        lease.release();
        // A refused load is an error, and nobody after it notices.
        for (target, code) in [("back.absent", "42P01"), ("back.strict", "23502")] {
            run(shared, "CREATE TABLE IF NOT EXISTS back.strict (j jsonb NOT NULL, n int8)").await;
            let lease = shared.server.lease().await.unwrap();
            let error = copy_in(&lease, target, std::slice::from_ref(&batch)).await.unwrap_err();
            assert_eq!(error.remote_code.as_deref(), Some(code), "{error}");
            drop(lease);
        }
        assert_eq!(rows_of(&read(&back, &Fragment::whole(j)).await), rows_of(&batch));
    });
}

fn two_leaves(shared: &Shared) {
    shared.runtime.block_on(async {
        let source = source(shared, "counted");
        let fragment = Fragment::whole(table(&source, "t").await);
        let cx = || Arc::new(QueryContext::default());
        let first = source.executor().execute(&fragment, cx()).await.unwrap();
        let second = source.executor().execute(&fragment, cx()).await.unwrap();
        let second: Vec<RecordBatch> = second.try_collect().await.unwrap();
        let first: Vec<RecordBatch> = first.try_collect().await.unwrap();
        assert_eq!(first, second);
    });
}

fn large(shared: &Shared) {
    shared.runtime.block_on(async {
        run(shared, "CREATE SCHEMA large; CREATE VIEW large.v AS SELECT n::int8 AS n, 'row ' || n AS t FROM generate_series(1, 200000) n").await;
        let source = source(shared, "large");
        let fragment = Fragment::whole(table(&source, "v").await);
        let started = std::time::Instant::now();
        let stream = source.executor().execute(&fragment, Arc::new(QueryContext::default())).await.unwrap();
        let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
        println!("200,000 rows in {:?}", started.elapsed());
        assert!(batches.iter().all(|batch| batch.num_rows() <= 8_192));
        let sum: i64 = batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).sum();
        assert_eq!(sum, 200_000 * 200_001 / 2);
    });
}
