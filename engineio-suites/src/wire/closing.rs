//! The ends of a session, in order and otherwise.

use std::time::Duration;

use crate::adapter::{CloseReason, Socket};
use crate::host::{Host, builder, reason};
use crate::raw::{CLOSE, Frame, Polling, TEXT, WebSocket, frame, within};

const UNKNOWN: (u16, &str) = (400, r#"{"code":1,"message":"Session ID unknown"}"#);

async fn polling() -> (Host, Polling, Socket) {
    let host = Host::start(builder()).await;
    let client = Polling::open(host.addr).await;
    let socket = host.accept().await;
    (host, client, socket)
}

async fn websocket() -> (Host, WebSocket, Socket) {
    let host = Host::start(builder()).await;
    let (client, _) = WebSocket::open(host.addr).await;
    let socket = host.accept().await;
    (host, client, socket)
}

/// Covers: S-055, R-42, R-73
pub async fn t020_the_client_closes_on_polling() {
    let (host, client, socket) = polling().await;
    let mut held = client.start_get().await;
    host.holds(1).await;
    assert_eq!(client.post("1").await.brief(), (200, "ok"));
    assert_eq!(held.response().await.brief(), (200, "6"));
    assert_eq!(client.get().await.brief(), UNKNOWN);
    assert_eq!(client.post("4x").await.brief(), UNKNOWN);
    assert_eq!(reason(&socket).await, CloseReason::TransportClose);
}

/// Covers: S-055, R-73
pub async fn t020_the_client_closes_without_a_get() {
    let (_host, client, socket) = polling().await;
    assert_eq!(client.post("1").await.brief(), (200, "ok"));
    assert_eq!(client.get().await.brief(), UNKNOWN);
    assert_eq!(reason(&socket).await, CloseReason::TransportClose);
}

/// Covers: M-018
pub async fn t021_a_close_packet_on_a_websocket() {
    let (_host, mut client, mut socket) = websocket().await;
    client.send("4before").await;
    client.send("1").await;
    client.closed().await;
    assert_eq!(within(socket.recv()).await, Some("before".into()));
    assert_eq!(within(socket.recv()).await, None);
    assert_eq!(socket.close_reason(), Some(CloseReason::TransportClose));
}

/// A close packet and a close frame in one segment, with much data between them.
pub async fn t021_a_close_frame_behind_a_close_packet_is_seen() {
    let (_host, mut client, socket) = websocket().await;
    let mut bytes = frame(TEXT, "1");
    for _ in 0..20 {
        bytes.extend(frame(TEXT, "4ignored"));
    }
    bytes.extend(frame(CLOSE, ""));
    client.connection.write(bytes).await;
    client.closed_with(Frame::close(None)).await;
    assert_eq!(reason(&socket).await, CloseReason::TransportClose);
}

/// With any status, the client has closed; its close frame is answered in kind, and the server ends the connection.
/// Covers: S-138
pub async fn s056_the_client_closes_a_websocket() {
    for (payload, answer) in [
        (&b""[..], Frame::close(None)),
        (b"\x03\xe8", Frame::close(1000)),
        (b"\x03\xe9going away", Frame::Close(Some(1001), "going away".to_owned())),
        (b"\x03\xf3", Frame::close(1011)),
        (b"\x0f\xa0", Frame::close(4000)),
    ] {
        let (_host, mut client, socket) = websocket().await;
        client.frame(CLOSE, payload).await;
        client.closed_with(answer).await;
        assert_eq!(reason(&socket).await, CloseReason::TransportClose, "{payload:?}");
    }
}

pub async fn s056_a_websocket_that_is_gone_is_a_closed_one() {
    for abrupt in [false, true] {
        let (_host, client, socket) = websocket().await;
        client.connection.leave(abrupt);
        assert_eq!(reason(&socket).await, CloseReason::TransportClose);
    }
}

/// Covers: E-005
pub async fn s052_the_server_closes_on_polling() {
    let (host, client, socket) = polling().await;
    let mut held = client.start_get().await;
    host.holds(1).await;
    socket.close();
    assert_eq!(held.response().await.brief(), (200, "1"));
    assert_eq!(client.get().await.brief(), UNKNOWN);
    assert_eq!(socket.close_reason(), Some(CloseReason::ForcedClose));
}

/// Covers: M-039
pub async fn s053_the_server_closes_a_websocket() {
    let (_host, mut client, socket) = websocket().await;
    socket.close();
    assert_eq!(reason(&socket).await, CloseReason::ForcedClose);
    client.closed().await;
}

/// A client that does not answer the close frame is waited for only briefly.
/// Covers: R-57
pub async fn s053_a_goodbye_is_not_waited_for_for_ever() {
    let host = Host::start(builder().close_timeout(Duration::from_millis(50))).await;
    let (mut client, _) = WebSocket::open(host.addr).await;
    let socket = host.accept().await;
    socket.close();
    client.closed_with(Frame::close(None)).await;
    assert_eq!(reason(&socket).await, CloseReason::ForcedClose);
}

/// Covers: R-41
pub async fn m034_a_close_waits_for_a_get() {
    let (_host, client, socket) = polling().await;
    socket.close();
    assert!(!socket.is_open());
    assert_eq!(client.get().await.brief(), (200, "6\x1e1"));
    assert_eq!(socket.close_reason(), Some(CloseReason::ForcedClose));
    assert_eq!(client.get().await.brief(), UNKNOWN);
}

/// Covers: S-083, S-088
pub async fn m035_a_close_waits_for_what_was_sent() {
    let (_host, client, socket) = polling().await;
    socket.try_send("one").unwrap();
    socket.try_send("two").unwrap();
    socket.close();
    assert!(socket.try_send("late").is_err());
    assert_eq!(client.get().await.brief(), (200, "4one\x1e4two"));
    assert_eq!(socket.close_reason(), None);
    client.farewell().await;
    assert_eq!(socket.close_reason(), Some(CloseReason::ForcedClose));
}

pub async fn m036_a_closing_session_listens_no_more() {
    let (_host, client, mut socket) = polling().await;
    socket.close();
    assert_eq!(client.post("4ignored").await.brief(), (200, "ok"));
    assert_eq!(socket.close_reason(), None);
    assert_eq!(client.post("1").await.brief(), (200, "ok"));
    // Nothing was lost.
    assert_eq!(reason(&socket).await, CloseReason::ForcedClose);
    assert_eq!(within(socket.recv()).await, None);
    assert_eq!(socket.stats().messages_received, 0);
}

/// Covers: R-40
pub async fn m034_a_close_does_not_wait_for_ever() {
    let host = Host::start(builder().close_timeout(Duration::from_millis(20))).await;
    let client = Polling::open(host.addr).await;
    let socket = host.accept().await;
    socket.close();
    assert_eq!(reason(&socket).await, CloseReason::ForcedClose);
    assert_eq!(client.get().await.brief(), UNKNOWN);
}

/// Covers: S-081
pub async fn m038_an_abort_says_so_if_it_can() {
    let (host, client, socket) = polling().await;
    let mut held = client.start_get().await;
    host.holds(1).await;
    socket.abort();
    assert_eq!(held.response().await.brief(), (200, "1"));
    assert_eq!(reason(&socket).await, CloseReason::ForcedClose);

    // The same after a close, and with messages to send.
    let (_host, client, socket) = polling().await;
    socket.try_send("dropped").unwrap();
    socket.close();
    socket.abort();
    assert_eq!(reason(&socket).await, CloseReason::ForcedClose);
    assert_eq!(client.get().await.brief(), UNKNOWN);
}

/// Covers: S-093, R-44
pub async fn s094_everything_is_delivered_before_the_close() {
    let (_host, mut client, socket) = websocket().await;
    let sent: Vec<String> = (0..200).map(|number| format!("{number}:{}", "x".repeat(1000))).collect();
    for text in &sent {
        socket.try_send(text.as_str()).unwrap();
    }
    socket.close();
    for text in &sent {
        assert_eq!(client.next().await, Frame::Text(format!("4{text}")));
    }
    client.closed().await;
    assert_eq!(reason(&socket).await, CloseReason::ForcedClose);
}

/// Covers: S-053
pub async fn m038_an_abort_drops_what_is_buffered() {
    let (_host, mut client, socket) = websocket().await;
    let message = "x".repeat(1 << 16);
    let mut accepted = 0;
    while socket.try_send(message.clone()).is_ok() {
        accepted += 1;
    }
    socket.abort();
    assert_eq!(reason(&socket).await, CloseReason::ForcedClose);
    let mut arrived = 0;
    loop {
        match client.next().await {
            Frame::Text(text) if text.len() == 1 + message.len() => arrived += 1,
            frame => {
                assert_eq!(frame, Frame::close(None));
                break;
            }
        }
    }
    client.frame(CLOSE, "").await;
    client.connection.ended().await;
    assert!(arrived < accepted, "{arrived} of {accepted}");
    assert_eq!(socket.stats().messages_sent, arrived);
}

/// The application does not read, and the last thing that the client sent is its close frame. The session stops reading
/// before that is decoded.
pub async fn s056_a_close_frame_that_was_read_long_ago_is_seen() {
    let host = Host::start(builder().receive_buffer(1)).await;
    let (mut client, _) = WebSocket::open(host.addr).await;
    let mut socket = host.accept().await;
    let mut bytes = Vec::new();
    for _ in 0..500 {
        bytes.extend(frame(TEXT, "4x"));
    }
    bytes.extend(frame(CLOSE, ""));
    client.connection.write(bytes).await;
    assert_eq!(within(socket.recv()).await, Some("x".into()));
    socket.close();
    client.closed_with(Frame::close(None)).await;
    assert_eq!(reason(&socket).await, CloseReason::ForcedClose);
}
