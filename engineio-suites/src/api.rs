//! The server as applications use it: sockets, handles, events, handlers, and the whole server.

pub mod admission;
pub mod events;
pub mod flow;
pub mod server;
pub mod socket;
