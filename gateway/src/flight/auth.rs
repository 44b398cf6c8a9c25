//! Who calls: Basic credentials or the token they were exchanged for.
//!
//! A token is random and kept as a keyed digest only. Every call is checked; a password costs a key derivation, which
//! runs off the I/O threads, and an unknown user costs the same. A Basic header on each call stands for one session,
//! shared by all who send the same header, so its settings cannot be changed.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use tonic::metadata::MetadataMap;

use super::FlightConfig;
use super::session::FlightSession;
use crate::error::{ErrorCode, QueryError};
use crate::pg::scram::Verifier;
use crate::session::{CATALOG, Identity};

/// Base64 whose padding may be missing.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// Longest credentials that are looked at.
const CREDENTIAL_BYTES: usize = 4096;
/// Sessions are numbered beyond the process ids of the other door.
const FIRST_PID: i32 = 0x4000_0000;

/// Sessions by their keys, with the instant of their last call.
type Live = HashMap<[u8; 32], (Instant, Arc<FlightSession>)>;

/// The logins.
pub(super) struct Sessions {
    config: FlightConfig,
    /// Keys the digests of tokens and headers.
    secret: [u8; 32],
    /// Checked for users who do not exist, so that they cost what others cost.
    decoy: Option<Verifier>,
    next_pid: AtomicI32,
    live: Mutex<Live>,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What a call shows.
enum Shown {
    Token(String),
    Basic(String),
}

impl Sessions {
    pub(super) fn new(config: FlightConfig) -> Self {
        let nobody = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 24]>());
        Self {
            config,
            secret: rand::random(),
            decoy: Verifier::from_password(&nobody).ok(),
            next_pid: AtomicI32::new(FIRST_PID),
            live: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session of a call.
    ///
    /// # Errors
    /// 28000 without credentials or with a token that is unknown or expired, 28P01 for a wrong password, 53300 when
    /// there are too many sessions.
    pub(super) async fn of_call(
        &self,
        metadata: &MetadataMap,
        peer: Option<IpAddr>,
    ) -> Result<Arc<FlightSession>, QueryError> {
        match shown(metadata)? {
            Some(Shown::Token(token)) => self.find(&self.key("token", &token)).ok_or_else(|| {
                QueryError::new(ErrorCode::InvalidAuthorization, "the token is unknown or has expired")
                    .with_hint("log in again")
            }),
            Some(Shown::Basic(encoded)) => {
                let key = self.key("basic", &encoded);
                if let Some(session) = self.find(&key) {
                    return Ok(session);
                }
                let (user, password) = decoded(&encoded)?;
                self.check(&user, password, peer).await?;
                self.open(user, key, true, peer)
            }
            None => Err(QueryError::new(ErrorCode::InvalidAuthorization, "no credentials were given")
                .with_hint("log in with Handshake, or send Basic credentials in the authorization header")),
        }
    }

    /// Logs in with the Basic header of a Handshake; `None` when it has no such header. Returns a new token.
    ///
    /// # Errors
    /// As [`Sessions::of_call`].
    pub(super) async fn by_header(
        &self,
        metadata: &MetadataMap,
        peer: Option<IpAddr>,
    ) -> Result<Option<String>, QueryError> {
        match shown(metadata)? {
            Some(Shown::Basic(encoded)) => {
                let (user, password) = decoded(&encoded)?;
                self.login(user, password, peer).await.map(Some)
            }
            Some(Shown::Token(_)) | None => Ok(None),
        }
    }

    /// Checks a password and opens a session of its own. Returns its token.
    ///
    /// # Errors
    /// As [`Sessions::of_call`].
    pub(super) async fn login(
        &self,
        user: String,
        password: String,
        peer: Option<IpAddr>,
    ) -> Result<String, QueryError> {
        self.check(&user, password, peer).await?;
        let token = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        self.open(user, self.key("token", &token), false, peer)?;
        Ok(token)
    }

    /// Ends a session; what runs in it goes on.
    pub(super) fn close(&self, session: &FlightSession) {
        self.lock().remove(&session.key);
    }

    fn key(&self, kind: &str, text: &str) -> [u8; 32] {
        // HMAC takes a key of any length.
        Hmac::<Sha256>::new_from_slice(&self.secret).map_or([0; 32], |mut mac| {
            mac.update(kind.as_bytes());
            mac.update(text.as_bytes());
            mac.finalize().into_bytes().into()
        })
    }

    fn find(&self, key: &[u8; 32]) -> Option<Arc<FlightSession>> {
        let mut live = self.lock();
        let (used, session) = live.get_mut(key)?;
        if self.is_over(*used, session) {
            live.remove(key);
            return None;
        }
        *used = Instant::now();
        Some(Arc::clone(session))
    }

    /// A session with a stream that still runs is in use, however long ago its last call was.
    fn is_over(&self, used: Instant, session: &Arc<FlightSession>) -> bool {
        if session.login.connection().was_terminated() {
            return true;
        }
        used.elapsed() >= self.config.session_idle && Arc::strong_count(session) == 1
    }

    fn open(
        &self,
        user: String,
        key: [u8; 32],
        shared: bool,
        peer: Option<IpAddr>,
    ) -> Result<Arc<FlightSession>, QueryError> {
        let mut live = self.lock();
        live.retain(|_, (used, session)| !self.is_over(*used, session));
        if let Some((_, session)) = live.get(&key) {
            return Ok(Arc::clone(session));
        }
        if live.len() >= self.config.sessions {
            return Err(QueryError::new(ErrorCode::TooManyConnections, "sorry, too many clients already"));
        }
        let pid = self.next_pid.fetch_add(1, Ordering::Relaxed);
        let login = self.config.connections.login(pid, &user, CATALOG, peer.map(|ip| SocketAddr::new(ip, 0)));
        let identity = Identity { user, pid, protocol: "flight" };
        let session = Arc::new(FlightSession::new(identity, login, key, shared, self.config.ticket_life));
        live.insert(key, (Instant::now(), Arc::clone(&session)));
        Ok(session)
    }

    async fn check(&self, user: &str, password: String, peer: Option<IpAddr>) -> Result<(), QueryError> {
        let connections = &self.config.connections;
        if peer.is_some_and(|peer| connections.is_locked_out(peer, self.config.failures_per_minute)) {
            return Err(QueryError::new(
                ErrorCode::InvalidAuthorization,
                "too many failed logins from this address",
            )
            .with_hint("try again in a minute"));
        }
        let known = self.config.credentials.verifier(user);
        let exists = known.is_some();
        let verifier = known.or_else(|| self.decoy.clone());
        let matches =
            tokio::task::spawn_blocking(move || verifier.is_some_and(|verifier| verifier.matches(&password)))
                .await
                .map_err(|error| QueryError::internal(&error))?;
        if matches && exists {
            return Ok(());
        }
        if let Some(peer) = peer {
            connections.failed(peer);
        }
        Err(QueryError::new(
            ErrorCode::InvalidPassword,
            format!("password authentication failed for user \"{}\"", user.replace('\0', "")),
        ))
    }
}

fn shown(metadata: &MetadataMap) -> Result<Option<Shown>, QueryError> {
    if let Some(header) = metadata.get("authorization") {
        let header = header.to_str().map_err(|_| malformed())?;
        if header.len() > CREDENTIAL_BYTES {
            return Err(malformed());
        }
        let (scheme, rest) = header.split_once(' ').ok_or_else(malformed)?;
        let rest = rest.trim().to_owned();
        return match scheme.to_ascii_lowercase().as_str() {
            "bearer" => Ok(Some(Shown::Token(rest))),
            "basic" => Ok(Some(Shown::Basic(rest))),
            _ => Err(malformed()),
        };
    }
    // Where clients that logged in by the payload of a Handshake put their token.
    let Some(token) = metadata.get_bin("auth-token-bin") else { return Ok(None) };
    let token = token.to_bytes().map_err(|_| malformed())?;
    let token = std::str::from_utf8(&token).map_err(|_| malformed())?;
    Ok(Some(Shown::Token(token.to_owned())))
}

fn decoded(encoded: &str) -> Result<(String, String), QueryError> {
    let bytes = LENIENT.decode(encoded).map_err(|_| malformed())?;
    let text = String::from_utf8(bytes).map_err(|_| malformed())?;
    let (user, password) = text.split_once(':').ok_or_else(malformed)?;
    Ok((user.to_owned(), password.to_owned()))
}

fn malformed() -> QueryError {
    QueryError::new(ErrorCode::InvalidAuthorization, "the credentials are malformed")
        .with_hint("send \"Basic\" with base64 of user:password, or \"Bearer\" with a token of Handshake")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_credentials_are_read_with_and_without_padding() {
        for encoded in ["ZGVtbzpkZW1v", "YTpi", "YTpiYg==", "YTpiYg"] {
            assert!(decoded(encoded).is_ok(), "{encoded}");
        }
        assert_eq!(decoded("YTpiOmM=").unwrap(), ("a".to_owned(), "b:c".to_owned()));
        assert!(decoded("YQ==").is_err());
        assert!(decoded("****").is_err());
    }
}
