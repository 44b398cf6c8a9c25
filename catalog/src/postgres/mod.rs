//! PostgreSQL as a source: one remote namespace shown as one schema, read through `COPY … (FORMAT binary)`.
//!
//! Everything that reaches a server as text is made here: identifiers and literals by [`quote_identifier`] and
//! [`literal`], the one escaper, and statements by the renderer. Text written by a user never goes down as it is.

mod error;
mod literal;

pub use error::server_error;
pub use literal::{quote_identifier, quote_literal};
