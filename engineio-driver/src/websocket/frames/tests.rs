use super::*;
use crate::websocket::buffered::Buffered;
use engineio_proto::Text;

/// The codec, over a buffer.
type Codec = Buffered;

impl Buffered {
    fn is_idle(&self) -> bool {
        self.codec.is_idle() && !self.has_input()
    }
}

const CONTINUATION: u8 = 0x80;
const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
/// Clears the final bit of a first byte.
const MORE: u8 = 0x7f;

/// A frame of a client, from its first byte and its payload.
fn frame(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
    let payload = payload.as_ref();
    let mut bytes = header(first, 0x80, payload.len());
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// A frame of a server, or of a client that breaks the rules.
fn unmasked(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    [&header(first, 0, payload.len()), payload].concat()
}

fn header(first: u8, mask: u8, len: usize) -> Vec<u8> {
    match len {
        0..=125 => vec![first, mask | len as u8],
        126..=0xffff => [&[first, mask | 126][..], &(len as u16).to_be_bytes()].concat(),
        _ => [&[first, mask | 127][..], &(len as u64).to_be_bytes()].concat(),
    }
}

fn text(text: &str) -> Frame {
    Frame::received(text.into())
}

fn binary(bytes: &[u8]) -> Frame {
    Frame::Binary(Bytes::copy_from_slice(bytes))
}

/// Takes all messages that are ready.
fn drain(codec: &mut Codec, output: &mut Vec<u8>) -> (Vec<Frame>, Option<ChannelEnd>) {
    let mut frames = Vec::new();
    loop {
        match codec.next(output) {
            Some(Ok(frame)) => frames.push(frame),
            Some(Err(end)) => return (frames, Some(end)),
            None => return (frames, None),
        }
    }
}

/// The result of a stream: the messages, the end, and the output.
type Outcome = (Vec<Frame>, Option<ChannelEnd>, Vec<u8>);

fn run<'a>(limit: usize, chunks: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let (mut codec, mut output) = (Codec::server(limit), Vec::new());
    let (mut frames, mut end) = (Vec::new(), None);
    for chunk in chunks {
        codec.receive(chunk);
        let (more, ended) = drain(&mut codec, &mut output);
        frames.extend(more);
        end = end.or(ended);
    }
    (frames, end, output)
}

/// A stream with every kind of frame, and its expected result.
fn everything() -> (Vec<u8>, Outcome) {
    let (medium, large) = (vec![7; 300], vec![9; 70_000]);
    let stream = [
        frame(TEXT, "4hello"),
        frame(TEXT & MORE, "4fr"),
        frame(PING, "are you there?"),
        frame(CONTINUATION & MORE, ""),
        frame(CONTINUATION & MORE, b"\xf0\x9f"),
        frame(PONG, "unasked"),
        frame(CONTINUATION, b"\xa6\x80"),
        frame(BINARY, &medium),
        frame(TEXT, ""),
        frame(BINARY, ""),
        frame(BINARY & MORE, &large[..40_000]),
        frame(CONTINUATION, &large[40_000..]),
        frame(PING, ""),
        frame(TEXT, "1"),
        frame(CLOSE, b"\x03\xe8bye"),
        frame(TEXT, "nobody reads this"),
    ];
    let messages =
        vec![text("4hello"), text("4fr\u{1f980}"), binary(&medium), text(""), binary(&[]), binary(&large), text("1")];
    let output = [unmasked(PONG, "are you there?"), unmasked(PONG, ""), unmasked(CLOSE, b"\x03\xe8bye")];
    (stream.concat(), (messages, Some(ChannelEnd::Closed), output.concat()))
}

#[test]
fn all_in_one_chunk() {
    let (stream, expected) = everything();
    assert_eq!(run(1_000_000, [stream.as_slice()]), expected);
}

#[test]
fn in_single_bytes() {
    let (stream, expected) = everything();
    assert_eq!(run(1_000_000, stream.chunks(1)), expected);
}

#[test]
fn however_it_is_cut() {
    let (stream, expected) = everything();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..300 {
        let mut rest = stream.as_slice();
        let chunks = std::iter::from_fn(|| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            // Small pieces and large ones.
            let most = if random & 1 == 0 { 16 } else { 20_000 };
            let (chunk, behind) = rest.split_at(rest.len().min(1 + (random >> 8) as usize % most));
            rest = behind;
            Some(chunk).filter(|chunk| !chunk.is_empty())
        });
        assert_eq!(run(1_000_000, chunks.collect::<Vec<_>>()), expected);
    }
}

/// No message stays in a buffer until the next byte arrives.
#[test]
fn many_frames_in_one_chunk() {
    let (mut codec, mut output) = (Codec::server(100), Vec::new());
    let stream: Vec<u8> = (0..10_000).flat_map(|number: u32| frame(TEXT, number.to_string())).collect();
    codec.receive(&stream);
    for number in 0..10_000 {
        assert!(codec.has_input());
        assert_eq!(codec.next(&mut output), Some(Ok(text(&number.to_string()))));
    }
    assert_eq!(codec.next(&mut output), None);
    assert!(!codec.has_input());
    assert!(codec.is_idle() && output.is_empty());
}

#[test]
fn sec36_every_ping_is_answered_with_what_it_carries() {
    for len in [0, 1, 10, 11, 124, 125] {
        let payload: Vec<u8> = (0..len).collect();
        let stream = [frame(PING, &payload), frame(PONG, &payload), frame(PING, "?")].concat();
        let pongs = [unmasked(PONG, &payload), unmasked(PONG, "?")].concat();
        // The limit applies to messages only.
        assert_eq!(run(10, [stream.as_slice()]), (Vec::new(), None, pongs));
    }
}

#[test]
fn the_peer_closes() {
    for (payload, answer) in [
        (&b""[..], &b""[..]),
        (b"\x03\xe8", b"\x03\xe8"),
        (b"\x03\xe9going away", b"\x03\xe9going away"),
        (b"\x13\x87", b"\x13\x87"),
    ] {
        let (mut codec, mut output) = (Codec::server(100), Vec::new());
        codec.receive(&frame(CLOSE, payload));
        assert_eq!(codec.next(&mut output), Some(Err(ChannelEnd::Closed)));
        assert_eq!(output, unmasked(CLOSE, answer));
        // Its close frame was answered, and nothing else is written.
        codec.close(&mut output);
        codec.receive(&frame(TEXT, "4late"));
        assert_eq!((codec.next(&mut output), codec.is_over()), (None, true));
        assert_eq!(output, unmasked(CLOSE, answer));
    }
}

#[test]
fn we_close() {
    let (mut codec, mut output) = (Codec::server(100), Vec::new());
    codec.receive(&frame(TEXT & MORE, "4half"));
    assert_eq!(codec.next(&mut output), None);
    codec.close(&mut output);
    codec.close(&mut output);
    assert_eq!(output, unmasked(CLOSE, ""));
    // Data before the close frame is ignored, and pings are not answered any more.
    assert!(!codec.receive_goodbye(&frame(CONTINUATION, " whole"), &mut output));
    let stream = [frame(PING, "?"), frame(BINARY, [1]), frame(CLOSE, b"\x03\xe8")].concat();
    let (first, last) = stream.split_at(stream.len() - 1);
    assert!(!codec.receive_goodbye(first, &mut output) && !codec.is_over());
    assert!(codec.receive_goodbye(last, &mut output) && codec.is_over());
    assert_eq!(output, unmasked(CLOSE, ""));
}

/// The peer's close frame may arrive before we close.
#[test]
fn we_close_and_the_peer_had_closed() {
    let (mut codec, mut output) = (Codec::server(100), Vec::new());
    codec.receive(&[frame(TEXT, "4a"), frame(TEXT, "4b"), frame(CLOSE, "")].concat());
    assert_eq!(codec.next(&mut output), Some(Ok(text("4a"))));
    codec.close(&mut output);
    assert!(codec.receive_goodbye(&[], &mut output));
    assert_eq!(output, unmasked(CLOSE, ""));
}

#[test]
fn we_close_and_the_peer_breaks_the_rules() {
    let (mut codec, mut output) = (Codec::server(100), Vec::new());
    codec.close(&mut output);
    assert!(!codec.receive_goodbye(&unmasked(TEXT, "4x"), &mut output));
    assert!(codec.is_over());
    assert_eq!(output, unmasked(CLOSE, ""));
}

#[test]
fn sec35_too_large() {
    let (limit, status) = (10, unmasked(CLOSE, 1009_u16.to_be_bytes()));
    let too_large = (Vec::new(), Some(ChannelEnd::TooLarge), status);
    for stream in [
        frame(BINARY, [0; 11]),
        frame(TEXT, "4123456789a"),
        [frame(TEXT & MORE, "41234"), frame(CONTINUATION, "56789a")].concat(),
        [frame(BINARY & MORE, [0; 10]), frame(CONTINUATION & MORE, [0])].concat(),
        // The header alone is enough.
        header(BINARY, 0x80, 126),
        header(BINARY, 0x80, 1 << 40),
        [&[BINARY, 0xff][..], &[0xff; 8], &[0; 4]].concat(),
    ] {
        let stream = [stream, [0; 4].to_vec()].concat();
        assert_eq!(run(limit, [stream.as_slice()]), too_large, "{stream:?}");
        assert_eq!(run(limit, stream.chunks(1)), too_large, "{stream:?}");
    }
    let fits = [frame(BINARY, [1; 10]), frame(BINARY & MORE, [2; 5]), frame(CONTINUATION, [2; 5])].concat();
    assert_eq!(run(limit, [fits.as_slice()]), (vec![binary(&[1; 10]), binary(&[2; 10])], None, Vec::new()));
}

#[test]
fn sec30_fragments_add_up() {
    let (mut codec, mut output) = (Codec::server(1000), Vec::new());
    codec.receive(&frame(BINARY & MORE, ""));
    assert_eq!(codec.next(&mut output), None);
    // Empty fragments never reach the limit; others do.
    for _ in 0..10_000 {
        codec.receive(&frame(CONTINUATION & MORE, ""));
        assert_eq!(codec.next(&mut output), None);
    }
    for _ in 0..1000 {
        codec.receive(&frame(CONTINUATION & MORE, [1]));
        assert_eq!(codec.next(&mut output), None);
    }
    codec.receive(&frame(CONTINUATION & MORE, [1]));
    assert_eq!(codec.next(&mut output), Some(Err(ChannelEnd::TooLarge)));
}

/// A message without an end, of empty fragments.
#[test]
fn sec30_fragments_are_counted() {
    let (first, more) = (frame(TEXT & MORE, "4"), frame(CONTINUATION & MORE, ""));
    let message = |fragments: usize| {
        let mut bytes = [frame(TEXT, "4before"), first.clone()].concat();
        bytes.extend((1..fragments).flat_map(|_| more.clone()));
        bytes
    };
    let (whole, last) = (message(16_384), frame(CONTINUATION, "end"));
    let (frames, end, output) = run(100, whole.chunks(16 * 1024).chain([&last[..]]));
    assert_eq!((frames, end, output), (vec![text("4before"), text("4end")], None, vec![]));
    let (frames, end, output) = run(100, message(16_385).chunks(16 * 1024));
    assert_eq!((frames, end), (vec![text("4before")], Some(ChannelEnd::Violation)));
    assert_eq!(output, unmasked(CLOSE, 1008_u16.to_be_bytes()));
}

#[test]
fn sec38_violations() {
    let rows: &[(&str, Vec<u8>, u16)] = &[
        ("not masked", unmasked(TEXT, "4x"), 1002),
        ("rsv1", frame(TEXT | 0x40, "4x"), 1002),
        ("rsv2", frame(TEXT | 0x20, "4x"), 1002),
        ("rsv3", frame(TEXT | 0x10, "4x"), 1002),
        ("a reserved data opcode", frame(0x83, "4x"), 1002),
        ("a reserved control opcode", frame(0x8f, ""), 1002),
        ("a large ping", frame(PING, [0; 126]), 1002),
        ("a ping in fragments", frame(PING & MORE, ""), 1002),
        ("a close frame in fragments", frame(CLOSE & MORE, ""), 1002),
        ("a continuation of nothing", frame(CONTINUATION, ""), 1002),
        ("a message in a message", [frame(BINARY & MORE, ""), frame(BINARY, "")].concat(), 1002),
        ("half a status", frame(CLOSE, [3]), 1002),
        ("a reason that is no text", frame(CLOSE, b"\x03\xe8\xc3"), 1007),
        ("text that is none", frame(TEXT, b"4\xff"), 1007),
        ("text that ends too soon", frame(TEXT, b"4\xf0\x9f\xa6"), 1007),
        ("a surrogate", frame(TEXT, b"4\xed\xa0\x80"), 1007),
        ("text that goes wrong", [frame(TEXT & MORE, b"\xf0\x9f"), frame(CONTINUATION & MORE, b"4")].concat(), 1007),
        ("text that ends too soon, late", [frame(TEXT & MORE, b"4\xf0"), frame(CONTINUATION, b"\x9f")].concat(), 1007),
    ];
    for (rule, bytes, status) in rows {
        let expected = (vec![text("4before")], Some(ChannelEnd::Violation), unmasked(CLOSE, status.to_be_bytes()));
        let stream = [frame(TEXT, "4before"), bytes.clone(), frame(TEXT, "4behind")].concat();
        assert_eq!(run(1000, [stream.as_slice()]), expected, "{rule}");
        assert_eq!(run(1000, stream.chunks(1)), expected, "{rule}");
    }
}

/// What came before is still delivered, and the peer's close frame is not awaited.
#[test]
fn sec38_a_header_that_breaks_a_rule_is_enough() {
    for (rule, header, status) in [
        ("not masked", &[BINARY, 127][..], 1002_u16),
        ("rsv1", &[TEXT | 0x40], 1002),
        ("a reserved opcode", &[0x83], 1002),
        ("a large ping", &[PING, 0xff], 1002),
        ("a ping in fragments", &[PING & MORE], 1002),
        ("a continuation of nothing", &[CONTINUATION], 1002),
        ("a large message", &[BINARY, 0xff, 0, 0, 0, 0, 0, 0x0d, 0xbb, 0xa0], 1009),
        ("half of all memory", &[BINARY, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 1009),
    ] {
        let end = if status == 1009 { ChannelEnd::TooLarge } else { ChannelEnd::Violation };
        let expected = (vec![text("4before")], Some(end), unmasked(CLOSE, status.to_be_bytes()));
        let stream = [&frame(TEXT, "4before"), header].concat();
        assert_eq!(run(1000, [stream.as_slice()]), expected, "{rule}");
        assert_eq!(run(1000, stream.chunks(1)), expected, "{rule}");
    }
}

/// A header that announces much and a little of its payload hold no more memory than that, also inside of a message.
#[test]
fn sec1_nothing_is_reserved_for_announced_bytes() {
    for before in [vec![], frame(BINARY & MORE, [1; 10])] {
        let first = if before.is_empty() { BINARY } else { CONTINUATION };
        let (mut codec, mut output) = (Codec::server(100_000_000), Vec::new());
        codec.receive(&[before.as_slice(), &header(first, 0x80, 90_000_000), &[7; 500]].concat());
        assert_eq!(codec.next(&mut output), None);
        assert!(!codec.has_input());
        assert!(codec.codec.held() < 1100, "{}", codec.codec.held());
    }
}

#[test]
fn sec38_a_status_that_no_peer_may_send() {
    for status in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 0xffff] {
        let (frames, end, output) = run(1000, [frame(CLOSE, status.to_be_bytes()).as_slice()]);
        assert_eq!((frames, end), (Vec::new(), Some(ChannelEnd::Violation)), "{status}");
        assert_eq!((output[0], &output[2..4]), (CLOSE, &1002_u16.to_be_bytes()[..]), "{status}");
    }
}

/// Memory is held from the first byte of a message to its last, and not in between.
#[test]
fn an_idle_codec_holds_nothing() {
    let (mut codec, mut output) = (Codec::server(100_000), Vec::new());
    assert!(codec.is_idle());
    for stream in [
        frame(TEXT, "4x"),
        frame(BINARY, vec![0; 90_000]),
        frame(PING, "?"),
        [frame(TEXT & MORE, "4a"), frame(PING, ""), frame(CONTINUATION & MORE, ""), frame(CONTINUATION, "b")].concat(),
        [frame(BINARY, [1; 5000]), frame(BINARY, [2; 126]), frame(PONG, "")].concat(),
    ] {
        let (start, end) = stream.split_at(stream.len() - 1);
        codec.receive(start);
        drain(&mut codec, &mut output);
        assert!(!codec.is_idle(), "{} bytes", stream.len());
        codec.receive(end);
        drain(&mut codec, &mut output);
        assert!(codec.is_idle(), "{} bytes", stream.len());
    }
    codec.receive(&frame(CLOSE, ""));
    drain(&mut codec, &mut output);
    assert!(codec.is_idle());
}

/// A small message does not keep a large buffer alive; a large one is not copied.
#[test]
fn messages_own_what_they_hold() {
    let (mut codec, mut output) = (Codec::server(100_000), Vec::new());
    codec.receive(&[frame(BINARY, [1; 100]), frame(BINARY, [2; 50_000])].concat());
    let (frames, _) = drain(&mut codec, &mut output);
    assert_eq!(frames, [binary(&[1; 100]), binary(&[2; 50_000])]);
    let [Frame::Binary(small), Frame::Binary(_)] = &frames[..] else { panic!("two messages of bytes") };
    assert!(small.is_unique());
}

#[test]
fn frames_that_we_send() {
    let mut codec = Codec::server(100);
    let mut output = Vec::new();
    codec.send(&Frame::Text { head: "4", data: "hello".into() }, &mut output);
    codec.send(&Frame::Text { head: "2", data: Text::new() }, &mut output);
    codec.send(&Frame::Binary(Bytes::new()), &mut output);
    assert_eq!(output, [unmasked(TEXT, "4hello"), unmasked(TEXT, "2"), unmasked(BINARY, "")].concat());
    for len in [1, 124, 125, 126, 65_535, 65_536, 1_000_000] {
        let data = "x".repeat(len);
        let mut output = Vec::new();
        codec.send(&Frame::Text { head: "", data: data.as_str().into() }, &mut output);
        assert_eq!(output, unmasked(TEXT, &data));
        let mut output = Vec::new();
        codec.send(&binary(data.as_bytes()), &mut output);
        assert_eq!(output, unmasked(BINARY, &data));
        // The type counts too.
        let mut output = Vec::new();
        codec.send(&Frame::Text { head: "4", data: data.as_str().into() }, &mut output);
        assert_eq!(output, unmasked(TEXT, format!("4{data}")));
    }
}

#[test]
fn what_a_client_sends_is_hidden_and_found_again() {
    let mut client = Codec::client(2_000_000);
    let mut server = Codec::server(2_000_000);
    let mut seen = Vec::new();
    for len in [0, 1, 2, 3, 4, 5, 125, 126, 1000, 65_535, 65_536, 1_000_000] {
        let data = "x".repeat(len);
        let mut output = Vec::new();
        client.send(&Frame::Text { head: "4", data: data.as_str().into() }, &mut output);
        client.send(&binary(data.as_bytes()), &mut output);
        assert!(output[1] & 0x80 != 0, "the mask bit");
        if len > 100 {
            assert!(!output.windows(100).any(|window| window == "x".repeat(100).as_bytes()), "{len} bytes in the open");
        }
        let mask = output[2..6].to_vec();
        seen.push(mask);
        server.receive(&output);
        let mut answer = Vec::new();
        assert_eq!(server.next(&mut answer), Some(Ok(text(&format!("4{data}")))));
        assert_eq!(server.next(&mut answer), Some(Ok(binary(data.as_bytes()))));
        assert_eq!((server.next(&mut answer), answer), (None, Vec::new()));
    }
    seen.dedup();
    assert!(seen.len() > 8, "every frame has its own mask");
}

#[test]
fn a_client_reads_what_a_server_sends() {
    let mut client = Codec::client(1000);
    let mut output = Vec::new();
    client.receive(&[unmasked(TEXT, "4hello"), unmasked(BINARY, [1, 2]), unmasked(PING, "x")].concat());
    assert_eq!(client.next(&mut output), Some(Ok(text("4hello"))));
    assert_eq!(client.next(&mut output), Some(Ok(binary(&[1, 2]))));
    assert_eq!(client.next(&mut output), None);
    assert_eq!((output[0], output[1]), (PONG, 0x81), "a pong, masked");
    assert!(client.is_idle());
    // Only clients send masked frames.
    client.receive(&frame(TEXT, "4no"));
    assert_eq!(client.next(&mut output), Some(Err(ChannelEnd::Violation)));
}

#[test]
fn c059_a_client_learns_why_it_was_closed() {
    let mut client = Codec::client(1000);
    let mut output = Vec::new();
    assert_eq!(client.close_frame(), None);
    client.receive(&unmasked(CLOSE, [&1009_u16.to_be_bytes()[..], b"too big"].concat()));
    assert_eq!(client.next(&mut output), Some(Err(ChannelEnd::Closed)));
    assert_eq!(client.close_frame(), Some(Details::CloseFrame { code: 1009, reason: "too big".into() }));
    assert!(client.is_over());
    let mut server = Codec::server(1000);
    server.close(&mut Vec::new());
    server.receive(&output);
    assert_eq!(server.next(&mut Vec::new()), Some(Err(ChannelEnd::Closed)), "it answered in kind");
}

#[test]
fn sec1_a_message_keeps_no_memory_of_other_messages() {
    const LARGE: usize = 1_000_000;
    for len in [1, 127, 4096, 10_000, 100_000, LARGE] {
        for kind in [TEXT, BINARY] {
            let stream = [frame(kind, vec![b'x'; LARGE]), frame(kind, vec![b'y'; len])].concat();
            let (mut frames, end, _) = run(LARGE, [&stream[..]]);
            assert_eq!((frames.len(), end), (2, None));
            let second = match frames.pop() {
                Some(Frame::Binary(bytes)) => bytes,
                Some(Frame::Text { data, .. }) => data.into_bytes(),
                None => panic!("it has arrived"),
            };
            drop(frames);
            let mut second = second.try_into_mut().expect("nobody else has a reference to it");
            // Fails if the memory is larger.
            assert!(!second.try_reclaim(3 * len + 16), "{len} {kind}");
        }
    }
}
