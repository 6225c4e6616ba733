//! From polling to a WebSocket, and the failures on the way.

use std::time::Duration;

use tokio::time::sleep;

use crate::adapter::{CloseReason, Event, Socket, TransportError, TransportKind};
use crate::host::{Host, builder, reason};
use crate::raw::{
    BINARY, CLOSE, Connection, Frame, Polling, TEXT, UPGRADE, WEBSOCKET, WebSocket, ask, frame, request, within,
};

const UNKNOWN: (u16, &str) = (400, r#"{"code":1,"message":"Session ID unknown"}"#);
const BAD: (u16, &str) = (400, r#"{"code":3,"message":"Bad request"}"#);

async fn polling() -> (Host, Polling, Socket) {
    let host = Host::start(builder()).await;
    let client = Polling::open(host.addr).await;
    let socket = host.accept().await;
    (host, client, socket)
}

/// A session whose probe was answered.
async fn probed() -> (Host, Polling, Socket, WebSocket) {
    let (host, client, socket) = polling().await;
    let mut probe = WebSocket::probe(&client).await;
    probe.send("2probe").await;
    assert_eq!(probe.next().await, Frame::text("3probe"));
    (host, client, socket, probe)
}

/// The session works on polling, as if no upgrade had been tried.
async fn works_on_polling(client: &Polling, socket: &mut Socket) {
    assert_eq!(client.post("4to server").await.brief(), (200, "ok"));
    assert_eq!(within(socket.recv()).await, Some("to server".into()));
    socket.try_send("to client").unwrap();
    assert_eq!(client.get().await.brief(), (200, "4to client"));
    assert_eq!((socket.transport(), socket.is_upgraded()), (TransportKind::Polling, false));
}

async fn works_on_websocket(client: &mut WebSocket, socket: &mut Socket) {
    client.send("4to server").await;
    assert_eq!(within(socket.recv()).await, Some("to server".into()));
    socket.try_send("to client").unwrap();
    assert_eq!(client.next().await, Frame::text("4to client"));
}

/// Covers: R-01, R-02, R-04, E-001, S-135, S-136
pub async fn t022_an_upgrade() {
    let (host, client, mut socket) = polling().await;
    let mut held = client.start_get().await;
    host.holds(1).await;
    let mut probe = WebSocket::probe(&client).await;
    probe.send("2probe").await;
    assert_eq!(probe.next().await, Frame::text("3probe"));
    // The held GET is released, and so are those that cross with the answer.
    assert_eq!(held.response().await.brief(), (200, "6"));
    for _ in 0..3 {
        assert_eq!(client.get().await.brief(), (200, "6"));
    }
    assert_eq!(socket.transport(), TransportKind::Polling);
    probe.send("5").await;
    works_on_websocket(&mut probe, &mut socket).await;
    assert_eq!((socket.transport(), socket.is_upgraded()), (TransportKind::WebSocket, true));
    assert!(socket.request().uri().query().unwrap().contains("transport=polling"));
}

/// The application gets the event once, and in order.
/// Covers: R-27
pub async fn s135_the_application_is_told() {
    let (_host, client, socket) = polling().await;
    let mut events = socket.events();
    let mut upgraded = WebSocket::upgrade(&client).await;
    for expected in [Event::Upgrading(TransportKind::WebSocket), Event::Upgraded(TransportKind::WebSocket)] {
        assert_eq!(within(events.next()).await, Some(expected));
    }
    upgraded.send("4after").await;
    assert_eq!(within(events.next()).await, Some(Event::Message("after".into())));
}

/// Covers: R-28, R-29
pub async fn t023_probe_and_upgrade_without_a_pause() {
    let (_host, client, mut socket) = polling().await;
    let mut connection = Connection::open(client.addr).await;
    let target = format!("{WEBSOCKET}&sid={}", client.sid);
    let bytes = [
        request("GET", &target, UPGRADE, b""),
        frame(TEXT, "2probe"),
        frame(TEXT, "5"),
        frame(TEXT, "4first"),
        frame(BINARY, [2]),
    ];
    connection.write(bytes.concat()).await;
    let mut upgraded = WebSocket::accepted(connection).await;
    assert_eq!(upgraded.next().await, Frame::text("3probe"));
    assert_eq!(within(socket.recv()).await, Some("first".into()));
    assert_eq!(within(socket.recv()).await, Some(vec![2].into()));
    // From here on polling has ended, and the WebSocket is not affected.
    assert_eq!(client.get().await.brief(), BAD);
    assert_eq!(client.post("4late").await.brief(), BAD);
    works_on_websocket(&mut upgraded, &mut socket).await;
}

/// Covers: S-010, M-031, R-25
pub async fn t024_a_second_websocket_is_closed() {
    let (_host, client, mut socket) = polling().await;
    let mut upgraded = WebSocket::upgrade(&client).await;
    let mut second = WebSocket::probe(&client).await;
    second.closed().await;
    works_on_websocket(&mut upgraded, &mut socket).await;
}

/// Covers: SEC-23, R-25
pub async fn m031_a_websocket_session_cannot_be_taken_over() {
    let host = Host::start(builder()).await;
    let (mut first, sid) = WebSocket::open(host.addr).await;
    let mut socket = host.accept().await;
    let mut connection = Connection::open(host.addr).await;
    let target = format!("{WEBSOCKET}&sid={sid}");
    connection.write([request("GET", &target, UPGRADE, b""), frame(TEXT, "2probe"), frame(TEXT, "5")].concat()).await;
    WebSocket::accepted(connection).await.closed().await;
    works_on_websocket(&mut first, &mut socket).await;
}

/// Covers: R-24, R-25
pub async fn t024_a_second_probe_is_closed_and_the_first_goes_on() {
    let (_host, client, mut socket, mut first) = probed().await;
    let mut second = WebSocket::probe(&client).await;
    second.closed().await;
    first.send("5").await;
    works_on_websocket(&mut first, &mut socket).await;
}

/// Covers: R-113
pub async fn s005_an_upgrade_of_an_unknown_session() {
    let host = Host::start(builder()).await;
    let mut connection = Connection::open(host.addr).await;
    connection.write(request("GET", &format!("{WEBSOCKET}&sid=nope"), UPGRADE, b"")).await;
    let response = connection.response().await;
    let head = "400\nconnection: close\ncontent-length: 18\ncontent-type: text/html\n";
    assert_eq!(response.transcript(), format!("{head}\nSession ID unknown"));
    connection.ended().await;
}

/// Covers: SEC-24
pub async fn m032_upgrades_that_are_not_allowed_are_refused() {
    let host = Host::start(builder().allow_upgrades(false)).await;
    let client = Polling::open(host.addr).await;
    let mut socket = host.accept().await;
    let response = ask(host.addr, "GET", &format!("{WEBSOCKET}&sid={}", client.sid), UPGRADE, "").await;
    assert_eq!(response.brief(), (400, "Bad request"));
    works_on_polling(&client, &mut socket).await;
}

pub async fn m007_polling_is_nothing_to_upgrade_to() {
    let (_host, client, mut socket) = polling().await;
    for target in [client.target.as_str(), "/engine.io/?EIO=4&transport=polling"] {
        let response = ask(client.addr, "GET", target, UPGRADE, "").await;
        assert_eq!(response.brief(), (400, "Bad request"));
    }
    works_on_polling(&client, &mut socket).await;
}

/// Covers: R-26
pub async fn sec18_a_probe_must_speak_the_revision_of_the_session() {
    let (_host, client, mut socket) = polling().await;
    let target = format!("/engine.io/?EIO=3&transport=websocket&sid={}", client.sid);
    let response = ask(client.addr, "GET", &target, UPGRADE, "").await;
    assert_eq!(response.brief(), (400, "Bad request"));
    works_on_polling(&client, &mut socket).await;
}

/// Covers: R-07
pub async fn m025_messages_take_the_way_that_is_open() {
    let (_host, client, socket, mut probe) = probed().await;
    socket.try_send("one").unwrap();
    assert_eq!(client.get().await.brief(), (200, "4one"));
    socket.try_send("two").unwrap();
    socket.try_send("three").unwrap();
    probe.send("5").await;
    assert_eq!(probe.next().await, Frame::text("4two"));
    assert_eq!(probe.next().await, Frame::text("4three"));
}

pub async fn m026_an_upgrade_without_a_probe() {
    let (host, client, mut socket) = polling().await;
    let mut held = client.start_get().await;
    host.holds(1).await;
    let mut upgraded = WebSocket::probe(&client).await;
    upgraded.send("5").await;
    works_on_websocket(&mut upgraded, &mut socket).await;
    assert_eq!(held.response().await.brief(), (200, "6"));
}

pub async fn m029_a_get_that_is_held_at_the_switch() {
    let (host, client, mut socket) = polling().await;
    let mut held = client.start_get().await;
    host.holds(1).await;
    let mut upgraded = WebSocket::upgrade(&client).await;
    assert_eq!(held.response().await.brief(), (200, "6"));
    works_on_websocket(&mut upgraded, &mut socket).await;
}

/// Covers: R-22, SEC-21
pub async fn m027_what_is_unexpected_ends_the_probe_only() {
    let text = |text: &str| frame(TEXT, text);
    let unexpected = [text("4x"), text("2"), text("3"), text("6"), text("1"), text("0{}"), text(""), text("abc")];
    for bytes in unexpected.into_iter().chain([frame(BINARY, "5"), frame(BINARY, "2probe")]) {
        for after_probe in [false, true] {
            let (host, client, mut socket) = polling().await;
            let mut probe = WebSocket::probe(&client).await;
            if after_probe {
                probe.send("2probe").await;
                assert_eq!(probe.next().await, Frame::text("3probe"));
            }
            probe.connection.write(&bytes).await;
            probe.closed().await;
            works_on_polling(&client, &mut socket).await;
            // And the next probe can succeed.
            let mut upgraded = WebSocket::upgrade(&client).await;
            works_on_websocket(&mut upgraded, &mut socket).await;
            host.holds(0).await;
        }
    }
}

/// Covers: R-12, R-22
pub async fn m027_a_probe_that_goes_away() {
    let (_host, client, mut socket) = polling().await;
    for kind in 0..4 {
        let mut probe = WebSocket::probe(&client).await;
        probe.send("2probe").await;
        assert_eq!(probe.next().await, Frame::text("3probe"));
        match kind {
            0 => probe.connection.reset(),
            1 => drop(probe),
            2 => {
                probe.frame(CLOSE, "").await;
                probe.closed_with(Frame::close(None)).await;
            }
            _ => {
                probe.frame(TEXT | 0x40, "5").await;
                probe.closed_with(Frame::close(1002)).await;
            }
        }
        // Another probe is refused until the server has noticed the end.
        let next = within(async {
            loop {
                let mut next = WebSocket::probe(&client).await;
                next.send("2probe").await;
                if next.next().await == Frame::text("3probe") {
                    return next;
                }
            }
        });
        let mut next = next.await;
        next.frame(CLOSE, "").await;
        next.closed_with(Frame::close(None)).await;
        works_on_polling(&client, &mut socket).await;
    }
}

/// Covers: SEC-2
pub async fn s009_junk_behind_the_upgrade() {
    let (_host, client, mut socket) = polling().await;
    for junk in [&[0; 64][..], b"\xf0\x80\x00junk junk junk", b"GET / HTTP/1.1\r\n\r\n"] {
        let mut connection = Connection::open(client.addr).await;
        let target = format!("{WEBSOCKET}&sid={}", client.sid);
        connection.write([&request("GET", &target, UPGRADE, b""), junk].concat()).await;
        WebSocket::accepted(connection).await.closed_with(Frame::close(1002)).await;
        works_on_polling(&client, &mut socket).await;
    }
}

/// Covers: M-028, SEC-73, R-21, E-004
pub async fn s078_a_parked_probe_is_closed() {
    let host = Host::start(builder().upgrade_timeout(Duration::from_millis(50))).await;
    let client = Polling::open(host.addr).await;
    let mut socket = host.accept().await;
    let target = format!("{WEBSOCKET}&sid={}", client.sid);
    for probes in 0..3 {
        let mut connection = Connection::open(host.addr).await;
        let frames = frame(TEXT, "2probe").repeat(probes);
        connection.write([request("GET", &target, UPGRADE, b""), frames].concat()).await;
        let mut probe = WebSocket::accepted(connection).await;
        for _ in 0..probes {
            assert_eq!(probe.next().await, Frame::text("3probe"));
        }
        probe.closed().await;
        works_on_polling(&client, &mut socket).await;
    }
}

/// Nothing on the probe extends its time limit.
/// Covers: M-028
pub async fn s078_a_probe_that_keeps_asking_is_closed_too() {
    let host = Host::start(builder().upgrade_timeout(Duration::from_secs(1))).await;
    let client = Polling::open(host.addr).await;
    let mut socket = host.accept().await;
    let mut probe = WebSocket::probe(&client).await;
    let mut answers = 0;
    let end = within(async {
        loop {
            probe.send("2probe").await;
            match probe.next().await {
                Frame::Text(text) if text == "3probe" => answers += 1,
                end => return end,
            }
        }
    });
    assert_eq!(end.await, Frame::close(None));
    assert!(answers > 0);
    works_on_polling(&client, &mut socket).await;
}

pub async fn sec74_each_probe_is_answered_once() {
    let (_host, client, mut socket, mut probe) = probed().await;
    probe.connection.write((0..1000).flat_map(|_| frame(TEXT, "2probe")).collect::<Vec<_>>()).await;
    for _ in 0..1000 {
        assert_eq!(probe.next().await, Frame::text("3probe"));
    }
    probe.send("5").await;
    works_on_websocket(&mut probe, &mut socket).await;
    assert_eq!(client.get().await.brief(), BAD);
}

/// A client that polls in a loop during an upgrade waits longer and longer for a noop.
/// Covers: R-03, M-024
pub async fn sec75_releases_are_rationed() {
    let (_host, client, _socket, _probe) = probed().await;
    let polls = async {
        // At once, then 10, 20, 40, 80 and 100 ms apart.
        for _ in 0..10 {
            assert_eq!(client.get().await.brief(), (200, "6"));
        }
    };
    // The timer starts before the polls do.
    tokio::select! {
        biased;
        () = sleep(Duration::from_millis(400)) => (),
        () = polls => panic!("the releases came without a pause"),
    }
}

/// Covers: R-20
pub async fn m030_a_post_that_is_on_its_way_at_the_switch() {
    let (host, client, mut socket) = polling().await;
    let mut post = client.start_post("content-length: 14\r\n").await;
    post.write("4first").await;
    let mut upgraded = WebSocket::upgrade(&client).await;
    upgraded.send("4third").await;
    post.write("\x1e4second").await;
    assert_eq!(post.response().await.brief(), (200, "ok"));
    for expected in ["first", "second", "third"] {
        assert_eq!(within(socket.recv()).await, Some(expected.into()));
    }
    works_on_websocket(&mut upgraded, &mut socket).await;
    host.holds(0).await;
}

/// Covers: R-30, R-45
pub async fn m033_a_poll_that_is_aborted_during_an_upgrade() {
    let host = Host::start(builder()).await;
    let client = Polling::open(host.addr).await;
    let socket = host.accept().await;
    let held = client.start_get().await;
    host.holds(1).await;
    let mut probe = WebSocket::probe(&client).await;
    held.reset();
    assert_eq!(reason(&socket).await, CloseReason::TransportError(TransportError::PollLost));
    probe.closed().await;
}

pub async fn s077_the_probe_ends_with_the_session() {
    for how in 0..3 {
        let (_host, client, socket, mut probe) = probed().await;
        let expected = match how {
            0 => {
                socket.abort();
                CloseReason::ForcedClose
            }
            1 => {
                client.post("1").await;
                CloseReason::TransportClose
            }
            _ => {
                client.post("abc").await;
                CloseReason::ParseError
            }
        };
        probe.closed().await;
        assert_eq!(reason(&socket).await, expected);
        assert_eq!(client.get().await.brief(), UNKNOWN);
    }
}

/// The session is closed during its upgrade: messages follow the client to its transport.
/// Covers: R-110, R-111
pub async fn r10_a_close_during_the_upgrade() {
    for message in [None, Some("buffered")] {
        let (_host, client, socket, mut probe) = probed().await;
        if let Some(text) = message {
            socket.try_send(text).unwrap();
        }
        socket.close();
        assert_eq!(socket.close_reason(), None);
        probe.send("5").await;
        if let Some(text) = message {
            assert_eq!(probe.next().await, Frame::Text(format!("4{text}")));
        }
        probe.closed().await;
        assert_eq!(reason(&socket).await, CloseReason::ForcedClose);
        assert_eq!(client.get().await.brief(), UNKNOWN);
    }
}

pub async fn r10_a_close_during_the_upgrade_with_a_get() {
    let (_host, client, socket, mut probe) = probed().await;
    socket.close();
    assert_eq!(client.get().await.brief(), (200, "6\x1e1"));
    probe.closed().await;
    assert_eq!(reason(&socket).await, CloseReason::ForcedClose);
}

/// The client sends all the time, on its current transport, and gets everything back: once, and in order.
/// Covers: S-121, R-07
pub async fn s132_an_upgrade_loses_nothing() {
    const MESSAGES: usize = 300;
    let host = Host::echo(builder()).await;
    let client = Polling::open(host.addr).await;
    let mut numbers = 0..MESSAGES;
    let mut received = Vec::new();
    let mut probe = WebSocket::probe(&client).await;
    for round in 0..8 {
        if round == 4 {
            probe.send("2probe").await;
            assert_eq!(probe.next().await, Frame::text("3probe"));
        }
        let body: Vec<String> = numbers.by_ref().take(10).map(|number| format!("4{number}")).collect();
        assert_eq!(client.post(body.join("\x1e")).await.brief(), (200, "ok"));
        let packets = client.get().await;
        received.extend(packets.text().split('\x1e').filter(|packet| *packet != "6").map(str::to_owned));
    }
    probe.send("5").await;
    for number in numbers {
        probe.send(&format!("4{number}")).await;
    }
    while received.len() < MESSAGES {
        let Frame::Text(text) = probe.next().await else { panic!("everything is text") };
        received.push(text);
    }
    assert_eq!(received, (0..MESSAGES).map(|number| format!("4{number}")).collect::<Vec<_>>());
}
