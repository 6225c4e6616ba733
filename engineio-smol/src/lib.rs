//! Engine.IO on smol: server and client.
//!
//! Engine.IO is the transport under Socket.IO: sessions that start as HTTP long-polling, or as a WebSocket, and change
//! their transport on the fly without losing a message. The official JavaScript clients connect to this server, this
//! client connects to the official server, and they notice nothing but speed.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
//! let server = engineio_smol::builder().build()?;
//! let addr = engineio_smol::bind(&server, "127.0.0.1:0").await?;
//!
//! smol::spawn(async move {
//!     loop {
//!         let mut socket = server.accept().await;
//!         smol::spawn(async move {
//!             while let Some(message) = socket.recv().await {
//!                 if socket.send(message).await.is_err() {
//!                     break;
//!                 }
//!             }
//!             println!("a session ended: {:?}", socket.close_reason());
//!         })
//!         .detach();
//!     }
//! })
//! .detach();
//!
//! let client = engineio_smol::client(&format!("http://{addr}"))?.build()?;
//! let mut socket = client.connect().await?;
//! socket.send("hello").await?;
//! assert_eq!(socket.recv().await, Some("hello".into()));
//! socket.close();
//! assert_eq!(socket.closed().await, engineio_smol::CloseReason::ForcedClose);
//! # Ok(()) }) }
//! ```
//!
//! It has the public shape of `engineio-tokio`: an application changes from one to the other with the name of the crate.
//! What is different is below, under *Executors*; and listeners and streams are smol's, for which [`FuturesIo`](net::FuturesIo) is what
//! `TokioIo` is there.
//!
//! * [`builder`] sets every option and makes a [`Server`].
//! * [`bind`] and [`serve`] listen; `EngineService` and `EngineLayer` mount the server in any tower stack, and
//!   [`HyperService`](mount::HyperService) in a hyper server.
//! * [`Server::accept`] gives a [`Socket`] for each session: a `Stream` and a `Sink` of [`Message`]s. [`Server::run`]
//!   serves sessions with the callbacks of a [`Handler`] instead; [`host`] runs an [`Application`], which `engineio-sim`
//!   can simulate.
//! * [`client`] sets every option of a [`Client`]. [`Client::connect`] opens a session and gives the same [`Socket`];
//!   [`Client::reconnecting`] opens another one when it is lost. Connections are made by TCP, or in whatever way a
//!   [`Connector`](net::Connector) knows.
//! * A [`Handle`] sends from anywhere; [`Server::get`], [`Server::broadcast`] and [`Server::sessions`] find sessions.
//!
//! # Bounds
//!
//! A session keeps at most [`Builder::send_buffer`] bytes that its peer has not taken. Above it, [`Handle::send`] waits
//! and [`Handle::try_send`] gives the message back. An application that does not take messages slows its peer down at
//! [`Builder::receive_buffer`] bytes. A client that takes nothing at all is closed, and the [`CloseReason`] says so. It
//! is the same for a client, with the options of the same names.
//!
//! # Executors
//!
//! [`builder`] and [`client`] use smol's global executor, which has one thread unless `SMOL_THREADS` says otherwise. For
//! an executor of one's own, begin with [`Builder::new`] and [`ClientBuilder::new`]; connections are served there too. Tasks
//! hold their runtime, so that must not hold their executor, or neither would ever be dropped:
//!
//! ```
//! use std::sync::Arc;
//!
//! use engineio_smol::Builder;
//! use engineio_smol::rt::{Runtime, SmolTimer, WeakExecutor};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let executor = Arc::new(smol::Executor::new());
//! let runtime = Runtime::new(WeakExecutor::new(&executor), SmolTimer::new());
//! smol::block_on(executor.run(async {
//!     let server = Builder::new(runtime).build()?;
//!     let addr = engineio_smol::bind(&server, "127.0.0.1:0").await?;
//! #   let client = engineio_smol::client(&format!("http://{addr}"))?.build()?;
//! #   client.connect().await?;
//!     Ok(())
//! }))
//! # }
//! ```
//!
//! There is no tokio in here but the channels that hyper uses.
//!
//! # Features
//!
//! * `tls` (default): encrypted connections for clients.
//! * `tower` (default): the service and the layer.
//! * `tracing`: events for what happens to sessions.
#![forbid(unsafe_code)]

mod connect;
mod executor;
mod serve;
#[cfg(feature = "tls")]
mod tls;

#[doc(inline)]
pub use engineio_driver::{
    Broadcast, Builder, Client, ClientBuilder, CloseReason, Config, ConnectError, Details, Event, Events, Handle,
    Handler, Incoming, Message, Mount, Offer, Overflow, Phase, ReconnectConfig, ReconnectEvent, Reconnecting, Refusal,
    RequestError, SendError, Server, Sid, Socket, Stamps, Stats, Text, TransportError, TransportKind, Transports,
    UpgradeError,
};
#[doc(inline)]
pub use engineio_driver::{error, mount};
pub use serve::{bind, serve};

/// Applications that run on real sockets and in simulated worlds alike. [`host`] runs one on smol.
pub mod app {
    #[doc(inline)]
    pub use engineio_driver::app::*;
}

/// How a client reaches its server: addresses, connections, proxies, encryption.
pub mod net {
    pub use crate::connect::TcpConnector;
    #[cfg(unix)]
    pub use crate::connect::UnixConnector;
    #[cfg(feature = "tls")]
    pub use crate::tls::{Rustls, TlsEncryptor};
    #[doc(inline)]
    pub use engineio_driver::net::*;
    /// Makes what smol reads and writes an [`Io`], for a [`Connector`] of one's own.
    pub use smol_hyper::rt::FuturesIo;
}

/// What is needed of a runtime: an executor and a timer.
pub mod rt {
    pub use crate::executor::WeakExecutor;
    #[doc(inline)]
    pub use engineio_driver::rt::*;
    pub use smol_hyper::rt::{SmolExecutor, SmolTimer};
}

use app::{Application, Host};
use error::UrlError;
use net::Endpoint;
use rt::Runtime;

/// Begins a [`Server`] that runs on smol.
///
/// ```
/// use std::time::Duration;
///
/// let server = engineio_smol::builder().ping_interval(Duration::from_secs(10)).max_payload(100_000).build()?;
/// # Ok::<(), engineio_smol::error::ConfigError>(())
/// ```
pub fn builder() -> Builder {
    Builder::new(runtime())
}

/// Begins a [`Client`] that runs on smol, for the server at an address: `http://`, `https://`, `ws://` or `wss://`,
/// host and port. A query in it is sent with every request. A path in it is **not** used, as in the reference; see
/// [`ClientBuilder::path`].
///
/// Encrypted connections are verified by the certificates that the system trusts. For others, see `TlsConfig`; with the
/// feature `tls` off, there is no encryption but a [`ClientBuilder::encryptor`] of one's own.
///
/// ```
/// use std::time::Duration;
///
/// let client = engineio_smol::client("http://127.0.0.1:3000")?
///     .header("authorization", "Bearer 7")
///     .open_timeout(Duration::from_secs(5))
///     .build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// When the address is none.
pub fn client(url: &str) -> Result<ClientBuilder, UrlError> {
    let builder = ClientBuilder::new(runtime(), Endpoint::parse(url)?, net::TcpConnector);
    #[cfg(feature = "tls")]
    let builder = builder.encryptor(net::TlsEncryptor::platform());
    Ok(builder)
}

/// Runs an [`Application`] on smol: the same code that `engineio-sim` runs in simulated worlds.
///
/// ```
/// use engineio_smol::Message;
/// use engineio_smol::app::{Application, Peer, Sockets};
///
/// struct Echo;
///
/// impl Application for Echo {
///     fn on_message(&mut self, sockets: &mut dyn Sockets, peer: Peer, message: Message) {
///         if sockets.send(peer, message).is_err() {
///             sockets.close(peer);
///         }
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { smol::block_on(async {
/// let server = engineio_smol::builder().build()?;
/// let addr = engineio_smol::bind(&server, "127.0.0.1:0").await?;
/// let host = engineio_smol::host(Echo);
/// smol::spawn(async move { host.serve(&server).await }).detach();
///
/// let mut socket = engineio_smol::client(&format!("http://{addr}"))?.build()?.connect().await?;
/// socket.send("hello").await?;
/// assert_eq!(socket.recv().await, Some("hello".into()));
/// # Ok(()) }) }
/// ```
pub fn host<A: Application + Send + 'static>(application: A) -> Host<A> {
    Host::new(runtime(), application)
}

fn runtime() -> Runtime {
    Runtime::new(executor::Global, rt::SmolTimer::new())
}
