//! Embedded PostgreSQL: a real server for machines that have none, one child process per data directory.
//!
//! The embedded server cannot be cancelled, ignores `statement_timeout`, and ends its listener for good after any
//! protocol error (pglite-oxide 0.5.1, `proxy.rs` and `server.rs`). So it never runs inside this process: the same
//! binary starts itself as `embedded-postgres`, the parent supervises it, and a restart is the one remedy for
//! everything. The server answers one connection at a time, so nobody may dial a socket that another part of the
//! program already holds: [`EmbeddedPostgres`] owns the only connection and lends it out, one lease at a time.
//!
//! The parent's end of the child's standard input is the leash: when the parent dies, however it dies, the child
//! reads end-of-file and leaves, which frees the data directory for the next start.

mod lease;
mod process;
mod serve;

pub use lease::{EmbeddedPostgres, Lease};
pub use process::{EmbeddedConfig, EmbeddedProcess};
pub use serve::{ServeArgs, serve_embedded};

/// Name of the subcommand that the executable must route to [`serve_embedded`].
pub const SUBCOMMAND: &str = "embedded-postgres";

/// The line the child writes to standard output once its socket accepts connections.
const READY_LINE: &str = "portolan embedded postgres ready";

/// The line the child writes instead when it cannot serve; the reason follows.
const FAILED_PREFIX: &str = "portolan embedded postgres failed: ";

/// Database that always exists in a fresh data directory.
const TEMPLATE_DATABASE: &str = "template1";
