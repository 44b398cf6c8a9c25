//! How long a source may say nothing.
//!
//! A long silence is no failure by itself: a sort or an aggregate may take minutes. So a source that has been silent
//! is asked, on another connection, whether it still answers anybody. A server that is frozen, or behind a network that
//! swallows packets, fails its own queries then, within [`SILENCE`] and the time of one attempt to connect.

use std::pin::pin;
use std::time::Duration;

use super::FragmentExecutor;
use crate::source::{SourceError, SourceErrorKind, SourceName};

/// A source that said nothing for so long is asked whether it is there.
const SILENCE: Duration = Duration::from_secs(10);

/// Waits for a source for as long as it answers others.
///
/// # Errors
/// `Unreachable` if it does not.
pub(crate) async fn attended<T>(
    source: &SourceName,
    executor: &dyn FragmentExecutor,
    wait: impl Future<Output = T>,
) -> Result<T, SourceError> {
    let mut wait = pin!(wait);
    loop {
        tokio::select! {
            biased;
            done = &mut wait => return Ok(done),
            () = tokio::time::sleep(SILENCE) => {}
        }
        tokio::select! {
            biased;
            done = &mut wait => return Ok(done),
            answer = executor.answers() => if let Err(error) = answer {
                let message = format!("source \"{source}\" does not answer any more");
                return Err(SourceError::new(SourceErrorKind::Unreachable, message)
                    .with_source(source)
                    .with_hint("see system.sources; the query can be run again when the source is back")
                    .with_cause(error));
            }
        }
    }
}
