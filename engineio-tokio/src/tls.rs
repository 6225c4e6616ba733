//! The TLS handshake.

use std::sync::Arc;

use engineio_driver::net::rustls::ClientConfig;
use engineio_driver::net::rustls::pki_types::ServerName;
use engineio_driver::net::{BoxIo, Connecting, TlsHandshake};
use hyper_util::rt::TokioIo;
use tokio_rustls::TlsConnector;

/// Encrypts connections with rustls.
///
/// ```
/// use engineio_tokio::net::{TlsConfig, TlsEncryptor};
///
/// # fn client(authority: &[u8]) -> Result<(), engineio_tokio::net::TlsError> {
/// let config = TlsConfig::new().add_root_pem(authority)?.only_added_roots().build()?;
/// let encryptor = TlsEncryptor::new(config);
/// # Ok(())
/// # }
/// ```
pub type TlsEncryptor = engineio_driver::net::TlsEncryptor<Rustls>;

/// Performs the TLS handshake with tokio-rustls.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rustls;

impl TlsHandshake for Rustls {
    fn connect(&self, config: Arc<ClientConfig>, name: ServerName<'static>, io: BoxIo) -> Connecting {
        Box::pin(async {
            let stream = TlsConnector::from(config).connect(name, TokioIo::new(io)).await?;
            Ok(Box::new(TokioIo::new(stream)) as BoxIo)
        })
    }
}
