//! Statements that nobody means, nested at random: planning and running them ends in rows or in an error, in time and
//! never in a panic. An internal error is a fault too: what is wrong with a statement has a class.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::fixture::Fixture;
use crate::engine::QueryControl;
use crate::error::QueryError;

/// Statements of one run.
const STATEMENTS: u32 = 500;

fn leaf() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "i2",
        "i4",
        "i8",
        "f8",
        "num",
        "txt",
        "flag",
        "day",
        "tz",
        "ts",
        "t.i4",
        "nosuch",
        "NULL",
        "0",
        "1",
        "-1",
        "2147483647",
        "9223372036854775807",
        "99999999999999999999999999999999999999",
        "1e308",
        "1.5",
        "'a'",
        "''",
        "'x''y'",
        "true",
        "date '9999-12-31'",
        "timestamp 'infinity'",
        "interval '1 month'",
        "'NaN'::float8",
        "array[1, NULL]",
        "now()",
        "*",
        "$1",
        "random()",
    ])
    .prop_map(str::to_owned)
}

/// What makes one expression of up to three.
const SHAPES: [&str; 60] = [
    "({0} + {1})",
    "({0} - {1})",
    "({0} * {1})",
    "({0} / {1})",
    "({0} % {1})",
    "(- {0})",
    "({0} || {1})",
    "({0} = {1})",
    "({0} <> {1})",
    "({0} < {1})",
    "({0} IS DISTINCT FROM {1})",
    "({0} AND {1})",
    "({0} OR {1})",
    "(NOT {0})",
    "({0} IS NULL)",
    "({0} IS TRUE)",
    "({0} IN ({1}, {2}))",
    "({0} NOT IN ({1}, NULL))",
    "({0} BETWEEN {1} AND {2})",
    "({0} LIKE {1})",
    "({0} ~ {1})",
    "CASE WHEN {0} THEN {1} ELSE {2} END",
    "CASE {0} WHEN {1} THEN {2} END",
    "coalesce({0}, {1}, {2})",
    "nullif({0}, {1})",
    "greatest({0}, {1})",
    "{0}::text",
    "{0}::int4",
    "{0}::numeric(4,2)",
    "{0}::timestamptz",
    "{0}::date",
    "{0}::bool",
    "CAST({0} AS int8)",
    "lower({0})",
    "substr({0}, {1}, {2})",
    "length({0})",
    "repeat({0}, 3)",
    "abs({0})",
    "round({0}, {1})",
    "sqrt({0})",
    "date_trunc('month', {0})",
    "extract(year FROM {0})",
    "count(*)",
    "count({0})",
    "sum({0})",
    "avg({0})",
    "min({0})",
    "count(DISTINCT {0})",
    "sum({0}) FILTER (WHERE {1})",
    "string_agg({0}, ',')",
    "row_number() OVER (ORDER BY {0})",
    "sum({0}) OVER (PARTITION BY {1})",
    "(SELECT {0})",
    "(SELECT {0} FROM t LIMIT 1)",
    "EXISTS (SELECT {0} FROM t WHERE {1})",
    "({0} IN (SELECT {1} FROM t u))",
    "({0} NOT IN (SELECT u.i4 FROM t u WHERE {1}))",
    "array[{0}, {1}]",
    "({0})[1]",
    "({0}, {1})",
];

fn expression() -> impl Strategy<Value = String> {
    leaf().prop_recursive(5, 24, 3, |inner| {
        (prop::sample::select(SHAPES.to_vec()), inner.clone(), inner.clone(), inner).prop_map(
            |(shape, first, second, third)| {
                // The marks are digits in braces, which no part has.
                shape.replace("{0}", &first).replace("{1}", &second).replace("{2}", &third)
            },
        )
    })
}

fn statement() -> impl Strategy<Value = String> {
    let from = prop::sample::select(vec![
        "t",
        "t, t u",
        "t JOIN t u ON t.i4 = u.i4",
        "t LEFT JOIN t u ON t.txt = u.txt AND u.flag",
        "t FULL JOIN t u USING (i4)",
        "(SELECT * FROM t ORDER BY i4 LIMIT 2) t",
        "(SELECT i4, count(*) AS i8, max(txt) AS txt FROM t GROUP BY 1) t",
        "(VALUES (1, 'a'), (2, NULL)) t(i4, txt)",
        "generate_series(1, 3) t(i4)",
        "(SELECT 1 AS i4 UNION ALL SELECT i4 FROM t) t",
    ]);
    let items = prop::collection::vec(expression(), 1..4);
    let maybe = || prop::option::weighted(0.4, expression());
    let tail = prop::sample::select(vec![
        "",
        " ORDER BY 1",
        " ORDER BY 1 DESC NULLS LAST LIMIT 3",
        " LIMIT 0",
        " UNION SELECT i4 FROM t",
        " EXCEPT SELECT NULL",
        " OFFSET 2",
    ]);
    (
        items,
        from,
        maybe(),
        prop::option::weighted(0.3, prop::sample::select(vec!["1", "1, 2", "txt", "ROLLUP(1, 2)"])),
        maybe(),
        tail,
    )
        .prop_map(|(items, from, filter, group, having, tail)| {
            let clause = |word: &str, text: Option<String>| {
                text.map_or_else(String::new, |text| format!(" {word} {text}"))
            };
            format!(
                "SELECT {} FROM {from}{}{}{}{tail}",
                items.join(", "),
                clause("WHERE", filter),
                clause("GROUP BY", group.map(str::to_owned)),
                clause("HAVING", having)
            )
        })
}

/// Runs a statement to its end.
async fn run(fixture: &Fixture, sql: &str) -> Result<(), QueryError> {
    let prepared = fixture.engine.prepare(&fixture.session, sql, &[]).await?;
    let deadline = Some(Instant::now() + Duration::from_secs(20));
    let parameters = vec![datafusion::common::ScalarValue::Utf8(None); prepared.parameters.len()];
    let control = QueryControl { deadline, ..QueryControl::default() };
    let mut answer = fixture.engine.execute(&fixture.session, &prepared, parameters, control).await?;
    while let Some(batch) = answer.rows.next().await {
        batch.map_err(QueryError::from)?;
    }
    Ok(())
}

#[test]
fn trap_e2_nonsense_is_planned_or_refused_and_nothing_panics() {
    // Only the log has the cause of an internal error.
    let log = tracing_subscriber::fmt().with_max_level(tracing::Level::ERROR).with_test_writer();
    let _ = log.try_init();
    let panics = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&panics);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().name().is_some_and(|name| name.starts_with("portolan-query")) {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        before(info);
    }));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let fixture = Fixture::open();
    let config = Config { cases: STATEMENTS, failure_persistence: None, ..Config::default() };
    let internal = std::cell::RefCell::new(Vec::new());
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    runner
        .run(&statement(), |sql| {
            let outcome = runtime.block_on(run(&fixture, &sql));
            prop_assert_eq!(panics.load(Ordering::SeqCst), 0, "{}", sql);
            if let Err(error) = outcome {
                if error.code.sqlstate() == "XX000" {
                    internal.borrow_mut().push(sql.clone());
                }
                prop_assert_ne!(error.code.sqlstate(), "57014", "{}: {:?}", sql, error);
            }
            Ok(())
        })
        .unwrap();
    let internal = internal.into_inner();
    assert!(internal.is_empty(), "{} internal errors:\n{}", internal.len(), internal.join("\n"));
}
