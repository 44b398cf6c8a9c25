//! A simulated port: calls, berths, cargo, weather, AIS, and the dirt of real feeds, from one seed.
//!
//! It writes the truth beside the feeds, so that every KPI can be scored. Production must never need this crate.
