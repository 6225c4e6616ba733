//! Engine.IO server and client for tokio.
//!
//! Engine.IO is the transport layer of Socket.IO. A session starts as HTTP long-polling or as a WebSocket, and can
//! change its transport without losing a message. The server and the client interoperate with the official JavaScript
//! implementation.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = engineio_tokio::builder().build()?;
//! let listening = engineio_tokio::bind(&server, "127.0.0.1:0").await?;
//!
//! tokio::spawn(async move {
//!     loop {
//!         let mut socket = server.accept().await;
//!         tokio::spawn(async move {
//!             while let Some(message) = socket.recv().await {
//!                 if socket.send(message).await.is_err() {
//!                     break;
//!                 }
//!             }
//!             println!("a session ended: {:?}", socket.close_reason());
//!         });
//!     }
//! });
//!
//! let client = engineio_tokio::client(&format!("http://{}", listening.addr()))?.build()?;
//! let mut socket = client.connect().await?;
//! socket.send("hello").await?;
//! assert_eq!(socket.recv().await, Some("hello".into()));
//! socket.close();
//! assert_eq!(socket.closed().await, engineio_tokio::CloseReason::ForcedClose);
//! # Ok(())
//! # }
//! ```
//!
//! * **Server.** [`builder`] sets the options and makes a [`Server`]. [`bind`] listens on TCP, and [`serve`]
//!   serves a listener, also that of a Unix socket. `serve_with` does so together with an application of axum, or any other
//!   tower service. [`mount`] has a tower service and layer for routers, and a hyper service.
//! * **Sessions.** [`Server::accept`] returns a [`Socket`] for each session: a `Stream` and a `Sink` of [`Message`]s.
//!   [`Server::run`] serves sessions with the callbacks of a [`Handler`]. [`host`] runs an [`Application`], which
//!   `engineio-sim` can also run in a simulation.
//! * **Client.** [`client`] sets the options and makes a [`Client`]. [`Client::connect`] opens a session and returns a
//!   [`Socket`]; [`Client::reconnecting`] opens a new session when one is lost. Connections use TCP, or any
//!   [`Connector`](net::Connector).
//! * **Sending from elsewhere.** A [`Handle`] can be cloned and sends from any task. [`Server::get`] and
//!   [`Server::sessions`] find sessions; [`Server::broadcast`] sends to all of them.
//!
//! # Limits
//!
//! A session buffers at most [`Builder::send_buffer`] bytes that its peer has not taken. Above that limit,
//! [`Handle::send`] waits and [`Handle::try_send`] returns the message. When [`Builder::receive_buffer`] bytes wait for
//! the application, the session stops reading, which slows the client down. A client that takes no data at all is
//! disconnected, and the [`CloseReason`] says why. A [`ClientBuilder`] has options with the same names.
//!
//! Connections that the server serves itself, also with `serve_with`, have deadlines and limits too: [`Builder::header_timeout`],
//! [`Builder::idle_timeout`], [`Builder::write_timeout`], [`Builder::answer_timeout`], [`Builder::max_connections`],
//! [`Builder::max_headers`] and [`Builder::max_header_size`]. [`Builder::shutdown_timeout`] limits [`Server::shutdown`].
//!
//! # Features
//!
//! * `tls` (default): encrypted connections for clients.
//! * `tower` (default): `serve_with`, and the tower service and layer.
//! * `tracing`: events for what happens to sessions.
#![forbid(unsafe_code)]

mod connect;
mod serve;
#[cfg(feature = "tls")]
mod tls;

#[doc(inline)]
pub use engineio_driver::{
    Broadcast, Builder, Client, ClientBuilder, CloseReason, Config, ConnectError, Details, Event, Events, Handle,
    Handler, Incoming, Message, Mount, Offer, Overflow, Phase, ReconnectConfig, ReconnectEvent, Reconnecting, Refusal,
    RequestError, SendError, Server, Sid, Socket, Stamps, Stats, Text, TransportError, TransportKind, Transports,
    UpgradeError, error,
};
#[cfg(feature = "tower")]
pub use serve::serve_with;
pub use serve::{bind, serve};

/// Applications that run on real sockets and in simulated worlds.
pub mod app {
    #[doc(inline)]
    pub use engineio_driver::app::*;
}

/// Ways to serve the requests of a server: listeners, a hyper service, a tower service and layer.
///
/// [`bind`](crate::bind()), [`serve`](crate::serve()) and `serve_with` need none of these.
pub mod mount {
    pub use crate::serve::Accept;
    #[doc(inline)]
    pub use engineio_driver::mount::*;
}

/// Connections of a client: addresses, connectors, proxies, encryption.
pub mod net {
    pub use crate::connect::TcpConnector;
    #[cfg(unix)]
    pub use crate::connect::UnixConnector;
    #[cfg(feature = "tls")]
    pub use crate::tls::{Rustls, TlsEncryptor};
    #[doc(inline)]
    pub use engineio_driver::net::*;
    /// Turns a stream of tokio into an [`Io`], for use in a [`Connector`].
    pub use hyper_util::rt::TokioIo;
}

/// The runtime of a server or a client: an executor and a timer.
pub mod rt {
    #[doc(inline)]
    pub use engineio_driver::rt::*;
}

use app::{Application, Host};
use error::UrlError;
use net::Endpoint;
use rt::Runtime;

/// Starts the configuration of a [`Server`] that runs on tokio.
///
/// ```
/// use std::time::Duration;
///
/// let server = engineio_tokio::builder().ping_interval(Duration::from_secs(10)).max_payload(100_000).build()?;
/// # Ok::<(), engineio_tokio::error::ConfigError>(())
/// ```
pub fn builder() -> Builder {
    Builder::new(runtime())
}

/// Starts the configuration of a [`Client`] that runs on tokio.
///
/// The URL names the server: `http://`, `https://`, `ws://` or `wss://`, a host and a port. A query is sent with every
/// request. A path in the URL is **not** used, as in the reference; set [`ClientBuilder::path`] instead.
///
/// Certificates are verified against those that the system trusts; `net::TlsConfig` sets others. Without the feature
/// `tls`, encrypted connections need a [`ClientBuilder::encryptor`].
///
/// ```
/// use std::time::Duration;
///
/// let client = engineio_tokio::client("http://127.0.0.1:3000")?
///     .header("authorization", "Bearer 7")
///     .open_timeout(Duration::from_secs(5))
///     .build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Returns an error if the URL is not valid.
pub fn client(url: &str) -> Result<ClientBuilder, UrlError> {
    let builder = ClientBuilder::new(runtime(), Endpoint::parse(url)?, net::TcpConnector);
    #[cfg(feature = "tls")]
    let builder = builder.encryptor(net::TlsEncryptor::platform());
    Ok(builder)
}

/// Runs an [`Application`] on tokio.
///
/// `engineio-sim` runs the same code in simulated worlds.
///
/// ```
/// use engineio_tokio::Message;
/// use engineio_tokio::app::{Application, Peer, Sockets};
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
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = engineio_tokio::builder().build()?;
/// let listening = engineio_tokio::bind(&server, "127.0.0.1:0").await?;
/// let host = engineio_tokio::host(Echo);
/// tokio::spawn(async move { host.serve(&server).await });
///
/// let mut socket = engineio_tokio::client(&format!("http://{}", listening.addr()))?.build()?.connect().await?;
/// socket.send("hello").await?;
/// assert_eq!(socket.recv().await, Some("hello".into()));
/// # Ok(())
/// # }
/// ```
pub fn host<A: Application + Send + 'static>(application: A) -> Host<A> {
    Host::new(runtime(), application)
}

/// The programs of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

fn runtime() -> Runtime {
    Runtime::new(hyper_util::rt::TokioExecutor::new(), hyper_util::rt::TokioTimer::new())
}
