//! Versioned statements of a schema that Portolan itself keeps in a PostgreSQL: each is run once, in order, by sqlx's
//! migrator, which remembers the digest of its text beside the schema.
//!
//! A second driver is used here for this one thing: the migrator takes a lock of the database, so that two starters
//! wait for each other, runs each step in a transaction with the row that says so, and refuses a step whose text
//! changed or that it does not know. It never shares a connection with the other driver: it dials, migrates and hangs
//! up, and at an embedded server, which serves one connection at a time, it does so while it has the server alone.
//! Address, account and secret come from the configuration. Encryption is ours: the other driver trusts public authorities
//! beside the one that is named, so it speaks over a [`Relay`]. Of the environment sqlx still reads `PGOPTIONS`; it has no
//! way to be told not to.

use std::borrow::Cow;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, SqlSafeStr as _};
use tokio_postgres::config::Host;

use super::PostgresPool;
use super::error::by_sqlstate;
use super::relay::{PORT, Relay};
use crate::source::{SourceError, SourceErrorKind};

/// Time for all steps, with the wait for another process that is at it.
const PATIENCE: Duration = Duration::from_secs(120);

/// Said to the server before anything else: what is there already needs no notice, and a lock no endless wait.
const SETTINGS: &str = "SET client_min_messages = warning; SET lock_timeout = '60s'";

/// One step. Once released it must never be changed: the next step changes what it made.
#[derive(Debug, Clone, Copy)]
pub struct MigrationStep {
    /// Greater than that of the step before.
    pub version: i64,
    /// What it does, for the table of steps.
    pub description: &'static str,
    /// Statements, run in one transaction.
    pub sql: &'static str,
}

/// The steps of one schema. The schema is created; its table `migrations` remembers the steps that were run.
#[derive(Debug, Clone, Copy)]
pub struct Migrations {
    /// An ordinary lower-case name.
    pub schema: &'static str,
    /// In the order of their versions.
    pub steps: &'static [MigrationStep],
}

impl Migrations {
    fn migrator(&self) -> Migrator {
        let steps = self.steps.iter().map(|step| {
            let sql = step.sql.into_sql_str();
            Migration::new(step.version, step.description.into(), MigrationType::Simple, sql, false)
        });
        let mut migrator = Migrator::with_migrations(steps.collect());
        migrator.dangerous_set_table_name(format!("{}.migrations", self.schema));
        migrator.create_schema(self.schema);
        migrator
    }

    /// Dials, runs what was not run yet, and hangs up.
    async fn run(&self, options: PgConnectOptions) -> Result<(), SourceError> {
        let work = async {
            let mut connection = options.disable_statement_logging().connect().await?;
            let outcome = match connection.execute(SETTINGS).await {
                Ok(_) => self.migrator().run_direct(None, &mut connection, false).await,
                Err(error) => Err(error.into()),
            };
            // Closing in order also gives back the lock after a failure.
            let closed = connection.close().await;
            outcome?;
            closed.map_err(MigrateError::from)
        };
        match tokio::time::timeout(PATIENCE, work).await {
            Ok(outcome) => outcome.map_err(|error| self.failed(error)),
            Err(_elapsed) => Err(SourceError::new(
                SourceErrorKind::Timeout,
                format!("schema \"{}\" cannot be migrated: the server did not answer in time", self.schema),
            )),
        }
    }

    fn failed(&self, error: MigrateError) -> SourceError {
        let schema = self.schema;
        let newest = self.steps.last().map_or(0, |step| step.version);
        let refused = |message: String, hint: &str| {
            SourceError::new(SourceErrorKind::Unsupported, message).with_hint(hint)
        };
        let (step, cause) = match &error {
            MigrateError::VersionMissing(version) if *version > newest => {
                return refused(
                    format!(
                        "schema \"{schema}\" is at step {version}, and this version knows {newest} steps"
                    ),
                    "start the newer version that migrated it; an older one could write what the newer cannot read",
                );
            }
            MigrateError::VersionMissing(version) => {
                return refused(
                    format!("schema \"{schema}\" has a step {version} that this version does not know"),
                    "start the version that made the schema, or restore it from a copy",
                );
            }
            MigrateError::VersionMismatch(version) => {
                return refused(
                    format!(
                        "step {version} of schema \"{schema}\" was run with another text than this version has"
                    ),
                    "start the version that made the schema, or restore it from a copy",
                );
            }
            MigrateError::ExecuteMigration(cause, version) => (format!("step {version} of "), Some(cause)),
            MigrateError::Execute(cause) => (String::new(), Some(cause)),
            _ => (String::new(), None),
        };
        let code = match cause {
            Some(sqlx::Error::Database(answer)) => answer.code().map(Cow::into_owned),
            _ => None,
        };
        let subject = format!("{step}schema \"{schema}\" cannot be migrated");
        let ours = match code.as_deref() {
            Some("55P03") => SourceError::new(
                SourceErrorKind::Timeout,
                format!("{subject}: another process has been migrating it for a minute"),
            )
            .with_remote_code("55P03"),
            Some(code) => {
                let (kind, said) = by_sqlstate(code);
                SourceError::new(kind, format!("{subject}: {said}")).with_remote_code(code)
            }
            None => match cause {
                Some(sqlx::Error::Io(_) | sqlx::Error::Tls(_)) => SourceError::new(
                    SourceErrorKind::Unreachable,
                    format!("{subject}: the server is unreachable"),
                ),
                _ => SourceError::new(SourceErrorKind::Remote, format!("{subject}: no sense in the answer")),
            },
        };
        ours.with_cause(error)
    }
}

impl PostgresPool {
    /// Runs the steps that were not run yet. Whoever comes second waits, and finds nothing left to do.
    ///
    /// # Errors
    /// `Unsupported` for a schema of a newer version or with a step of another text; `Timeout` when another process
    /// holds the lock; the server's refusal of a step, which is then undone; as [`PostgresPool::lease`] for a server that
    /// is not the one named.
    pub async fn migrate(&self, migrations: &Migrations) -> Result<(), SourceError> {
        match self {
            Self::Embedded(embedded) => {
                embedded
                    .alone(|directory, database| {
                        let options = PgConnectOptions::new_without_pgpass()
                            .socket(directory)
                            .port(5432)
                            .username("postgres")
                            .password("")
                            .database(&database)
                            .application_name("portolan");
                        migrations.run(options.ssl_mode(PgSslMode::Disable))
                    })
                    .await
            }
            Self::Remote(remote) => {
                let (name, config, authority) = remote.target()?;
                let relay = match &authority {
                    Some(authority) => Some(Relay::open(&name, &config, authority).await?),
                    None => None,
                };
                let options = options(&config, relay.as_ref());
                migrations.run(options).await.map_err(|error| error.with_source(&name))
            }
        }
    }
}

/// The same place, role and secret for the other driver, which never encrypts itself: the relay has.
fn options(config: &tokio_postgres::Config, relay: Option<&Relay>) -> PgConnectOptions {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let password = config.get_password().map(text).unwrap_or_default();
    let user = config.get_user().unwrap_or_default();
    let options = PgConnectOptions::new_without_pgpass()
        .port(config.get_ports().first().copied().unwrap_or(5432))
        .username(user)
        .password(&password)
        .database(config.get_dbname().unwrap_or(user))
        .application_name("portolan")
        .ssl_mode(PgSslMode::Disable);
    if let Some(relay) = relay {
        return options.socket(relay.folder()).port(PORT);
    }
    match config.get_hosts().first() {
        Some(Host::Tcp(host)) => options.host(host),
        Some(Host::Unix(directory)) => options.socket(directory),
        None => options.host("localhost"),
    }
}
