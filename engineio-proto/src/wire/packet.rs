//! Packets.

use bytes::Bytes;

use crate::wire::message::Message;
use crate::wire::text::Text;

/// The type of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PacketKind {
    /// The handshake, from the server.
    Open,
    /// The end of the session.
    Close,
    /// A heartbeat from the server; with the data `probe`, a client's probe of a new transport.
    Ping,
    /// The answer to a ping.
    Pong,
    /// Data of the application.
    Message,
    /// The client has changed to the new transport.
    Upgrade,
    /// No data: it ends a held poll.
    Noop,
}

impl PacketKind {
    /// Returns the type as it is written, an ASCII digit.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "0",
            Self::Close => "1",
            Self::Ping => "2",
            Self::Pong => "3",
            Self::Message => "4",
            Self::Upgrade => "5",
            Self::Noop => "6",
        }
    }

    /// Returns the type as it is written, an ASCII digit.
    pub(crate) const fn as_byte(self) -> u8 {
        b'0' + self as u8
    }

    /// Returns the type that a byte stands for.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            b'0' => Self::Open,
            b'1' => Self::Close,
            b'2' => Self::Ping,
            b'3' => Self::Pong,
            b'4' => Self::Message,
            b'5' => Self::Upgrade,
            b'6' => Self::Noop,
            _ => return None,
        })
    }
}

/// One packet, independent of its wire form.
///
/// ```
/// use engineio_proto::Message;
/// use engineio_proto::wire::{Codec, Packet, PacketKind};
///
/// let packet = Codec::V4.decode_text("4hello".into())?;
/// assert_eq!(packet, Packet::from(Message::from("hello")));
/// assert_eq!(Codec::V4.decode_text("2probe".into())?, Packet::text(PacketKind::Ping, "probe"));
/// assert!(Codec::V4.decode_text("a123".into()).is_err());
/// # Ok::<(), engineio_proto::wire::PacketError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Packet {
    /// A packet with text, or without data.
    Text {
        /// The type.
        kind: PacketKind,
        /// The data, which may be empty.
        data: Text,
    },
    /// A message with binary data.
    Binary(Bytes),
}

/// Why data is not a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// The data is empty, without even a type.
    #[error("the packet is empty")]
    Empty,
    /// The first character is not a packet type.
    #[error("the packet type is unknown: expected a digit from 0 to 6, or b")]
    UnknownKind,
    /// A payload has far more packets other than messages than a correct peer sends.
    #[error("too many packets without a message")]
    TooMany,
    /// The data after `b` is neither standard nor URL-safe base64.
    #[error("the packet is not valid base64")]
    Base64,
}

impl Packet {
    /// Creates a packet with static text.
    pub const fn text(kind: PacketKind, data: &'static str) -> Self {
        Self::Text { kind, data: Text::from_static(data) }
    }

    /// Returns the type of the packet.
    pub const fn kind(&self) -> PacketKind {
        match self {
            Self::Text { kind, .. } => *kind,
            Self::Binary(_) => PacketKind::Message,
        }
    }
}

impl From<Message> for Packet {
    fn from(message: Message) -> Self {
        match message {
            Message::Text(data) => Self::Text { kind: PacketKind::Message, data },
            Message::Binary(bytes) => Self::Binary(bytes),
        }
    }
}
