//! A lake below a folder of one test, and rows to put into it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::logical_expr::Expr;
use futures::TryStreamExt;
use hdfs_native::{Client, ClientBuilder};
use portolan_catalog::federation::{Fragment, FragmentExecutor, PushedFilter, QueryContext};
use portolan_catalog::lake::{Commit, Lake, LakeRoot, LakeSource, StoreLimits, TableOptions, TablePath};
use portolan_catalog::source::{Source, SourceError, SourceName};
use tokio::sync::OnceCell;

use crate::leftover::{OLD, fresh, is_left_over, made_before};

/// Where the folders of tests are, and what their names begin with.
const TESTS: &str = "/test";
const FAMILY: &str = "lake";

/// A folder nobody else uses, as a URL. No test removes its own: what it holds may be told of when it fails.
pub(super) async fn folder() -> String {
    static SWEPT: OnceCell<()> = OnceCell::const_new();
    SWEPT.get_or_init(|| remove_left_over(&[FAMILY])).await;
    format!("{}{TESTS}/{}", crate::servers::hdfs().trim_end_matches('/'), fresh(FAMILY))
}

fn client() -> Client {
    ClientBuilder::new().with_url(crate::servers::hdfs()).build().unwrap()
}

/// Removes folders that runs before left.
async fn remove_left_over(families: &[&str]) {
    let client = client();
    // The first run finds no folder of tests at all.
    for folder in client.list_status(TESTS, false).await.unwrap_or_default() {
        let name = folder.path.rsplit('/').next().unwrap_or_default();
        if is_left_over(name, families) {
            // Another run may be removing it at this moment.
            let _ = client.delete(&format!("{TESTS}/{name}"), true).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_old_folders_of_the_family_are_removed() {
    let client = client();
    // Another run's folders are not of this family.
    let family = format!("old-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
    let names = [made_before(&family, OLD), fresh(&family), made_before(&format!("{family}_m"), OLD)];
    for name in &names {
        client.mkdirs(&format!("{TESTS}/{name}/bronze"), 0o755, true).await.unwrap();
    }
    remove_left_over(&[family.as_str()]).await;
    let mut there = Vec::new();
    for folder in client.list_status(TESTS, false).await.unwrap() {
        there.extend(folder.path.rsplit('/').next().map(str::to_owned));
    }
    assert_eq!(names.each_ref().map(|name| there.contains(name)), [false, true, true]);
    for name in &names[1..] {
        assert!(client.delete(&format!("{TESTS}/{name}"), true).await.unwrap());
    }
}

/// The same folder behind another address.
pub(super) fn behind(folder: &str, address: &str) -> String {
    let path = folder.trim_start_matches("hdfs://").split_once('/').unwrap().1;
    format!("hdfs://{address}/{path}")
}

pub(super) fn lake(folder: &str) -> Lake {
    within(folder, StoreLimits::default())
}

pub(super) fn within(folder: &str, limits: StoreLimits) -> Lake {
    Lake::open(&LakeRoot::parse(folder, Path::new("/")).unwrap(), limits).unwrap()
}

pub(super) fn ships() -> TablePath {
    TablePath::new("bronze", "ships")
}

pub(super) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("port", DataType::Utf8, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
    ]))
}

/// Rows of one port.
pub(super) fn rows(ids: std::ops::Range<i64>, port: &str) -> RecordBatch {
    let ids: Vec<i64> = ids.collect();
    let ports: StringArray = ids.iter().map(|_| Some(port)).collect();
    let times = TimestampMicrosecondArray::from(ids.clone()).with_timezone("UTC");
    RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from(ids)), Arc::new(ports), Arc::new(times)])
        .unwrap()
}

pub(super) async fn create(lake: &Lake) {
    let options = TableOptions { partition_by: vec!["port".into()], ..TableOptions::default() };
    lake.ensure_table(&ships(), &schema(), &options).await.unwrap();
}

pub(super) fn commit(app: &str, seq: i64) -> Commit {
    Commit {
        pipeline: "ships".into(),
        app_id: app.into(),
        seq,
        interval: "2026-01-01/2026-01-02".into(),
        counts: BTreeMap::new(),
        digest: None,
        origin: None,
    }
}

/// The ids of the table that pass a filter, sorted, read as a query reads them.
pub(super) async fn ids(lake: &Lake, filter: Option<Expr>) -> Result<Vec<i64>, SourceError> {
    let source = LakeSource::new(SourceName::try_new("lake").unwrap(), lake.clone());
    let tables = source.tables().await?;
    let table = tables.into_iter().find(|table| table.name == "ships").unwrap();
    let filters = filter.into_iter().map(|expr| PushedFilter { expr, exact: true }).collect();
    let fragment = Fragment { projection: vec![0], filters, ..Fragment::whole(table) };
    let stream = source.execute(&fragment, Arc::new(QueryContext::default())).await?;
    let batches: Vec<RecordBatch> = stream.try_collect().await.map_err(|error| match error {
        datafusion::common::DataFusionError::External(cause) => {
            cause.downcast_ref::<SourceError>().cloned().unwrap()
        }
        other => panic!("no error of a source: {other}"),
    })?;
    let mut ids: Vec<i64> = batches
        .iter()
        .flat_map(|batch| {
            let column = batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
            column.values().to_vec()
        })
        .collect();
    ids.sort_unstable();
    Ok(ids)
}
