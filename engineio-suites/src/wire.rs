//! The rules of the protocol, one by one, on the wire: a server on one side, and on the other plain sockets with a
//! separate HTTP and WebSocket client (`raw`).

pub mod closing;
pub mod connections;
pub mod handshake;
pub mod heartbeat;
pub mod http;
pub mod limits;
pub mod listen;
pub mod polling;
pub mod upgrade;
pub mod websocket;
