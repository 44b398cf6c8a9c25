//! How a MongoDB source is configured. Reading it dials nobody and reads no secret.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::kind::MongodbType;
use crate::config::OnMismatch;
use crate::copies::Fallback;
use crate::limits::SourceLimits;
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
    /// Account to log in as; none for a server without authentication. It should be able to read only.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<SecretRef>,
    /// Database the account is defined in.
    #[serde(default = "admin")]
    pub auth_source: String,
    /// Whether connections are encrypted.
    #[serde(default)]
    pub tls: MongodbTls,
    /// Certificates (PEM) that sign the server's; the usual public ones by default.
    pub tls_ca: Option<PathBuf>,
    /// Commands that may run at the server at the same time.
    #[serde(default = "connections")]
    pub connections: usize,
    /// What one scan may fetch, and when.
    #[serde(default)]
    pub limits: SourceLimits,
    /// Zone of a lake with copies of its tables, which may answer while it is down.
    pub fallback: Option<Fallback>,
    /// Documents of a collection that are looked at to find its columns.
    #[serde(default = "sample")]
    pub sample: u32,
    /// Whether collections that are not declared are shown as well.
    #[serde(default = "yes")]
    pub discover: bool,
    /// What happens to a value that does not fit its column; a table may say otherwise.
    #[serde(default, deserialize_with = "on_mismatch")]
    pub on_mismatch: Option<OnMismatch>,
    /// Declared tables by name.
    #[serde(default)]
    pub tables: BTreeMap<String, MongodbTableConfig>,
}

/// Whether a connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MongodbTls {
    /// It is not.
    #[default]
    Disable,
    /// It is, whoever the server is: its certificate is not checked. A server without TLS is refused.
    Required,
    /// As the next, for a server under another name. Not there: the driver checks all of a certificate, or nothing.
    VerifyCa,
    /// It is, and the server's certificate must be valid for the host; a server without TLS is refused.
    VerifyFull,
}

/// One declared table.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MongodbTableConfig {
    /// The collection or view it shows; the table's own name by default.
    pub collection: Option<String>,
    /// Columns, in order; none: as for a collection that is not declared.
    #[serde(default)]
    pub columns: Vec<MongodbColumnConfig>,
    /// What happens to a value that does not fit its column; the source's rule by default.
    #[serde(default, deserialize_with = "on_mismatch")]
    pub on_mismatch: Option<OnMismatch>,
    /// The table's description.
    pub comment: Option<String>,
}

/// One declared column.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MongodbColumnConfig {
    /// Column name.
    pub name: String,
    /// SQL type: `text`, `int8`, `numeric(14,3)`, `timestamptz`, `jsonb`, `uuid`, `bytea`, `objectid`, `text[]`, …
    #[serde(rename = "type")]
    pub column_type: MongodbType,
    /// Path of its value through nested documents, such as `ship.imo`; the column's own name, taken whole, by default.
    pub from: Option<String>,
    /// The column's description.
    pub comment: Option<String>,
}

fn admin() -> String {
    "admin".into()
}

fn connections() -> usize {
    4
}

fn sample() -> u32 {
    1_000
}

fn yes() -> bool {
    true
}

/// YAML reads an unquoted `null` as no value at all; here it is one.
fn on_mismatch<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<OnMismatch>, D::Error> {
    Ok(Some(Option::<OnMismatch>::deserialize(deserializer)?.unwrap_or(OnMismatch::Null)))
}
