//! Allocations of the machines: none without need, and all memory released.
//!
//! The counting allocator counts per thread, so that the tests do not disturb one another.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use allocation_counter::{AllocationInfo, measure};
use bytes::Bytes;
use engineio_proto::client;
use engineio_proto::server::{Config, Input, Output, SessionKey};
use engineio_proto::wire::{Codec, Frame, Packet, Payload};
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
    // The first slice of a buffer makes it a shared one, which is the embedder's to pay.
    for frame in frames.iter().cloned() {
        echo(frame);
    }
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

#[test]
fn decoding_text_allocates_nothing() {
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
    let packets = [Message::from("hello"), Message::from(vec![1; 1000]), Message::from("wörld")];
    let payload = Payload::from_packets(Codec::V4, packets.map(Packet::from));
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
    assert_eq!(size_of::<Session>(), 528);
    assert_eq!(size_of::<Input>(), 64);
    assert_eq!(size_of::<Output>(), 48);
    assert_eq!(size_of::<Frame>(), 48);
    assert_eq!(size_of::<Packet>(), 40);
    assert_eq!(size_of::<Message>(), 40);
    assert_eq!(size_of::<SessionKey>(), 8);
    assert_eq!(size_of::<Client>(), 600);
    assert_eq!(size_of::<client::Input>(), 64);
    assert_eq!(size_of::<client::Output>(), 64);
}
