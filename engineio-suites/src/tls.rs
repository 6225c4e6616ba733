//! TLS of a client, with the crate's encryptor.

use std::io;
use std::sync::Arc;

use crate::adapter::net::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use crate::adapter::net::rustls::server::WebPkiClientVerifier;
use crate::adapter::net::rustls::version::{TLS12, TLS13};
use crate::adapter::net::rustls::{
    self, AlertDescription, CertificateError, ProtocolVersion, RootCertStore, ServerConfig, SupportedProtocolVersion,
};
use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::TlsAcceptor;

use crate::adapter::TlsEncryptor;
use crate::adapter::net::{Encryptor, TlsConfig};

use crate::adapter::net::rustls::crypto::ring;

/// A certificate authority.
struct Authority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        Self { certificate: params.self_signed(&key).unwrap(), issuer: Issuer::new(params, key) }
    }

    /// Issues a certificate for names or addresses, with its key.
    fn issue(&self, names: &[&str], purpose: ExtendedKeyUsagePurpose) -> (rcgen::Certificate, KeyPair) {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// Returns a client that trusts only this authority.
    fn trusted(&self) -> TlsConfig {
        TlsConfig::new().add_root_pem(self.certificate.pem()).unwrap().only_added_roots()
    }
}

/// A server with a few names, whose certificate is by one authority, and which asks clients for one by another.
fn server(
    authority: &Authority,
    names: &[&str],
    clients: Option<&Authority>,
    versions: &[&'static SupportedProtocolVersion],
) -> TlsAcceptor {
    let (certificate, key) = authority.issue(names, ExtendedKeyUsagePurpose::ServerAuth);
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions).unwrap();
    let config = match clients {
        None => config.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(clients.certificate.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            config.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let mut config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config).into()
}

fn localhost(authority: &Authority) -> TlsAcceptor {
    server(authority, &["localhost"], None, &[&TLS13, &TLS12])
}

type ServerStream = tokio_rustls::server::TlsStream<DuplexStream>;

/// Connects a client to a server and sends a little in both directions. Returns the results of both.
async fn connect(client: TlsConfig, host: &str, server: TlsAcceptor) -> (io::Result<()>, io::Result<ServerStream>) {
    let (ours, theirs) = tokio::io::duplex(16 * 1024);
    let encryptor = TlsEncryptor::new(client.build().unwrap());
    let encrypted = encryptor.encrypt(Box::new(TokioIo::new(ours)), host);
    let client = async {
        let mut io = TokioIo::new(encrypted.await?);
        io.write_all(b"hello").await?;
        io.flush().await?;
        let mut bytes = Vec::new();
        io.read_to_end(&mut bytes).await?;
        assert_eq!(bytes, b"there");
        io.shutdown().await
    };
    let server = async {
        let mut io = server.accept(theirs).await?;
        let mut bytes = [0; 5];
        io.read_exact(&mut bytes).await?;
        assert_eq!(&bytes, b"hello");
        io.write_all(b"there").await?;
        io.shutdown().await?;
        // The end of a client is announced too.
        assert_eq!(io.read(&mut bytes).await?, 0);
        Ok(io)
    };
    tokio::join!(client, server)
}

async fn accepted(client: TlsConfig, host: &str, server: TlsAcceptor) -> ServerStream {
    let (client, server) = connect(client, host, server).await;
    client.unwrap();
    server.unwrap()
}

/// Returns the error of rustls.
fn reason<T>(result: io::Result<T>) -> rustls::Error {
    let error = result.map(drop).unwrap_err();
    error.into_inner().unwrap().downcast_ref::<rustls::Error>().unwrap().clone()
}

async fn refused(client: TlsConfig, host: &str, server: TlsAcceptor) -> CertificateError {
    let (client, server) = connect(client, host, server).await;
    assert!(server.is_err());
    match reason(client) {
        rustls::Error::InvalidCertificate(error) => error,
        other => panic!("{other}"),
    }
}

pub async fn a_trusted_authority_by_both_versions() {
    let authority = Authority::new("A");
    for (version, spoken) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        let server = server(&authority, &["localhost"], None, &[version]);
        let stream = accepted(authority.trusted(), "localhost", server).await;
        assert_eq!(stream.get_ref().1.protocol_version(), Some(spoken));
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        assert_eq!(stream.get_ref().1.server_name(), Some("localhost"));
    }
}

pub async fn an_authority_in_addition_to_the_systems() {
    let authority = Authority::new("A");
    let client = TlsConfig::new().add_root_der(authority.certificate.der().to_vec());
    accepted(client, "localhost", localhost(&authority)).await;
}

pub async fn sec61_a_foreign_authority_is_refused() {
    let authority = Authority::new("A");
    // The second one has the name of the first.
    for (other, reason) in
        [(Authority::new("B"), CertificateError::UnknownIssuer), (Authority::new("A"), CertificateError::BadSignature)]
    {
        let added = TlsConfig::new().add_root_pem(other.certificate.pem()).unwrap();
        for client in [other.trusted(), added] {
            assert_eq!(refused(client, "localhost", localhost(&authority)).await, reason);
        }
    }
}

pub async fn sec61_another_name_is_refused() {
    let authority = Authority::new("A");
    for host in ["example.com", "localhost.example.com", "127.0.0.1", "::1"] {
        let error = refused(authority.trusted(), host, localhost(&authority)).await;
        assert!(matches!(error, CertificateError::NotValidForNameContext { .. }), "{host}: {error}");
    }
}

pub async fn addresses_for_hosts() {
    let authority = Authority::new("A");
    for host in ["127.0.0.1", "::1"] {
        let server = server(&authority, &["127.0.0.1", "::1"], None, &[&TLS13]);
        let stream = accepted(authority.trusted(), host, server).await;
        // Addresses are not sent to the server: RFC 6066, section 3.
        assert_eq!(stream.get_ref().1.server_name(), None);
    }
}

pub async fn a_client_certificate_that_is_demanded() {
    let (authority, clients) = (Authority::new("A"), Authority::new("B"));
    let (certificate, key) = clients.issue(&["client"], ExtendedKeyUsagePurpose::ClientAuth);
    for version in [&TLS12, &TLS13] {
        let demands = || server(&authority, &["localhost"], Some(&clients), &[version]);
        let client = authority.trusted().client_certificate_pem(certificate.pem(), key.serialize_pem()).unwrap();
        let stream = accepted(client, "localhost", demands()).await;
        let shown = stream.get_ref().1.peer_certificates().unwrap();
        assert_eq!(shown, [CertificateDer::from(certificate.der().to_vec())]);

        // With TLS 1.3 a client learns of it only when it reads.
        let (client, server) = connect(authority.trusted(), "localhost", demands()).await;
        assert_eq!(reason(server), rustls::Error::NoCertificatesPresented);
        assert!(matches!(
            reason(client),
            rustls::Error::AlertReceived(AlertDescription::CertificateRequired | AlertDescription::HandshakeFailure)
        ));
    }
}

pub async fn without_verification_everybody_is_accepted() {
    let (authority, other) = (Authority::new("A"), Authority::new("B"));
    for version in [&TLS12, &TLS13] {
        for host in ["localhost", "example.com", "127.0.0.1"] {
            for client in [TlsConfig::new(), other.trusted()] {
                let server = server(&authority, &["localhost"], None, &[version]);
                accepted(client.dangerously_accept_any_certificate(), host, server).await;
            }
        }
    }
}

pub async fn a_host_that_no_certificate_can_name() {
    let authority = Authority::new("A");
    for host in ["", "[::1]", "a b", "-"] {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let encryptor = TlsEncryptor::new(authority.trusted().build().unwrap());
        let error = encryptor.encrypt(Box::new(TokioIo::new(ours)), host).await.map(drop).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{host}");
        let mut sent = Vec::new();
        theirs.read_to_end(&mut sent).await.unwrap();
        assert_eq!(sent, b"");
    }
}

pub async fn a_server_without_encryption() {
    let (ours, mut theirs) = tokio::io::duplex(1024);
    theirs.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    let encryptor = TlsEncryptor::new(Authority::new("A").trusted().build().unwrap());
    let error = encryptor.encrypt(Box::new(TokioIo::new(ours)), "localhost").await.map(drop).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(error.to_string().contains("does not speak TLS"), "{error}");
}
