//! The federation seam: a plan is cut into fragments, each fragment passes the gate, an executor runs it.
//!
//! Nothing is sent to a source unless the gate said so, with a reason that `EXPLAIN` shows. An executor must never
//! return a row that local evaluation of the same fragment would not return.

mod alternatives;
mod capability;
mod context;
mod cut;
mod deferred;
mod drain;
mod explain;
mod failing;
mod figures;
mod fragment;
mod gate;
mod keys;
mod leaf;
mod lists;
mod local;
mod measure;
mod minimum;
#[cfg(test)]
mod minimum_tests;
#[cfg(test)]
mod order_tests;
mod parts;
mod proofs;
mod reading;
mod retry;
#[cfg(test)]
mod retry_tests;
mod runtime;
mod schema;
mod shape;
mod share;
mod siblings;
mod silence;
mod slots;
mod statistics;
mod table;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod translate;
mod unique;

pub use capability::{Capability, Evidence};
pub use context::{ExecContext, FederationOptions, QueryContext, QueryId, QueryShared};
pub use cut::physical_optimizer_rules;
pub use failing::{cannot_fail, never_fails};
pub use figures::{FragmentFigures, Size, fragment_figures};
pub use fragment::{Fragment, FragmentExecutor, PushedFilter, Reason, Run, Verdict};
pub(crate) use gate::MAX_LIST;
pub use gate::{decide, unqualified};
pub use keys::without_keys;
pub use leaf::{FederatedScanExec, Unfiltered};
pub use lists::ListRoom;
pub use local::{columns_of, local_verdict, run_on_columns, run_on_provider, run_on_stream};
pub use minimum::tell_minimum;
pub(crate) use parts::{in_parts, readers};
#[cfg(test)]
pub(crate) use proofs::UNPROVEN;
pub use proofs::{KeptProofs, Proven, is_outdated, outdated};
pub(crate) use proofs::{Proofs, Provable, digest, mismatch};
pub use schema::SessionCatalog;
pub use shape::{
    AggregateCall, AggregateFunction, FragmentAggregate, FragmentJoin, FragmentJoinKind, FragmentSort,
};
pub use share::{DividedFile, Division, FilePart, Share};
pub(crate) use silence::attended;
pub use slots::{Slot, Slots};
pub use statistics::{ColumnSummary, TableStatistics};
pub(crate) use statistics::{StatisticsCache, extreme, share_left};
pub use table::FederatedTable;
pub use translate::told_conditions;
