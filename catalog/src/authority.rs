//! Certificates of the authorities that sign a server's, read from a file of the configuration.
//!
//! Read when a connection is made, so that they may rotate. A file that names no authority is an error, never a reason to
//! trust somebody else.

use std::io;
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::source::{SourceError, SourceErrorKind, SourceName};

/// The authorities in a file that was read, PEM.
pub(crate) fn authorities(
    source: &SourceName,
    file: &Path,
    read: io::Result<Vec<u8>>,
) -> Result<RootCertStore, SourceError> {
    let unusable = |what: &str| {
        let message = format!("source \"{source}\": tls_ca \"{}\" {what}", file.display());
        SourceError::new(SourceErrorKind::Unreachable, message)
            .with_source(source)
            .with_hint("name a file with the certificate, in PEM, of the authority that signed the server's")
    };
    let pem = read.map_err(|error| unusable("cannot be read").with_cause(error))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| unusable("is no PEM").with_cause(error))?;
        roots.add(certificate).map_err(|error| unusable("has no usable certificate").with_cause(error))?;
    }
    if roots.is_empty() { Err(unusable("has no certificate")) } else { Ok(roots) }
}
