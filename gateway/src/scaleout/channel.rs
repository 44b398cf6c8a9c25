//! The link to a worker: one connection for each, kept, and errors as what they are.
//!
//! A worker that is frozen is noticed by pings while something is asked of it, within a minute; one that is gone at once. So
//! a statement never waits for ever for a worker that does not answer. A busy one answers a ping between two steps of its
//! work, which on a loaded machine take seconds: less patience would take it for dead.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion_distributed::grpc::{BoxCloneSyncChannel, create_worker_client};
use datafusion_distributed::{
    ChannelResolver, CoordinatorToWorkerMsg, ExecuteTaskRequest, GetWorkerInfoRequest, GetWorkerInfoResponse,
    SetPlanRequest, WorkerChannel, WorkerToCoordinatorMsg,
};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use tonic::codegen::http::HeaderMap;
use tonic::transport::{Channel, Endpoint};
use url::Url;

use super::failure::{WorkerFailed, heard};

/// How long a connection may take: workers are on this machine.
const CONNECT: Duration = Duration::from_secs(2);
/// How often a worker that owes an answer is pinged.
const PING: Duration = Duration::from_secs(15);
/// How long it may take to answer that.
const PONG: Duration = Duration::from_secs(40);

/// Connections to workers, made when they are first needed.
#[derive(Debug, Clone, Default)]
pub(super) struct Connections(Arc<Mutex<HashMap<Url, Channel>>>);

impl Connections {
    /// A client of a worker; nothing is sent yet.
    pub(super) fn client(&self, url: &Url) -> Result<Watched> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let channel = match open.get(url) {
            Some(channel) => channel.clone(),
            None => {
                let endpoint = Endpoint::from_shared(url.to_string())
                    .map_err(|error| WorkerFailed { worker: url.to_string(), heard: error.to_string() })?;
                let channel = endpoint
                    .connect_timeout(CONNECT)
                    .http2_keep_alive_interval(PING)
                    .keep_alive_timeout(PONG)
                    .connect_lazy();
                open.insert(url.clone(), channel.clone());
                channel
            }
        };
        let inner = create_worker_client(BoxCloneSyncChannel::new(channel));
        Ok(Watched { url: url.clone(), inner })
    }
}

#[async_trait]
impl ChannelResolver for Connections {
    async fn get_worker_client_for_url(&self, url: &Url) -> Result<Box<dyn WorkerChannel>, DataFusionError> {
        Ok(Box::new(self.client(url)?))
    }
}

/// A client whose errors name the worker, or are the statement's.
pub(super) struct Watched {
    url: Url,
    inner: Box<dyn WorkerChannel>,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

impl Watched {
    fn each<T: 'static>(&self, stream: BoxStream<'static, Result<T>>) -> BoxStream<'static, Result<T>> {
        let url = self.url.clone();
        stream.map(move |item| item.map_err(|error| heard(&url, &error))).boxed()
    }
}

#[async_trait]
impl WorkerChannel for Watched {
    async fn coordinator_channel(
        &mut self,
        headers: HeaderMap,
        plan: SetPlanRequest,
        messages: BoxStream<'static, CoordinatorToWorkerMsg>,
        metrics: ExecutionPlanMetricsSet,
        context: &Arc<TaskContext>,
    ) -> Result<BoxStream<'static, Result<WorkerToCoordinatorMsg>>> {
        let opened = self.inner.coordinator_channel(headers, plan, messages, metrics, context).await;
        opened.map(|stream| self.each(stream)).map_err(|error| heard(&self.url, &error))
    }

    async fn execute_task(
        &mut self,
        headers: HeaderMap,
        request: ExecuteTaskRequest,
        metrics: ExecutionPlanMetricsSet,
        context: &Arc<TaskContext>,
    ) -> Result<Vec<BoxStream<'static, Result<RecordBatch>>>> {
        let begun = self.inner.execute_task(headers, request, metrics, context).await;
        match begun {
            Ok(streams) => Ok(streams.into_iter().map(|stream| self.each(stream)).collect()),
            Err(error) => Err(heard(&self.url, &error)),
        }
    }

    async fn get_worker_info(&mut self, request: GetWorkerInfoRequest) -> Result<GetWorkerInfoResponse> {
        self.inner.get_worker_info(request).await.map_err(|error| heard(&self.url, &error))
    }
}
