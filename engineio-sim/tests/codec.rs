//! The codec of the core against the independent decoder: what is encoded is decoded with the same meaning, and any
//! bytes have the same meaning for both.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use engineio_proto::wire::{Codec, Frame, Packet, PacketKind, Payload, SEPARATOR};
use engineio_sim::decoder::{Decoded, decode_frame, decode_packet, decode_payload};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, RngSeed};

/// The same cases in every run, unless `PROPTEST_CASES` and `PROPTEST_RNG_SEED` set others. Failures are stored beside
/// this file.
fn config() -> ProptestConfig {
    let persistence = FileFailurePersistence::WithSource("proptest-regressions");
    let mut config = ProptestConfig { failure_persistence: Some(Box::new(persistence)), ..ProptestConfig::default() };
    if config.rng_seed == RngSeed::Random {
        config.rng_seed = RngSeed::Fixed(4);
    }
    config
}

fn meaning(packet: &Packet) -> Decoded {
    match packet {
        Packet::Text { kind, data } => Decoded::Text(kind.as_str().parse().unwrap(), data.as_str().to_owned()),
        Packet::Binary(bytes) => Decoded::Binary(bytes.to_vec()),
    }
}

fn packet(text: &'static str) -> impl Strategy<Value = Packet> {
    let kind = (b'0'..=b'6').prop_map(|digit| PacketKind::from_byte(digit).unwrap());
    prop_oneof![
        (kind, text).prop_map(|(kind, data)| Packet::Text { kind, data: data.into() }),
        vec(any::<u8>(), 0..100).prop_map(|bytes| Packet::Binary(bytes.into())),
    ]
}

/// Bytes that resemble packets.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => "[0-6][a-zé€]{0,3}".prop_map(String::into_bytes),
        4 => "b[A-Za-z0-9]{0,9}[+/_-]{0,2}[A-Z]{0,2}={0,3}".prop_map(String::into_bytes),
        2 => "b([A-Za-z0-9]{0,3}[ \\t\\r\\n\u{b}\u{c}]?){0,4}={0,2}\\r?\\n?".prop_map(String::into_bytes),
        1 => "b[A-Za-z0-9+/= \\t\\r\\n]{0,9}".prop_map(String::into_bytes),
        1 => (b'0'..=b'6', vec(any::<u8>(), 0..6)).prop_map(|(kind, data)| [vec![kind], data].concat()),
        1 => vec(any::<u8>(), 0..9),
    ];
    vec(piece, 0..8).prop_map(|pieces| pieces.join(&SEPARATOR))
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_packet_arrives_as_it_was_meant(packet in packet(".{0,40}"), base64: bool) {
        let mut text = Vec::new();
        Codec::V4.encode_text(&packet, &mut text);
        prop_assert_eq!(text.len(), Codec::V4.text_len(&packet));
        prop_assert_eq!(decode_packet(&text), Some(meaning(&packet)));
        let frame = Codec::V4.with_base64(base64).encode_frame(packet.clone());
        prop_assert_eq!(decode_frame(&frame), Some(meaning(&packet)));
        prop_assert_eq!(Codec::V4.decode_frame(frame), Ok(packet));
    }

    #[test]
    fn a_payload_arrives_as_it_was_meant(packets in vec(packet("[^\u{1e}]{0,40}"), 1..12)) {
        let payload = Payload::from_packets(Codec::V4, packets.iter().cloned());
        let len = payload.encoded_len();
        let body = payload.into_bytes();
        prop_assert_eq!(body.len(), len);
        prop_assert_eq!(decode_payload(&body), (packets.iter().map(meaning).collect(), true));
        prop_assert_eq!(Codec::V4.decode_payload(body).collect::<Result<Vec<_>, _>>(), Ok(packets));
    }

    #[test]
    fn any_body_means_the_same(body in body()) {
        let mut packets = Vec::new();
        let mut complete = true;
        for packet in Codec::V4.decode_payload(Bytes::from(body.clone())) {
            match packet {
                Ok(packet) => packets.push(meaning(&packet)),
                Err(_) => complete = false,
            }
        }
        prop_assert_eq!((packets, complete), decode_payload(&body));
    }

    #[test]
    fn any_frame_means_the_same(
        head in prop_oneof![Just(""), Just("4"), Just("b"), Just("9"), Just("2pro")],
        data in "(b?[A-Za-z0-9+/_-]{0,9}[ \\t\\r\\n]?={0,2}\\n?|.{0,9})",
    ) {
        let frame = Frame::Text { head, data: data.into() };
        prop_assert_eq!(Codec::V4.decode_frame(frame.clone()).ok().as_ref().map(meaning), decode_frame(&frame));
    }
}

/// Leniency, and its limits: the same on both sides.
#[test]
fn base64_is_read_alike() {
    let four = Some(Decoded::Binary(vec![0xfb, 0xff, 0xfe, 0x04]));
    for text in
        ["b+//+BA==", "b+//+BA", "b-__-BA==", "b-__-BA", "b+//+BA=", "b+//+BB", "b+//+BA==\n", "b\r\n+/ /+\tBA= ="]
    {
        assert_eq!(decode_packet(text.as_bytes()), four, "{text}");
        assert_eq!(Codec::V4.decode_text(text.into()).ok().as_ref().map(meaning), four, "{text}");
    }
    for text in [
        "bA",
        "bAQ!=",
        "bAQ==AgM=",
        "b=AQI",
        "b=",
        "b====",
        "bAQ\u{b}I",
        "bA Q == A",
        "b+ _==",
        "b+_==",
        "bA===",
        "bAAA==",
        "bAAAA=",
    ] {
        assert_eq!(decode_packet(text.as_bytes()), None, "{text}");
        assert!(Codec::V4.decode_text(text.into()).is_err(), "{text}");
    }
}
