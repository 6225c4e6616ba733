//! What the suites need of the runtime.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use engineio_tokio::{Runtime, Task};
use hyper::rt::Executor;
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

/// A runtime that can end before the test does.
pub(crate) struct Mortal(tokio::runtime::Runtime);

impl Mortal {
    pub(crate) fn new() -> Self {
        Self(
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .expect("there are threads"),
        )
    }

    pub(crate) fn runtime(&self) -> Runtime {
        Runtime::new(On(self.0.handle().clone()), timer())
    }

    /// Ends, and with it all its tasks.
    pub(crate) fn end(self) {
        self.0.shutdown_background();
    }
}

struct On(tokio::runtime::Handle);

impl Executor<Task> for On {
    fn execute(&self, task: Task) {
        self.0.spawn(task);
    }
}
