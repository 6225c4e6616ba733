//! Engine.IO server and client over the runtime traits of hyper.
//!
//! The protocol is implemented in `engineio-proto`. This crate does its I/O over [`hyper::rt`]: it reads request bodies
//! up to a limit, holds and sends polls, serves and opens WebSockets, runs timers, and gives [`Socket`]s to
//! applications. It contains one code path for all runtimes, and no runtime. Applications use it through
//! `engineio-tokio` or `engineio-smol`. Support for another runtime needs an executor, a timer, a listener for a
//! [`Server`] and a [`Connector`](net::Connector) for a [`Client`]:
//!
//! ```
//! use engineio_driver::Builder;
//! use engineio_driver::mount::HyperService;
//! use engineio_driver::rt::Runtime;
//! use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let runtime = Runtime::new(TokioExecutor::new(), TokioTimer::new());
//! let server = Builder::new(runtime).build()?;
//!
//! // For each connection, here one in memory:
//! let (mut client, io) = tokio::io::duplex(4096);
//! let service = HyperService::new(server.clone(), None);
//! tokio::spawn(server.serve_connection(TokioIo::new(io), service));
//!
//! # use tokio::io::AsyncWriteExt;
//! client.write_all(b"GET /engine.io/?EIO=4&transport=polling HTTP/1.1\r\nhost: x\r\n\r\n").await?;
//! let socket = server.accept().await;
//! socket.send("hello").await?;
//! # Ok(())
//! # }
//! ```
//!
//! # How it works
//!
//! Each session has its own lock, which also protects the wakers of tasks that wait for the session, and the slots for
//! answers to requests. A call that changes a session carries out its outputs at once, and wakes tasks after the lock
//! is released. The ids, deadlines and number of a server's sessions are in a registry with a second lock, which is
//! taken when a session opens, is looked up or closes. A server has one task for each WebSocket, none for a session on
//! polling, and one timer task. A client has one task for each session.
//!
//! # Features
//!
//! * `tls`: TLS for clients, with rustls. The runtime crates perform the handshake.
//! * `tower`: a tower `Service` and `Layer`, to mount a server in axum and other routers.
//! * `tracing`: events for what happens to sessions.
#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing, clippy::string_slice)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::string_slice))]

mod body;
mod builder;
mod client;
#[cfg(feature = "__fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod handler;
mod host;
pub mod mount;
pub mod net;
mod runtime;
mod server;
mod session;
mod socket;
mod tasks;
mod websocket;

pub use builder::Builder;
pub use client::{Client, ClientBuilder, ConnectError, ReconnectEvent, Reconnecting};
pub use engineio_proto::client::{Details, ReconnectConfig, Stamps};
pub use engineio_proto::http::Mount;
pub use engineio_proto::server::{Config, Overflow};
pub use engineio_proto::{
    CloseReason, Message, Phase, RequestError, SendError, Sid, Stats, Text, TransportError, TransportKind, Transports,
    UpgradeError,
};
pub use handler::Handler;
pub use server::{Broadcast, Incoming, Refusal, Server};
pub use session::{Event, Offer};
pub use socket::{Events, Handle, Socket};

/// Applications that run on real sockets and in simulated worlds.
pub mod app {
    pub use crate::host::Host;
    pub use engineio_proto::Instant;
    pub use engineio_proto::app::{Application, Peer, Sockets};
}

/// Errors that programs report more often than they name them: of options, addresses and session ids, of a [`Socket`] as
/// a `Sink`, and of requests that a server rejects.
pub mod error {
    pub use crate::client::BuildError;
    pub use crate::net::url::UrlError;
    pub use crate::server::ConnectionError;
    pub use crate::socket::SinkError;
    pub use engineio_proto::http::{ErrorCode, Rejection};
    pub use engineio_proto::{ConfigError, SidError};
}

/// The runtime of a server or a client: an executor and a timer.
pub mod rt {
    pub use crate::runtime::{Runtime, Task};
}
