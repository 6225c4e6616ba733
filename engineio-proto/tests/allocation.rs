//! Allocations of the machines: none without need, and all memory released.
//!
//! The counting allocator counts per thread, so that the tests do not disturb one another.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use allocation_counter::{AllocationInfo, measure};
use bytes::Bytes;
use engineio_proto::client;
use engineio_proto::http::Response;
use engineio_proto::server::{Config, Input, Output, SessionKey};
use engineio_proto::wire::{Codec, Frame, Packet, PacketKind, Payload};
use engineio_proto::{ChannelId, Client, Event, ExchangeId, Instant, Message, Session, Sid, Text, TransportKind};

const NOW: Instant = Instant::ZERO;
const CHANNEL: ChannelId = ChannelId(1);

/// A WebSocket session behind its open packet.
fn on_channel(config: Arc<Config>) -> Session {
    let mut session = Session::channel(NOW, Sid::from_entropy([1; 15]), config, CHANNEL, false);
    assert!(session.next_frame(NOW, CHANNEL).is_some());
    assert!(session.next_frame(NOW, CHANNEL).is_none());
    drain(&mut session);
    session
}

/// A polling session behind its handshake.
fn on_polling(config: Arc<Config>) -> Session {
    let mut session = Session::polling(NOW, Sid::from_entropy([1; 15]), config);
    session.handle_input(NOW, Input::Poll { exchange: ExchangeId(1) });
    drain(&mut session);
    session
}

fn drain(session: &mut Session) -> usize {
    std::iter::from_fn(|| session.poll_output()).count()
}

/// One message in, taken, sent back, and its frame out.
fn echo(session: &mut Session, frame: Frame) -> Frame {
    session.handle_input(NOW, Input::ChannelFrame { channel: CHANNEL, frame });
    assert_eq!(session.poll_output(), Some(Output::Event(Event::Readable)));
    let message = session.recv(NOW).unwrap();
    assert_eq!(session.recv(NOW), None);
    session.send(message).unwrap();
    assert_eq!(session.poll_output(), Some(Output::ChannelReady { channel: CHANNEL }));
    let echo = session.next_frame(NOW, CHANNEL).unwrap();
    assert_eq!(session.next_frame(NOW, CHANNEL), None);
    assert_eq!(session.poll_output(), Some(Output::Event(Event::Flush { packets: 1 })));
    assert_eq!(session.poll_output(), Some(Output::Event(Event::Drain)));
    assert_eq!(session.poll_output(), None);
    echo
}

/// A client on a WebSocket behind the handshake.
fn client_on_channel() -> Client {
    let mut config = client::Config::default();
    config.transports = vec![TransportKind::WebSocket];
    let mut client = Client::new(NOW, Arc::new(config), 7).unwrap();
    client.handle_input(NOW, client::Input::ChannelOpened { channel: CHANNEL });
    let open = r#"0{"sid":"abc","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;
    let frame = Frame::received(open.into());
    client.handle_input(NOW, client::Input::ChannelFrame { channel: CHANNEL, frame });
    while client.poll_output().is_some() {}
    assert_eq!(client.current_channel(), Some(CHANNEL));
    client
}

/// One message in, taken, sent back, and its frame out.
fn client_echo(client: &mut Client, frame: Frame) -> Frame {
    client.handle_input(NOW, client::Input::ChannelFrame { channel: CHANNEL, frame });
    assert_eq!(client.poll_output(), Some(client::Output::Event(Event::Readable)));
    let message = client.recv(NOW).unwrap();
    assert_eq!(client.recv(NOW), None);
    client.send(NOW, message).unwrap();
    assert_eq!(client.poll_output(), Some(client::Output::ChannelReady { channel: CHANNEL }));
    let echo = client.next_frame(NOW, CHANNEL).unwrap();
    assert_eq!(client.next_frame(NOW, CHANNEL), None);
    assert_eq!(client.poll_output(), Some(client::Output::Event(Event::Flush { packets: 1 })));
    assert_eq!(client.poll_output(), Some(client::Output::Event(Event::Drain)));
    assert_eq!(client.poll_output(), None);
    echo
}

fn nothing() -> AllocationInfo {
    AllocationInfo::default()
}

/// Echoes a hundred frames of this, and counts.
fn echoes(data: &'static [u8], is_text: bool, mut echo: impl FnMut(Frame) -> Frame) -> AllocationInfo {
    let mut frames: Vec<_> = (0..100)
        .map(|_| {
            let data = Bytes::copy_from_slice(data);
            if is_text { Frame::received(data.try_into().unwrap()) } else { Frame::Binary(data) }
        })
        .collect();
    // The queues and the outputs get room for one.
    echo(frames.swap_remove(0));
    measure(|| {
        while let Some(frame) = frames.pop() {
            assert_eq!(echo(frame).len(), data.len());
        }
    })
}

const TEXT_AND_BYTES: [(&[u8], bool); 2] = [(b"4hello, world", true), (b"hello, world", false)];

#[test]
fn an_echo_allocates_nothing() {
    for (data, is_text) in TEXT_AND_BYTES {
        let mut session = on_channel(Arc::default());
        let counted = echoes(data, is_text, |frame| echo(&mut session, frame));
        assert_eq!(counted.count_total, 0, "{counted:?}");
    }
}

#[test]
fn an_echo_of_a_client_allocates_nothing() {
    for (data, is_text) in TEXT_AND_BYTES {
        let mut client = client_on_channel();
        let counted = echoes(data, is_text, |frame| client_echo(&mut client, frame));
        assert_eq!(counted.count_total, 0, "{counted:?}");
    }
}

#[test]
fn a_heartbeat_of_a_client_allocates_nothing() {
    let mut client = client_on_channel();
    let mut beat = || {
        let frame = Frame::received(Text::from_static("2"));
        client.handle_input(NOW, client::Input::ChannelFrame { channel: CHANNEL, frame });
        while client.next_frame(NOW, CHANNEL).is_some() {}
        while client.poll_output().is_some() {}
    };
    beat();
    assert_eq!(measure(beat), nothing());
}

#[test]
fn an_answer_to_a_poll_allocates_its_body_once_and_exactly() {
    let mut session = on_polling(Arc::default());
    for _ in 0..10 {
        session.send(Message::from_static("hello")).unwrap();
        session.send(Message::from(vec![1, 2, 3])).unwrap();
    }
    session.handle_input(NOW, Input::Poll { exchange: ExchangeId(2) });
    let response = std::iter::from_fn(|| session.poll_output()).find_map(|output| match output {
        Output::Respond { response, .. } => Some(response),
        _ => None,
    });
    let mut reply = None;
    let counted = measure(|| reply = response.map(Response::into_reply));
    let body = ["4hello\u{1e}bAQID"; 10].join("\u{1e}");
    assert_eq!(reply.unwrap().body, body);
    assert_eq!((counted.count_total, counted.bytes_total), (1, body.len() as u64), "{counted:?}");
}

/// Every packet of a body used memory of its own.
#[test]
fn packets_without_data_allocate_nothing() {
    for (packet, count) in [("6", 1000), ("3", 1000), ("4", 100_000)] {
        let body = Bytes::from(vec![packet; count].join("\x1e"));
        // The first slice of a buffer makes it a shared one.
        drop(body.clone());
        let counted = measure(|| assert_eq!(Codec::V4.decode_payload(body).filter(Result::is_ok).count(), count));
        assert_eq!(counted.count_total, 0, "{packet}: {counted:?}");
    }
}

#[test]
fn a_burst_of_a_client_gives_its_memory_back() {
    let mut kept = [0, 0];
    for (kept, messages) in kept.iter_mut().zip([1, 1000]) {
        let counted = measure(|| {
            let mut client = client_on_channel();
            for _ in 0..messages {
                client.send(NOW, Message::from_static("out")).unwrap();
                let frame = Frame::received(Text::from_static("4in"));
                client.handle_input(NOW, client::Input::ChannelFrame { channel: CHANNEL, frame });
            }
            while client.recv(NOW).is_some() {}
            while client.next_frame(NOW, CHANNEL).is_some() {}
            while client.poll_output().is_some() {}
            std::mem::forget(client);
        });
        assert!(messages == 1 || counted.bytes_max > 80_000, "this was a burst: {counted:?}");
        *kept = counted.bytes_current;
    }
    // What a session needs at rest it may keep: places for a few messages and outputs.
    assert!(kept[1] <= kept[0], "{kept:?}");
}

/// The data of a body that has memory of its own, as a driver makes it.
fn body(packets: &[Packet]) -> Bytes {
    Bytes::copy_from_slice(&Codec::V4.encode_payload(packets))
}

/// Decodes a body, and counts. The packets are kept.
fn decoded(body: Bytes) -> (Vec<Packet>, AllocationInfo) {
    let mut packets = Vec::with_capacity(body.iter().filter(|&&byte| byte == 0x1e).count() + 1);
    let counted = measure(|| packets.extend(Codec::V4.decode_payload(body).map(Result::unwrap)));
    (packets, counted)
}

fn texts(packets: usize, len: usize) -> Vec<Packet> {
    (0..packets).map(|_| Message::from("x".repeat(len)).into()).collect()
}

#[test]
fn small_texts_of_a_body_are_copied_once_each_and_exactly() {
    for (count, len) in [(100, 100), (9, 100), (1000, 1), (20, 2000)] {
        let packets = texts(count, len);
        let (decoded, counted) = decoded(body(&packets));
        assert_eq!(decoded, packets);
        assert_eq!((counted.count_total, counted.bytes_total), (count as u64, (count * len) as u64), "{counted:?}");
    }
}

/// The bytes of the body are shared: it takes the counter of its references, and nothing for each message.
#[test]
fn texts_that_are_large_parts_of_their_body_are_not_copied() {
    for (count, len) in [(2, 10_000), (7, 1000), (4, 100), (100, 1)] {
        let packets = texts(count, len);
        let (decoded, counted) = decoded(body(&packets));
        assert_eq!(decoded, packets);
        assert_eq!(counted.count_total, 1, "{counted:?}");
    }
}

#[test]
fn a_small_text_that_is_alone_takes_the_body_as_it_is() {
    for len in [1, 16, 64] {
        let packets = texts(1, len);
        let (decoded, counted) = decoded(body(&packets));
        assert_eq!(decoded, packets);
        assert_eq!(counted.count_total, 0, "{counted:?}");
    }
}

#[test]
fn small_text_frames_allocate_nothing_either_way() {
    for packet in [Message::from("sixteen bytes...").into(), Packet::text(PacketKind::Ping, "probe")] {
        let mut text = Vec::new();
        Codec::V4.encode_text(&packet, &mut text);
        let frame = Frame::received(Text::try_from(Bytes::copy_from_slice(&text)).unwrap());
        let counted = measure(|| {
            let packet = Codec::V4.decode_frame(frame).unwrap();
            assert_eq!(Codec::V4.encode_frame(packet).len(), text.len());
        });
        assert_eq!(counted.count_total, 0, "{counted:?}");
    }
}

#[test]
fn base64_in_frames_allocates_exactly_the_result() {
    for len in [1_usize, 2, 3, 100, 1001] {
        let codec = Codec::V4.with_base64(true);
        let packet = Packet::Binary(vec![7; len].into());
        let mut frame = None;
        let counted = measure(|| frame = Some(codec.encode_frame(packet)));
        assert_eq!((counted.count_total, counted.bytes_total), (1, len.div_ceil(3) as u64 * 4), "{len}");
        let counted = measure(|| {
            let packet = codec.decode_frame(frame.unwrap());
            assert!(matches!(packet, Ok(Packet::Binary(bytes)) if bytes.len() == len));
        });
        assert_eq!((counted.count_total, counted.bytes_total), (1, len as u64), "{len}");
    }
}

#[test]
fn many_bytes_of_a_body_are_decoded_once_each_and_exactly() {
    let packets: Vec<_> = (0..10).map(|_| Packet::Binary(vec![7; 10 << 10].into())).collect();
    let (decoded, counted) = decoded(body(&packets));
    assert_eq!(decoded, packets);
    assert_eq!((counted.count_total, counted.bytes_total), (10, 10 * (10 << 10)), "{counted:?}");
}

#[test]
fn decoding_text_of_static_memory_allocates_nothing() {
    let body = Bytes::from_static("4first\u{1e}4second\u{1e}2probe\u{1e}4thïrd\u{1e}6".as_bytes());
    let counted = measure(|| assert_eq!(Codec::V4.decode_payload(body.clone()).filter(Result::is_ok).count(), 5));
    assert_eq!(counted, nothing());
}

#[test]
fn decoding_bytes_allocates_exactly_the_result() {
    for len in [1_usize, 2, 3, 100, 1001] {
        let payload = Payload::from_packets(Codec::V4, [Packet::Binary(vec![7; len].into())]);
        let body = payload.into_bytes();
        let counted = measure(|| {
            let packet = Codec::V4.decode_payload(body).next().unwrap();
            assert!(matches!(&packet, Ok(Packet::Binary(bytes)) if bytes.len() == len));
            std::mem::forget(packet);
        });
        assert_eq!((counted.count_total, counted.bytes_total), (1, len as u64), "{len} bytes");
    }
}

#[test]
fn encoding_allocates_once_and_exactly() {
    let mut packets = vec![Message::from("hello"), Message::from(vec![1; 1000]), Message::from("wörld")];
    packets.extend((0..100).map(|_| Message::from("x".repeat(100))));
    let payload = Payload::from_packets(Codec::V4, packets.into_iter().map(Packet::from));
    let len = payload.encoded_len();
    let mut body = None;
    let counted = measure(|| body = Some(payload.into_bytes()));
    assert_eq!((counted.count_total, counted.bytes_total), (1, len as u64));
    assert_eq!(body.unwrap().len(), len);
}

#[test]
fn a_text_frame_is_not_copied() {
    let message = Message::from("x".repeat(10_000));
    let counted = measure(|| assert_eq!(Codec::V4.encode_frame(message.into()).len(), 10_001));
    assert_eq!(counted.count_total, 0);
}

/// Many messages each way, until all are handed over and taken.
fn burst(session: &mut Session) {
    for _ in 0..1000 {
        session.send(Message::from_static("out")).unwrap();
        let frame = Frame::received(Text::from_static("4in"));
        session.handle_input(NOW, Input::ChannelFrame { channel: CHANNEL, frame });
    }
    assert_eq!(session.receive_buffered(), 1000 * Message::from_static("in").cost());
    while session.recv(NOW).is_some() {}
    while session.next_frame(NOW, CHANNEL).is_some() {}
    drain(session);
    assert_eq!(session.stats().messages_sent, 1000);
}

#[test]
fn a_burst_gives_its_memory_back() {
    let config = Arc::new(Config::default());
    let counted = measure(|| {
        let mut session = on_channel(Arc::clone(&config));
        burst(&mut session);
        std::mem::forget(session);
    });
    assert!(counted.bytes_max > 100_000, "this was a burst: {counted:?}");
    // The id, and room for four outputs.
    assert_eq!((counted.count_current, counted.bytes_current), (2, 40 + 4 * 48));
}

#[test]
fn a_burst_by_polling_gives_its_memory_back() {
    let config = Arc::new(Config::default());
    let counted = measure(|| {
        let mut session = on_polling(Arc::clone(&config));
        for exchange in (2..1002).map(ExchangeId) {
            session.handle_input(NOW, Input::PostHead { exchange, octet_stream: false });
            session.handle_input(NOW, Input::PostBody { exchange, body: Ok(Bytes::from_static(b"4in\x1e4in")) });
            session.send(Message::from_static("out")).unwrap();
        }
        while session.recv(NOW).is_some() {}
        session.handle_input(NOW, Input::Poll { exchange: ExchangeId(1002) });
        drain(&mut session);
        for exchange in [1, 1002].map(ExchangeId) {
            session.handle_input(NOW, Input::AnswerWritten { exchange });
        }
        assert_eq!((session.stats().messages_received, session.stats().messages_sent), (2000, 1000));
        std::mem::forget(session);
    });
    assert!(counted.bytes_max > 100_000, "this was a burst: {counted:?}");
    // The id.
    assert_eq!((counted.count_current, counted.bytes_current), (1, 40));
}

/// There are many of these. Whoever changes a number here does so on purpose.
#[test]
#[cfg(target_pointer_width = "64")]
fn sizes() {
    assert_eq!(size_of::<Session>(), 544);
    assert_eq!(size_of::<Input>(), 64);
    assert_eq!(size_of::<Output>(), 48);
    assert_eq!(size_of::<Frame>(), 48);
    assert_eq!(size_of::<Packet>(), 40);
    assert_eq!(size_of::<Message>(), 40);
    assert_eq!(size_of::<SessionKey>(), 8);
    assert_eq!(size_of::<Client>(), 616);
    assert_eq!(size_of::<client::Input>(), 64);
    assert_eq!(size_of::<client::Output>(), 64);
}
