//! An Engine.IO server on tokio.
//!
//! Engine.IO is the transport under Socket.IO: sessions that start as HTTP long-polling, or as a WebSocket, and change
//! their transport on the fly without losing a message. The official JavaScript clients connect to this server and
//! notice nothing but speed.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = engineio_tokio::builder().build()?;
//! let addr = engineio_tokio::bind(&server, "127.0.0.1:0").await?;
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
//! // Any Engine.IO client may come now; by hand, it begins like this:
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! let mut client = tokio::net::TcpStream::connect(addr).await?;
//! client.write_all(b"GET /engine.io/?EIO=4&transport=polling HTTP/1.0\r\n\r\n").await?;
//! let mut answer = String::new();
//! client.read_to_string(&mut answer).await?;
//! assert!(answer.contains(r#"0{"sid":""#));
//! # Ok(())
//! # }
//! ```
//!
//! * [`builder`] sets every option and makes a [`Server`].
//! * [`bind`] and [`serve`] listen; `EngineService` and `EngineLayer` mount the server in axum or any tower stack, and
//!   [`HyperService`] in a hyper server.
//! * [`Server::accept`] gives a [`Socket`] for each session: a `Stream` and a `Sink` of [`Message`]s. [`Server::run`]
//!   serves sessions with the callbacks of a [`Handler`] instead.
//! * A [`Handle`] sends from anywhere; [`Server::get`], [`Server::broadcast`] and [`Server::sessions`] find sessions.
//!
//! # Bounds
//!
//! A session keeps at most [`Builder::send_buffer`] bytes that its client has not taken. Above it, [`Handle::send`]
//! waits and [`Handle::try_send`] gives the message back. An application that does not take messages slows its client
//! down at [`Builder::receive_buffer`] bytes. A client that takes nothing at all is closed, and the
//! [`CloseReason`] says so.
//!
//! # Features
//!
//! * `tls` (default): encrypted connections for clients.
//! * `tower` (default): the service and the layer.
//! * `tracing`: events for what happens to sessions.
#![forbid(unsafe_code)]

mod connect;
mod serve;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tower")]
mod tower;

pub use connect::TcpConnector;
#[cfg(unix)]
pub use connect::UnixConnector;
pub use engineio_driver::{
    Aborted, Broadcast, Builder, CloseReason, Config, ConfigError, ConnectionError, ErrorCode, Event, Events, Guard,
    Handle, Handler, HyperService, Incoming, Message, Mount, Overflow, PROTOCOL, Refusal, Rejection, RemoteAddr,
    ReplyBody, ReplyData, Runtime, SendError, Server, Sid, SidError, SinkError, Socket, Stats, Text, TransportError,
    TransportKind, Transports,
};
pub use engineio_driver::{BoxIo, Connecting, Connector, Encryptor, Endpoint, Io, Proxy, ProxyError, UrlError};
#[cfg(feature = "tls")]
pub use engineio_driver::{TlsConfig, TlsError, rustls};
pub use serve::{bind, serve};
#[cfg(feature = "tls")]
pub use tls::TlsEncryptor;
#[cfg(feature = "tower")]
pub use tower::{EngineBody, EngineLayer, EngineService, NotFound};

/// Begins a [`Server`] that runs on tokio.
///
/// ```
/// use std::time::Duration;
///
/// let server = engineio_tokio::builder().ping_interval(Duration::from_secs(10)).max_payload(100_000).build()?;
/// # Ok::<(), engineio_tokio::ConfigError>(())
/// ```
pub fn builder() -> Builder {
    Builder::new(Runtime::new(hyper_util::rt::TokioExecutor::new(), hyper_util::rt::TokioTimer::new()))
}
