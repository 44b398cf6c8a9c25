//! Portolan's ingest: keeps the lake and the warehouse true, and proves it.
//!
//! A record's way: a source is read as a whole snapshot and appended to bronze as received; declared SQL and a
//! contract make silver and gold of it, with every refused row in quarantine under a rule id; the star is loaded in
//! one PostgreSQL transaction together with its ledger row. Invariants:
//!
//! - Every row read on a hop has exactly one fate; a hop whose counts do not add up publishes nothing.
//! - Every job is idempotent: the same input again writes nothing.
//! - Silver, gold and the star are functions of bronze and of files in git; no outcome is guessed.
//!
//! This crate must never open a store except through the catalog.

mod check;
mod contract;
mod crosswalk;
mod decode;
mod digest;
pub mod error;
mod functions;
mod history;
mod job;
mod land;
mod ledger;
pub mod pipeline;
mod prove;
mod publish;
mod quarantine;
mod refine;
pub mod report;
mod spans;
mod transform;
mod yaml;

pub use error::{ErrorClass, IngestError};
pub use history::LedgerView;
pub use job::{Ingest, IngestConfig};
pub use pipeline::{Diagnostic, Pipelines, load_pipelines, shipped_pipelines};
pub use prove::Proof;
pub use report::{Attempt, Failure, HopReport, Interval, NoProgress, Progress, Report, RunReport};
