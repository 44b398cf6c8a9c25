//! The seam from end to end: push-down on and off give the same rows, and a leaf behaves when its source does not.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::DataFusionError;
use datafusion::execution::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use proptest::prelude::*;

use super::testing::{Manner, MemoryExecutor, MemorySource};
use super::{FederationOptions, QueryContext, physical_optimizer_rules};
use crate::Catalog;
use crate::source::{SourceError, SourceErrorKind};

struct Fixture {
    context: SessionContext,
    options: Arc<FederationOptions>,
    memory: Arc<MemoryExecutor>,
    query: Arc<QueryContext>,
}

fn fixture(manner: Manner) -> Fixture {
    under(manner, QueryContext::default())
}

fn under(manner: Manner, query: QueryContext) -> Fixture {
    let source = MemorySource::new(manner);
    let memory = source.memory();
    let catalog = Catalog::builder().add(Arc::new(source)).build().unwrap();
    let options = Arc::new(FederationOptions::default());
    let query = Arc::new(query);
    let config = SessionConfig::new()
        .with_target_partitions(2)
        .with_default_catalog_and_schema("portolan", "mem")
        .with_extension(Arc::clone(&query));
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_default_features()
        .with_physical_optimizer_rules(physical_optimizer_rules())
        .build();
    let context = SessionContext::new_with_state(state);
    context.register_catalog("portolan", catalog.catalog_provider(Arc::clone(&options), vec![]));
    Fixture { context, options, memory, query }
}

impl Fixture {
    async fn rows(&self, sql: &str) -> Result<Vec<String>, DataFusionError> {
        let batches = self.context.sql(sql).await?.collect().await?;
        let format = FormatOptions::default().with_null("∅");
        let mut rows = Vec::new();
        for batch in &batches {
            let columns: Vec<ArrayFormatter<'_>> = batch
                .columns()
                .iter()
                .map(|array| ArrayFormatter::try_new(array, &format).unwrap())
                .collect();
            for row in 0..batch.num_rows() {
                rows.push(
                    columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("|"),
                );
            }
        }
        Ok(rows)
    }

    async fn source_error(&self, sql: &str) -> SourceError {
        let error = self.rows(sql).await.unwrap_err();
        let DataFusionError::External(error) = error.find_root() else { panic!("not external: {error}") };
        error.downcast_ref::<SourceError>().unwrap().clone()
    }
}

fn atom() -> impl Strategy<Value = String> {
    let number = prop_oneof![Just("0"), Just("1"), Just("-1"), Just("7"), Just("9223372036854775807")];
    let text = prop_oneof![
        Just("Dakar"),
        Just("a"),
        Just("a "),
        Just("it''s"),
        Just("\\"),
        Just("%"),
        Just(""),
        Just("'';--"),
        Just("nowhere")
    ];
    let pattern =
        prop_oneof![Just("a%"), Just("%a%"), Just("_"), Just("\\%"), Just("%''%"), Just("D_kar"), Just("%")];
    let operator = prop_oneof![Just("="), Just("<>"), Just("<"), Just("<="), Just(">"), Just(">=")];
    prop_oneof![
        (operator.clone(), number.clone()).prop_map(|(op, n)| format!("a {op} {n}")),
        (operator.clone(), text.clone()).prop_map(|(op, s)| format!("b {op} '{s}'")),
        (operator.clone(), prop_oneof![Just("0.0"), Just("1.5")]).prop_map(|(op, n)| format!("c {op} {n}")),
        (operator.clone(), prop_oneof![Just("1.50"), Just("0")]).prop_map(|(op, n)| format!("d {op} {n}")),
        operator.clone().prop_map(|op| format!("at {op} timestamptz '2026-07-01 00:00:00Z'")),
        pattern.prop_map(|p| format!("b LIKE '{p}'")),
        (number.clone(), number.clone()).prop_map(|(x, y)| format!("a BETWEEN {x} AND {y}")),
        (number.clone(), number.clone()).prop_map(|(x, y)| format!("a IN ({x}, {y})")),
        number.clone().prop_map(|x| format!("a NOT IN ({x}, NULL)")),
        (text.clone(), text).prop_map(|(x, y)| format!("b IN ('{x}', '{y}')")),
        prop_oneof![Just("a"), Just("b"), Just("c"), Just("at")].prop_map(|c| format!("{c} IS NULL")),
        Just("length(b) > 1".to_owned()),
        Just("a + 0 = 1".to_owned()),
        Just("upper(b) = 'DAKAR'".to_owned()),
        number.prop_map(|x| format!("CASE WHEN a > {x} THEN b = 'a' ELSE b IS NULL END")),
    ]
}

fn predicate() -> impl Strategy<Value = String> {
    atom().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(x, y)| format!("({x}) AND ({y})")),
            (inner.clone(), inner.clone()).prop_map(|(x, y)| format!("({x}) OR ({y})")),
            inner.prop_map(|x| format!("NOT ({x})")),
        ]
    })
}

fn statement() -> impl Strategy<Value = String> {
    (predicate(), 0..20_usize).prop_map(|(p, shape)| match shape {
        0 => format!("SELECT * FROM t WHERE {p}"),
        1 => format!("SELECT count(*) FROM t WHERE {p}"),
        2 => format!("SELECT d, b FROM t WHERE {p}"),
        3 => format!("SELECT b, count(*), sum(a % 100), min(at) FROM t WHERE {p} GROUP BY b"),
        4 => format!("SELECT a, b, c, d, at FROM t WHERE {p} ORDER BY a, b, c, d, at LIMIT 5"),
        5 => format!("SELECT x.a, y.b FROM t x JOIN t y ON x.a = y.a WHERE y.d > 0 AND x.a IN (SELECT a FROM t WHERE {p})"),
        8 => format!("SELECT x.b, y.c FROM (SELECT * FROM t WHERE {p}) x JOIN t y ON x.b = y.b AND x.a = y.a"),
        9 => format!("SELECT x.d FROM (SELECT * FROM t WHERE {p}) x RIGHT JOIN t y ON x.d = y.d"),
        10 => format!("SELECT y.at FROM t y WHERE y.at IN (SELECT at FROM t WHERE {p}) AND y.b NOT IN (SELECT b FROM t WHERE a = 7)"),
        11 => format!("SELECT d, at, count(*), count(b), sum(d), avg(d), min(a), max(at) FROM t WHERE {p} GROUP BY d, at"),
        12 => format!("SELECT count(DISTINCT a), max(at) FROM t WHERE {p}"),
        13 => format!("SELECT d, count(DISTINCT a) FROM t WHERE {p} GROUP BY d"),
        14 => format!("SELECT count(*) FILTER (WHERE a > 0), sum(d) FILTER (WHERE c > 1.0 OR a IS NULL) FROM t WHERE {p}"),
        15 => format!("SELECT a, d FROM t WHERE {p} ORDER BY d DESC NULLS LAST, a NULLS FIRST LIMIT 7"),
        16 => format!("SELECT at, count(*) AS n FROM t WHERE {p} GROUP BY at ORDER BY n DESC, at LIMIT 2"),
        17 => format!("SELECT a, at FROM t x WHERE {p} AND EXISTS (SELECT 1 FROM t y WHERE y.d = x.d AND y.a > 0)"),
        18 => format!("SELECT DISTINCT a, at FROM t x WHERE ({p}) AND NOT EXISTS (SELECT 1 FROM t y WHERE y.a = x.a AND y.d > 1)"),
        6 => format!("SELECT count(*) FROM (SELECT a FROM t WHERE {p} LIMIT 3)"),
        _ => format!("SELECT a FROM t WHERE {p} UNION ALL SELECT a FROM t WHERE NOT ({p}) UNION ALL SELECT a FROM t WHERE ({p}) IS NULL"),
    })
}

/// Both ways of running a statement, as sorted rows.
async fn both(fixture: &Fixture, sql: &str) -> (Result<Vec<String>, String>, Result<Vec<String>, String>) {
    let mut answers = Vec::new();
    for pushdown in [true, false] {
        fixture.options.set_pushdown(pushdown);
        let rows = fixture.rows(sql).await.map(|mut rows| {
            rows.sort();
            rows
        });
        answers.push(rows.map_err(|error| error.to_string()));
    }
    let off = answers.pop().unwrap();
    (answers.pop().unwrap(), off)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn push_down_never_changes_the_rows(sql in statement()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (on, off) = runtime.block_on(both(&fixture(Manner::Good), &sql));
        prop_assert!(on.is_ok(), "{sql}: {on:?}");
        prop_assert_eq!(on, off, "{}", sql);
    }
}

#[tokio::test]
async fn each_shape_moves_into_the_fragment_and_says_what_stays() {
    let fixture = fixture(Manner::Good);
    for (sql, line) in [
        (
            "SELECT d, count(*), sum(d) FROM t GROUP BY d",
            "joins [] aggregate [[3] count sum] sort 0 limit None",
        ),
        ("SELECT d, avg(d) FROM t GROUP BY d", "(its states are not known)"),
        ("SELECT count(DISTINCT a) FROM t", "joins [] aggregate [[] count] sort 0 limit None"),
        ("SELECT DISTINCT a, at FROM t", "joins [] aggregate [[0, 4] ] sort 0 limit None"),
        ("SELECT a FROM t ORDER BY a, d LIMIT 3", "joins [] aggregate [] sort 2 limit Some(3)"),
        ("SELECT a FROM t ORDER BY a, d LIMIT 3 OFFSET 4", "joins [] aggregate [] sort 2 limit Some(7)"),
        (
            "SELECT d, sum(d) AS s FROM t GROUP BY d ORDER BY s LIMIT 2",
            "joins [] aggregate [[3] sum] sort 1 limit Some(2)",
        ),
        (
            "SELECT a FROM t x WHERE EXISTS (SELECT 1 FROM t y WHERE y.d = x.d)",
            "joins [Semi] aggregate [] sort 0",
        ),
        (
            "SELECT a FROM t x WHERE NOT EXISTS (SELECT 1 FROM t y WHERE y.d = x.d) LIMIT 90",
            "joins [Anti] aggregate [] sort 0 limit Some(90)",
        ),
        ("SELECT b, count(*) FROM t GROUP BY b", "kept: group by b (spellings are one here)"),
        ("SELECT a + 1, count(*) FROM t GROUP BY a + 1", "(computed keys are grouped here)"),
        ("SELECT stddev(a) FROM t", "(this aggregate is computed here)"),
        ("SELECT b FROM t ORDER BY b LIMIT 3", "kept: top 3 by b (spellings are one here)"),
        ("SELECT a FROM t WHERE a NOT IN (SELECT a FROM t)", "(NOT IN with a subquery is not NOT EXISTS)"),
        (
            "SELECT x.a FROM t x JOIN t y ON x.a = y.a",
            "kept: inner join (it may return more rows than its larger side has)",
        ),
        (
            "SELECT x.a FROM t x FULL JOIN t y ON x.a = y.a",
            "kept: full join (this kind of join is made here)",
        ),
        ("SELECT count(*) FROM t WHERE b = 'a'", "limit None superset:"),
    ] {
        fixture.options.set_pushdown(true);
        let text = fixture.rows(&format!("EXPLAIN {sql}")).await.unwrap().join("\n");
        assert!(text.contains(line), "{sql}\n{text}\nlacks {line}");
        let (on, off) = both(&fixture, sql).await;
        assert_eq!(on, off, "{sql}");
    }
}

#[tokio::test]
async fn the_comparison_finds_a_planted_bug() {
    let (on, off) = both(&fixture(Manner::Lying), "SELECT a FROM t WHERE b = 'Dakar'").await;
    assert_ne!(on, off);
}

#[tokio::test]
async fn three_parts_add_up_to_the_whole() {
    let fixture = fixture(Manner::Good);
    let parts = "SELECT a FROM t WHERE b = 'a' UNION ALL SELECT a FROM t WHERE NOT b = 'a' UNION ALL SELECT a FROM t WHERE (b = 'a') IS NULL";
    assert_eq!(fixture.rows(parts).await.unwrap().len(), 60);
}

#[tokio::test]
async fn explain_says_what_was_sent_and_what_stayed_and_why() {
    let fixture = fixture(Manner::Good);
    let plan = |sql: &str| {
        let sql = format!("EXPLAIN {sql}");
        let fixture = &fixture;
        async move {
            let text = fixture.rows(&sql).await.unwrap().join("\n");
            text.lines().find(|line| line.contains("FederatedScan")).unwrap().trim().to_owned()
        }
    };
    let line =
        plan("SELECT a FROM t WHERE a > 1 AND b = 'Dakar' AND b < 'z' AND b LIKE 'D%' AND length(b) > 2")
            .await;
    for part in [
        "FederatedScan source=mem est_rows=1 est_bytes=44 bytes sent: columns [a, b] filters [",
        "a > Int64(1)",
        "limit None rewrite: b LIKE Utf8(\"D%\") (COLLATE \"C\") superset: b = Utf8(\"Dakar\") (text is compared without case) kept: ",
        "b < Utf8(\"z\") (text order is not bytewise)",
        "(functions are evaluated here)",
    ] {
        assert!(line.contains(part), "{line}\nlacks {part}");
    }
    assert!(
        plan("SELECT a FROM t WHERE a > 1 LIMIT 4")
            .await
            .ends_with("sent: columns [a] filters [a > Int64(1)] limit Some(4)")
    );
    assert!(plan("SELECT a FROM t WHERE b = 'x' LIMIT 4").await.contains("limit None"));
    assert!(plan("SELECT count(*) FROM t").await.contains("aggregate [[] count] sort 0 limit None"));
    fixture.options.set_pushdown(false);
    // A column that nobody asks for is not read with push-down off either: a value in it may be one that fails.
    for (sql, columns) in [
        ("SELECT a FROM t WHERE a > 1", "a"),
        ("SELECT a FROM t WHERE b = 'x' LIMIT 4", "a, b"),
        ("SELECT count(*) FROM t", ""),
    ] {
        let off = plan(sql).await;
        let sent = format!(
            "sent: columns [{columns}] filters [] limit None kept: all but columns (push-down is off)"
        );
        assert!(off.ends_with(&sent), "{off}");
    }
}

#[tokio::test]
async fn nothing_is_computed_for_rows_that_a_filter_takes_away() {
    let fixture = fixture(Manner::Good);
    for sql in [
        "SELECT a, 100 / a + length(b) * c FROM t WHERE a <> 0",
        "SELECT x FROM (SELECT a, 100 / a + length(b) * c x FROM t WHERE a <> 0) s WHERE a < 7 ORDER BY x",
    ] {
        let (on, off) = both(&fixture, sql).await;
        let rows = on.unwrap();
        assert!(rows.len() > 10, "{sql}: {rows:?}");
        assert_eq!(off, Ok(rows), "{sql}");
    }
}

#[tokio::test]
async fn analyze_counts_rows_and_bytes() {
    let text =
        fixture(Manner::Good).rows("EXPLAIN ANALYZE SELECT a FROM t WHERE a = 1").await.unwrap().join("\n");
    let line = text.lines().find(|line| line.contains("FederatedScan")).unwrap();
    assert!(
        line.contains("output_rows=15")
            && line.contains(" rows=15 bytes=")
            && line.contains(" bytes=")
            && line.contains("first_byte="),
        "{line}"
    );
}

#[tokio::test]
async fn a_join_tells_the_probe_side_what_it_needs() {
    let fixture = fixture(Manner::Good);
    let sql = "SELECT t.b FROM (VALUES (1), (7)) v(k) JOIN t ON t.a = v.k";
    let text = fixture.rows(&format!("EXPLAIN ANALYZE {sql}")).await.unwrap().join("\n");
    let line = text.lines().find(|line| line.contains("FederatedScan")).unwrap();
    assert!(line.contains(" runtime: a >= Int64(1) AND a <= Int64(7)"), "{line}");
    assert!(line.contains("output_rows=22"), "only what can match is sent: {line}");
    let (on, off) = both(&fixture, sql).await;
    assert_eq!(on.unwrap(), off.unwrap());
}

#[tokio::test]
async fn nothing_is_sent_before_the_first_poll() {
    let fixture = fixture(Manner::Good);
    let frame = fixture.context.sql("SELECT a FROM t").await.unwrap();
    let stream = frame.execute_stream().await.unwrap();
    assert_eq!(fixture.memory.started.load(Ordering::SeqCst), 0);
    drop(stream);
    let none =
        fixture.rows("SELECT t.a FROM (SELECT 1 AS k WHERE 1 = 0) e JOIN t ON t.a = e.k").await.unwrap();
    assert!(none.is_empty());
    assert_eq!(fixture.memory.started.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_version_read_is_recorded() {
    let fixture = fixture(Manner::Good);
    fixture.rows("SELECT a FROM t").await.unwrap();
    assert_eq!(fixture.query.as_of.snapshot().to_string(), "mem=batch:7");
}

#[tokio::test]
async fn a_broken_promise_is_an_error_and_never_an_answer() {
    let error = fixture(Manner::WrongType).source_error("SELECT a FROM t").await;
    assert_eq!(error.kind, SourceErrorKind::Data);
    assert_eq!(
        error.message,
        "source \"mem\" sent columns (a Int32) for \"mem.t\" where (a Int64) was promised"
    );
}

#[tokio::test]
async fn the_sources_own_error_reaches_the_edge_whole() {
    let error = fixture(Manner::Failing).source_error("SELECT a FROM t WHERE a = 1 ORDER BY a").await;
    assert_eq!((error.kind, error.remote_code.as_deref()), (SourceErrorKind::Auth, Some("28P01")));
    assert_eq!(error.source_name.unwrap().as_str(), "mem");
}

#[tokio::test]
async fn cancel_and_deadline_stop_a_silent_source_and_drop_its_stream() {
    let started = Instant::now();
    let past =
        QueryContext { deadline: Some(started + Duration::from_millis(20)), ..QueryContext::default() };
    let late = under(Manner::Silent, past);
    assert_eq!(late.source_error("SELECT a FROM t").await.kind, SourceErrorKind::Cancelled);
    assert!(late.memory.dropped.load(Ordering::SeqCst));
    let fixture = fixture(Manner::Silent);
    let cancel = fixture.query.cancel.clone();
    let (error, ()) = tokio::join!(fixture.source_error("SELECT a FROM t"), async move { cancel.cancel() });
    assert_eq!(error.kind, SourceErrorKind::Cancelled);
    assert!(fixture.memory.dropped.load(Ordering::SeqCst));
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn an_unknown_table_or_schema_is_not_found_and_a_dead_source_says_so() {
    let fixture = fixture(Manner::Good);
    let error = fixture.rows("SELECT * FROM mem.nowhere").await.unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
    assert!(fixture.rows("SELECT * FROM portolan.nowhere.t").await.is_err());
}

#[tokio::test]
async fn a_plan_outlives_the_switch() {
    let fixture = fixture(Manner::Good);
    let sql = "SELECT d FROM t WHERE a = 1 AND b = 'DAKAR'";
    let frame = fixture.context.sql(sql).await.unwrap();
    let planned = fixture.context.state().optimize(frame.logical_plan()).unwrap();
    fixture.options.set_pushdown(false);
    let state = fixture.context.state();
    let plan = state.query_planner().create_physical_plan(&planned, &state).await.unwrap();
    let rows = datafusion::physical_plan::collect(plan, fixture.context.task_ctx()).await.unwrap();
    let expected = fixture.rows(sql).await.unwrap();
    assert_eq!(rows.iter().map(|batch| batch.num_rows()).sum::<usize>(), expected.len());
    assert!(!expected.is_empty());
}
