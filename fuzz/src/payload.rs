//! Any body has the same meaning for the core's decoder and the independent one, and what was decoded can be encoded.

use bytes::Bytes;
use engineio_proto::Text;
use engineio_proto::wire::{Codec, Frame, Payload, SEPARATOR};
use engineio_sim::decoder::{decode_frame, decode_payload};

use crate::wire::decoded;

/// `data` is the body of a request or an answer.
pub fn payload(data: &[u8]) {
    let body = Bytes::copy_from_slice(data);
    let mut decoder = Codec::V4.decode_payload(body.clone());
    let mut packets = Vec::new();
    let complete = loop {
        match decoder.next() {
            Some(Ok(packet)) => packets.push(packet),
            Some(Err(_)) => break false,
            None => break true,
        }
    };
    assert_eq!(decoder.next(), None, "nothing follows the end");
    let meant: Vec<_> = packets.iter().map(decoded).collect();
    assert_eq!((meant.clone(), complete), decode_payload(data));

    // After invalid parts are replaced, encoding and decoding are inverse.
    if !packets.is_empty() {
        let payload = Payload::from_packets(Codec::V4, packets.iter().cloned());
        let len = payload.encoded_len();
        let written = payload.into_bytes();
        assert_eq!(written.len(), len);
        assert_eq!(decode_payload(&written), (meant, true));
        assert_eq!(Codec::V4.decode_payload(written).collect::<Result<Vec<_>, _>>(), Ok(packets));
    }

    // A piece of a body has the same meaning as a message of a WebSocket.
    for piece in body.split(|&byte| byte == SEPARATOR) {
        let Ok(text) = Text::try_from(Bytes::copy_from_slice(piece)) else { continue };
        let frame = Frame::received(text.clone());
        let meant = decode_frame(&frame);
        assert_eq!(Codec::V4.decode_text(text).ok().as_ref().map(decoded), meant);
        assert_eq!(Codec::V4.decode_frame(frame).ok().as_ref().map(decoded), meant);
    }
}
