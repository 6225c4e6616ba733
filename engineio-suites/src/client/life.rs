//! Heartbeats, and the ends of a session.

use std::time::Duration;

use futures_util::FutureExt;

use super::script::{Request, Script, WebSocket, open, open_with};
use crate::adapter::net::Endpoint;
use crate::adapter::{
    Client, ClientBuilder, CloseReason, Details, Event, RequestError, SendError, Socket, TcpConnector, TransportError,
    TransportKind,
};
use crate::raw::{CLOSE, Frame, PING, within};
use crate::runtime::Mortal;

const FORCED: CloseReason = CloseReason::ForcedClose;
const GONE: CloseReason = CloseReason::TransportClose;

const fn poll(error: RequestError) -> CloseReason {
    CloseReason::TransportError(TransportError::Poll(error))
}

const fn post(error: RequestError) -> CloseReason {
    CloseReason::TransportError(TransportError::Post(error))
}

async fn closed(socket: &Socket) -> CloseReason {
    within(socket.closed()).await
}

fn websocket_only(script: &Script) -> Client {
    script.client().transports([TransportKind::WebSocket]).build().unwrap()
}

/// A session on polling, and its first poll.
async fn polling(script: &mut Script) -> (Socket, Request) {
    let client = script.polling();
    (script.open(&client, "S", "").await, script.get().await)
}

async fn websocket(script: &mut Script) -> (Socket, WebSocket) {
    let client = websocket_only(script);
    script.open_websocket(&client, &open("S", "")).await
}

/// No task is left, and no request arrives.
async fn all_gone(script: &mut Script) {
    script.stand(0).await;
    assert_eq!(script.pending(), 0);
}

pub async fn pings_are_answered_without_the_application() {
    let mut script = Script::start().await;
    let (socket, mut get) = polling(&mut script).await;
    for number in 1..=5 {
        get.ok("2").await;
        let post = script.post().await;
        assert_eq!(post.text(), "3");
        post.ok("ok").await;
        get = script.get().await;
        assert_eq!(socket.stats().heartbeats_received, number);
    }
    // After a message that is not taken.
    get.ok("4x\x1e2").await;
    assert_eq!(script.post().await.text(), "3");
    drop(socket);

    let mut script = Script::start().await;
    let (socket, mut server) = websocket(&mut script).await;
    for number in 1..=5 {
        server.text("4x").await;
        server.text("2").await;
        assert_eq!(server.next().await, Frame::text("3"));
        assert_eq!(socket.stats().heartbeats_received, number);
    }
    // And those of the WebSocket protocol.
    server.frame(PING, "abc").await;
    assert_eq!(server.next().await, Frame::Pong(b"abc".to_vec()));
}

/// A pong is sent before messages that wait.
pub async fn a_pong_is_not_held_up_by_messages() {
    let mut script = Script::start().await;
    let (socket, get) = polling(&mut script).await;
    socket.try_send("one").unwrap();
    let first = script.post().await;
    socket.try_send("two").unwrap();
    get.ok("2").await;
    let _get = script.get().await;
    first.ok("ok").await;
    assert_eq!(script.post().await.text(), "3\x1e4two");
}

/// Covers: R-50
pub async fn c062_a_server_that_goes_silent() {
    let mut script = Script::start().await;
    let client = script.polling();
    let socket = script.begin(&client, &open_with("S", "", 20, 1000)).await.unwrap();
    let get = script.get().await;
    assert_eq!(closed(&socket).await, CloseReason::PingTimeout);
    get.gone().await;
    let last = script.post().await;
    assert_eq!(last.text(), "1");
    last.ok("ok").await;
    assert_eq!(socket.try_send("late"), Err(SendError::Closed("late".into())));
    all_gone(&mut script).await;

    let client = websocket_only(&script);
    let (socket, server) = script.open_websocket(&client, &open_with("S", "", 20, 1000)).await;
    assert_eq!(closed(&socket).await, CloseReason::PingTimeout);
    server.closed().await;
    all_gone(&mut script).await;
}

/// The ping waits in the socket of a client that stands still for longer than its server may be silent.
pub async fn r120_a_client_that_stood_still_keeps_its_session() {
    for transport in [TransportKind::Polling, TransportKind::WebSocket] {
        let mut script = Script::start().await;
        let host = Mortal::new();
        let endpoint = Endpoint::parse(&script.url).unwrap();
        let builder = ClientBuilder::new(host.runtime(), endpoint, TcpConnector);
        let client = builder.transports([transport]).build().unwrap();
        let connecting = host.start(async move { client.connect().await });
        // An interval and a timeout of one second each.
        let opened = open_with("S", "", 1000, 1000);
        let mut server = None;
        if transport == TransportKind::Polling {
            script.get().await.ok(opened).await;
        } else {
            server.insert(script.websocket().await.accept().await).text(&opened).await;
        }
        let socket = within(connecting).await.unwrap().unwrap();
        let get = if server.is_none() { Some(script.get().await) } else { None };
        let runs = host.stand_still(Duration::from_millis(2500)).await;
        // Messages that are sent meanwhile do not end it.
        socket.try_send("a").unwrap();
        match (get, &mut server) {
            (Some(get), _) => get.ok("2").await,
            (_, Some(server)) => server.text("2").await,
            _ => unreachable!(),
        }
        within(runs).await.unwrap();
        match &mut server {
            None => {
                let mut packets = String::new();
                while !(packets.contains('3') && packets.contains('a')) {
                    let post = script.post().await;
                    packets.push_str(post.text());
                    post.ok("ok").await;
                }
                assert!(["3\x1e4a", "34a", "4a3"].contains(&packets.as_str()), "{packets:?}");
            }
            Some(server) => {
                let mut frames = [server.next().await, server.next().await];
                frames.sort_by_key(|frame| format!("{frame:?}"));
                assert_eq!(frames, [Frame::text("3"), Frame::text("4a")]);
            }
        }
        assert_eq!(socket.close_reason(), None);
        host.end();
    }
}

/// A session on a WebSocket whose peer is a black hole ends all the same.
/// Covers: SEC-72
pub async fn c062_a_server_that_takes_nothing() {
    let mut script = Script::start().await;
    let client = websocket_only(&script);
    let (socket, server) = script.open_websocket(&client, &open_with("S", "", 100, 100_000_000)).await;
    for _ in 0..64 {
        if socket.try_send(vec![0; 1 << 20]).is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(closed(&socket).await, CloseReason::PingTimeout);
    drop(server);
    all_gone(&mut script).await;
}

pub async fn y036_the_server_closes_on_polling() {
    let mut script = Script::start().await;
    let (mut socket, get) = polling(&mut script).await;
    get.ok("6\x1e4a\x1e1\x1e4b").await;
    assert_eq!(closed(&socket).await, GONE);
    assert_eq!(socket.try_send("late"), Err(SendError::Closed("late".into())));
    // What came before its close packet, and nothing after it.
    assert_eq!(within(socket.recv()).await, Some("a".into()));
    assert_eq!(within(socket.recv()).await, None);
    assert_eq!(socket.close_details(), None);
    // Neither a poll nor a close packet.
    all_gone(&mut script).await;
}

pub async fn y036_the_server_closes_with_a_post_under_way() {
    let mut script = Script::start().await;
    let (socket, get) = polling(&mut script).await;
    socket.try_send("lost").unwrap();
    let under_way = script.post().await;
    get.ok("1").await;
    assert_eq!(closed(&socket).await, GONE);
    assert_eq!(within(socket.flush()).await, Err(GONE));
    under_way.gone().await;
    all_gone(&mut script).await;
}

pub async fn y036_a_close_packet_on_a_websocket() {
    let mut script = Script::start().await;
    let (mut socket, mut server) = websocket(&mut script).await;
    server.text("4a").await;
    server.text("1").await;
    assert_eq!(closed(&socket).await, GONE);
    assert_eq!(within(socket.recv()).await, Some("a".into()));
    assert_eq!(within(socket.recv()).await, None);
    server.closed().await;
    all_gone(&mut script).await;
}

pub async fn c059_the_server_closes_a_websocket_with_a_status() {
    let mut script = Script::start().await;
    for (status, reason) in [(1009, ""), (1000, "bye"), (1001, ""), (4321, "näh")] {
        let (socket, mut server) = websocket(&mut script).await;
        socket.try_send("x".repeat(1000)).unwrap();
        assert!(matches!(server.next().await, Frame::Text(_)));
        server.frame(CLOSE, [&u16::to_be_bytes(status)[..], reason.as_bytes()].concat()).await;
        assert_eq!(closed(&socket).await, GONE);
        assert_eq!(GONE.as_str(), "transport close");
        let expected = Details::CloseFrame { code: status, reason: reason.to_owned() };
        assert_eq!(socket.close_details(), Some(expected));
        // Its close frame is answered, and it ends the connection: RFC 6455, section 7.1.1.
        assert!(matches!(server.next().await, Frame::Close(Some(same), _) if same == status));
        server.ended().await;
        all_gone(&mut script).await;
    }
    let (socket, mut server) = websocket(&mut script).await;
    server.frame(CLOSE, "").await;
    assert_eq!((closed(&socket).await, socket.close_details()), (GONE, None));
    assert_eq!(server.next().await, Frame::close(None));
    server.ended().await;
}

pub async fn a_websocket_that_is_cut() {
    let mut script = Script::start().await;
    for how in 0..3 {
        let (mut socket, mut server) = websocket(&mut script).await;
        server.text("4a").await;
        match how {
            0 => drop(server),
            1 => {
                // In order, so that messages arrive first.
                server.frame(PING, "").await;
                assert_eq!(server.next().await, Frame::Pong(Vec::new()));
                server.reset();
            }
            _ => {
                let _ = server.try_half_frame().await;
                drop(server);
            }
        }
        assert_eq!((closed(&socket).await, socket.close_details()), (CloseReason::TransportLost, None));
        assert_eq!(within(socket.recv()).await, Some("a".into()));
        assert_eq!(within(socket.recv()).await, None);
        all_gone(&mut script).await;
    }
}

/// RFC 6455: what a server must not send.
pub async fn a_websocket_that_breaks_the_rules() {
    let mut script = Script::start().await;
    for (first, payload, status) in [
        (0xc1, &b"4a"[..], 1002),
        (0x83, b"", 1002),
        (0x80, b"4a", 1002),
        (0x81, b"4\xff", 1007),
        (0x09, b"", 1002),
        (0x89, &[0; 126], 1002),
    ] {
        let (socket, mut server) = websocket(&mut script).await;
        server.frame(first, payload).await;
        assert_eq!(closed(&socket).await, CloseReason::TransportError(TransportError::Violation), "{first:#x}");
        assert_eq!(server.next().await, Frame::close(status), "{first:#x}");
        server.frame(CLOSE, "").await;
        drop(server);
        all_gone(&mut script).await;
    }
}

pub async fn what_is_no_packet_ends_the_session() {
    const INVALID: CloseReason = CloseReason::TransportError(TransportError::InvalidPacket);
    let mut script = Script::start().await;
    for body in ["", "x", "7", "4a\x1ex\x1e4b", "b%%%", "\x1e"] {
        let (mut socket, get) = polling(&mut script).await;
        get.ok(body).await;
        assert_eq!(closed(&socket).await, INVALID, "{body}");
        if body.starts_with("4a") {
            assert_eq!(within(socket.recv()).await, Some("a".into()));
        }
        assert_eq!(within(socket.recv()).await, None);
        let last = script.post().await;
        assert_eq!(last.text(), "1");
        last.ok("ok").await;
        all_gone(&mut script).await;
    }
    for text in ["", "x", "7"] {
        let (socket, mut server) = websocket(&mut script).await;
        server.text(text).await;
        assert_eq!(closed(&socket).await, INVALID, "{text}");
        server.closed().await;
        all_gone(&mut script).await;
    }
}

pub async fn c058_a_post_that_is_too_large_for_the_server() {
    let mut script = Script::start().await;
    let (socket, get) = polling(&mut script).await;
    socket.try_send("x").unwrap();
    script.post().await.answer(413, "", "no").await;
    assert_eq!(closed(&socket).await, post(RequestError::Status(413)));
    assert_eq!(socket.close_details(), Some(Details::Answer { status: 413, body: "no".into() }));
    get.gone().await;
    // The session may still exist.
    let last = script.post().await;
    assert_eq!(last.text(), "1");
    last.ok("ok").await;
    all_gone(&mut script).await;
}

/// Covers: Y-037, Y-038
pub async fn y037_a_session_that_the_server_does_not_know_any_more() {
    const UNKNOWN: &str = r#"{"code":1,"message":"Session ID unknown"}"#;
    let mut script = Script::start().await;
    let details = Some(Details::Answer { status: 400, body: UNKNOWN.into() });
    let (socket, get) = polling(&mut script).await;
    get.answer(400, "", UNKNOWN).await;
    assert_eq!((closed(&socket).await, socket.close_details()), (poll(RequestError::Status(400)), details.clone()));
    all_gone(&mut script).await;
    let (socket, get) = polling(&mut script).await;
    socket.try_send("x").unwrap();
    script.post().await.answer(400, "", UNKNOWN).await;
    assert_eq!((closed(&socket).await, socket.close_details()), (post(RequestError::Status(400)), details));
    get.gone().await;
    all_gone(&mut script).await;
}

/// Covers: C-049, R-51
pub async fn close_on_polling() {
    let mut script = Script::start().await;
    for messages in 0..3 {
        let (mut socket, get) = polling(&mut script).await;
        if messages > 0 {
            socket.try_send("first").unwrap();
            let under_way = script.post().await;
            for number in 0..messages {
                socket.try_send(format!("{number}")).unwrap();
            }
            socket.close();
            assert_eq!(socket.try_send("late"), Err(SendError::Closed("late".into())));
            assert!(!socket.is_open() && socket.close_reason().is_none());
            assert_eq!(under_way.text(), "4first");
            under_way.ok("ok").await;
        } else {
            socket.close();
        }
        socket.close();
        let last = script.post().await;
        let expected: Vec<String> = (0..messages).map(|number| format!("4{number}")).chain(["1".into()]).collect();
        assert_eq!(last.text(), expected.join("\x1e"));
        // The server releases the poll. No other poll follows.
        get.ok("4bye\x1e6").await;
        assert_eq!(within(socket.recv()).await, Some("bye".into()));
        assert_eq!(socket.close_reason(), None);
        assert!(socket.closed().now_or_never().is_none());
        last.ok("ok").await;
        assert_eq!((closed(&socket).await, closed(&socket).await), (FORCED, FORCED));
        assert_eq!(within(socket.flush()).await, Ok(()));
        assert_eq!(within(socket.recv()).await, None);
        socket.close();
        socket.abort();
        all_gone(&mut script).await;
    }
}

pub async fn close_on_a_websocket() {
    const MESSAGES: usize = 500;
    let mut script = Script::start().await;
    let (socket, mut server) = websocket(&mut script).await;
    for number in 0..MESSAGES {
        socket.try_send(format!("{number}{}", "x".repeat(1000))).unwrap();
    }
    socket.close();
    assert_eq!(socket.try_send("late"), Err(SendError::Closed("late".into())));
    for number in 0..MESSAGES {
        assert_eq!(server.next().await, Frame::Text(format!("4{number}{}", "x".repeat(1000))));
    }
    assert_eq!(server.next().await, Frame::close(None));
    // A program should not exit before the server has confirmed everything.
    assert!(socket.closed().now_or_never().is_none());
    server.frame(CLOSE, "").await;
    assert_eq!(closed(&socket).await, FORCED);
    server.ended().await;
    all_gone(&mut script).await;
}

/// Messages that are not taken do not keep a session from ending.
pub async fn close_with_messages_that_nobody_takes() {
    let mut script = Script::start().await;
    let client = script.client().receive_buffer(1).transports([TransportKind::Polling]).build().unwrap();
    let socket = script.open(&client, "S", "").await;
    script.get().await.ok("4a\x1e4b\x1e4c").await;
    socket.try_send("x").unwrap();
    let under_way = script.post().await;
    socket.close();
    under_way.ok("ok").await;
    let last = script.post().await;
    assert_eq!(last.text(), "1");
    last.ok("ok").await;
    assert_eq!(closed(&socket).await, FORCED);
    all_gone(&mut script).await;
}

/// The requested end fails: if something was lost, it was not an orderly close.
pub async fn close_that_fails() {
    let mut script = Script::start().await;
    for (message, expected) in [(None, FORCED), (Some("lost"), post(RequestError::Lost))] {
        let (socket, get) = polling(&mut script).await;
        if let Some(message) = message {
            socket.try_send(message).unwrap();
        }
        socket.close();
        let last = script.post().await;
        drop(last);
        assert_eq!(closed(&socket).await, expected);
        get.gone().await;
        script.cut_all().await;
    }
}

pub async fn abort_on_polling() {
    let mut script = Script::start().await;
    // With nothing under way, the server is told, and its answer is not waited for.
    let (socket, get) = polling(&mut script).await;
    socket.abort();
    assert_eq!((socket.close_reason(), closed(&socket).await), (Some(FORCED), FORCED));
    get.gone().await;
    let last = script.post().await;
    assert_eq!(last.text(), "1");
    last.ok("ok").await;
    all_gone(&mut script).await;
    // With a POST under way, its loss tells the server.
    let (socket, get) = polling(&mut script).await;
    socket.try_send("one").unwrap();
    let under_way = script.post().await;
    socket.try_send("two").unwrap();
    socket.close();
    socket.abort();
    assert_eq!(closed(&socket).await, FORCED);
    assert_eq!(within(socket.flush()).await, Err(FORCED));
    under_way.gone().await;
    get.gone().await;
    all_gone(&mut script).await;
}

/// A server that does not answer the last POST is waited for only as long as configured.
pub async fn a_farewell_has_a_limit() {
    let mut script = Script::start().await;
    let client = script.client().transports([TransportKind::Polling]).farewell_timeout(Duration::from_millis(20));
    let client = client.build().unwrap();
    let (socket, get) = (script.open(&client, "S", "").await, script.get().await);
    socket.abort();
    assert_eq!(closed(&socket).await, FORCED);
    get.gone().await;
    let began = std::time::Instant::now();
    script.post().await.gone().await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    all_gone(&mut script).await;
}

/// The server does not answer the close packet: that is not waited for.
pub async fn abort_on_a_websocket() {
    let mut script = Script::start().await;
    let (socket, mut server) = websocket(&mut script).await;
    socket.try_send("one").unwrap();
    assert_eq!(server.next().await, Frame::text("4one"));
    socket.abort();
    assert_eq!((socket.close_reason(), closed(&socket).await), (Some(FORCED), FORCED));
    server.closed().await;
    all_gone(&mut script).await;
}

pub async fn abort_of_a_close_that_is_stuck() {
    let mut script = Script::start().await;
    let (socket, server) = websocket(&mut script).await;
    // More than the buffers on the way hold.
    let mut sent = 0;
    while socket.try_send(vec![0; 1 << 19]).is_ok() || sent < 100 {
        sent += 1;
        tokio::task::yield_now().await;
        if sent > 1000 {
            break;
        }
    }
    socket.close();
    assert!(socket.closed().now_or_never().is_none());
    socket.abort();
    assert_eq!(closed(&socket).await, FORCED);
    drop(server);
    all_gone(&mut script).await;
}

/// Dropping the socket closes it in order.
pub async fn dropping_the_socket() {
    let mut script = Script::start().await;
    let (socket, get) = polling(&mut script).await;
    let handle = socket.handle();
    socket.try_send("one").unwrap();
    let under_way = script.post().await;
    socket.try_send("two").unwrap();
    // What arrives now is not taken.
    drop(socket);
    assert_eq!(handle.try_send("three"), Err(SendError::Closed("three".into())));
    get.ok("4for nobody").await;
    let get = script.get().await;
    under_way.ok("ok").await;
    let last = script.post().await;
    assert_eq!(last.text(), "4two\x1e1");
    last.ok("ok").await;
    assert_eq!(within(handle.closed()).await, FORCED);
    get.gone().await;
    all_gone(&mut script).await;

    let (socket, mut server) = websocket(&mut script).await;
    socket.try_send("one").unwrap();
    drop(socket);
    assert_eq!(server.next().await, Frame::text("4one"));
    server.closed().await;
    all_gone(&mut script).await;
}

/// The runtime of the client ends with all its tasks: those who wait on another runtime are told.
pub async fn the_runtime_ends() {
    for transport in [TransportKind::Polling, TransportKind::WebSocket] {
        let mut script = Script::start().await;
        let runtime = Mortal::new();
        let endpoint = Endpoint::parse(&script.url).unwrap();
        let builder = ClientBuilder::new(runtime.runtime(), endpoint, TcpConnector);
        let client = builder.transports([transport]).build().unwrap();
        let connecting = tokio::spawn(async move { client.connect().await });
        let mut server = None;
        if transport == TransportKind::Polling {
            script.get().await.ok(open("S", "")).await;
        } else {
            server.insert(script.websocket().await.accept().await).text(&open("S", "")).await;
        }
        let mut socket = within(connecting).await.unwrap().unwrap();
        let handle = socket.handle();
        let waiting = tokio::spawn(async move { handle.closed().await });
        tokio::task::yield_now().await;
        runtime.end();
        within(waiting).await.unwrap();
        assert_eq!(within(socket.recv()).await, None);
        assert_eq!(socket.try_send("late"), Err(SendError::Closed("late".into())));
        drop(server);
        script.cut_all().await;
    }
}

/// All waits end at once after `close`, also in other tasks.
pub async fn everybody_who_waits_learns_of_the_end() {
    let mut script = Script::start().await;
    let client = script.client().transports([TransportKind::Polling]).send_buffer(1, 0).build().unwrap();
    let mut socket = script.open(&client, "S", "").await;
    let get = script.get().await;
    socket.try_send("one").unwrap();
    let under_way = script.post().await;
    socket.try_send("two").unwrap();
    let handle = socket.handle();
    let sending = tokio::spawn({
        let handle = handle.clone();
        async move { handle.send("three").await }
    });
    let flushing = tokio::spawn({
        let handle = handle.clone();
        async move { handle.flush().await }
    });
    let closing = tokio::spawn(async move { handle.closed().await });
    let receiving = tokio::spawn(async move { socket.recv().await });
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert!(!sending.is_finished() && !flushing.is_finished() && !closing.is_finished() && !receiving.is_finished());
    get.ok("1").await;
    assert_eq!(within(sending).await.unwrap(), Err(SendError::Closed("three".into())));
    assert_eq!(within(flushing).await.unwrap(), Err(GONE));
    assert_eq!(within(closing).await.unwrap(), GONE);
    assert_eq!(within(receiving).await.unwrap(), None);
    under_way.gone().await;
    all_gone(&mut script).await;
}

/// Pings are answered until the end.
pub async fn r114_a_ping_while_closing() {
    let mut script = Script::start().await;
    let (socket, get) = polling(&mut script).await;
    socket.try_send("one").unwrap();
    let under_way = script.post().await;
    socket.try_send("two").unwrap();
    socket.close();
    get.ok("2").await;
    let get = script.get().await;
    under_way.ok("ok").await;
    let last = script.post().await;
    assert_eq!(last.text(), "3\x1e4two\x1e1");
    last.ok("ok").await;
    assert_eq!(closed(&socket).await, FORCED);
    get.gone().await;
    all_gone(&mut script).await;
}

pub async fn events_end_with_the_reason() {
    let mut script = Script::start().await;
    let client = script.polling();
    let mut events = script.open_observed(&client, "S", "").await;
    let get = script.get().await;
    events.handle().try_send("x").unwrap();
    script.post().await.ok("ok").await;
    within(events.handle().flush()).await.unwrap();
    get.ok("2\x1e4a\x1e1").await;
    within(events.handle().closed()).await;
    // Observed after the end.
    let mut seen = Vec::new();
    while let Some(event) = within(events.next()).await {
        seen.push(event);
    }
    assert_eq!(
        seen,
        [Event::Flush { packets: 1 }, Event::Drain, Event::Heartbeat, Event::Message("a".into()), Event::Close(GONE)]
    );
}
