//! Topics of a real broker as tables: what is read, where a scan ends, and what happens when nothing answers.

#![expect(clippy::unwrap_used, reason = "a suite of tests and their helpers")]

mod broker;
mod ends;
mod faults;
mod fixture;
mod proxy;
mod rows;
