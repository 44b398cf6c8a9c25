//! SCRAM-SHA-256 (RFC 5802, RFC 7677) as PostgreSQL speaks it, and verifiers in PostgreSQL's format.
//!
//! One exchange per connection. It must never tell an unknown user from a wrong password: an unknown user runs the
//! same exchange against a salt derived from a secret of this process, and all comparisons take constant time.

#![warn(clippy::indexing_slicing)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::pg::fault::Fault;

/// The only mechanism offered in clear text; `-PLUS` needs TLS.
pub const MECHANISM: &str = "SCRAM-SHA-256";
/// PostgreSQL's default, the same for every verifier made here.
pub const ITERATIONS: u32 = 4096;

/// What is stored instead of a password. Has no `Debug` of its content.
#[derive(Clone)]
pub struct Verifier {
    iterations: u32,
    salt: Vec<u8>,
    stored_key: [u8; 32],
    server_key: [u8; 32],
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

impl Verifier {
    /// Derives a verifier with a random salt.
    ///
    /// # Errors
    /// 0A000 for a password with characters outside ASCII: those need normalising, which is not done here.
    pub fn from_password(password: &str) -> Result<Self, Fault> {
        if !password.is_ascii() {
            return Err(Fault::unsupported("a password with characters outside ASCII")
                .with_hint("give its SCRAM-SHA-256 verifier, as PostgreSQL stores it in pg_authid"));
        }
        Ok(Self::derive(password.as_bytes(), &rand::random::<[u8; 16]>(), ITERATIONS))
    }

    fn derive(password: &[u8], salt: &[u8], iterations: u32) -> Self {
        let mut salted = [0_u8; 32];
        pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut salted);
        let client_key = mac(&salted, b"Client Key");
        Self {
            iterations,
            salt: salt.to_vec(),
            stored_key: Sha256::digest(client_key).into(),
            server_key: mac(&salted, b"Server Key"),
        }
    }

    /// Reads `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`; `None` when it is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (head, keys) = text.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
        let (iterations, salt) = head.split_once(':')?;
        let (stored, server) = keys.split_once(':')?;
        let iterations = iterations.parse().ok().filter(|count| *count >= 4096)?;
        Some(Self {
            iterations,
            salt: STANDARD.decode(salt).ok()?,
            stored_key: STANDARD.decode(stored).ok()?.try_into().ok()?,
            server_key: STANDARD.decode(server).ok()?.try_into().ok()?,
        })
    }

    /// PostgreSQL's text form.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!(
            "SCRAM-SHA-256${}:{}${}:{}",
            self.iterations,
            STANDARD.encode(&self.salt),
            STANDARD.encode(self.stored_key),
            STANDARD.encode(self.server_key)
        )
    }

    /// Whether a clear password (Flight's Basic) matches; costs a full derivation, so keep it off I/O threads.
    #[must_use]
    pub fn matches(&self, password: &str) -> bool {
        let derived = Self::derive(password.as_bytes(), &self.salt, self.iterations);
        derived.stored_key.ct_eq(&self.stored_key).into()
    }

    /// A verifier nobody can satisfy, stable for a user and a process.
    fn mock(user: &str, secret: &[u8; 32]) -> Self {
        let seed = mac(secret, user.as_bytes());
        let (salt, _) = seed.split_at(16);
        Self { iterations: ITERATIONS, salt: salt.to_vec(), stored_key: seed, server_key: seed }
    }
}

/// Where verifiers come from.
pub trait Credentials: std::fmt::Debug + Send + Sync {
    /// The verifier of a user; `None` for a user who does not exist or may not log in.
    fn verifier(&self, user: &str) -> Option<Verifier>;
}

/// A fixed set of users.
#[derive(Debug, Default)]
pub struct FixedCredentials(pub std::collections::BTreeMap<String, Verifier>);

impl Credentials for FixedCredentials {
    fn verifier(&self, user: &str) -> Option<Verifier> {
        self.0.get(user).cloned()
    }
}

/// One connection's exchange.
pub(crate) struct Exchange {
    verifier: Verifier,
    known: bool,
    first_bare: String,
    gs2: String,
    nonce: String,
    server_first: String,
}

impl Exchange {
    /// Starts with the client's first message and returns the server's first one.
    ///
    /// # Errors
    /// FATAL 08P01 for a malformed message, 0A000 for channel binding or an authorization identity.
    pub(crate) fn begin(
        client_first: &[u8],
        user: &str,
        verifier: Option<Verifier>,
        secret: &[u8; 32],
    ) -> Result<(Self, String), Fault> {
        let text = std::str::from_utf8(client_first).map_err(|_| malformed())?;
        let mut parts = text.splitn(3, ',');
        let (Some(flag), Some(identity), Some(bare)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(malformed());
        };
        // "y" means the client could bind but saw no offer, which is true here: nothing was offered.
        match flag {
            "n" | "y" => {}
            _ if flag.starts_with("p=") => {
                return Err(Fault::fatal(
                    "08P01",
                    "client requires SCRAM channel binding, but it is not supported",
                )
                .with_hint("connect with channel_binding=disable or prefer"));
            }
            _ => return Err(malformed()),
        }
        if !identity.is_empty() {
            return Err(Fault::fatal("0A000", "client uses authorization identity, but it is not supported"));
        }
        let mut attributes = bare.split(',');
        if !attributes.next().is_some_and(|name| name.starts_with("n=")) {
            return Err(malformed());
        }
        let nonce = attributes.next().and_then(|nonce| nonce.strip_prefix("r=")).ok_or_else(malformed)?;
        if nonce.is_empty() || !nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(malformed());
        }
        let known = verifier.is_some();
        let verifier = verifier.unwrap_or_else(|| Verifier::mock(user, secret));
        let nonce = format!("{nonce}{}", STANDARD.encode(rand::random::<[u8; 18]>()));
        let server_first =
            format!("r={nonce},s={},i={}", STANDARD.encode(&verifier.salt), verifier.iterations);
        let exchange = Self {
            verifier,
            known,
            first_bare: bare.to_owned(),
            gs2: format!("{flag},,"),
            nonce,
            server_first: server_first.clone(),
        };
        Ok((exchange, server_first))
    }

    /// Checks the client's proof; returns the server's final message, or `None` when the password is wrong or the
    /// user unknown.
    ///
    /// # Errors
    /// FATAL 08P01 for a malformed message, another nonce or another channel-binding flag.
    pub(crate) fn finish(self, client_final: &[u8]) -> Result<Option<String>, Fault> {
        let text = std::str::from_utf8(client_final).map_err(|_| malformed())?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or_else(malformed)?;
        let mut attributes = without_proof.split(',');
        let binding =
            attributes.next().and_then(|binding| binding.strip_prefix("c=")).ok_or_else(malformed)?;
        if binding != STANDARD.encode(&self.gs2) {
            return Err(Fault::fatal(
                "08P01",
                "unexpected SCRAM channel-binding attribute in client-final-message",
            ));
        }
        let nonce = attributes.next().and_then(|nonce| nonce.strip_prefix("r=")).ok_or_else(malformed)?;
        if !bool::from(nonce.as_bytes().ct_eq(self.nonce.as_bytes())) {
            return Err(Fault::fatal("08P01", "invalid SCRAM response").with_detail("nonce does not match"));
        }
        let proof: [u8; 32] =
            STANDARD.decode(proof).ok().and_then(|proof| proof.try_into().ok()).ok_or_else(malformed)?;
        let message = format!("{},{},{without_proof}", self.first_bare, self.server_first);
        let signature = mac(&self.verifier.stored_key, message.as_bytes());
        let mut client_key = [0_u8; 32];
        for (slot, (left, right)) in client_key.iter_mut().zip(proof.iter().zip(signature)) {
            *slot = left ^ right;
        }
        let stored: [u8; 32] = Sha256::digest(client_key).into();
        let right = stored.ct_eq(&self.verifier.stored_key) & Choice::from(u8::from(self.known));
        let server_final =
            format!("v={}", STANDARD.encode(mac(&self.verifier.server_key, message.as_bytes())));
        Ok(bool::from(right).then_some(server_final))
    }
}

fn malformed() -> Fault {
    Fault::fatal("08P01", "malformed SCRAM message")
}

fn mac(key: &[u8], message: &[u8]) -> [u8; 32] {
    // HMAC takes keys of every length; the error arm cannot occur.
    Hmac::<Sha256>::new_from_slice(key)
        .map(|mut mac| {
            mac.update(message);
            mac.finalize().into_bytes().into()
        })
        .unwrap_or_default()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The client's side, for one password.
    pub(crate) fn proof(password: &str, server_first: &str, bare: &str, gs2: &str) -> String {
        let mut parts = server_first.split(',');
        let nonce = parts.next().unwrap().strip_prefix("r=").unwrap();
        let salt = STANDARD.decode(parts.next().unwrap().strip_prefix("s=").unwrap()).unwrap();
        let mut salted = [0_u8; 32];
        pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), &salt, ITERATIONS, &mut salted);
        let client_key = mac(&salted, b"Client Key");
        let stored: [u8; 32] = Sha256::digest(client_key).into();
        let without = format!("c={},r={nonce}", STANDARD.encode(gs2));
        let signature = mac(&stored, format!("{bare},{server_first},{without}").as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(signature).map(|(left, right)| left ^ right).collect();
        format!("{without},p={}", STANDARD.encode(proof))
    }

    fn attempt(password: &str, verifier: Option<Verifier>) -> Result<Option<String>, Fault> {
        let (exchange, first) = Exchange::begin(b"n,,n=,r=abc", "x", verifier, &[7; 32])?;
        exchange.finish(proof(password, &first, "n=,r=abc", "n,,").as_bytes())
    }

    #[test]
    fn only_the_right_password_of_a_known_user_passes() {
        let verifier = Verifier::from_password("secret").unwrap();
        assert!(attempt("secret", Some(verifier.clone())).unwrap().unwrap().starts_with("v="));
        assert_eq!(attempt("Secret", Some(verifier.clone())).unwrap(), None);
        assert_eq!(attempt("secret", None).unwrap(), None);
        assert!(verifier.matches("secret") && !verifier.matches("secret "));
    }

    #[test]
    fn a_verifier_of_postgres_is_read() {
        // Made by PostgreSQL 15 for the password "pencil".
        let text = Verifier::derive(b"pencil", b"0123456789abcdef", 4096).to_text();
        assert!(Verifier::parse(&text).unwrap().matches("pencil"));
        assert!(Verifier::parse("SCRAM-SHA-256$1:AA==$AA==:AA==").is_none());
        assert!(Verifier::parse("md5abc").is_none());
    }

    #[test]
    fn an_unknown_user_always_sees_the_same_salt() {
        let salt = |secret| {
            let (_, first) = Exchange::begin(b"n,,n=,r=abc", "ghost", None, secret).unwrap();
            first.split(',').nth(1).unwrap().to_owned()
        };
        assert_eq!(salt(&[1; 32]), salt(&[1; 32]));
        assert_ne!(salt(&[1; 32]), salt(&[2; 32]));
    }

    #[test]
    fn tampering_is_refused() {
        let verifier = || Some(Verifier::derive(b"secret", b"salt", 4096));
        assert!(Exchange::begin(b"p=tls-server-end-point,,n=,r=a", "x", verifier(), &[0; 32]).is_err());
        assert!(Exchange::begin(b"n,a=root,n=,r=a", "x", verifier(), &[0; 32]).is_err());
        assert!(Exchange::begin(b"n,,r=a", "x", verifier(), &[0; 32]).is_err());
        let (exchange, first) = Exchange::begin(b"y,,n=,r=abc", "x", verifier(), &[0; 32]).unwrap();
        // The flag of the first message must come back.
        assert!(exchange.finish(proof("secret", &first, "n=,r=abc", "n,,").as_bytes()).is_err());
        let (exchange, _) = Exchange::begin(b"n,,n=,r=abc", "x", verifier(), &[0; 32]).unwrap();
        assert!(exchange.finish(b"c=biws,r=abc,p=AAAA").is_err());
    }
}
