//! Whatever a file looks like and however many read it, each of its rows comes once.

use std::collections::HashSet;
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::arrow::arrow_reader::{ArrowReaderMetadata, RowSelector};
use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
use datafusion::arrow::array::{Array, Int64Array, ListArray, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema};
use datafusion::datasource::listing::FileRange;
use datafusion::physical_plan::{ExecutionPlanProperties, collect};
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};

use super::*;

const ROWS: i64 = 200_000;

fn batch(ids: Range<i64>, lists: bool) -> RecordBatch {
    let ids: Vec<i64> = ids.collect();
    let words: StringArray = ids.iter().map(|id| Some(format!("word {}", id % 977))).collect();
    let mut fields = vec![Field::new("id", DataType::Int64, false), Field::new("word", DataType::Utf8, true)];
    let mut columns: Vec<Arc<dyn Array>> = vec![Arc::new(Int64Array::from(ids.clone())), Arc::new(words)];
    if lists {
        let values = ids.iter().map(|id| Some((0..id % 4).map(Some).collect::<Vec<_>>()));
        let column = ListArray::from_iter_primitive::<Int64Type, _, _>(values);
        fields.push(Field::new("list", column.data_type().clone(), true));
        columns.push(Arc::new(column));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// How a file is written.
struct Layout {
    name: &'static str,
    group_rows: usize,
    index: bool,
    lists: bool,
    /// Whether more than one task can read it.
    cut: bool,
}

const LAYOUTS: [Layout; 4] = [
    Layout { name: "one group", group_rows: 1 << 20, index: true, lists: false, cut: true },
    Layout { name: "groups of no round size", group_rows: 33_333, index: true, lists: false, cut: true },
    Layout { name: "no index of pages", group_rows: 1 << 20, index: false, lists: false, cut: false },
    Layout { name: "lists", group_rows: 1 << 20, index: true, lists: true, cut: false },
];

impl Layout {
    fn write(&self, file: &std::path::Path, ids: Range<i64>) {
        let properties = WriterProperties::builder()
            .set_max_row_group_row_count(Some(self.group_rows))
            .set_statistics_enabled(if self.index {
                EnabledStatistics::Page
            } else {
                EnabledStatistics::Chunk
            })
            .set_offset_index_disabled(!self.index)
            .set_dictionary_enabled(false)
            .build();
        let rows = batch(ids, self.lists);
        let opened = std::fs::File::create(file).unwrap();
        let mut writer = ArrowWriter::try_new(opened, rows.schema(), Some(properties)).unwrap();
        writer.write(&rows).unwrap();
        writer.close().unwrap();
    }
}

/// A session over a table `t` of the files of a folder, whose own planning makes so many streams.
async fn session(folder: &std::path::Path, streams: usize) -> SessionContext {
    let mut config = SessionConfig::new().with_target_partitions(streams);
    config.options_mut().optimizer.repartition_file_min_size = 1;
    let session = SessionContext::new_with_config(config);
    let place = format!("{}/", folder.display());
    session.register_parquet("t", &place, ParquetReadOptions::default()).await.unwrap();
    session
}

async fn planned(session: &SessionContext, sql: &str) -> Arc<dyn ExecutionPlan> {
    session.sql(sql).await.unwrap().create_physical_plan().await.unwrap()
}

/// The first column of all streams, sorted.
async fn ids(session: &SessionContext, plan: Arc<dyn ExecutionPlan>) -> Vec<i64> {
    let mut ids = Vec::new();
    for batch in collect(plan, session.task_ctx()).await.unwrap() {
        let column = batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
        ids.extend(column.values().iter().copied());
    }
    ids.sort_unstable();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn each_row_is_read_once_by_any_number_of_tasks() {
    for layout in LAYOUTS {
        let folder = tempfile::tempdir().unwrap();
        layout.write(&folder.path().join("a.parquet"), 0..ROWS);
        for streams in [1, 3] {
            let session = session(folder.path(), streams).await;
            for readers in [1, 2, 3, 8] {
                let case = format!("{}, {streams} streams, {readers} readers", layout.name);
                let plan = planned(&session, "SELECT id, word FROM t").await;
                let divided = in_parts(plan, readers).await.unwrap();
                let count = divided.output_partitioning().partition_count();
                match readers {
                    1 => {}
                    2 | 3 => assert_eq!(count, if layout.cut { readers } else { 1 }, "{case}"),
                    _ => assert_eq!(count > 3, layout.cut, "{case}: {count}"),
                }
                assert_eq!(ids(&session, divided).await, (0..ROWS).collect::<Vec<_>>(), "{case}");
                let plan = planned(&session, "SELECT id FROM t WHERE id % 3 = 1 AND id > 70000").await;
                let found = ids(&session, in_parts(plan, readers).await.unwrap()).await;
                assert_eq!(found, (70_001..ROWS).filter(|id| id % 3 == 1).collect::<Vec<_>>(), "{case}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_all_sizes_are_dealt_out_whole_or_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let mut from = 0;
    for (number, rows) in [150_000, 10, 1, 40_000, 90_000, 5].into_iter().enumerate() {
        LAYOUTS[0].write(&folder.path().join(format!("{number}.parquet")), from..from + rows);
        from += rows;
    }
    let session = session(folder.path(), 2).await;
    for readers in [2, 5] {
        let plan = in_parts(planned(&session, "SELECT id FROM t").await, readers).await.unwrap();
        assert_eq!(plan.output_partitioning().partition_count(), readers);
        assert_eq!(ids(&session, plan).await, (0..from).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn little_is_read_by_one_task_and_limits_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    LAYOUTS[0].write(&folder.path().join("a.parquet"), 0..1_000);
    let few = session(folder.path(), 4).await;
    let plan = in_parts(planned(&few, "SELECT id FROM t WHERE id > 10").await, 4).await.unwrap();
    assert_eq!(plan.output_partitioning().partition_count(), 1);
    assert_eq!(ids(&few, plan).await.len(), 989);

    LAYOUTS[0].write(&folder.path().join("a.parquet"), 0..ROWS);
    for streams in [1, 2] {
        let session = session(folder.path(), streams).await;
        for sql in ["SELECT id FROM t LIMIT 7", "SELECT id FROM t WHERE id % 2 = 0 LIMIT 7"] {
            let plan = in_parts(planned(&session, sql).await, 4).await.unwrap();
            assert_eq!(ids(&session, plan).await.len(), 7, "{sql}");
        }
        let sorted = "SELECT id FROM t ORDER BY word, id LIMIT 7";
        let expected = ids(&session, planned(&session, sorted).await).await;
        let plan = in_parts(planned(&session, sorted).await, 4).await.unwrap();
        assert_eq!(ids(&session, plan).await, expected);
    }
}

/// What several parts claim together is each row of the file once, and of a range what begins in it.
#[tokio::test]
async fn parts_of_ranges_share_nothing_and_miss_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("a.parquet");
    LAYOUTS[1].write(&place, 0..ROWS);
    let opened = std::fs::File::open(&place).unwrap();
    let size = opened.metadata().unwrap().len();
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
    let known = ArrowReaderMetadata::load(&opened, options).unwrap();
    let half = i64::try_from(size / 2).unwrap();
    let whole = PartitionedFile::new("a.parquet", size);
    let mut ranged = [whole.clone(), whole.clone()];
    ranged[0].range = Some(FileRange { start: 0, end: half });
    ranged[1].range = Some(FileRange { start: half, end: half * 2 + 1 });
    for files in [&[whole][..], &ranged[..]] {
        let mut seen = HashSet::new();
        for file in files {
            let parts = cut(file, known.metadata(), size / 5).unwrap();
            assert!(parts.len() > 1, "{}", parts.len());
            for part in parts {
                assert_eq!(part.range, file.range);
                let selection = part.extension::<ParquetRowSelection>().unwrap().selection();
                let mut at = 0;
                let runs: Vec<RowSelector> = selection.clone().into();
                for run in runs {
                    if !run.skip {
                        assert!((at..at + run.row_count).all(|row| seen.insert(row)), "read twice");
                    }
                    at += run.row_count;
                }
                assert_eq!(at, 200_000, "a selection is of all of the file's rows");
            }
        }
        assert_eq!(seen.len(), 200_000);
    }
}

#[test]
fn cuts_are_made_where_a_page_begins() {
    let places = [0, 20, 40, 60, 100, 120];
    for (wanted, expected) in [(1, 0), (10, 0), (11, 20), (40, 40), (79, 60), (80, 60), (81, 100), (500, 120)]
    {
        assert_eq!(nearest(&places, wanted), expected, "{wanted}");
    }
    let read = [Read { group: 0, rows: 0..10 }, Read { group: 2, rows: 30..50 }];
    assert_eq!(selected(&read, 0..30), [0..10, 30..50]);
    assert_eq!(selected(&read, 5..12), [5..10, 30..32]);
    assert_eq!(selected(&read, 10..30).as_slice(), std::slice::from_ref(&(30..50)));
    assert_eq!((0..=4).map(|part| share(10, part, 4)).collect::<Vec<_>>(), [0, 2, 5, 7, 10]);
}

/// A damaged file fails the query, whichever task meets it.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_cut_off_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("a.parquet");
    LAYOUTS[0].write(&place, 0..ROWS);
    let session = session(folder.path(), 1).await;
    let plan = in_parts(planned(&session, "SELECT id, word FROM t").await, 2).await.unwrap();
    assert_eq!(plan.output_partitioning().partition_count(), 2);
    // The footer is known by now; the pages are gone.
    let opened = std::fs::OpenOptions::new().write(true).open(&place).unwrap();
    opened.set_len(opened.metadata().unwrap().len() / 4).unwrap();
    assert!(collect(plan, session.task_ctx()).await.is_err());
}
