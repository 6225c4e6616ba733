//! All packets arrive: in a payload, in frames with and without base64, and as the independent decoder reads them.

use bytes::Bytes;
use engineio_proto::wire::{Codec, Frame, Packet, PacketKind, Payload, SEPARATOR};
use engineio_proto::{Message, Text};
use engineio_sim::decoder::{Decoded, decode_frame, decode_packet, decode_payload};

use crate::reader::Reader;
use crate::wire::{carried, decoded};

/// `data` is a list of packets: a type digit or `b`, a length, and this many bytes.
pub fn packet(data: &[u8]) {
    let mut reader = Reader(data);
    let mut packets = Vec::new();
    while !reader.is_empty() && packets.len() < 64 {
        packets.push(next(&mut reader));
    }
    packets.iter().for_each(round_trip);

    let carried: Vec<_> = packets.into_iter().filter(fits).collect();
    if carried.is_empty() {
        return;
    }
    let payload = Payload::from_packets(Codec::V4, carried.iter().cloned());
    let len = payload.encoded_len();
    let body = payload.into_bytes();
    assert_eq!(body.len(), len);
    assert_eq!(decode_payload(&body), (carried.iter().map(decoded).collect(), true));
    assert_eq!(Codec::V4.decode_payload(body).collect::<Result<Vec<_>, _>>(), Ok(carried));
}

fn next(reader: &mut Reader<'_>) -> Packet {
    let letter = reader.letter(b"b0123456");
    let len = usize::from(reader.below(255));
    let data = Bytes::copy_from_slice(reader.bytes(len));
    match PacketKind::from_byte(letter) {
        Some(kind) => Packet::Text { kind, data: Text::from_utf8_lossy(data) },
        None => Packet::Binary(data),
    }
}

/// Polling cannot carry text with the separator.
fn fits(packet: &Packet) -> bool {
    !matches!(packet, Packet::Text { data, .. } if data.as_bytes().contains(&SEPARATOR))
}

fn round_trip(packet: &Packet) {
    let meant = decoded(packet);
    let mut text = Vec::new();
    Codec::V4.encode_text(packet, &mut text);
    assert_eq!(text.len(), Codec::V4.text_len(packet));
    assert_eq!(decode_packet(&text), Some(meant.clone()));
    let text = Text::try_from(Bytes::from(text)).expect("a packet is written as text");
    assert_eq!(Codec::V4.decode_text(text).as_ref(), Ok(packet));

    for base64 in [false, true] {
        let frame = Codec::V4.with_base64(base64).encode_frame(packet.clone());
        assert!(!(base64 && matches!(frame, Frame::Binary(_))));
        assert_eq!(decode_frame(&frame), Some(meant.clone()));
        // As the peer receives it.
        let received = match &frame {
            Frame::Text { head, data } => Frame::received([head, data.as_str()].concat().as_str().into()),
            Frame::Binary(bytes) => Frame::Binary(bytes.clone()),
        };
        assert_eq!((received.len(), received.is_empty()), (frame.len(), frame.is_empty()));
        assert_eq!(Codec::V4.decode_frame(received).as_ref(), Ok(packet));
        assert_eq!(Codec::V4.decode_frame(frame).as_ref(), Ok(packet));
    }

    if let Decoded::Text('4', _) | Decoded::Binary(_) = meant {
        let message = match packet {
            Packet::Text { data, .. } => Message::from(data.clone()),
            Packet::Binary(bytes) => Message::from(bytes.clone()),
        };
        assert_eq!(carried(&message), meant);
        assert_eq!(message.cost(), message.len() + Message::OVERHEAD);
        assert_eq!(Packet::from(message), *packet);
    }
}
