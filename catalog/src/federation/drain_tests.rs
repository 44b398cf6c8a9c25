//! An answer read ahead of a reader that stands still: all of it, in its order, and nothing after an error.

use datafusion::arrow::array::{AsArray, Int64Array};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema};
use datafusion::common::exec_datafusion_err;
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::*;

fn one_slot() -> Slots {
    let name = crate::source::SourceName::try_new("ops").unwrap();
    Slots::new(&name, 1, crate::limits::SlotWait::default())
}

/// 64 kB each.
const ROWS: i64 = 8_192;

fn batch(schema: &SchemaRef, number: i64) -> RecordBatch {
    let values = Int64Array::from_iter_values(number * ROWS..(number + 1) * ROWS);
    RecordBatch::try_new(Arc::clone(schema), vec![Arc::new(values)]).unwrap()
}

/// A source that sends so many batches, two ahead, and then perhaps fails; its slot is free when it is done.
fn source(batches: i64, fails: bool, slot: super::super::Slot) -> SendableRecordBatchStream {
    let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
    let (sender, receiver) = mpsc::channel(2);
    let sent = Arc::clone(&schema);
    tokio::spawn(async move {
        for number in 0..batches {
            if sender.send(Ok(batch(&sent, number))).await.is_err() {
                return;
            }
        }
        if fails {
            let _ = sender.send(Err(exec_datafusion_err!("the source broke"))).await;
        }
        drop(slot);
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, ReceiverStream::new(receiver)))
}

fn room(memory: usize) -> (Room, SessionContext) {
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(GreedyMemoryPool::new(memory)))
        .build_arc()
        .unwrap();
    let context = SessionContext::new_with_config_rt(SessionConfig::new(), runtime);
    (Room { task: context.task_ctx(), metrics: ExecutionPlanMetricsSet::new() }, context)
}

/// Reads one batch, stands still until another reader got the slot, reads the rest.
async fn stalled(batches: i64, fails: bool, memory: usize) -> (Vec<i64>, Option<String>, Room) {
    let slots = one_slot();
    let slot = slots.acquire(None).await.unwrap();
    let (room, context) = room(memory);
    let seen = Room { task: Arc::clone(&room.task), metrics: room.metrics.clone() };
    let mut stream = beside_waiters(source(batches, fails, slot), slots.clone(), room);
    let mut firsts = Vec::new();
    let first = stream.next().await.unwrap().unwrap();
    firsts.push(first.column(0).as_primitive::<Int64Type>().value(0));
    // Nothing but reading ahead frees the slot.
    let waited = tokio::time::timeout(Duration::from_secs(60), slots.acquire(None)).await;
    drop(waited.unwrap().unwrap());
    let mut error = None;
    while let Some(item) = stream.next().await {
        match item {
            Ok(batch) => firsts.push(batch.column(0).as_primitive::<Int64Type>().value(0)),
            Err(failed) => error = Some(failed.to_string()),
        }
    }
    drop(stream);
    assert_eq!(context.runtime_env().memory_pool.reserved(), 0);
    (firsts, error, seen)
}

fn in_order(batches: i64) -> Vec<i64> {
    (0..batches).map(|number| number * ROWS).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_ahead_comes_in_its_order_from_memory_and_disk() {
    for (batches, memory, spills) in
        [(20, 1 << 30, false), (400, 1 << 30, true), (60, 1 << 20, true), (40, 0, true)]
    {
        let (firsts, error, room) = stalled(batches, false, memory).await;
        assert_eq!((firsts, error), (in_order(batches), None));
        let spilled = room.metrics.clone_inner().spilled_rows().unwrap_or_default();
        assert_eq!(spilled > 0, spills, "{batches} batches, {memory} bytes: {spilled} rows spilled");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_comes_after_what_came_before_it_and_is_the_end() {
    let (firsts, error, _) = stalled(300, true, 1 << 20).await;
    assert_eq!(firsts, in_order(300));
    assert!(error.unwrap().contains("the source broke"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_keeps_up_or_leaves_keeps_nothing() {
    let slots = one_slot();
    let (room, context) = room(1 << 30);
    let metrics = room.metrics.clone();
    let slot = slots.acquire(None).await.unwrap();
    let mut stream = beside_waiters(source(50, false, slot), slots.clone(), room);
    let mut rows = 0;
    while let Some(item) = stream.next().await {
        rows += item.unwrap().num_rows();
        assert_eq!(context.runtime_env().memory_pool.reserved(), 0, "nobody waits");
    }
    assert_eq!((rows, metrics.clone_inner().spilled_rows()), (50 * 8_192, None));
    // One that leaves drops the source's stream, whoever waits.
    let (room, _context) = self::room(1 << 30);
    let slot = slots.acquire(None).await.unwrap();
    let mut stream = beside_waiters(source(1_000_000, false, slot), slots.clone(), room);
    stream.next().await.unwrap().unwrap();
    drop(stream);
    tokio::time::timeout(Duration::from_secs(60), slots.acquire(None)).await.unwrap().unwrap();
}
