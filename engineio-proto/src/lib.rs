//! The Engine.IO protocol as a pure state machine.
//!
//! Engine.IO is the transport under Socket.IO. A session starts as HTTP long-polling, or as a WebSocket, and can change its
//! transport without losing a message. This crate holds every rule of the protocol, revision 4, for servers and for clients.
//! It does no I/O: it opens no socket, reads no clock, starts no thread, and draws no random number. Inputs go in, outputs
//! come out, and time is an argument.
//!
//! `engineio-tokio` and `engineio-smol` are complete servers and clients on top of it. Use this crate directly to embed the
//! protocol in a runtime, an event loop, or a platform of your own.
//!
//! # The run loop
//!
//! 1. **Give a session an input.** HTTP requests and WebSockets have numbers of your choice. A request that arrives begins an
//!    [`Admission`](server::Admission); [`Server::admit`] takes it to its session, a new one or the one that it names.
//!    Everything else is an [`Input`](server::Input) for [`Session::handle_input`].
//! 2. **Carry out the outputs.** Call [`Server::poll_output`] until there is none.
//! 3. **Wait** until something happens or [`Server::next_timeout`] has come, then call [`Server::handle_timeout`].
//!
//! **Any order of calls is legal.** Outputs may be carried out after each input or later. This is step 2, with an application
//! that sends every message back:
//!
//! ```
//! use engineio_proto::http::Reply;
//! use engineio_proto::server::Output;
//! use engineio_proto::wire::Frame;
//! use engineio_proto::{ChannelId, Event, ExchangeId, Instant, Server};
//!
//! /// Yours: connections, by the numbers of their exchanges and channels.
//! trait Connections {
//!     fn answer(&mut self, exchange: ExchangeId, reply: Reply);
//!     fn drop_request(&mut self, exchange: ExchangeId);
//!     fn has_room(&self, channel: ChannelId) -> bool;
//!     /// When the frame is written, `messages` goes into `Input::ChannelWritten`.
//!     fn write(&mut self, channel: ChannelId, frame: Frame, messages: u64);
//!     fn set_reading(&mut self, channel: ChannelId, enabled: bool);
//!     /// Closes the WebSocket, behind what is to be written.
//!     fn close(&mut self, channel: ChannelId);
//! }
//!
//! fn obey(server: &mut Server, connections: &mut impl Connections, now: Instant) {
//!     while let Some((key, output)) = server.poll_output() {
//!         match output {
//!             Output::Respond { exchange, response } => {
//!                 connections.answer(exchange, response.into_reply());
//!             }
//!             Output::Abort { exchange } => connections.drop_request(exchange),
//!             Output::ChannelReady { channel } => {
//!                 let Some(mut session) = server.session_mut(key) else { continue };
//!                 while connections.has_room(channel) {
//!                     let Some(frame) = session.next_frame(now, channel) else { break };
//!                     connections.write(channel, frame, session.stats().messages_sent);
//!                 }
//!             }
//!             Output::ChannelRead { channel, enabled } => {
//!                 connections.set_reading(channel, enabled);
//!             }
//!             Output::ChannelClose { channel } => connections.close(channel),
//!             Output::Event(Event::Readable | Event::Writable | Event::Ended(_)) => {
//!                 let Some(mut session) = server.session_mut(key) else { continue };
//!                 while session.poll_ready() {
//!                     let Some(message) = session.recv(now) else { break };
//!                     session.send(message).ok(); // It comes back if the session has ended.
//!                 }
//!             }
//!             Output::Event(Event::Closed(reason)) => println!("{key:?}: {reason}"),
//!             Output::Event(_) => (),
//!         }
//!     }
//! }
//! ```
//!
//! The [guide] continues from here: what an embedder must report in return, and the symptom of each report that is
//! forgotten. The examples [`blocking`], [`event_loop`] and [`completion`] are complete servers on threads, on readiness and
//! on io_uring.
//!
//! [`blocking`]: https://github.com/engineio-rs/engineio/tree/main/engineio-proto/examples/blocking
//! [`event_loop`]: https://github.com/engineio-rs/engineio/tree/main/engineio-proto/examples/event_loop
//! [`completion`]: https://github.com/engineio-rs/engineio/tree/main/engineio-proto/examples/completion
//! [`client`]: https://github.com/engineio-rs/engineio/tree/main/engineio-proto/examples/client
//!
//! # A server's session
//!
//! ```
//! use engineio_proto::http::{Method, Request};
//! use engineio_proto::server::{Admission, Config, Entry, Input, Output};
//! use engineio_proto::{CloseReason, Event, ExchangeId, Instant, Message, Server, Sid};
//!
//! let mut server = Server::new(Config::default())?;
//! let mut now = Instant::ZERO; // yours: a monotonic clock
//!
//! // GET /engine.io/?EIO=4&transport=polling
//! let query = "EIO=4&transport=polling";
//! let request = Request { method: Method::Get, query, origin: None, upgrade: false };
//! let admission = Admission::begin(&request, server.config())?;
//! let sid = Sid::from_entropy([7; 15]); // yours: 15 random bytes
//! let entry = Entry::Exchange { exchange: ExchangeId(1), octet_stream: false };
//! let key = server.admit(now, admission, entry, Some(sid))?;
//!
//! // The answer is the open packet. Its connection takes every byte.
//! let Some((_, output)) = server.poll_output() else { unreachable!() };
//! let Output::Respond { exchange, response } = output else { unreachable!() };
//! assert!(response.into_reply().body.starts_with(b"0{\"sid\":"));
//! let mut session = server.session_mut(key).unwrap();
//! session.handle_input(now, Input::AnswerWritten { exchange });
//!
//! // POST /engine.io/?EIO=4&transport=polling&sid=…   4hello
//! let exchange = ExchangeId(2);
//! session.handle_input(now, Input::PostHead { exchange, octet_stream: false });
//! session.handle_input(now, Input::PostBody { exchange, body: Ok("4hello".into()) });
//! assert_eq!(session.recv(now), Some(Message::from("hello")));
//! session.send(Message::from("world"))?; // The next GET takes it.
//! drop(session);
//!
//! // Nothing arrives for 45 seconds: the session ends.
//! let mut end = None;
//! while let Some(at) = server.next_timeout() {
//!     now = at; // yours: wait until then
//!     server.handle_timeout(now);
//! }
//! while let Some((_, output)) = server.poll_output() {
//!     if let Output::Event(Event::Closed(reason)) = output {
//!         end = Some(reason);
//!     }
//! }
//! assert_eq!(end, Some(CloseReason::PingTimeout));
//! assert_eq!(now, Instant::from_millis(45_000));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # A client's session
//!
//! A [`Client`] is driven in the same way, but it asks for its requests and WebSockets itself. Its page shows a session, and
//! the example [`client`] is a complete one on sockets. What both sides have in common is the trait [`Machine`].
//!
//! # Guarantees
//!
//! * Messages arrive in order, once, and without a gap. A session that cannot keep this ends, and its [`CloseReason`] is the
//!   true one.
//! * Nothing grows with what a peer sends beyond the limits of [`server::Config`] or [`client::Config`].
//! * No input panics.
//! * The same calls give the same results.
//!
//! [`Session::check`], [`Server::check`] and [`Client::check`] test these laws from inside, as far as that is possible. In
//! debug builds, sessions and clients do it after every call while their queues are short.
//!
//! # Features
//!
//! * `std` (default): the standard-library parts of the dependencies. Without it the crate is `no_std` with `alloc`; the
//!   [guide](guide#without-the-standard-library) says what it needs.
//! * `tracing`: emits events for the transitions of sessions and clients.
#![no_std]
#![forbid(unsafe_code)]
#![warn(clippy::alloc_instead_of_core, clippy::std_instead_of_alloc, clippy::std_instead_of_core)]
#![warn(clippy::indexing_slicing, clippy::string_slice)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::string_slice))]

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
// Its code is tested by `tests/embedding`, as one program.
#[cfg(all(doc, not(doctest)))]
pub mod guide;
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
pub use parts::sid::{Sid, SidError};
pub use parts::stats::Stats;
pub use parts::time::Instant;
pub use parts::transport::{TransportKind, Transports};
pub use server::container::Server;
pub use session::Session;
pub use wire::{Message, Text};
