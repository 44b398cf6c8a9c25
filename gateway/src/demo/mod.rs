//! The demo port: simulated feeds, an operational database, files and a weather API, all on this machine.
//!
//! Each stage leaves its result under a final name only when it is complete, so that a start after a kill at any
//! moment finds either nothing or everything and goes on from there. Nothing here is special to a query: once the
//! stages are done, the demo is a configuration like any other.

mod feeds;
mod ingest;
mod kpis;
mod operational;
mod sources;
mod stores;

pub use feeds::{DemoPlan, Feeds};
pub use ingest::{Keeping, keep};
pub use kpis::shipped_kpis;
pub use operational::load_operational;
pub use sources::{catalog, serve_weather};
pub use stores::fill_stores;
