//! The meaning of packets for the independent decoder.

use engineio_proto::Message;
use engineio_proto::wire::Packet;
use engineio_sim::decoder::Decoded;

pub(crate) fn decoded(packet: &Packet) -> Decoded {
    match packet {
        Packet::Text { kind, data } => Decoded::Text(digit(kind.as_str()), data.as_str().to_owned()),
        Packet::Binary(bytes) => Decoded::Binary(bytes.to_vec()),
    }
}

/// Returns the meaning of a packet with this message.
pub(crate) fn carried(message: &Message) -> Decoded {
    match message {
        Message::Text(text) => Decoded::Text('4', text.as_str().to_owned()),
        Message::Binary(bytes) => Decoded::Binary(bytes.to_vec()),
    }
}

/// Returns whether it is a message of the application.
pub(crate) fn is_message(packet: &Decoded) -> bool {
    matches!(packet, Decoded::Binary(_) | Decoded::Text('4', _))
}

fn digit(kind: &str) -> char {
    kind.chars().next().unwrap_or_default()
}
