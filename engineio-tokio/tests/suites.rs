//! The suites that every runtime crate must pass, on tokio.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::io;
use std::net::SocketAddr;
use std::path::Path;
#[cfg(unix)]
use std::path::PathBuf;
use std::sync::Arc;

use engineio_suites::{Adapter, App, BoxFuture, Counting, EndingRuntime, Listening};
use engineio_tokio::error::UrlError;
use engineio_tokio::net::rustls::ClientConfig;
use engineio_tokio::net::{BoxIo, Connecting, Connector, Encryptor, TcpConnector, TokioIo};
use engineio_tokio::rt::{Runtime, Task};
use engineio_tokio::{Builder, ClientBuilder, Server};
use hyper::rt::Executor;
use hyper_util::rt::TokioTimer;
use tokio::net::{TcpListener, TcpStream};

engineio_suites::suites!(Tokio);

struct Tokio;

impl Adapter for Tokio {
    fn sources(&self) -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))
    }

    fn builder(&self) -> Builder {
        engineio_tokio::builder()
    }

    fn client(&self, url: &str) -> Result<ClientBuilder, UrlError> {
        engineio_tokio::client(url)
    }

    fn bind<'a>(&self, server: &'a Server, addr: &'a str) -> BoxFuture<'a, io::Result<SocketAddr>> {
        Box::pin(async move { Ok(engineio_tokio::bind(server, addr).await?.detach()) })
    }

    fn bind_until_dropped<'a>(
        &self,
        server: &'a Server,
        addr: &'a str,
    ) -> BoxFuture<'a, io::Result<engineio_tokio::mount::Listening<SocketAddr>>> {
        Box::pin(engineio_tokio::bind(server, addr))
    }

    #[cfg(unix)]
    fn serve_unix(&self, server: Server, path: PathBuf) -> BoxFuture<'static, io::Result<()>> {
        Box::pin(async move {
            let listener = tokio::net::UnixListener::bind(path)?;
            engineio_tokio::serve(server, listener).await;
            Ok(())
        })
    }

    fn tcp_connector(&self) -> Box<dyn Connector> {
        Box::new(TcpConnector)
    }

    #[cfg(unix)]
    fn unix_connector(&self, path: PathBuf) -> Box<dyn Connector> {
        Box::new(engineio_tokio::net::UnixConnector::new(path))
    }

    #[cfg(feature = "tls")]
    fn tls_encryptor(&self, config: Arc<ClientConfig>) -> Option<Box<dyn Encryptor>> {
        Some(Box::new(engineio_tokio::net::TlsEncryptor::new(config)))
    }

    #[cfg(not(feature = "tls"))]
    fn tls_encryptor(&self, _config: Arc<ClientConfig>) -> Option<Box<dyn Encryptor>> {
        None
    }

    fn spawn(&self, task: Task) {
        tokio::spawn(task);
    }

    fn runtime(&self, executor: Counting) -> Runtime {
        Runtime::new(executor, TokioTimer::new())
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
            Ok(Box::new(TokioIo::new(stream)) as BoxIo)
        })
    }

    fn ending_runtime(&self) -> Box<dyn EndingRuntime> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Box::new(Threads(runtime.expect("there are threads")))
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
            Ok((Box::new(TokioIo::new(stream)) as BoxIo, addr))
        })
    }

    fn serve(self: Box<Self>, server: Server) -> BoxFuture<'static, ()> {
        Box::pin(engineio_tokio::serve(server, self.0))
    }

    #[cfg(feature = "tower")]
    fn serve_with(self: Box<Self>, server: Server, service: App) -> BoxFuture<'static, ()> {
        Box::pin(engineio_tokio::serve_with(server, self.0, service))
    }

    #[cfg(not(feature = "tower"))]
    fn serve_with(self: Box<Self>, _server: Server, _service: App) -> BoxFuture<'static, ()> {
        unreachable!("the cases of the feature are not compiled")
    }
}

struct Threads(tokio::runtime::Runtime);

impl EndingRuntime for Threads {
    fn runtime(&self) -> Runtime {
        Runtime::new(On(self.0.handle().clone()), TokioTimer::new())
    }

    fn spawn(&self, task: Task) {
        self.0.spawn(task);
    }

    fn end(self: Box<Self>) {
        self.0.shutdown_background();
    }
}

struct On(tokio::runtime::Handle);

impl Executor<Task> for On {
    fn execute(&self, task: Task) {
        self.0.spawn(task);
    }
}
