//! A lake below a folder of one test, and rows to put into it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::{Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::logical_expr::Expr;
use futures::TryStreamExt;
use portolan_catalog::federation::{Fragment, FragmentExecutor, PushedFilter, QueryContext};
use portolan_catalog::lake::{Commit, Lake, LakeRoot, LakeSource, StoreLimits, TableOptions, TablePath};
use portolan_catalog::source::{Source, SourceError, SourceName};

/// A folder nobody else uses, as a URL.
pub(super) fn folder() -> String {
    format!("{}/test/{}", crate::servers::hdfs().trim_end_matches('/'), uuid::Uuid::new_v4().simple())
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
