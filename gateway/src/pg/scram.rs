//! SCRAM-SHA-256 (RFC 5802, RFC 7677) on pgwire's server side, and verifiers in PostgreSQL's format.
//!
//! One exchange per connection. It must never tell an unknown user from a wrong password: an unknown user runs the
//! same exchange against a salt derived from a secret of this process. The errors are PostgreSQL's, not pgwire's, which
//! repeat what the client sent.

#![warn(clippy::indexing_slicing)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pgwire::api::auth::sasl::scram::{
    ScramSecret, ScramServerAuth, ScramServerAuthWaitingForClientFinal, gen_salted_password,
};
use pgwire::error::PgWireError;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::pg::fault::Fault;

/// The only mechanism offered in clear text; `-PLUS` needs TLS.
pub const MECHANISM: &str = "SCRAM-SHA-256";
/// PostgreSQL's default, the same for every verifier made here.
pub const ITERATIONS: u32 = 4096;
/// Most iterations of a verifier that is given: each login with a clear password pays them.
const MOST_ITERATIONS: u32 = 10_000_000;

/// What is stored instead of a password. Has no `Debug` of its content.
#[derive(Clone)]
pub struct Verifier {
    iterations: u32,
    salt: Vec<u8>,
    stored_key: Vec<u8>,
    server_key: Vec<u8>,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

impl Verifier {
    /// Derives a verifier with a random salt. Characters outside ASCII are normalised as PostgreSQL does (SASLprep).
    ///
    /// # Errors
    /// 22023 for an empty password, which PostgreSQL does not let anybody log in with.
    pub fn from_password(password: &str) -> Result<Self, Fault> {
        if password.is_empty() {
            return Err(Fault::new("22023", "empty string is not a valid password"));
        }
        Ok(Self::derive(password, &rand::random::<[u8; 16]>(), ITERATIONS))
    }

    fn derive(password: &str, salt: &[u8], iterations: u32) -> Self {
        let rounds = usize::try_from(iterations).unwrap_or(usize::MAX);
        let salted = gen_salted_password(password, salt, rounds);
        let secret = ScramSecret::verifier_from_salted_password(salt.to_vec(), salted, rounds);
        let ScramSecret::Verifier { salt, stored_key, server_key, .. } = secret else {
            // The constructor's other kind, which nobody can log in with here.
            return Self::mock("", &rand::random());
        };
        Self { iterations, salt, stored_key, server_key }
    }

    /// Reads `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`; `None` when it is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (head, keys) = text.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
        let (iterations, salt) = head.split_once(':')?;
        let (stored, server) = keys.split_once(':')?;
        let iterations =
            iterations.parse().ok().filter(|count| (ITERATIONS..=MOST_ITERATIONS).contains(count))?;
        let key = |text: &str| STANDARD.decode(text).ok().filter(|key| key.len() == 32);
        Some(Self {
            iterations,
            salt: STANDARD.decode(salt).ok()?,
            stored_key: key(stored)?,
            server_key: key(server)?,
        })
    }

    /// PostgreSQL's text form.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!(
            "SCRAM-SHA-256${}:{}${}:{}",
            self.iterations,
            STANDARD.encode(&self.salt),
            STANDARD.encode(&self.stored_key),
            STANDARD.encode(&self.server_key)
        )
    }

    /// Whether a clear password (Flight's Basic) matches; costs a full derivation, so keep it off I/O threads.
    #[must_use]
    pub fn matches(&self, password: &str) -> bool {
        let derived = Self::derive(password, &self.salt, self.iterations);
        derived.stored_key.ct_eq(&self.stored_key).into()
    }

    /// A verifier nobody can satisfy, stable for a user and a process.
    fn mock(user: &str, secret: &[u8; 32]) -> Self {
        let seed = Sha256::new().chain_update(secret).chain_update(user).finalize().to_vec();
        let salt = seed.iter().take(16).copied().collect();
        Self { iterations: ITERATIONS, salt, stored_key: seed.clone(), server_key: seed }
    }

    fn into_secret(self) -> ScramSecret {
        ScramSecret::Verifier {
            salt: self.salt,
            iterations: usize::try_from(self.iterations).unwrap_or(usize::MAX),
            stored_key: self.stored_key,
            server_key: self.server_key,
        }
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
    waiting: ScramServerAuthWaitingForClientFinal,
    known: bool,
}

impl Exchange {
    /// Starts with the client's first message and returns the server's first one.
    ///
    /// # Errors
    /// FATAL 08P01 for a malformed message and for channel binding, 0A000 for an authorization identity.
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
        if flag.starts_with("p=") {
            return Err(Fault::fatal(
                "08P01",
                "client requires SCRAM channel binding, but it is not supported",
            )
            .with_hint("connect with channel_binding=disable or prefer"));
        }
        if !identity.is_empty() {
            return Err(Fault::fatal("0A000", "client uses authorization identity, but it is not supported"));
        }
        let nonce = bare.split(',').nth(1).and_then(|nonce| nonce.strip_prefix("r=")).unwrap_or_default();
        if nonce.is_empty() || !nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(malformed());
        }
        let known = verifier.is_some();
        let verifier = verifier.unwrap_or_else(|| Verifier::mock(user, secret));
        let (server_first, waiting) = ScramServerAuth::new()
            .on_client_first_message_with_secret(client_first, verifier.into_secret())
            .map_err(|_| malformed())?;
        Ok((Self { waiting, known }, server_first))
    }

    /// Checks the client's proof; returns the server's final message, or `None` when the password is wrong or the
    /// user unknown.
    ///
    /// # Errors
    /// FATAL 08P01 for a malformed message, another nonce or another channel-binding flag.
    pub(crate) fn finish(self, client_final: &[u8]) -> Result<Option<String>, Fault> {
        match self.waiting.on_client_final_message(client_final) {
            Ok(server_final) => Ok(self.known.then_some(server_final)),
            Err(PgWireError::InvalidPassword(_)) => Ok(None),
            Err(_) => Err(malformed()),
        }
    }
}

fn malformed() -> Fault {
    Fault::fatal("08P01", "malformed SCRAM message")
}

#[cfg(test)]
pub(crate) mod tests {
    use hmac::{Hmac, Mac};

    use super::*;

    fn mac(key: &[u8], message: &[u8]) -> [u8; 32] {
        Hmac::<Sha256>::new_from_slice(key).unwrap().chain_update(message).finalize().into_bytes().into()
    }

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
        let text = Verifier::derive("pencil", b"0123456789abcdef", 4096).to_text();
        assert!(Verifier::parse(&text).unwrap().matches("pencil"));
        // Made by PostgreSQL 15: a letter outside ASCII, and one that is normalised to others.
        for (password, text) in [
            (
                "pâté",
                "SCRAM-SHA-256$4096:I1g78R5PJMAWCJ0Cr7ksCQ==$xoY7uXboBiOf8pKYVRW+NDr09P9MDchYzl790DWKQiM=:t+hDQPmmtuSMXHwhmU+qvWzseRTM4a7GSze1wFCB+Cg=",
            ),
            (
                "Ⅸ",
                "SCRAM-SHA-256$4096:d1FdQubjZQmWBqj5uENAaA==$IVLAN79eOdJq4V43HW/i2nmFR3nIEd8TVsCOQBr3CrE=:Ymunh4RN1PhnqUWsdy29i8uhTeTGbyb++C8JVoXErF4=",
            ),
        ] {
            assert!(Verifier::parse(text).unwrap().matches(password), "{password}");
            assert!(!Verifier::parse(text).unwrap().matches("pate"), "{password}");
        }
        assert!(Verifier::parse("SCRAM-SHA-256$1:AA==$AA==:AA==").is_none());
        assert!(Verifier::parse("md5abc").is_none());
        assert_eq!(Verifier::from_password("").unwrap_err().sqlstate, "22023");
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
        let verifier = || Some(Verifier::derive("secret", b"salt", 4096));
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
