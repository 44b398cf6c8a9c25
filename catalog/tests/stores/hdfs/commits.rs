//! Commits and reads while everything works, and while several write.

use std::sync::Arc;

use datafusion::prelude::{SessionConfig, SessionContext, col, lit};
use hdfs_native::{ClientBuilder, WriteOptions};
use portolan_catalog::Catalog;
use portolan_catalog::config::{OpenContext, SourcesConfig};
use portolan_catalog::federation::FederationOptions;
use portolan_catalog::lake::CommitOutcome;

use super::fixture::{commit, create, folder, ids, lake, rows, ships};

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_created_appended_replaced_and_read_back() {
    let folder = folder().await;
    let writer = lake(&folder);
    assert_eq!(writer.list().await.unwrap(), []);
    assert_eq!(writer.version(&ships()).await.unwrap(), None);
    create(&writer).await;
    let first = writer.append(&ships(), vec![rows(0..10, "Dakar")], &commit("a", 1)).await.unwrap();
    assert_eq!(first, CommitOutcome::Committed(1));
    let again = writer.append(&ships(), vec![rows(0..10, "Dakar")], &commit("a", 1)).await.unwrap();
    assert_eq!(again, CommitOutcome::AlreadyCommitted(1));
    writer.append(&ships(), vec![rows(10..15, "Abidjan")], &commit("a", 2)).await.unwrap();
    let replaced = writer
        .replace(&ships(), vec![rows(20..22, "Dakar")], Some("port = 'Dakar'"), &commit("a", 3))
        .await
        .unwrap();
    assert_eq!(replaced, CommitOutcome::Committed(3));

    let reader = lake(&folder);
    assert_eq!(reader.list().await.unwrap(), [ships()]);
    assert_eq!(ids(&reader, None).await.unwrap(), [10, 11, 12, 13, 14, 20, 21]);
    assert_eq!(ids(&reader, Some(col("id").gt(lit(13_i64)))).await.unwrap(), [14, 20, 21]);
    assert_eq!(reader.txn_version(&ships(), "a").await.unwrap(), Some(3));
    assert_eq!(reader.history(&ships()).await.unwrap().len(), 3);
    let (version, _) = reader.provider(&ships(), Some(2)).await.unwrap();
    assert_eq!(version, 2);
    // The reader's table is open by now; it must see what comes later.
    writer.append(&ships(), vec![rows(30..31, "Lomé")], &commit("a", 4)).await.unwrap();
    assert_eq!(ids(&reader, Some(col("port").eq(lit("Lomé")))).await.unwrap(), [30]);
}

/// Files of partitions that are not asked for are not even opened.
#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_pruned() {
    let folder = folder().await;
    let lake = lake(&folder);
    create(&lake).await;
    let batches = vec![rows(0..3, "Dakar"), rows(3..6, "Abidjan")];
    lake.append(&ships(), batches, &commit("a", 1)).await.unwrap();
    let client = ClientBuilder::new().with_url(&folder).build().unwrap();
    let path = lake.root().path().trim_end_matches('/').to_owned();
    assert!(client.delete(&format!("{path}/bronze/ships/port=Abidjan"), true).await.unwrap());
    assert_eq!(ids(&lake, Some(col("port").eq(lit("Dakar")))).await.unwrap(), [0, 1, 2]);
    let error = ids(&lake, None).await.unwrap_err();
    assert!(error.message.contains("\"bronze.ships\""), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_that_meet_lose_nothing() {
    const COMMITS: i64 = 8;
    let folder = folder().await;
    create(&lake(&folder)).await;
    let write = |app: &'static str, from: i64| {
        let lake = lake(&folder);
        tokio::spawn(async move {
            for seq in 1..=COMMITS {
                let id = from + seq;
                let outcome = lake.append(&ships(), vec![rows(id..id + 1, "Dakar")], &commit(app, seq)).await;
                assert!(matches!(outcome, Ok(CommitOutcome::Committed(_))), "{app} {seq}: {outcome:?}");
            }
        })
    };
    let (one, other) = (write("one", 0), write("other", 100));
    one.await.unwrap();
    other.await.unwrap();
    let reader = lake(&folder);
    let expected: Vec<i64> = (1..=COMMITS).chain(101..=100 + COMMITS).collect();
    assert_eq!(ids(&reader, None).await.unwrap(), expected);
    assert_eq!(reader.version(&ships()).await.unwrap(), Some(2 * COMMITS));
}

/// A writer that died leaves files with the names of half-made entries.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_half_made_files_disturb_nobody() {
    let folder = folder().await;
    let writer = lake(&folder);
    create(&writer).await;
    writer.append(&ships(), vec![rows(0..3, "Dakar")], &commit("a", 1)).await.unwrap();
    let path = writer.root().path().trim_end_matches('/').to_owned();
    let client = ClientBuilder::new().with_url(&folder).build().unwrap();
    let made = (0..16_i32).map(|part| {
        let (client, path) = (client.clone(), path.clone());
        tokio::spawn(async move {
            for number in (part..1_000).step_by(16) {
                let file =
                    format!("{path}/bronze/ships/_delta_log/.00000000000000000002.json.tmp.{}", number + 1);
                client.create(&file, WriteOptions::default()).await.unwrap().close().await.unwrap();
            }
        })
    });
    for made in futures::future::join_all(made).await {
        made.unwrap();
    }
    let reader = lake(&folder);
    assert_eq!(reader.list().await.unwrap(), [ships()]);
    assert_eq!(ids(&reader, None).await.unwrap(), [0, 1, 2]);
    let outcome = reader.append(&ships(), vec![rows(3..4, "Dakar")], &commit("a", 2)).await.unwrap();
    assert_eq!(outcome, CommitOutcome::Committed(2));
    assert_eq!(ids(&writer, None).await.unwrap(), [0, 1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configured_lake_is_queried_beside_others() {
    let folder = folder().await;
    let lake = lake(&folder);
    create(&lake).await;
    lake.append(&ships(), vec![rows(0..5, "Dakar")], &commit("a", 1)).await.unwrap();
    let text = format!("far: {{ lake: {{ root: '{folder}' }} }}");
    let sources: SourcesConfig = portolan_catalog::yaml::parse("p.yaml".as_ref(), &text).unwrap();
    let catalog = Catalog::open(&sources, &OpenContext::default()).unwrap();
    let context =
        SessionContext::new_with_config(SessionConfig::new().with_default_catalog_and_schema("p", "far"));
    let options = Arc::new(FederationOptions::default());
    context.register_catalog("p", catalog.catalog_provider(options, vec![]));
    let frame = context.sql("SELECT id FROM far_bronze.ships WHERE port = 'Dakar' AND id > 1").await.unwrap();
    assert_eq!(frame.count().await.unwrap(), 3);
}

/// A file of one row group is read by several tasks, whose reads of its pages are calls of their own.
#[tokio::test(flavor = "multi_thread")]
async fn each_row_of_a_large_file_is_read_once() {
    const ROWS: i64 = 300_000;
    let folder = folder().await;
    let writer = lake(&folder);
    create(&writer).await;
    writer.append(&ships(), vec![rows(0..ROWS, "Dakar")], &commit("a", 1)).await.unwrap();
    let reader = lake(&folder);
    // The second time footers are known.
    for _ in 0..2 {
        assert_eq!(ids(&reader, None).await.unwrap(), (0..ROWS).collect::<Vec<_>>());
        let most = ids(&reader, Some(col("id").gt_eq(lit(1_000_i64)))).await.unwrap();
        assert_eq!(most, (1_000..ROWS).collect::<Vec<_>>());
        let few = ids(&reader, Some(col("id").between(lit(150_000_i64), lit(150_009_i64)))).await.unwrap();
        assert_eq!(few, (150_000..150_010).collect::<Vec<_>>());
    }
}
