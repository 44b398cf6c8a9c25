//! How a MySQL or MariaDB source is configured. Reading it dials nobody and reads no secret.

use std::num::NonZeroU16;
use std::path::PathBuf;

use serde::Deserialize;

use crate::copies::Fallback;
use crate::declared::{ColumnTypes, TablePatterns};
use crate::limits::SourceLimits;
use crate::secret::SecretRef;
use crate::source::{SourceError, SourceErrorKind, SourceName};

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
    /// Connections that read at once, at most; one more is kept for cancelling and health.
    #[serde(default = "connections")]
    pub connections: NonZeroU16,
    /// What one scan may fetch, and when.
    #[serde(default)]
    pub limits: SourceLimits,
    /// Zone of a lake with copies of its tables, which may answer while it is down.
    pub fallback: Option<Fallback>,
    /// Whether the connection is encrypted.
    #[serde(default)]
    pub tls: MysqlTls,
    /// Certificates (PEM) that sign the server's; the usual public ones by default.
    pub tls_ca: Option<PathBuf>,
    /// What happens to dates that are zero or have a zero month or day.
    #[serde(default, deserialize_with = "zero_dates")]
    pub zero_dates: ZeroDates,
    /// Which of its tables are shown.
    #[serde(default)]
    pub tables: TablePatterns,
    /// Columns that are read as another type than their own.
    #[serde(default)]
    pub columns: ColumnTypes,
}

/// Whether a connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MysqlTls {
    /// It is not.
    #[default]
    Disable,
    /// It is, whoever the server is: its certificate is not checked. A server without TLS is refused.
    Required,
    /// It is, and the authority that `tls_ca` names must have signed the server's certificate, whatever host that is for:
    /// whoever has a certificate of that authority may answer. A server without TLS is refused.
    VerifyCa,
    /// It is, and the server's certificate must be valid for the host; a server without TLS is refused.
    VerifyFull,
}

impl MysqlConfig {
    /// Refuses what verifies nobody.
    ///
    /// # Errors
    /// `Unsupported` for [`MysqlTls::VerifyCa`] without an authority.
    pub(crate) fn check(&self, source: &SourceName) -> Result<(), SourceError> {
        if self.tls != MysqlTls::VerifyCa || self.tls_ca.is_some() {
            return Ok(());
        }
        let message = format!("source \"{source}\" has tls: verify-ca and no tls_ca");
        Err(SourceError::new(SourceErrorKind::Unsupported, message)
            .with_source(source)
            .with_hint("tls_ca names the file with the authority's certificate, in PEM"))
    }
}

/// What happens to `0000-00-00` and `2018-02-00`, which no calendar has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ZeroDates {
    /// The query fails, naming the column.
    #[default]
    Error,
    /// The value becomes null. Counted.
    Null,
}

fn mysql_port() -> u16 {
    3306
}

fn connections() -> NonZeroU16 {
    NonZeroU16::MIN.saturating_add(3)
}

/// YAML reads an unquoted `null` as no value at all; here it is one.
fn zero_dates<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<ZeroDates, D::Error> {
    Ok(Option::<ZeroDates>::deserialize(deserializer)?.unwrap_or(ZeroDates::Null))
}
