//! Packets, and how one of them is written as text.
//!
//! Source: protocol revision 4, "Packet encoding". A text packet is its type digit followed by its data. Binary data
//! exists for messages only: as itself where the transport can carry bytes, else as `b` followed by base64.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::wire::base64;
use crate::wire::message::Message;
use crate::wire::text::Text;

/// What a packet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PacketKind {
    /// The handshake, from the server.
    Open,
    /// The end of the session.
    Close,
    /// The server's heartbeat, and with the data `probe` a client's question on a new transport.
    Ping,
    /// The answer to a ping.
    Pong,
    /// Data of the application.
    Message,
    /// The client's word that it now uses the new transport.
    Upgrade,
    /// Nothing; it ends a long poll.
    Noop,
}

impl PacketKind {
    /// The kind as it is written, an ASCII digit.
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

    /// The kind that a byte stands for.
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

/// One packet of protocol revision 4.
///
/// ```
/// use engineio_proto::wire::{Packet, PacketKind};
/// use engineio_proto::Message;
///
/// let packet = Packet::decode("4hello".into())?;
/// assert_eq!(packet, Packet::from(Message::from("hello")));
/// assert_eq!(Packet::decode("2probe".into())?, Packet::text(PacketKind::Ping, "probe"));
/// assert!(Packet::decode("a123".into()).is_err());
/// # Ok::<(), engineio_proto::wire::PacketError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Packet {
    /// A packet with text, or without data.
    Text {
        /// What it is for.
        kind: PacketKind,
        /// Its data, possibly none.
        data: Text,
    },
    /// A message with bytes.
    Binary(Bytes),
}

/// Why something is not a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketError {
    /// There is nothing, not even a type.
    #[error("the packet is empty")]
    Empty,
    /// The first character names no packet type.
    #[error("the packet type is unknown")]
    UnknownKind,
    /// There are far more packets in one payload that are no messages than any honest peer sends.
    #[error("too many packets without a message")]
    TooMany,
    /// The data behind `b` is neither standard nor URL-safe base64.
    #[error("the packet is not valid base64")]
    Base64,
}

impl Packet {
    /// A packet with text that lives in the program itself.
    pub const fn text(kind: PacketKind, data: &'static str) -> Self {
        Self::Text { kind, data: Text::from_static(data) }
    }

    /// What the packet is for.
    pub const fn kind(&self) -> PacketKind {
        match self {
            Self::Text { kind, .. } => *kind,
            Self::Binary(_) => PacketKind::Message,
        }
    }

    /// Reads a text packet.
    ///
    /// # Errors
    /// When the text is empty, starts with no packet type, or carries broken base64.
    pub fn decode(text: Text) -> Result<Self, PacketError> {
        match text.as_bytes().split_first() {
            None => Err(PacketError::Empty),
            Some((b'b', digits)) => base64::decode(digits).map(Self::Binary),
            Some((&byte, _)) => PacketKind::from_byte(byte)
                .map(|kind| Self::Text { kind, data: text.behind_first() })
                .ok_or(PacketError::UnknownKind),
        }
    }

    /// Reads a packet from bytes of an HTTP body; broken UTF-8 is replaced, not refused, as the reference does.
    pub(crate) fn decode_bytes(bytes: Bytes) -> Result<Self, PacketError> {
        match bytes.split_first() {
            Some((b'b', digits)) => base64::decode(digits).map(Self::Binary),
            _ => Self::decode(Text::from_utf8_lossy(bytes)),
        }
    }

    /// The exact length of the packet as text, in bytes.
    pub fn encoded_len(&self) -> usize {
        match self {
            Self::Text { data, .. } => 1 + data.len(),
            Self::Binary(bytes) => 1 + base64::encoded_len(bytes.len()),
        }
    }

    /// Appends the packet as text.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text { kind, data } => {
                out.extend_from_slice(kind.as_str().as_bytes());
                out.extend_from_slice(data.as_bytes());
            }
            Self::Binary(bytes) => {
                out.push(b'b');
                base64::encode(bytes, out);
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::Frame;
    use alloc::string::{String, ToString};
    use alloc::vec;

    fn encoded(packet: &Packet) -> String {
        let mut out = Vec::new();
        packet.encode_into(&mut out);
        assert_eq!(out.len(), packet.encoded_len());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_message_round_trips() {
        let packet = Packet::from(Message::from("test"));
        assert_eq!(encoded(&packet), "4test");
        assert_eq!(Packet::decode("4test".into()), Ok(packet));
    }

    #[test]
    fn empty_and_unknown_packets_are_errors() {
        assert_eq!(Packet::decode(Text::new()), Err(PacketError::Empty));
        for text in ["a123", "7", "{", "{}", "é", "\u{0}"] {
            assert_eq!(Packet::decode(text.into()), Err(PacketError::UnknownKind), "{text}");
        }
    }

    #[test]
    fn no_kind_restricts_its_data() {
        for text in ["0{}", "1x", "2probe", "3probe", "4", "5x", "6x"] {
            let packet = Packet::decode(text.into()).unwrap();
            assert_eq!(encoded(&packet), text);
        }
    }

    #[test]
    fn binary_travels_as_base64() {
        let packet = Packet::Binary(Bytes::from_static(&[1, 2, 3, 4]));
        assert_eq!(encoded(&packet), "bAQIDBA==");
        assert_eq!(Packet::decode("bAQIDBA==".into()), Ok(packet.clone()));
        assert_eq!(Frame::encode(packet.clone(), false), Frame::Binary(Bytes::from_static(&[1, 2, 3, 4])));
        let text = Frame::encode(packet.clone(), true);
        assert_eq!(text, Frame::Text { head: "b", data: "AQIDBA==".into() });
        assert_eq!(text.decode(), Ok(packet));
    }

    #[test]
    fn empty_messages_are_messages() {
        assert_eq!(Packet::decode("4".into()), Ok(Message::from("").into()));
        assert_eq!(Packet::decode("b".into()), Ok(Message::from(Bytes::new()).into()));
        assert_eq!(Frame::Binary(Bytes::new()).decode(), Ok(Packet::Binary(Bytes::new())));
        assert_eq!(encoded(&Packet::Binary(Bytes::new())), "b");
    }

    #[test]
    fn base64_is_lenient_about_padding_and_alphabet_only() {
        let four = Ok(Packet::Binary(Bytes::from_static(&[0xfb, 0xff, 0xfe, 0x04])));
        for text in ["b+//+BA==", "b+//+BA", "b-__-BA==", "b-__-BA", "b+//+BA="] {
            assert_eq!(Packet::decode(text.into()), four, "{text}");
        }
        for text in ["bA", "bAQ!=", "bAQ==AgM=", "b=AQI", "b====", "bAQ I", "b+_==", "bA===", "b\u{e9}"] {
            assert_eq!(Packet::decode(text.into()), Err(PacketError::Base64), "{text}");
        }
        // A digit that looks like a packet type is base64 in revision 4.
        assert_eq!(Packet::decode("b4AAA".into()), Ok(Packet::Binary(Bytes::from_static(&[0xe0, 0, 0]))));
    }

    #[test]
    fn frames_keep_the_type_apart_from_the_data() {
        let data = Text::from("hello");
        let Frame::Text { head, data: sent } = Frame::encode(Message::Text(data.clone()).into(), false) else {
            panic!("a text message is a text frame");
        };
        assert_eq!((head, sent.as_bytes().as_ptr()), ("4", data.as_bytes().as_ptr()));
        assert_eq!(Frame::received("2probe".into()).decode(), Ok(Packet::text(PacketKind::Ping, "probe")));
        assert_eq!(
            Frame::Text { head: "2pro", data: "be".into() }.decode(),
            Ok(Packet::text(PacketKind::Ping, "probe")),
        );
        assert_eq!(Frame::received(Text::new()).decode(), Err(PacketError::Empty));
        assert_eq!(Frame::Text { head: "9", data: Text::new() }.decode(), Err(PacketError::UnknownKind));
    }

    #[test]
    fn errors_speak() {
        assert_eq!(PacketError::Empty.to_string(), "the packet is empty");
    }

    #[test]
    fn what_was_encoded_is_decoded_without_a_copy() {
        let data = Text::from("hello");
        let Ok(Packet::Text { data: back, .. }) = Frame::encode(Message::Text(data.clone()).into(), false).decode()
        else {
            panic!("a text message is a text frame");
        };
        assert_eq!(back.as_bytes().as_ptr(), data.as_bytes().as_ptr());
    }

    #[test]
    fn lengths_are_those_of_the_data() {
        for (message, len) in
            [(Message::from(""), 0), ("a".into(), 1), (Bytes::new().into(), 0), (vec![0; 7].into(), 7)]
        {
            assert_eq!((message.len(), message.is_empty()), (len, len == 0));
            let is_text = matches!(message, Message::Text(_));
            let frame = Frame::encode(message.into(), false);
            // Text has its type before it.
            let len = len + usize::from(is_text);
            assert_eq!((frame.len(), frame.is_empty()), (len, len == 0));
        }
        assert_eq!(Frame::Text { head: "2pro", data: "be".into() }.len(), 6);
    }
}
