//! WebSockets of both sides: the opening handshake, the codec, and the task that serves a WebSocket.

pub(crate) mod accept;
pub(crate) mod frames;
mod headers;
pub(crate) mod open;
mod task;

pub(crate) use task::ChannelTask;
