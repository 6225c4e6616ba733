//! Encryption of a client's connections, and the certificates that it trusts. The runtime performs the handshake.

use std::fmt;
use std::future::ready;
use std::io;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_platform_verifier::Verifier;
use thiserror::Error;

use super::connect::{BoxIo, Connecting, Encryptor};

/// The TLS handshake on a connection: what an encryptor needs from a runtime crate.
pub trait TlsHandshake: Send + Sync + 'static {
    /// Performs the handshake of a client with the server of this name.
    fn connect(&self, config: Arc<ClientConfig>, name: ServerName<'static>, io: BoxIo) -> Connecting;
}

/// Encrypts connections with rustls. The runtime crates have a type alias with their own handshake: use that.
pub struct TlsEncryptor<H> {
    /// Created by the first connection, if it was not given.
    config: OnceLock<Arc<ClientConfig>>,
    handshake: H,
}

impl<H: TlsHandshake + Default> TlsEncryptor<H> {
    /// Creates an encryptor with a configuration, usually one made by [`TlsConfig`].
    ///
    /// The client speaks HTTP/1.1 on its connections. A configuration made in another way must not negotiate HTTP/2.
    pub fn new(config: Arc<ClientConfig>) -> Self {
        Self { config: config.into(), handshake: H::default() }
    }

    /// Creates an encryptor that trusts the system's certificates, which are read by the first connection.
    pub fn platform() -> Self {
        Self { config: OnceLock::new(), handshake: H::default() }
    }
}

impl<H> TlsEncryptor<H> {
    fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        if let Some(config) = self.config.get() {
            return Ok(Arc::clone(config));
        }
        let made = TlsConfig::new().build()?;
        // Another connection may have created the same configuration first.
        Ok(Arc::clone(self.config.get_or_init(|| made)))
    }
}

impl<H: TlsHandshake> Encryptor for TlsEncryptor<H> {
    fn encrypt(&self, io: BoxIo, host: &str) -> Connecting {
        let config = self.config().map_err(io::Error::other);
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error));
        match config.and_then(|config| Ok((config, name?))) {
            Ok((config, name)) => {
                let connecting = self.handshake.connect(config, name, io);
                Box::pin(async { connecting.await.map_err(explain) })
            }
            Err(error) => Box::pin(ready(Err(error))),
        }
    }
}

/// The first bytes of a server are not TLS.
#[derive(Debug, Error)]
#[error("the server does not speak TLS on this port, expected it because the URL has https or wss")]
struct NotTls(#[source] io::Error);

/// Names the likely cause of an error of the handshake.
fn explain(error: io::Error) -> io::Error {
    let source = error.get_ref().and_then(|error| error.downcast_ref());
    if matches!(source, Some(rustls::Error::InvalidMessage(_))) {
        return io::Error::new(error.kind(), NotTls(error));
    }
    error
}

impl<H: Clone> Clone for TlsEncryptor<H> {
    fn clone(&self) -> Self {
        Self { config: self.config.clone(), handshake: self.handshake.clone() }
    }
}

impl<H> fmt::Debug for TlsEncryptor<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsEncryptor")
    }
}

/// The certificates that a client trusts, and its own certificate.
///
/// By default, the system's certificates are trusted. The client uses TLS 1.2 or 1.3 with the `ring` provider, also if
/// other crates have installed another one, and HTTP/1.1 inside.
///
/// The server's certificate and host name are always verified, unless
/// [`dangerously_accept_any_certificate`](Self::dangerously_accept_any_certificate) was called.
///
/// ```
/// use engineio_driver::net::TlsConfig;
///
/// # fn client(authority: &[u8]) -> Result<(), engineio_driver::net::TlsError> {
/// let config = TlsConfig::new().add_root_pem(authority)?.only_added_roots().build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
#[must_use]
pub struct TlsConfig {
    roots: Vec<CertificateDer<'static>>,
    only_added_roots: bool,
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    accept_any: bool,
}

/// Why a TLS configuration cannot be built.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The data is not valid PEM, or lacks a required section.
    #[error("invalid PEM: {0}")]
    Pem(#[from] pem::Error),
    /// Only added root certificates are to be trusted, but none was added.
    #[error("no root certificates: only added ones are trusted, but none was added")]
    NoRoots,
    /// This system does not support root certificates in addition to its own.
    #[error("this system does not support root certificates in addition to its own")]
    AddedRoots,
    /// A certificate is not valid, the key does not match it, or the system has no root certificates.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

impl TlsConfig {
    /// Starts with the system's certificates. On Android, initialize the crate `rustls-platform-verifier` first.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds root certificates to those of the system. They are PEM, one or more.
    ///
    /// # Errors
    /// Returns an error if the data has no certificate, or an invalid section.
    pub fn add_root_pem(mut self, pem: impl AsRef<[u8]>) -> Result<Self, TlsError> {
        self.roots.extend(certificates(pem.as_ref())?);
        Ok(self)
    }

    /// Adds a root certificate to those of the system. It is DER, and is checked by [`build`](Self::build).
    pub fn add_root_der(mut self, der: impl Into<Vec<u8>>) -> Self {
        self.roots.push(der.into().into());
        self
    }

    /// Trusts the added root certificates only, and not those of the system.
    pub const fn only_added_roots(mut self) -> Self {
        self.only_added_roots = true;
        self
    }

    /// Sets the certificate that the client presents if the server asks for one, and its private key. Both are PEM. The
    /// certificate comes first in `chain`, followed by the intermediate certificates. The key is PKCS #8, PKCS #1 or
    /// SEC 1, and not encrypted.
    ///
    /// # Errors
    /// Returns an error if a certificate or the key is missing, or if a section is invalid.
    pub fn client_certificate_pem(mut self, chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Result<Self, TlsError> {
        let chain = certificates(chain.as_ref())?;
        self.identity = Some((chain, PrivateKeyDer::from_pem_slice(key.as_ref())?));
        Ok(self)
    }

    /// **Turns verification off.** Any server is accepted, and so is an attacker on the network, who can then read and
    /// change all data. Root certificates have no effect.
    ///
    /// For tests only. For a server with a self-signed certificate, add that certificate as a root.
    pub const fn dangerously_accept_any_certificate(mut self) -> Self {
        self.accept_any = true;
        self
    }

    /// Builds the configuration of rustls. This reads the system's certificates.
    ///
    /// # Errors
    /// See [`TlsError`]. No error is ignored in a way that weakens verification.
    pub fn build(self) -> Result<Arc<ClientConfig>, TlsError> {
        let provider = Arc::new(ring::default_provider());
        if self.only_added_roots && self.roots.is_empty() {
            return Err(TlsError::NoRoots);
        }
        let config = ClientConfig::builder_with_provider(provider.clone());
        let config = config.with_protocol_versions(&[&TLS13, &TLS12])?;
        let config = if self.accept_any {
            config.dangerous().with_custom_certificate_verifier(Arc::new(AcceptAny(provider)))
        } else if self.only_added_roots {
            let mut roots = RootCertStore::empty();
            for root in self.roots {
                roots.add(root)?;
            }
            config.with_root_certificates(roots)
        } else {
            let verifier = system_verifier(self.roots, provider)?;
            config.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        };
        let mut config = match self.identity {
            Some((chain, key)) => config.with_client_auth_cert(chain, key)?,
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// Requires at least one certificate: otherwise an empty file would silently add nothing.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>()?;
    if certificates.is_empty() {
        return Err(pem::Error::NoItemsFound.into());
    }
    Ok(certificates)
}

#[cfg(not(target_os = "android"))]
fn system_verifier(added: Vec<CertificateDer<'static>>, provider: Arc<CryptoProvider>) -> Result<Verifier, TlsError> {
    // Checked here, because not every system checks it.
    let mut roots = RootCertStore::empty();
    for root in &added {
        roots.add(root.clone())?;
    }
    Ok(Verifier::new_with_extra_roots(added, provider)?)
}

#[cfg(target_os = "android")]
fn system_verifier(added: Vec<CertificateDer<'static>>, provider: Arc<CryptoProvider>) -> Result<Verifier, TlsError> {
    if added.is_empty() { Ok(Verifier::new(provider)?) } else { Err(TlsError::AddedRoots) }
}

/// A verifier that accepts everything.
#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    // The signature proves nothing, since anyone can make the certificate.
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Does not show the key.
impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConfig")
            .field("added_roots", &self.roots.len())
            .field("only_added_roots", &self.only_added_roots)
            .field("client_certificate", &self.identity.is_some())
            .field("accept_any_certificate", &self.accept_any)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    /// Returns a self-signed certificate and its key.
    fn certificate() -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        (CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap(), key)
    }

    #[test]
    fn root_certificates_as_pem_and_der() {
        let (one, _) = certificate();
        let (two, _) = certificate();
        let config = TlsConfig::new().add_root_pem(one.pem() + &two.pem()).unwrap().add_root_der(one.der().to_vec());
        assert_eq!(config.roots, [one.der().clone(), two.der().clone(), one.der().clone()]);
        let config = config.only_added_roots().build().unwrap();
        assert_eq!(config.alpn_protocols, [b"http/1.1"]);
        assert!(!config.client_auth_cert_resolver.has_certs());
    }

    #[test]
    fn sec61_nothing_given_is_not_nothing_verified() {
        assert!(matches!(TlsConfig::new().only_added_roots().build(), Err(TlsError::NoRoots)));
        let (_, key) = certificate();
        for pem in ["", "no pem", &key.serialize_pem()] {
            let added = TlsConfig::new().add_root_pem(pem);
            assert!(matches!(added, Err(TlsError::Pem(pem::Error::NoItemsFound))), "{pem}");
        }
    }

    #[test]
    fn sec61_what_is_broken_is_an_error() {
        let cut = "-----BEGIN CERTIFICATE-----\nMIIB\n";
        assert!(matches!(TlsConfig::new().add_root_pem(cut), Err(TlsError::Pem(_))));
        let broken = TlsConfig::new().add_root_der(*b"no certificate");
        assert!(matches!(broken.build(), Err(TlsError::Rustls(_))));
        let broken = TlsConfig::new().add_root_der(*b"no certificate").only_added_roots();
        assert!(matches!(broken.build(), Err(TlsError::Rustls(_))));
    }

    #[test]
    fn a_client_certificate_needs_its_own_key() {
        let (certificate, key) = certificate();
        let pem = certificate.pem();
        let new = || TlsConfig::new().add_root_pem(&pem).unwrap().only_added_roots();
        let config = new().client_certificate_pem(&pem, key.serialize_pem()).unwrap().build().unwrap();
        assert!(config.client_auth_cert_resolver.has_certs());

        let foreign = new().client_certificate_pem(&pem, KeyPair::generate().unwrap().serialize_pem()).unwrap();
        assert!(matches!(foreign.build(), Err(TlsError::Rustls(rustls::Error::InconsistentKeys(_)))));
        assert!(matches!(new().client_certificate_pem("", key.serialize_pem()), Err(TlsError::Pem(_))));
        assert!(matches!(new().client_certificate_pem(&pem, &pem), Err(TlsError::Pem(_))));
    }

    #[test]
    fn no_key_in_debug_output() {
        let (certificate, key) = certificate();
        let config = TlsConfig::new().client_certificate_pem(certificate.pem(), key.serialize_pem()).unwrap();
        assert_eq!(
            format!("{config:?}"),
            "TlsConfig { added_roots: 0, only_added_roots: false, client_certificate: true, \
             accept_any_certificate: false }"
        );
    }
}
