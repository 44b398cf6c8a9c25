//! Portolan's ingest: keeps the lake and the warehouse true, and proves it.
//!
//! Every job is idempotent for (pipeline, interval). This crate must never open a store except through the catalog,
//! and never guess the outcome of a commit.
