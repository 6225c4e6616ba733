//! The TLS handshake.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use engineio_driver::net::rustls::{ClientConfig, pki_types::ServerName};
use engineio_driver::net::{BoxIo, Connecting, TlsHandshake};
use futures_rustls::TlsConnector;
use hyper::rt::{Read, ReadBuf, Write};
use smol::io::{AsyncRead, AsyncWrite};
use smol_hyper::rt::FuturesIo;

/// Encrypts connections with rustls.
///
/// ```
/// use engineio_smol::net::{TlsConfig, TlsEncryptor};
///
/// # fn client(authority: &[u8]) -> Result<(), engineio_smol::net::TlsError> {
/// let config = TlsConfig::new().add_root_pem(authority)?.only_added_roots().build()?;
/// let encryptor = TlsEncryptor::new(config);
/// # Ok(())
/// # }
/// ```
pub type TlsEncryptor = engineio_driver::net::TlsEncryptor<Rustls>;

/// Performs the TLS handshake with futures-rustls.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rustls;

impl TlsHandshake for Rustls {
    fn connect(&self, config: Arc<ClientConfig>, name: ServerName<'static>, io: BoxIo) -> Connecting {
        Box::pin(async {
            let stream = TlsConnector::from(config).connect(name, Plain(io)).await?;
            Ok(Box::new(FuturesIo::new(stream)) as BoxIo)
        })
    }
}

/// Adapts a stream of hyper to the traits of futures-rustls: the reverse of [`FuturesIo`].
struct Plain(BoxIo);

impl AsyncRead for Plain {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        ready!(Pin::new(&mut self.0).poll_read(cx, buf.unfilled()))?;
        Poll::Ready(Ok(buf.filled().len()))
    }
}

impl AsyncWrite for Plain {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
