//! The runtime crate that is tested. It is the same for all cases of a process. The functions here correspond to those
//! of the crate.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
#[cfg(unix)]
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use engineio_driver::error::UrlError;
use engineio_driver::net::rustls::ClientConfig;
use engineio_driver::net::{BoxIo, Connecting, Connector, Encryptor};
use engineio_driver::rt::{Runtime, Task};
pub(crate) use engineio_driver::*;
use futures_util::future::BoxFuture;

use crate::counting::Counting;
use crate::runtime::{EndingRuntime, Listening, TcpListener};

/// A runtime crate, and what the suites need from its runtime.
pub trait Adapter: Sync {
    /// The folder with the sources of the crate.
    fn sources(&self) -> &'static Path;

    /// Calls `builder` of the crate.
    fn builder(&self) -> Builder;

    /// Calls `client` of the crate.
    ///
    /// # Errors
    /// Returns the error of `client`.
    fn client(&self, url: &str) -> Result<ClientBuilder, UrlError>;

    /// Calls `bind` of the crate, and detaches the result.
    fn bind<'a>(&self, server: &'a Server, addr: &'a str) -> BoxFuture<'a, io::Result<SocketAddr>>;

    /// Calls `bind` of the crate.
    fn bind_until_dropped<'a>(
        &self,
        server: &'a Server,
        addr: &'a str,
    ) -> BoxFuture<'a, io::Result<mount::Listening<SocketAddr>>>;

    /// Listens at a Unix socket, and calls `serve` of the crate.
    #[cfg(unix)]
    fn serve_unix(&self, server: Server, path: PathBuf) -> BoxFuture<'static, io::Result<()>>;

    /// Creates the `TcpConnector` of the crate.
    fn tcp_connector(&self) -> Box<dyn Connector>;

    /// Creates a `UnixConnector` of the crate.
    #[cfg(unix)]
    fn unix_connector(&self, path: PathBuf) -> Box<dyn Connector>;

    /// Creates a `TlsEncryptor` of the crate; `None` without its feature `tls`.
    fn tls_encryptor(&self, config: Arc<ClientConfig>) -> Option<Box<dyn Encryptor>>;

    /// Runs a task in the background, on the executor of the crate.
    fn spawn(&self, task: Task);

    /// Returns the timer of the crate, with this executor.
    fn runtime(&self, executor: Counting) -> Runtime;

    /// Listens on an address, with the listener that `serve` of the crate takes.
    fn listen(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Listening>>>;

    /// Connects over TCP.
    fn connect(&self, addr: SocketAddr) -> Connecting;

    /// Starts a runtime that can end before the test does.
    fn ending_runtime(&self) -> Box<dyn EndingRuntime>;
}

static ADAPTER: OnceLock<&'static dyn Adapter> = OnceLock::new();

/// The adapter of this process.
pub(crate) fn adapter() -> &'static dyn Adapter {
    *ADAPTER.get().expect("cases are run by `suites!`")
}

/// Runs a case on a new runtime with one thread.
pub fn run<F: Future<Output = ()>>(adapter: &'static dyn Adapter, case: impl FnOnce() -> F) {
    run_blocking(adapter, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("there are resources").block_on(case());
    });
}

/// Runs a case that is not async.
pub fn run_blocking(adapter: &'static dyn Adapter, case: impl FnOnce()) {
    let tested = ADAPTER.get_or_init(|| adapter).sources();
    assert_eq!(tested, adapter.sources(), "a process tests one runtime crate");
    case();
}

pub(crate) fn builder() -> Builder {
    adapter().builder()
}

pub(crate) fn client(url: &str) -> Result<ClientBuilder, UrlError> {
    adapter().client(url)
}

pub(crate) async fn bind(server: &Server, addr: &str) -> io::Result<SocketAddr> {
    adapter().bind(server, addr).await
}

pub(crate) async fn bind_until_dropped(server: &Server, addr: &str) -> io::Result<mount::Listening<SocketAddr>> {
    adapter().bind_until_dropped(server, addr).await
}

#[cfg(unix)]
pub(crate) async fn serve_unix(server: Server, path: PathBuf) -> io::Result<()> {
    adapter().serve_unix(server, path).await
}

pub(crate) async fn serve(server: Server, listener: TcpListener) {
    listener.serve(server).await;
}

pub(crate) struct TcpConnector;

impl Connector for TcpConnector {
    fn connect(&self, host: &str, port: u16) -> Connecting {
        adapter().tcp_connector().connect(host, port)
    }
}

#[cfg(unix)]
pub(crate) struct UnixConnector(Box<dyn Connector>);

#[cfg(unix)]
impl UnixConnector {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self(adapter().unix_connector(path.into()))
    }
}

#[cfg(unix)]
impl Connector for UnixConnector {
    fn connect(&self, host: &str, port: u16) -> Connecting {
        self.0.connect(host, port)
    }
}

pub(crate) struct TlsEncryptor(Box<dyn Encryptor>);

impl TlsEncryptor {
    pub(crate) fn new(config: Arc<ClientConfig>) -> Self {
        Self(adapter().tls_encryptor(config).expect("the crate has the feature `tls`"))
    }
}

impl Encryptor for TlsEncryptor {
    fn encrypt(&self, io: BoxIo, host: &str) -> Connecting {
        self.0.encrypt(io, host)
    }
}
