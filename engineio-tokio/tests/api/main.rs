//! The server as an application sees it: sockets, handles, events, handlers, and the server's own life.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod admission;
mod events;
mod flow;
#[allow(dead_code)] // The tests of the wire need more of it.
#[path = "../wire/host.rs"]
mod host;
#[allow(dead_code)] // As above.
#[path = "../wire/raw.rs"]
mod raw;
mod server;
mod socket;
