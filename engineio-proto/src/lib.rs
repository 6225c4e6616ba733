//! The Engine.IO protocol as a pure state machine.
//!
//! Engine.IO is the transport under Socket.IO: sessions that start as HTTP long-polling, or as a WebSocket, and change
//! their transport on the fly without losing a message. This crate holds every rule of the protocol (revision 4, both
//! sides) and nothing else: no socket, no clock, no thread, no randomness, `no_std` with `alloc`. Events go
//! in, actions come out, and time is an argument. Whoever wants a ready server takes `engineio-tokio`; whoever has
//! an own runtime or I/O drives [`Server`], [`Session`] or [`Client`] by hand.
//!
//! # The run loop
//!
//! 1. Begin the [`Admission`](server::Admission) of a request. It says step by step what it needs, and ends with a session, a new
//!    one or the one that the request names. [`Server::admit`] goes through all steps at once.
//! 2. Tell the session what else arrives: [`Session::handle_input`] with an [`Input`](server::Input). HTTP exchanges and message
//!    channels are named by numbers of your choice.
//! 3. Do what it asks: [`Server::poll_output`] until there is nothing. **Any order of calls is legal**: outputs may be
//!    drained after every input or later.
//! 4. When [`Server::next_timeout`] is due, call [`Server::handle_timeout`].
//! 5. The application sends with [`Session::send`] and takes messages with [`Session::recv`].
//!
//! ```
//! use engineio_proto::http::{Method, Request};
//! use engineio_proto::server::{Admission, Config, Entry, Input, Output};
//! use engineio_proto::{CloseReason, Event, ExchangeId, Instant, Message, Server, Sid};
//!
//! let mut server = Server::new(Config::default())?;
//! let mut now = Instant::ZERO; // yours: any monotonic clock
//!
//! // GET /engine.io/?EIO=4&transport=polling
//! let query = "EIO=4&transport=polling";
//! let request = Request { method: Method::Get, query, origin: None, upgrade: false };
//! let admission = Admission::begin(&request, server.config())?;
//! let sid = Sid::from_entropy([7; 15]); // yours: 15 random bytes
//! let entry = Entry::Exchange { exchange: ExchangeId(1), octet_stream: false };
//! let key = server.admit(now, admission, entry, Some(sid))?;
//!
//! // The answer is the open packet.
//! let Some((_, Output::Respond { exchange, response })) = server.poll_output() else { unreachable!() };
//! assert_eq!(exchange, ExchangeId(1));
//! assert!(response.into_reply().body.starts_with(b"0{\"sid\":"));
//!
//! // POST /engine.io/?EIO=4&transport=polling&sid=…   4hello
//! let mut session = server.session_mut(key).unwrap();
//! session.handle_input(now, Input::PostHead { exchange: ExchangeId(2), octet_stream: false });
//! session.handle_input(now, Input::PostBody { exchange: ExchangeId(2), body: Ok("4hello".into()) });
//! assert_eq!(session.recv(now), Some(Message::from("hello")));
//! session.send(Message::from("world"))?; // leaves with the next GET
//! drop(session);
//!
//! // Nothing of the client for 45 seconds: the session ends, and says why.
//! let mut closed = None;
//! while let Some(at) = server.next_timeout() {
//!     now = at; // yours: sleep until then
//!     server.handle_timeout(now);
//! }
//! while let Some((_, output)) = server.poll_output() {
//!     if let Output::Event(Event::Closed(reason)) = output {
//!         closed = Some(reason);
//!     }
//! }
//! assert_eq!(closed, Some(CloseReason::PingTimeout));
//! assert_eq!(now, Instant::from_millis(45_000));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A [`Client`] is driven in the same way, only that it is the one who asks for requests and channels; its page shows
//! how.
//!
//! [Embedding the core] is the longer way through the same steps: with WebSockets, with what an embedder owes in return, and
//! with what else there is to know. The examples `blocking`, `event_loop` and `completion` are complete servers on threads,
//! on readiness and on io_uring.
//!
//! [Embedding the core]: https://github.com/engineio-rs/engineio/blob/main/docs/embedding.md
//!
//! # What is promised
//!
//! Messages arrive in order, once, without a gap, whatever the transports do; a session that cannot keep this ends,
//! and its [`CloseReason`] is the true one. Nothing grows with what a peer sends beyond the limits of [`Config`](server::Config) or
//! [`client::Config`]. No input panics. The same calls give the same results. [`Session::check`], [`Server::check`] and
//! [`Client::check`] test what can be tested from inside; in debug builds session and client do it after every call,
//! unless their queues are long.
//!
//! # Features
//!
//! * `std` (default): the standard-library parts of the dependencies. Without it the crate is `no_std` + `alloc`.
//! * `tracing`: events for the transitions of sessions and clients.
#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::alloc_instead_of_core, clippy::std_instead_of_alloc, clippy::std_instead_of_core)]
#![warn(clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::indexing_slicing))]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod application;
mod config;
mod machine;
mod parts;
mod session;
mod surface;

pub mod client;
pub mod http;
pub mod server;
pub mod wire;

/// The logic of an application on top of sessions.
pub mod app {
    pub use crate::application::{Application, Peer, Sockets};
}

pub mod laws;

pub use client::Client;
pub use http::route::PROTOCOL;
pub use machine::Machine;
pub use parts::config::ConfigError;
pub use parts::event::{
    ChannelEnd, ChannelId, CloseReason, Event, ExchangeId, RequestError, TransportError, UpgradeError,
};
pub use parts::phase::Phase;
pub use parts::send::SendError;
pub use parts::stats::Stats;
pub use parts::time::Instant;
pub use parts::transport::{TransportKind, Transports};
pub use server::container::Server;
pub use server::sid::{Sid, SidError};
pub use session::Session;
pub use wire::{Message, Text};
