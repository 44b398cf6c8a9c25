//! How a MySQL or MariaDB source is configured. Reading it dials nobody and reads no secret.

use serde::Deserialize;

use crate::secret::SecretRef;

/// A MySQL or MariaDB server, one database of which is exposed as the SQL schema of the source's name.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MysqlConfig {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    #[serde(default = "mysql_port")]
    pub port: u16,
    /// Database.
    pub database: String,
    /// Account to log in as; it should be able to read only.
    pub user: String,
    /// Its password.
    pub password: Option<SecretRef>,
}

fn mysql_port() -> u16 {
    3306
}
