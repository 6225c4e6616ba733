//! The suites that every runtime crate must pass, on smol.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::io;
use std::net::SocketAddr;
use std::path::Path;
#[cfg(unix)]
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use engineio_smol::error::UrlError;
use engineio_smol::net::rustls::ClientConfig;
use engineio_smol::net::{BoxIo, Connecting, Connector, Encryptor, FuturesIo, TcpConnector};
use engineio_smol::rt::{Runtime, SmolTimer, Task, WeakExecutor};
use engineio_smol::{Builder, ClientBuilder, Server};
use engineio_suites::{Adapter, App, BoxFuture, Counting, EndingRuntime, Listening};
use smol::Executor;
use smol::channel::{Sender, bounded};
use smol::net::{TcpListener, TcpStream};

engineio_suites::suites!(Smol);

struct Smol;

impl Adapter for Smol {
    fn sources(&self) -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))
    }

    fn builder(&self) -> Builder {
        engineio_smol::builder()
    }

    fn client(&self, url: &str) -> Result<ClientBuilder, UrlError> {
        engineio_smol::client(url)
    }

    fn bind<'a>(&self, server: &'a Server, addr: &'a str) -> BoxFuture<'a, io::Result<SocketAddr>> {
        Box::pin(async move { Ok(engineio_smol::bind(server, addr).await?.detach()) })
    }

    fn bind_until_dropped<'a>(
        &self,
        server: &'a Server,
        addr: &'a str,
    ) -> BoxFuture<'a, io::Result<engineio_smol::mount::Listening<SocketAddr>>> {
        Box::pin(engineio_smol::bind(server, addr))
    }

    #[cfg(unix)]
    fn serve_unix(&self, server: Server, path: PathBuf) -> BoxFuture<'static, io::Result<()>> {
        Box::pin(async move {
            let listener = smol::net::unix::UnixListener::bind(path)?;
            engineio_smol::serve(server, listener).await;
            Ok(())
        })
    }

    fn tcp_connector(&self) -> Box<dyn Connector> {
        Box::new(TcpConnector)
    }

    #[cfg(unix)]
    fn unix_connector(&self, path: PathBuf) -> Box<dyn Connector> {
        Box::new(engineio_smol::net::UnixConnector::new(path))
    }

    #[cfg(feature = "tls")]
    fn tls_encryptor(&self, config: Arc<ClientConfig>) -> Option<Box<dyn Encryptor>> {
        Some(Box::new(engineio_smol::net::TlsEncryptor::new(config)))
    }

    #[cfg(not(feature = "tls"))]
    fn tls_encryptor(&self, _config: Arc<ClientConfig>) -> Option<Box<dyn Encryptor>> {
        None
    }

    fn spawn(&self, task: Task) {
        smol::spawn(task).detach();
    }

    fn runtime(&self, executor: Counting) -> Runtime {
        Runtime::new(executor, SmolTimer::new())
    }

    fn listen(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Listening>>> {
        Box::pin(async move {
            let listener = TcpListener::bind(addr).await?;
            Ok(Box::new(Tcp(listener)) as Box<dyn Listening>)
        })
    }

    fn connect(&self, addr: SocketAddr) -> Connecting {
        Box::pin(async move {
            let stream = TcpStream::connect(addr).await?;
            Ok(Box::new(FuturesIo::new(stream)) as BoxIo)
        })
    }

    fn ending_runtime(&self) -> Box<dyn EndingRuntime> {
        let executor = Arc::new(Executor::new());
        let (ending, end) = bounded::<()>(1);
        let running = Arc::clone(&executor);
        thread::spawn(move || smol::block_on(running.run(end.recv())));
        Box::new(Thread { executor, ending })
    }
}

struct Tcp(TcpListener);

impl Listening for Tcp {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn accept(&self) -> BoxFuture<'_, io::Result<(BoxIo, SocketAddr)>> {
        Box::pin(async {
            let (stream, addr) = self.0.accept().await?;
            Ok((Box::new(FuturesIo::new(stream)) as BoxIo, addr))
        })
    }

    fn serve(self: Box<Self>, server: Server) -> BoxFuture<'static, ()> {
        Box::pin(engineio_smol::serve(server, self.0))
    }

    #[cfg(feature = "tower")]
    fn serve_with(self: Box<Self>, server: Server, service: App) -> BoxFuture<'static, ()> {
        Box::pin(engineio_smol::serve_with(server, self.0, service))
    }

    #[cfg(not(feature = "tower"))]
    fn serve_with(self: Box<Self>, _server: Server, _service: App) -> BoxFuture<'static, ()> {
        unreachable!("the cases of the feature are not compiled")
    }
}

/// An executor that runs on one thread.
struct Thread {
    executor: Arc<Executor<'static>>,
    ending: Sender<()>,
}

impl EndingRuntime for Thread {
    fn runtime(&self) -> Runtime {
        Runtime::new(WeakExecutor::new(&self.executor), SmolTimer::new())
    }

    fn spawn(&self, task: Task) {
        self.executor.spawn(task).detach();
    }

    fn end(self: Box<Self>) {
        drop(self.ending);
    }
}
