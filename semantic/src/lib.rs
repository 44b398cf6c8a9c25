//! Portolan's semantic layer: KPI files become a checked model, and measure calls become plans.
//!
//! This crate knows DataFusion only. It must never do I/O, know a store, or guess: a number that cannot be right
//! is an error with a hint.
//!
//! Invariants:
//! 1. A KPI file with mistakes disables its own KPIs only, and every mistake of every file is reported in one run.
//! 2. The value of a measure never depends on the measures beside it, on LIMIT, or on the number of partitions.
//! 3. What the language has and this crate does not compute yet is refused by name, never ignored.

mod context;
mod diagnostic;
mod document;
mod error;
mod expand;
mod grain;
mod group;
mod kpi;
mod listing;
mod measure;
mod metric;
mod model;
mod parse;
mod percentile;
mod period;
mod query;
mod reader;
mod resolve;
mod scalar;
mod semantics;
mod stitch;
pub mod units;
mod view;
mod yaml;

pub use diagnostic::{Diagnostic, Severity, render_json, render_text};
pub use error::SemanticError;
pub use model::{
    Aggregate, Clock, Dimension, Disabled, Entity, Flat, Grain, JoinDef, KpiModel, KpiTest, Measure, Metric,
    MetricKind, Model, Owner, Scalar, Status, TableName, Unmapped, Unmatched, ValueType,
};
pub use parse::{Loaded, load};
pub use semantics::{KpiRow, Semantics, TableResolver, ViewDef};
