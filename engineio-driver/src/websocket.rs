//! WebSockets of both sides: the opening handshake, the codec, and the task that serves a WebSocket.

pub(crate) mod accept;
#[cfg(any(test, feature = "__fuzz"))]
pub(crate) mod buffered;
mod close;
mod frames;
mod headers;
mod mask;
pub(crate) mod open;
mod output;
mod payload;
mod scratch;
mod task;

pub(crate) use task::ChannelTask;
