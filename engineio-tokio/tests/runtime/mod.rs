//! What the suites need of the runtime.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

pub(crate) use hyper_util::rt::TokioIo as Io;
use hyper_util::rt::TokioTimer;
pub(crate) use tokio::net::{TcpListener, TcpStream};

pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

pub(crate) fn timer() -> TokioTimer {
    TokioTimer::new()
}

/// Listens on a port of its own.
pub(crate) async fn bind() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a port");
    let addr = listener.local_addr().expect("a listener has an address");
    (listener, addr)
}

pub(crate) async fn connect(addr: SocketAddr) -> io::Result<Io<TcpStream>> {
    TcpStream::connect(addr).await.map(Io::new)
}
