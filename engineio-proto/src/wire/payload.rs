//! Many packets in one HTTP body.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::wire::codec::Codec;
use crate::wire::packet::Packet;

/// Packets that are sent together as one HTTP body, and their wire form.
///
/// [`Payload::into_bytes`] encodes them. A driver calls it after it has released its lock.
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
    /// Creates a payload without packets.
    pub const fn new(codec: Codec) -> Self {
        Self { codec, packets: Vec::new() }
    }

    /// Creates a payload without packets, with capacity for `packets` packets.
    pub fn with_capacity(codec: Codec, packets: usize) -> Self {
        Self { codec, packets: Vec::with_capacity(packets) }
    }

    /// Creates a payload with these packets.
    pub fn from_packets(codec: Codec, packets: impl IntoIterator<Item = Packet>) -> Self {
        Self { codec, packets: packets.into_iter().collect() }
    }

    /// Appends a packet.
    pub fn push(&mut self, packet: Packet) {
        self.packets.push(packet);
    }

    /// Returns the packets, in order.
    pub fn packets(&self) -> &[Packet] {
        &self.packets
    }

    /// Returns the exact length of the body, in bytes, without encoding it.
    pub fn encoded_len(&self) -> usize {
        self.codec.payload_len(&self.packets)
    }

    /// Returns the form in which it is encoded.
    pub(crate) const fn codec(&self) -> Codec {
        self.codec
    }

    /// Returns the body. Makes one allocation, of exactly [`Payload::encoded_len`] bytes.
    pub fn into_bytes(self) -> Bytes {
        self.codec.encode_payload(&self.packets)
    }
}

impl Extend<Packet> for Payload {
    fn extend<T: IntoIterator<Item = Packet>>(&mut self, packets: T) {
        self.packets.extend(packets);
    }
}
