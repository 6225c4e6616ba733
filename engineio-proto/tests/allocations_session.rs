//! Messages that stream through a machine in batches allocate nothing: the queues keep their memory.
//!
//! The counting allocator counts per thread, so that the tests do not disturb one another.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use allocation_counter::measure;
use bytes::Bytes;
use engineio_proto::server::{Input, Output};
use engineio_proto::wire::Frame;
use engineio_proto::{
    ChannelId, Client, ExchangeId, Instant, Machine, Message, Session, Sid, Text, TransportKind, client,
};

const NOW: Instant = Instant::ZERO;
const CHANNEL: ChannelId = ChannelId(1);
/// The number of messages for which a queue keeps its memory while it is empty.
const BATCH: usize = 16;

/// Frames whose buffers are shared already. The first clone of a buffer makes it a shared one, which is the embedder's to
/// pay.
fn frames(data: &'static [u8], is_text: bool) -> Vec<Frame> {
    let frame = || {
        let data = Bytes::copy_from_slice(data);
        if is_text { Frame::received(data.try_into().unwrap()) } else { Frame::Binary(data) }
    };
    let frames: Vec<_> = (0..BATCH).map(|_| frame()).collect();
    drop(frames.clone());
    frames
}

/// A batch arrives, is taken, is sent back, leaves, and is written. Returns the number of allocations.
fn echo(machine: &mut dyn Machine, mut frames: Vec<Frame>) -> u64 {
    let mut messages: Vec<Message> = Vec::with_capacity(BATCH);
    let mut echoes = Vec::with_capacity(BATCH);
    let counted = measure(|| {
        machine.channel_frames(NOW, CHANNEL, &mut frames.drain(..));
        assert!(machine.recv_many(NOW, usize::MAX, usize::MAX, &mut |message| messages.push(message)));
        for message in messages.drain(..) {
            machine.send(NOW, message).unwrap();
        }
        assert!(machine.next_frames(NOW, CHANNEL, usize::MAX, &mut |frame| echoes.push(frame)));
        let sent = machine.messages_sent();
        machine.channel_written(NOW, CHANNEL, sent);
    });
    assert_eq!((echoes.len(), machine.stats().messages_written), (BATCH, machine.messages_sent()));
    counted.count_total
}

const TEXT_AND_BYTES: [(&[u8], bool); 2] = [(b"4hello, world", true), (b"hello, world", false)];

#[test]
fn a_batch_through_a_session_allocates_nothing() {
    let mut session = Session::channel(NOW, Sid::from_entropy([1; 15]), Arc::default(), CHANNEL, false);
    assert!(session.next_frames(NOW, CHANNEL, usize::MAX, drop));
    let mut echo = |data, is_text| {
        while session.poll_output().is_some() {}
        echo(&mut session, frames(data, is_text))
    };
    for (data, is_text) in TEXT_AND_BYTES {
        // The queues grow once.
        echo(data, is_text);
        assert_eq!(echo(data, is_text), 0);
    }
}

#[test]
fn a_batch_through_a_client_allocates_nothing() {
    let mut config = client::Config::default();
    config.transports = vec![TransportKind::WebSocket];
    let mut client = Client::new(NOW, Arc::new(config), 7).unwrap();
    client.handle_input(NOW, client::Input::ChannelOpened { channel: CHANNEL });
    let open = r#"0{"sid":"abc","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;
    client.channel_frames(NOW, CHANNEL, [Frame::received(open.into())]);
    let mut echo = |data, is_text| {
        while client.poll_output().is_some() {}
        echo(&mut client, frames(data, is_text))
    };
    for (data, is_text) in TEXT_AND_BYTES {
        echo(data, is_text);
        assert_eq!(echo(data, is_text), 0);
    }
}

/// A POST with a message, and a poll that carries its echo.
#[test]
fn an_echo_by_polling_allocates_its_payload() {
    let mut session = Session::polling(NOW, Sid::from_entropy([1; 15]), Arc::default());
    let mut numbers = (1..).map(ExchangeId);
    let body = Bytes::copy_from_slice(b"4hello, world");
    drop(body.clone());
    let mut echo = || {
        let [post, poll] = [numbers.next().unwrap(), numbers.next().unwrap()];
        measure(|| {
            session.handle_input(NOW, Input::PostHead { exchange: post, octet_stream: false });
            session.handle_input(NOW, Input::PostBody { exchange: post, body: Ok(body.clone()) });
            while let Some(message) = session.recv(NOW) {
                session.send(message).unwrap();
            }
            session.handle_input(NOW, Input::Poll { exchange: poll });
            while let Some(output) = session.poll_output() {
                if let Output::Respond { exchange, .. } = output {
                    session.handle_input(NOW, Input::AnswerWritten { exchange });
                }
            }
        })
    };
    echo();
    echo();
    assert_eq!(echo().count_total, 1);
}

/// An idle session that was used for one message at a time: its queues have no memory beside the session itself.
#[test]
fn an_echo_leaves_nothing_but_room_for_outputs() {
    let config = Arc::default();
    let counted = measure(|| {
        let mut session = Session::channel(NOW, Sid::from_entropy([1; 15]), config, CHANNEL, false);
        assert!(session.next_frames(NOW, CHANNEL, usize::MAX, drop));
        session.channel_frames(NOW, CHANNEL, [Frame::received(Text::from_static("4hello, world"))]);
        let message = session.recv(NOW).unwrap();
        session.send(message).unwrap();
        while session.poll_output().is_some() {}
        assert!(session.next_frames(NOW, CHANNEL, usize::MAX, drop));
        while session.poll_output().is_some() {}
        std::mem::forget(session);
    });
    // The id, and room for two outputs.
    assert_eq!((counted.count_current, counted.bytes_current), (2, 40 + 2 * 48));
}
