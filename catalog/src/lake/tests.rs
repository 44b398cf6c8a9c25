//! Lake tables on a local directory: idempotent commits, replacement, versions, damage.

mod several_tasks;

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::functions::expr_fn::substring;
use datafusion::prelude::{col, lit};
use futures::TryStreamExt;

use super::*;
use crate::federation::{Fragment, FragmentExecutor, PushedFilter, QueryContext, Share, Verdict};
use crate::registry::Catalog;
use crate::source::{COMMENT_KEY, Source, SourceName};

fn schema() -> SchemaRef {
    let comment = [(COMMENT_KEY.to_owned(), "the ship's name".to_owned())].into();
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true).with_metadata(comment),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
    ]))
}

fn rows(ids: &[i64]) -> RecordBatch {
    let names: Vec<Option<String>> =
        ids.iter().map(|id| (id % 3 != 0).then(|| format!("ship {id}"))).collect();
    RecordBatch::try_new(
        schema(),
        vec![
            Arc::new(Int64Array::from(ids.to_vec())),
            Arc::new(StringArray::from(names)),
            Arc::new(TimestampMicrosecondArray::from(ids.to_vec()).with_timezone("UTC")),
        ],
    )
    .unwrap()
}

fn commit(seq: i64) -> Commit {
    Commit {
        pipeline: "ships".into(),
        app_id: "ships/bronze".into(),
        seq,
        interval: "2026-01-01/2026-01-02".into(),
        counts: BTreeMap::from([("read".to_owned(), 3)]),
        digest: None,
        origin: None,
    }
}

async fn lake() -> (tempfile::TempDir, Lake, TablePath) {
    let directory = tempfile::tempdir().unwrap();
    let lake = Lake::open_local(&directory.path().join("lake")).unwrap();
    let path = TablePath::new("bronze", "ships");
    lake.ensure_table(&path, &schema(), &TableOptions { append_only: true, ..TableOptions::default() })
        .await
        .unwrap();
    (directory, lake, path)
}

async fn read(
    lake: &Lake,
    path: &TablePath,
    filter: Option<datafusion::prelude::Expr>,
    projection: Vec<usize>,
) -> Vec<RecordBatch> {
    let source = LakeSource::new(SourceName::try_new("lake").unwrap(), lake.clone());
    let table = source
        .tables()
        .await
        .unwrap()
        .into_iter()
        .find(|table| table.schema == path.zone && table.name == path.name)
        .unwrap();
    let filters = filter.into_iter().map(|expr| PushedFilter { expr, exact: true }).collect();
    let fragment = Fragment { projection, filters, ..Fragment::whole(table) };
    let stream = source.execute(&fragment, Arc::new(QueryContext::default())).await.unwrap();
    stream.try_collect().await.unwrap()
}

fn count(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}

#[tokio::test]
async fn a_sequence_is_committed_once() {
    let (_directory, lake, path) = lake().await;
    let first = lake.append(&path, vec![rows(&[1, 2, 3])], &commit(7)).await.unwrap();
    assert_eq!(first, CommitOutcome::Committed(1));
    let again = lake.append(&path, vec![rows(&[1, 2, 3])], &commit(7)).await.unwrap();
    assert_eq!(again, CommitOutcome::AlreadyCommitted(1));
    assert_eq!(lake.txn_version(&path, "ships/bronze").await.unwrap(), Some(7));
    assert_eq!(count(&read(&lake, &path, None, vec![0]).await), 3);
    let history = lake.history(&path).await.unwrap();
    assert_eq!(history.len(), 1);
    assert_eq!((history[0].0, history[0].1.seq, history[0].1.counts["read"]), (1, 7, 3));
}

#[tokio::test]
async fn a_commit_without_rows_moves_the_sequence() {
    let (_directory, lake, path) = lake().await;
    lake.append(&path, vec![], &commit(1)).await.unwrap();
    assert_eq!(lake.txn_version(&path, "ships/bronze").await.unwrap(), Some(1));
    assert_eq!(count(&read(&lake, &path, None, vec![0]).await), 0);
}

#[tokio::test]
async fn filters_projections_and_no_columns_read_right_rows() {
    let (_directory, lake, path) = lake().await;
    lake.append(&path, vec![rows(&(1..=100).collect::<Vec<_>>())], &commit(1)).await.unwrap();
    let some =
        read(&lake, &path, Some(col("id").gt(lit(90_i64)).and(col("name").is_not_null())), vec![1]).await;
    assert_eq!(count(&some), 7);
    assert_eq!(some[0].schema().field(0).data_type(), &DataType::Utf8);
    assert_eq!(count(&read(&lake, &path, None, vec![]).await), 100);
}

#[tokio::test]
async fn a_long_list_gives_the_rows_of_its_conditions_one_by_one() {
    let (_directory, lake, path) = lake().await;
    lake.append(&path, vec![rows(&(1..=1000).collect::<Vec<_>>())], &commit(1)).await.unwrap();
    let ids = col("id").in_list((0..600).map(|n| lit(n * 3_i64)).collect(), false);
    let names = col("name").in_list((0..2000).map(|n| lit(format!("ship {n}"))).collect(), false);
    for (filter, projection, expected) in [
        (ids.clone(), vec![1, 0], 333),
        (ids.clone(), vec![2], 333),
        (ids.clone(), vec![], 333),
        // Ships whose number is a multiple of three have no name, and a null is in no list.
        (names.clone(), vec![0], 667),
        (names, vec![1], 667),
        (ids.and(col("id").lt(lit(100_i64))), vec![0], 33),
    ] {
        let width = projection.len();
        let batches = read(&lake, &path, Some(filter.clone()), projection).await;
        assert_eq!(count(&batches), expected, "{}", filter.human_display().to_string().len());
        assert!(batches.iter().all(|batch| batch.num_columns() == width));
    }
}

#[tokio::test]
async fn a_null_is_neither_in_a_list_nor_out_of_it() {
    let (_directory, lake, path) = lake().await;
    lake.append(&path, vec![rows(&(1..=10).collect::<Vec<_>>())], &commit(1)).await.unwrap();
    let named = |ships: &[i64], negated| {
        col("name").in_list(ships.iter().map(|n| lit(format!("ship {n}"))).collect(), negated)
    };
    let (among, beside) = (|ships: &[i64]| named(ships, false), |ships: &[i64]| named(ships, true));
    // Ships 3, 6 and 9 have no name.
    for (filter, expected) in [
        (beside(&[1]).or(beside(&[2])), 7),
        (beside(&[1, 2]).or(beside(&[4, 5])), 7),
        (beside(&[1, 2, 4, 5]).or(beside(&[7, 8, 10])), 7),
        (!among(&[1]).and(among(&[2])), 7),
        (!col("name").eq(lit("ship 1")).and(col("name").eq(lit("ship 2"))), 7),
        (beside(&[1]).and(beside(&[2])), 5),
        (among(&[1]).and(beside(&[1, 2])), 0),
    ] {
        for projection in [vec![], vec![0], vec![1]] {
            let batches = read(&lake, &path, Some(filter.clone()), projection).await;
            assert_eq!(count(&batches), expected, "{}", filter.human_display());
        }
    }
}

#[tokio::test]
async fn the_log_tells_rows() {
    let (_directory, lake, path) = lake().await;
    lake.append(&path, vec![rows(&(1..=90).collect::<Vec<_>>())], &commit(1)).await.unwrap();
    lake.append(&path, vec![rows(&(200..=209).collect::<Vec<_>>())], &commit(2)).await.unwrap();
    let source = LakeSource::new(SourceName::try_new("lake").unwrap(), lake);
    let table = source.tables().await.unwrap().remove(0);
    let told = source.gather_statistics(&table).await.unwrap().unwrap();
    assert_eq!(told.rows, Some(100));
    let id = &told.columns["id"];
    assert_eq!((id.nulls, id.bounds.as_slice()), (0.0, &[1_i64.into(), 209_i64.into()][..]));
    let name = &told.columns["name"];
    assert_eq!((name.nulls, name.bounds.first()), (0.33, Some(&"ship 1".into())));
    // Times may be cut to milliseconds there.
    let at = told.columns["at"].bounds.first();
    assert!(matches!(at, Some(ScalarValue::TimestampMicrosecond(Some(0 | 1), Some(_)))), "{at:?}");
    // Planning knows it before anybody has read the table.
    assert_eq!(source.statistics(&table).as_deref(), Some(&told));
}

#[tokio::test]
async fn a_part_of_a_text_is_taken_inside_the_scan() {
    let (_directory, lake, path) = lake().await;
    lake.append(&path, vec![rows(&(1..=300).collect::<Vec<_>>())], &commit(1)).await.unwrap();
    let part = |start: i64, length: i64| substring(col("name"), lit(start), lit(length));
    let named = |wanted: &dyn Fn(&str) -> bool| {
        (1..=300).filter(|id| id % 3 != 0 && wanted(&format!("ship {id}"))).count()
    };
    let source = LakeSource::new(SourceName::try_new("lake").unwrap(), lake.clone());
    let table = source.tables().await.unwrap().remove(0);
    for (filter, expected) in [
        (
            part(1, 6).in_list(vec![lit("ship 1"), lit("ship 2")], false),
            named(&|name| name.starts_with("ship 1") || name.starts_with("ship 2")),
        ),
        (part(6, 9).eq(lit("7")), 1),
        (part(6, 1).not_eq(lit("2")), named(&|name| !name.starts_with("ship 2"))),
        (part(-1, 3).eq(lit("s")), named(&|_| true)),
        (part(99, 3).eq(lit("")), named(&|_| true)),
        (part(1, 0).is_null(), 100),
    ] {
        assert_eq!(source.verdict(&table, &filter), Verdict::Exact, "{filter}");
        assert_eq!(count(&read(&lake, &path, Some(filter.clone()), vec![0]).await), expected, "{filter}");
    }
}

#[tokio::test]
async fn replacing_keeps_one_copy_and_older_versions() {
    let (_directory, lake, _) = lake().await;
    let path = TablePath::new("gold", "ships");
    lake.ensure_table(&path, &schema(), &TableOptions::default()).await.unwrap();
    lake.replace(&path, vec![rows(&[1, 2])], None, &commit(1)).await.unwrap();
    lake.replace(&path, vec![rows(&[3])], None, &commit(2)).await.unwrap();
    assert_eq!(count(&read(&lake, &path, None, vec![0]).await), 1);
    lake.replace(&path, vec![], None, &commit(3)).await.unwrap();
    assert_eq!(count(&read(&lake, &path, None, vec![0]).await), 0);
    let (version, _) = lake.provider(&path, Some(1)).await.unwrap();
    assert_eq!(version, 1);
}

#[tokio::test]
async fn an_append_only_table_refuses_replacement() {
    let (_directory, lake, path) = lake().await;
    lake.append(&path, vec![rows(&[1])], &commit(1)).await.unwrap();
    let refused = lake.replace(&path, vec![rows(&[2])], None, &commit(2)).await.unwrap_err();
    assert_eq!(refused.kind, SourceErrorKind::Conflict);
    assert_eq!(lake.txn_version(&path, "ships/bronze").await.unwrap(), Some(1));
}

#[tokio::test]
async fn comments_survive_and_other_columns_are_refused() {
    let (_directory, lake, path) = lake().await;
    let stored = lake.schema(&path).await.unwrap();
    assert_eq!(stored.field(1).metadata().get(COMMENT_KEY).map(String::as_str), Some("the ship's name"));
    let other = Arc::new(Schema::new(vec![Field::new("id", DataType::Int32, false)]));
    let refused = lake.ensure_table(&path, &other, &TableOptions::default()).await.unwrap_err();
    assert!(refused.message.contains("\"id\""), "{}", refused.message);
    let zoneless =
        Arc::new(Schema::new(vec![Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true)]));
    let refused = lake
        .ensure_table(&TablePath::new("silver", "x"), &zoneless, &TableOptions::default())
        .await
        .unwrap_err();
    assert_eq!(refused.kind, SourceErrorKind::Unsupported);
}

#[tokio::test]
async fn a_damaged_log_is_an_error_that_names_the_table() {
    let (directory, lake, path) = lake().await;
    lake.append(&path, vec![rows(&[1])], &commit(1)).await.unwrap();
    let log = directory.path().join("lake/bronze/ships/_delta_log/00000000000000000001.json");
    std::fs::write(log, b"{\"add\": {\"path\": 1}}\nnot json").unwrap();
    let reopened = Lake::open_local(&directory.path().join("lake")).unwrap();
    let error = reopened.schema(&path).await.unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Data);
    let file = "file \"bronze/ships/_delta_log/00000000000000000001.json\" is damaged in line 2";
    assert!(error.message.contains("\"bronze.ships\"") && error.message.contains(file), "{}", error.message);
    assert!(error.hint.as_ref().is_some_and(|hint| hint.contains("move")), "{error:?}");

    // It is no unknown table: who asks for it by name hears the same, and the others are listed.
    let good = TablePath::new("silver", "good");
    reopened.ensure_table(&good, &schema(), &TableOptions::default()).await.unwrap();
    let catalog = Catalog::builder()
        .add(Arc::new(LakeSource::new(SourceName::try_new("lake").unwrap(), reopened)))
        .build()
        .unwrap();
    // Nobody has listed the tables yet.
    assert!(catalog.find_table("silver", "good").await.unwrap().is_some());
    let asked = catalog.find_table("bronze", "ships").await.unwrap_err();
    assert!(asked.message.contains(file), "{asked}");
    assert!(catalog.find_table("bronze", "nowhere").await.unwrap().is_none());
    assert_eq!(catalog.tables().await.len(), 1);
}

#[tokio::test]
async fn a_truncated_data_file_is_an_error_not_fewer_rows() {
    let (directory, lake, path) = lake().await;
    lake.append(&path, vec![rows(&(1..=1000).collect::<Vec<_>>())], &commit(1)).await.unwrap();
    let folder = directory.path().join("lake/bronze/ships");
    let file = std::fs::read_dir(&folder)
        .unwrap()
        .flatten()
        .find(|e| e.path().extension().is_some_and(|x| x == "parquet"))
        .unwrap();
    let bytes = std::fs::read(file.path()).unwrap();
    std::fs::write(file.path(), &bytes[..bytes.len() / 2]).unwrap();
    let source = LakeSource::new(SourceName::try_new("lake").unwrap(), lake);
    let table = source.tables().await.unwrap().remove(0);
    let fragment = Fragment { projection: vec![0], ..Fragment::whole(table) };
    let outcome = match source.execute(&fragment, Arc::new(QueryContext::default())).await {
        Ok(stream) => stream.try_collect::<Vec<_>>().await.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    assert!(outcome.is_err(), "{outcome:?}");
}

#[tokio::test]
async fn shares_of_a_table_are_all_its_rows_once_at_the_version_they_were_made_of() {
    let (_directory, lake, path) = lake().await;
    for (seq, first) in [(1, 0), (2, 1_000), (3, 2_000)] {
        let ids: Vec<i64> = (first..first + 1_000).collect();
        lake.append(&path, vec![rows(&ids)], &commit(seq)).await.unwrap();
    }
    let source = LakeSource::new(SourceName::try_new("lake").unwrap(), lake.clone());
    let table = source.tables().await.unwrap().remove(0);
    let fragment = Fragment { projection: vec![0], ..Fragment::whole(table) };
    let division = source.divide(&fragment, &QueryContext::default()).await.unwrap().unwrap();
    assert_eq!((division.key.as_str(), division.files.len()), ("bronze.ships", 3));
    // What is committed after the division belongs to no share.
    lake.append(&path, vec![rows(&[9_000])], &commit(4)).await.unwrap();
    for count in [1, 2, 3, 7] {
        let mut ids = Vec::new();
        for share in division.shares(count) {
            let fragment = Fragment { share: Some(share), ..fragment.clone() };
            let stream = source.execute(&fragment, Arc::new(QueryContext::default())).await.unwrap();
            let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
            for batch in batches {
                let column = batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
                ids.extend(column.values().iter().copied());
            }
        }
        ids.sort_unstable();
        assert_eq!(ids, (0..3_000).collect::<Vec<i64>>(), "{count} shares");
    }
    let whole = Share::whole(division.version);
    let fragment = Fragment { share: Some(Arc::new(whole)), ..fragment };
    let stream = source.execute(&fragment, Arc::new(QueryContext::default())).await.unwrap();
    assert_eq!(count(&stream.try_collect::<Vec<_>>().await.unwrap()), 3_000);
}
