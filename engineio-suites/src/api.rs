//! The server as an application sees it: sockets, handles, events, handlers, and the server's own life.

pub mod admission;
pub mod events;
pub mod flow;
pub mod server;
pub mod socket;
