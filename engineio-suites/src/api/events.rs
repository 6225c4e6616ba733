//! Events of a session, as a stream and as callbacks.

use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use tokio::sync::mpsc;

use crate::adapter::{CloseReason, Event, Events, Handle, Handler, Message, TransportKind};
use crate::host::{HOUR, Host, builder};
use crate::raw::{Connection, Frame, POLLING, Polling, TEXT, WebSocket, frame, request, within};

async fn next(events: &mut Events) -> Option<Event> {
    within(events.next()).await
}

/// Events from before the session is accepted are not missed.
pub async fn a_session_is_observed_from_its_first_event() {
    let host = Host::start(builder()).await;
    {
        let mut accept = std::pin::pin!(host.server.accept_observed());
        assert!(accept.as_mut().now_or_never().is_none());
    }
    let client = Polling::open(host.addr).await;
    assert_eq!(client.post("3").await.status, 200);
    let mut upgraded = WebSocket::upgrade(&client).await;
    upgraded.send("4early").await;
    let mut events = within(host.server.accept_observed()).await;
    while events.handle().receive_buffered() == 0 {
        tokio::task::yield_now().await;
    }
    let mut seen = Vec::new();
    while !matches!(seen.last(), Some(Event::Message(_))) {
        seen.extend(next(&mut events).await);
    }
    let websocket = TransportKind::WebSocket;
    let expected = [Event::Heartbeat, Event::Upgrading(websocket), Event::Upgraded(websocket)];
    assert!(expected.iter().all(|event| seen.contains(event)), "{seen:?}");
    assert_eq!(seen.last(), Some(&Event::Message("early".into())));
}

/// Covers: S-134, S-135, R-27
pub async fn s104_everything_in_order() {
    let host = Host::start(builder()).await;
    let client = Polling::open(host.addr).await;
    let mut events = host.accept().await.events();
    assert!(events.next().now_or_never().is_none());

    assert_eq!(client.post("4one\x1e4two").await.status, 200);
    assert_eq!(client.post("3").await.status, 200);
    for text in ["one", "two"] {
        assert_eq!(next(&mut events).await, Some(Event::Message(text.into())));
    }
    assert_eq!(next(&mut events).await, Some(Event::Heartbeat));

    events.handle().try_send("a").unwrap();
    events.handle().try_send("b").unwrap();
    assert_eq!(client.get().await.brief(), (200, "4a\x1e4b"));
    assert_eq!(next(&mut events).await, Some(Event::Flush { packets: 2 }));
    assert_eq!(next(&mut events).await, Some(Event::Drain));

    let mut upgraded = WebSocket::upgrade(&client).await;
    assert_eq!(next(&mut events).await, Some(Event::Upgrading(TransportKind::WebSocket)));
    assert_eq!(next(&mut events).await, Some(Event::Upgraded(TransportKind::WebSocket)));
    assert_eq!(events.handle().transport(), TransportKind::WebSocket);

    events.handle().try_send("c").unwrap();
    assert_eq!(upgraded.next().await, Frame::text("4c"));
    assert_eq!(next(&mut events).await, Some(Event::Flush { packets: 1 }));
    assert_eq!(next(&mut events).await, Some(Event::Drain));
    assert_eq!(events.handle().stats().messages_sent, 3);

    upgraded.connection.write([frame(TEXT, "4three"), frame(TEXT, "1")].concat()).await;
    upgraded.closed().await;
    assert_eq!(next(&mut events).await, Some(Event::Message("three".into())));
    assert_eq!(next(&mut events).await, Some(Event::Close(CloseReason::TransportClose)));
    assert_eq!(next(&mut events).await, None);
    assert_eq!(next(&mut events).await, None);
}

pub async fn events_are_a_stream() {
    let host = Host::start(builder()).await;
    let (mut client, _) = WebSocket::open(host.addr).await;
    let events = host.accept().await.events();
    client.connection.write([frame(TEXT, "4a"), frame(TEXT, "3"), frame(TEXT, "4b"), frame(TEXT, "x")].concat()).await;
    client.closed().await;
    let seen: Vec<Event> = within(events.collect()).await;
    let messages: Vec<&Event> = seen.iter().filter(|event| matches!(event, Event::Message(_))).collect();
    assert_eq!(messages, [&Event::Message("a".into()), &Event::Message("b".into())]);
    assert_eq!(seen.last(), Some(&Event::Close(CloseReason::ParseError)));
}

/// Events from before the end come before it, and events that are not taken do not accumulate.
pub async fn events_that_nobody_takes_are_bounded() {
    let host = Host::start(builder()).await;
    let client = Polling::open(host.addr).await;
    let mut events = host.accept().await.events();
    let mut probe = WebSocket::probe(&client).await;
    // Two kinds alternate.
    for _ in 0..20 {
        probe.connection.write((0..100).flat_map(|_| frame(TEXT, "2probe")).collect::<Vec<_>>()).await;
        for _ in 0..100 {
            assert_eq!(probe.next().await, Frame::text("3probe"));
        }
        assert_eq!(client.post(["3"; 100].join("\x1e")).await.status, 200);
    }
    probe.send("5").await;
    probe.send("1").await;
    probe.closed().await;
    let (mut told, mut lost, mut rest) = (0, 0, Vec::new());
    while let Some(event) = next(&mut events).await {
        match event {
            Event::Lagged { events } => lost += events,
            Event::Heartbeat | Event::Upgrading(TransportKind::WebSocket) => told += 1,
            event => rest.push(event),
        }
    }
    // Each round has 100 probes, and its pongs, which are reported once.
    assert_eq!(told + lost, 20 * 101);
    assert!(told <= 1024, "{told}");
    assert_eq!(rest, [Event::Upgraded(TransportKind::WebSocket), Event::Close(CloseReason::TransportClose)]);
}

/// Records its calls.
struct Scribe(mpsc::UnboundedSender<String>);

impl Scribe {
    fn note(&self, line: impl Into<String>) {
        self.0.send(line.into()).unwrap();
    }
}

impl Handler for Scribe {
    async fn message(&mut self, socket: &Handle, message: Message) {
        self.note(format!("message {message:?}"));
        socket.send(message).await.unwrap();
    }

    async fn upgrading(&mut self, _: &Handle, transport: TransportKind) {
        self.note(format!("upgrading {transport}"));
    }

    async fn upgraded(&mut self, socket: &Handle, transport: TransportKind) {
        assert_eq!(socket.transport(), transport);
        self.note(format!("upgrade {transport}"));
    }

    async fn flush(&mut self, _: &Handle, packets: usize) {
        self.note(format!("flush {packets}"));
    }

    async fn drain(&mut self, _: &Handle) {
        self.note("drain");
    }

    async fn heartbeat(&mut self, _: &Handle) {
        self.note("heartbeat");
    }

    async fn close(&mut self, socket: &Handle, reason: CloseReason) {
        assert_eq!(socket.close_reason(), Some(reason));
        self.note(format!("close {reason}"));
    }
}

/// Covers: S-134
pub async fn s104_callbacks() {
    let host = Host::start(builder().ping_interval(Duration::from_millis(20))).await;
    let (scribe, mut lines) = mpsc::unbounded_channel();
    let server = host.server.clone();
    tokio::spawn(async move {
        server
            .run(|socket| {
                scribe.send(format!("connection {}", socket.transport())).unwrap();
                Scribe(scribe.clone())
            })
            .await;
    });
    let mut expect = async |expected: &[&str]| {
        for line in expected {
            assert_eq!(within(lines.recv()).await.as_deref(), Some(*line));
        }
    };

    let client = Polling::open(host.addr).await;
    expect(&["connection polling"]).await;
    assert_eq!(client.get().await.brief(), (200, "2"));
    expect(&["flush 1", "drain"]).await;
    let mut upgraded = WebSocket::upgrade(&client).await;
    expect(&["upgrading websocket", "upgrade websocket"]).await;
    upgraded.send("4hello").await;
    assert_eq!(upgraded.next().await, Frame::text("4hello"));
    expect(&["message Text(\"hello\")", "flush 1", "drain"]).await;
    upgraded.send("1").await;
    upgraded.closed().await;
    expect(&["close transport close"]).await;
}

/// As [`Scribe`], but does not observe writes.
struct Incurious(Scribe);

impl Handler for Incurious {
    const OBSERVES_WRITES: bool = false;

    async fn message(&mut self, socket: &Handle, message: Message) {
        self.0.message(socket, message).await;
    }

    async fn flush(&mut self, socket: &Handle, packets: usize) {
        self.0.flush(socket, packets).await;
    }

    async fn drain(&mut self, socket: &Handle) {
        self.0.drain(socket).await;
    }

    async fn close(&mut self, socket: &Handle, reason: CloseReason) {
        self.0.close(socket, reason).await;
    }
}

pub async fn a_handler_need_not_observe_writes() {
    let host = Host::start(builder().ping_timeout(HOUR)).await;
    let (scribe, mut lines) = mpsc::unbounded_channel();
    let server = host.server.clone();
    tokio::spawn(async move { server.run(|_| Incurious(Scribe(scribe.clone()))).await });
    let client = Polling::open(host.addr).await;
    let mut upgraded = WebSocket::upgrade(&client).await;
    for text in ["4one", "4two"] {
        upgraded.send(text).await;
        assert_eq!(upgraded.next().await, Frame::text(text));
    }
    upgraded.send("1").await;
    upgraded.closed().await;
    for line in ["message Text(\"one\")", "message Text(\"two\")", "close transport close"] {
        assert_eq!(within(lines.recv()).await.as_deref(), Some(line));
    }
}

/// A handler that does nothing is valid.
struct Nothing;

impl Handler for Nothing {}

pub async fn every_callback_has_a_default() {
    let host = Host::start(builder().ping_timeout(HOUR)).await;
    let server = host.server.clone();
    tokio::spawn(async move { server.run(|_| Nothing).await });
    let client = Polling::open(host.addr).await;
    let mut upgraded = WebSocket::upgrade(&client).await;
    let handle = host.server.get(&client.sid).unwrap();
    upgraded.send("4ignored").await;
    upgraded.send("3").await;
    handle.try_send("hello").unwrap();
    assert_eq!(upgraded.next().await, Frame::text("4hello"));
    handle.close();
    upgraded.closed().await;
    assert_eq!(within(handle.closed()).await, CloseReason::ForcedClose);
}

/// Panics where it is told to.
struct Panics;

impl Handler for Panics {
    async fn message(&mut self, socket: &Handle, message: Message) {
        assert_ne!(message, Message::from("panic"), "a callback panics");
        socket.send(message).await.unwrap();
    }
}

/// A panic in code of the application ends the session or the request that it concerns, and no other.
pub async fn a_panic_of_the_application_ends_one_session() {
    let host = Host::start(builder().allow_request(|parts| {
        assert!(!parts.headers.contains_key("x-panic"), "the application panics in its check of a request");
        std::future::ready(Ok(()))
    }))
    .await;
    let server = host.server.clone();
    let mut sessions = 0;
    tokio::spawn(async move {
        server
            .run(|_| {
                sessions += 1;
                assert!(sessions > 1, "the application panics when it makes its first handler");
                Panics
            })
            .await;
    });
    let first = Polling::open(host.addr).await;
    first.farewell().await;
    let (mut second, _) = WebSocket::open(host.addr).await;
    let (mut third, _) = WebSocket::open(host.addr).await;
    second.send("4panic").await;
    second.closed().await;
    let mut connection = Connection::open(host.addr).await;
    connection.write(request("GET", POLLING, "x-panic: yes\r\n", b"")).await;
    connection.ended().await;
    third.send("4hello").await;
    assert_eq!(third.next().await, Frame::text("4hello"));
    let (mut fourth, _) = WebSocket::open(host.addr).await;
    fourth.send("4hello").await;
    assert_eq!(fourth.next().await, Frame::text("4hello"));
    assert_eq!(host.server.len(), 2);
}
