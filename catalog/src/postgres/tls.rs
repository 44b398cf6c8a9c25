//! TLS to a PostgreSQL elsewhere: rustls under the seam that tokio-postgres has for it.
//!
//! The certificate must be signed by the named authority, and be for the host that was dialled unless the configuration
//! says otherwise. A server without TLS is refused, never spoken to in the clear. The provider of cryptography is named,
//! because a process with two of them has no default.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;

use crate::authority::authorities;
use crate::source::{SourceError, SourceErrorKind, SourceName};

/// Whether a connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PostgresTls {
    /// It is not.
    #[default]
    Disable,
    /// It is, and the named authority must have signed the server's certificate, whatever host that is for: whoever has
    /// a certificate of that authority may answer. A server without TLS is refused.
    VerifyCa,
    /// It is, and the server's certificate must be valid for the host; a server without TLS is refused.
    VerifyFull,
}

/// Whose certificates are taken for a server's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Authority {
    /// The certificates (PEM) that sign the server's.
    pub(super) file: PathBuf,
    /// Whether the server's must be for the host that was dialled.
    pub(super) of_host: bool,
}

/// Encrypts, and verifies by the authorities of one file.
#[derive(Clone)]
pub(super) struct Tls {
    connector: TlsConnector,
}

impl Tls {
    /// Reads the certificates that sign the server's. Done at each connect, so that they may rotate.
    pub(super) async fn trusting(source: &SourceName, authority: &Authority) -> Result<Self, SourceError> {
        let roots = authorities(source, &authority.file, tokio::fs::read(&authority.file).await)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| {
                let message = format!("source \"{source}\": TLS cannot be spoken");
                SourceError::new(SourceErrorKind::Unsupported, message).with_source(source).with_cause(error)
            })?;
        let config = if authority.of_host {
            config.with_root_certificates(roots)
        } else {
            config.dangerous().with_custom_certificate_verifier(Arc::new(AnyHost { roots, provider }))
        };
        Ok(Self { connector: TlsConnector::from(Arc::new(config.with_no_client_auth())) })
    }
}

/// Takes a certificate of an authority for any host.
#[derive(Debug)]
struct AnyHost {
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyHost {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, intermediates, now, algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
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
    if !error.to_string().starts_with("error performing TLS handshake") {
        return None;
    }
    Some(match cause.downcast_ref::<io::Error>() {
        Some(error) => broken(source, error),
        None => refused(source),
    })
}

/// What is said of a handshake that failed.
pub(super) fn broken(source: &SourceName, error: &io::Error) -> SourceError {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(_)) => said(
            source,
            SourceErrorKind::Unreachable,
            "the server's certificate is not of this host, or not of the authority that tls_ca names",
        )
        .with_hint(format!("check host and tls_ca of sources.{source}; the certificate must name the host")),
        _ => said(source, SourceErrorKind::Unreachable, "TLS failed")
            .with_hint(format!("check the server's certificate and tls_ca of sources.{source}")),
    }
}

/// What is said of a server that speaks in the clear only.
pub(super) fn refused(source: &SourceName) -> SourceError {
    said(source, SourceErrorKind::Unsupported, "the server offers no TLS, which its configuration asks for")
        .with_hint(format!("switch TLS on at the server, or write tls: disable in sources.{source}"))
}

fn said(source: &SourceName, kind: SourceErrorKind, what: &str) -> SourceError {
    SourceError::new(kind, format!("source \"{source}\": cannot connect: {what}"))
}
