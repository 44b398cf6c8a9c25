//! A worker: a process that runs stages of statements which a gateway cut, over lakes of its own.
//!
//! It knows lakes and functions, and no source, user or password. It keeps nothing: what a stage needs comes with it, and
//! is forgotten when the statement ends, or after ten minutes if that is never told. Only operators that a gateway of ours
//! would send are run; a plan that reads anything but a lake's tables is refused.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, exec_err};
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionState;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::filter::FilterExec;
use datafusion_distributed::{
    DistributedExt as _, DistributedTaskContext, Worker, WorkerPlanRewriteEvent,
    WorkerPlanRewriteEventResponse, WorkerPlanRewriteHandler, WorkerQueryContext, WorkerSessionBuilder,
};
use portolan_catalog::federation::{
    FederatedScanExec, Fragment, PushedFilter, QueryContext, Verdict, told_conditions,
};
use portolan_catalog::lake::LakeSource;
use portolan_catalog::source::Source as _;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;

use super::carried::Carried;
use super::channel::Connections;
use super::leaf::{Lakes, told};
use super::retold::telling;
use super::travel::{FUNCTIONS, travels};
use super::workers::VERSION;

/// How long running stages may take to end when the worker is told to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// What a worker works with.
#[derive(Debug)]
pub struct WorkerConfig {
    /// The lakes it reads, under the names that the gateway has for them.
    pub lakes: Vec<LakeSource>,
    /// Bytes that all its stages together may hold.
    pub memory_bytes: usize,
}

/// Works until told to stop.
///
/// # Errors
/// When the socket fails, or the memory cannot be set up.
pub async fn serve(
    listener: TcpListener,
    config: WorkerConfig,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let WorkerConfig { lakes, memory_bytes } = config;
    let lakes: Lakes = lakes.into_iter().map(|lake| (lake.name().clone(), lake.executor())).collect();
    let runtime =
        RuntimeEnvBuilder::new().with_memory_pool(Arc::new(FairSpillPool::new(memory_bytes))).build_arc()?;
    let sessions = Sessions { lakes: Arc::new(lakes), connections: Connections::default() };
    let worker = Worker::from_session_builder(sessions).with_runtime_env(runtime).with_version(VERSION);
    let served = tonic::transport::Server::builder()
        .add_service(worker.into_worker_server())
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop.clone().cancelled_owned());
    let overdue = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        served = served => Ok(served?),
        () = overdue => Ok(()),
    }
}

/// Makes the session of a stage.
#[derive(Debug)]
struct Sessions {
    lakes: Arc<Lakes>,
    connections: Connections,
}

#[async_trait]
impl WorkerSessionBuilder for Sessions {
    async fn build_session_state(
        &self,
        context: WorkerQueryContext,
    ) -> Result<SessionState, DataFusionError> {
        let WorkerQueryContext { mut builder, headers } = context;
        let mut config = builder.config().take().unwrap_or_default();
        config.set_distributed_option_extension_from_headers::<Carried>(&headers)?;
        if let Some(carried) = config.options().extensions.get::<Carried>().cloned() {
            carried.apply(config.options_mut())?;
        }
        config.set_distributed_channel_resolver(self.connections.clone());
        config.set_distributed_worker_plan_rewrite_handler(Reading(Arc::clone(&self.lakes)));
        config.set_extension(Arc::new(QueryContext::default()));
        Ok(builder
            .with_config(config)
            .with_scalar_functions(FUNCTIONS.scalar.clone())
            .with_aggregate_functions(FUNCTIONS.aggregate.clone())
            .build())
    }
}

/// Puts the readers of lakes into a stage, and refuses what no gateway of ours sends.
struct Reading(Arc<Lakes>);

impl WorkerPlanRewriteHandler for Reading {
    fn rewrite_worker_plan(&self, event: WorkerPlanRewriteEvent) -> Result<WorkerPlanRewriteEventResponse> {
        let task = event.session_config.get_extension::<DistributedTaskContext>();
        let task = task.map_or(0, |task| task.task_index);
        let stage = event.plan.transform_up(|node| self.at(node, task))?.data;
        Ok(WorkerPlanRewriteEventResponse::new(telling(stage)?))
    }
}

impl Reading {
    fn at(&self, node: Arc<dyn ExecutionPlan>, task: usize) -> Result<Transformed<Arc<dyn ExecutionPlan>>> {
        if let Some(placeholder) = node.downcast_ref::<EmptyExec>() {
            return match told(placeholder, task, &self.0)? {
                Some(reader) => Ok(Transformed::yes(reader)),
                None => exec_err!("a worker reads tables of lakes only"),
            };
        }
        if !travels(&node)? {
            return exec_err!("a worker does not do what {} does", node.name());
        }
        match self.pruned(&node)? {
            Some(filter) => Ok(Transformed::yes(filter)),
            None => Ok(Transformed::no(node)),
        }
    }

    /// A filter over a reader that was told what of the condition it can use; `None` for anything else.
    fn pruned(&self, node: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(filter) = node.downcast_ref::<FilterExec>() else { return Ok(None) };
        let Some(reader) = filter.input().downcast_ref::<FederatedScanExec>() else { return Ok(None) };
        let Some(executor) = self.0.get(reader.source()) else { return Ok(None) };
        let table = &reader.fragment().table;
        let filters: Vec<PushedFilter> = told_conditions(filter.predicate(), &reader.schema())
            .into_iter()
            .filter(|expr| executor.verdict(table, expr) == Verdict::Exact)
            .map(|expr| PushedFilter { expr, exact: true })
            .collect();
        if filters.is_empty() {
            return Ok(None);
        }
        let fragment = Fragment { filters, ..reader.fragment().clone() };
        let reader = FederatedScanExec::told(reader.source().clone(), fragment, Arc::clone(executor))?;
        replace_children_if_necessary(Arc::clone(node), vec![Arc::new(reader)]).map(Some)
    }
}
