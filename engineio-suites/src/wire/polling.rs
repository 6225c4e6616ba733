//! GET and POST.

use crate::adapter::{CloseReason, Message, TransportError};
use crate::host::{Host, builder, reason};
use crate::raw::{Connection, POLLING, Polling, WEBSOCKET, ask, get, request, sid_of, within};

const OK: &str = "200\ncache-control: no-store\ncontent-length: 2\ncontent-type: text/html\n\nok";
const UNKNOWN: (u16, &str) = (400, r#"{"code":1,"message":"Session ID unknown"}"#);
const BAD: (u16, &str) = (400, r#"{"code":3,"message":"Bad request"}"#);

/// The answer to a GET that carries these packets.
fn payload(packets: &str) -> String {
    let head = format!("200\ncache-control: no-store\ncontent-length: {}\n", packets.len());
    format!("{head}content-type: text/plain; charset=UTF-8\n\n{packets}")
}

/// A session on polling, and the application's side of it.
async fn session() -> (Host, Polling, crate::adapter::Socket) {
    let host = Host::start(builder()).await;
    let client = Polling::open(host.addr).await;
    let socket = host.accept().await;
    (host, client, socket)
}

/// Covers: S-149
pub async fn t008_text() {
    let host = Host::echo(builder()).await;
    let session = Polling::open(host.addr).await;
    assert_eq!(session.post("4hello").await.transcript(), OK);
    assert_eq!(session.get().await.transcript(), payload("4hello"));
}

pub async fn t009_several_packets_in_one_body() {
    let (_host, client, mut socket) = session().await;
    assert_eq!(client.post("4test1\x1e4test2\x1e4test3").await.transcript(), OK);
    for text in ["test1", "test2", "test3"] {
        let message = within(socket.recv()).await.unwrap();
        assert_eq!(message, Message::from(text));
        socket.try_send(message).unwrap();
    }
    assert_eq!(client.get().await.transcript(), payload("4test1\x1e4test2\x1e4test3"));
}

/// Covers: S-099
pub async fn t010_text_and_bytes() {
    let (_host, client, mut socket) = session().await;
    assert_eq!(client.post("4hello\x1ebAQIDBA==").await.transcript(), OK);
    assert_eq!(within(socket.recv()).await, Some("hello".into()));
    assert_eq!(within(socket.recv()).await, Some(vec![1, 2, 3, 4].into()));
    socket.try_send("hey").unwrap();
    socket.try_send(vec![1, 2, 3, 4]).unwrap();
    assert_eq!(client.get().await.transcript(), payload("4hey\x1ebAQIDBA=="));
}

/// Covers: S-106
pub async fn t008_text_in_many_scripts_is_counted_in_bytes() {
    let (_host, client, mut socket) = session().await;
    let text = "石室詩士施氏 ünïcödé 🦀 \u{ffff}\u{0}";
    assert_eq!(client.post(format!("4{text}")).await.transcript(), OK);
    assert_eq!(within(socket.recv()).await, Some(text.into()));
    socket.try_send(text).unwrap();
    assert_eq!(client.get().await.transcript(), payload(&format!("4{text}")));
}

/// A GET is held until there is something to answer.
/// Covers: R-74
pub async fn s087_a_get_is_held() {
    let (host, client, socket) = session().await;
    for text in ["first", "second"] {
        let mut held = client.start_get().await;
        host.holds(1).await;
        socket.try_send(text).unwrap();
        assert_eq!(held.response().await.transcript(), payload(&format!("4{text}")));
        host.holds(0).await;
    }
}

/// Covers: E-006
pub async fn t011_what_is_no_packet_ends_the_session() {
    for body in ["abc", "{}", "", "\x1e", "7", "bA", "b!!!!"] {
        let (host, client, mut socket) = session().await;
        let mut held = client.start_get().await;
        host.holds(1).await;
        assert_eq!(client.post(body).await.brief(), BAD, "{body:?}");
        assert_eq!(held.response().await.brief(), (200, "1"), "{body:?}");
        assert_eq!(client.get().await.brief(), UNKNOWN, "{body:?}");
        assert_eq!(within(socket.recv()).await, None);
        assert_eq!(socket.close_reason(), Some(CloseReason::ParseError), "{body:?}");
    }
}

pub async fn s005_an_unknown_session() {
    let host = Host::start(builder()).await;
    let head = "400\ncontent-length: 41\ncontent-type: application/json\n";
    for sid in ["nope", "constructor", "__proto__", "AAAAAAAAAAAAAAAAAAAA", "%00", "%ff", "a%26b"] {
        for method in ["GET", "POST", "PUT"] {
            let response = ask(host.addr, method, &format!("{POLLING}&sid={sid}"), "", "").await;
            assert_eq!(response.transcript(), format!("{head}\n{}", UNKNOWN.1), "{method} {sid}");
        }
    }
}

/// Covers: R-70, R-72, E-006
pub async fn t012_a_second_get_ends_the_session() {
    let (host, client, socket) = session().await;
    let mut first = client.start_get().await;
    host.holds(1).await;
    assert_eq!(client.get().await.transcript(), "400\ncontent-length: 0\n\n");
    assert_eq!(first.response().await.transcript(), payload("1"));
    assert_eq!(client.get().await.brief(), UNKNOWN);
    assert_eq!(reason(&socket).await, CloseReason::TransportError(TransportError::PollOverlap));
}

/// Covers: T-012
pub async fn r71_a_second_post_ends_the_session() {
    let (host, client, socket) = session().await;
    let mut held = client.start_get().await;
    host.holds(1).await;
    let mut first = client.start_post("content-length: 6\r\n").await;
    assert_eq!(client.post("4second").await.transcript(), "400\ncontent-length: 0\n\n");
    assert_eq!(held.response().await.brief(), (200, "1"));
    first.ended().await;
    assert_eq!(client.post("4third").await.brief(), UNKNOWN);
    assert_eq!(reason(&socket).await, CloseReason::TransportError(TransportError::PostOverlap));
    assert_eq!(socket.stats().messages_received, 0);
}

/// GET and POST are independent of each other.
pub async fn t008_a_post_overlaps_a_held_get() {
    let host = Host::echo(builder()).await;
    let session = Polling::open(host.addr).await;
    for number in 0..20 {
        let mut held = session.start_get().await;
        host.holds(1).await;
        assert_eq!(session.post(format!("4{number}")).await.transcript(), OK);
        assert_eq!(held.response().await.transcript(), payload(&format!("4{number}")));
    }
}

/// Covers: R-08
pub async fn s037_a_plain_request_cannot_name_another_transport() {
    let (_host, client, socket) = session().await;
    socket.try_send("kept").unwrap();
    let target = format!("{WEBSOCKET}&sid={}", client.sid);
    for method in ["GET", "POST", "PUT"] {
        let response = ask(client.addr, method, &target, "", "").await;
        assert_eq!(response.brief(), BAD, "{method}");
    }
    assert_eq!(client.get().await.brief(), (200, "4kept"));
}

/// Covers: R-26
pub async fn sec18_a_session_keeps_its_revision() {
    let (_host, client, socket) = session().await;
    socket.try_send("kept").unwrap();
    for eio in ["EIO=3&", "EIO=5&", ""] {
        let target = format!("/engine.io/?{eio}transport=polling&sid={}", client.sid);
        assert_eq!(get(client.addr, &target).await.brief(), BAD, "{eio}");
        assert_eq!(ask(client.addr, "POST", &target, "", "4x").await.brief(), BAD, "{eio}");
    }
    assert_eq!(client.get().await.brief(), (200, "4kept"));
}

pub async fn m004_other_methods_are_not_supported_and_do_no_harm() {
    let (_host, client, socket) = session().await;
    socket.try_send("kept").unwrap();
    for method in ["PUT", "OPTIONS", "DELETE", "PATCH", "BREW"] {
        let response = ask(client.addr, method, &client.target, "", "").await;
        assert_eq!(response.transcript(), "500\ncontent-length: 0\n\n", "{method}");
    }
    let mut connection = Connection::open(client.addr).await;
    connection.write(request("HEAD", &client.target, "", b"")).await;
    assert_eq!(connection.response_head().await.status, 500);
    assert_eq!(client.get().await.brief(), (200, "4kept"));
}

pub async fn m010_packets_before_a_broken_one_count() {
    for body in ["4a\x1e", "4a\x1e\x1e4b", "4a\x1ez\x1e4b"] {
        let (_host, client, mut socket) = session().await;
        assert_eq!(client.post(body).await.brief(), BAD, "{body:?}");
        assert_eq!(within(socket.recv()).await, Some("a".into()), "{body:?}");
        assert_eq!(within(socket.recv()).await, None, "{body:?}");
        assert_eq!(socket.close_reason(), Some(CloseReason::ParseError), "{body:?}");
    }
}

pub async fn m011_an_empty_body_is_no_payload() {
    let (_host, client, socket) = session().await;
    assert_eq!(client.post("").await.brief(), BAD);
    assert_eq!(reason(&socket).await, CloseReason::ParseError);
}

pub async fn m012_empty_messages_are_messages() {
    let (_host, client, mut socket) = session().await;
    assert_eq!(client.post("4\x1eb").await.transcript(), OK);
    assert_eq!(within(socket.recv()).await, Some("".into()));
    assert_eq!(within(socket.recv()).await, Some(Vec::new().into()));
    socket.try_send("").unwrap();
    socket.try_send(Vec::new()).unwrap();
    assert_eq!(client.get().await.transcript(), payload("4\x1eb"));
}

pub async fn m013_base64_is_read_with_either_alphabet_and_without_padding() {
    let (_host, client, mut socket) = session().await;
    assert_eq!(client.post("b+//+BA==\x1eb-__-BA\x1eb+//+BA").await.transcript(), OK);
    for _ in 0..3 {
        assert_eq!(within(socket.recv()).await, Some(vec![0xfb, 0xff, 0xfe, 0x04].into()));
    }
}

/// As the official Java client encodes.
pub async fn m013_white_space_in_base64_is_skipped() {
    let (_host, client, mut socket) = session().await;
    let line = "AAAA".repeat(19);
    let body = format!("bAQIDBA==\n\x1eb{line}\n{line}\n\x1eb A\tQ\r\n==");
    assert_eq!(client.post(body).await.transcript(), OK);
    for expected in [vec![1, 2, 3, 4], vec![0; 114], vec![1]] {
        assert_eq!(within(socket.recv()).await, Some(expected.into()));
    }
    assert_eq!(client.post("bAQ\u{b}==").await.brief(), BAD);
}

pub async fn m014_packets_without_a_meaning_are_ignored() {
    let (_host, client, mut socket) = session().await;
    assert_eq!(client.post("0{}\x1e5\x1e5x\x1e6\x1e4after").await.transcript(), OK);
    assert_eq!(within(socket.recv()).await, Some("after".into()));
    assert_eq!(socket.close_reason(), None);
}

pub async fn m015_pongs_that_nobody_asked_for() {
    let (_host, client, mut socket) = session().await;
    assert_eq!(client.post("3\x1e3probe\x1e4after").await.transcript(), OK);
    assert_eq!(within(socket.recv()).await, Some("after".into()));
    assert_eq!(socket.stats().heartbeats_received, 2);
}

pub async fn m016_a_ping_from_the_client_ends_the_session() {
    for ping in ["2", "2probe"] {
        let (_host, client, mut socket) = session().await;
        assert_eq!(client.post(format!("4a\x1e{ping}\x1e4b")).await.brief(), BAD, "{ping}");
        assert_eq!(within(socket.recv()).await, Some("a".into()));
        assert_eq!(within(socket.recv()).await, None);
        let expected = CloseReason::TransportError(TransportError::HeartbeatDirection);
        assert_eq!(socket.close_reason(), Some(expected), "{ping}");
    }
}

/// Covers: S-057
pub async fn m017_nothing_counts_behind_a_close_packet() {
    let (host, client, mut socket) = session().await;
    let mut held = client.start_get().await;
    host.holds(1).await;
    assert_eq!(client.post("4a\x1e1\x1e4b").await.transcript(), OK);
    assert_eq!(held.response().await.transcript(), payload("6"));
    assert_eq!(within(socket.recv()).await, Some("a".into()));
    assert_eq!(within(socket.recv()).await, None);
    assert_eq!(socket.close_reason(), Some(CloseReason::TransportClose));
}

pub async fn s068_binary_bodies_are_refused() {
    let (host, client, socket) = session().await;
    let mut held = client.start_get().await;
    host.holds(1).await;
    let mut connection = Connection::open(client.addr).await;
    let headers = "content-type: application/octet-stream\r\n";
    connection.write(request("POST", &client.target, headers, b"4abc")).await;
    assert_eq!(connection.response().await.transcript(), "400\ncontent-length: 0\n\n");
    assert_eq!(held.response().await.brief(), (200, "1"));
    assert_eq!(reason(&socket).await, CloseReason::TransportError(TransportError::InvalidContent));
    // The request has finished, and the connection serves the next one.
    connection.write(request("POST", &client.target, "", b"4abc")).await;
    assert_eq!(connection.response().await.brief(), UNKNOWN);
}

pub async fn sec5_binary_bodies_leave_nothing_behind() {
    let host = Host::start(builder()).await;
    let mut connection = Connection::open(host.addr).await;
    for _ in 0..300 {
        connection.get(POLLING).await;
        let target = format!("{POLLING}&sid={}", sid_of(connection.response().await.text()));
        connection.write(request("POST", &target, "content-type: application/octet-stream\r\n", &[4; 1000])).await;
        assert_eq!(connection.response().await.brief(), (400, ""));
        let expected = CloseReason::TransportError(TransportError::InvalidContent);
        assert_eq!(reason(&host.accept().await).await, expected);
    }
    host.holds(0).await;
    assert!(host.server.is_empty());
}

pub async fn m019_any_other_type_is_text() {
    let (_host, client, mut socket) = session().await;
    for content_type in [
        "application/octet-stream; charset=UTF-8",
        "application/x-www-form-urlencoded",
        "text/plain;charset=UTF-8",
        "nonsense",
    ] {
        let headers = format!("content-type: {content_type}\r\n");
        let response = ask(client.addr, "POST", &client.target, &headers, "4\u{20ac}").await;
        assert_eq!(response.transcript(), OK, "{content_type}");
        assert_eq!(within(socket.recv()).await, Some("\u{20ac}".into()), "{content_type}");
    }
}

pub async fn m022_broken_utf8_is_replaced() {
    let (_host, client, mut socket) = session().await;
    assert_eq!(client.post(b"4a\xffb\x1e4\xe2\x82").await.transcript(), OK);
    assert_eq!(within(socket.recv()).await, Some("a\u{fffd}b".into()));
    assert_eq!(within(socket.recv()).await, Some("\u{fffd}".into()));
}

/// Covers: SEC-77
pub async fn m023_a_content_encoding_is_ignored() {
    let (_host, client, mut socket) = session().await;
    let response = ask(client.addr, "POST", &client.target, "content-encoding: gzip\r\n", "4plain").await;
    assert_eq!(response.transcript(), OK);
    assert_eq!(within(socket.recv()).await, Some("plain".into()));
}

/// Covers: R-61
pub async fn s060_a_held_get_whose_client_leaves_ends_the_session() {
    for abrupt in [false, true] {
        let (host, client, socket) = session().await;
        let held = client.start_get().await;
        host.holds(1).await;
        held.leave(abrupt);
        assert_eq!(reason(&socket).await, CloseReason::TransportError(TransportError::PollLost));
        assert_eq!(socket.close_reason().unwrap().to_string(), "transport error: poll connection closed prematurely");
        assert_eq!(client.get().await.brief(), UNKNOWN);
        host.holds(0).await;
    }
}

/// The client has left when it is answered. The messages in the answer are lost, and the session ends.
/// Covers: R-45
pub async fn r79_an_answer_that_cannot_be_written() {
    // Repeated until the server does not detect one before the other.
    loop {
        let (host, client, socket) = session().await;
        let held = client.start_get().await;
        host.holds(1).await;
        held.reset();
        let sent = socket.try_send("lost");
        assert_eq!(reason(&socket).await, CloseReason::TransportError(TransportError::PollLost));
        assert_eq!(client.get().await.brief(), UNKNOWN);
        if sent.is_ok() {
            break;
        }
    }
}

pub async fn r79_an_answer_that_is_written_in_part() {
    let (_host, client, socket) = session().await;
    // More than the buffers of two sockets hold.
    socket.try_send("x".repeat(32 << 20)).unwrap();
    let mut get = client.start_get().await;
    assert_eq!(get.response_head().await.status, 200);
    get.reset();
    assert_eq!(reason(&socket).await, CloseReason::TransportError(TransportError::PollLost));
}

/// The second answer arrives, and says nothing about the first.
pub async fn r116_a_later_answer_does_not_hide_the_loss_of_an_earlier_one() {
    let (_host, client, socket) = session().await;
    // More than the buffers of two sockets hold.
    socket.try_send("x".repeat(32 << 20)).unwrap();
    let mut first = client.start_get().await;
    assert_eq!(first.response_head().await.status, 200);
    socket.try_send("second").unwrap();
    assert_eq!(client.get().await.brief(), (200, "4second"));
    assert_eq!((socket.close_reason(), socket.stats().messages_written), (None, 0));
    first.reset();
    assert_eq!(reason(&socket).await, CloseReason::TransportError(TransportError::PollLost));
}

/// A session that closes in order, and whose last answer is lost, says so.
pub async fn s083_an_orderly_close_whose_last_answer_is_lost() {
    let (_host, client, socket) = session().await;
    socket.try_send("x".repeat(32 << 20)).unwrap();
    let mut get = client.start_get().await;
    assert_eq!(get.response_head().await.status, 200);
    socket.close();
    get.reset();
    assert_eq!(reason(&socket).await, CloseReason::TransportLost);
}

pub async fn s060_a_post_whose_client_leaves_ends_the_session() {
    for abrupt in [false, true] {
        let (host, client, socket) = session().await;
        let mut post = client.start_post("content-length: 100\r\n").await;
        post.write("4partial").await;
        post.leave(abrupt);
        assert_eq!(reason(&socket).await, CloseReason::TransportError(TransportError::PostLost));
        assert_eq!(socket.stats().messages_received, 0);
        host.holds(0).await;
    }
}

pub async fn s061_nothing_needs_a_lasting_connection() {
    let host = Host::echo(builder()).await;
    let mut handshake = Connection::open(host.addr).await;
    handshake.write(request("GET", POLLING, "connection: close\r\n", b"")).await;
    let response = handshake.response().await;
    assert_eq!(response.header("connection"), Some("close"));
    handshake.ended().await;
    let target = format!("{POLLING}&sid={}", sid_of(response.text()));
    for number in 0..3 {
        for (method, body, answer) in
            [("POST", format!("4{number}"), "ok".to_owned()), ("GET", String::new(), format!("4{number}"))]
        {
            let mut connection = Connection::open(host.addr).await;
            connection.write(request(method, &target, "connection: close\r\n", body.as_bytes())).await;
            assert_eq!(connection.response().await.brief(), (200, answer.as_str()));
            connection.ended().await;
        }
    }
}

/// Covers: R-62
pub async fn s067_a_close_ends_the_post_that_is_on_its_way() {
    // In order, with a GET to report it, or at once.
    for in_order in [true, false] {
        let (host, client, socket) = session().await;
        let mut post = client.start_post("content-length: 100\r\n").await;
        post.write("4partial").await;
        if in_order {
            let mut held = client.start_get().await;
            host.holds(2).await;
            socket.close();
            assert_eq!(held.response().await.brief(), (200, "1"));
        } else {
            socket.abort();
        }
        post.ended().await;
        assert_eq!(reason(&socket).await, CloseReason::ForcedClose);
        host.holds(0).await;
    }
}

pub async fn s102_a_large_body_in_many_pieces() {
    let (_host, client, mut socket) = session().await;
    let text = "0123456789".repeat(99_999);
    let bytes = request("POST", &client.target, "", format!("4{text}").as_bytes());
    let mut connection = Connection::open(client.addr).await;
    for piece in bytes.chunks(100_003) {
        connection.write(piece).await;
    }
    assert_eq!(connection.response().await.transcript(), OK);
    assert_eq!(within(socket.recv()).await, Some(text.into()));
}

pub async fn s103_a_chunked_body() {
    let (_host, client, mut socket) = session().await;
    let mut connection = Connection::open(client.addr).await;
    let head = format!("POST {} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n", client.target);
    connection.write(head).await;
    for piece in ["3\r\n4he\r\n", "3\r\nllo\r\n", "5\r\n\x1e4", "hey\r\n", "0\r\n", "x-trailer: ignored\r\n\r\n"] {
        connection.write(piece).await;
    }
    assert_eq!(connection.response().await.transcript(), OK);
    assert_eq!(within(socket.recv()).await, Some("hello".into()));
    assert_eq!(within(socket.recv()).await, Some("hey".into()));
}

/// Covers: S-148
pub async fn s147_old_browsers_are_told_not_to_mangle() {
    let host = Host::echo(builder().max_payload(100)).await;
    for (agent, told) in [
        ("Mozilla/5.0 (compatible;MSIE 8.0; Windows NT 6.0; Trident/4.0)", true),
        ("Mozilla/4.0 (compatible;MSIE 7.0; Windows NT 6.0)", true),
        ("Mozilla/5.0 (Windows NT 6.3; Trident/7.0; rv:11.0) like Gecko", true),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", false),
    ] {
        let headers = format!("user-agent: {agent}\r\n");
        let handshake = ask(host.addr, "GET", POLLING, &headers, "").await;
        let target = format!("{POLLING}&sid={}", sid_of(handshake.text()));
        let post = ask(host.addr, "POST", &target, &headers, "4x").await;
        let poll = ask(host.addr, "GET", &target, &headers, "").await;
        for response in [&handshake, &post, &poll] {
            assert_eq!(response.header("x-xss-protection"), told.then_some("0"), "{agent}");
            assert_eq!(response.header("cache-control"), Some("no-store"));
        }
        let too_large = ask(host.addr, "POST", &target, &headers, [b'4'; 101]).await;
        let refused = ask(host.addr, "GET", &format!("{target}x"), &headers, "").await;
        for response in [&too_large, &refused] {
            assert_eq!(response.header("x-xss-protection"), None, "{agent}");
        }
    }
}

/// What does not fit into one payload waits for the next GET; a message above the limit is sent alone.
/// Covers: R-76
pub async fn e007_payloads_keep_to_the_limit() {
    let host = Host::start(builder().max_payload(10)).await;
    let client = Polling::open(host.addr).await;
    let socket = host.accept().await;
    for text in ["abc", "def", "gh", "0123456789abcdef", "ij"] {
        socket.try_send(text).unwrap();
    }
    for expected in ["4abc\x1e4def", "4gh", "40123456789abcdef", "4ij"] {
        assert_eq!(client.get().await.transcript(), payload(expected));
    }
}
