//! The server as an application sees it: sockets, handles, events, handlers, and the server's own life.

mod admission;
mod events;
mod flow;
mod server;
mod socket;
