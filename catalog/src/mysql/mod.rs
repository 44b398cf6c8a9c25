//! MySQL and MariaDB as a source.
//!
//! It must never dial anybody while a configuration is read or a query is planned.

mod config;

pub use config::MysqlConfig;
