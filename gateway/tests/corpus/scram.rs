//! The client's side of SCRAM-SHA-256, enough to log in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

/// The client's first message without its header; the nonce need not be random in a test.
pub(crate) const BARE: &str = "n=,r=corpusnonce";

fn mac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text);
    mac.finalize().into_bytes().into()
}

/// The client's final message, answering the server's first.
pub(crate) fn proof(password: &str, server_first: &str) -> String {
    let field = |key: &str| {
        server_first.split(',').find_map(|part| part.strip_prefix(key)).unwrap_or_default().to_owned()
    };
    let (nonce, salt, rounds) = (field("r="), field("s="), field("i="));
    let mut salted = [0_u8; 32];
    let salt = STANDARD.decode(salt).unwrap();
    pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), &salt, rounds.parse().unwrap(), &mut salted);
    let client_key = mac(&salted, b"Client Key");
    let without = format!("c={},r={nonce}", STANDARD.encode("n,,"));
    let signature = mac(&Sha256::digest(client_key), format!("{BARE},{server_first},{without}").as_bytes());
    let proof: Vec<u8> = client_key.iter().zip(signature).map(|(left, right)| left ^ right).collect();
    format!("{without},p={}", STANDARD.encode(proof))
}
