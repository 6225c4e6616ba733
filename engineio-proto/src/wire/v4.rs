//! The wire form of protocol revision 4.
//!
//! Source: protocol revision 4, "Packet encoding" and "Payload encoding". A text packet is its type digit followed by
//! its data. Only messages can have binary data: as such where the transport carries bytes, else as `b` followed by
//! base64. An HTTP body consists of text packets, separated by the record separator 0x1E.

use alloc::vec::Vec;

use bytes::{Buf, Bytes};

use crate::wire::base64;
use crate::wire::frame::Frame;
use crate::wire::message::Message;
use crate::wire::packet::{Packet, PacketError, PacketKind};
use crate::wire::text::Text;

/// The byte between two packets of a body. Text that contains it cannot be sent by polling.
pub const SEPARATOR: u8 = 0x1e;

/// Decodes a text packet.
pub(crate) fn decode_text(text: Text) -> Result<Packet, PacketError> {
    match text.as_bytes().split_first() {
        None => Err(PacketError::Empty),
        Some((b'b', digits)) => base64::decode(digits).map(Packet::Binary),
        Some((&byte, _)) => decode_kind(byte, || text.into_tail()),
    }
}

fn decode_kind(byte: u8, data: impl FnOnce() -> Text) -> Result<Packet, PacketError> {
    PacketKind::from_byte(byte).map(|kind| Packet::Text { kind, data: data() }).ok_or(PacketError::UnknownKind)
}

/// Returns the exact length of a packet as text, in bytes.
#[inline]
pub(crate) fn text_len(packet: &Packet) -> usize {
    match packet {
        Packet::Text { data, .. } => 1 + data.len(),
        Packet::Binary(bytes) => 1 + base64::encoded_len(bytes.len()),
    }
}

/// Returns the exact length of a message as a packet of a body, in bytes.
pub(crate) fn message_len(message: &Message) -> usize {
    match message {
        Message::Text(text) => text.len().saturating_add(1),
        Message::Binary(bytes) => base64::encoded_len(bytes.len()).saturating_add(1),
    }
}

/// Appends a packet as text.
#[inline]
pub(crate) fn encode_text(packet: &Packet, out: &mut Vec<u8>) {
    match packet {
        Packet::Text { kind, data } => {
            out.push(kind.as_byte());
            out.extend_from_slice(data.as_bytes());
        }
        Packet::Binary(bytes) => {
            out.push(b'b');
            base64::encode(bytes, out);
        }
    }
}

/// Returns the frame that carries a packet. With `base64`, binary data is sent as text.
pub(crate) fn encode_frame(packet: Packet, base64: bool) -> Frame {
    match packet {
        Packet::Text { kind, data } => Frame::Text { head: kind.as_str(), data },
        Packet::Binary(bytes) if base64 => Frame::Text { head: "b", data: base64::encode_string(&bytes).into() },
        Packet::Binary(bytes) => Frame::Binary(bytes),
    }
}

/// Returns the packet that a frame carries. A binary frame is always a message.
pub(crate) fn decode_frame(frame: Frame) -> Result<Packet, PacketError> {
    match frame {
        Frame::Binary(bytes) => Ok(Packet::Binary(bytes)),
        Frame::Text { head: "", data } => decode_text(data),
        Frame::Text { head: "b", data } => base64::decode(data.as_bytes()).map(Packet::Binary),
        Frame::Text { head, data } => match head.as_bytes() {
            &[byte] => decode_kind(byte, || data),
            _ => decode_text(Text::from([head, &data].concat())),
        },
    }
}

/// Returns the exact length of a body, in bytes.
pub(crate) fn payload_len(packets: &[Packet]) -> usize {
    let data: usize = packets.iter().map(text_len).sum();
    data + packets.len().saturating_sub(1)
}

/// Returns the length that the official client counts for a body of these bytes, when it groups messages below the limit
/// of the server. It counts 1.33 bytes, rounded up for each message, for a byte of binary data. In base64 it is 4/3, and
/// there is padding.
///
/// Source: engine.io-client 6.6, `_getWritablePackets` and `byteLength`.
pub(crate) fn counted_len(body: &[u8]) -> usize {
    let excess = |piece: &[u8]| match piece {
        [b'b', digits @ ..] => {
            let padding = digits.iter().rev().take(2).take_while(|&&byte| byte == b'=').count();
            let bytes = (digits.len() - padding).saturating_mul(3) / 4;
            digits.len().saturating_sub(bytes.saturating_mul(133).div_ceil(100))
        }
        _ => 0,
    };
    let mut start = 0;
    let ends = memchr::memchr_iter(SEPARATOR, body).chain([body.len()]);
    let excess = ends.map(|end| excess(body.get(core::mem::replace(&mut start, end + 1)..end).unwrap_or_default()));
    body.len() - excess.sum::<usize>()
}

/// Appends a body.
pub(crate) fn encode_payload(packets: &[Packet], out: &mut Vec<u8>) {
    for (index, packet) in packets.iter().enumerate() {
        if index > 0 {
            out.push(SEPARATOR);
        }
        encode_text(packet, out);
    }
}

/// Decodes the packets of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decoder {
    rest: Option<Bytes>,
    /// Text packets of fewer bytes are copied out of the body; others are slices of it.
    copied_below: u32,
}

/// A packet that is smaller than this part of its body is copied out of it. Otherwise a message of a few bytes, which
/// counts for little in a queue, could keep a body of many megabytes alive.
const SHARE: usize = 8;
/// Any packet may keep a body of at most this size alive.
const SMALL_BODY: usize = 512;

impl Decoder {
    pub(crate) const fn new(body: Bytes) -> Self {
        let least = if body.len() > SMALL_BODY { body.len().div_ceil(SHARE) } else { 0 };
        let copied_below = if least > u32::MAX as usize { u32::MAX } else { least as u32 };
        Self { rest: Some(body), copied_below }
    }

    /// Skips the messages that come next, without decoding them.
    pub(crate) fn skip_messages(&mut self) {
        let is_message = |byte: &u8| matches!(byte, b'4' | b'b');
        let Some(rest) = self.rest.as_mut().filter(|rest| rest.first().is_some_and(is_message)) else { return };
        let is_end = |pair: &[u8]| matches!(pair, [SEPARATOR, next] if !is_message(next));
        match rest.windows(2).position(is_end) {
            Some(end) => rest.advance(end + 1),
            // An empty piece, which is not a message.
            None if rest.last() == Some(&SEPARATOR) => rest.clear(),
            None => self.rest = None,
        }
    }
}

/// The next bytes of a body, copied out of it together, so that several small packets need one allocation and one check of
/// their encoding. It is used for one body, and only while its decoder is not used without it.
#[derive(Debug, Default)]
pub(crate) struct Excerpt {
    /// `None` if its packets are copied one by one: there is only one, or it is not UTF-8.
    text: Option<Text>,
    /// Where the next packet begins.
    at: usize,
    len: usize,
}

impl Excerpt {
    /// Returns the data of the next packet, which ends at `end`. `rest` is what is left of the body.
    fn data(&mut self, rest: &[u8], end: usize) -> Option<Text> {
        if self.len.saturating_sub(self.at) < end {
            let len = match rest.get(..=SMALL_BODY) {
                None => rest.len(),
                Some(start) => memchr::memrchr(SEPARATOR, start).unwrap_or(end),
            };
            let text = if len > end { rest.get(..len).and_then(Text::copy) } else { None };
            *self = Self { text, at: 0, len };
        }
        // An empty part must not keep the others alive.
        if end == 1 { Some(Text::new()) } else { self.text.as_ref()?.part(self.at + 1..self.at + end) }
    }
}

impl Iterator for Decoder {
    type Item = Result<Packet, PacketError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.decode(None)
    }
}

impl Decoder {
    /// Decodes the next packet. With an excerpt, small packets are copied out of the body together.
    #[inline(always)]
    pub(crate) fn decode(&mut self, mut excerpt: Option<&mut Excerpt>) -> Option<Result<Packet, PacketError>> {
        let rest = self.rest.as_mut()?;
        let end = memchr::memchr(SEPARATOR, rest).unwrap_or(rest.len());
        let is_last = end == rest.len();
        let packet = match rest.get(..end).unwrap_or_default().split_first() {
            None => Err(PacketError::Empty),
            Some((b'b', digits)) => base64::decode(digits).map(Packet::Binary),
            Some((&byte, data)) => match PacketKind::from_byte(byte) {
                None => Err(PacketError::UnknownKind),
                Some(kind) if end < self.copied_below as usize => {
                    let part = excerpt.as_mut().and_then(|excerpt| excerpt.data(rest, end));
                    Ok(Packet::Text { kind, data: part.unwrap_or_else(|| Text::copy_lossy(data)) })
                }
                Some(kind) => Ok(Packet::Text { kind, data: slice(rest, end) }),
            },
        };
        if is_last || packet.is_err() {
            self.rest = None;
        } else {
            rest.advance(end + 1);
            if let Some(excerpt) = excerpt {
                excerpt.at += end + 1;
            }
        }
        Some(packet)
    }
}

/// Returns the data of the next packet, which ends there, as a slice of the body.
#[inline(never)] // It is for long packets, and what is for short ones is faster without it.
fn slice(rest: &mut Bytes, end: usize) -> Text {
    let data = if end == 1 {
        // An empty slice must not keep the body alive.
        Bytes::new()
    } else if end == rest.len() {
        // The last packet needs no reference to the body beside the one that was for the rest.
        rest.advance(1);
        core::mem::take(rest)
    } else {
        rest.slice(1..end)
    };
    Text::from_utf8_lossy(data)
}

#[cfg(test)]
mod tests;
