//! Listening.

use std::io;
use std::net::SocketAddr;

use engineio_driver::Server;
use engineio_driver::mount::{Listener, Listening};
use smol::net::{AsyncToSocketAddrs, TcpListener};

use crate::net::SmolIo;

/// Listens on an address over TCP, and serves it in the background.
///
/// The server listens until the result is dropped, or until the server is shut down. The result has the local address,
/// with the port that the system chose if the given port was 0. To listen for as long as the executor runs, call
/// [`Listening::detach`](crate::mount::Listening::detach).
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # smol::block_on(async {
/// let server = engineio_smol::builder().build()?;
/// let listening = engineio_smol::bind(&server, "127.0.0.1:0").await?;
/// println!("listening on http://{}", listening.addr());
/// # Ok(())
/// # })
/// # }
/// ```
///
/// Up to 1024 connections wait until they are accepted, if the system allows as many.
///
/// # Errors
/// Returns an error if the address cannot be bound.
pub async fn bind(server: &Server, addr: impl AsyncToSocketAddrs) -> io::Result<Listening<SocketAddr>> {
    let listener = TcpListener::bind(addr).await?;
    // By default, only 128 connections wait until they are accepted.
    rustix::net::listen(&listener, 1024)?;
    let addr = listener.local_addr()?;
    Ok(server.listen(Accept(listener)).with_addr(addr))
}

/// Serves the connections of a [`TcpListener`] or a [`UnixListener`](smol::net::unix::UnixListener).
///
/// Returns when [`Server::shutdown`] is complete. Drop the future to stop listening; connections that are already open
/// continue.
///
/// ```
/// use smol::stream::StreamExt;
///
/// # #[cfg(unix)]
/// # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
/// let server = engineio_smol::builder().build()?;
/// let listener = smol::net::unix::UnixListener::bind("/run/engineio.sock")?;
/// let mut signals = async_signal::Signals::new([async_signal::Signal::Term])?;
/// smol::spawn(server.shutdown_on(async move { signals.next().await })).detach();
/// engineio_smol::serve(server, listener).await;
/// # Ok(())
/// # }
/// ```
///
/// Requests outside the server's path are answered with 404; [`serve_with`] passes them to another service. For
/// connections of other kinds, see [`Server::serve`].
pub async fn serve<L>(server: Server, listener: L)
where
    Accept<L>: Listener,
{
    server.serve(Accept(listener)).await;
}

/// Serves the connections of a [`TcpListener`] or a [`UnixListener`](smol::net::unix::UnixListener), with another service for
/// the requests that are not for the server, such as an axum `Router`.
///
/// ```
/// use axum::Router;
/// use axum::routing::get;
/// use smol::stream::StreamExt;
///
/// # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
/// let server = engineio_smol::builder().build()?;
/// let app = Router::new().route("/", get(|| async { "hello" }));
///
/// let listener = smol::net::TcpListener::bind("127.0.0.1:3000").await?;
/// let mut signals = async_signal::Signals::new([async_signal::Signal::Term])?;
/// smol::spawn(server.shutdown_on(async move { signals.next().await })).detach();
/// engineio_smol::serve_with(server, listener, app).await;
/// # Ok(())
/// # }
/// ```
///
/// Returns when [`Server::shutdown`] is complete. [`Server::serve_with`] says which service answers, and which options
/// hold for it.
#[cfg(feature = "tower")]
pub async fn serve_with<L>(server: Server, listener: L, service: impl crate::mount::HttpService)
where
    Accept<L>: Listener,
{
    server.serve_with(Accept(listener), service).await;
}

/// A `TcpListener` or a `UnixListener` of smol, as [`Server::serve`] and [`Server::listen`] take it. `TCP_NODELAY` is set on
/// TCP connections. Connections at a Unix socket have no address.
#[derive(Debug)]
pub struct Accept<L>(pub L);

impl Listener for Accept<TcpListener> {
    type Io = SmolIo<std::net::TcpStream>;

    async fn accept(&mut self) -> io::Result<(Self::Io, Option<SocketAddr>)> {
        let (stream, addr) = self.0.accept().await?;
        // Small packets are sent at once.
        let _ = stream.set_nodelay(true);
        Ok((SmolIo::new(stream), Some(addr)))
    }
}

#[cfg(unix)]
impl Listener for Accept<smol::net::unix::UnixListener> {
    type Io = SmolIo<std::os::unix::net::UnixStream>;

    async fn accept(&mut self) -> io::Result<(Self::Io, Option<SocketAddr>)> {
        Ok((SmolIo::new(self.0.accept().await?.0), None))
    }
}
