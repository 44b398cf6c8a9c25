//! Jobs on folders of files, without a warehouse: empty feeds, damaged feeds, damaged logs.

use std::path::Path;

use datafusion::arrow::array::StringArray;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::parquet::arrow::ArrowWriter;
use portolan_catalog::files::{FileFormat, FileTableConfig, FilesConfig};
use portolan_catalog::source::SourceName;

use super::*;
use crate::pipeline::load_pipelines;
use crate::report::NoProgress;

/// Two feeds of names, each with a silver table, and a gold table made of the second.
const PIPELINES: [(&str, &str); 2] = [
    (
        "ships.yaml",
        "pipeline: ships\nsource: {table: {from: feeds.ships}}\nsilver:\n  ship:\n    comment: Ships.\n    sql: |\n      \
         SELECT row_id, name FROM bronze.ships\n    key: [name]\n    columns:\n      \
         name: {type: text, required: true, comment: Name.}\n",
    ),
    (
        "tugs.yaml",
        "pipeline: tugs\nsource: {table: {from: feeds.tugs}}\nsilver:\n  tug:\n    comment: Tugs.\n    sql: |\n      \
         SELECT row_id, name FROM bronze.tugs\n    key: [name]\n    columns:\n      \
         name: {type: text, required: true, comment: Name.}\n",
    ),
];

fn feed(root: &Path, table: &str, names: &[&str]) {
    let schema = Arc::new(Schema::new(vec![Field::new("name", DataType::Utf8, true)]));
    let column = Arc::new(StringArray::from(names.to_vec()));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column]).unwrap();
    let file = std::fs::File::create(root.join(format!("{table}.parquet"))).unwrap();
    let mut writer = ArrowWriter::try_new(file, schema, None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

fn ingest(root: &Path) -> Ingest {
    let folder = root.join("pipelines");
    std::fs::create_dir_all(&folder).unwrap();
    for (name, text) in PIPELINES {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let (pipelines, mistakes) = load_pipelines(&folder);
    assert!(mistakes.is_empty(), "{mistakes:?}");
    let tables = ["ships", "tugs"].map(|table| {
        let path = format!("{table}.parquet");
        (table.to_owned(), FileTableConfig::new(&path, FileFormat::Parquet, Vec::new()))
    });
    let config =
        FilesConfig { root: root.to_path_buf(), schema: Some("feeds".to_owned()), tables: tables.into() };
    let files = Arc::new(FilesSource::open(SourceName::try_new("feeds").unwrap(), config).unwrap());
    let catalog = Catalog::builder().add(Arc::clone(&files) as _).build().unwrap();
    Ingest::open(IngestConfig {
        catalog,
        files: BTreeMap::from([("feeds".to_owned(), files)]),
        lake: Lake::open_local(&root.join("lake")).unwrap(),
        warehouse: None,
        pipelines,
    })
}

fn interval() -> Interval {
    Interval { start: chrono::DateTime::UNIX_EPOCH, end: Utc::now() }
}

async fn rows(ingest: &Ingest, zone: &str, name: &str) -> usize {
    let (_, provider) = ingest.lake().provider(&TablePath::new(zone, name), None).await.unwrap();
    SessionContext::new().read_table(provider).unwrap().count().await.unwrap()
}

#[tokio::test]
async fn a_feed_without_rows_makes_tables_without_rows() {
    let root = tempfile::tempdir().unwrap();
    feed(root.path(), "ships", &[]);
    feed(root.path(), "tugs", &["a", "b"]);
    let ingest = ingest(root.path());
    ingest.run_all(interval(), &NoProgress).await.unwrap();
    assert_eq!((rows(&ingest, "bronze", "ships").await, rows(&ingest, "silver", "ship").await), (0, 0));
    assert_eq!(rows(&ingest, "silver", "tug").await, 2);
    // The same again writes nothing, and rows that come later are found.
    let again = ingest.run_all(interval(), &NoProgress).await.unwrap();
    assert!(again.iter().all(|run| run.status == "skipped"), "{again:?}");
    feed(root.path(), "ships", &["c"]);
    ingest.run_all(interval(), &NoProgress).await.unwrap();
    assert_eq!(rows(&ingest, "silver", "ship").await, 1);
}

#[tokio::test]
async fn a_table_says_when_and_in_which_run_its_rows_were_read_however_often_it_is_made() {
    let root = tempfile::tempdir().unwrap();
    feed(root.path(), "ships", &["a"]);
    feed(root.path(), "tugs", &["a"]);
    let first = ingest(root.path());
    let before = Utc::now();
    first.run_all(interval(), &NoProgress).await.unwrap();
    let origin = async |ingest: &Ingest, zone: &str, name: &str| {
        let last = ingest.last_commit(&TablePath::new(zone, name)).await.unwrap();
        last.and_then(|(_, record)| record.origin).unwrap()
    };
    let ships = origin(&first, "silver", "ship").await;
    assert_eq!(ships, origin(&first, "bronze", "ships").await);
    assert!(ships.read_at >= before && ships.run.is_some());
    let tugs = origin(&first, "silver", "tug").await;
    assert_eq!(tugs.run, ships.run);

    // One feed is another now: the other's table was still read in the run before.
    feed(root.path(), "tugs", &["a", "b"]);
    first.run_all(interval(), &NoProgress).await.unwrap();
    assert_eq!(origin(&first, "silver", "ship").await, ships);
    let later = origin(&first, "silver", "tug").await;
    assert!(later.read_at > tugs.read_at && later.run.is_some() && later.run != tugs.run);

    // Made anew while nothing can be read, it is no younger.
    std::fs::remove_file(root.path().join("ships.parquet")).unwrap();
    std::fs::remove_dir_all(root.path().join("lake/silver/ship")).unwrap();
    let again = ingest(root.path());
    let attempt = again.attempt(interval(), &NoProgress).await;
    assert!(!attempt.failures.is_empty());
    assert_eq!(origin(&again, "silver", "ship").await, ships);
}

#[tokio::test]
async fn a_damaged_feed_costs_what_is_made_of_it() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("ships.parquet"), b"PAR1 and nothing else").unwrap();
    feed(root.path(), "tugs", &["a"]);
    let ingest = ingest(root.path());
    let attempt = ingest.attempt(interval(), &NoProgress).await;
    assert_eq!(attempt.failures.len(), 1, "{:?}", attempt.failures);
    assert!(
        attempt.failures.iter().all(|error| error.message.contains("ships.parquet") && error.hint.is_some())
    );
    let states: Vec<_> = attempt.reports.iter().map(|run| (run.pipeline.as_str(), run.status)).collect();
    assert_eq!(states, [("ships", "failed"), ("tugs", "ok")]);
    assert_eq!(rows(&ingest, "silver", "tug").await, 1);
    assert!(ingest.lake().version(&TablePath::new("silver", "ship")).await.unwrap().is_none());
    assert!(attempt.into_result().is_err());

    feed(root.path(), "ships", &["b"]);
    ingest.run_all(interval(), &NoProgress).await.unwrap();
    assert_eq!(rows(&ingest, "silver", "ship").await, 1);
}

#[tokio::test]
async fn a_damaged_log_costs_its_table_and_is_made_again_when_it_is_gone() {
    let root = tempfile::tempdir().unwrap();
    feed(root.path(), "ships", &["a"]);
    feed(root.path(), "tugs", &["a"]);
    ingest(root.path()).run_all(interval(), &NoProgress).await.unwrap();
    let folder = root.path().join("lake/silver/ship");
    std::fs::write(folder.join("_delta_log/00000000000000000001.json"), b"not json").unwrap();
    feed(root.path(), "tugs", &["a", "b"]);

    // Opened anew, because a log that was read once is not read again.
    let damaged = ingest(root.path());
    let attempt = damaged.attempt(interval(), &NoProgress).await;
    let said: Vec<_> = attempt.failures.iter().map(|error| error.message.as_str()).collect();
    assert!(said.len() == 1 && said.iter().all(|text| text.contains("silver/ship/_delta_log")), "{said:?}");
    assert_eq!(rows(&damaged, "silver", "tug").await, 2);

    std::fs::remove_dir_all(&folder).unwrap();
    let mended = ingest(root.path());
    mended.run_all(interval(), &NoProgress).await.unwrap();
    assert_eq!(rows(&mended, "silver", "ship").await, 1);
}
