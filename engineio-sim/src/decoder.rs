//! A second decoder of the wire.
//!
//! It shares no code with the codec of `engineio-proto`, has no state and copies everything: it is slow, short, and
//! easy to compare with the text of the specification. Everything that the machines emit must have the same meaning for
//! both.
//!
//! Source: protocol revision 4, "Packet encoding" and "Payload encoding".

use engineio_proto::wire::Frame;

/// The meaning of one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// A type digit and text.
    Text(char, String),
    /// A message with binary data.
    Binary(Vec<u8>),
}

/// Decodes a body: returns the packets up to the first invalid piece, and whether there was no such piece.
///
/// ```
/// use engineio_sim::decoder::{Decoded, decode_payload};
///
/// let (packets, complete) = decode_payload(b"4hey\x1ebAQIDBA==");
/// assert!(complete);
/// assert_eq!(packets, [Decoded::Text('4', "hey".into()), Decoded::Binary(vec![1, 2, 3, 4])]);
/// ```
pub fn decode_payload(body: &[u8]) -> (Vec<Decoded>, bool) {
    let mut packets = Vec::new();
    for piece in body.split(|&byte| byte == 0x1e) {
        let Some(packet) = decode_packet(piece) else { return (packets, false) };
        packets.push(packet);
    }
    (packets, true)
}

/// Decodes a packet that is sent as text; returns `None` if it is not valid. Invalid UTF-8 is replaced.
pub fn decode_packet(piece: &[u8]) -> Option<Decoded> {
    match piece {
        [b'b', digits @ ..] => decode_base64(digits).map(Decoded::Binary),
        [kind @ b'0'..=b'6', data @ ..] => {
            Some(Decoded::Text(char::from(*kind), String::from_utf8_lossy(data).into_owned()))
        }
        _ => None,
    }
}

/// Decodes one message of a WebSocket; returns `None` if it is not a packet.
pub fn decode_frame(frame: &Frame) -> Option<Decoded> {
    match frame {
        Frame::Binary(bytes) => Some(Decoded::Binary(bytes.to_vec())),
        Frame::Text { head, data } => decode_packet(format!("{head}{}", data.as_str()).as_bytes()),
    }
}

/// Decodes base64 of one of the two alphabets, with complete, partial or no padding. White space and trailing bits after
/// the last byte are ignored.
fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    let text: Vec<u8> = text.iter().copied().filter(|byte| !b"\r\n \t".contains(byte)).collect();
    let padding = text.iter().rev().take_while(|&&byte| byte == b'=').count();
    let digits = &text[..text.len() - padding];
    // Digits come in groups of four; a group of two lacks two, a group of three lacks one, a single one says nothing.
    let missing = match digits.len() % 4 {
        0 => 0,
        1 => return None,
        lone => 4 - lone,
    };
    let mixed = digits.iter().any(|byte| b"+/".contains(byte)) && digits.iter().any(|byte| b"-_".contains(byte));
    if padding > missing || mixed {
        return None;
    }
    let (mut bits, mut count, mut out) = (0_u32, 0, Vec::new());
    for &digit in digits {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Some(out)
}
