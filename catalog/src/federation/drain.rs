//! A leaf's answer that goes on being read when its reader stands still and others wait for the source.
//!
//! As long as nobody waits, or the reader keeps up, batches pass through and nothing is kept here. Otherwise the
//! answer is read into memory that the query's pool accounts for, at most [`MEMORY`] of it, and from there on into
//! spill files of the disk manager; the source's slot is free as soon as the source has sent all. It must never give
//! batches in another order, nor go on after an error, and it never holds more than the pools allow: the disk
//! manager's limit is an error of the query.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::config::SpillCompression;
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::SpillManager;
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, SpillMetrics};
use datafusion::physical_plan::spill::get_record_batch_memory_size;
use datafusion::physical_plan::spill::spill_pool::{self, SpillPoolSink};
use futures::{Stream, StreamExt};

use super::Slots;

/// What one leaf keeps in memory before it spills, bytes.
const MEMORY: usize = 16 * 1024 * 1024;
/// Size at which a spill file is closed, so that what was read again can be deleted.
const FILE: usize = 64 * 1024 * 1024;
/// A reader that asked for nothing for so long stands still.
const STILL: Duration = Duration::from_millis(20);

/// Where a leaf may keep what its reader did not take yet.
#[derive(Clone)]
pub(super) struct Room {
    pub(super) task: Arc<TaskContext>,
    /// Spilled bytes, rows and files are counted here.
    pub(super) metrics: ExecutionPlanMetricsSet,
}

/// The answer, read ahead when the source's slots are wanted.
pub(super) fn beside_waiters(
    answer: SendableRecordBatchStream,
    slots: Slots,
    room: Room,
) -> SendableRecordBatchStream {
    let schema = answer.schema();
    let held =
        Held { schema: Arc::clone(&schema), room, memory: VecDeque::new(), reserved: None, spilled: None };
    let state = State { answer: Some(answer), held, failed: None, asked: Instant::now(), asking: None };
    let shared = Arc::new(Shared(Mutex::new(state)));
    let draining = SpawnedTask::spawn(drain(Arc::clone(&shared), slots));
    Box::pin(Drained { schema, shared, _draining: draining })
}

struct Shared(Mutex<State>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct State {
    /// The source's answer, until it ended or failed.
    answer: Option<SendableRecordBatchStream>,
    held: Held,
    /// Comes after what is held.
    failed: Option<DataFusionError>,
    /// When the reader last asked.
    asked: Instant,
    /// The reader waits for the source itself, which then wakes it and nobody else.
    asking: Option<Arc<Call>>,
}

/// Wakes the reader, and knows since when it could have come.
struct Call {
    reader: Waker,
    made: Mutex<Option<Instant>>,
}

impl Call {
    fn made(&self) -> Option<Instant> {
        *self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
        self.reader.wake_by_ref();
    }
}

impl State {
    /// What the reader gets.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<RecordBatch>>> {
        self.asked = Instant::now();
        self.asking = None;
        if let Some(held) = self.held.poll_take(cx) {
            return held.map(Some);
        }
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let Some(answer) = self.answer.as_mut() else { return Poll::Ready(None) };
        let call = Arc::new(Call { reader: cx.waker().clone(), made: Mutex::default() });
        let polled = answer.poll_next_unpin(&mut Context::from_waker(&Waker::from(Arc::clone(&call))));
        match &polled {
            Poll::Pending => self.asking = Some(call),
            Poll::Ready(None | Some(Err(_))) => self.answer = None,
            Poll::Ready(Some(Ok(_))) => {}
        }
        polled
    }

    /// Whether the reader does not come although it could.
    fn is_left_alone(&self) -> bool {
        match &self.asking {
            Some(call) => call.made().is_some_and(|made| made.elapsed() >= STILL),
            None => self.asked.elapsed() >= STILL,
        }
    }

    /// Reads one batch ahead.
    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<Ahead> {
        if !self.is_left_alone() {
            return Poll::Ready(Ahead::Wanted);
        }
        let Some(answer) = self.answer.as_mut() else { return Poll::Ready(Ahead::Ended) };
        let Poll::Ready(item) = answer.poll_next_unpin(cx) else { return Poll::Pending };
        let kept = match item {
            Some(Ok(batch)) => self.held.keep(batch),
            Some(Err(error)) => Err(error),
            None => {
                self.answer = None;
                return Poll::Ready(Ahead::Ended);
            }
        };
        match kept {
            Ok(()) => Poll::Ready(Ahead::Kept),
            Err(error) => {
                // Dropped, which stops the source and frees its slot.
                self.answer = None;
                self.failed = Some(error);
                Poll::Ready(Ahead::Ended)
            }
        }
    }
}

/// What reading ahead came to.
enum Ahead {
    /// A batch was kept.
    Kept,
    /// The reader is there again.
    Wanted,
    /// The source has nothing more.
    Ended,
}

async fn drain(shared: Arc<Shared>, slots: Slots) {
    loop {
        slots.until_wanted().await;
        let ahead = std::future::poll_fn(|cx| shared.lock().poll_ahead(cx));
        // A reader that came and went takes the source's wake-up with it, so this looks again by itself.
        match tokio::time::timeout(STILL, ahead).await {
            Ok(Ahead::Kept) => tokio::task::coop::consume_budget().await,
            Ok(Ahead::Ended) => return,
            Ok(Ahead::Wanted) => tokio::time::sleep(STILL).await,
            Err(_elapsed) => {}
        }
    }
}

/// Batches that were read ahead: first those in memory, then those on disk.
struct Held {
    schema: SchemaRef,
    room: Room,
    memory: VecDeque<(RecordBatch, usize)>,
    /// Made when first needed: a consumer that only might spill takes from the others' shares.
    reserved: Option<MemoryReservation>,
    spilled: Option<Spilled>,
}

struct Spilled {
    sink: SpillPoolSink,
    back: SendableRecordBatchStream,
    batches: usize,
}

impl Held {
    fn keep(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        if self.spilled.is_none() {
            let size = get_record_batch_memory_size(&batch);
            let pool = self.room.task.memory_pool();
            let reserved = self.reserved.get_or_insert_with(|| {
                MemoryConsumer::new("FederatedLeaf").with_can_spill(true).register(pool)
            });
            if reserved.size() + size <= MEMORY && reserved.try_grow(size).is_ok() {
                self.memory.push_back((batch, size));
                return Ok(());
            }
        }
        if batch.schema_ref().fields() != self.schema.fields() {
            return internal_err!("a source's batch has other columns than its stream");
        }
        let spilled = match self.spilled.as_mut() {
            Some(spilled) => spilled,
            None => {
                let metrics = SpillMetrics::new(&self.room.metrics, 0);
                let manager =
                    SpillManager::new(self.room.task.runtime_env(), metrics, Arc::clone(&self.schema))
                        .with_compression_type(SpillCompression::Lz4Frame);
                let (sink, back) = spill_pool::spsc_channel(FILE, Arc::new(manager));
                self.spilled.insert(Spilled { sink, back, batches: 0 })
            }
        };
        spilled.sink.push_batch(&batch)?;
        spilled.batches += 1;
        Ok(())
    }

    /// Gives memory and files back.
    fn forget(&mut self) {
        self.memory.clear();
        self.reserved = None;
        self.spilled = None;
    }

    /// The next batch, if any is held.
    fn poll_take(&mut self, cx: &mut Context<'_>) -> Option<Poll<Result<RecordBatch>>> {
        if let Some((batch, size)) = self.memory.pop_front() {
            if let Some(reserved) = &self.reserved {
                reserved.shrink(size);
            }
            if self.memory.is_empty() {
                self.reserved = None;
            }
            return Some(Poll::Ready(Ok(batch)));
        }
        let spilled = self.spilled.as_mut()?;
        if spilled.batches == 0 {
            self.spilled = None;
            return None;
        }
        Some(match spilled.back.poll_next_unpin(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(batch))) => {
                spilled.batches -= 1;
                Poll::Ready(Ok(batch))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Err(error)),
            Poll::Ready(None) => Poll::Ready(internal_err!("spilled rows are missing")),
        })
    }
}

/// The reader's end. Dropping it drops the answer, which stops the work at the source.
struct Drained {
    schema: SchemaRef,
    shared: Arc<Shared>,
    _draining: SpawnedTask<()>,
}

impl Stream for Drained {
    type Item = Result<RecordBatch>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.shared.lock().poll_next(cx)
    }
}

impl RecordBatchStream for Drained {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        // The task that drains may live a moment longer; what it keeps must not.
        let mut state = self.shared.lock();
        state.held.forget();
        let answer = state.answer.take();
        drop(state);
        drop(answer);
    }
}

#[cfg(test)]
#[path = "drain_tests.rs"]
mod tests;
