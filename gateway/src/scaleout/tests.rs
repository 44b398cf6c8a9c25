//! Statements over a lake of many files, asked with no worker, one and three: the same rows, types and errors. The workers
//! here are tasks of the test with sockets of their own; those of `gateway/tests/workers` are processes.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, Date32Array, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::StreamExt as _;
use portolan_catalog::Catalog;
use portolan_catalog::config::{OpenContext, SourcesConfig};
use portolan_catalog::lake::{Commit, Lake, LakeSource, TableOptions, TablePath};
use portolan_catalog::source::SourceName;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{WorkerConfig, Workers, serve};
use crate::engine::{Engine, EngineConfig, QueryControl};
use crate::error::QueryError;
use crate::mirror::SourceTables;
use crate::session::Identity;

/// Files of the larger table.
const FILES: i64 = 6;
/// Rows of each; more than a batch, so that plans are made for several partitions.
const ROWS: i64 = 9_000;

fn calls(file: i64) -> RecordBatch {
    let ids: Vec<i64> = (file * ROWS..(file + 1) * ROWS).collect();
    let every = |n: i64| ids.iter().map(move |id| id % n != 0);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from(ids.clone()))),
        (
            "berth",
            Arc::new(Int64Array::from_iter(
                ids.iter().zip(every(13)).map(|(id, some)| some.then_some(id % 40)),
            )),
        ),
        (
            "ship",
            Arc::new(StringArray::from_iter(
                ids.iter().zip(every(7)).map(|(id, some)| some.then(|| format!("ship {}", id % 500))),
            )),
        ),
        (
            "tonnes",
            Arc::new(
                Decimal128Array::from_iter(
                    ids.iter().zip(every(11)).map(|(id, some)| some.then_some(i128::from(id % 9_973) * 125)),
                )
                .with_precision_and_scale(14, 3)
                .unwrap(),
            ),
        ),
        (
            "draught",
            Arc::new(Float64Array::from_iter(
                ids.iter()
                    .zip(every(17))
                    .map(|(id, some)| some.then_some(f64::from(i32::try_from(id % 64).unwrap()) / 4.0)),
            )),
        ),
        ("day", Arc::new(Date32Array::from_iter(ids.iter().map(|id| i32::try_from(20_000 + id % 365).ok())))),
        (
            "at",
            Arc::new(
                TimestampMicrosecondArray::from_iter(
                    ids.iter().map(|id| Some(1_700_000_000_000_000 + id * 3_600_000_000)),
                )
                .with_timezone("UTC"),
            ),
        ),
    ];
    batch(columns)
}

fn berths() -> RecordBatch {
    let ids: Vec<i64> = (0..45).collect();
    batch(vec![
        ("berth", Arc::new(Int64Array::from(ids.clone()))),
        (
            "quay",
            Arc::new(StringArray::from_iter(
                ids.iter().map(|id| (id % 9 != 0).then(|| format!("quay {}", id % 5))),
            )),
        ),
    ])
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let fields: Vec<Field> =
        columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, array)| array).collect())
        .unwrap()
}

async fn table(lake: &Lake, name: &str, batches: Vec<RecordBatch>) {
    let path = TablePath::new("silver", name);
    lake.ensure_table(&path, &batches[0].schema(), &TableOptions::default()).await.unwrap();
    for (seq, batch) in (1..).zip(batches) {
        let commit = Commit {
            pipeline: "test".into(),
            app_id: format!("test/{name}"),
            seq,
            interval: String::new(),
            counts: BTreeMap::new(),
            digest: None,
            origin: None,
        };
        lake.append(&path, vec![batch], &commit).await.unwrap();
    }
}

/// An engine over a lake and a file of notes, with workers over the lake.
struct World {
    engine: Engine,
    workers: Arc<Workers>,
    lake: Lake,
    _stops: Vec<DropGuard>,
    _directory: tempfile::TempDir,
}

impl World {
    async fn open(workers: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let lake = Lake::open_local(&directory.path().join("lake")).unwrap();
        table(&lake, "calls", (0..FILES).map(calls).collect()).await;
        table(&lake, "berths", vec![berths()]).await;
        let notes: String =
            (0..60).map(|id| format!("{{\"berth\": {id}, \"note\": \"note {id}\"}}\n")).collect();
        std::fs::write(directory.path().join("notes.ndjson"), notes).unwrap();
        let sources = format!(
            "notes:\n  files:\n    root: {}\n    tables:\n      notes:\n        path: notes.ndjson\n        format: ndjson\n        \
             columns: [{{name: berth, type: int8, from: berth}}, {{name: note, type: text, from: note}}]\n",
            directory.path().display()
        );
        let sources: SourcesConfig = portolan_catalog::yaml::parse("x.yaml".as_ref(), &sources).unwrap();
        let name = || SourceName::try_new("lake").unwrap();
        let catalog = Catalog::builder()
            .add(Arc::new(LakeSource::new(name(), lake.clone())))
            .configured(&sources, &OpenContext::default())
            .unwrap()
            .build()
            .unwrap();
        let (mut urls, mut stops) = (Vec::new(), Vec::new());
        for _ in 0..workers {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            urls.push(format!("http://{}", listener.local_addr().unwrap()).parse().unwrap());
            let lakes =
                vec![LakeSource::new(name(), Lake::open_local(&directory.path().join("lake")).unwrap())];
            let stop = CancellationToken::new();
            stops.push(stop.clone().drop_guard());
            tokio::spawn(serve(listener, WorkerConfig { lakes, memory_bytes: 256 << 20 }, stop));
        }
        let workers = Arc::new(Workers::new(urls).unwrap());
        let engine = Engine::open(EngineConfig {
            tables: Arc::new(SourceTables(catalog)),
            semantics: None,
            system: Vec::new(),
            memory_bytes: 512 << 20,
            partitions: 2,
        })
        .unwrap()
        .with_workers(Some(Arc::clone(&workers)));
        Self { engine, workers, lake, _stops: stops, _directory: directory }
    }

    /// The rows as texts, asked of so many workers.
    async fn ask(&self, sql: &str, workers: usize) -> Result<Vec<String>, QueryError> {
        let session = self.engine.session(Identity { user: "demo".into(), pid: 1, protocol: "internal" });
        session.settings().set("portolan.workers", Some(&workers.to_string())).unwrap();
        session.settings().set("portolan.worker_bytes", Some("1")).unwrap();
        session.settings().set("TimeZone", Some("Europe/Paris")).unwrap();
        let prepared = self.engine.prepare(&session, sql, &[]).await?;
        let control = QueryControl::default();
        let mut answer = Box::pin(self.engine.execute(&session, &prepared, Vec::new(), control)).await?;
        let mut rows = Vec::new();
        let options = FormatOptions::new().with_null("NULL");
        while let Some(batch) = answer.rows.next().await {
            let batch = batch.map_err(QueryError::from)?;
            let shown: Vec<_> = batch
                .columns()
                .iter()
                .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
                .collect();
            for row in 0..batch.num_rows() {
                let values: Vec<String> = shown.iter().map(|column| column.value(row).to_string()).collect();
                rows.push(values.join("|"));
            }
        }
        Ok(rows)
    }

    fn none_failed(&self, sql: &str) {
        let heard: Vec<_> = self.workers.statuses().into_iter().filter_map(|worker| worker.heard).collect();
        assert!(heard.is_empty(), "{sql}: {heard:#?}");
    }

    async fn plan(&self, sql: &str, workers: usize) -> String {
        self.ask(&format!("EXPLAIN {sql}"), workers).await.unwrap().join("\n")
    }
}

/// Statements, and whether parts of them must run at workers.
const STATEMENTS: &[(&str, bool)] = &[
    ("SELECT berth, count(*), sum(tonnes), min(ship), max(at) FROM silver.calls GROUP BY berth", true),
    ("SELECT count(*), count(ship), sum(id), avg(tonnes) FROM silver.calls", true),
    (
        "SELECT count(*) FROM silver.calls WHERE draught > 3.5 AND ship LIKE 'ship 1%' AND id BETWEEN 100 AND 40000",
        true,
    ),
    (
        "SELECT ship, sum(tonnes) AS t FROM silver.calls GROUP BY ship ORDER BY t DESC NULLS LAST, ship LIMIT 7",
        true,
    ),
    ("SELECT id, ship FROM silver.calls ORDER BY tonnes DESC NULLS LAST, id LIMIT 9", false),
    ("SELECT DISTINCT berth FROM silver.calls WHERE id % 3 = 1", true),
    (
        "SELECT b.quay, count(*), sum(c.tonnes) FROM silver.calls c JOIN silver.berths b ON b.berth = c.berth GROUP BY b.quay",
        true,
    ),
    (
        "SELECT b.quay, c.berth, count(c.id) FROM silver.berths b LEFT JOIN silver.calls c ON b.berth = c.berth AND c.id < 20000 GROUP BY 1, 2",
        true,
    ),
    ("SELECT count(*) FROM silver.calls a JOIN silver.calls b ON a.id = b.id + 17", true),
    (
        "SELECT a.berth, count(*) FROM silver.calls a WHERE EXISTS (SELECT 1 FROM silver.calls b WHERE b.id = a.id * 2) GROUP BY 1",
        true,
    ),
    (
        "SELECT count(*) FROM silver.calls WHERE berth NOT IN (SELECT berth FROM silver.berths WHERE quay = 'quay 1')",
        false,
    ),
    ("SELECT ship FROM silver.calls WHERE id < 20000 UNION ALL SELECT quay FROM silver.berths", true),
    ("SELECT ship FROM silver.calls UNION SELECT quay FROM silver.berths", true),
    (
        "SELECT n.note, count(*) FROM silver.calls c JOIN notes.notes n ON n.berth = c.berth GROUP BY n.note",
        false,
    ),
    ("SELECT extract(hour FROM at), count(*) FROM silver.calls GROUP BY 1", true),
    ("SELECT berth, sum(length(ship)), avg(length(ship)) FROM silver.calls GROUP BY berth", true),
    (
        "SELECT day, berth, max(draught) FROM silver.calls WHERE day < DATE '2024-11-01' GROUP BY day, berth",
        true,
    ),
    ("SELECT count(DISTINCT ship), berth FROM silver.calls GROUP BY berth", true),
    (
        "SELECT berth, sum(tonnes) FILTER (WHERE draught < 4) FROM silver.calls GROUP BY berth HAVING count(*) > 1000",
        true,
    ),
    ("SELECT id, rank() OVER (PARTITION BY berth ORDER BY id) FROM silver.calls WHERE id < 3000", false),
    ("SELECT id FROM silver.calls WHERE ship IS NULL LIMIT 4", false),
    ("SELECT (SELECT max(id) FROM silver.calls), count(*) FROM silver.berths", false),
    ("SELECT berth, at::text FROM silver.calls WHERE id < 50", false),
];

#[tokio::test(flavor = "multi_thread")]
async fn no_worker_one_and_three_give_the_same_rows() {
    let world = World::open(3).await;
    for (sql, must) in STATEMENTS {
        let limited = sql.contains("LIMIT 4");
        let mut expected = world.ask(sql, 0).await.unwrap();
        expected.sort_unstable();
        assert!(!world.plan(sql, 0).await.contains("Network"), "{sql}");
        for workers in [1, 3] {
            let mut rows = world.ask(sql, workers).await.unwrap();
            rows.sort_unstable();
            if limited {
                assert_eq!(rows.len(), expected.len(), "{sql} over {workers}");
            } else {
                assert_eq!(rows, expected, "{sql} over {workers}");
            }
        }
        world.none_failed(sql);
        let plan = world.plan(sql, 3).await;
        assert!(!must || plan.contains("Network"), "{sql}\n{plan}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_a_statement_are_the_same_over_workers() {
    let world = World::open(2).await;
    for (sql, state) in [
        ("SELECT berth, sum(100 / (id - 7)) FROM silver.calls GROUP BY berth", "22012"),
        ("SELECT max(id * 9000000000000000) FROM silver.calls", "22003"),
        ("SELECT berth, max(ship::bigint) FROM silver.calls GROUP BY berth", "22P02"),
    ] {
        let alone = world.ask(sql, 0).await.unwrap_err();
        let over = world.ask(sql, 2).await.unwrap_err();
        assert_eq!(alone.code.sqlstate(), state, "{sql}");
        assert_eq!((over.code, &over.message), (alone.code, &alone.message), "{sql}");
        world.none_failed(sql);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_this_process_can_read_stays_in_the_last_stage() {
    let world = World::open(3).await;
    let sql = "SELECT n.note, s.n FROM notes.notes n JOIN (SELECT berth, count(*) AS n FROM silver.calls GROUP BY berth) s \
               ON s.berth = n.berth";
    let plan = world.plan(sql, 3).await;
    let network = plan.find("Network").unwrap_or_else(|| panic!("{plan}"));
    let notes = plan.lines().find(|line| line.contains("read ndjson")).unwrap_or_else(|| panic!("{plan}"));
    let depth = |line: &str| line.len() - line.trim_start().len();
    let boundaries: Vec<usize> = plan.lines().filter(|line| line.contains("Network")).map(depth).collect();
    // Nothing of the network is above the leaf of the other source.
    let at = plan.lines().position(|line| line == notes).unwrap();
    let mut below = depth(notes);
    for line in plan.lines().take(at).collect::<Vec<_>>().into_iter().rev() {
        if depth(line) < below {
            below = depth(line);
            assert!(!line.contains("Network"), "{plan}");
        }
    }
    assert!(network > 0 && !boundaries.is_empty());
    let (mut over, mut alone) = (world.ask(sql, 3).await.unwrap(), world.ask(sql, 0).await.unwrap());
    over.sort_unstable();
    alone.sort_unstable();
    assert_eq!(over, alone);
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_are_of_the_version_at_which_the_statement_began() {
    let world = World::open(2).await;
    let sql = "SELECT count(*), sum(id) FROM silver.calls";
    assert_eq!(world.ask(sql, 2).await.unwrap(), world.ask(sql, 0).await.unwrap());
    let path = TablePath::new("silver", "calls");
    let commit = Commit {
        pipeline: "test".into(),
        app_id: "test/calls".into(),
        seq: 100,
        interval: String::new(),
        counts: BTreeMap::new(),
        digest: None,
        origin: None,
    };
    world.lake.append(&path, vec![calls(FILES)], &commit).await.unwrap();
    let rows = (FILES + 1) * ROWS;
    assert_eq!(world.ask(sql, 2).await.unwrap(), [format!("{rows}|{}", rows * (rows - 1) / 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_worker_that_answers_statements_are_answered_here() {
    let world = World::open(1).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    drop(silent);
    let dead = Workers::new([url.parse().unwrap()]).unwrap();
    let dead = Arc::new(dead);
    let World { engine, .. } = world;
    let engine = engine.with_workers(Some(Arc::clone(&dead)));
    let session = engine.session(Identity { user: "demo".into(), pid: 1, protocol: "internal" });
    session.settings().set("portolan.worker_bytes", Some("1")).unwrap();
    let sql = "SELECT count(ship) FROM silver.calls";
    let prepared = engine.prepare(&session, sql, &[]).await.unwrap();
    let mut answer =
        Box::pin(engine.execute(&session, &prepared, Vec::new(), QueryControl::default())).await.unwrap();
    let batch = answer.rows.next().await.unwrap().unwrap();
    let shown = ArrayFormatter::try_new(batch.column(0), &FormatOptions::new()).unwrap();
    assert_eq!(shown.value(0).to_string(), (0..FILES * ROWS).filter(|id| id % 7 != 0).count().to_string());
    let status = dead.statuses().remove(0);
    assert!(status.error.is_some() && status.checked_at.is_some(), "{status:?}");
}
