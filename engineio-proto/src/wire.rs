//! The wire form of messages: packets, payloads, frames.

pub(crate) mod base64;
pub(crate) mod codec;
pub(crate) mod frame;
pub(crate) mod handshake;
pub(crate) mod message;
pub(crate) mod packet;
pub(crate) mod payload;
pub(crate) mod text;
pub(crate) mod v4;

pub use codec::{Codec, PayloadDecoder};
pub use frame::Frame;
pub use message::Message;
pub use packet::{Packet, PacketError, PacketKind};
pub use payload::Payload;
pub use text::Text;
pub use v4::SEPARATOR;
