//! Suites of the source kinds against real servers, one module a kind.
//!
//! `cargo x up` starts the servers and `cargo x test` does so by itself. A missing server is a failure that says
//! so, never a skipped test. Every test makes a database, topic or directory of its own, so that all run at once.

mod crowd;
mod database;
mod dice;
mod faults;
mod hdfs;
mod kafka;
mod kept;
mod leftover;
mod limits;
mod load;
mod mongodb;
mod mysql;
mod postgres;
mod servers;
mod session;
mod shapes;
mod terminator;
mod turns;
