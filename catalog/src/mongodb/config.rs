//! How a MongoDB source is configured. Reading it dials nobody and reads no secret.

use serde::Deserialize;

use crate::secret::SecretRef;

/// A MongoDB server or replica set, one database of which is exposed as the SQL schema of the source's name.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MongodbConfig {
    /// Host names or addresses with port, such as `["db1:27017"]`.
    pub hosts: Vec<String>,
    /// Name of the replica set, if the hosts are one.
    pub replica_set: Option<String>,
    /// Database.
    pub database: String,
    /// Account to log in as; none for a server without authentication.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<SecretRef>,
}
