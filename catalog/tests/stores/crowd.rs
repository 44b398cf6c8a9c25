//! More readers than connections, whatever the store: who stands still keeps nobody else waiting.
//!
//! Each test gets a source with one connection. Nothing here waits for a fixed time.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a suite of tests and their helpers")]

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::dataframe::DataFrame;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt as _;
use portolan_catalog::Catalog;
use portolan_catalog::federation::{FederationOptions, QueryContext, physical_optimizer_rules};
use portolan_catalog::limits::SlotWait;
use portolan_catalog::source::{Source, SourceError, SourceErrorKind};

/// Rows of the table `big (id, pad)`; its answer is larger than what a leaf keeps in memory.
pub(crate) const BIG: i64 = 400_000;
/// Rows of the table `few (id)`.
pub(crate) const FEW: i64 = 1_000;
/// Rows that are joined pair by pair.
const SOME: i64 = 40;
/// Everything here ends within this time, or hangs.
const SOON: Duration = Duration::from_secs(60);

/// How long a query waits for the connection where that is what is tested.
pub(crate) const SLOT_WAIT: SlotWait = SlotWait(Duration::from_millis(300));

/// Statements over one source that is shown as `ops`.
pub(crate) struct Crowd {
    context: SessionContext,
}

impl Crowd {
    /// A session with so many bytes of memory and of spill files.
    pub(crate) fn new(source: Arc<dyn Source>, memory: usize, disk: u64) -> Self {
        let catalog = Catalog::builder().add(source).build().unwrap();
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(memory)))
            .with_max_temp_directory_size(disk)
            .build_arc()
            .unwrap();
        let config =
            SessionConfig::new().with_target_partitions(2).with_default_catalog_and_schema("portolan", "ops");
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(runtime)
            .with_default_features()
            .with_physical_optimizer_rules(physical_optimizer_rules())
            .build();
        let context = SessionContext::new_with_state(state);
        let options = Arc::new(FederationOptions::default());
        context.register_catalog("portolan", catalog.catalog_provider(options, vec![]));
        Self { context }
    }

    /// A statement of its own, with a hash join or a sort-merge join.
    async fn statement(&self, sql: &str, hash: bool) -> DataFrame {
        let mut state = self.context.state();
        state.config_mut().set_extension(Arc::new(QueryContext::default()));
        state.config_mut().options_mut().optimizer.prefer_hash_join = hash;
        let plan = state.create_logical_plan(sql).await.unwrap();
        DataFrame::new(state, plan)
    }

    /// The only number a statement gives.
    async fn number(&self, sql: &str, hash: bool) -> i64 {
        let collected = self.statement(sql, hash).await.collect();
        let batches = tokio::time::timeout(SOON, collected).await;
        let batches = batches.unwrap_or_else(|_| panic!("hangs: {sql}")).unwrap();
        let batch = batches.iter().find(|batch| batch.num_rows() > 0).unwrap();
        batch.column(0).as_primitive::<Int64Type>().value(0)
    }

    /// A client that takes one batch and then nothing: the next one is served all the same, and the first one's rows
    /// are all there when it goes on.
    pub(crate) async fn a_stalled_client_keeps_nobody_waiting(&self) {
        let mut stalled =
            self.statement("SELECT id, pad FROM big", true).await.execute_stream().await.unwrap();
        let first = stalled.next().await.unwrap().unwrap();
        assert_eq!(self.number("SELECT count(*) FROM few WHERE id > 0", true).await, FEW);
        let held = self.context.runtime_env().memory_pool.reserved();
        assert!((1..=16 << 20).contains(&held), "{held} bytes are accounted for");
        let (mut rows, mut sum) = counted(&first);
        let mut before = 0;
        while let Some(batch) = stalled.next().await {
            let batch = batch.unwrap();
            let ids = batch.column(0).as_primitive::<Int64Type>();
            assert!(ids.value(0) > before, "batches come in their order");
            before = ids.value(0);
            let (more, added) = counted(&batch);
            (rows, sum) = (rows + more, sum + added);
        }
        assert_eq!((rows, sum), (BIG, BIG * (BIG + 1) / 2));
        drop(stalled);
        assert_eq!(self.context.runtime_env().memory_pool.reserved(), 0);
        assert_eq!(self.number("SELECT count(*) FROM big WHERE id > 0", true).await, BIG);
    }

    /// The space for what a stalled client did not take has an end, which is its own error and nobody else's.
    pub(crate) async fn the_space_for_a_stalled_client_has_an_end(&self) {
        let mut stalled =
            self.statement("SELECT id, pad FROM big", true).await.execute_stream().await.unwrap();
        let _first = stalled.next().await.unwrap().unwrap();
        assert_eq!(self.number("SELECT count(*) FROM few WHERE id > 0", true).await, FEW);
        let error = loop {
            match stalled.next().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => break error.to_string(),
                None => panic!("a short answer"),
            }
        };
        assert!(error.contains("spill") && error.contains("limit"), "{error}");
        assert!(stalled.next().await.is_none());
    }

    /// Somebody else locks `big`, so whoever reads it keeps the one connection: another query is refused in the
    /// end, and a leaf of the same query is not. `blocked` completes when a reader waits for the lock.
    pub(crate) async fn a_wait_for_the_connection_has_an_end(
        &self,
        lock: impl Future<Output = ()>,
        blocked: impl Future<Output = ()>,
        unlock: impl Future<Output = ()>,
    ) {
        let both = "SELECT count(*) FROM (SELECT id FROM big WHERE id > 0 UNION ALL SELECT id FROM big WHERE id > 1)";
        assert_eq!(self.number("SELECT count(*) FROM few WHERE id > 0", true).await, FEW);
        lock.await;
        let holder = tokio::spawn(self.statement(both, true).await.collect());
        tokio::time::timeout(SOON, blocked).await.unwrap();
        // Twice, so that the holder's second leaf has waited for longer than it might for others.
        for _ in 0..2 {
            let waited = std::time::Instant::now();
            let other = self.statement("SELECT count(*) FROM few WHERE id > 0", true).await.collect();
            let error = tokio::time::timeout(SOON, other).await.unwrap().unwrap_err();
            let found = error.find_root();
            let datafusion::common::DataFusionError::External(cause) = found else { panic!("{found:?}") };
            let cause = cause.downcast_ref::<SourceError>().unwrap();
            assert_eq!(cause.kind, SourceErrorKind::Busy, "{cause}");
            assert_eq!(cause.message, "source \"ops\" had no connection free within 300 ms");
            assert!(cause.hint.as_deref().unwrap_or_default().contains("sources.ops"), "{cause:?}");
            assert!(waited.elapsed() >= SLOT_WAIT.0);
        }
        assert!(!holder.is_finished());
        unlock.await;
        let batches = tokio::time::timeout(SOON, holder).await.unwrap().unwrap().unwrap();
        let batch = batches.iter().find(|batch| batch.num_rows() > 0).unwrap();
        assert_eq!(batch.column(0).as_primitive::<Int64Type>().value(0), 2 * BIG - 1);
        assert_eq!(self.number("SELECT count(*) FROM few WHERE id > 0", true).await, FEW);
    }

    /// Statements of several leaves, with the one connection.
    pub(crate) async fn a_query_of_many_leaves_never_waits_for_itself(&self) {
        let joined: String =
            (1..5).map(|n| format!(" JOIN few f{n} ON f0.id = f{n}.id + {n} - {n}")).collect();
        let union: Vec<String> =
            (0..5).map(|n| format!("SELECT id + {n} AS id FROM few WHERE id > {n}")).collect();
        let big =
            "SELECT count(*) FROM big a JOIN big b ON a.id = b.id + 1 - 1 WHERE a.pad < 'y' AND b.pad < 'y'";
        for hash in [true, false] {
            assert_eq!(self.number(&format!("SELECT count(*) FROM few f0{joined}"), hash).await, FEW);
            assert_eq!(self.number(big, hash).await, BIG);
            let sql = format!("SELECT count(*) FROM ({})", union.join(" UNION ALL "));
            assert_eq!(self.number(&sql, hash).await, 5 * FEW - 10);
            // Joined by comparing all pairs, so few rows.
            let some = format!("(SELECT id FROM few WHERE id <= {SOME})");
            let sql = format!(
                "SELECT count(*) FROM {some} a JOIN {some} b ON a.id + 1 < b.id - 1 JOIN {some} c ON b.id + 0 > c.id + 36"
            );
            assert_eq!(self.number(&sql, hash).await, expected_nested());
            let sql = "SELECT count(*) FROM few WHERE id IN (SELECT id + 1 FROM big) AND id > (SELECT min(id) FROM few)";
            assert_eq!(self.number(sql, hash).await, FEW - 1);
        }
    }
}

/// `a + 1 < b - 1` and `b > c + 36`, over 1..=[`SOME`] each.
fn expected_nested() -> i64 {
    let pairs = |b: i64| (b - 3).max(0) * (b - 37).max(0);
    (1..=SOME).map(pairs).sum()
}

fn counted(batch: &RecordBatch) -> (i64, i64) {
    let ids = batch.column(0).as_primitive::<Int64Type>();
    (i64::try_from(batch.num_rows()).unwrap(), ids.iter().flatten().sum())
}
