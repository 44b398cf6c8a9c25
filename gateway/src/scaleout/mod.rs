//! Scale-out: parts of a statement that read only the lake run in other processes, the workers.
//!
//! Everything of datafusion-distributed is behind this module, because that crate is young. It is used like this:
//!
//! - A statement is planned as ever, for this process alone. Only then, and only if workers are configured, [`Spread`] asks
//!   which leaves can be read in shares and has the crate cut that plan into stages. Without workers nothing here runs.
//! - A worker gets what is [known to travel](travel): operators and functions that a name tells whole, and leaves that are
//!   a table of the lake, one version of it and a part of its files. Everything else stays in this process, in the
//!   statement's last stage, together with everything above it: leaves of other sources, joins that ask whether their
//!   statement still runs. So no worker ever waits for this process, and no text for a source, address or password
//!   travels; a leaf of another source has no form on the wire, and to send one is an error.
//! - A leaf here is one partition, so operators above it may rely on seeing all rows. Such operators get one task.
//! - What fails at a worker is told as an error of the statement with its SQLSTATE; what fails of a worker is answered once
//!   more in this process alone if no row is out, and is 58000 with the worker's name if one is.
//!
//! Workers listen on the loopback address only, because the link has no TLS yet.

mod carried;
mod channel;
mod failure;
mod leaf;
mod place;
mod retold;
mod shown;
mod spread;
mod sums;
mod travel;
mod worker;
mod workers;

#[cfg(test)]
mod tests;

pub(crate) use failure::lost;
pub use place::WorkerUrl;
pub(crate) use shown::with_measures;
pub(crate) use spread::Spread;
pub use worker::{WorkerConfig, serve};
pub use workers::{Standing, WorkerStatus, Workers};
