//! Whole sub-plans on a real PostgreSQL: whatever is sent, the rows and types are those of local evaluation.

#![expect(clippy::unwrap_used, reason = "a suite of tests and their helpers")]

mod fixture;
mod kinds;
mod shapes;
mod traps;
