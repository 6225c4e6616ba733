//! A second encoder of the wire.
//!
//! Like the second [`decoder`](crate::decoder), it shares no code with the codec of `engineio-proto`. It writes what
//! the oracle expects, and what clients of other projects send.
//!
//! Source: protocol revision 4, "Packet encoding" and "Payload encoding".

use engineio_proto::Message;
use engineio_proto::wire::Frame;

use crate::decoder::{Decoded, decode_packet};

/// How a client writes base64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Base64 {
    /// As the specification has it.
    #[default]
    Plain,
    /// Lines of 76 characters, each with a line end, as `android.util.Base64` does by default.
    Lines,
    /// The alphabet for URLs.
    Url,
    /// No padding.
    Bare,
}

/// Returns a message as a packet.
pub(crate) fn packet(message: &Message) -> Decoded {
    match message {
        Message::Text(text) => Decoded::Text('4', text.as_str().to_owned()),
        Message::Binary(bytes) => Decoded::Binary(bytes.to_vec()),
    }
}

/// Returns the length of a message as a packet of a body, in bytes.
pub(crate) fn packet_len(message: &Message) -> usize {
    match message {
        Message::Text(text) => 1 + text.len(),
        Message::Binary(bytes) => 1 + bytes.len().div_ceil(3) * 4,
    }
}

/// Returns the length that engine.io-client counts for a message when it groups messages below the server's limit.
pub(crate) fn counted_by_javascript(message: &Message) -> usize {
    match message {
        Message::Text(text) => text.len(),
        Message::Binary(bytes) => (bytes.len() * 133).div_ceil(100),
    }
}

/// Returns the length that engine.io-client counts for a body that it writes.
pub(crate) fn counted_len(body: &[u8]) -> usize {
    let pieces = body.split(|&byte| byte == 0x1e);
    let counted = pieces.map(|piece| match decode_packet(piece) {
        // The official client writes no line ends, and always padding.
        Some(Decoded::Binary(bytes)) if piece.len() == 1 + bytes.len().div_ceil(3) * 4 => {
            2 + (bytes.len() * 133).div_ceil(100)
        }
        _ => 1 + piece.len(),
    });
    counted.sum::<usize>() - 1
}

/// Appends a packet as text.
pub(crate) fn text(packet: &Decoded, form: Base64, out: &mut Vec<u8>) {
    match packet {
        Decoded::Text(kind, data) => {
            out.push(*kind as u8);
            out.extend_from_slice(data.as_bytes());
        }
        Decoded::Binary(bytes) => {
            out.push(b'b');
            base64(bytes, form, out);
        }
    }
}

/// Returns the body that carries packets.
pub(crate) fn body(packets: &[Decoded], form: Base64) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, packet) in packets.iter().enumerate() {
        if index > 0 {
            out.push(0x1e);
        }
        text(packet, form, &mut out);
    }
    out
}

/// Returns the frame that carries a packet. `binary`: the receiver can receive binary frames.
pub(crate) fn frame(packet: &Decoded, binary: bool, form: Base64) -> Frame {
    match packet {
        Decoded::Binary(bytes) if binary => Frame::Binary(bytes.clone().into()),
        packet => {
            let mut out = Vec::new();
            text(packet, form, &mut out);
            Frame::received(String::from_utf8_lossy(&out).into_owned().into())
        }
    }
}

fn base64(bytes: &[u8], form: Base64, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let digit = |value: u32| match (value, form) {
        (62, Base64::Url) => b'-',
        (62, _) => b'+',
        (63, Base64::Url) => b'_',
        (63, _) => b'/',
        (value, _) => DIGITS[value as usize],
    };
    let mut line = 0;
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, &byte| (bits << 8) | u32::from(byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            if place <= group.len() {
                out.push(digit((bits >> (18 - 6 * place)) & 63));
            } else if form != Base64::Bare {
                out.push(b'=');
            }
        }
        line += 4;
        if form == Base64::Lines && line == 76 {
            out.push(b'\n');
            line = 0;
        }
    }
    if form == Base64::Lines && line > 0 {
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decoder::decode_payload;

    #[test]
    fn what_is_encoded_is_decoded() {
        for form in [Base64::Plain, Base64::Lines, Base64::Url, Base64::Bare] {
            for len in [0, 1, 2, 3, 4, 56, 57, 58, 200] {
                let bytes: Vec<u8> = (0..len).map(|index| 255 - index as u8).collect();
                let packets =
                    [Decoded::Text('4', "ä".into()), Decoded::Binary(bytes), Decoded::Text('3', String::new())];
                let written = body(&packets, form);
                assert_eq!(decode_payload(&written), (packets.to_vec(), true), "{form:?}, {len}");
            }
        }
    }

    #[test]
    fn forms_of_base64() {
        let write = |form| {
            let mut out = Vec::new();
            text(&Decoded::Binary(vec![251, 255, 1, 2]), form, &mut out);
            String::from_utf8_lossy(&out).into_owned()
        };
        assert_eq!(write(Base64::Plain), "b+/8BAg==");
        assert_eq!(write(Base64::Url), "b-_8BAg==");
        assert_eq!(write(Base64::Bare), "b+/8BAg");
        assert_eq!(write(Base64::Lines), "b+/8BAg==\n");
    }

    #[test]
    fn lengths() {
        for message in [Message::from("abc"), Message::from(vec![1; 4]), Message::from(Vec::new())] {
            assert_eq!(packet_len(&message), body(&[packet(&message)], Base64::Plain).len());
        }
        assert_eq!(counted_by_javascript(&Message::from(vec![1; 4])), 6);
    }
}
