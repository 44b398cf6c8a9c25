//! A simulated port: calls, berths, cargo, weather, AIS, and the dirt of real feeds, from one seed.
//!
//! It writes the truth beside the feeds, so that every KPI can be scored. Production must never need this crate.
//! Invariants:
//!
//! - Truth depends on (`from`, `seed`, `traffic`) only: dirt, AIS rate and thread count change no call, and `[t0, t1)`
//!   is a prefix of `[t0, t2)`.
//! - Times are whole seconds and weights whole kilograms before anything is written.
//! - The feeds carry every truth a KPI needs, as [`feeds`] states field by field.

pub mod closure;
pub mod feeds;
pub mod port;
mod tos_tables;
mod weather;
mod weather_api;

pub use port::{Port, SimConfig, SimulatorError, TosTable, simulate};
pub use tos_tables::TOS_SCHEMA;
pub use weather::Weather;
pub use weather_api::weather_router;
