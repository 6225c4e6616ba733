//! The services that the suites need from the runtime.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use engineio_driver::Server;
use engineio_driver::net::BoxIo;
use engineio_driver::rt::{Runtime, Task};
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use crate::adapter::adapter;
use crate::app::App;

/// A TCP listener of the runtime.
pub trait Listening: Send + Sync {
    /// Returns the local address.
    ///
    /// # Errors
    /// Returns the error of the system.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// Waits for the next connection, and returns it with the address of the peer.
    fn accept(&self) -> BoxFuture<'_, io::Result<(BoxIo, SocketAddr)>>;

    /// Calls `serve` of the runtime crate.
    fn serve(self: Box<Self>, server: Server) -> BoxFuture<'static, ()>;

    /// Calls `serve_with` of the runtime crate, which has it with the feature `tower`.
    fn serve_with(self: Box<Self>, server: Server, service: App) -> BoxFuture<'static, ()>;
}

/// A runtime that can end before the test does.
pub trait EndingRuntime {
    /// Returns its executor and timer.
    fn runtime(&self) -> Runtime;

    /// Runs a task on its only thread.
    fn spawn(&self, task: Task);

    /// Ends the runtime with all its tasks.
    fn end(self: Box<Self>);
}

pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    adapter().spawn(Box::pin(task));
}

/// Listens on a free port.
pub(crate) async fn bind() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("there is a port");
    let addr = listener.0.local_addr().expect("a listener has an address");
    (listener, addr)
}

pub(crate) async fn connect(addr: SocketAddr) -> io::Result<BoxIo> {
    adapter().connect(addr).await
}

pub(crate) struct TcpListener(Box<dyn Listening>);

impl TcpListener {
    pub(crate) async fn bind(addr: impl Into<SocketAddr>) -> io::Result<Self> {
        adapter().listen(addr.into()).await.map(Self)
    }

    pub(crate) async fn accept(&self) -> io::Result<(BoxIo, SocketAddr)> {
        self.0.accept().await
    }

    pub(crate) async fn serve(self, server: Server) {
        self.0.serve(server).await;
    }

    pub(crate) async fn serve_with(self, server: Server, service: App) {
        self.0.serve_with(server, service).await;
    }
}

/// A runtime that can end before the test does.
pub(crate) struct Mortal(Box<dyn EndingRuntime>);

impl Mortal {
    pub(crate) fn new() -> Self {
        Self(adapter().ending_runtime())
    }

    pub(crate) fn runtime(&self) -> Runtime {
        self.0.runtime()
    }

    /// Runs a task on its only thread, which also does the I/O of the sockets that are opened there. Returns its output.
    pub(crate) async fn run<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> T {
        self.start(task).await.expect("the runtime runs")
    }

    /// As `run`, without waiting for the output.
    pub(crate) fn start<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (sender, output) = oneshot::channel();
        self.0.spawn(Box::pin(async move {
            // Nobody may wait for it.
            let _ = sender.send(task.await);
        }));
        output
    }

    /// Stops the thread for some time, as if its host stood still. Returns once it has stopped; the output arrives when it
    /// runs again.
    pub(crate) async fn stand_still(&self, time: Duration) -> oneshot::Receiver<()> {
        let (stopped, stops) = oneshot::channel();
        let runs = self.start(async move {
            let _ = stopped.send(());
            std::thread::sleep(time);
        });
        stops.await.expect("the runtime runs");
        runs
    }

    /// Ends the runtime with all its tasks.
    pub(crate) fn end(self) {
        self.0.end();
    }
}
