//! PostgreSQL as a source: one remote namespace shown as one schema, read through `COPY … (FORMAT binary)`.
//!
//! Everything that reaches a server as text is made here: identifiers and literals by the one escaper
//! ([`quote_identifier`], [`quote_literal`]), statements by the renderer. Text written by a user never goes down as
//! it is. An embedded server has one connection, so its answers are drained before the first batch is emitted:
//! two leaves of one query on it can then never wait for each other.

mod column;
mod copy_in;
mod decode;
mod drift;
mod error;
mod executor;
mod introspect;
mod literal;
mod migrate;
mod numeric;
mod pool;
mod probe;
mod ranges;
mod reading;
mod relay;
mod render;
mod select;
mod snapshot;
mod source;
mod statistics;
mod tls;

pub use copy_in::copy_in;
pub use error::server_error;
pub use executor::PostgresExecutor;
pub use literal::{quote_identifier, quote_literal};
pub use migrate::{MigrationStep, Migrations};
pub(crate) use pool::CONNECTIONS;
pub use pool::{PoolLease, PostgresPool};
pub use source::PostgresSource;
pub use tls::PostgresTls;
