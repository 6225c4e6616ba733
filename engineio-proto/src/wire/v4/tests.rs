use alloc::string::{String, ToString};
use alloc::vec;

use super::*;
use crate::wire::codec::Codec;
use crate::wire::payload::Payload;

const V4: Codec = Codec::V4;

fn encoded(packet: &Packet) -> String {
    let mut out = Vec::new();
    V4.encode_text(packet, &mut out);
    assert_eq!(out.len(), V4.text_len(packet));
    String::from_utf8(out).unwrap()
}

#[test]
fn a_codec_says_what_it_is() {
    assert_eq!((V4.revision(), V4.is_base64()), (4, false));
    let base64 = V4.with_base64(true);
    assert_eq!((base64.revision(), base64.is_base64(), base64.with_base64(false)), (4, true, V4));
}

#[test]
fn text_message_round_trips() {
    let packet = Packet::from(Message::from("test"));
    assert_eq!(encoded(&packet), "4test");
    assert_eq!(V4.decode_text("4test".into()), Ok(packet));
}

#[test]
fn empty_and_unknown_packets_are_errors() {
    assert_eq!(V4.decode_text(Text::new()), Err(PacketError::Empty));
    for text in ["a123", "7", "{", "{}", "é", "\u{0}"] {
        assert_eq!(V4.decode_text(text.into()), Err(PacketError::UnknownKind), "{text}");
    }
}

#[test]
fn no_kind_restricts_its_data() {
    for text in ["0{}", "1x", "2probe", "3probe", "4", "5x", "6x"] {
        let packet = V4.decode_text(text.into()).unwrap();
        assert_eq!(encoded(&packet), text);
    }
}

#[test]
fn binary_travels_as_base64() {
    let packet = Packet::Binary(Bytes::from_static(&[1, 2, 3, 4]));
    assert_eq!(encoded(&packet), "bAQIDBA==");
    assert_eq!(V4.decode_text("bAQIDBA==".into()), Ok(packet.clone()));
    assert_eq!(V4.encode_frame(packet.clone()), Frame::Binary(Bytes::from_static(&[1, 2, 3, 4])));
    let text = V4.with_base64(true).encode_frame(packet.clone());
    assert_eq!(text, Frame::Text { head: "b", data: "AQIDBA==".into() });
    assert_eq!(V4.decode_frame(text), Ok(packet));
}

#[test]
fn empty_messages_are_messages() {
    assert_eq!(V4.decode_text("4".into()), Ok(Message::from("").into()));
    assert_eq!(V4.decode_text("b".into()), Ok(Message::from(Bytes::new()).into()));
    assert_eq!(V4.decode_frame(Frame::Binary(Bytes::new())), Ok(Packet::Binary(Bytes::new())));
    assert_eq!(encoded(&Packet::Binary(Bytes::new())), "b");
}

#[test]
fn base64_is_lenient_about_padding_and_alphabet_only() {
    let four = Ok(Packet::Binary(Bytes::from_static(&[0xfb, 0xff, 0xfe, 0x04])));
    for text in ["b+//+BA==", "b+//+BA", "b-__-BA==", "b-__-BA", "b+//+BA="] {
        assert_eq!(V4.decode_text(text.into()), four, "{text}");
    }
    for text in ["bA", "bAQ!=", "bAQ==AgM=", "b=AQI", "b====", "b+_==", "bA===", "b\u{e9}"] {
        assert_eq!(V4.decode_text(text.into()), Err(PacketError::Base64), "{text}");
    }
    // In revision 4, a digit that looks like a packet type is base64.
    assert_eq!(V4.decode_text("b4AAA".into()), Ok(Packet::Binary(Bytes::from_static(&[0xe0, 0, 0]))));
}

/// Base64 of Java and Android has line ends, RFC 2045 section 6.8.
#[test]
fn m013_white_space_in_base64_is_skipped() {
    let four = Ok(Packet::Binary(Bytes::from_static(&[1, 2, 3, 4])));
    for text in ["bAQIDBA==\n", "bAQIDBA==\r\n", "b\tAQ ID\nBA = = ", "bAQIDBA\n", "bAQIDBA=\n="] {
        assert_eq!(V4.decode_text(text.into()), four, "{text:?}");
        assert_eq!(V4.decode_payload(text.into()).next(), Some(four.clone()), "{text:?}");
        assert_eq!(V4.decode_frame(Frame::received(text.into())), four, "{text:?}");
        let frame = Frame::Text { head: "b", data: Text::from(&text[1..]) };
        assert_eq!(V4.decode_frame(frame), four, "{text:?}");
    }
    // Two lines.
    let line = "AAAA".repeat(19);
    let text = alloc::format!("b{line}\n{line}\n");
    assert_eq!(V4.decode_text(text.into()), Ok(Packet::Binary(vec![0; 114].into())));
    for text in ["b\n", "b \t\r\n"] {
        assert_eq!(V4.decode_text(text.into()), Ok(Packet::Binary(Bytes::new())), "{text:?}");
    }
    // Other control characters and spaces are not skipped, and what remains must be valid.
    for text in ["bAQ\u{b}==", "bAQ\u{c}==", "bAQ\u{a0}==", "bAQ\0==", "bA\n", "bA\nQ==\nAgM=", "bAQ!=\n", " bAQ=="] {
        let error = if text.starts_with('b') { PacketError::Base64 } else { PacketError::UnknownKind };
        assert_eq!(V4.decode_text(text.into()), Err(error), "{text:?}");
    }
}

#[test]
fn frames_keep_the_type_apart_from_the_data() {
    let data = Text::from("hello");
    let Frame::Text { head, data: sent } = V4.encode_frame(Message::Text(data.clone()).into()) else {
        panic!("a text message is a text frame");
    };
    assert_eq!((head, sent.as_bytes().as_ptr()), ("4", data.as_bytes().as_ptr()));
    assert_eq!(V4.decode_frame(Frame::received("2probe".into())), Ok(Packet::text(PacketKind::Ping, "probe")));
    assert_eq!(
        V4.decode_frame(Frame::Text { head: "2pro", data: "be".into() }),
        Ok(Packet::text(PacketKind::Ping, "probe")),
    );
    assert_eq!(V4.decode_frame(Frame::received(Text::new())), Err(PacketError::Empty));
    assert_eq!(V4.decode_frame(Frame::Text { head: "9", data: Text::new() }), Err(PacketError::UnknownKind));
}

#[test]
fn errors_speak() {
    assert_eq!(PacketError::Empty.to_string(), "the packet is empty");
}

#[test]
fn what_was_encoded_is_decoded_without_a_copy() {
    let data = Text::from("hello");
    let Ok(Packet::Text { data: back, .. }) = V4.decode_frame(V4.encode_frame(Message::Text(data.clone()).into()))
    else {
        panic!("a text message is a text frame");
    };
    assert_eq!(back.as_bytes().as_ptr(), data.as_bytes().as_ptr());
}

#[test]
fn lengths_are_those_of_the_data() {
    for (message, len) in [(Message::from(""), 0), ("a".into(), 1), (Bytes::new().into(), 0), (vec![0; 7].into(), 7)] {
        assert_eq!((message.len(), message.is_empty()), (len, len == 0));
        let is_text = matches!(message, Message::Text(_));
        let frame = V4.encode_frame(message.into());
        // Text has its type before it.
        let len = len + usize::from(is_text);
        assert_eq!((frame.len(), frame.is_empty()), (len, len == 0));
    }
    assert_eq!(Frame::Text { head: "2pro", data: "be".into() }.len(), 6);
}

// Bodies.

fn decode(body: &'static str) -> Result<Vec<Packet>, PacketError> {
    V4.decode_payload(Bytes::from_static(body.as_bytes())).collect()
}

#[test]
fn all_kinds_in_one_payload() {
    let body = "0\x1e1\x1e2probe\x1e3probe\x1e4test";
    let packets = decode(body).unwrap();
    let kinds: Vec<_> = packets.iter().map(Packet::kind).collect();
    use PacketKind::{Close, Message, Open, Ping, Pong};
    assert_eq!(kinds, [Open, Close, Ping, Pong, Message]);
    assert_eq!(V4.encode_payload(&packets), body);
}

#[test]
fn text_and_binary_mix() {
    for (bytes, body) in [(&[1u8, 2, 3, 4][..], "4test\x1ebAQIDBA=="), (&[], "4test\x1eb")] {
        let packets = [Message::from("test").into(), Packet::Binary(Bytes::from_static(bytes))];
        assert_eq!(decode(body).unwrap(), packets);
        let payload = Payload::from_packets(V4, packets);
        assert_eq!(payload.encoded_len(), body.len());
        assert_eq!(payload.into_bytes(), body);
    }
}

#[test]
fn an_empty_piece_anywhere_is_an_error() {
    for body in ["", "\x1e", "4a\x1e", "\x1e4a", "4a\x1e\x1e4b"] {
        assert_eq!(decode(body), Err(PacketError::Empty), "{body:?}");
    }
}

#[test]
fn junk_is_one_error() {
    for body in ["{", "{}", r#"["a123", "a456"]"#] {
        let all: Vec<_> = V4.decode_payload(body.into()).collect();
        assert_eq!(all, [Err(PacketError::UnknownKind)], "{body}");
    }
}

#[test]
fn broken_utf8_in_a_body_is_replaced() {
    let mut packets = V4.decode_payload(Bytes::from_static(b"4\xe2\x82\x1e4b"));
    let first = Packet::Text { kind: PacketKind::Message, data: Text::from("\u{fffd}") };
    assert_eq!(packets.next(), Some(Ok(first)));
    assert_eq!(packets.next(), Some(Ok(Message::from("b").into())));
}

#[test]
fn text_is_sliced_not_copied() {
    let body = Bytes::from_static(b"4first\x1e4second");
    let packets: Vec<_> = V4.decode_payload(body.clone()).map(Result::unwrap).collect();
    let Packet::Text { data, .. } = &packets[1] else { panic!("text") };
    assert_eq!(data.as_bytes().as_ptr(), body[8..].as_ptr());
}

#[test]
fn a_small_message_does_not_hold_on_to_a_large_body() {
    let noops = [&b"6\x1e"[..]; 1000].concat();
    for body in [[&b"4small\x1e"[..], &noops, b"6"].concat(), [&noops[..], b"4small"].concat()] {
        let body = Bytes::from(body);
        let mut packets = V4.decode_payload(body.clone()).map(Result::unwrap);
        let small = packets.find(|packet| packet.kind() == PacketKind::Message);
        drop(packets);
        assert_eq!(small, Some(Message::from("small").into()));
        assert!(body.is_unique(), "nobody else holds it");
    }
}

#[test]
fn an_empty_message_does_not_hold_on_to_its_body() {
    for body in ["4", "4\x1e4a", "4a\x1e4", "4a\x1e4\x1e4a"] {
        let body = Bytes::from(body.as_bytes().to_vec());
        let packets = V4.decode_payload(body.clone()).map(Result::unwrap);
        let empty: Vec<_> = packets.filter(|packet| V4.text_len(packet) == 1).collect();
        assert_eq!(empty, [Message::from("").into()]);
        assert!(body.is_unique(), "nobody else holds {body:?}");
    }
}

#[test]
fn what_is_a_large_part_of_its_body_is_not_copied() {
    // Whether the first packet of a body shares its bytes.
    let shares = |packet: usize, body: usize| {
        let bytes: Bytes =
            [&alloc::vec![b'4'; packet][..], b"\x1e", &alloc::vec![b'4'; body - packet - 1]].concat().into();
        let Some(Ok(Packet::Text { data, .. })) = V4.decode_payload(bytes.clone()).next() else { panic!("text") };
        data.as_bytes().as_ptr() == bytes[1..].as_ptr()
    };
    assert!(shares(2, 512), "of a small body anything is");
    assert!(!shares(2, 513));
    assert!(shares(128, 1024));
    assert!(!shares(127, 1024));
}

#[test]
fn messages_are_skipped_up_to_what_is_none() {
    let after = |body: &'static str| {
        let mut packets = V4.decode_payload(body.into());
        packets.skip_messages();
        packets.next()
    };
    for body in ["4", "4a", "ba", "4a\x1e4b", "b!\x1e4", "4\x1eb"] {
        assert_eq!(after(body), None, "{body}");
    }
    for body in ["3x", "4\x1e3x", "4a\x1eb!!\x1e3x\x1e4b", "4a3\x1e3x\x1e"] {
        assert_eq!(after(body), Some(Ok(Packet::text(PacketKind::Pong, "x"))), "{body}");
    }
    for body in ["", "\x1e4a", "4a\x1e", "4a\x1e\x1e3x"] {
        assert_eq!(after(body), Some(Err(PacketError::Empty)), "{body}");
    }
    assert_eq!(after("4\x1e7"), Some(Err(PacketError::UnknownKind)));
    let mut packets = V4.decode_payload("4".into());
    assert!(packets.next().is_some());
    packets.skip_messages();
    assert_eq!(packets.next(), None);
}

/// As the official client computes it: `1 + size(first)`, and `2 + size` for each other packet.
#[test]
fn bodies_are_counted_as_the_official_client_does() {
    let counts = |lens: &[usize]| {
        let packets: Vec<Packet> = lens.iter().map(|&len| Packet::Binary(vec![7; len].into())).collect();
        let expected = 2 * lens.len() - 1 + lens.iter().map(|len| (*len as f64 * 1.33).ceil() as usize).sum::<usize>();
        let body = V4.encode_payload(&packets);
        // Where the product of the floating point numbers is above a whole number, the client counts one more.
        let (counted, exact) = (counted_len(&body), lens.iter().all(|len| len % 100 != 0));
        assert!(if exact { counted == expected } else { counted <= expected }, "{lens:?}: {counted}, {expected}");
        (body.len(), counted)
    };
    assert_eq!(counts(&[1]), (5, 3));
    assert_eq!(counts(&[3, 3]), (11, 11));
    assert_eq!(counts(&[1000; 749]), (1_002_161, 997_667));
    for len in 1..1000 {
        // Half as much again is the most, at one byte.
        let (encoded, counted) = counts(&[len; 7]);
        assert!(2 * encoded <= 3 * counted + 1, "{len}");
    }
    for body in ["", "4", "4a\x1e4b", "6\x1e", "4€"] {
        assert_eq!(counted_len(body.as_bytes()), body.len(), "{body}");
    }
    // Without padding, with white space, and invalid: never more than its length.
    for (body, counted) in
        [("b", 1), ("bAA", 3), ("bAQ\n=", 4), ("b==", 1), ("b====", 3), ("b=", 1), ("4a\x1ebAQ==\x1eb", 8)]
    {
        assert_eq!(counted_len(body.as_bytes()), counted, "{body}");
    }
}

fn excerpts(body: &Bytes) -> Vec<Result<Packet, PacketError>> {
    let (mut decoder, mut excerpt) = (Decoder::new(body.clone()), Excerpt::default());
    core::iter::from_fn(|| decoder.decode(Some(&mut excerpt))).collect()
}

/// Packets that are copied together are the same as those that are copied one by one.
#[test]
fn what_is_copied_together_is_the_same() {
    let pieces: [&[u8]; 8] = [b"4", b"4a", b"4hello", b"3", b"bAQID", b"4\xc3\xa4", b"4\xff", b"4x\xc3"];
    // A linear congruential generator.
    let mut number = 7_usize;
    let mut below = |limit: usize| {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (number >> 33) % limit
    };
    for _ in 0..300 {
        let (kinds, long) = (1 + below(8), below(3) == 0);
        let mut body: Vec<Vec<u8>> = (0..below(400)).map(|_| pieces[below(kinds)].to_vec()).collect();
        for piece in &mut body {
            if long && below(10) == 0 {
                piece.resize(1 + below(700), piece[0].max(b'4'));
            }
        }
        let body = Bytes::from(body.join(&SEPARATOR));
        assert_eq!(excerpts(&body), Decoder::new(body.clone()).collect::<Vec<_>>());
    }
}

/// A small packet keeps its neighbours alive, but no more than a small body.
#[test]
fn sec1_a_small_packet_keeps_no_large_body() {
    let body = Bytes::from(vec![b"4hello".as_slice(); 1000].join(&SEPARATOR));
    let packets = excerpts(&body);
    let starts = packets.iter().map(|packet| match packet {
        Ok(Packet::Text { data, .. }) => data.as_bytes().as_ptr() as usize,
        other => panic!("{other:?}"),
    });
    // Where a packet does not follow the one before it, another copy begins.
    let starts: Vec<_> = starts.collect();
    let mut first = 0;
    for at in 1..starts.len() {
        if starts[at].wrapping_sub(starts[at - 1]) != b"hello".len() + 2 {
            first = at;
        }
        assert!(starts[at] - starts[first] + b"hello".len() < SMALL_BODY, "at {at}");
    }
    let body = body.as_ptr() as usize..body.as_ptr() as usize + body.len();
    assert!(starts.iter().all(|start| !body.contains(start)));
}
