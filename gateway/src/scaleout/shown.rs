//! A plan over workers as `EXPLAIN ANALYZE` shows it: with what the workers measured, if they have told it in time.

use std::sync::Arc;
use std::time::Duration;

use datafusion::physical_plan::ExecutionPlan;
use datafusion_distributed::{
    DistributedExec, DistributedMetricsFormat, rewrite_distributed_plan_with_metrics,
};

/// How long is waited for what workers measured, after the rows are there.
const WAIT: Duration = Duration::from_secs(5);

/// The plan with the measures of all its tasks added up; any other plan as it is.
pub(crate) async fn with_measures(plan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    if !plan.is::<DistributedExec>() {
        return plan;
    }
    let measured =
        rewrite_distributed_plan_with_metrics(Arc::clone(&plan), DistributedMetricsFormat::Aggregated);
    match tokio::time::timeout(WAIT, measured).await {
        Ok(Ok(measured)) => measured,
        Ok(Err(error)) => {
            tracing::debug!(error = %error, "what workers measured cannot be shown");
            plan
        }
        Err(_) => plan,
    }
}
