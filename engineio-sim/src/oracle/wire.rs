//! Law 11: everything that is sent can be decoded independently, and keeps the limit.

use engineio_proto::http::Reply;
use engineio_proto::wire::{Frame, Packet, Payload};

use super::{Law, Violation, broken};
use crate::decoder::{Decoded, decode_frame, decode_payload};

/// Returns the meaning that a packet should have for a decoder.
fn meaning(packet: &Packet) -> Decoded {
    match packet {
        Packet::Text { kind, data } => {
            Decoded::Text(kind.as_str().chars().next().unwrap_or_default(), data.as_str().into())
        }
        Packet::Binary(bytes) => Decoded::Binary(bytes.to_vec()),
    }
}

/// Checks a payload and its encoded body. `limit`: the maximum size, unless it is a single packet.
pub(crate) fn check_body(payload: &Payload, body: &[u8], limit: usize, by_server: bool) -> Result<(), Violation> {
    let (decoded, complete) = decode_payload(body);
    let meant: Vec<_> = payload.packets().iter().map(meaning).collect();
    if !complete || decoded != meant {
        return broken(Law::Wire, format!("{payload:?} was written as {:?}", String::from_utf8_lossy(body)));
    }
    if payload.encoded_len() != body.len() {
        return broken(Law::Wire, format!("{payload:?} has {} bytes, not {}", body.len(), payload.encoded_len()));
    }
    // The open packet has no limit, nor do the packets with it.
    let opens = decoded.first().is_some_and(|first| matches!(first, Decoded::Text('0', _)));
    if body.len() > limit && decoded.len() > 1 && !opens {
        return broken(
            Law::Wire,
            format!("{} packets of {} bytes in one body, above {limit}", decoded.len(), body.len()),
        );
    }
    // Strict peers fail on a packet that is not allowed for them.
    for (index, packet) in decoded.iter().enumerate() {
        let legal = match packet {
            Decoded::Binary(_) | Decoded::Text('4', _) => true,
            Decoded::Text('0', _) => by_server && index == 0,
            Decoded::Text('1', data) => data.is_empty() && index + 1 == decoded.len(),
            Decoded::Text('2' | '6', data) => by_server && data.is_empty(),
            Decoded::Text('3', data) => !by_server && data.is_empty(),
            Decoded::Text(..) => false,
        };
        if !legal {
            return broken(Law::Wire, format!("{packet:?} was written to a body"));
        }
    }
    Ok(())
}

/// Checks the headers of an answer: what it is, and that nobody keeps it.
pub(crate) fn check_headers(reply: &Reply) -> Result<(), Violation> {
    let (kind, kept) = match (reply.status, &*reply.body) {
        (200, b"ok") => (Some("text/html"), Some("no-store")),
        (200, _) => (Some("text/plain; charset=UTF-8"), Some("no-store")),
        (_, b"") => (None, None),
        _ => (Some("application/json"), None),
    };
    if (reply.headers.get("content-type"), reply.headers.get("cache-control")) == (kind, kept) {
        return Ok(());
    }
    broken(Law::Wire, format!("an answer with the status {} has the headers {:?}", reply.status, reply.headers))
}

/// Checks a frame that was written to a channel by a server, or by a client. Noops, and packets of the handshake after
/// the first one, are not allowed there.
pub(crate) fn check_frame(frame: &Frame, by_server: bool, first: bool) -> Result<(), Violation> {
    let legal = match decode_frame(frame) {
        Some(Decoded::Binary(_) | Decoded::Text('4', _)) => true,
        Some(Decoded::Text('0', _)) => by_server && first,
        Some(Decoded::Text('2', data)) => {
            if by_server {
                data.is_empty()
            } else {
                data == "probe" && first
            }
        }
        Some(Decoded::Text('3', data)) => {
            if by_server {
                data == "probe"
            } else {
                data.is_empty()
            }
        }
        Some(Decoded::Text('5', data)) => !by_server && data.is_empty(),
        _ => false,
    };
    if legal { Ok(()) } else { broken(Law::Wire, format!("{frame:?} was written to a channel")) }
}
