//! Whole sub-plans on a real PostgreSQL: whatever is sent, the rows and types are those of local evaluation.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a suite of tests and their helpers")]

mod collations;
mod declared;
mod drift;
mod fixture;
mod groups;
mod kinds;
mod migrations;
mod names;
mod proofs;
mod retry;
mod shapes;
mod slots;
mod snapshot;
mod statistics;
mod texts;
mod tls;
mod traps;
