//! Names of what a test makes on a shared server, and which of them a killed run left there.
//!
//! A name is `<family>_<when>_<random>`, with the second it was made in: servers tell the age of a database, topic or
//! folder each in its own way or not at all. What is an hour old is of no test that still runs, and the next run of its
//! family removes it; a name of any other form is never touched. PostgreSQL tells the age itself: see `database`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// After this time no test runs any more.
pub(crate) const OLD: Duration = Duration::from_secs(3_600);

/// A name that nobody else has, of a family of tests.
pub(crate) fn fresh(family: &str) -> String {
    made_before(family, Duration::ZERO)
}

/// A name as it would have been made some time ago.
pub(crate) fn made_before(family: &str, age: Duration) -> String {
    let at = now().saturating_sub(age.as_secs());
    format!("{family}_{at:08x}_{}", uuid::Uuid::new_v4().simple())
}

/// Whether something of one of the families is so old that whoever made it is gone.
pub(crate) fn is_left_over(name: &str, families: &[&str]) -> bool {
    let hexadecimal = |text: &str, digits: usize| {
        text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    families.iter().any(|family| {
        let rest = name.strip_prefix(family).and_then(|rest| rest.strip_prefix('_'));
        let Some((at, random)) = rest.and_then(|rest| rest.split_once('_')) else { return false };
        let made = u64::from_str_radix(at, 16);
        hexadecimal(at, 8)
            && hexadecimal(random, 32)
            && made.is_ok_and(|made| made.saturating_add(OLD.as_secs()) <= now())
    })
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[test]
fn only_old_names_of_the_family_are_left_over() {
    let old = made_before("pt", OLD);
    assert!(is_left_over(&old, &["test", "pt"]), "{old}");
    for name in [
        fresh("pt"),
        made_before("pt", OLD / 2),
        made_before("port", OLD * 2),
        // Of another family that begins alike, or of a form that this one never has.
        made_before("pt_more", OLD * 2),
        format!("{old}0"),
        format!("x{old}"),
        format!("pt_{}", uuid::Uuid::new_v4().simple()),
        "pt_00000000_".to_owned(),
        format!("pt_+0000000_{}", uuid::Uuid::new_v4().simple()),
        "pt".to_owned(),
        String::new(),
    ] {
        assert!(!is_left_over(&name, &["test", "pt"]), "{name}");
    }
}
