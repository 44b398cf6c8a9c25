//! TLS to a PostgreSQL elsewhere: rustls under the seam that tokio-postgres has for it.
//!
//! There is one way: the certificate must be signed by the named authority, and be for the host that was dialled.
//! A server without TLS is refused, never spoken to in the clear. The provider of cryptography is named, because a
//! process with two of them has no default.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;

use crate::source::{SourceError, SourceErrorKind, SourceName};

/// Whether a connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PostgresTls {
    /// It is not.
    #[default]
    Disable,
    /// It is, and the server's certificate must be valid for the host; a server without TLS is refused.
    VerifyFull,
}

/// Encrypts, and verifies by the authorities of one file.
#[derive(Clone)]
pub(super) struct Tls {
    connector: TlsConnector,
}

impl Tls {
    /// Reads the certificates (PEM) that sign the server's. Done at each connect, so that they may rotate.
    pub(super) async fn trusting(source: &SourceName, file: &Path) -> Result<Self, SourceError> {
        let unusable = |what: &str| {
            let message = format!("source \"{source}\": tls_ca \"{}\" {what}", file.display());
            SourceError::new(SourceErrorKind::Unreachable, message).with_source(source).with_hint(
                "name a file with the certificate, in PEM, of the authority that signed the server's",
            )
        };
        let pem =
            tokio::fs::read(file).await.map_err(|error| unusable("cannot be read").with_cause(error))?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| unusable("is no PEM").with_cause(error))?;
            roots
                .add(certificate)
                .map_err(|error| unusable("has no usable certificate").with_cause(error))?;
        }
        if roots.is_empty() {
            return Err(unusable("has no certificate"));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable("cannot be used").with_cause(error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { connector: TlsConnector::from(Arc::new(config)) })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> MakeTlsConnect<S> for Tls {
    type Stream = Encrypted<S>;
    type TlsConnect = Handshake;
    type Error = InvalidDnsNameError;

    fn make_tls_connect(&mut self, host: &str) -> Result<Handshake, InvalidDnsNameError> {
        Ok(Handshake { connector: self.connector.clone(), host: ServerName::try_from(host.to_owned())? })
    }
}

/// A handshake with one host.
pub(super) struct Handshake {
    connector: TlsConnector,
    host: ServerName<'static>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for Handshake {
    type Stream = Encrypted<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move { Ok(Encrypted(self.connector.connect(self.host, stream).await?)) })
    }
}

/// An encrypted stream. It gives no channel binding: the server's certificate is verified instead.
pub(super) struct Encrypted<S>(tokio_rustls::client::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Encrypted<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Encrypted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Encrypted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// What is said of a connection that failed before anything was said on it; `None` if TLS has no part in that.
pub(super) fn failed(source: &SourceName, error: &tokio_postgres::Error) -> Option<SourceError> {
    let cause = std::error::Error::source(error)?;
    let said =
        |kind, what: &str| SourceError::new(kind, format!("source \"{source}\": cannot connect: {what}"));
    if error.to_string().starts_with("error performing TLS handshake") {
        let broken = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        return Some(match broken.and_then(|cause| cause.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(_)) => said(
                SourceErrorKind::Unreachable,
                "the server's certificate is not of this host, or not of the authority that tls_ca names",
            )
            .with_hint(format!(
                "check host and tls_ca of sources.{source}; the certificate must name the host"
            )),
            None if broken.is_none() && cause.downcast_ref::<io::Error>().is_none() => said(
                SourceErrorKind::Unsupported,
                "the server offers no TLS, which tls: verify-full asks for",
            )
            .with_hint(format!("switch TLS on at the server, or write tls: disable in sources.{source}")),
            _ => said(SourceErrorKind::Unreachable, "TLS failed")
                .with_hint(format!("check the server's certificate and tls_ca of sources.{source}")),
        });
    }
    None
}
