//! The work whose instructions `benches/guard` counts. `guard` lists the rows, and `guard ROW` does the work of one, in
//! the function [`counted`].

#![allow(clippy::expect_used)] // A program of the benches: nothing catches its panics.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use engineio_proto::server::{Config, Input, Output};
use engineio_proto::wire::{Codec, Frame, Packet};
use engineio_proto::{ChannelId, Event, ExchangeId, Instant, Message, Session, Sid, Text};

const CHANNEL: ChannelId = ChannelId(1);
const NOW: Instant = Instant::ZERO;

/// How often the work of a row is repeated.
const REPEATS: usize = 100;

/// A row: its name, and a function that prepares its work.
type Row = (&'static str, fn() -> Work);

/// Work that can be done again and again.
type Work = Box<dyn FnMut()>;

const ROWS: [Row; 13] = [
    ("decode-payload-100x100-text", || decode_payload(texts(100, 100))),
    ("encode-payload-100x100-text", || encode_payload(texts(100, 100))),
    ("decode-payload-10x10k-binary", || decode_payload(binaries(10, 10 << 10))),
    ("encode-payload-10x10k-binary", || encode_payload(binaries(10, 10 << 10))),
    ("decode-payload-1x16-text", || decode_payload(texts(1, 16))),
    ("encode-payload-1x16-text", || encode_payload(texts(1, 16))),
    ("decode-frame-16-text", decode_frame),
    ("encode-frame-16-text", encode_frame),
    ("session-websocket-echo", websocket_echo),
    ("session-websocket-echo-x1", websocket_echoes::<1>),
    ("session-websocket-echo-x16", websocket_echoes::<16>),
    ("session-polling-echo", polling_echo),
    ("session-heartbeat", heartbeat),
];

fn main() {
    let Some(name) = std::env::args().nth(1) else {
        println!("repeats {REPEATS}");
        ROWS.iter().for_each(|(name, _)| println!("{name}"));
        return;
    };
    let Some((_, prepare)) = ROWS.iter().find(|row| row.0 == name) else {
        eprintln!("unknown row: {name}");
        std::process::exit(2);
    };
    let mut work = prepare();
    // Some functions look at the processor when they are first called, and queues grow to their size.
    work();
    counted(&mut *work);
}

/// `benches/guard` counts the instructions of this function, by its name.
#[inline(never)]
fn counted(work: &mut dyn FnMut()) {
    for _ in 0..REPEATS {
        work();
    }
}

fn data(n: usize, len: usize) -> impl Iterator<Item = usize> {
    (0..len).map(move |byte| byte * 7 + n)
}

fn texts(packets: usize, len: usize) -> Vec<Packet> {
    let text = |n| data(n, len).map(|byte| char::from(b'a' + (byte % 26) as u8)).collect::<String>();
    (0..packets).map(|n| Message::from(text(n)).into()).collect()
}

fn binaries(packets: usize, len: usize) -> Vec<Packet> {
    (0..packets).map(|n| Packet::Binary(data(n, len).map(|byte| byte as u8).collect())).collect()
}

/// Inputs that are made before the instructions count, as many as there are repeats.
fn prepared<T>(input: impl Fn() -> T) -> impl FnMut() -> T {
    let mut inputs: Vec<T> = (0..=REPEATS).map(|_| input()).collect();
    move || inputs.pop().expect("an input for each repeat")
}

fn decode_payload(packets: Vec<Packet>) -> Work {
    let body = Codec::V4.encode_payload(&packets);
    let mut body = prepared(move || Bytes::copy_from_slice(&body));
    Box::new(move || Codec::V4.decode_payload(body()).for_each(|packet| drop(black_box(packet))))
}

fn encode_payload(packets: Vec<Packet>) -> Work {
    Box::new(move || drop(black_box(Codec::V4.encode_payload(black_box(&packets)))))
}

fn decode_frame() -> Work {
    let mut frame = prepared(|| text_frame("4sixteen bytes..."));
    Box::new(move || drop(black_box(Codec::V4.decode_frame(frame()))))
}

fn encode_frame() -> Work {
    let mut packet = prepared(|| Message::from("sixteen bytes...").into());
    Box::new(move || drop(black_box(Codec::V4.encode_frame(packet()))))
}

/// A frame with memory of its own, as it arrives.
fn text_frame(text: &str) -> Frame {
    Frame::received(Text::from(text))
}

fn drain(session: &mut Session) {
    while let Some(output) = session.poll_output() {
        black_box(output);
    }
}

fn on_channel() -> Session {
    let mut session = Session::channel(NOW, Sid::from_entropy([1; 15]), Arc::default(), CHANNEL, false);
    while session.next_frame(NOW, CHANNEL).is_some() {}
    drain(&mut session);
    session
}

/// A text message arrives on a channel, is taken and sent back, and its frame is pulled and written.
fn websocket_echo() -> Work {
    let mut session = on_channel();
    let mut frame = prepared(|| text_frame("4hello, world"));
    Box::new(move || {
        session.handle_input(NOW, Input::ChannelFrame { channel: CHANNEL, frame: frame() });
        while let Some(output) = session.poll_output() {
            if let Output::Event(Event::Readable) = output {
                while let Some(message) = session.recv(NOW) {
                    assert!(session.send(message).is_ok());
                }
            }
        }
        while let Some(frame) = session.next_frame(NOW, CHANNEL) {
            black_box(frame);
        }
        let messages = session.stats().messages_sent;
        session.handle_input(NOW, Input::ChannelWritten { channel: CHANNEL, messages });
        drain(&mut session);
    })
}

/// Text messages arrive with one read, are taken, sent back, pulled and written: what our driver asks of a session.
/// The machine alone: the memory of the messages was allocated before, and is freed after.
fn websocket_echoes<const MESSAGES: usize>() -> Work {
    let mut session = on_channel();
    let frame = || Frame::Text { head: "4", data: Text::from("hello, world") };
    let mut frames = prepared(move || (0..MESSAGES).map(|_| frame()).collect::<Vec<_>>());
    let (mut messages, mut pulled) = (Vec::with_capacity(MESSAGES), Vec::with_capacity(MESSAGES * (REPEATS + 1)));
    Box::new(move || {
        session.channel_frames(NOW, CHANNEL, frames());
        drain(&mut session);
        session.recv_many(NOW, MESSAGES, usize::MAX, |message| messages.push(message));
        for message in messages.drain(..) {
            assert!(session.send(message).is_ok());
        }
        drain(&mut session);
        session.next_frames(NOW, CHANNEL, usize::MAX, |frame| pulled.push(frame));
        session.channel_written(NOW, CHANNEL, session.messages_sent());
        drain(&mut session);
        assert_eq!(pulled.len() % MESSAGES, 0);
    })
}

/// A POST with a text message arrives, the message is taken and sent back, and a GET is answered with it. Both answers
/// are encoded and written.
fn polling_echo() -> Work {
    let mut session = Session::polling(NOW, Sid::from_entropy([1; 15]), Arc::new(Config::default()));
    session.handle_input(NOW, Input::Poll { exchange: ExchangeId(0) });
    session.handle_input(NOW, Input::AnswerWritten { exchange: ExchangeId(0) });
    drain(&mut session);
    let mut numbers = (1..).map(ExchangeId);
    let mut number = move || numbers.next().expect("an endless range");
    let mut body = prepared(|| Bytes::copy_from_slice(b"4hello, world"));
    Box::new(move || {
        let exchange = number();
        session.handle_input(NOW, Input::PostHead { exchange, octet_stream: false });
        session.handle_input(NOW, Input::PostBody { exchange, body: Ok(body()) });
        answer(&mut session);
        while let Some(message) = session.recv(NOW) {
            assert!(session.send(message).is_ok());
        }
        session.handle_input(NOW, Input::Poll { exchange: number() });
        answer(&mut session);
    })
}

/// Encodes the answers of a session, and reports them as written.
fn answer(session: &mut Session) {
    while let Some(output) = session.poll_output() {
        if let Output::Respond { response, exchange } = output {
            black_box(response.into_reply());
            session.handle_input(NOW, Input::AnswerWritten { exchange });
        }
    }
}

/// A ping is due, pulled and written, and its pong arrives.
fn heartbeat() -> Work {
    let mut session = on_channel();
    let mut pong = prepared(|| text_frame("3"));
    Box::new(move || {
        let Some(now) = session.next_timeout() else { return };
        session.handle_timeout(now);
        drain(&mut session);
        let ping = session.next_frame(now, CHANNEL);
        assert_eq!(ping, Some(Frame::Text { head: "2", data: Text::new() }));
        let messages = session.stats().messages_sent;
        session.handle_input(now, Input::ChannelWritten { channel: CHANNEL, messages });
        session.handle_input(now, Input::ChannelFrame { channel: CHANNEL, frame: pong() });
        drain(&mut session);
    })
}
