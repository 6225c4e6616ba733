//! Connections for clients.

use engineio_driver::net::{BoxIo, Connecting, Connector};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Connects by TCP. A name that stands for many addresses is tried with one after the other, and the error is that of
/// the last.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpConnector;

impl Connector for TcpConnector {
    fn connect(&self, host: &str, port: u16) -> Connecting {
        let host = host.to_owned();
        Box::pin(async move {
            let stream = TcpStream::connect((host.as_str(), port)).await?;
            // Packets are small and wanted now.
            let _ = stream.set_nodelay(true);
            Ok(Box::new(TokioIo::new(stream)) as BoxIo)
        })
    }
}

/// Connects to a Unix socket, whatever host and port a URL has. They still stand in the header `Host`, and in the
/// certificate if the connection is encrypted.
#[cfg(unix)]
#[derive(Clone, Debug)]
pub struct UnixConnector {
    path: std::path::PathBuf,
}

#[cfg(unix)]
impl UnixConnector {
    /// Connects to the socket at a path.
    pub fn new(path: impl Into<std::path::PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

#[cfg(unix)]
impl Connector for UnixConnector {
    fn connect(&self, _host: &str, _port: u16) -> Connecting {
        let path = self.path.clone();
        Box::pin(async {
            let stream = tokio::net::UnixStream::connect(path).await?;
            Ok(Box::new(TokioIo::new(stream)) as BoxIo)
        })
    }
}
