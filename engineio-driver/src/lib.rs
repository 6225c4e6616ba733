//! The hands of an Engine.IO server, for any runtime.
//!
//! All protocol is in `engineio-proto`; this crate carries it out over hyper's own runtime traits
//! ([`hyper::rt`]): it reads bodies with limits, holds polls, serves WebSockets, keeps the timers, and gives the
//! application [`Socket`]s. There is one code path and no runtime in it. Applications use it through `engineio-tokio`;
//! a runtime crate of one's own needs an executor, a timer and a listener:
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
//! let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(io), service);
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
//! Sessions live in shards, each a core server behind a lock. Wakers, and the places for the answers to requests, are
//! kept beside the sessions; whoever changes a session does at once what it asks for, and wakes tasks after unlocking.
//! There is one task for each WebSocket, none for a session on polling, and one timer task for each shard.
#![forbid(unsafe_code)]

mod body;
mod builder;
mod channel;
mod connect;
#[cfg_attr(not(test), expect(dead_code, reason = "the client will use it"))]
mod cookies;
mod exchange;
mod handler;
mod head;
mod http;
#[cfg_attr(not(test), expect(dead_code, reason = "the client will use it"))]
mod proxy;
mod runtime;
mod server;
mod service;
mod shard;
mod socket;
mod table;
mod tasks;
mod timer;
#[cfg(feature = "tls")]
mod tls;
mod upgrade;
mod url;
mod websocket;

pub use body::{ReplyBody, ReplyData};
pub use builder::Builder;
pub use connect::{BoxIo, Connecting, Connector, Encryptor, Io};
pub use handler::Handler;
pub use http::{Aborted, RemoteAddr};
pub use proxy::{Proxy, ProxyError};
pub use runtime::{Runtime, Task};
pub use server::{Broadcast, ConnectionError, Incoming, Refusal, Server};
pub use service::{HyperService, not_found};
pub use socket::{Event, Events, Handle, SinkError, Socket};
pub use tasks::Guard;
#[cfg(feature = "tls")]
pub use tls::{TlsConfig, TlsError};
pub use url::{Endpoint, UrlError};

#[cfg(feature = "tls")]
pub use rustls;

pub use engineio_proto::{
    CloseReason, Config, ConfigError, ErrorCode, Message, Mount, Overflow, PROTOCOL, Rejection, SendError, Sid,
    SidError, Stats, Text, TransportError, TransportKind, Transports,
};
