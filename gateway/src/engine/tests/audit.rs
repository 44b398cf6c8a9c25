//! A source that lies, and one that does not know what it was asked: the one is not trusted twice, the other is tried again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use datafusion::arrow::array::{Int32Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use portolan_catalog::Catalog;
use portolan_catalog::asof::SourceVersion;
use portolan_catalog::federation::{
    ExecContext, Fragment, FragmentExecutor, KeptProofs, Proven, Verdict, outdated,
};
use portolan_catalog::health::Clock;
use portolan_catalog::source::{
    Health, HealthState, Source, SourceError, SourceErrorKind, SourceKind, SourceName, TableDef,
};

use super::fixture::Fixture;
use crate::engine::{Engine, EngineConfig};
use crate::mirror::SourceTables;
use crate::session::Identity;

/// A server of one table, `n` from 1 to 3, that says it evaluates every filter.
#[derive(Debug, Clone)]
struct Server {
    name: SourceName,
    table: Arc<TableDef>,
    /// Ignores filters; else it refuses to know any.
    lies: Arc<AtomicBool>,
    /// How often it was replaced by one that proves nothing.
    epoch: Arc<AtomicU64>,
    /// The next who reads it finds another.
    replaced: Arc<AtomicBool>,
}

impl Server {
    fn open(lies: bool) -> Self {
        let arrow: SchemaRef = Arc::new(Schema::new(vec![Field::new("n", DataType::Int32, false)]));
        Self {
            name: SourceName::try_new("ops").unwrap(),
            table: Arc::new(TableDef::view("ops".into(), "t".into(), arrow, None)),
            lies: Arc::new(AtomicBool::new(lies)),
            epoch: Arc::default(),
            replaced: Arc::default(),
        }
    }
}

#[async_trait]
impl Source for Server {
    fn name(&self) -> &SourceName {
        &self.name
    }

    fn kind(&self) -> SourceKind {
        SourceKind::Postgres
    }

    async fn check(&self) -> Health {
        Health { state: HealthState::Up, checked_at: chrono::Utc::now(), error: None, server_version: None }
    }

    async fn tables(&self) -> Result<Vec<Arc<TableDef>>, SourceError> {
        Ok(vec![Arc::clone(&self.table)])
    }

    async fn version(&self) -> Result<SourceVersion, SourceError> {
        Ok(SourceVersion::Batch(1))
    }

    fn executor(&self) -> Arc<dyn FragmentExecutor> {
        Arc::new(self.clone())
    }
}

impl Proven for Server {
    fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    fn kept(&self) -> Option<KeptProofs> {
        None
    }

    fn remember(&self, _kept: KeptProofs) {}
}

#[async_trait]
impl FragmentExecutor for Server {
    fn verdict(&self, _table: &TableDef, _expr: &Expr) -> Verdict {
        if self.epoch() == 0 { Verdict::Exact } else { Verdict::Keep("not proven".into()) }
    }

    fn proven(&self) -> Option<&dyn Proven> {
        Some(self)
    }

    fn describe(&self, _fragment: &Fragment) -> String {
        "t".to_owned()
    }

    async fn execute(
        &self,
        fragment: &Fragment,
        context: ExecContext,
    ) -> Result<SendableRecordBatchStream, SourceError> {
        if self.replaced.swap(false, Ordering::SeqCst) {
            self.epoch.fetch_add(1, Ordering::SeqCst);
        }
        if fragment.epoch != self.epoch() {
            return Err(outdated(&self.name));
        }
        if !fragment.filters.is_empty() && !self.lies.load(Ordering::Relaxed) {
            return Err(SourceError::new(SourceErrorKind::Remote, "source \"ops\" reported an error")
                .with_remote_code("42883"));
        }
        context.as_of.record(&self.name, None, SourceVersion::Batch(1));
        let column = Arc::new(Int32Array::from(vec![1, 2, 3]));
        let whole = RecordBatch::try_new(Arc::clone(&self.table.arrow), vec![column]);
        let batch =
            whole.and_then(|whole| whole.project(&fragment.projection)).map_err(DataFusionError::from);
        let schema = fragment.schema().map_err(|error| {
            SourceError::new(SourceErrorKind::Remote, "a fragment without columns").with_cause(error)
        })?;
        let rows = futures::stream::iter([batch]);
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

pub(super) fn open(lies: bool) -> (Fixture, Arc<Catalog>) {
    open_at(Server::open(lies), Clock::system())
}

fn open_at(server: Server, clock: Clock) -> (Fixture, Arc<Catalog>) {
    let catalog = Catalog::builder().add(Arc::new(server)).clock(clock).build().unwrap();
    let engine = Engine::open(EngineConfig {
        tables: Arc::new(SourceTables(Arc::clone(&catalog))),
        semantics: None,
        system: vec![crate::system::pushdown(Arc::clone(&catalog))],
        memory_bytes: 64 << 20,
        partitions: 2,
    })
    .unwrap();
    let session = engine.session(Identity { user: "demo".into(), pid: 1, protocol: "internal" });
    (Fixture { engine, session }, catalog)
}

const LOST: &str = "select construct, evidence, active from system.pushdown where verdict = 'keep'";

#[tokio::test(flavor = "multi_thread")]
async fn what_a_source_does_not_know_is_kept_at_the_first_try_and_not_sent_again() {
    let (fixture, _catalog) = open(false);
    fixture.session.settings().set("portolan.audit_per_mille", Some("0")).unwrap();
    let (_, rows) = fixture.one("select n from ops.t where n > 1 order by 1").await.unwrap();
    assert_eq!(rows, "2\n3");
    let (_, lost) = fixture.one(LOST).await.unwrap();
    assert_eq!(lost, "Int32 > ?|refusal|false");
    let (_, plan) = fixture.one("explain select n from ops.t where n > 2").await.unwrap();
    assert!(plan.contains("quarantined: the source refused it"), "{plan}");
}

/// What is refused is sent again after ten minutes, and a refusal of that costs no answer; one that is understood by then
/// is trusted again.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_source_refused_is_tried_again_later_and_costs_no_answer() {
    let start = (Instant::now(), chrono::Utc::now());
    let minutes = Arc::new(AtomicU64::new(0));
    let read = Arc::clone(&minutes);
    let clock = Clock::reading(move || {
        let passed = Duration::from_secs(60 * read.load(Ordering::SeqCst));
        (start.0 + passed, start.1 + passed)
    });
    let server = Server::open(false);
    let (fixture, _catalog) = open_at(server.clone(), clock);
    fixture.session.settings().set("portolan.audit_per_mille", Some("0")).unwrap();
    let all = "select n from ops.t where n > 0 order by 1";
    let why = "select rewrite from system.pushdown where verdict = 'keep'";
    let plan = async || fixture.one("explain select n from ops.t where n > 0").await.unwrap().1;
    let refused = |minutes: i64| {
        let after = start.1 + chrono::TimeDelta::minutes(minutes);
        let after = after.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        format!("quarantined: the source refused it; it is tried again after {after}")
    };
    for (now, again) in [(0, 10), (9, 10), (10, 30), (29, 30), (30, 70)] {
        minutes.store(now, Ordering::SeqCst);
        assert_eq!(fixture.one(all).await.unwrap().1, "1\n2\n3", "after {now} minutes");
        assert_eq!(fixture.one(why).await.unwrap().1, refused(again), "after {now} minutes");
        assert!(plan().await.contains("quarantined: the source refused it"), "after {now} minutes");
    }
    // It takes all rows for those that match, which is right here.
    server.lies.store(true, Ordering::Relaxed);
    minutes.store(70, Ordering::SeqCst);
    assert!(!plan().await.contains("quarantined"), "it is on trial");
    assert_eq!(fixture.one(why).await.unwrap().1, "quarantined: the source refused it; it is on trial");
    assert_eq!(fixture.one(all).await.unwrap().1, "1\n2\n3");
    assert_eq!(fixture.one(LOST).await.unwrap().1, "");
    assert!(!plan().await.contains("quarantined"));
}

/// Planned by what its server proved, read from another one: the new plan has no filter that this one would ignore.
#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_meets_another_server_is_planned_again_and_costs_no_answer() {
    let server = Server::open(true);
    let (fixture, _catalog) = open_at(server.clone(), Clock::system());
    fixture.session.settings().set("portolan.audit_per_mille", Some("0")).unwrap();
    server.replaced.store(true, Ordering::SeqCst);
    let (_, rows) = fixture.one("select n from ops.t where n > 1 order by 1").await.unwrap();
    assert_eq!(rows, "2\n3");
    assert_eq!(server.epoch(), 1);
    let (_, rows) = fixture.one("select count(*) from ops.t where n > 1").await.unwrap();
    assert_eq!(rows, "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_push_down_changes_is_found_by_the_audit_and_not_given_again() {
    let (fixture, catalog) = open(true);
    let wrong = "select count(*) from ops.t where n > 1";
    fixture.session.settings().set("portolan.audit_per_mille", Some("0")).unwrap();
    let (_, rows) = fixture.one(wrong).await.unwrap();
    assert_eq!(rows, "3", "this source lies, or the test finds nothing");
    let trusted = || catalog.source("ops").unwrap().quarantined().is_empty();
    assert!(trusted());

    fixture.session.settings().set("portolan.audit_per_mille", Some("1000")).unwrap();
    // The same answer twice keeps its trust.
    fixture.one("select count(*) from ops.t").await.unwrap();
    fixture.one(wrong).await.unwrap();
    let started = Instant::now();
    while trusted() {
        assert!(started.elapsed() < Duration::from_secs(20), "the audit found nothing");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (_, rows) = fixture.one(wrong).await.unwrap();
    assert_eq!(rows, "2");
    let (_, lost) = fixture.one(LOST).await.unwrap();
    assert_eq!(lost, "Int32 > ?|audit|false");
}
