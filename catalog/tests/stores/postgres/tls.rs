//! TLS to a PostgreSQL source: encrypts, and refuses whoever is not the server that was named.
//!
//! A terminator with a certificate of its own stands before the real server, so that no other test's server needs one.

use portolan_catalog::config::PostgresConfig;
use portolan_catalog::postgres::{MigrationStep, Migrations, PostgresPool, PostgresTls};
use portolan_catalog::source::{SourceErrorKind, SourceName};

use crate::terminator::{Terminator, certificate};

/// The test server's account at another address.
fn config(host: &str, port: u16, authority: Option<&str>) -> (PostgresConfig, tempfile::TempDir) {
    let server: tokio_postgres::Config = crate::servers::postgres().parse().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, server.get_password().unwrap()).unwrap();
    let tls = if authority.is_some() { "verify-full" } else { "disable" };
    let mut config: PostgresConfig = serde_json::from_value(serde_json::json!({
        "host": host, "port": port, "database": server.get_dbname().unwrap(), "user": server.get_user().unwrap(),
        "password": {"file": password}, "tls": tls,
    }))
    .unwrap();
    config.tls_ca = authority.map(certificate);
    (config, folder)
}

fn server() -> (String, u16) {
    let config: tokio_postgres::Config = crate::servers::postgres().parse().unwrap();
    let Some(tokio_postgres::config::Host::Tcp(host)) = config.get_hosts().first().cloned() else { panic!() };
    (host, *config.get_ports().first().unwrap())
}

fn pool(config: &PostgresConfig) -> PostgresPool {
    PostgresPool::configured(&SourceName::try_new("ops").unwrap(), config).unwrap()
}

#[tokio::test]
async fn verify_full_encrypts_what_is_read_and_migrated() {
    const NOTHING: Migrations = Migrations {
        schema: "feeds_tls",
        steps: &[MigrationStep { version: 1, description: "nothing", sql: "SELECT 1" }],
    };
    let (host, port) = server();
    let terminator = Terminator::before_postgres(format!("{host}:{port}")).await;
    let (config, _folder) = config("localhost", terminator.port(), Some("ca.pem"));
    let pool = pool(&config);
    let lease = pool.lease().await.unwrap();
    assert_eq!(lease.query_one("SELECT 40 + 2", &[]).await.unwrap().get::<_, i32>(0), 42);
    assert_eq!(terminator.handshakes(), 1);
    pool.migrate(&NOTHING).await.unwrap();
    assert_eq!(terminator.handshakes(), 2);
    lease.batch_execute("DROP SCHEMA feeds_tls CASCADE").await.unwrap();
    lease.release();
}

#[tokio::test]
async fn a_server_that_is_not_the_one_named_is_refused() {
    const NOTHING: Migrations = Migrations { schema: "feeds_refused", steps: &[] };
    let (host, port) = server();
    let terminator = Terminator::before_postgres(format!("{host}:{port}")).await;
    let encrypted = terminator.port();
    let other = "source \"ops\": cannot connect: the server's certificate is not of this host, or not of the authority \
                 that tls_ca names";
    let clear = "source \"ops\": cannot connect: the server offers no TLS, which its configuration asks for";
    for (host, port, authority, kind, text) in [
        // Signed by the authority, but for localhost.
        ("127.0.0.1", encrypted, "ca.pem", SourceErrorKind::Unreachable, other),
        // For the host, but signed by nobody we trust.
        ("localhost", encrypted, "other.pem", SourceErrorKind::Unreachable, other),
        // The real server speaks in the clear only.
        (host.as_str(), port, "ca.pem", SourceErrorKind::Unsupported, clear),
    ] {
        let (config, _folder) = config(host, port, Some(authority));
        let pool = pool(&config);
        let error = pool.lease().await.unwrap_err();
        assert_eq!((error.kind, error.to_string().as_str()), (kind, text));
        assert!(error.hint.is_some(), "{error:?}");
        let error = pool.migrate(&NOTHING).await.unwrap_err();
        assert_eq!((error.kind, error.to_string().as_str()), (kind, text), "as what migrates is told");
    }
    assert_eq!(terminator.handshakes(), 0);

    let (mut config, _folder) = config("localhost", encrypted, Some("server.key"));
    let error = pool(&config).lease().await.unwrap_err();
    assert!(error.to_string().contains("server.key\" has no certificate"), "{error}");
    config.tls_ca = None;
    let error = PostgresPool::configured(&SourceName::try_new("ops").unwrap(), &config).unwrap_err();
    assert_eq!(error.to_string(), "source \"ops\" has tls: verify-full and no tls_ca");
}

#[tokio::test]
async fn without_tls_nothing_is_encrypted() {
    let (host, port) = server();
    let terminator = Terminator::before_postgres(format!("{host}:{port}")).await;
    let (config, _folder) = config("localhost", terminator.port(), None);
    let error = pool(&config).lease().await.unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Unreachable);
    assert_eq!(terminator.handshakes(), 0);
}

/// A certificate of the named authority is enough, whatever host it is for; any other is refused. So it is for a ledger.
#[tokio::test]
async fn verify_ca_takes_the_authoritys_certificate_for_any_host() {
    const NOTHING: Migrations = Migrations { schema: "feeds_any_host", steps: &[] };
    let (host, port) = server();
    let terminator = Terminator::before_postgres(format!("{host}:{port}")).await;
    let open = |host: &str, port: u16, authority: &str| {
        let (mut config, folder) = config(host, port, Some(authority));
        config.tls = PostgresTls::VerifyCa;
        (pool(&config), folder)
    };
    for (handshakes, host) in [(1, "127.0.0.1"), (3, "localhost")] {
        let (pool, _folder) = open(host, terminator.port(), "ca.pem");
        let lease = pool.lease().await.unwrap();
        assert_eq!(lease.query_one("SELECT 40 + 2", &[]).await.unwrap().get::<_, i32>(0), 42);
        assert_eq!(terminator.handshakes(), handshakes);
        pool.migrate(&NOTHING).await.unwrap();
        assert_eq!(terminator.handshakes(), handshakes + 1);
        lease.batch_execute("DROP SCHEMA feeds_any_host CASCADE").await.unwrap();
        lease.release();
    }
    for (host, port, authority, kind) in [
        ("localhost", terminator.port(), "other.pem", SourceErrorKind::Unreachable),
        (host.as_str(), port, "ca.pem", SourceErrorKind::Unsupported),
    ] {
        let (pool, _folder) = open(host, port, authority);
        assert_eq!(pool.lease().await.unwrap_err().kind, kind, "{host}:{port} {authority}");
        assert_eq!(pool.migrate(&NOTHING).await.unwrap_err().kind, kind, "{host}:{port} {authority}");
    }
    assert_eq!(terminator.handshakes(), 4);
}
