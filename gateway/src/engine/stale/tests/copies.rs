//! Copies in a lake in place of a source's tables.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch};
use portolan_catalog::copies::Origin;
use portolan_catalog::lake::{Commit, Lake, LakeSource, TableOptions, TablePath};
use portolan_catalog::source::SourceName;

use super::{DOWN, World, unreachable};
use crate::engine::StaleFrom;

struct Port {
    world: World,
    lake: Lake,
    _folder: tempfile::TempDir,
}

impl Port {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::open_local(&folder.path().join("lake")).unwrap();
        let source = LakeSource::new(SourceName::try_new("lake").unwrap(), lake.clone());
        let world = World::of(|builder, ops| {
            builder.add(Arc::new(source)).add_copied(Arc::new(ops), "lake.silver".parse().unwrap())
        });
        Self { world, lake, _folder: folder }
    }

    /// Writes a copy that a run read so many minutes after the clock's beginning; without a run it does not say.
    async fn copy(&self, table: &str, columns: Vec<(&str, ArrayRef)>, run: Option<(&str, i64)>) {
        let path = TablePath::new("silver", table);
        let batch = RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, values)| (name, values, true)),
        )
        .unwrap();
        self.lake.ensure_table(&path, &batch.schema(), &TableOptions::default()).await.unwrap();
        let seq = self.lake.version(&path).await.unwrap().unwrap_or_default() + 1;
        let commit = Commit {
            pipeline: "ops".into(),
            app_id: "ops".into(),
            seq,
            interval: "all".into(),
            counts: BTreeMap::new(),
            digest: None,
            origin: run.map(|(run, minute)| Origin {
                read_at: self.world.began + chrono::Duration::minutes(minute),
                run: Some(run.to_owned()),
            }),
        };
        self.lake.replace(&path, vec![batch], None, &commit).await.unwrap();
        self.world.catalog.source("lake").unwrap().refresh().await.unwrap();
    }
}

fn numbers(numbers: &[i32]) -> ArrayRef {
    Arc::new(Int32Array::from(numbers.to_vec()))
}

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

const T: &str = "select n from ops.t order by 1";

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_young_enough_stands_in_for_its_table() {
    let port = Port::open();
    let world = &port.world;
    port.copy("t", vec![("n", numbers(&[7, 8]))], Some(("r1", 0))).await;
    // Known to be there before it is down, and its own answer is better than a copy of before it.
    assert_eq!(world.fresh(T).await, "1|2|3");
    world.ops.turns(DOWN);
    assert_eq!(world.stale(T).await.1.from, StaleFrom::Answer);

    world.at(minutes(30));
    let (rows, stale) = world.stale("select n, now() is null from ops.t order by 1").await;
    assert_eq!(rows, "7,false|8,false");
    assert_eq!(stale.from, StaleFrom::Copies("lake.silver".to_owned()));
    assert_eq!(stale.age, minutes(30));
    let message = "source \"ops\" is down: this answer reads copies in \"lake.silver\" of 30 min ago";
    assert_eq!(stale.message(), message);
    let told = "select as_of, stale_from, not_kept from system.answers order by ended_at desc limit 1";
    assert_eq!(world.fresh(told).await, "lake.silver.t=v:1,lake.silver,it is of old data");

    // Beside a source that is well, which is read as it is now.
    world.far.begins_with(8);
    let both = "select o.n, f.n from ops.t o join far.t f on o.n = f.n order by 1";
    assert_eq!(world.stale(both).await.0, "8,8");
    // What stood in is no answer to keep.
    world.far.begins_with(7);
    assert_eq!(world.stale(both).await.0, "7,7|8,8");

    let count = "select count(*) from ops.t where n > 7";
    let short = world.session("demo", &[("portolan.max_staleness", "10 min")]);
    let hint = unreachable(world.ask_as(&short, count, &[], vec![]).await);
    assert!(hint.contains("the copies in \"lake.silver\" are 30 min old"), "{hint}");
    let never = world.session("demo", &[("portolan.max_staleness", "0")]);
    let hint = unreachable(world.ask_as(&never, count, &[], vec![]).await);
    assert!(hint.contains("copies are in \"lake.silver\": SET portolan.max_staleness"), "{hint}");
    assert_eq!(world.stale(count).await.0, "1");
    world.at(minutes(61));
    unreachable(world.ask(count).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_read_as_one_run_left_them() {
    let port = Port::open();
    let world = &port.world;
    let both = "select t.n, u.n from ops.t t join ops.u u on t.n = u.n order by 1";
    world.fresh("select 1 from ops.t").await;
    port.copy("t", vec![("n", numbers(&[7, 8]))], Some(("r1", 10))).await;
    port.copy("u", vec![("n", numbers(&[7, 8, 9]))], Some(("r1", 11))).await;
    port.copy("t", vec![("n", numbers(&[9]))], Some(("r2", 20))).await;
    world.ops.turns(DOWN);
    world.at(minutes(30));
    assert_eq!(world.stale(T).await.0, "9");
    let (rows, stale) = world.stale(both).await;
    assert_eq!(rows, "7,7|8,8", "the newest of each would be 9,9");
    assert_eq!(stale.age, minutes(20), "as old as the oldest");

    // Another run has written one of them alone, and nobody says when the other was read.
    port.copy("w", vec![("n", numbers(&[9])), ("m", numbers(&[9]))], Some(("r2", 21))).await;
    let hint = unreachable(world.ask("select u.n from ops.u u, ops.w w").await);
    assert!(hint.contains("no run of ingest has read and written all of \"u\", \"w\""), "{hint}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_cannot_be_right_is_refused_with_the_reason() {
    let port = Port::open();
    let world = &port.world;
    world.fresh("select 1 from ops.t").await;
    world.ops.turns(DOWN);
    world.at(minutes(30));
    let hint = unreachable(world.ask(T).await);
    assert!(hint.contains("\"lake.silver\" has no table \"t\""), "{hint}");

    port.copy("t", vec![("n", numbers(&[7]))], None).await;
    let hint = unreachable(world.ask("select n from ops.t where n > 0").await);
    assert!(hint.contains("no run of ingest has read and written all of \"t\""), "{hint}");

    let wide: ArrayRef = Arc::new(Int64Array::from(vec![7_i64]));
    port.copy("w", vec![("m", numbers(&[7])), ("n", wide)], Some(("r1", 29))).await;
    let hint = unreachable(world.ask("select n from ops.w").await);
    assert!(hint.contains("column \"silver.w.n\" is Int64, not Int32"), "{hint}");
    let hint = unreachable(world.ask("select m from ops.w where n > 0").await);
    assert!(hint.contains("column \"silver.w.n\""), "{hint}");
    assert_eq!(world.stale("select m from ops.w").await.0, "7", "what is not read need not fit");

    port.copy("u", vec![("other", numbers(&[7]))], Some(("r1", 29))).await;
    let hint = unreachable(world.ask("select n from ops.u").await);
    assert!(hint.contains("\"silver.u\" has no column \"n\""), "{hint}");
}
