//! A read of which nothing has come may be asked for once more: its connection broke, or the server gave it up.
//!
//! Never after the first batch, whose rows would come twice. Whether an error is one that passes, whether others read what
//! only this attempt saw, and whether the source is spared is the executor's to say. Cancel and deadline end the wait as
//! they end the reading, of which it is a part; and an attempt for which no time is left is not made.

use std::time::{Duration, Instant};

use datafusion::common::DataFusionError;
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricBuilder};
use tracing::debug;
use uuid::Uuid;

use super::{Fragment, FragmentExecutor};
use crate::source::SourceError;

/// The name they are counted by.
pub(super) const RETRIES: &str = "retries";
/// Attempts after the first one.
const MOST: usize = 2;
/// The longest wait before one, at random: those whose server fell together must not come back together.
const PAUSE: Duration = Duration::from_millis(100);

/// The further attempts of one reading.
#[derive(Debug)]
pub(super) struct Retries {
    made: usize,
    noted: ExecutionPlanMetricsSet,
}

impl Retries {
    /// None yet; those that will be are counted there.
    pub(super) fn noting(noted: ExecutionPlanMetricsSet) -> Self {
        Self { made: 0, noted }
    }

    /// Whether the fragment, of which nothing came, is asked for again after this error; true after a short wait.
    pub(super) async fn again(
        &mut self,
        executor: &dyn FragmentExecutor,
        fragment: &Fragment,
        error: &DataFusionError,
        deadline: Option<Instant>,
    ) -> bool {
        let DataFusionError::External(cause) = error else { return false };
        let Some(error) = cause.downcast_ref::<SourceError>() else { return false };
        let pause = at_random(PAUSE);
        let in_time =
            deadline.is_none_or(|deadline| deadline.saturating_duration_since(Instant::now()) > pause);
        // Asked last: a yes is spent.
        if self.made >= MOST || !in_time || !executor.may_ask_again(fragment, error) {
            return false;
        }
        self.made += 1;
        // Made when there is one, so that a read without says nothing of them.
        MetricBuilder::new(&self.noted).counter(RETRIES, 0).add(1);
        debug!(error = %error, attempt = self.made + 1, "a read of which nothing came is asked for again");
        tokio::time::sleep(pause).await;
        true
    }
}

/// A time from none to the longest.
fn at_random(longest: Duration) -> Duration {
    // A random number of version 4 has its version and variant in other bytes.
    let [first, second, ..] = *Uuid::new_v4().as_bytes();
    longest.mul_f64(f64::from(u16::from_be_bytes([first, second])) / f64::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_differ_and_stay_within_the_longest() {
        let waits: Vec<Duration> = (0..200).map(|_| at_random(PAUSE)).collect();
        assert!(waits.iter().all(|wait| *wait <= PAUSE));
        let (least, most) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
        assert!(*least < PAUSE / 4 && *most > PAUSE * 3 / 4, "{least:?} {most:?}");
    }
}
