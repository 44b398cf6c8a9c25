//! MySQL and MariaDB as a source: one database shown as one schema, read as binary rows of prepared statements.
//!
//! Everything that reaches a server as text is made here: names by the one escaper, statements by the renderer;
//! values are always bound, never written into text. It must never dial anybody while a configuration is read or a
//! query is planned, never buffer a whole answer, and never lend a connection again whose statement was cancelled.

mod column;
mod config;
mod decode;
mod error;
mod executor;
mod introspect;
mod literal;
mod load;
mod pool;
mod probe;
mod render;
mod select;
mod session;
mod shape;
mod source;

pub use config::{MysqlConfig, MysqlTls, ZeroDates};
pub use executor::MysqlExecutor;
pub use load::{LoadTable, load};
pub use source::MysqlSource;
