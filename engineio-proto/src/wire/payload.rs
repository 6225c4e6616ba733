//! Many packets in one HTTP body.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::wire::codec::Codec;
use crate::wire::packet::Packet;

/// Packets that leave together as one HTTP body, and the wire form in which they do.
///
/// [`Payload::into_bytes`] does the work of encoding. A driver calls it after it has released its lock.
///
/// ```
/// use engineio_proto::Message;
/// use engineio_proto::wire::{Codec, Payload};
///
/// let mut payload = Payload::new(Codec::V4);
/// payload.push(Message::from("hey").into());
/// payload.push(Message::from(vec![1, 2, 3, 4]).into());
/// assert_eq!(payload.encoded_len(), 14);
/// assert_eq!(payload.into_bytes(), "4hey\u{1e}bAQIDBA==");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    codec: Codec,
    packets: Vec<Packet>,
}

impl Payload {
    /// A payload without packets.
    pub const fn new(codec: Codec) -> Self {
        Self { codec, packets: Vec::new() }
    }

    /// A payload without packets, with room for `packets` packets.
    pub fn with_capacity(codec: Codec, packets: usize) -> Self {
        Self { codec, packets: Vec::with_capacity(packets) }
    }

    /// A payload of these packets.
    pub fn from_packets(codec: Codec, packets: impl IntoIterator<Item = Packet>) -> Self {
        Self { codec, packets: packets.into_iter().collect() }
    }

    /// Adds a packet at the end.
    pub fn push(&mut self, packet: Packet) {
        self.packets.push(packet);
    }

    /// The packets, in order.
    pub fn packets(&self) -> &[Packet] {
        &self.packets
    }

    /// The exact length of the body in bytes. Nothing is encoded for it.
    pub fn encoded_len(&self) -> usize {
        self.codec.payload_len(&self.packets)
    }

    /// The body. One allocation of exactly [`Payload::encoded_len`] bytes.
    pub fn into_bytes(self) -> Bytes {
        self.codec.encode_payload(&self.packets)
    }
}

impl Extend<Packet> for Payload {
    fn extend<T: IntoIterator<Item = Packet>>(&mut self, packets: T) {
        self.packets.extend(packets);
    }
}
