//! Limits on size and time.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use tokio::time::sleep;

use crate::adapter::{CloseReason, Message, Server, Socket, TransportError, TransportKind};
use crate::host::{Host, builder, reason};
use crate::raw::{BINARY, Connection, Frame, POLLING, Polling, TEXT, WebSocket, frame, get, request, within};

const TOO_LARGE: &str = "413\ncontent-length: 0\n\n";

async fn session(limit: usize) -> (Host, Polling, Socket) {
    let host = Host::start(builder().max_payload(limit)).await;
    let client = Polling::open(host.addr).await;
    let socket = host.accept().await;
    (host, client, socket)
}

const PAYLOAD_TOO_LARGE: CloseReason = CloseReason::TransportError(TransportError::PayloadTooLarge);

/// The session has ended because of it, and has received nothing: after the refused body there would be a gap.
async fn is_over(socket: &Socket) {
    assert_eq!(reason(socket).await, PAYLOAD_TOO_LARGE);
    assert_eq!(socket.stats().messages_received, 0);
}

/// Covers: M-020, S-089
pub async fn sec1_the_default_limit_is_a_million_bytes() {
    let host = Host::start(builder()).await;
    let client = Polling::open(host.addr).await;
    let mut socket = host.accept().await;
    let mut body = vec![b'x'; 1_000_001];
    body[0] = b'4';
    body.pop();
    assert_eq!(client.post(&body).await.brief(), (200, "ok"));
    assert_eq!(within(socket.recv()).await.map(|message| message.len()), Some(999_999));
    body.push(b'x');
    assert_eq!(client.post(&body).await.transcript(), TOO_LARGE);
    assert_eq!(reason(&socket).await, PAYLOAD_TOO_LARGE);
}

/// Covers: M-020
pub async fn sec1_a_chunked_body_without_end() {
    let (_host, client, socket) = session(10_000).await;
    let mut connection = Connection::open(client.addr).await;
    let head = format!("POST {} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n", client.target);
    connection.write(head).await;
    let chunk = format!("3e8\r\n{}\r\n", "4".repeat(1000));
    // One more than one and a half times the limit.
    for _ in 0..16 {
        connection.write(&chunk).await;
    }
    assert_eq!(connection.response().await.transcript(), TOO_LARGE);
    is_over(&socket).await;
}

/// A client that is still sending can read the answer, and its connection can be used again.
/// Covers: M-020
pub async fn sec1_the_rest_of_a_large_body_is_dropped() {
    let (host, client, socket) = session(10_000).await;
    let mut connection = Connection::open(client.addr).await;
    let body = vec![b'4'; 500_000];
    connection.write(request("POST", &client.target, "", &body)).await;
    assert_eq!(connection.response().await.transcript(), TOO_LARGE);
    is_over(&socket).await;
    let other = Polling::open(host.addr).await;
    let mut socket = host.accept().await;
    connection.write(request("POST", &other.target, "", b"4again")).await;
    assert_eq!(connection.response().await.brief(), (200, "ok"));
    assert_eq!(within(socket.recv()).await, Some("again".into()));
}

/// Exactly the announced length is read; what follows is another request, and an invalid one.
pub async fn sec1_a_lying_length() {
    let (_host, client, mut socket) = session(100).await;
    let mut connection = Connection::open(client.addr).await;
    let head = format!("POST {} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\n\r\n", client.target);
    connection.write([head.as_bytes(), b"4ab", &[0; 1000]].concat()).await;
    assert_eq!(connection.response().await.brief(), (200, "ok"));
    assert_eq!(connection.response().await.status, 400);
    connection.ended().await;
    assert_eq!(within(socket.recv()).await, Some("ab".into()));
    assert_eq!(socket.close_reason(), None);
}

/// A body may be read up to one and a half times the limit, see below.
/// Covers: M-020
pub async fn sec78_a_huge_length_is_refused_before_the_body() {
    for len in [151_u64, 1 << 32, (1 << 63) - 1] {
        for headers in ["", "expect: 100-continue\r\n"] {
            let (_host, client, socket) = session(100).await;
            let head = format!("POST {} HTTP/1.1\r\nhost: localhost\r\n{headers}", client.target);
            let mut connection = Connection::open(client.addr).await;
            connection.write(format!("{head}content-length: {len}\r\n\r\n")).await;
            assert_eq!(connection.response().await.transcript(), TOO_LARGE, "{len} {headers}");
            is_over(&socket).await;
        }
    }
}

/// The official client counts 1.33 bytes for a byte of binary data, and posts more than the limit. That was answered 413.
pub async fn sec1_a_burst_of_binary_messages_from_the_official_client() {
    let (_host, client, mut socket) = session(1_000_000).await;
    let message = format!("b{}AA==", "AAAA".repeat(333));
    let body = vec![message.as_str(); 750].join("\x1e");
    assert_eq!(body.len(), 1_003_499);
    assert_eq!(client.post(body).await.brief(), (200, "ok"));
    for _ in 0..750 {
        assert_eq!(within(socket.recv()).await, Some(vec![0; 1000].into()));
    }
    assert_eq!(client.post(vec![message; 751].join("\x1e")).await.transcript(), TOO_LARGE);
    assert_eq!(reason(&socket).await, PAYLOAD_TOO_LARGE);
}

/// Bytes count, including types and separators.
/// Covers: S-091
pub async fn m021_the_limit_counts_bytes() {
    for body in ["4123456789a", "4€€€x", "41234\x1e45678", "bAQIDBAUGBw"] {
        let (_host, client, socket) = session(10).await;
        assert_eq!(body.len(), 11);
        assert_eq!(client.post(body).await.transcript(), TOO_LARGE, "{body}");
        is_over(&socket).await;
    }
    let (_host, client, _socket) = session(10).await;
    for body in ["4123456789", "4€€€", "41234\x1e4567"] {
        assert_eq!(body.len(), 10);
        assert_eq!(client.post(body).await.brief(), (200, "ok"), "{body}");
    }
}

/// Covers: S-090
pub async fn m021_the_limit_counts_bytes_on_a_websocket() {
    let host = Host::start(builder().max_payload(10)).await;
    for (first, fits, too_large) in [
        (TEXT, &b"4123456789"[..], &b"4123456789a"[..]),
        (TEXT, "4€€€".as_bytes(), "4€€€x".as_bytes()),
        (BINARY, &[0; 10], &[0; 11]),
    ] {
        let (mut client, _) = WebSocket::open(host.addr).await;
        let mut socket = host.accept().await;
        client.frame(first, fits).await;
        assert!(within(socket.recv()).await.is_some());
        client.frame(first, too_large).await;
        client.closed_with(Frame::close(1009)).await;
        assert_eq!(reason(&socket).await, CloseReason::TransportError(TransportError::MessageTooLarge));
    }
}

/// From server to client there is no such limit.
pub async fn e007_a_large_message_goes_out() {
    let (_host, client, socket) = session(10).await;
    let text = "x".repeat(300_000);
    socket.try_send(text.as_str()).unwrap();
    let response = client.get().await;
    assert_eq!((response.status, response.body.len(), response.text() == format!("4{text}")), (200, 300_001, true));
}

/// The session is looked up before the body is read.
pub async fn sec52_a_body_for_nobody_is_not_awaited() {
    let host = Host::start(builder()).await;
    let mut connection = Connection::open(host.addr).await;
    let target = format!("{POLLING}&sid=nope");
    connection.write(format!("POST {target} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 500000\r\n\r\n4")).await;
    assert_eq!(connection.response().await.brief(), (400, r#"{"code":1,"message":"Session ID unknown"}"#));
}

pub async fn sec71_a_slow_body() {
    let host = Host::start(builder().body_timeout(Duration::from_millis(50))).await;
    let client = Polling::open(host.addr).await;
    let socket = host.accept().await;
    let mut held = client.start_get().await;
    host.holds(1).await;
    let mut post = Connection::open(host.addr).await;
    let head = format!("POST {} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n", client.target);
    post.write(format!("{head}4partial")).await;
    assert_eq!(post.response().await.transcript(), "408\ncontent-length: 0\n\n");
    assert_eq!(held.response().await.brief(), (200, "1"));
    assert_eq!(reason(&socket).await, CloseReason::TransportError(TransportError::PostTimeout));
    // The connection is not kept for the rest.
    post.ended().await;
    host.holds(0).await;
}

pub async fn sec71_slow_headers() {
    let host = Host::start(builder().header_timeout(Duration::from_millis(300))).await;
    for head in ["", "GET /engine.io/?EIO=4&tran", "GET / HTTP/1.1\r\nhost: localhost\r\nx: "] {
        let mut connection = Connection::open(host.addr).await;
        connection.write(head).await;
        let answer = connection.rest().await;
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&answer));
    }
    // A held GET has sent its headers.
    let client = Polling::open(host.addr).await;
    let socket = host.accept().await;
    let mut held = client.start_get().await;
    host.holds(1).await;
    let mut idle = Connection::open(host.addr).await;
    idle.ended().await;
    socket.try_send("late").unwrap();
    assert_eq!(held.response().await.brief(), (200, "4late"));
}

/// What the application does not take stays with the client, on either transport, and arrives in the end.
pub async fn sec72_a_slow_application_slows_the_client_down() {
    let host = Host::start(builder().receive_buffer(1000)).await;
    let client = Polling::open(host.addr).await;
    let mut socket = host.accept().await;
    let body: Vec<String> = (0..100).map(|number| format!("4{number}")).collect();
    let mut post = Connection::open(host.addr).await;
    post.write(request("POST", &client.target, "", body.join("\x1e").as_bytes())).await;
    host.holds(1).await;
    assert!(socket.stats().messages_received < 100);
    for number in 0..100 {
        assert_eq!(within(socket.recv()).await, Some(number.to_string().into()));
    }
    assert_eq!(post.response().await.brief(), (200, "ok"));

    let (mut client, _) = WebSocket::open(host.addr).await;
    let mut socket = host.accept().await;
    let bytes: Vec<u8> = (0..1000).flat_map(|number| frame(TEXT, format!("4{number}"))).collect();
    client.connection.write(bytes).await;
    for number in 0..1000 {
        assert_eq!(within(socket.recv()).await, Some(number.to_string().into()));
    }
}

pub async fn sec44_very_many_tiny_packets() {
    let host = Host::start(builder().receive_buffer(10_000)).await;
    let client = Polling::open(host.addr).await;
    let mut socket = host.accept().await;
    let mut post = Connection::open(host.addr).await;
    post.write(request("POST", &client.target, "", ("4\x1e".repeat(99_999) + "4").as_bytes())).await;
    for _ in 0..100_000 {
        assert_eq!(within(socket.recv()).await, Some("".into()));
    }
    assert_eq!(post.response().await.brief(), (200, "ok"));
}

/// On either transport and on either side. A head that fills the read buffer is before the body.
pub async fn sec1_a_message_keeps_no_other_memory_than_its_own() {
    let host = Host::start(builder()).await;
    let client = Polling::open(host.addr).await;
    let mut socket = host.accept().await;
    let headers = format!("x-pad: {}\r\n", "x".repeat(6000));
    let mut connection = Connection::open(host.addr).await;
    for body in ["4a", "bAQ=="] {
        connection.write(request("POST", &client.target, &headers, body.as_bytes())).await;
        assert_eq!(connection.response().await.brief(), (200, "ok"));
        keeps_only_itself(within(socket.recv()).await);
    }
    let (mut client, _) = WebSocket::open(host.addr).await;
    let mut socket = host.accept().await;
    for (first, payload) in [(TEXT, "4a"), (BINARY, "a"), (TEXT, "bAQ==")] {
        client.frame(first, payload).await;
        keeps_only_itself(within(socket.recv()).await);
    }
    for transport in [TransportKind::Polling, TransportKind::WebSocket] {
        let url = format!("http://{}", host.addr);
        let client = crate::adapter::client(&url).unwrap().transports([transport]).build().unwrap();
        let mut client = within(client.connect()).await.unwrap();
        let socket = host.accept().await;
        for message in [Message::from("a"), vec![1].into()] {
            socket.try_send(message).unwrap();
            keeps_only_itself(within(client.recv()).await);
        }
    }
}

fn keeps_only_itself(message: Option<Message>) {
    let bytes = match message.expect("a message arrives") {
        Message::Text(text) => text.into_bytes(),
        Message::Binary(bytes) => bytes,
    };
    let mut own = bytes.try_into_mut().expect("nobody else has a reference to its memory");
    // Fails if the memory is larger.
    assert!(!own.try_reclaim(64), "there is more memory behind it");
}

/// Half a million noops held a session for 38 ms.
pub async fn sec44_packets_without_a_message_have_a_limit_in_a_post() {
    let (_host, client, mut socket) = session(1_000_000).await;
    assert_eq!(client.post(["6"; 1000].join("\x1e") + "\x1e4a").await.status, 200);
    assert_eq!(within(socket.recv()).await, Some("a".into()));
    let answer = client.post(["6"; 500_000].join("\x1e")).await;
    assert_eq!(answer.brief(), (400, r#"{"code":3,"message":"Bad request"}"#));
    assert_eq!(reason(&socket).await, CloseReason::ParseError);
}

const UNCONFIRMED: CloseReason = CloseReason::TransportError(TransportError::Unconfirmed);

/// A client on polling that shows nothing but its handshake costs a session for a short time only.
pub async fn sec70_a_session_of_which_no_request_follows_ends_soon() {
    let host = Host::start(builder().confirm_timeout(Duration::from_millis(100))).await;
    let (_websocket, _) = WebSocket::open(host.addr).await;
    let on_websocket = host.accept().await;
    let client = Polling::open(host.addr).await;
    let socket = host.accept().await;
    assert_eq!(reason(&socket).await, UNCONFIRMED);
    let unknown = r#"{"code":1,"message":"Session ID unknown"}"#;
    assert_eq!(client.get().await.brief(), (400, unknown));
    assert_eq!(on_websocket.close_reason(), None);
}

/// A full server gives the place of such a session to another client, the oldest one first.
pub async fn sec70_a_full_server_ends_the_oldest_session_of_which_no_request_followed() {
    let host = Host::start(builder().max_sessions(3).confirm_timeout(Duration::from_secs(5))).await;
    let (_websocket, _) = WebSocket::open(host.addr).await;
    let active = Polling::open(host.addr).await;
    let mut held = active.start_get().await;
    let _client = Polling::open(host.addr).await;
    let [on_websocket, active, first] = [host.accept().await, host.accept().await, host.accept().await];
    // Such a client has half a second for its next request.
    while get(host.addr, POLLING).await.status != 200 {
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(reason(&first).await, UNCONFIRMED);
    assert_eq!(host.server.len(), 3);
    assert_eq!([on_websocket.close_reason(), active.close_reason()], [None; 2]);
    active.send("a").await.unwrap();
    assert_eq!(held.response().await.brief(), (200, "4a"));
}

/// Sends to all sessions when it is woken.
struct Broadcasts(Server);

impl Wake for Broadcasts {
    fn wake(self: Arc<Self>) {
        self.0.broadcast("from elsewhere");
    }
}

/// Who sends to a session while its handshake is answered does not take the answer away. Here that is who waits for the
/// end of the session that makes room.
pub async fn the_answer_to_a_handshake_is_not_lost_to_a_broadcast() {
    let host = Host::start(builder().max_sessions(1).confirm_timeout(Duration::from_secs(1))).await;
    let _client = Polling::open(host.addr).await;
    let first = host.accept().await;
    let waker = Waker::from(Arc::new(Broadcasts(host.server.clone())));
    let mut closed = pin!(first.closed());
    assert!(closed.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    while get(host.addr, POLLING).await.status != 200 {
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(reason(&first).await, UNCONFIRMED);
}
