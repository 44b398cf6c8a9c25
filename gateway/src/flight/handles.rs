//! What a client holds by an opaque name: tickets and prepared statements of one session.
//!
//! A handle is a number and its signature under the session's own secret, so a forged one, or one of another session,
//! is told from one that has expired. The number of entries is bounded and every entry has an age after which it is
//! gone; nothing a client does can make the set grow without end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::error::{ErrorCode, QueryError};

/// Bytes of the number and of the signature.
const NUMBER: usize = 8;
const SIGNATURE: usize = 16;

/// What happens to one more entry when the set is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WhenFull {
    /// The oldest entry goes.
    DropOldest,
    /// It is refused with 53400.
    Refuse,
}

/// A bounded set of entries that expire.
#[derive(Debug)]
pub(super) struct Handles<T> {
    /// What the entries are called in errors, such as "ticket".
    what: &'static str,
    secret: [u8; 32],
    capacity: usize,
    life: Duration,
    when_full: WhenFull,
    entries: Mutex<Entries<T>>,
}

#[derive(Debug)]
struct Entries<T> {
    next: u64,
    /// By number; the instant is that of the last use, or of the making if entries are dropped by age of making.
    live: BTreeMap<u64, (Instant, Arc<T>)>,
}

impl<T> Handles<T> {
    pub(super) fn new(what: &'static str, capacity: usize, life: Duration, when_full: WhenFull) -> Self {
        Self {
            what,
            secret: rand::random(),
            capacity,
            life,
            when_full,
            entries: Mutex::new(Entries { next: 1, live: BTreeMap::new() }),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Entries<T>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an entry and names it.
    pub(super) fn insert(&self, entry: T) -> Result<Bytes, QueryError> {
        let mut entries = self.lock();
        entries.live.retain(|_, (used, _)| used.elapsed() < self.life);
        if entries.live.len() >= self.capacity {
            match self.when_full {
                WhenFull::DropOldest => {
                    entries.live.pop_first();
                }
                WhenFull::Refuse => {
                    return Err(QueryError::new(
                        ErrorCode::ConfigurationLimitExceeded,
                        format!("a session may have at most {} {}s", self.capacity, self.what),
                    )
                    .with_hint(format!("close a {} that is not needed any more", self.what)));
                }
            }
        }
        let number = entries.next;
        entries.next += 1;
        entries.live.insert(number, (Instant::now(), Arc::new(entry)));
        Ok(self.name(number))
    }

    fn name(&self, number: u64) -> Bytes {
        let number = number.to_be_bytes();
        let mut name = number.to_vec();
        name.extend_from_slice(&self.signature(&number));
        name.into()
    }

    fn signature(&self, number: &[u8; NUMBER]) -> [u8; SIGNATURE] {
        let mut short = [0; SIGNATURE];
        // HMAC takes a key of any length.
        if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.secret) {
            mac.update(self.what.as_bytes());
            mac.update(number);
            short.iter_mut().zip(mac.finalize().into_bytes()).for_each(|(to, from)| *to = from);
        }
        short
    }

    /// The number of a handle we signed.
    fn number(&self, handle: &[u8]) -> Option<u64> {
        let (number, signature) = handle.split_first_chunk::<NUMBER>()?;
        let signed: bool = self.signature(number).as_slice().ct_eq(signature).into();
        signed.then(|| u64::from_be_bytes(*number))
    }

    /// The entry of a handle; using it keeps it when the set is one that refuses.
    pub(super) fn get(&self, handle: &[u8]) -> Result<Arc<T>, QueryError> {
        let number = self.number(handle).ok_or_else(|| {
            QueryError::new(
                ErrorCode::InvalidAuthorization,
                format!("this {} was not given to this session", self.what),
            )
            .with_hint("use it with the login it was made with")
        })?;
        let mut entries = self.lock();
        if let Some((used, entry)) = entries.live.get_mut(&number)
            && used.elapsed() < self.life
        {
            if self.when_full == WhenFull::Refuse {
                *used = Instant::now();
            }
            return Ok(Arc::clone(entry));
        }
        entries.live.remove(&number);
        Err(QueryError::new(
            ErrorCode::InvalidStatementName,
            format!("this {} is closed or has expired", self.what),
        )
        .with_hint("make a new one"))
    }

    /// Forgets an entry; whether it was there does not matter.
    pub(super) fn remove(&self, handle: &[u8]) {
        if let Some(number) = self.number(handle) {
            self.lock().live.remove(&number);
        }
    }

    /// The entries whose handles occur in a message, wherever they stand in it.
    pub(super) fn mentioned_in(&self, message: &[u8]) -> Vec<Arc<T>> {
        let entries = self.lock();
        entries
            .live
            .iter()
            .filter(|(number, _)| {
                let name = self.name(**number);
                message.windows(name.len()).any(|window| window == name)
            })
            .map(|(_, (_, entry))| Arc::clone(entry))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handles(capacity: usize, life: Duration, when_full: WhenFull) -> Handles<usize> {
        Handles::new("ticket", capacity, life, when_full)
    }

    #[test]
    fn a_forged_handle_is_told_from_an_expired_one() {
        let mine = handles(2, Duration::from_secs(60), WhenFull::DropOldest);
        let other = handles(2, Duration::from_secs(60), WhenFull::DropOldest);
        let name = mine.insert(7).unwrap();
        assert_eq!(*mine.get(&name).unwrap(), 7);
        assert_eq!(other.get(&name).unwrap_err().code, ErrorCode::InvalidAuthorization);
        assert_eq!(mine.get(b"").unwrap_err().code, ErrorCode::InvalidAuthorization);
        mine.remove(&name);
        assert_eq!(mine.get(&name).unwrap_err().code, ErrorCode::InvalidStatementName);
        let gone = handles(2, Duration::ZERO, WhenFull::DropOldest);
        let name = gone.insert(1).unwrap();
        assert_eq!(gone.get(&name).unwrap_err().code, ErrorCode::InvalidStatementName);
    }

    #[test]
    fn the_set_is_bounded() {
        let tickets = handles(2, Duration::from_secs(60), WhenFull::DropOldest);
        let names: Vec<Bytes> = (0..3).map(|entry| tickets.insert(entry).unwrap()).collect();
        assert!(tickets.get(&names[0]).is_err());
        assert_eq!(*tickets.get(&names[2]).unwrap(), 2);
        let statements = handles(1, Duration::from_secs(60), WhenFull::Refuse);
        statements.insert(1).unwrap();
        assert_eq!(statements.insert(2).unwrap_err().code, ErrorCode::ConfigurationLimitExceeded);
    }

    #[test]
    fn handles_are_found_inside_a_message() {
        let tickets = handles(9, Duration::from_secs(60), WhenFull::DropOldest);
        let (first, second) = (tickets.insert(1).unwrap(), tickets.insert(2).unwrap());
        let message = [b"before", first.as_ref(), b"after"].concat();
        assert_eq!(tickets.mentioned_in(&message), [Arc::new(1)]);
        assert_eq!(tickets.mentioned_in(&second), [Arc::new(2)]);
        assert!(tickets.mentioned_in(b"neither").is_empty());
    }
}
