//! The `sources:` section of the configuration, and how mistakes in YAML are reported.
//!
//! Kinds are an externally tagged enum, so that the parser keeps the position of every value; unknown keys are
//! errors. Reading the configuration contacts nobody and reads no secret.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use crate::files::{ColumnConfig, FileFormat, FileTableConfig, FilesConfig, OnMismatch};
pub use crate::rest::RestConfig;
use crate::secret::SecretRef;
use crate::source::SourceName;

/// Every source by name; a name is also the source's SQL schema.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct SourcesConfig(pub BTreeMap<SourceName, SourceConfig>);

/// One source.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceConfig {
    /// A PostgreSQL schema.
    Postgres(PostgresConfig),
    /// Delta tables under one root.
    Lake(LakeConfig),
    /// NDJSON, CSV, Parquet, XML or text files under one directory.
    Files(FilesConfig),
    /// A weather API of Open-Meteo's shape.
    Rest(RestConfig),
}

/// A PostgreSQL server, one schema of which is exposed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresConfig {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    #[serde(default = "postgres_port")]
    pub port: u16,
    /// Database.
    pub database: String,
    /// Role to log in as; it should be able to read only.
    pub user: String,
    /// Its password.
    pub password: Option<SecretRef>,
    /// Remote schema that is exposed.
    #[serde(default = "public")]
    pub schema: String,
}

fn postgres_port() -> u16 {
    5432
}

fn public() -> String {
    "public".into()
}

/// Delta tables, as `<root>/<zone>/<table>`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LakeConfig {
    /// A directory, or a URL such as `hdfs://nameservice/lake`.
    pub root: String,
}

/// What opening sources needs beside the configuration.
#[derive(Debug, Clone, Default)]
pub struct OpenContext {
    /// Directory that relative paths of the configuration start from.
    pub base: PathBuf,
}

impl OpenContext {
    /// A path of the configuration, made absolute or relative to the process.
    #[must_use]
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.base.join(path)
    }
}

impl<'de> Deserialize<'de> for SourceName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::try_new(&name).map_err(serde::de::Error::custom)
    }
}
