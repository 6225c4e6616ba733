//! The rules of the protocol, one by one, on the wire: a server on one side, and on the other plain sockets with an HTTP
//! and WebSocket client of their own (`raw`).

mod closing;
mod handshake;
mod heartbeat;
mod http;
mod limits;
mod listen;
mod polling;
mod upgrade;
mod websocket;
