//! Portolan's gateway: sessions, the PostgreSQL wire protocol, Arrow Flight SQL, the engine and the command line.
//!
//! Only `session` builds a DataFusion session and only `engine` executes plans. This crate must never build SQL
//! text for a source.

pub mod admin;
pub mod cli;
pub mod demo;
pub mod engine;
pub mod error;
pub mod flight;
mod functions;
pub mod mirror;
pub mod pg;
pub mod pgtypes;
pub mod project;
pub mod scaleout;
pub mod serve;
pub mod session;
pub mod settings;
pub mod shadow;
pub mod system;
