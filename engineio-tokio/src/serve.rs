//! Listening.

use std::io;
use std::net::SocketAddr;

use engineio_driver::Server;
use engineio_driver::mount::Listener;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};

/// Listens on an address, and serves it in the background.
///
/// The server listens for as long as the runtime lives. Returns the local address, which has the port that the system
/// chose if the given port was 0.
///
/// # Errors
/// Returns an error if the address cannot be bound.
pub async fn bind(server: &Server, addr: impl ToSocketAddrs) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(addr).await?;
    let addr = listener.local_addr()?;
    server.listen(Tcp(listener));
    Ok(addr)
}

/// Serves the connections of a listener.
///
/// Never returns; drop the future to stop listening. Connections that are already open continue.
///
/// Requests outside the server's path are answered with 404. For connections other than TCP, see [`Server::serve`].
pub async fn serve(server: Server, listener: TcpListener) {
    server.serve(Tcp(listener)).await;
}

struct Tcp(TcpListener);

impl Listener for Tcp {
    type Io = TokioIo<TcpStream>;

    async fn accept(&mut self) -> io::Result<(Self::Io, Option<SocketAddr>)> {
        let (stream, addr) = self.0.accept().await?;
        // Small packets are sent at once.
        let _ = stream.set_nodelay(true);
        Ok((TokioIo::new(stream), Some(addr)))
    }
}
