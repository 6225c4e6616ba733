//! What the suites need of the runtime.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

pub(crate) use engineio_smol::FuturesIo as Io;
use engineio_smol::{Runtime, SmolTimer, WeakExecutor};
use smol::Executor;
use smol::channel::{Sender, bounded};
pub(crate) use smol::net::{TcpListener, TcpStream};

pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    smol::spawn(task).detach();
}

pub(crate) fn timer() -> SmolTimer {
    SmolTimer::new()
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
pub(crate) struct Mortal {
    executor: Arc<Executor<'static>>,
    ending: Sender<()>,
}

impl Mortal {
    pub(crate) fn new() -> Self {
        let executor = Arc::new(Executor::new());
        let (ending, end) = bounded::<()>(1);
        let running = Arc::clone(&executor);
        thread::spawn(move || smol::block_on(running.run(end.recv())));
        Self { executor, ending }
    }

    pub(crate) fn runtime(&self) -> Runtime {
        Runtime::new(WeakExecutor::new(&self.executor), timer())
    }

    /// Ends, and with it all its tasks.
    pub(crate) fn end(self) {
        drop(self.ending);
    }
}
