//! Where a worker listens: `http://127.0.0.1:7001`. Addresses beyond this machine are refused, not trusted.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::Deserialize;
use url::{Host, Url};

/// The address of a worker on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerUrl(Url);

impl WorkerUrl {
    /// The address as a URL without path.
    #[must_use]
    pub(crate) const fn url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for WorkerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl FromStr for WorkerUrl {
    type Err = String;

    /// The error is a sentence; behind `; ` it says what to do.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let example = "write http://127.0.0.1:7001";
        let url =
            Url::parse(text).map_err(|error| format!("worker \"{text}\" is no URL: {error}; {example}"))?;
        // A password in it must not be repeated.
        if !url.username().is_empty() || url.password().is_some() {
            return Err(format!("the URL of a worker has no user or password; {example}"));
        }
        if url.scheme() != "http" {
            return Err(format!(
                "worker \"{text}\" is not reached over http: there is no TLS to workers yet; {example}"
            ));
        }
        if url.port().is_none() || !matches!(url.path(), "" | "/") || url.query().is_some() {
            return Err(format!("worker \"{text}\" must be a host and a port; {example}"));
        }
        let near = match url.host() {
            Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
            Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        };
        if near {
            Ok(Self(url))
        } else {
            Err(format!(
                "worker \"{text}\" is not on this machine, and the link to workers has no TLS yet; run it here: {example}"
            ))
        }
    }
}

impl<'de> Deserialize<'de> for WorkerUrl {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ports_of_this_machine_are_workers() {
        for text in ["http://127.0.0.1:7001", "http://[::1]:7001/", "http://localhost:1"] {
            assert!(text.parse::<WorkerUrl>().is_ok(), "{text}");
        }
        for (text, said) in [
            ("127.0.0.1:7001", "is no URL"),
            ("http://10.0.0.7:7001", "no TLS"),
            ("http://worker-1:7001", "is not on this machine"),
            ("https://127.0.0.1:7001", "no TLS"),
            ("http://127.0.0.1", "a host and a port"),
            ("http://127.0.0.1:7001/x", "a host and a port"),
            ("http://me:hunter2@127.0.0.1:7001", "no user or password"),
        ] {
            let refused = text.parse::<WorkerUrl>().unwrap_err();
            assert!(refused.contains(said) && refused.contains("; "), "{refused}");
            assert!(!refused.contains("hunter2"), "{refused}");
        }
    }
}
