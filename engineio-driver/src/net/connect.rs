//! What a client needs of the outside: connections, and their encryption.

use std::future::Future;
use std::io;
use std::pin::Pin;

use hyper::rt::{Read, Write};

/// A connection, whatever it is made of.
pub trait Io: Read + Write + Send + Unpin {}

impl<T: Read + Write + Send + Unpin + ?Sized> Io for T {}

/// A connection of any kind.
pub type BoxIo = Box<dyn Io>;

/// A connection on its way.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<BoxIo>> + Send>>;

/// Opens connections for a client. The runtime crates have those for TCP and Unix sockets; anything else that carries
/// bytes in order will do.
///
/// A function of host and port that gives a future of a connection is a connector too.
pub trait Connector: Send + Sync + 'static {
    /// Connects to a host, which is a name or an address, without brackets, and a port.
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

/// Encrypts connections for a client. The runtime crates have it.
pub trait Encryptor: Send + Sync + 'static {
    /// Does the handshake of TLS on a connection, and verifies that at its other end there is the host.
    fn encrypt(&self, io: BoxIo, host: &str) -> Connecting;
}
