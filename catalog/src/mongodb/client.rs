//! The connection to one server or replica set, made at first use, and how many commands may run on it.
//!
//! A slot is held while a command runs, never while its answer is consumed: cursors wait at the server without a
//! connection, so several leaves of one query never wait for each other.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mongodb::bson::{Document, Timestamp, doc};
use mongodb::event::EventHandler;
use mongodb::event::cmap::CmapEvent;
use mongodb::options::{ClientOptions, Credential, ServerAddress, Tls, TlsOptions};
use mongodb::{Client, Database};
use secrecy::ExposeSecret as _;

use super::error::server_error;
use super::{MongodbConfig, MongodbTls};
use crate::asof::SourceVersion;
use crate::authority::authorities;
use crate::federation::Slots;
use crate::kills::KillCount;
use crate::source::{SourceError, SourceErrorKind, SourceName};

/// Time for a server to be found and for one attempt to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections beside those of the slots: for cancelling and for health.
const RESERVED: u32 = 2;

#[derive(Debug)]
pub(super) struct Connector {
    pub(super) name: SourceName,
    pub(super) config: MongodbConfig,
    pub(super) slots: Slots,
    pub(super) kills: KillCount,
    client: Mutex<Option<Client>>,
    /// Connections that were made so far, to whatever server.
    connects: Arc<AtomicU64>,
}

impl Connector {
    /// Contacts nobody.
    pub(super) fn new(name: SourceName, config: MongodbConfig) -> Self {
        let slots = Slots::new(&name, config.connections.clamp(1, 1_000), config.limits.slot_wait);
        let kills = KillCount::default();
        Self { name, config, slots, kills, client: Mutex::default(), connects: Arc::default() }
    }

    /// How many connections were made so far. A server is replaced by another only behind a new one.
    pub(super) fn connects(&self) -> u64 {
        self.connects.load(Ordering::Acquire)
    }

    /// The client, made now if there is none. The secret is read then.
    pub(super) fn client(&self) -> Result<Client, SourceError> {
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = client.as_ref() {
            return Ok(client.clone());
        }
        let made = Client::with_options(self.options()?)
            .map_err(|error| server_error(&self.name, "open a client", error))?;
        *client = Some(made.clone());
        Ok(made)
    }

    pub(super) fn database(&self) -> Result<Database, SourceError> {
        Ok(self.client()?.database(&self.config.database))
    }

    /// Turns an error into ours. After refused credentials the secret is read anew: it may have been rotated.
    pub(super) fn failed(&self, action: &str, error: mongodb::error::Error) -> SourceError {
        let ours = server_error(&self.name, action, error);
        if ours.kind == SourceErrorKind::Auth {
            *self.client.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        ours
    }

    /// Runs a command of the administrative database.
    pub(super) async fn admin(&self, action: &str, command: Document) -> Result<Document, SourceError> {
        let answer = self.client()?.database("admin").run_command(command).await;
        answer.map_err(|error| self.failed(action, error))
    }

    /// The server's present time, as a version.
    pub(super) async fn version(&self) -> Result<SourceVersion, SourceError> {
        let answer = self.admin("ask for the time", doc! { "ping": 1 }).await?;
        Ok(match answer.get_timestamp("operationTime") {
            Ok(at) => cluster_time(at),
            Err(_) => SourceVersion::FetchedAt(chrono::Utc::now()),
        })
    }

    fn options(&self) -> Result<ClientOptions, SourceError> {
        let MongodbConfig { hosts, replica_set, user, password, auth_source, .. } = &self.config;
        let refuse =
            |message: String| SourceError::new(SourceErrorKind::Data, message).with_source(&self.name);
        let mut options = ClientOptions::default();
        options.hosts = hosts
            .iter()
            .map(|host| {
                ServerAddress::parse(host)
                    .map_err(|_| refuse(format!("source \"{}\": \"{host}\" is no host with port", self.name)))
            })
            .collect::<Result<_, _>>()?;
        if options.hosts.is_empty() {
            return Err(refuse(format!("source \"{}\" names no hosts", self.name)));
        }
        options.direct_connection = Some(hosts.len() == 1 && replica_set.is_none());
        options.repl_set_name.clone_from(replica_set);
        options.app_name = Some("portolan".into());
        let connects = Arc::clone(&self.connects);
        options.cmap_event_handler = Some(EventHandler::callback(move |event| {
            // Told before anything is sent over it.
            if matches!(event, CmapEvent::ConnectionReady(_)) {
                connects.fetch_add(1, Ordering::AcqRel);
            }
        }));
        options.connect_timeout = Some(CONNECT_TIMEOUT);
        options.server_selection_timeout = Some(CONNECT_TIMEOUT);
        options.max_pool_size =
            Some(u32::try_from(self.config.connections.clamp(1, 1_000)).unwrap_or(1) + RESERVED);
        options.tls = Some(self.tls()?);
        if let Some(user) = user {
            let mut credential = Credential::default();
            credential.username = Some(user.clone());
            credential.source = Some(auth_source.clone());
            if let Some(password) = password {
                credential.password = Some(password.resolve()?.expose_secret().to_owned());
            }
            options.credential = Some(credential);
        }
        Ok(options)
    }
}

impl Connector {
    /// How connections are encrypted. The driver reads the authorities once, when the client is made, and passes over
    /// what it cannot read in their file; so it is read here first.
    fn tls(&self) -> Result<Tls, SourceError> {
        let MongodbConfig { tls, tls_ca, .. } = &self.config;
        if *tls == MongodbTls::Disable {
            return Ok(Tls::Disabled);
        }
        if let Some(file) = tls_ca {
            authorities(&self.name, file, std::fs::read(file))?;
        }
        let mut options = TlsOptions::default();
        options.ca_file_path.clone_from(tls_ca);
        options.allow_invalid_certificates = Some(*tls == MongodbTls::Required);
        Ok(Tls::Enabled(options))
    }
}

/// A time of the server as a version: seconds high, increment low.
pub(super) fn cluster_time(at: Timestamp) -> SourceVersion {
    SourceVersion::ClusterTime((u64::from(at.time) << 32) | u64::from(at.increment))
}
