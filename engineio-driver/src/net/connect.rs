//! Connections of a client, and their encryption.

use std::future::Future;
use std::io;
use std::pin::Pin;

use hyper::rt::{Read, Write};

/// A connection that carries bytes in order.
pub trait Io: Read + Write + Send + Unpin {}

impl<T: Read + Write + Send + Unpin + ?Sized> Io for T {}

/// A connection, as a boxed trait object.
pub type BoxIo = Box<dyn Io>;

/// A future that resolves to a connection.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<BoxIo>> + Send>>;

/// Opens connections for a client.
///
/// The runtime crates have connectors for TCP and Unix sockets; any other stream of bytes will do. A function that
/// takes a host and a port and returns a future of a connection is also a connector.
pub trait Connector: Send + Sync + 'static {
    /// Connects to a host and a port. The host is a name, or an address without brackets.
    fn connect(&self, host: &str, port: u16) -> Connecting;
}

impl<F, Fut, T> Connector for F
where
    F: Fn(&str, u16) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = io::Result<T>> + Send + 'static,
    T: Io + 'static,
{
    fn connect(&self, host: &str, port: u16) -> Connecting {
        let connecting = self(host, port);
        Box::pin(async { connecting.await.map(|io| Box::new(io) as BoxIo) })
    }
}

/// Encrypts connections for a client. The runtime crates have an encryptor for TLS.
pub trait Encryptor: Send + Sync + 'static {
    /// Performs a TLS handshake on a connection, and verifies that the peer is `host`.
    fn encrypt(&self, io: BoxIo, host: &str) -> Connecting;
}
