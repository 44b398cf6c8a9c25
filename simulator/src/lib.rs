//! A simulated port: calls, berths, cargo, movements, weather, AIS, and the dirt of real feeds, from one seed.
//!
//! It writes the truth beside the feeds, so that every KPI can be scored. Production must never need this crate.
//! Invariants:
//!
//! - Truth depends on (`from`, `seed`, `traffic`) only: dirt, AIS rate and thread count change no call, and `[t0, t1)`
//!   is a prefix of `[t0, t2)`.
//! - Times are whole seconds and weights whole kilograms before anything is written.
//! - The feeds carry every truth a KPI needs, as [`feeds`] states field by field.

mod ais;
pub mod closure;
mod documents;
mod draw;
pub mod feeds;
mod fleet;
mod movements;
pub mod port;
mod rows;
mod sim;
pub mod span;
mod tos_rows;
mod tos_tables;
mod truth;
mod weather;
mod weather_api;
mod world;

pub use movements::Movement;
pub use port::{Port, SimConfig, SimulatorError, TosTable, simulate};
pub use tos_tables::TOS_SCHEMA;
pub use weather::Weather;
pub use weather_api::weather_router;
