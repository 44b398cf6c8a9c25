//! The federation seam: a plan is cut into fragments, each fragment passes the gate, an executor runs it.
//!
//! Nothing is sent to a source unless the gate said so, with a reason that `EXPLAIN` shows. An executor must never
//! return a row that local evaluation of the same fragment would not return.

mod context;
mod fragment;

pub use context::{ExecContext, FederationOptions, QueryContext, QueryId};
pub use fragment::{Fragment, FragmentExecutor, PushedFilter, Reason, Verdict};
