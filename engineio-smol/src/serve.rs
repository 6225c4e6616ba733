//! Listening.

use std::io;
use std::net::SocketAddr;

use engineio_driver::Server;
use engineio_driver::mount::Listener;
use smol::net::{AsyncToSocketAddrs, TcpListener, TcpStream};
use smol_hyper::rt::FuturesIo;

/// Listens on an address and serves it in the background, for as long as the executor runs. Gives the address that it
/// listens on, which tells the port where 0 was asked for.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn bind(server: &Server, addr: impl AsyncToSocketAddrs) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(addr).await?;
    let addr = listener.local_addr()?;
    server.listen(Tcp(listener));
    Ok(addr)
}

/// Serves what connects to a listener. Never returns; drop it to stop listening. Connections that there are go on.
///
/// Requests outside of the server's path are answered 404. For connections that are not TCP, see [`Server::serve`].
pub async fn serve(server: Server, listener: TcpListener) {
    server.serve(Tcp(listener)).await;
}

struct Tcp(TcpListener);

impl Listener for Tcp {
    type Io = FuturesIo<TcpStream>;

    async fn accept(&mut self) -> io::Result<(Self::Io, Option<SocketAddr>)> {
        let (stream, addr) = self.0.accept().await?;
        // Packets are small and wanted now.
        let _ = stream.set_nodelay(true);
        Ok((FuturesIo::new(stream), Some(addr)))
    }
}
