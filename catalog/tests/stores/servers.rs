//! Where the test servers are: `PORTOLAN_TEST_<NAME>_URL`, or what `cargo x up` wrote down.

use std::path::PathBuf;

/// `postgres://portolan:…@127.0.0.1:port/postgres`, a superuser.
pub(crate) fn postgres() -> String {
    url("POSTGRES")
}

/// `mysql://root:…@127.0.0.1:port`, an account with every right.
pub(crate) fn mysql() -> String {
    url("MYSQL")
}

/// `mongodb://127.0.0.1:port/?…`.
pub(crate) fn mongodb() -> String {
    url("MONGODB")
}

/// `127.0.0.1:port`, bootstrap broker.
pub(crate) fn kafka() -> String {
    url("KAFKA")
}

/// `hdfs://127.0.0.1:port`.
pub(crate) fn hdfs() -> String {
    url("HDFS")
}

#[expect(
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a missing server is a failure that says what to do"
)]
fn url(name: &str) -> String {
    let variable = format!("PORTOLAN_TEST_{name}_URL");
    if let Ok(url) = std::env::var(&variable) {
        return url;
    }
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .unwrap_or_default();
    let file = cache.join("portolan/servers/env");
    let known = std::fs::read_to_string(&file).unwrap_or_default();
    let prefix = format!("{variable}=");
    match known.lines().find_map(|line| line.strip_prefix(&prefix)) {
        Some(url) => url.to_owned(),
        None => panic!("{variable} is not set and {} does not name it: run `cargo x up`", file.display()),
    }
}
