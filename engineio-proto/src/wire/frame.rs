//! One message of a message channel.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::wire::base64;
use crate::wire::packet::{Packet, PacketError, PacketKind};
use crate::wire::text::Text;

/// One whole message of a message channel, as a WebSocket carries it.
///
/// The first byte of a text frame that we send, the packet type, is kept apart from the data: an encoder writes
/// header, `head` and `data` straight into its output buffer, and nobody copies the data to put one byte before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Frame {
    /// A text frame: `head` immediately followed by `data`.
    Text {
        /// What stands before the data. A frame that was received has everything in `data` and nothing here.
        head: &'static str,
        /// The text.
        data: Text,
    },
    /// A binary frame.
    Binary(Bytes),
}

impl Frame {
    /// A text frame as it was received.
    pub const fn received(data: Text) -> Self {
        Self::Text { head: "", data }
    }

    /// The frame that carries a packet. With `base64`, bytes travel as text, for a peer that cannot take binary.
    pub fn encode(packet: Packet, base64: bool) -> Self {
        match packet {
            Packet::Text { kind, data } => Self::Text { head: kind.as_str(), data },
            Packet::Binary(bytes) if base64 => {
                let mut out = Vec::with_capacity(base64::encoded_len(bytes.len()));
                base64::encode(&bytes, &mut out);
                Self::Text { head: "b", data: Text::from_utf8_lossy(out.into()) }
            }
            Packet::Binary(bytes) => Self::Binary(bytes),
        }
    }

    /// The packet that the frame carries.
    ///
    /// # Errors
    /// As [`Packet::decode`]; a binary frame is always a message.
    pub fn decode(self) -> Result<Packet, PacketError> {
        match self {
            Self::Binary(bytes) => Ok(Packet::Binary(bytes)),
            Self::Text { head: "", data } => Packet::decode(data),
            Self::Text { head: "b", data } => base64::decode(data.as_bytes()).map(Packet::Binary),
            Self::Text { head, data } => match head.as_bytes() {
                [byte] => {
                    PacketKind::from_byte(*byte).map(|kind| Packet::Text { kind, data }).ok_or(PacketError::UnknownKind)
                }
                _ => Packet::decode(Text::from([head, &data].concat())),
            },
        }
    }

    /// The length of the frame's payload in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Text { head, data } => head.len() + data.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    /// Whether the frame's payload is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
