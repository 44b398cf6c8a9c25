//! The catalog with live, dead and changing sources.

use std::sync::Arc;

use super::*;
use crate::federation::testing::{Manner, MemorySource};
use crate::files::{ColumnConfig, ColumnType, FileFormat, FileTableConfig, FilesConfig, FilesSource};
use crate::health::BreakerState;
use crate::source::HealthState;

fn gone(name: &str) -> Arc<dyn Source> {
    let table = FileTableConfig::new("*.parquet", FileFormat::Parquet, vec![]);
    let tables = [("t".to_owned(), table)].into();
    let config = FilesConfig { root: "/nonexistent".into(), schema: None, tables };
    Arc::new(FilesSource::open(SourceName::try_new(name).unwrap(), config).unwrap())
}

#[tokio::test]
async fn a_dead_source_costs_only_its_own_look_ups() {
    let live: Arc<dyn Source> = Arc::new(MemorySource::new(Manner::Good));
    let catalog = Catalog::builder().add(gone("dead")).add(live).build().unwrap();
    assert_eq!(catalog.tables().await.len(), 1);
    assert!(catalog.find_table("mem", "t").await.unwrap().is_some());
    assert!(catalog.find_table("mem", "nowhere").await.unwrap().is_none());
    let error = catalog.find_table("dead", "t").await.unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Unreachable);
    assert_eq!(error.source_name.unwrap().as_str(), "dead");
    for _ in 0..5 {
        let _ = catalog.find_table("dead", "t").await;
    }
    let statuses = catalog.statuses();
    let dead = &statuses[0];
    assert_eq!((dead.health.state, dead.health.breaker), (HealthState::Down, BreakerState::Open));
    assert!(dead.health.error.as_ref().unwrap().contains("/nonexistent"));
    assert_eq!((statuses[1].tables, statuses[1].schemas.clone()), (Some(1), vec!["mem".to_owned()]));
    assert_eq!(catalog.check_all().await[1].1.state, HealthState::Up);
}

#[tokio::test]
async fn the_generation_grows_with_a_change_of_columns_and_not_without() {
    let root = tempfile::tempdir().unwrap();
    let tables = [("t".to_owned(), FileTableConfig::new("*.parquet", FileFormat::Parquet, vec![]))].into();
    let config = FilesConfig { root: root.path().into(), schema: None, tables };
    let source = FilesSource::open(SourceName::try_new("files").unwrap(), config).unwrap();
    let catalog = Catalog::builder().add(Arc::new(source)).build().unwrap();
    assert!(catalog.tables().await.is_empty());
    let first = catalog.generation();
    catalog.refresh();
    catalog.tables().await;
    assert_eq!(catalog.generation(), first);
    let column: datafusion::arrow::array::ArrayRef =
        Arc::new(datafusion::arrow::array::Int64Array::from(vec![1]));
    let batch = datafusion::arrow::array::RecordBatch::try_from_iter([("a", column)]).unwrap();
    let file = std::fs::File::create(root.path().join("1.parquet")).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    catalog.refresh();
    assert_eq!(catalog.tables().await.len(), 1);
    assert!(catalog.generation() > first);
}

#[tokio::test]
async fn watching_finds_a_source_that_came_back_and_stops_when_told() {
    let catalog = Catalog::builder().add(Arc::new(MemorySource::new(Manner::Good))).build().unwrap();
    let stop = CancellationToken::new();
    let watcher = tokio::spawn({
        let (catalog, stop) = (Arc::clone(&catalog), stop.clone());
        async move { catalog.watch_every(Duration::from_millis(1), stop).await }
    });
    while catalog.statuses()[0].health.state != HealthState::Up {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    watcher.await.unwrap();
}

#[test]
fn two_sources_must_not_share_a_schema() {
    let config = FilesConfig {
        root: "/x".into(),
        schema: Some("mem".into()),
        tables: [(
            "t".to_owned(),
            FileTableConfig::new(
                "*",
                FileFormat::Ndjson,
                vec![ColumnConfig::new("a", "a", ColumnType::Text)],
            ),
        )]
        .into(),
    };
    let other = FilesSource::open(SourceName::try_new("other").unwrap(), config).unwrap();
    let error = Catalog::builder()
        .add(Arc::new(MemorySource::new(Manner::Good)))
        .add(Arc::new(other))
        .build()
        .unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Conflict);
    assert!(error.message.contains("both expose schema \"mem\""));
}

/// A database server as a script: what it tells of its tables, and how often it was asked.
#[derive(Debug)]
struct Server {
    name: SourceName,
    tables: std::sync::Mutex<Option<Vec<Arc<TableDef>>>>,
    asked: std::sync::atomic::AtomicUsize,
}

impl Server {
    fn telling(columns: Option<&[&str]>) -> Arc<Self> {
        let server = Self {
            name: SourceName::try_new("ops").unwrap(),
            tables: std::sync::Mutex::new(None),
            asked: std::sync::atomic::AtomicUsize::new(0),
        };
        server.tell(columns);
        Arc::new(server)
    }

    fn tell(&self, columns: Option<&[&str]>) {
        use datafusion::arrow::datatypes::{DataType, Field, Schema};
        let table = columns.map(|columns| {
            let fields: Vec<Field> =
                columns.iter().map(|name| Field::new(*name, DataType::Int64, true)).collect();
            vec![Arc::new(TableDef::view("ops".into(), "t".into(), Arc::new(Schema::new(fields)), None))]
        });
        *self.tables.lock().unwrap() = table;
    }

    fn asked(&self) -> usize {
        self.asked.load(std::sync::atomic::Ordering::SeqCst)
    }
}

#[async_trait::async_trait]
impl Source for Server {
    fn name(&self) -> &SourceName {
        &self.name
    }

    fn kind(&self) -> SourceKind {
        SourceKind::Mysql
    }

    async fn check(&self) -> Health {
        Health { state: HealthState::Up, checked_at: chrono::Utc::now(), error: None, server_version: None }
    }

    async fn tables(&self) -> Result<Vec<Arc<TableDef>>, SourceError> {
        self.asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let told = self.tables.lock().unwrap().clone();
        told.ok_or_else(|| SourceError::new(SourceErrorKind::Unreachable, "source \"ops\" is unreachable"))
    }

    async fn version(&self) -> Result<crate::asof::SourceVersion, SourceError> {
        Ok(crate::asof::SourceVersion::Batch(1))
    }

    fn executor(&self) -> Arc<dyn crate::federation::FragmentExecutor> {
        Arc::new(NoSuchColumn)
    }
}

/// Refuses every fragment as a server does whose column was dropped.
#[derive(Debug)]
struct NoSuchColumn;

#[async_trait::async_trait]
impl crate::federation::FragmentExecutor for NoSuchColumn {
    fn verdict(
        &self,
        _table: &TableDef,
        _expr: &datafusion::logical_expr::Expr,
    ) -> crate::federation::Verdict {
        crate::federation::Verdict::Keep("scripted".into())
    }

    fn describe(&self, _fragment: &crate::federation::Fragment) -> String {
        String::new()
    }

    async fn execute(
        &self,
        _fragment: &crate::federation::Fragment,
        _context: crate::federation::ExecContext,
    ) -> Result<datafusion::execution::SendableRecordBatchStream, SourceError> {
        Err(SourceError::new(SourceErrorKind::NotFound, "no such column"))
    }
}

#[tokio::test]
async fn a_server_that_is_down_at_start_is_browsed_from_what_it_told_before() {
    let folder = tempfile::tempdir().unwrap();
    let open = |server: &Arc<Server>| {
        let snapshots = SchemaSnapshots::new(folder.path());
        Catalog::builder().snapshots(snapshots).add(Arc::clone(server) as _).build().unwrap()
    };
    let live = Server::telling(Some(&["a", "b"]));
    assert_eq!(open(&live).tables().await.len(), 1);

    let dead = Server::telling(None);
    let catalog = open(&dead);
    let (_, table) = catalog.find_table("ops", "t").await.unwrap().unwrap();
    assert_eq!((table.arrow.fields().len(), dead.asked()), (2, 0), "known without dialling");
    assert_eq!(catalog.cached_tables("ops").len(), 1);
    assert_eq!(catalog.tables().await.len(), 1, "the old list stays");
    assert_eq!(dead.asked(), 1);

    std::fs::write(folder.path().join("ops.json"), "{").unwrap();
    assert!(open(&dead).find_table("ops", "t").await.is_err(), "a damaged snapshot is none");
}

#[tokio::test]
async fn what_an_audit_found_is_not_sent_after_a_restart_either() {
    use datafusion::logical_expr::{col, lit};
    let folder = tempfile::tempdir().unwrap();
    let open = |server: &Arc<Server>| {
        let snapshots = SchemaSnapshots::new(folder.path());
        Catalog::builder().snapshots(snapshots).add(Arc::clone(server) as _).build().unwrap()
    };
    let catalog = open(&Server::telling(Some(&["a", "b"])));
    catalog.tables().await;
    let (source, table) = catalog.find_table("ops", "t").await.unwrap().unwrap();
    let expr = col("a").gt(lit(1_i64));
    let filters = vec![crate::federation::PushedFilter { expr: expr.clone(), exact: true }];
    let fragment = crate::federation::Fragment { filters, ..crate::federation::Fragment::whole(table) };
    source.distrust(&fragment, "2 rows, not the same ones");
    let found = source.quarantined();
    assert_eq!(found.len(), 1);
    // It is written behind; who looks at the server waits for that.
    source.check().await;

    let dead = Server::telling(None);
    let again = open(&dead);
    let (source, table) = again.find_table("ops", "t").await.unwrap().unwrap();
    assert_eq!((source.quarantined(), dead.asked()), (found, 0));
    let verdict = source.executor().verdict(&table, &expr);
    assert!(
        matches!(&verdict, crate::federation::Verdict::Keep(why) if why.contains("audit")),
        "{verdict:?}"
    );
}

#[tokio::test]
async fn a_column_that_is_gone_has_the_tables_read_again() {
    let server = Server::telling(Some(&["a", "b"]));
    let catalog = Catalog::builder().add(Arc::clone(&server) as _).build().unwrap();
    let look = async || catalog.find_table("ops", "t").await.unwrap().unwrap();
    let (source, table) = look().await;
    look().await;
    catalog.tables().await;
    assert_eq!(server.asked(), 1, "a production server is not asked again and again");

    server.tell(Some(&["a"]));
    let fragment = crate::federation::Fragment::whole(Arc::clone(&table));
    let outcome = source.executor().execute(&fragment, crate::federation::ExecContext::default()).await;
    assert_eq!(outcome.map(drop).unwrap_err().kind, SourceErrorKind::NotFound);
    assert_eq!(look().await.1.arrow.fields().len(), 1);
    assert_eq!(server.asked(), 2);

    server.tell(None);
    let _ = source.executor().execute(&fragment, crate::federation::ExecContext::default()).await;
    assert_eq!(look().await.1.arrow.fields().len(), 1, "a source that cannot tell keeps its last list");
}

#[tokio::test]
async fn what_is_gone_is_drift_and_what_another_process_found_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let open = |server: &Arc<Server>| {
        let snapshots = SchemaSnapshots::new(folder.path());
        Catalog::builder().snapshots(snapshots).add(Arc::clone(server) as _).build().unwrap()
    };
    let server = Server::telling(Some(&["a", "b"]));
    let running = open(&server);
    let columns = async || {
        let (_, table) = running.find_table("ops", "t").await.unwrap().unwrap();
        table.arrow.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>()
    };
    assert_eq!(columns().await, ["a", "b"]);
    assert!(
        running.statuses().iter().all(|status| status.drift.is_none() && status.tables_read_at.is_some())
    );

    // A look that finds nothing new leaves everything as it is.
    let nothing = open(&server).sources().first().unwrap().refresh().await.unwrap();
    assert!(nothing.known_before && nothing.changes.is_empty(), "{nothing:?}");
    let asked = server.asked();
    assert_eq!(columns().await, ["a", "b"]);
    assert_eq!(server.asked(), asked);

    // Another process, such as a check from the command line, finds a new column and one that is gone.
    server.tell(Some(&["a", "c"]));
    assert_eq!(columns().await, ["a", "b"], "a list is trusted until somebody knows better");
    let found = open(&server).sources().first().unwrap().refresh().await.unwrap();
    assert_eq!(found.summary(), "1 table; column \"ops.t.b\" is gone; column \"ops.t.c\" is new");
    assert_eq!(columns().await, ["a", "c"]);
    let status = running.statuses().into_iter().next().unwrap();
    let drift = status.drift.unwrap();
    assert_eq!((drift.changes.len(), status.drifts), (1, 1), "{drift:?}");
    assert_eq!(drift.changes.first().unwrap().to_string(), "column \"ops.t.b\" is gone");
}
