//! Portolan's semantic layer: KPI files become a checked model, and measure calls become plans.
//!
//! This crate knows DataFusion only. It must never do I/O, know a store, or guess: a number that cannot be right
//! is an error with a hint.
