//! The hands of an Engine.IO server and of a client, for any runtime.
//!
//! All protocol is in `engineio-proto`; this crate carries it out over hyper's own runtime traits
//! ([`hyper::rt`]): it reads bodies with limits, holds and sends polls, serves and opens WebSockets, keeps the timers,
//! and gives the application [`Socket`]s. There is one code path and no runtime in it. Applications use it through
//! `engineio-tokio` or `engineio-smol`; a runtime crate of one's own needs an executor, a timer, a listener for a [`Server`] and a
//! [`Connector`] for a [`Client`]:
//!
//! ```
//! use engineio_driver::{Builder, HyperService, Runtime};
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
//! let connection = server.http1().serve_connection(TokioIo::new(io), service);
//! tokio::spawn(connection.with_upgrades());
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
//! A server's sessions live in shards, each a core server behind a lock; a client's session has a lock of its own. Wakers,
//! and the places for the answers to requests, are kept beside the sessions; whoever changes a session does at once what
//! it asks for, and wakes tasks after unlocking. A server has one task for each WebSocket, none for a session on polling,
//! and one timer task for each shard. A client has one task for each session.
//!
//! # Features
//!
//! * `tls`: TLS for clients, by rustls. The runtime crates do the handshake.
//! * `tower`: a tower `Service` and `Layer`, to mount a server in axum and other routers.
//! * `tracing`: events for what happens to sessions.
#![forbid(unsafe_code)]

mod body;
mod builder;
mod channel;
mod client;
mod connect;
mod cookies;
mod exchange;
#[cfg(feature = "__fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod handler;
mod hands;
mod head;
mod home;
mod host;
mod http;
mod proxy;
mod runtime;
mod serve;
mod server;
mod service;
mod shard;
mod socket;
mod table;
mod tasks;
mod timer;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tower")]
mod tower;
mod upgrade;
mod url;
mod websocket;

pub use body::{ReplyBody, ReplyData};
pub use builder::Builder;
pub use client::{BuildError, Client, ClientBuilder, ConnectError, ReconnectEvent, Reconnecting};
pub use connect::{BoxIo, Connecting, Connector, Encryptor, Io};
pub use handler::Handler;
pub use host::Host;
pub use http::{Aborted, RemoteAddr};
pub use proxy::{Proxy, ProxyError};
pub use runtime::{Runtime, Task};
pub use serve::Listener;
pub use server::{Broadcast, ConnectionError, Incoming, Refusal, Server};
pub use service::{HyperService, not_found};
pub use socket::{Event, Events, Handle, Offer, SinkError, Socket};
pub use tasks::Guard;
#[cfg(feature = "tls")]
pub use tls::{TlsConfig, TlsEncryptor, TlsError, TlsHandshake};
#[cfg(feature = "tower")]
pub use tower::{EngineBody, EngineLayer, EngineService, NotFound};
pub use url::{Endpoint, UrlError};

#[cfg(feature = "tls")]
pub use rustls;

pub use engineio_proto::app::{Application, Peer, Sockets};
pub use engineio_proto::client::{Details, ReconnectConfig, Stamps};
pub use engineio_proto::http::{ErrorCode, Mount, Rejection};
pub use engineio_proto::server::{Config, Overflow};
pub use engineio_proto::{
    CloseReason, ConfigError, Instant, Message, PROTOCOL, RequestError, SendError, Sid, SidError, Stats, Text,
    TransportError, TransportKind, Transports, UpgradeError,
};
