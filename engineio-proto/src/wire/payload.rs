//! Many packets in one HTTP body.
//!
//! Source: protocol revision 4, "Payload encoding": packets joined by the record separator 0x1E, always text.

use alloc::vec::Vec;

use bytes::{Buf, Bytes};

use crate::wire::packet::{Packet, PacketError};

/// What stands between two packets of a body. Text that contains it cannot travel by polling.
pub const SEPARATOR: u8 = 0x1e;

/// Packets that leave together as one HTTP body.
///
/// Joining and base64 happen in [`Payload::into_bytes`], so that a driver can do this work outside of its lock.
///
/// ```
/// use engineio_proto::wire::Payload;
/// use engineio_proto::Message;
///
/// let mut payload = Payload::default();
/// payload.push(Message::from("hey").into());
/// payload.push(Message::from(vec![1, 2, 3, 4]).into());
/// assert_eq!(payload.encoded_len(), 14);
/// assert_eq!(payload.into_bytes(), "4hey\u{1e}bAQIDBA==");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    packets: Vec<Packet>,
}

impl Payload {
    /// A payload with room for `packets` packets.
    pub fn with_capacity(packets: usize) -> Self {
        Self { packets: Vec::with_capacity(packets) }
    }

    /// Adds a packet at the end.
    pub fn push(&mut self, packet: Packet) {
        self.packets.push(packet);
    }

    /// The packets, in order.
    pub fn packets(&self) -> &[Packet] {
        &self.packets
    }

    /// The exact length of the body, in bytes, known without encoding it.
    pub fn encoded_len(&self) -> usize {
        let data: usize = self.packets.iter().map(Packet::encoded_len).sum();
        data + self.packets.len().saturating_sub(1)
    }

    /// The body. One allocation of exactly [`Payload::encoded_len`] bytes.
    pub fn into_bytes(self) -> Bytes {
        let mut out = Vec::with_capacity(self.encoded_len());
        for (index, packet) in self.packets.iter().enumerate() {
            if index > 0 {
                out.push(SEPARATOR);
            }
            packet.encode_into(&mut out);
        }
        out.into()
    }
}

impl FromIterator<Packet> for Payload {
    fn from_iter<T: IntoIterator<Item = Packet>>(packets: T) -> Self {
        Self { packets: packets.into_iter().collect() }
    }
}

impl Extend<Packet> for Payload {
    fn extend<T: IntoIterator<Item = Packet>>(&mut self, packets: T) {
        self.packets.extend(packets);
    }
}

/// Reads the packets of a body one by one, without looking ahead. Text is not copied, unless it is a small part of the body.
///
/// It stops at the first piece that is not a packet: whatever came before counts, nothing behind it does. A body
/// without bytes, and a separator too many, contain an empty piece, which is not a packet.
///
/// ```
/// use engineio_proto::wire::{PacketError, PayloadDecoder};
/// use engineio_proto::Message;
///
/// let mut packets = PayloadDecoder::new("4a\u{1e}".into());
/// assert_eq!(packets.next(), Some(Ok(Message::from("a").into())));
/// assert_eq!(packets.next(), Some(Err(PacketError::Empty)));
/// assert_eq!(packets.next(), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadDecoder {
    rest: Option<Bytes>,
    /// The length of the whole body.
    total: u32,
}

/// A packet that is smaller than this part of its body is copied out of it. Otherwise a message of a few bytes, which
/// counts for little in a queue, could hold on to a body of many millions.
const SHARE: usize = 8;
/// A body as small as this may be held by any of its packets.
const SMALL_BODY: u32 = 512;

impl PayloadDecoder {
    /// Starts to read a body.
    pub const fn new(body: Bytes) -> Self {
        let total = if body.len() > u32::MAX as usize { u32::MAX } else { body.len() as u32 };
        Self { rest: Some(body), total }
    }
}

impl Iterator for PayloadDecoder {
    type Item = Result<Packet, PacketError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut rest = self.rest.take()?;
        let piece = match memchr::memchr(SEPARATOR, &rest) {
            Some(end) => {
                let piece = rest.split_to(end);
                rest.advance(1);
                self.rest = Some(rest);
                piece
            }
            None => rest,
        };
        let is_small = self.total > SMALL_BODY && piece.len().saturating_mul(SHARE) < self.total as usize;
        let packet = Packet::decode_bytes(if is_small { Bytes::copy_from_slice(&piece) } else { piece });
        if packet.is_err() {
            self.rest = None;
        }
        Some(packet)
    }
}

impl core::iter::FusedIterator for PayloadDecoder {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message::Message;
    use crate::wire::packet::PacketKind;
    use crate::wire::text::Text;

    fn decode(body: &'static str) -> Result<Vec<Packet>, PacketError> {
        PayloadDecoder::new(Bytes::from_static(body.as_bytes())).collect()
    }

    #[test]
    fn all_kinds_in_one_payload() {
        let body = "0\x1e1\x1e2probe\x1e3probe\x1e4test";
        let packets = decode(body).unwrap();
        let kinds: Vec<_> = packets.iter().map(Packet::kind).collect();
        use PacketKind::{Close, Message, Open, Ping, Pong};
        assert_eq!(kinds, [Open, Close, Ping, Pong, Message]);
        assert_eq!(packets.into_iter().collect::<Payload>().into_bytes(), body);
    }

    #[test]
    fn text_and_binary_mix() {
        for (bytes, body) in [(&[1u8, 2, 3, 4][..], "4test\x1ebAQIDBA=="), (&[], "4test\x1eb")] {
            let packets = [Message::from("test").into(), Packet::Binary(Bytes::from_static(bytes))];
            assert_eq!(decode(body).unwrap(), packets);
            let payload: Payload = packets.into_iter().collect();
            assert_eq!(payload.encoded_len(), body.len());
            assert_eq!(payload.into_bytes(), body);
        }
    }

    #[test]
    fn an_empty_piece_anywhere_is_an_error() {
        for body in ["", "\x1e", "4a\x1e", "\x1e4a", "4a\x1e\x1e4b"] {
            assert_eq!(decode(body), Err(PacketError::Empty), "{body:?}");
        }
    }

    #[test]
    fn junk_is_one_error() {
        for body in ["{", "{}", r#"["a123", "a456"]"#] {
            let all: Vec<_> = PayloadDecoder::new(body.into()).collect();
            assert_eq!(all, [Err(PacketError::UnknownKind)], "{body}");
        }
    }

    #[test]
    fn broken_utf8_is_replaced() {
        let mut packets = PayloadDecoder::new(Bytes::from_static(b"4\xe2\x82\x1e4b"));
        let first = Packet::Text { kind: PacketKind::Message, data: Text::from("\u{fffd}") };
        assert_eq!(packets.next(), Some(Ok(first)));
        assert_eq!(packets.next(), Some(Ok(Message::from("b").into())));
    }

    #[test]
    fn text_is_sliced_not_copied() {
        let body = Bytes::from_static(b"4first\x1e4second");
        let packets: Vec<_> = PayloadDecoder::new(body.clone()).map(Result::unwrap).collect();
        let Packet::Text { data, .. } = &packets[1] else { panic!("text") };
        assert_eq!(data.as_bytes().as_ptr(), body[8..].as_ptr());
    }

    #[test]
    fn a_small_message_does_not_hold_on_to_a_large_body() {
        let noops = [&b"6\x1e"[..]; 1000].concat();
        for body in [[&b"4small\x1e"[..], &noops, b"6"].concat(), [&noops[..], b"4small"].concat()] {
            let body = Bytes::from(body);
            let mut packets = PayloadDecoder::new(body.clone()).map(Result::unwrap);
            let small = packets.find(|packet| packet.kind() == PacketKind::Message);
            drop(packets);
            assert_eq!(small, Some(Message::from("small").into()));
            assert!(body.is_unique(), "nobody else holds it");
        }
    }

    #[test]
    fn what_is_a_large_part_of_its_body_is_not_copied() {
        // Whether the first packet of a body shares its bytes.
        let shares = |packet: usize, body: usize| {
            let bytes: Bytes =
                [&alloc::vec![b'4'; packet][..], b"\x1e", &alloc::vec![b'4'; body - packet - 1]].concat().into();
            let Some(Ok(Packet::Text { data, .. })) = PayloadDecoder::new(bytes.clone()).next() else { panic!("text") };
            data.as_bytes().as_ptr() == bytes[1..].as_ptr()
        };
        assert!(shares(2, 512), "of a small body anything is");
        assert!(!shares(2, 513));
        assert!(shares(128, 1024));
        assert!(!shares(127, 1024));
    }
}
