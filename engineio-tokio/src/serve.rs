//! Listening and serving connections.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use engineio_driver::{HyperService, Server};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};

/// How long to wait when the system has no resources for another connection.
const BREATHER: Duration = Duration::from_millis(50);

/// Listens on an address and serves it in the background, for as long as the runtime lives. Gives the address that it
/// listens on, which tells the port where 0 was asked for.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn bind(server: &Server, addr: impl ToSocketAddrs) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(addr).await?;
    let addr = listener.local_addr()?;
    tokio::spawn(serve(server.clone(), listener));
    Ok(addr)
}

/// Serves what connects to a listener. Never returns; drop it to stop listening. Connections that there are go on.
///
/// Requests outside of the server's path are answered 404.
pub async fn serve(server: Server, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, addr)) => {
                tokio::spawn(serve_connection(server.clone(), stream, addr));
            }
            // A connection that broke before it was accepted is not our trouble.
            Err(error) if is_about_the_connection(&error) => (),
            Err(_) => tokio::time::sleep(BREATHER).await,
        }
    }
}

/// Serves one connection to its end, or until a WebSocket took it over.
async fn serve_connection(server: Server, stream: TcpStream, addr: SocketAddr) {
    // Packets are small and wanted now.
    let _ = stream.set_nodelay(true);
    let under_way = server.guard();
    let timeout = server.header_timeout();
    let service = HyperService::new(server, Some(addr));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeout)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    // How a connection ends is known to its sessions.
    tokio::select! {
        _ = &mut connection => (),
        () = under_way.ending() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

fn is_about_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
