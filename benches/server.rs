//! The cost of many sessions in one container.
#![allow(missing_docs, clippy::unwrap_used)] // The macro of criterion makes a function without documentation.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use engineio_proto::http::{Method, Request};
use engineio_proto::server::{Admission, Config, Entry, Input, Output, SessionKey};
use engineio_proto::wire::Frame;
use engineio_proto::{ChannelEnd, ChannelId, Instant, Server, Sid, Text};

const SESSIONS: u64 = 10_000;
/// More than any cache has room for.
const MANY: u64 = 100_000;

/// Opens a WebSocket session; `number` distinguishes it from others, and is its channel.
fn open(server: &mut Server, now: Instant, number: u64) -> SessionKey {
    let mut entropy = [0; 15];
    // Ids are random, so they must not be in order.
    entropy[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    entropy[8..].copy_from_slice(&number.to_le_bytes()[..7]);
    let request = Request { method: Method::Get, query: "EIO=4&transport=websocket", origin: None, upgrade: true };
    let admission = Admission::begin(&request, server.config()).unwrap();
    let entry = Entry::Channel { channel: ChannelId(number), head: None };
    server.admit(now, admission, entry, Some(Sid::from_entropy(entropy))).unwrap()
}

/// Carries out the outputs of the server; the applications echo.
fn serve(server: &mut Server, now: Instant) {
    while let Some((key, output)) = server.poll_output() {
        if let Some(mut session) = server.session_mut(key) {
            while let Some(message) = session.recv(now) {
                session.send(message).unwrap();
            }
            if let Output::ChannelReady { channel } = output {
                while let Some(frame) = session.next_frame(now, channel) {
                    black_box(frame);
                }
            }
        }
    }
}

fn receive(server: &mut Server, now: Instant, key: SessionKey, channel: ChannelId, text: &'static str) {
    let frame = Frame::received(Text::from_static(text));
    let input = Input::ChannelFrame { channel, frame };
    server.session_mut(key).unwrap().handle_input(now, input);
}

fn crowded(sessions: u64, spread: Duration) -> (Server, Vec<SessionKey>, Instant) {
    let mut server = Server::new(Config::default()).unwrap();
    let mut now = Instant::ZERO;
    let mut keys = Vec::new();
    for number in 0..sessions {
        keys.push(open(&mut server, now, number));
        serve(&mut server, now);
        now += spread / sessions as u32;
    }
    (server, keys, now)
}

/// One session opens and closes among 10,000.
fn open_and_close(c: &mut Criterion) {
    let (mut server, _, now) = crowded(SESSIONS, Duration::ZERO);
    let mut number = SESSIONS;
    c.bench_function("server/open and close among 10,000", |b| {
        b.iter(|| {
            number += 1;
            let key = open(&mut server, now, number);
            serve(&mut server, now);
            let gone = Input::ChannelClosed { channel: ChannelId(number), end: ChannelEnd::Closed };
            server.session_mut(key).unwrap().handle_input(now, gone);
            serve(&mut server, now);
        });
    });
    assert_eq!(server.len() as u64, SESSIONS);
}

/// One echo: by a session alone, by each of many in turn, and by each of many in a random order.
///
/// In turn, the processor fetches the next session ahead. At random, every echo waits for memory.
fn echo(c: &mut Criterion) {
    for (sessions, order) in [(1, ""), (SESSIONS, ", in turn"), (MANY, ", in turn"), (MANY, ", at random")] {
        let (mut server, keys, now) = crowded(sessions, Duration::ZERO);
        let mut turns: Vec<_> = (0..sessions).map(ChannelId).zip(keys).collect();
        if order == ", at random" {
            turns.sort_by_key(|(channel, _)| channel.0.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        }
        let mut turns = turns.into_iter().cycle();
        c.bench_function(&format!("server/echo among {sessions}{order}"), |b| {
            b.iter(|| {
                let (channel, key) = turns.next().unwrap();
                receive(&mut server, now, key, channel, "4hello, world");
                serve(&mut server, now);
            });
        });
    }
}

/// One ping and its pong, at the times of 10,000 heartbeats.
fn heartbeat(c: &mut Criterion) {
    let (mut server, ..) = crowded(SESSIONS, Duration::from_secs(25));
    c.bench_function("server/heartbeat among 10,000", |b| {
        b.iter(|| {
            let now = server.next_timeout().unwrap();
            server.handle_timeout(now);
            while let Some((key, output)) = server.poll_output() {
                if let Output::ChannelReady { channel } = output {
                    while server.session_mut(key).unwrap().next_frame(now, channel).is_some() {}
                    receive(&mut server, now, key, channel, "3");
                }
            }
        });
    });
    assert_eq!(server.len() as u64, SESSIONS, "all are alive");
}

criterion_group!(benches, open_and_close, echo, heartbeat);
criterion_main!(benches);
