//! Where the test servers are: `PORTOLAN_TEST_<NAME>_URL`, or what `cargo x up` wrote down.

use std::path::PathBuf;

use anyhow::{Result, anyhow};

/// A superuser's URL of the test PostgreSQL.
pub(crate) fn postgres() -> Result<String> {
    url("POSTGRES")
}

/// The URL of an account of the test MySQL or MariaDB with every right.
pub(crate) fn mysql() -> Result<String> {
    url("MYSQL")
}

/// The URL of the test MongoDB.
pub(crate) fn mongodb() -> Result<String> {
    url("MONGODB")
}

/// The address of a broker of the test Kafka.
pub(crate) fn kafka() -> Result<String> {
    url("KAFKA")
}

#[expect(clippy::disallowed_methods, reason = "tests find their servers in the environment")]
fn url(name: &str) -> Result<String> {
    let variable = format!("PORTOLAN_TEST_{name}_URL");
    if let Ok(url) = std::env::var(&variable) {
        return Ok(url);
    }
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .unwrap_or_default();
    let file = cache.join("portolan/servers/env");
    let known = std::fs::read_to_string(&file).unwrap_or_default();
    let prefix = format!("{variable}=");
    known.lines().find_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).ok_or_else(|| {
        anyhow!("{variable} is not set and {} does not name it: run `cargo x up`", file.display())
    })
}
