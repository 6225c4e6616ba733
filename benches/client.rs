//! The cost of one step of a client.
#![allow(missing_docs, clippy::unwrap_used)] // The macro of criterion makes a function without documentation.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use engineio_proto::client;
use engineio_proto::wire::Frame;
use engineio_proto::{ChannelId, Client, ExchangeId, Instant, Text, TransportKind};

const NOW: Instant = Instant::ZERO;
const OPEN: &str = r#"0{"sid":"abc","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;

fn client(transport: TransportKind) -> Client {
    let mut config = client::Config::default();
    config.transports = vec![transport];
    Client::new(NOW, Arc::new(config), 7).unwrap()
}

fn drain(client: &mut Client) -> Option<ExchangeId> {
    let mut last = None;
    while let Some(output) = client.poll_output() {
        if let client::Output::Request { exchange, request } = output {
            last = Some(exchange);
            black_box(request.body.map(|payload| payload.into_bytes()));
        }
    }
    last
}

/// A frame arrives, its message is taken and echoed, and the frame is pulled.
fn websocket_echo(c: &mut Criterion) {
    let mut client = client(TransportKind::WebSocket);
    let Some(client::Output::ChannelOpen { channel, .. }) = client.poll_output() else { return };
    client.handle_input(NOW, client::Input::ChannelOpened { channel });
    let frame = |text| Frame::received(Text::from_static(text));
    client.handle_input(NOW, client::Input::ChannelFrame { channel, frame: frame(OPEN) });
    drain(&mut client);
    let pull = |client: &mut Client, channel: ChannelId| {
        while let Some(frame) = client.next_frame(NOW, channel) {
            black_box(frame);
        }
    };
    c.bench_function("client/websocket echo", |b| {
        b.iter(|| {
            client.handle_input(NOW, client::Input::ChannelFrame { channel, frame: frame("4hello, world") });
            drain(&mut client);
            while let Some(message) = client.recv(NOW) {
                client.send(NOW, message).unwrap();
            }
            drain(&mut client);
            pull(&mut client, channel);
            let messages = client.stats().messages_sent;
            client.handle_input(NOW, client::Input::ChannelWritten { channel, messages });
            drain(&mut client);
        });
    });
}

/// The answer to a poll arrives, its message is taken and echoed by a POST; including the bytes of both requests.
fn polling_echo(c: &mut Criterion) {
    let mut client = client(TransportKind::Polling);
    let answered = |exchange, body: &'static str| client::Input::Answered {
        exchange,
        status: 200,
        body: Bytes::from_static(body.as_bytes()),
    };
    let Some(exchange) = drain(&mut client) else { return };
    client.handle_input(NOW, answered(exchange, OPEN));
    let Some(mut get) = drain(&mut client) else { return };
    c.bench_function("client/polling echo", |b| {
        b.iter(|| {
            client.handle_input(NOW, answered(get, "4hello, world"));
            get = drain(&mut client).unwrap();
            while let Some(message) = client.recv(NOW) {
                client.send(NOW, message).unwrap();
            }
            let post = drain(&mut client).unwrap();
            client.handle_input(NOW, answered(post, "ok"));
            drain(&mut client);
        });
    });
}

criterion_group!(benches, websocket_echo, polling_echo);
criterion_main!(benches);
