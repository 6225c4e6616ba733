//! The rules of the protocol, one by one, on the wire: a server on one side, and on the other plain sockets with an HTTP
//! and WebSocket client of their own (`raw`).
//!
//! The names of tests begin with the number of the rule in the conformance table.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod closing;
mod handshake;
mod heartbeat;
mod host;
mod http;
mod limits;
mod listen;
mod polling;
mod raw;
mod upgrade;
mod websocket;
