//! Portolan's catalog: which stores exist, how they are reached, and what they promise.
//!
//! This crate owns every store connection and driver, the federation seam (fragment → gate → executor), the
//! lake's tables, embedded PostgreSQL and the as-of vector. It must never know a client protocol, a KPI or a
//! pipeline. Invariants:
//!
//! - A source that is down never prevents opening the catalog or using another source.
//! - Text for a source contains a user's literal only through [`federation`]'s own escaper.
//! - Dropping a result stream stops the work here and at the source.

pub mod asof;
mod authority;
pub mod config;
pub mod copies;
pub mod declared;
pub mod embedded;
pub mod federation;
pub mod files;
pub mod health;
pub mod kafka;
pub mod kills;
pub mod lake;
pub mod limits;
pub mod mongodb;
pub mod mysql;
pub mod postgres;
pub mod registry;
pub mod rest;
pub mod secret;
pub mod simplify;
pub mod snapshot;
pub mod source;
pub mod star;
pub mod yaml;

pub use registry::Catalog;
