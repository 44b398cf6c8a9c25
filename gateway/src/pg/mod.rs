//! The PostgreSQL front door.

pub mod classify;
