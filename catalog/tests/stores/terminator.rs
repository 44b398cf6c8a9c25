//! A terminator of TLS before a real server, as a proxy does it in production. The keys in `certificates` guard nothing.

#![expect(clippy::unwrap_used, reason = "a suite of tests and their helpers")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// What a client of PostgreSQL sends before its handshake: a length of 8 and the code of the request.
const REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// `ca.pem` signed `server.pem`, which is for localhost; `other.pem` signed nothing.
pub(crate) fn certificate(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stores/postgres/certificates").join(name)
}

/// Speaks TLS with clients, and in the clear with the server. Counts the handshakes that were completed.
pub(crate) struct Terminator {
    address: SocketAddr,
    handshakes: Arc<AtomicUsize>,
}

impl Terminator {
    /// Before a server whose clients shake hands at once.
    pub(crate) async fn before(server: String) -> Self {
        Self::start(server, false).await
    }

    /// Before a PostgreSQL, whose clients ask for TLS first.
    pub(crate) async fn before_postgres(server: String) -> Self {
        Self::start(server, true).await
    }

    async fn start(server: String, asked: bool) -> Self {
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
                tokio::spawn(serve(client, asked, acceptor.clone(), server.clone(), Arc::clone(&count)));
            }
        });
        Self { address, handshakes }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn handshakes(&self) -> usize {
        self.handshakes.load(Ordering::SeqCst)
    }
}

async fn serve(
    mut client: TcpStream,
    asked: bool,
    acceptor: TlsAcceptor,
    server: String,
    count: Arc<AtomicUsize>,
) -> std::io::Result<()> {
    if asked {
        let mut said = [0; 8];
        client.read_exact(&mut said).await?;
        // Whoever speaks in the clear is hung up on.
        if said != REQUEST {
            return Ok(());
        }
        client.write_all(b"S").await?;
    }
    let mut client = acceptor.accept(client).await?;
    count.fetch_add(1, Ordering::SeqCst);
    let mut server = TcpStream::connect(server).await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await.map(|_| ())
}
