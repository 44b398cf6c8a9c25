//! A connection that another driver speaks over: dialled, encrypted and verified here, and lent as a socket.
//!
//! What migrates a ledger trusts public authorities beside the one that is named, and cannot be told not to. So it speaks in
//! the clear to a socket in a folder that only this account may enter, and what is said there goes on over TLS as
//! [`super::tls`] speaks it. It takes one client, once; nothing outside this process may be given its folder.

use std::path::Path;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpStream, UnixListener};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::Config;
use tokio_postgres::config::Host;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect as _};
use tracing::debug;

use super::pool::{CONNECT_TIMEOUT, no_answer};
use super::tls::{Authority, Encrypted, Tls, broken, refused};
use crate::source::{SourceError, SourceErrorKind, SourceName};

/// What a client sends before its handshake: a length of 8 and the code of the request.
const REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
/// The server's word that it speaks TLS.
const SPEAKS: u8 = b'S';
/// The port that the socket goes by.
pub(super) const PORT: u16 = 5432;

/// An encrypted connection to one server, and the socket it is reached by; both end with it.
#[derive(Debug)]
pub(super) struct Relay {
    folder: TempDir,
    work: JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.work.abort();
    }
}

impl Relay {
    /// Dials the configured server and waits for one client.
    ///
    /// # Errors
    /// `Unreachable` if nobody answers or its certificate is not good; `Unsupported` for a server without TLS.
    pub(super) async fn open(
        source: &SourceName,
        config: &Config,
        authority: &Authority,
    ) -> Result<Self, SourceError> {
        let tls = Tls::trusting(source, authority).await?;
        let dialled = timeout(CONNECT_TIMEOUT * 2, encrypted(source, config, tls)).await;
        let mut far = dialled.map_err(|_elapsed| no_answer(source))??;
        let unusable = |error: std::io::Error| {
            SourceError::new(SourceErrorKind::Unreachable, "cannot create a private directory for a socket")
                .with_hint("check that the directory for temporary files exists and is writable")
                .with_cause(error)
        };
        let folder = private_directory().map_err(unusable)?;
        let listener =
            UnixListener::bind(folder.path().join(format!(".s.PGSQL.{PORT}"))).map_err(unusable)?;
        let work = tokio::spawn(async move {
            let Ok((mut near, _)) = listener.accept().await else { return };
            drop(listener);
            if let Err(error) = copy_bidirectional(&mut near, &mut far).await {
                debug!(error = %error, "a relayed connection ended");
            }
        });
        Ok(Self { folder, work })
    }

    /// Where the socket is.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

fn private_directory() -> std::io::Result<TempDir> {
    use std::os::unix::fs::PermissionsExt as _;
    let private = std::fs::Permissions::from_mode(0o700);
    tempfile::Builder::new().prefix("portolan-").permissions(private).tempdir()
}

/// A server that has shaken hands, before anything else was said.
async fn encrypted(
    source: &SourceName,
    config: &Config,
    mut tls: Tls,
) -> Result<Encrypted<TcpStream>, SourceError> {
    let (Some(Host::Tcp(host)), Some(port)) = (config.get_hosts().first(), config.get_ports().first()) else {
        let message = format!("source \"{source}\" is no host that TLS could be spoken with");
        return Err(SourceError::new(SourceErrorKind::Unsupported, message).with_source(source));
    };
    let unreachable = |error: std::io::Error| {
        SourceError::new(SourceErrorKind::Unreachable, format!("source \"{source}\" is unreachable"))
            .with_source(source)
            .with_hint(format!("check host and port of sources.{source} and that the service runs"))
            .with_cause(error)
    };
    let handshake = MakeTlsConnect::<TcpStream>::make_tls_connect(&mut tls, host).map_err(|error| {
        let message = format!("source \"{source}\": \"{host}\" is no name that a certificate could have");
        SourceError::new(SourceErrorKind::Unsupported, message).with_source(source).with_cause(error)
    })?;
    let mut stream = TcpStream::connect((host.as_str(), *port)).await.map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    stream.write_all(&REQUEST).await.map_err(unreachable)?;
    if stream.read_u8().await.map_err(unreachable)? != SPEAKS {
        return Err(refused(source).with_source(source));
    }
    let shaken = handshake.connect(stream).await;
    shaken.map_err(|error| broken(source, &error).with_source(source).with_cause(error))
}
