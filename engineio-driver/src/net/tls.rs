//! How a client's connections are encrypted, and whom it trusts. The handshake itself belongs to the runtime.

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

/// The handshake of TLS on a connection: what an encryptor needs of a runtime crate.
pub trait TlsHandshake: Send + Sync + 'static {
    /// Does the handshake of a client with a server of this name.
    fn connect(&self, config: Arc<ClientConfig>, name: ServerName<'static>, io: BoxIo) -> Connecting;
}

/// Encrypts connections by rustls, whose handshake a runtime crate does: take the `TlsEncryptor` of that.
pub struct TlsEncryptor<H> {
    /// Made by the first connection, if it is not given.
    config: OnceLock<Arc<ClientConfig>>,
    handshake: H,
}

impl<H: TlsHandshake + Default> TlsEncryptor<H> {
    /// An encryptor with a configuration, which [`TlsConfig`] makes. With one that was made otherwise mind the protocols:
    /// HTTP/1.1 is spoken inside.
    pub fn new(config: Arc<ClientConfig>) -> Self {
        Self { config: config.into(), handshake: H::default() }
    }

    /// An encryptor that trusts whom the system trusts, whose certificates are read with the first connection.
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
        // Somebody else may have been faster, with the same.
        Ok(Arc::clone(self.config.get_or_init(|| made)))
    }
}

impl<H: TlsHandshake> Encryptor for TlsEncryptor<H> {
    fn encrypt(&self, io: BoxIo, host: &str) -> Connecting {
        let config = self.config().map_err(io::Error::other);
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error));
        match config.and_then(|config| Ok((config, name?))) {
            Ok((config, name)) => self.handshake.connect(config, name, io),
            Err(error) => Box::pin(ready(Err(error))),
        }
    }
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

/// What a client demands of the other end of an encrypted connection, and what it shows of itself.
///
/// The default is to trust whom the system trusts. TLS 1.2 and 1.3 are spoken, by the `ring` provider whatever other
/// crates have installed, and HTTP/1.1 inside.
///
/// A server's certificate is always verified, with its host name, unless
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

/// Why a configuration of TLS cannot be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// What was given as PEM is none, or a part that is needed is missing in it.
    #[error("no valid PEM: {0}")]
    Pem(#[from] pem::Error),
    /// Only the added root certificates shall be trusted, but none was added: no server could be.
    #[error("only the added root certificates are trusted, but there are none")]
    NoRoots,
    /// On this system certificates cannot be added to its own.
    #[error("this system takes no root certificates in addition to its own")]
    AddedRoots,
    /// A certificate cannot be used, the key does not fit to it, or the system has no root certificates.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

impl TlsConfig {
    /// Trusts whom the system trusts. On Android, the `rustls-platform-verifier` crate must be initialised before.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts whom these certificates vouch for, in addition to the system's. They are in the form of PEM, one or
    /// more.
    ///
    /// # Errors
    /// When there is no certificate in it, or a section is broken.
    pub fn add_root_pem(mut self, pem: impl AsRef<[u8]>) -> Result<Self, TlsError> {
        self.roots.extend(certificates(pem.as_ref())?);
        Ok(self)
    }

    /// Trusts whom a certificate vouches for, in addition to the system's. It is in the form of DER; whether it is one
    /// shows in [`build`](Self::build).
    pub fn add_root_der(mut self, der: impl Into<Vec<u8>>) -> Self {
        self.roots.push(der.into().into());
        self
    }

    /// Trusts the added certificates only, and not those of the system.
    pub const fn only_added_roots(mut self) -> Self {
        self.only_added_roots = true;
        self
    }

    /// What is shown to a server that asks who the client is: a certificate, with those between it and the root behind
    /// it, and its private key, each as PEM. The key is in the form of PKCS #8, PKCS #1 or SEC 1, and not encrypted.
    ///
    /// # Errors
    /// When there is no certificate, or no key, or a section is broken.
    pub fn client_certificate_pem(mut self, chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Result<Self, TlsError> {
        let chain = certificates(chain.as_ref())?;
        self.identity = Some((chain, PrivateKeyDer::from_pem_slice(key.as_ref())?));
        Ok(self)
    }

    /// **Switches the verification off**: any server is taken for the right one, and so is whoever stands in the
    /// middle. What is sent can be read and changed by them. Root certificates no longer matter.
    ///
    /// For tests only. For a server with a certificate of its own, add that as a root.
    pub const fn dangerously_accept_any_certificate(mut self) -> Self {
        self.accept_any = true;
        self
    }

    /// The configuration, in the form of rustls. The system's certificates are read now.
    ///
    /// # Errors
    /// See [`TlsError`]. There is no error that would lead to less being verified.
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

/// One certificate at least: an empty file would else pass for one that trusts nobody in addition.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>()?;
    if certificates.is_empty() {
        return Err(pem::Error::NoItemsFound.into());
    }
    Ok(certificates)
}

#[cfg(not(target_os = "android"))]
fn system_verifier(added: Vec<CertificateDer<'static>>, provider: Arc<CryptoProvider>) -> Result<Verifier, TlsError> {
    // Checked here, for not every system does.
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

/// The verifier that does not verify.
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

    // That a server has the key of a certificate which anybody can make says nothing.
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

/// Without the key.
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

    /// A certificate that vouches for itself, and its key.
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
