//! From a plan for this process to one over workers, for one statement.
//!
//! The plan is the one that would run here; nothing about it changes unless all of this holds: workers answer, a leaf of
//! the lake is worth more than one of them, and every operator is one that has been thought through. What goes wrong on
//! the way costs the workers and not the statement: the plan for this process is right in any case.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, exec_err, internal_err};
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::ExecutionPlan;
use datafusion_distributed::{
    DesiredTaskCountEvent, DesiredTaskCountEventResponse, DesiredTaskCountHandler, DistributedExec,
    DistributedExt as _, DistributedLeafExec, NetworkBoundaryExt as _, RouteTasksEvent,
    RouteTasksEventResponse, RouteTasksHandler, ScaleUpLeafNodeEvent, ScaleUpLeafNodeEventResponse,
    ScaleUpLeafNodeHandler, SessionStateBuilderExt as _, WorkerResolver,
};
use portolan_catalog::asof::SourceVersion;
use portolan_catalog::federation::{FederatedScanExec, QueryContext, without_keys};
use url::Url;

use super::carried::Carried;
use super::failure::WorkerFailed;
use super::leaf::DividedExec;
use super::sums::renamed;
use super::travel::{all_travels, may_be_cut, reads_a_source, reshapes_a_local_join, wants_one_task};
use super::workers::Workers;
use crate::settings::Settings;

/// Bytes that are read ahead of each worker.
const READ_AHEAD: usize = 4 << 20;

/// What a statement may ask of the workers.
#[derive(Debug, Clone)]
pub(crate) struct Spread {
    workers: Arc<Workers>,
    /// At most so many of them.
    most: usize,
    /// Bytes of files that are worth one.
    bytes: u64,
}

impl Spread {
    /// What a session allows; `None` if there are no workers, or it wants none.
    pub(crate) fn of(workers: Option<&Arc<Workers>>, settings: &Settings) -> Option<Self> {
        let workers = Arc::clone(workers?);
        let most = settings.value("portolan.workers").parse().unwrap_or(0);
        let bytes = settings.value("portolan.worker_bytes").parse().unwrap_or(u64::MAX).max(1);
        (most > 0).then_some(Self { workers, most, bytes })
    }

    /// The plan over workers and the context to execute it in; `None` if it is to run here as it is.
    pub(crate) async fn over(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
        state: &SessionState,
        measured: bool,
    ) -> Option<(Arc<dyn ExecutionPlan>, Arc<TaskContext>)> {
        match self.try_over(plan, state, measured).await {
            Ok(made) => made,
            Err(error) => {
                tracing::debug!(error = %error, "a statement is answered without workers");
                None
            }
        }
    }

    async fn try_over(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
        state: &SessionState,
        measured: bool,
    ) -> Result<Option<(Arc<dyn ExecutionPlan>, Arc<TaskContext>)>> {
        // Keys cannot be told to another process. Whoever reads files does well without them.
        let plan = without_keys(Arc::clone(plan))?;
        if !may_be_cut(&plan)? || !reads_a_source(&plan)? {
            return Ok(None);
        }
        let context = state.config().get_extension::<QueryContext>().unwrap_or_default();
        let Some(divided) = self.divided(&plan, &context).await? else { return Ok(None) };
        if reshapes_a_local_join(&divided)? {
            return Ok(None);
        }
        let urls = self.workers.usable(self.most).await;
        if urls.is_empty() {
            return Ok(None);
        }
        let session = self.session(divided, state, urls, measured)?;
        let nothing = LogicalPlanBuilder::empty(false).build()?;
        let made = session.query_planner().create_physical_plan(&nothing, &session).await?;
        if !made.is::<DistributedExec>() {
            return Ok(None);
        }
        checked(&made)?;
        note_versions(&made, &context)?;
        Ok(Some((made, session.task_ctx())))
    }

    /// The plan with leaves that can be read in shares; `None` if none is worth it, or another one waits for keys that
    /// spare its source rows.
    async fn divided(
        &self,
        plan: &Arc<dyn ExecutionPlan>,
        context: &QueryContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let mut leaves = Vec::new();
        plan.apply(|node| {
            if node.is::<FederatedScanExec>() {
                leaves.push(Arc::clone(node));
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        let mut instead = VecDeque::with_capacity(leaves.len());
        let mut worth = false;
        for leaf in leaves {
            let Some(leaf) = leaf.downcast_ref::<FederatedScanExec>() else {
                return internal_err!("a leaf is another than it was");
            };
            instead.push_back(match leaf.division(context).await? {
                Some(division) => {
                    worth |= tasks(division.bytes(), self.bytes) > 1;
                    Some(DividedExec::instead_of(leaf, division)?)
                }
                None if leaf.hears_keys() => return Ok(None),
                None => None,
            });
        }
        if !worth {
            return Ok(None);
        }
        // Leaves are met in the order they were listed.
        let made = Arc::clone(plan).transform_up(|node| {
            if node.is::<FederatedScanExec>() {
                return Ok(match instead.pop_front() {
                    Some(Some(other)) => Transformed::yes(other),
                    _ => Transformed::no(node),
                });
            }
            if node.name() == "DeferredExec" && !reads_a_source(&node)? {
                // It spares a server a statement, and there is none below any more.
                let below = node.children().into_iter().next().map(Arc::clone);
                return Ok(below.map_or_else(|| Transformed::no(node), Transformed::yes));
            }
            Ok(renamed(&node)?.map_or_else(|| Transformed::no(node), Transformed::yes))
        })?;
        Ok(Some(made.data))
    }

    /// A session in which the crate cuts the given plan.
    fn session(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        state: &SessionState,
        urls: Vec<Url>,
        measured: bool,
    ) -> Result<SessionState> {
        let routing = Routing { workers: Arc::clone(&self.workers), urls: urls.clone() };
        let carried = Carried::of(state.config_options());
        let config = state
            .config()
            .clone()
            .with_distributed_worker_resolver(Urls(urls))
            .with_distributed_channel_resolver(self.workers.connections().clone())
            .with_distributed_option_extension(carried)
            .with_distributed_desired_task_count_handler(Counting { bytes: self.bytes })
            .with_distributed_scale_up_leaf_node_handler(Shares)
            .with_distributed_route_tasks_handler(routing)
            // A task of a union reads its share of every input.
            .with_distributed_children_isolator_unions(false)?
            .with_distributed_worker_connection_buffer_budget_bytes(READ_AHEAD)?
            .with_distributed_metrics_collection(measured)?;
        let builder = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(Arc::clone(state.runtime_env()))
            .with_query_planner(Arc::new(Given(plan)))
            .with_distributed_planner();
        Ok(builder.build())
    }

    /// Notes the worker that failed a statement with this error; answers whether one did.
    pub(crate) fn note(&self, error: &DataFusionError) -> bool {
        let failed = WorkerFailed::of(error);
        if let Some(failed) = failed {
            self.workers.failed(&failed.worker, &failed.heard);
        }
        failed.is_some()
    }
}

/// How many tasks so many bytes are worth.
fn tasks(bytes: u64, each: u64) -> usize {
    usize::try_from(bytes.div_ceil(each.max(1))).unwrap_or(usize::MAX).max(1)
}

/// Makes sure that what is only for this process is in the last stage, which runs here.
fn checked(plan: &Arc<dyn ExecutionPlan>) -> Result<()> {
    plan.apply(|node| {
        let Some(boundary) = node.as_network_boundary() else { return Ok(TreeNodeRecursion::Continue) };
        let below = boundary.input_stage().local_plan();
        if below.is_none_or(|stage| all_travels(stage).unwrap_or(false)) {
            return Ok(TreeNodeRecursion::Jump);
        }
        internal_err!("a stage of this process would be told to a worker")
    })
    .map(drop)
}

/// Tells the statement's receipt which versions its shares are of.
fn note_versions(plan: &Arc<dyn ExecutionPlan>, context: &QueryContext) -> Result<()> {
    plan.apply(|node| {
        let leaf = node.downcast_ref::<DistributedLeafExec>().map_or(node, DistributedLeafExec::original);
        if let Some(divided) = leaf.downcast_ref::<DividedExec>() {
            let division = divided.division();
            let version = SourceVersion::Delta(division.version);
            context.as_of.record(divided.source(), Some(&division.key), version);
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .map(drop)
}

/// A planner whose plan was made before.
struct Given(Arc<dyn ExecutionPlan>);

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Given")
    }
}

#[async_trait]
impl QueryPlanner for Given {
    async fn create_physical_plan(
        &self,
        _logical: &LogicalPlan,
        _session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::clone(&self.0))
    }
}

struct Urls(Vec<Url>);

impl WorkerResolver for Urls {
    fn get_urls(&self) -> Result<Vec<Url>, DataFusionError> {
        Ok(self.0.clone())
    }
}

/// How many tasks an operator may have: by its bytes for a leaf, one for what stays here or must see all rows.
struct Counting {
    bytes: u64,
}

#[async_trait]
impl DesiredTaskCountHandler for Counting {
    async fn handle(
        &self,
        event: DesiredTaskCountEvent<'_>,
    ) -> Option<Result<DesiredTaskCountEventResponse>> {
        if let Some(leaf) = event.plan.downcast_ref::<DividedExec>() {
            let wanted = tasks(leaf.division().bytes(), self.bytes);
            return Some(Ok(DesiredTaskCountEventResponse::desired(wanted)));
        }
        match all_travels(event.plan) {
            Ok(true) if !wants_one_task(event.plan) => None,
            Ok(_) => Some(Ok(DesiredTaskCountEventResponse::maximum(1))),
            Err(error) => Some(Err(error)),
        }
    }
}

/// Puts shares into the place of a leaf.
struct Shares;

impl ScaleUpLeafNodeHandler for Shares {
    fn handle(&self, event: ScaleUpLeafNodeEvent) -> Option<Result<ScaleUpLeafNodeEventResponse>> {
        let leaf = event.plan.downcast_ref::<DividedExec>()?;
        let shared = leaf.placeholder(event.task_count).and_then(|placeholder| {
            let each = std::iter::repeat_n(placeholder, event.task_count.max(1));
            DistributedLeafExec::try_new(Arc::clone(event.plan), each)
        });
        Some(shared.map(|shared| ScaleUpLeafNodeEventResponse::new(Arc::new(shared))))
    }
}

/// Deals the tasks of a stage out to the workers, beginning with another one each time.
struct Routing {
    workers: Arc<Workers>,
    urls: Vec<Url>,
}

impl RouteTasksHandler for Routing {
    fn handle(&self, event: RouteTasksEvent) -> Option<Result<RouteTasksEventResponse>> {
        match all_travels(event.plan) {
            Ok(true) => {}
            Ok(false) => return Some(exec_err!("a stage of this process has no way to a worker")),
            Err(error) => return Some(Err(error)),
        }
        let first = self.workers.turn();
        let all = self.urls.iter().cycle().skip(first % self.urls.len().max(1));
        Some(Ok(RouteTasksEventResponse::new(all.take(event.task_count).cloned().collect())))
    }
}
