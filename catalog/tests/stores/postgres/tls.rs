//! TLS to a PostgreSQL source: encrypts, and refuses whoever is not the server that was named.
//!
//! A terminator with a certificate of its own stands before the real server, as a proxy of TLS does in production, so
//! that no other test's server needs a certificate. The keys in `certificates` guard nothing.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use portolan_catalog::config::PostgresConfig;
use portolan_catalog::postgres::{MigrationStep, Migrations, PostgresPool};
use portolan_catalog::source::{SourceErrorKind, SourceName};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// What a client sends before its handshake: a length of 8 and the code of the request.
const REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

fn certificate(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stores/postgres/certificates").join(name)
}

/// Speaks TLS with clients, and in the clear with the server. Counts the handshakes that were completed.
struct Terminator {
    address: SocketAddr,
    handshakes: Arc<AtomicUsize>,
}

impl Terminator {
    async fn before(server: String) -> Self {
        let chain = CertificateDer::pem_file_iter(certificate("server.pem")).unwrap();
        let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_file(certificate("server.key")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let handshakes = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&handshakes);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, acceptor.clone(), server.clone(), Arc::clone(&count)));
            }
        });
        Self { address, handshakes }
    }
}

async fn serve(
    mut client: TcpStream,
    acceptor: TlsAcceptor,
    server: String,
    count: Arc<AtomicUsize>,
) -> std::io::Result<()> {
    let mut said = [0; 8];
    client.read_exact(&mut said).await?;
    // Whoever speaks in the clear is hung up on.
    if said != REQUEST {
        return Ok(());
    }
    client.write_all(b"S").await?;
    let mut client = acceptor.accept(client).await?;
    count.fetch_add(1, Ordering::SeqCst);
    let mut server = TcpStream::connect(server).await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await.map(|_| ())
}

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
    let terminator = Terminator::before(format!("{host}:{port}")).await;
    let (config, _folder) = config("localhost", terminator.address.port(), Some("ca.pem"));
    let pool = pool(&config);
    let lease = pool.lease().await.unwrap();
    assert_eq!(lease.query_one("SELECT 40 + 2", &[]).await.unwrap().get::<_, i32>(0), 42);
    assert_eq!(terminator.handshakes.load(Ordering::SeqCst), 1);
    pool.migrate(&NOTHING).await.unwrap();
    assert_eq!(terminator.handshakes.load(Ordering::SeqCst), 2);
    lease.batch_execute("DROP SCHEMA feeds_tls CASCADE").await.unwrap();
    lease.release();
}

#[tokio::test]
async fn a_server_that_is_not_the_one_named_is_refused() {
    const NOTHING: Migrations = Migrations { schema: "feeds_refused", steps: &[] };
    let (host, port) = server();
    let terminator = Terminator::before(format!("{host}:{port}")).await;
    let encrypted = terminator.address.port();
    let other = "source \"ops\": cannot connect: the server's certificate is not of this host, or not of the authority \
                 that tls_ca names";
    let clear = "source \"ops\": cannot connect: the server offers no TLS, which tls: verify-full asks for";
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
        assert!(pool.migrate(&NOTHING).await.is_err(), "{host}:{port}");
    }
    assert_eq!(terminator.handshakes.load(Ordering::SeqCst), 0);

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
    let terminator = Terminator::before(format!("{host}:{port}")).await;
    let (config, _folder) = config("localhost", terminator.address.port(), None);
    let error = pool(&config).lease().await.unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Unreachable);
    assert_eq!(terminator.handshakes.load(Ordering::SeqCst), 0);
}
