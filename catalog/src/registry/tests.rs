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
