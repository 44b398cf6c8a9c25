//! MySQL and MariaDB against a real server: types, gate, names, cancel, faults.
//!
//! Every test makes its own database and drops it at its end.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a suite of tests and their helpers")]

mod charsets;
mod declared;
mod faults;
mod fixture;
mod gate;
mod hostile;
mod meaning;
mod private;
mod proofs;
mod retry;
mod shapes;
mod slots;
mod tables;
mod turns;
mod values;
