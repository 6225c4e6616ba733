//! Connections for clients.

use engineio_driver::net::{BoxIo, Connecting, Connector, connect_any};
use smol::net::{TcpStream, resolve};
use smol_hyper::rt::SmolTimer;

use crate::net::SmolIo;

/// Connects over TCP.
///
/// If a name has several addresses, they are tried side by side, as [`connect_any`] does it.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpConnector;

impl Connector for TcpConnector {
    fn connect(&self, host: &str, port: u16) -> Connecting {
        let host = host.to_owned();
        Box::pin(async move {
            let addrs = resolve((host.as_str(), port)).await?;
            let stream = connect_any(&SmolTimer::new(), addrs, TcpStream::connect).await?;
            // Small packets are sent at once.
            let _ = stream.set_nodelay(true);
            Ok(Box::new(SmolIo::new(stream)) as BoxIo)
        })
    }
}

/// Connects to a Unix socket, and ignores the host and the port of the URL.
///
/// Both are still used for the header `Host`, and the host for the certificate if the connection is encrypted.
#[cfg(unix)]
#[derive(Clone, Debug)]
pub struct UnixConnector(std::path::PathBuf);

#[cfg(unix)]
impl UnixConnector {
    /// Creates a connector for the socket at `path`.
    pub fn new(path: impl Into<std::path::PathBuf>) -> Self {
        Self(path.into())
    }
}

#[cfg(unix)]
impl Connector for UnixConnector {
    fn connect(&self, _host: &str, _port: u16) -> Connecting {
        let path = self.0.clone();
        Box::pin(async {
            let stream = smol::net::unix::UnixStream::connect(path).await?;
            Ok(Box::new(SmolIo::new(stream)) as BoxIo)
        })
    }
}
