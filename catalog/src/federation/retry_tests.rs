//! A source that fails as a script says, behind its breaker: what is asked for again, and what never is.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::Utc;
use datafusion::arrow::array::{ArrayRef, AsArray as _, Int64Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan as _, displayable};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt as _;
use tokio_util::sync::CancellationToken;

use super::retry::Retries;
use super::{
    ExecContext, FederatedScanExec, Fragment, FragmentExecutor, FragmentFigures, QueryContext, Verdict,
};
use crate::Catalog;
use crate::asof::SourceVersion;
use crate::health::BreakerState;
use crate::postgres::{PostgresExecutor, PostgresPool};
use crate::registry::CatalogSource;
use crate::source::{
    Health, HealthState, Source, SourceError, SourceErrorKind, SourceKind, SourceName, TableDef,
};

/// What one attempt does, one after another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It cannot be started: the connection is refused.
    Refused,
    /// A batch of one row comes.
    Row(i64),
    /// The connection breaks.
    Broken,
    /// The source answers with an error that does not pass.
    Wrong,
    /// Nothing comes any more.
    Silent,
}

use Step::{Broken, Refused, Row, Silent, Wrong};

/// Plays its attempts; all after them are whole.
#[derive(Debug)]
struct Script {
    name: SourceName,
    attempts: Mutex<VecDeque<Vec<Step>>>,
    made: AtomicUsize,
    /// Cancelled by the first attempt.
    cancels: Option<CancellationToken>,
}

const WHOLE: [Step; 2] = [Row(1), Row(2)];

fn named() -> SourceName {
    SourceName::try_new("ops").unwrap()
}

fn columns() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]))
}

fn table() -> Arc<TableDef> {
    Arc::new(TableDef::view("ops".into(), "t".into(), columns(), None))
}

fn broken() -> SourceError {
    SourceError::new(SourceErrorKind::Unreachable, "connection lost").with_transient(true)
}

fn batch(row: i64) -> RecordBatch {
    RecordBatch::try_new(columns(), vec![Arc::new(Int64Array::from(vec![row])) as ArrayRef]).unwrap()
}

#[async_trait]
impl FragmentExecutor for Script {
    fn verdict(&self, _table: &TableDef, _expr: &Expr) -> Verdict {
        Verdict::Keep("scripted".into())
    }

    fn may_ask_again(&self, _fragment: &Fragment, error: &SourceError) -> bool {
        error.transient
    }

    fn describe(&self, _fragment: &Fragment) -> String {
        "t".into()
    }

    async fn execute(
        &self,
        _fragment: &Fragment,
        _context: ExecContext,
    ) -> Result<SendableRecordBatchStream, SourceError> {
        self.made.fetch_add(1, Ordering::SeqCst);
        if let Some(cancel) = &self.cancels {
            cancel.cancel();
        }
        let steps = self.attempts.lock().unwrap().pop_front().unwrap_or_else(|| WHOLE.to_vec());
        if steps.first() == Some(&Refused) {
            return Err(broken());
        }
        let batches = futures::stream::iter(steps).then(|step| async move {
            match step {
                Row(row) => Ok(batch(row)),
                Broken | Refused => Err(DataFusionError::from(broken())),
                Wrong => Err(SourceError::new(SourceErrorKind::Remote, "division by zero").into()),
                Silent => std::future::pending().await,
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(columns(), batches.boxed())))
    }
}

/// The store of a script.
#[derive(Debug)]
struct Store(Arc<Script>);

#[async_trait]
impl Source for Store {
    fn name(&self) -> &SourceName {
        &self.0.name
    }

    fn kind(&self) -> SourceKind {
        SourceKind::Mysql
    }

    async fn check(&self) -> Health {
        Health { state: HealthState::Up, checked_at: Utc::now(), error: None, server_version: None }
    }

    async fn tables(&self) -> Result<Vec<Arc<TableDef>>, SourceError> {
        Ok(vec![table()])
    }

    async fn version(&self) -> Result<SourceVersion, SourceError> {
        Ok(SourceVersion::Batch(1))
    }

    fn executor(&self) -> Arc<dyn FragmentExecutor> {
        Arc::clone(&self.0) as Arc<dyn FragmentExecutor>
    }
}

/// A script behind a breaker.
struct Stage {
    script: Arc<Script>,
    source: Arc<CatalogSource>,
}

/// What a read came to.
struct Outcome {
    rows: Vec<i64>,
    error: Option<SourceError>,
    figures: FragmentFigures,
    explained: String,
}

impl Stage {
    fn playing(attempts: &[&[Step]], cancels: Option<CancellationToken>) -> Self {
        let attempts = attempts.iter().map(|steps| steps.to_vec()).collect();
        let script = Arc::new(Script {
            name: named(),
            attempts: Mutex::new(attempts),
            made: AtomicUsize::new(0),
            cancels,
        });
        let catalog = Catalog::builder().add(Arc::new(Store(Arc::clone(&script)))).build().unwrap();
        let source = catalog.source("ops").unwrap();
        Self { script, source }
    }

    fn made(&self) -> usize {
        self.script.made.load(Ordering::SeqCst)
    }

    async fn read(&self, query: QueryContext) -> Outcome {
        let leaf =
            FederatedScanExec::told(named(), Fragment::whole(table()), self.source.executor()).unwrap();
        let leaf = Arc::new(leaf);
        let config = SessionConfig::new().with_extension(Arc::new(query));
        let task = SessionContext::new_with_config(config).task_ctx();
        let mut stream = leaf.execute(0, task).unwrap();
        let (mut rows, mut error) = (vec![], None);
        while let Some(item) = stream.next().await {
            match item {
                Ok(batch) => rows.extend(batch.column(0).as_primitive::<Int64Type>().values()),
                Err(DataFusionError::External(cause)) => {
                    error = Some(cause.downcast_ref::<SourceError>().unwrap().clone());
                }
                Err(other) => panic!("not an error of the source: {other}"),
            }
        }
        let explained = displayable(leaf.as_ref()).one_line().to_string();
        Outcome { rows, error, figures: leaf.figures(), explained }
    }
}

/// What each attempt does; the rows, the error and the attempts after the first one that come of it.
type Case = (&'static [&'static [Step]], &'static [i64], Option<SourceErrorKind>, usize);

#[tokio::test]
async fn what_fails_before_its_first_batch_is_asked_for_twice_more_and_nothing_else_is() {
    let cases: &[Case] = &[
        (&[], &[1, 2], None, 0),
        (&[&[]], &[], None, 0),
        (&[&[Refused]], &[1, 2], None, 1),
        (&[&[Broken]], &[1, 2], None, 1),
        (&[&[Broken], &[Refused]], &[1, 2], None, 2),
        (&[&[Broken], &[]], &[], None, 1),
        (&[&[Broken], &[Refused], &[Broken]], &[], Some(SourceErrorKind::Unreachable), 2),
        (&[&[Row(1), Broken]], &[1], Some(SourceErrorKind::Unreachable), 0),
        (&[&[Refused], &[Row(1), Broken]], &[1], Some(SourceErrorKind::Unreachable), 1),
        (&[&[Wrong]], &[], Some(SourceErrorKind::Remote), 0),
        (&[&[Broken], &[Wrong]], &[], Some(SourceErrorKind::Remote), 1),
    ];
    for (attempts, rows, error, retries) in cases {
        let stage = Stage::playing(attempts, None);
        let outcome = stage.read(QueryContext::default()).await;
        assert_eq!(outcome.rows, *rows, "{attempts:?}");
        assert_eq!(outcome.error.map(|error| error.kind), *error, "{attempts:?}");
        assert_eq!((stage.made(), outcome.figures.retries), (retries + 1, *retries), "{attempts:?}");
        let told = outcome.explained.contains(&format!(" retries={retries}"));
        assert_eq!(told, *retries > 0, "{attempts:?} {}", outcome.explained);
        assert!(outcome.figures.took.is_some(), "{attempts:?}");
        assert_eq!(stage.source.health().delivered_so_far().0, rows.len() as u64, "{attempts:?}");
    }
}

#[tokio::test]
async fn few_of_many_are_asked_for_again() {
    let stage = Stage::playing(&[&[Refused]], None);
    let health = stage.source.health();
    while health.may_ask_again() {}
    let outcome = stage.read(QueryContext::default()).await;
    assert_eq!(outcome.error.unwrap().kind, SourceErrorKind::Unreachable);
    assert_eq!((stage.made(), outcome.figures.retries), (1, 0), "nothing was left for it");
    for _ in 0..10 {
        health.call().unwrap().succeeded();
    }
    stage.script.attempts.lock().unwrap().push_back(vec![Refused]);
    let outcome = stage.read(QueryContext::default()).await;
    assert_eq!((outcome.rows, outcome.figures.retries), (vec![1, 2], 1), "ten calls pay for one more");
}

#[tokio::test]
async fn an_open_breaker_is_not_knocked_at() {
    let stage = Stage::playing(&[&[Refused]], None);
    let health = stage.source.health();
    for _ in 0..4 {
        health.failed(&broken());
    }
    let outcome = stage.read(QueryContext::default()).await;
    assert_eq!(health.report().breaker, BreakerState::Open);
    assert_eq!(outcome.error.unwrap().message, "connection lost");
    assert_eq!((stage.made(), outcome.figures.retries), (1, 0));
    // Refused by the breaker itself: nobody is asked, and nothing is spent.
    let outcome = stage.read(QueryContext::default()).await;
    assert_eq!((stage.made(), outcome.figures.retries), (1, 0));
    assert!(outcome.error.unwrap().hint.unwrap().contains("next attempt"));
}

#[tokio::test]
async fn a_cancel_ends_the_wait_and_no_attempt_is_made_without_time() {
    let cancel = CancellationToken::new();
    // Should the wait be over first, the second attempt is one that never ends.
    let stage = Stage::playing(&[&[Refused], &[Silent]], Some(cancel.clone()));
    let start = Instant::now();
    let outcome = stage.read(QueryContext { cancel, ..QueryContext::default() }).await;
    assert_eq!((outcome.rows, outcome.error.unwrap().kind), (vec![], SourceErrorKind::Cancelled));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());

    let stage = Stage::playing(&[], None);
    let executor = stage.source.executor();
    let (fragment, error) = (Fragment::whole(table()), DataFusionError::from(broken()));
    let mut retries = Retries::noting(ExecutionPlanMetricsSet::new());
    assert!(!retries.again(executor.as_ref(), &fragment, &error, Some(Instant::now())).await);
    let later = Some(Instant::now() + Duration::from_secs(3_600));
    assert!(retries.again(executor.as_ref(), &fragment, &error, later).await);
}

/// Others read the snapshot that the first attempt took: another one would be of another moment.
#[test]
fn leaves_that_share_a_snapshot_are_not_asked_for_again() {
    let pool = PostgresPool::remote(&named(), tokio_postgres::Config::new()).unwrap();
    let executor = PostgresExecutor::new(named(), pool, "public".into());
    let alone = Fragment::whole(table());
    let among = Fragment { siblings: 1, ..alone.clone() };
    assert!(executor.may_ask_again(&alone, &broken()));
    assert!(!executor.may_ask_again(&among, &broken()));
    assert!(!executor.may_ask_again(&alone, &broken().with_transient(false)));
}
