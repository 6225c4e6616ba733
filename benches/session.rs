//! The cost of one step of a session.
#![allow(missing_docs, clippy::unwrap_used)] // The macro of criterion makes a function without documentation.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use engineio_proto::server::{Config, Input, Output, State};
use engineio_proto::wire::Frame;
use engineio_proto::{ChannelId, ExchangeId, Instant, Message, Session, Sid, Text};

const NOW: Instant = Instant::ZERO;
const CHANNEL: ChannelId = ChannelId(1);

fn drain(session: &mut Session) {
    while let Some(output) = session.poll_output() {
        black_box(output);
    }
}

fn text_frame(text: &'static str) -> Frame {
    Frame::received(Text::from_static(text))
}

/// A frame arrives, its message is taken and echoed, and the frame is pulled.
fn websocket_echo(c: &mut Criterion) {
    let mut session = Session::channel(NOW, Sid::from_entropy([1; 15]), Arc::default(), CHANNEL, false);
    while session.next_frame(NOW, CHANNEL).is_some() {}
    c.bench_function("session/websocket echo", |b| {
        b.iter(|| {
            session.handle_input(NOW, Input::ChannelFrame { channel: CHANNEL, frame: text_frame("4hello, world") });
            drain(&mut session);
            while let Some(message) = session.recv(NOW) {
                session.send(message).unwrap();
            }
            drain(&mut session);
            while let Some(frame) = session.next_frame(NOW, CHANNEL) {
                black_box(frame);
            }
            let messages = session.stats().messages_sent;
            session.handle_input(NOW, Input::ChannelWritten { channel: CHANNEL, messages });
            drain(&mut session);
        });
    });
}

/// A POST arrives, its message is taken and echoed, and a GET is answered; including the bytes of both answers and the
/// report that they are written.
fn polling_echo(c: &mut Criterion) {
    let mut session = Session::polling(NOW, Sid::from_entropy([1; 15]), Arc::default());
    session.handle_input(NOW, Input::Poll { exchange: ExchangeId(0) });
    session.handle_input(NOW, Input::AnswerWritten { exchange: ExchangeId(0) });
    drain(&mut session);
    let mut numbers = 1..;
    let mut number = || ExchangeId(numbers.next().unwrap());
    c.bench_function("session/polling echo", |b| {
        b.iter(|| {
            let exchange = number();
            session.handle_input(NOW, Input::PostHead { exchange, octet_stream: false });
            let body = Ok(Bytes::from_static(b"4hello, world"));
            session.handle_input(NOW, Input::PostBody { exchange, body });
            while let Some(message) = session.recv(NOW) {
                session.send(message).unwrap();
            }
            session.handle_input(NOW, Input::Poll { exchange: number() });
            while let Some(output) = session.poll_output() {
                if let Output::Respond { response, exchange } = output {
                    black_box(response.into_reply());
                    session.handle_input(NOW, Input::AnswerWritten { exchange });
                }
            }
        });
    });
}

/// From the handshake by polling to the first message on the channel.
fn upgrade(c: &mut Criterion) {
    let config = Arc::new(Config::default());
    let sid = Sid::from_entropy([1; 15]);
    c.bench_function("session/upgrade", |b| {
        b.iter(|| {
            let mut session = Session::polling(NOW, sid.clone(), Arc::clone(&config));
            session.handle_input(NOW, Input::Poll { exchange: ExchangeId(1) });
            session.handle_input(NOW, Input::Poll { exchange: ExchangeId(2) });
            session.handle_input(NOW, Input::ChannelOpened { channel: CHANNEL, base64: false });
            session.handle_input(NOW, Input::ChannelFrame { channel: CHANNEL, frame: text_frame("2probe") });
            black_box(session.next_frame(NOW, CHANNEL));
            session.handle_input(NOW, Input::ChannelFrame { channel: CHANNEL, frame: text_frame("5") });
            session.send(Message::from_static("hello")).unwrap();
            black_box(session.next_frame(NOW, CHANNEL));
            drain(&mut session);
            assert_eq!(session.state(), State::Channel);
            session
        });
    });
}

criterion_group!(benches, websocket_echo, polling_echo, upgrade);
criterion_main!(benches);
