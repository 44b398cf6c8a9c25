//! TLS to a MongoDB: encrypts, and refuses whoever is not the server that was named.

use std::path::Path;

use mongodb::bson::doc;
use portolan_catalog::config::MongodbConfig;
use portolan_catalog::mongodb::MongodbSource;
use portolan_catalog::source::{Source as _, SourceErrorKind, SourceName};

use super::{Fixture, numbered, server};
use crate::terminator::{Terminator, certificate};

/// The keys of a source, as they are written.
fn keys(tls: &str, authority: Option<&str>) -> String {
    let file = |name| format!("tls_ca: \"{}\"\n", certificate(name).display());
    format!("tls: {tls}\n{}", authority.map(file).unwrap_or_default())
}

fn open(address: &str, tls: &str, authority: Option<&str>) -> MongodbSource {
    let yaml = format!("hosts: [\"{address}\"]\ndatabase: portolan_tls\n{}", keys(tls, authority));
    let config: MongodbConfig = portolan_catalog::yaml::parse(Path::new("test"), &yaml).unwrap();
    MongodbSource::open(SourceName::try_new("docs").unwrap(), config).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_is_encrypted() {
    let terminator = Terminator::before(server().0).await;
    for (host, tls, authority) in [
        ("localhost", "verify-full", Some("ca.pem")),
        ("localhost", "required", None),
        // Its certificate is for another host, or signed by nobody we trust: it is not looked at.
        ("127.0.0.1", "required", Some("other.pem")),
    ] {
        let before = terminator.handshakes();
        let address = format!("{host}:{}", terminator.port());
        let fixture = Fixture::over(&address, None, &keys(tls, authority)).await;
        fixture.insert("t", numbered((0..500).map(|n| doc! { "n": n }))).await;
        assert_eq!(fixture.rows("SELECT count(*), sum(n) FROM t WHERE n < 10").await, ["10|45"], "{tls}");
        assert_eq!(fixture.rows("SELECT n FROM t WHERE n = 499").await, ["499"]);
        assert!(terminator.handshakes() > before, "{host} {tls}");
        fixture.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_the_one_named_is_refused() {
    let terminator = Terminator::before(server().0).await;
    let encrypted = |host: &str| format!("{host}:{}", terminator.port());
    let certificate = "source \"docs\": cannot list collections: the server's certificate is not of this \
                       host, or not of an authority that is trusted";
    let unreachable = "source \"docs\": cannot list collections: no server can be reached";
    // Each waits for a server that suits it; together they wait but once.
    let refused = [
        // Signed by the authority, but for localhost.
        (encrypted("127.0.0.1"), "verify-full", Some("ca.pem"), certificate),
        // For the host, but signed by nobody we trust.
        (encrypted("localhost"), "verify-full", Some("other.pem"), certificate),
        (encrypted("localhost"), "verify-full", None, certificate),
        // Nothing is said in the clear to a server that speaks TLS, nor the other way round.
        (encrypted("localhost"), "disable", None, unreachable),
        (server().0, "required", None, unreachable),
        (server().0, "verify-full", Some("ca.pem"), unreachable),
    ]
    .map(|(address, tls, authority, text)| async move {
        let error = open(&address, tls, authority).tables().await.unwrap_err();
        assert_eq!(error.to_string(), text, "{address} {tls} {authority:?}");
        assert_eq!(error.kind, SourceErrorKind::Unreachable, "{address} {tls} {authority:?}");
        assert!(error.hint.as_deref().is_some_and(|hint| hint.contains("tls")), "{error:?}");
    });
    futures::future::join_all(refused).await;
    assert_eq!(terminator.handshakes(), 0);

    // The driver would trust nobody, and say no more.
    let error = open(&encrypted("localhost"), "verify-full", Some("server.key")).tables().await.unwrap_err();
    assert!(error.to_string().contains("server.key\" has no certificate"), "{error}");
    let error = open(&encrypted("localhost"), "verify-full", Some("none.pem")).tables().await.unwrap_err();
    assert!(error.to_string().contains("none.pem\" cannot be read"), "{error}");
}
