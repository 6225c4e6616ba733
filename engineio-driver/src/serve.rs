//! Serving connections.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http1;

use crate::connect::Io;
use crate::server::Server;
use crate::service::HyperService;

/// How long to wait when the system has no resources for another connection.
const BREATHER: Duration = Duration::from_millis(50);

/// Where connections come from. The runtime crates listen by TCP; anything else that brings bytes in order will do.
pub trait Listener: Send {
    /// What its connections are made of.
    type Io: Io + 'static;

    /// The next connection, and where it comes from, if that can be said. Cancel safe.
    ///
    /// After an error it is asked again: at once if the error is about one connection, else after a moment.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Io, Option<SocketAddr>)>> + Send;
}

impl Server {
    /// Serves what connects to a listener. Never returns; drop it to stop listening. Connections that there are go on.
    ///
    /// Requests outside of the server's path are answered 404.
    pub async fn serve(&self, mut listener: impl Listener) {
        loop {
            match listener.accept().await {
                Ok((io, addr)) => self.runtime().spawn(serve_connection(self.clone(), io, addr)),
                // A connection that broke before it was accepted is not our trouble.
                Err(error) if is_about_the_connection(&error) => (),
                Err(_) => self.runtime().sleep(BREATHER).await,
            }
        }
    }

    /// As [`Server::serve`], in the background, for as long as the runtime lives.
    pub fn listen(&self, listener: impl Listener + 'static) {
        let server = self.clone();
        self.runtime().spawn(async move { server.serve(listener).await });
    }
}

/// Serves one connection to its end, or until a WebSocket took it over.
async fn serve_connection(server: Server, io: impl Io + 'static, addr: Option<SocketAddr>) {
    let under_way = server.guard();
    let connection = http1::Builder::new()
        .timer(server.runtime().clone())
        .header_read_timeout(server.header_timeout())
        .serve_connection(io, HyperService::new(server.clone(), addr))
        .with_upgrades();
    drop(server);
    let mut connection = pin!(connection);
    let mut ending = pin!(under_way.ending());
    let mut is_ending = false;
    poll_fn(|cx| {
        // How a connection ends is known to its sessions.
        if connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if !is_ending && ending.as_mut().poll(cx).is_ready() {
            is_ending = true;
            connection.as_mut().graceful_shutdown();
            return connection.as_mut().poll(cx).map(drop);
        }
        Poll::Pending
    })
    .await;
}

fn is_about_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
