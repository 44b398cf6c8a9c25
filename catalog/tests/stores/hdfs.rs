//! The lake on a real HDFS: commits, reads, concurrent writers, and what happens when a node says nothing.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a suite of tests and their helpers")]

mod commits;
mod faults;
mod fixture;
mod proxy;
