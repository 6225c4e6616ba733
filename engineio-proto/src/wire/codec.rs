//! The wire form of a session's packets, as a value.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::wire::frame::Frame;
use crate::wire::message::Message;
use crate::wire::packet::{Packet, PacketError};
use crate::wire::text::Text;
use crate::wire::v4;

pub(crate) use v4::Excerpt;

/// The wire form of a session's packets: the protocol revision, and whether the peer can receive binary data.
///
/// It is chosen at the handshake. The session has it, and so does each [`Payload`](crate::wire::Payload), because
/// payloads are encoded after they have left the session.
///
/// ```
/// use engineio_proto::Message;
/// use engineio_proto::wire::{Codec, Frame};
///
/// let message = Message::from(vec![1, 2, 3]);
/// let frame = Codec::V4.encode_frame(message.clone().into());
/// assert_eq!(frame, Frame::Binary(vec![1, 2, 3].into()));
/// let frame = Codec::V4.with_base64(true).encode_frame(message.into());
/// assert_eq!(frame, Frame::Text { head: "b", data: "AQID".into() });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Codec {
    revision: Revision,
    base64: bool,
}

/// The protocol revisions, as far as their wire forms differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Revision {
    V4,
}

impl Codec {
    /// Revision 4, for a peer that can receive binary frames.
    pub const V4: Self = Self { revision: Revision::V4, base64: false };

    /// Returns this codec with base64 in frames (`true`) or with binary frames (`false`).
    #[must_use]
    pub const fn with_base64(self, base64: bool) -> Self {
        Self { base64, ..self }
    }

    /// Returns the number of the revision.
    pub const fn revision(self) -> u8 {
        match self.revision {
            Revision::V4 => 4,
        }
    }

    /// Returns whether binary data is sent as base64 in frames too.
    pub const fn is_base64(self) -> bool {
        self.base64
    }

    /// Decodes a text packet.
    ///
    /// # Errors
    /// Returns an error if the text is empty, does not start with a packet type, or has invalid base64.
    pub fn decode_text(self, text: Text) -> Result<Packet, PacketError> {
        match self.revision {
            Revision::V4 => v4::decode_text(text),
        }
    }

    /// Appends a packet as text.
    pub fn encode_text(self, packet: &Packet, out: &mut Vec<u8>) {
        match self.revision {
            Revision::V4 => v4::encode_text(packet, out),
        }
    }

    /// Returns the exact length of a packet as text, in bytes.
    pub fn text_len(self, packet: &Packet) -> usize {
        match self.revision {
            Revision::V4 => v4::text_len(packet),
        }
    }

    /// Returns the frame that carries a packet.
    pub fn encode_frame(self, packet: Packet) -> Frame {
        match self.revision {
            Revision::V4 => v4::encode_frame(packet, self.base64),
        }
    }

    /// Returns the packet that a frame carries.
    ///
    /// # Errors
    /// The same as [`Codec::decode_text`]. A binary frame is always a message.
    pub fn decode_frame(self, frame: Frame) -> Result<Packet, PacketError> {
        match self.revision {
            Revision::V4 => v4::decode_frame(frame),
        }
    }

    /// Decodes the packets of an HTTP body.
    pub fn decode_payload(self, body: Bytes) -> PayloadDecoder {
        match self.revision {
            Revision::V4 => PayloadDecoder { form: v4::Decoder::new(body) },
        }
    }

    /// Returns whether a request body is within the limit, or was when its sender counted it.
    pub(crate) fn is_body_within(self, body: &[u8], limit: usize) -> bool {
        let counted_len = match self.revision {
            Revision::V4 => v4::counted_len,
        };
        body.len() <= limit || counted_len(body) <= limit
    }

    /// Returns the HTTP body that carries packets. Makes one allocation, of exactly [`Codec::payload_len`] bytes.
    pub fn encode_payload(self, packets: &[Packet]) -> Bytes {
        let mut out = Vec::with_capacity(self.payload_len(packets));
        match self.revision {
            Revision::V4 => v4::encode_payload(packets, &mut out),
        }
        out.into()
    }

    /// Returns the exact length of the HTTP body that carries packets, in bytes.
    pub fn payload_len(self, packets: &[Packet]) -> usize {
        match self.revision {
            Revision::V4 => v4::payload_len(packets),
        }
    }

    /// Returns the exact length of a message as one packet of an HTTP body, in bytes.
    pub(crate) fn message_len(self, message: &Message) -> usize {
        match self.revision {
            Revision::V4 => v4::message_len(message),
        }
    }

    /// Returns the length of a message as one frame, in bytes.
    pub(crate) fn frame_len(self, message: &Message) -> usize {
        match message {
            Message::Binary(bytes) if !self.base64 => bytes.len(),
            message => self.message_len(message),
        }
    }

    /// Returns whether an HTTP body can carry this message.
    pub(crate) fn fits_payload(self, message: &Message) -> bool {
        match (self.revision, message) {
            (Revision::V4, Message::Text(text)) => memchr::memchr(v4::SEPARATOR, text.as_bytes()).is_none(),
            (Revision::V4, Message::Binary(_)) => true,
        }
    }
}

/// Decodes the packets of an HTTP body one by one, without looking ahead. Text is not copied, unless it is a small part
/// of the body.
///
/// It stops at the first piece that is not a packet: earlier packets count, later ones do not. An empty body and a
/// superfluous separator contain an empty piece, which is not a packet.
///
/// ```
/// use engineio_proto::Message;
/// use engineio_proto::wire::{Codec, PacketError};
///
/// let mut packets = Codec::V4.decode_payload("4a\u{1e}".into());
/// assert_eq!(packets.next(), Some(Ok(Message::from("a").into())));
/// assert_eq!(packets.next(), Some(Err(PacketError::Empty)));
/// assert_eq!(packets.next(), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadDecoder {
    form: v4::Decoder,
}

impl PayloadDecoder {
    /// As [`Iterator::next`], but small packets are copied out of the body together.
    #[inline]
    pub(crate) fn next_with(&mut self, excerpt: &mut Excerpt) -> Option<Result<Packet, PacketError>> {
        self.form.decode(Some(excerpt))
    }

    /// Skips the messages that come next, without decoding them.
    pub(crate) fn skip_messages(&mut self) {
        self.form.skip_messages();
    }
}

impl Iterator for PayloadDecoder {
    type Item = Result<Packet, PacketError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.form.next()
    }
}

impl core::iter::FusedIterator for PayloadDecoder {}
