//! The `sources:` section of the configuration, and how mistakes in YAML are reported.
//!
//! Kinds are an externally tagged enum, so that the parser keeps the position of every value; unknown keys are
//! errors. Reading the configuration contacts nobody and reads no secret.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

pub use crate::copies::Fallback;
pub use crate::declared::{ColumnTypes, DeclaredType, TablePatterns};
use crate::files::FilesSource;
pub use crate::files::{ColumnConfig, FileFormat, FileTableConfig, FilesConfig, OnMismatch};
use crate::kafka::KafkaSource;
pub use crate::kafka::{KafkaConfig, KafkaTimeouts, TopicConfig};
use crate::lake::{Lake, LakeRoot, LakeSource, StoreLimits};
use crate::limits::SourceLimits;
pub use crate::mongodb::MongodbConfig;
use crate::mongodb::MongodbSource;
pub use crate::mysql::MysqlConfig;
use crate::mysql::MysqlSource;
use crate::postgres::{PostgresPool, PostgresSource, PostgresTls};
use crate::rest::RestSource;
pub use crate::rest::{RestConfig, StationConfig};
use crate::secret::SecretRef;
use crate::source::{Source, SourceError, SourceName};

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
    /// A MySQL or MariaDB database.
    Mysql(MysqlConfig),
    /// A MongoDB database.
    Mongodb(MongodbConfig),
    /// Kafka topics.
    Kafka(KafkaConfig),
}

impl SourceConfig {
    /// Makes the source. Contacts nobody.
    ///
    /// # Errors
    /// `Data` when the declaration cannot be right, `Unsupported` for what a kind cannot do, such as TLS.
    pub fn open(&self, name: &SourceName, context: &OpenContext) -> Result<Arc<dyn Source>, SourceError> {
        match self {
            Self::Files(config) => {
                let mut config = config.clone();
                config.root = context.resolve(&config.root);
                Ok(Arc::new(FilesSource::open(name.clone(), config)?))
            }
            Self::Rest(config) => Ok(Arc::new(RestSource::open(name.clone(), config.clone())?)),
            Self::Postgres(config) => {
                let mut config = config.clone();
                config.tls_ca = config.tls_ca.map(|path| context.resolve(&path));
                let pool = PostgresPool::configured(name, &config)?;
                let source = PostgresSource::new(name.clone(), pool, config.schema);
                Ok(Arc::new(source.declaring(config.tables, config.columns)))
            }
            Self::Kafka(config) => Ok(Arc::new(KafkaSource::open(name.clone(), config.clone())?)),
            Self::Lake(config) => {
                let root = LakeRoot::parse(&config.root, &context.base);
                let lake = root
                    .and_then(|root| Lake::open_for_reading(&root, StoreLimits::default()))
                    .map_err(|error| error.with_source(name))?;
                Ok(Arc::new(LakeSource::beside(name.clone(), lake)))
            }
            Self::Mysql(config) => {
                let mut config = config.clone();
                config.tls_ca = config.tls_ca.map(|path| context.resolve(&path));
                config.check(name)?;
                Ok(Arc::new(MysqlSource::open(name.clone(), &config)))
            }
            Self::Mongodb(config) => {
                let mut config = config.clone();
                config.tls_ca = config.tls_ca.map(|path| context.resolve(&path));
                Ok(Arc::new(MongodbSource::open(name.clone(), config)?))
            }
        }
    }

    /// What one scan of the source may fetch; stores that nobody else works on have no limits.
    #[must_use]
    pub fn limits(&self) -> SourceLimits {
        match self {
            Self::Postgres(config) => config.limits,
            Self::Mysql(config) => config.limits,
            Self::Mongodb(config) => config.limits,
            Self::Kafka(config) => config.limits,
            Self::Lake(_) | Self::Files(_) | Self::Rest(_) => SourceLimits::default(),
        }
    }

    /// Where copies of its tables are.
    #[must_use]
    pub fn fallback(&self) -> Option<&Fallback> {
        match self {
            Self::Postgres(config) => config.fallback.as_ref(),
            Self::Mysql(config) => config.fallback.as_ref(),
            Self::Mongodb(config) => config.fallback.as_ref(),
            Self::Kafka(config) => config.fallback.as_ref(),
            Self::Lake(_) | Self::Files(_) | Self::Rest(_) => None,
        }
    }
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
    /// Whether the connection is encrypted.
    #[serde(default)]
    pub tls: PostgresTls,
    /// Certificates (PEM) that sign the server's; needed unless `tls` is [`PostgresTls::Disable`].
    pub tls_ca: Option<PathBuf>,
    /// Connections that read at most.
    #[serde(default = "connections")]
    pub connections: NonZeroU16,
    /// What one scan may fetch, and when.
    #[serde(default)]
    pub limits: SourceLimits,
    /// Zone of a lake with copies of its tables, which may answer while it is down.
    pub fallback: Option<Fallback>,
    /// Which of its tables are shown.
    #[serde(default)]
    pub tables: TablePatterns,
    /// Columns that are read as another type than their own.
    #[serde(default)]
    pub columns: ColumnTypes,
}

fn connections() -> NonZeroU16 {
    crate::postgres::CONNECTIONS
}

fn postgres_port() -> u16 {
    5432
}

fn public() -> String {
    "public".into()
}

/// Delta tables of a lake that somebody else keeps, as `<root>/<zone>/<table>`, shown as `<source>_<zone>.<table>`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LakeConfig {
    /// A directory, or a URL such as `hdfs://namenode:8020/lake`.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceErrorKind;
    use crate::yaml::parse;

    fn report(text: &str) -> String {
        parse::<SourcesConfig>(Path::new("portolan.yaml"), text).map(drop).unwrap_err().to_string()
    }

    #[test]
    fn mistakes_are_shown_where_they_are_with_a_hint() {
        for (text, expected) in [
            (
                "ops:\n  postgres:\n    hots: db\n",
                "portolan.yaml:3:5: unknown key \"hots\"\n3 |     hots: db\n  |     ^\nhint: did you mean \"host\"?",
            ),
            ("ops:\n  postgres:\n    host: db\n    port: 70000\n", "portolan.yaml:4:11: "),
            (
                "ops:\n  postgres:\n    host: db\n    database: x\n    user: u\n    password: hunter2\n",
                "portolan.yaml:6:15: a secret must not be written here\n6 |     password: …\n  |               ^\nhint: use { file: <path> } or { env: <variable> }",
            ),
            (
                "ops:\n  postgre:\n    host: db\n",
                "portolan.yaml:2:3: unknown kind \"postgre\"\n2 |   postgre:\n  |   ^\nhint: did you mean \"postgres\"?",
            ),
            (
                "ops: { oracle: {} }\n",
                "hint: known kinds are postgres, lake, files, rest, mysql, mongodb, kafka",
            ),
            ("Ops: { lake: { root: x } }\n", "portolan.yaml:1:1: source name \"Ops\" must match"),
            (
                "d: { files: { root: x, tables: { t: { path: x, format: ndjson, columns: [{ name: a, type: int3 }] } } } }",
                "unknown column type \"int3\"",
            ),
            (
                "port:\n  mysql:\n    host: db\n    database: x\n    user: u\n    tls: verify_full\n",
                "portolan.yaml:6:10: unknown kind \"verify_full\"\n6 |     tls: verify_full\n  |          ^\nhint: did you mean \"verify-full\"?",
            ),
            ("port: { mysql: { host: db, database: x, user: u, connections: 0 } }\n", "portolan.yaml:1:"),
            (
                "port:\n  mysql:\n    host: db\n    database: x\n    user: u\n    limits: { rows: 5 M }\n",
                "portolan.yaml:6:21: rows \"5 M\" must be a whole number above 0, such as 500K or 50M",
            ),
            ("ops: { lake: { root: a } }\nops: { lake: { root: b } }\n", "key \"ops\" is written twice"),
            (
                "ops:\n  postgres:\n    host: db\n    database: x\n    user: u\n    columns: { cargo.weight: int3 }\n",
                "a column cannot be declared as \"int3\"",
            ),
            (
                "ops:\n  mysql:\n    host: db\n    database: x\n    user: u\n    columns:\n      weight: bool\n",
                "\"weight\" names no column",
            ),
            (
                "ops:\n  mysql:\n    host: db\n    database: x\n    user: u\n    tables: { excludes: ['tmp_*'] }\n",
                "hint: did you mean \"exclude\"?",
            ),
            (
                "d: { files: { root: x, tables: { t: { path: x, format: { csv: { delimiter: null } } } } } }",
                "a text is expected here, not null",
            ),
        ] {
            let shown = report(text);
            assert!(shown.contains(expected), "{shown}\n--- expected\n{expected}");
            assert!(shown.starts_with("portolan.yaml:"), "{shown}");
            assert!(shown.contains('^') && !shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn what_a_driver_cannot_verify_is_refused_by_name() {
        let opened = |text: &str| {
            let sources: SourcesConfig = parse(Path::new("portolan.yaml"), text).unwrap();
            let name = SourceName::try_new("port").unwrap();
            sources.0[&name].open(&name, &OpenContext::default())
        };
        let hint = "write tls: verify-full, or required, which checks no certificate";
        let text = "port: { mongodb: { hosts: ['db:27017'], database: x, tls: verify-ca, tls_ca: ca.pem } }";
        let error = opened(text).unwrap_err();
        let refusal = "source \"port\": tls: verify-ca is not supported for MongoDB";
        assert_eq!((error.kind, error.message.as_str()), (SourceErrorKind::Unsupported, refusal));
        assert_eq!(error.hint.as_deref(), Some(hint));
        for kind in ["postgres", "mysql"] {
            let with = |more: &str| {
                opened(&format!(
                    "port: {{ {kind}: {{ host: db, database: x, user: u, tls: verify-ca{more} }} }}"
                ))
            };
            let error = with("").unwrap_err();
            assert_eq!(error.kind, SourceErrorKind::Unsupported, "{kind}");
            assert_eq!(error.message, "source \"port\" has tls: verify-ca and no tls_ca", "{kind}");
            assert!(with(", tls_ca: ca.pem").is_ok(), "{kind}");
        }
    }

    #[test]
    fn a_whole_section_opens_without_dialling_anybody() {
        let text = "
docs:
  files:
    root: feeds
    tables:
      due:
        path: '*.xml'
        format: { xml: { root: RP04005IXML, row: G_SQL1 } }
        columns: [{ name: call_sign, type: text, from: CALL_SIGN }]
weather:
  rest:
    url: http://192.0.2.1:9
    stations: [{ name: DKR, latitude: 14.68, longitude: -17.42 }]
port:
  mysql: { host: 192.0.2.1, database: port, user: reader, password: { file: secret }, zero_dates: null,
           limits: { rows: 5000, bytes: 2GiB, hours: 22-06, slot_wait: 500ms },
           tables: { exclude: ['tmp_*'] }, columns: { cargo.hazard: bool, 'car go.w': 'decimal(38,6)' } }
";
        let sources: SourcesConfig = parse(Path::new("portolan.yaml"), text).unwrap();
        let context = OpenContext { base: "/nonexistent".into() };
        let catalog = crate::Catalog::open(&sources, &context).unwrap();
        assert_eq!(catalog.schema_names().into_iter().collect::<Vec<_>>(), ["docs", "port", "weather"]);
        assert_eq!(catalog.statuses().len(), 3);
        let Some(SourceConfig::Mysql(port)) = sources.0.get(&SourceName::try_new("port").unwrap()) else {
            panic!("{sources:?}");
        };
        assert_eq!((port.port, port.connections.get(), port.tls), (3306, 4, crate::mysql::MysqlTls::Disable));
        assert_eq!(port.zero_dates, crate::mysql::ZeroDates::Null);
        let SourceLimits { rows, bytes, hours, slot_wait } = port.limits;
        assert_eq!((rows.map(|rows| rows.0), bytes.map(|bytes| bytes.0)), (Some(5_000), Some(2 << 30)));
        assert_eq!(hours.map(|hours| hours.to_string()).as_deref(), Some("22-06"));
        assert_eq!(slot_wait.0.as_millis(), 500);
        assert_eq!(
            (port.tables.exclude.as_slice(), port.columns.is_empty()),
            (["tmp_*".to_owned()].as_slice(), false)
        );
    }
}
