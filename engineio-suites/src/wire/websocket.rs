//! Sessions on a WebSocket, and the rules of WebSockets.

use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, oneshot};

use crate::adapter::mount::HyperService;
use crate::adapter::{CloseReason, Message, Sid, Socket, TransportError};
use crate::host::{Host, builder, reason};
use crate::raw::{
    BINARY, CLOSE, CONTINUATION, Connection, Frame, MORE, PING, PONG, TEXT, UPGRADE, WEBSOCKET, WebSocket, ask, frame,
    request, unmasked, within,
};

const VIOLATION: CloseReason = CloseReason::TransportError(TransportError::Violation);
const TOO_LARGE: CloseReason = CloseReason::TransportError(TransportError::MessageTooLarge);

async fn session() -> (Host, WebSocket, Socket) {
    let host = Host::start(builder()).await;
    let (client, _) = WebSocket::open(host.addr).await;
    let socket = host.accept().await;
    (host, client, socket)
}

/// Covers: S-092
pub async fn t013_text() {
    let host = Host::echo(builder()).await;
    let (mut client, _) = WebSocket::open(host.addr).await;
    for text in ["4hello", "4石室詩士施氏 🦀", "4with\x1eseparator", "4"] {
        client.send(text).await;
        assert_eq!(client.next().await, Frame::text(text));
    }
}

/// Covers: S-095, S-096, S-097, S-098
pub async fn t014_bytes() {
    let host = Host::echo(builder()).await;
    let (mut client, _) = WebSocket::open(host.addr).await;
    for len in [4, 0, 1, 125, 126, 127, 1023, 1024, 65_535, 65_536, 999_999] {
        let bytes: Vec<u8> = (0..len).map(|index: u32| index.to_le_bytes()[0]).collect();
        client.frame(BINARY, &bytes).await;
        assert_eq!(client.next().await, Frame::Binary(bytes));
    }
}

///
pub async fn t013_many_frames_in_one_segment_arrive_without_another_wakeup() {
    let (_host, mut client, mut socket) = session().await;
    for round in 1..=3 {
        let bytes: Vec<u8> = (0..1000).flat_map(|number| frame(TEXT, format!("4{number}"))).collect();
        client.connection.write(bytes).await;
        for number in 0..1000 {
            assert_eq!(within(socket.recv()).await, Some(number.to_string().into()), "round {round}");
        }
    }
    client.connection.write([frame(TEXT, "4last"), frame(TEXT, "4words")].concat()).await;
    drop(client);
    assert_eq!(within(socket.recv()).await, Some("last".into()));
    assert_eq!(within(socket.recv()).await, Some("words".into()));
    assert_eq!(within(socket.recv()).await, None);
}

pub async fn t013_many_frames_in_one_segment_stay_in_order() {
    let host = Host::echo(builder()).await;
    let (mut client, _) = WebSocket::open(host.addr).await;
    let bytes: Vec<u8> = (0..500).flat_map(|number| frame(TEXT, format!("4{number}"))).collect();
    client.connection.write(bytes).await;
    for number in 0..500 {
        assert_eq!(client.next().await, Frame::Text(format!("4{number}")));
    }
}

/// Covers: S-075, M-039, R-43
pub async fn t015_what_is_no_packet_ends_the_session() {
    for text in ["abc", "", "7", "{}", "bA", "b!!!!"] {
        let (_host, mut client, mut socket) = session().await;
        client.send("4before").await;
        client.send(text).await;
        client.closed().await;
        assert_eq!(within(socket.recv()).await, Some("before".into()));
        assert_eq!(within(socket.recv()).await, None);
        assert_eq!(socket.close_reason(), Some(CloseReason::ParseError), "{text:?}");
    }
}

pub async fn m012_empty_messages_are_messages() {
    let (_host, mut client, mut socket) = session().await;
    client.send("4").await;
    client.frame(BINARY, "").await;
    assert_eq!(within(socket.recv()).await, Some("".into()));
    assert_eq!(within(socket.recv()).await, Some(Vec::new().into()));
    socket.try_send("").unwrap();
    socket.try_send(Vec::new()).unwrap();
    assert_eq!(client.next().await, Frame::text("4"));
    assert_eq!(client.next().await, Frame::Binary(Vec::new()));
}

pub async fn m013_base64_is_understood_at_any_time() {
    let (_host, mut client, mut socket) = session().await;
    client.send("bAQIDBA==").await;
    assert_eq!(within(socket.recv()).await, Some(vec![1, 2, 3, 4].into()));
}

pub async fn m013_white_space_in_base64_is_skipped() {
    let (_host, mut client, mut socket) = session().await;
    client.send("bAQID\r\nBA==\n").await;
    assert_eq!(within(socket.recv()).await, Some(vec![1, 2, 3, 4].into()));
}

pub async fn m013_a_client_without_bytes_gets_base64() {
    let host = Host::start(builder()).await;
    for (b64, expected) in [
        ("&b64=1", Frame::text("bAQIDBA==")),
        ("&b64=true", Frame::text("bAQIDBA==")),
        ("&b64=0", Frame::Binary(vec![1, 2, 3, 4])),
        ("&b64=", Frame::Binary(vec![1, 2, 3, 4])),
    ] {
        let mut client = WebSocket::at(host.addr, &format!("{WEBSOCKET}{b64}")).await;
        assert!(matches!(client.next().await, Frame::Text(_)));
        let socket = host.accept().await;
        socket.try_send(vec![1, 2, 3, 4]).unwrap();
        assert_eq!(client.next().await, expected, "{b64}");
    }
}

/// Covers: M-015
pub async fn m014_packets_without_a_meaning_are_ignored() {
    let (_host, mut client, mut socket) = session().await;
    for text in ["0{}", "5", "6", "3", "3probe", "4after"] {
        client.send(text).await;
    }
    assert_eq!(within(socket.recv()).await, Some("after".into()));
    assert_eq!((socket.close_reason(), socket.stats().heartbeats_received), (None, 2));
}

pub async fn m016_a_ping_from_the_client_ends_the_session() {
    for ping in ["2", "2probe"] {
        let (_host, mut client, socket) = session().await;
        client.send(ping).await;
        client.closed().await;
        let expected = CloseReason::TransportError(TransportError::HeartbeatDirection);
        assert_eq!(reason(&socket).await, expected, "{ping}");
    }
}

/// What is written right after the handshake, before its answer, is the beginning of the stream.
pub async fn t013_frames_behind_the_handshake_are_read() {
    let host = Host::echo(builder()).await;
    let mut connection = Connection::open(host.addr).await;
    let bytes = [request("GET", WEBSOCKET, UPGRADE, b""), frame(TEXT, "4first"), frame(BINARY, [7]), frame(TEXT, "4x")];
    let bytes = bytes.concat();
    // The last frame comes in two pieces.
    let (now, later) = bytes.split_at(bytes.len() - 1);
    connection.write(now).await;
    let mut client = WebSocket::accepted(connection).await;
    assert!(matches!(client.next().await, Frame::Text(open) if open.starts_with("0{")));
    assert_eq!(client.next().await, Frame::text("4first"));
    assert_eq!(client.next().await, Frame::Binary(vec![7]));
    client.connection.write(later).await;
    assert_eq!(client.next().await, Frame::text("4x"));
}

/// Covers: SEC-2
pub async fn s008_junk_behind_the_handshake() {
    let host = Host::start(builder()).await;
    for junk in [&[0x00; 64][..], b"\xf0\x80\x00junk junk junk", &[0xff; 64], b"GET / HTTP/1.1\r\n\r\n"] {
        let mut connection = Connection::open(host.addr).await;
        connection.write([&request("GET", WEBSOCKET, UPGRADE, b""), junk].concat()).await;
        let mut client = WebSocket::accepted(connection).await;
        let socket = host.accept().await;
        let end = reason(&socket).await;
        assert!(end == VIOLATION || end == TOO_LARGE, "{end} after {junk:?}");
        // The open packet may have left before the invalid data was read.
        let mut frame = client.next().await;
        if let Frame::Text(_) = frame {
            frame = client.next().await;
        }
        assert_eq!(frame, Frame::close(if end == VIOLATION { 1002 } else { 1009 }));
        client.connection.ended().await;
    }
    assert!(host.server.is_empty());
}

pub async fn t013_a_message_in_fragments() {
    let (_host, mut client, mut socket) = session().await;
    // A character is split, with control frames in between.
    let crab = "🦀".as_bytes();
    client.frame(TEXT & MORE, [b"4", &crab[..1]].concat()).await;
    client.frame(PING, "still there?").await;
    client.frame(CONTINUATION & MORE, "").await;
    client.frame(CONTINUATION & MORE, &crab[1..3]).await;
    client.frame(PONG, "nobody asked").await;
    client.frame(CONTINUATION, &crab[3..]).await;
    client.frame(BINARY & MORE, [1]).await;
    client.frame(CONTINUATION, [2]).await;
    assert_eq!(within(socket.recv()).await, Some("🦀".into()));
    assert_eq!(within(socket.recv()).await, Some(vec![1, 2].into()));
    assert_eq!(client.next().await, Frame::Pong(b"still there?".to_vec()));
}

pub async fn t013_a_stream_in_single_bytes() {
    let (_host, mut client, mut socket) = session().await;
    let bytes = [frame(TEXT, "4hello"), frame(PING, "x"), frame(BINARY, [9; 200])].concat();
    for byte in bytes {
        client.connection.write([byte]).await;
    }
    assert_eq!(within(socket.recv()).await, Some("hello".into()));
    assert_eq!(within(socket.recv()).await, Some(vec![9; 200].into()));
    assert_eq!(client.next().await, Frame::Pong(b"x".to_vec()));
}

pub async fn sec36_pings_are_answered_with_what_they_carry() {
    let (_host, mut client, _socket) = session().await;
    for len in [0_u8, 1, 124, 125] {
        let payload: Vec<u8> = (0..len).collect();
        client.frame(PING, &payload).await;
        assert_eq!(client.next().await, Frame::Pong(payload));
    }
    // Many at once, and none is missed.
    client.connection.write((0..100_u8).flat_map(|number| frame(PING, [number])).collect::<Vec<_>>()).await;
    for number in 0..100 {
        assert_eq!(client.next().await, Frame::Pong(vec![number]));
    }
}

/// A client that sends pings and does not read the answers is not read any further, so it cannot exhaust the memory.
pub async fn sec36_answers_that_are_not_read_are_bounded() {
    let timeout = Duration::from_millis(200);
    let server = builder().ping_interval(timeout).ping_timeout(timeout).build().unwrap();
    // A connection in memory: what it does not hold, the server does.
    let (mut client, io) = tokio::io::duplex(4096);
    let service = HyperService::new(server.clone(), None);
    tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(io), service).with_upgrades());
    client.write_all(&request("GET", WEBSOCKET, UPGRADE, b"")).await.unwrap();
    let socket = within(server.accept()).await;
    let flood = frame(PING, [0; 125]).repeat(10_000);
    tokio::select! {
        _ = client.write_all(&flood) => panic!("the server read everything"),
        reason = reason(&socket) => {
            // The server's ping may have left before everything was full.
            let slow = CloseReason::TransportError(TransportError::SlowConsumer);
            assert!([slow, CloseReason::PingTimeout].contains(&reason), "{reason}");
        }
    }
}

pub async fn sec33_the_first_protocol_is_taken() {
    let host = Host::start(builder()).await;
    for invalid in [" , b", &" ,".repeat(7 * 1024)] {
        let headers = format!("{UPGRADE}sec-websocket-protocol: {invalid}\r\n");
        let response = ask(host.addr, "GET", WEBSOCKET, &headers, "").await;
        assert_eq!(response.brief(), (400, "Invalid Sec-WebSocket-Protocol header"));
    }
    for (offered, taken) in [("a, b", Some("a")), ("chat", Some("chat"))] {
        let mut connection = Connection::open(host.addr).await;
        let headers = format!("{UPGRADE}sec-websocket-protocol: {offered}\r\n");
        connection.write(request("GET", WEBSOCKET, &headers, b"")).await;
        let response = connection.response().await;
        let protocol = taken.map_or(String::new(), |taken: &str| format!("sec-websocket-protocol: {taken}\n"));
        assert_eq!(
            response.transcript(),
            format!(
                "101\nconnection: Upgrade\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\n\
                {protocol}upgrade: websocket\n\n"
            )
        );
        let mut client = WebSocket { connection };
        assert!(matches!(client.next().await, Frame::Text(open) if open.starts_with("0{")));
    }
}

pub async fn sec34_extensions_are_not_negotiated() {
    let host = Host::start(builder()).await;
    for offered in
        ["permessage-deflate; client_max_window_bits", "constructor", "__proto__; a=\"b\"", ";;,,=", "\u{e9}"]
    {
        let mut connection = Connection::open(host.addr).await;
        let headers = format!("{UPGRADE}sec-websocket-extensions: {offered}\r\n");
        connection.write(request("GET", WEBSOCKET, &headers, b"")).await;
        let response = connection.response().await;
        assert_eq!((response.status, response.header("sec-websocket-extensions")), (101, None), "{offered}");
    }
}

/// Covers: S-090
pub async fn sec35_a_message_has_a_limit_by_default() {
    let (_host, mut client, mut socket) = session().await;
    client.frame(BINARY, vec![1; 1_000_000]).await;
    assert_eq!(within(socket.recv()).await.map(|message| message.len()), Some(1_000_000));
    client.frame(BINARY, vec![1; 1_000_001]).await;
    client.closed_with(Frame::close(1009)).await;
    assert_eq!(reason(&socket).await, TOO_LARGE);
}

/// The length alone leads to the refusal.
pub async fn sec35_an_announced_message_has_a_limit() {
    for len in [1_000_001_u64, 1 << 32, (1 << 63) - 1, u64::MAX] {
        let (_host, mut client, socket) = session().await;
        let header = [&[BINARY, 0xff][..], &len.to_be_bytes(), &[0; 4]].concat();
        client.connection.write(header).await;
        client.closed_with(Frame::close(1009)).await;
        assert_eq!(reason(&socket).await, TOO_LARGE, "{len}");
    }
}

/// The server's close frame is read although the client is still sending.
pub async fn sec35_the_reason_reaches_a_client_that_still_sends() {
    let (_host, mut client, socket) = session().await;
    let bytes = frame(BINARY, vec![0; 8_000_000]);
    for piece in bytes.chunks(64 * 1024) {
        client.connection.write(piece).await;
    }
    client.closed_with(Frame::close(1009)).await;
    assert_eq!(reason(&socket).await, TOO_LARGE);
}

pub async fn sec30_many_small_fragments_are_one_message() {
    let host = Host::start(builder().max_payload(1000)).await;
    for (fragment, len) in [(&b"x"[..], 1001), (b"xyz", 334)] {
        let (mut client, _) = WebSocket::open(host.addr).await;
        let socket = host.accept().await;
        let mut bytes = frame(BINARY & MORE, "");
        bytes.extend((0..len).flat_map(|_| frame(CONTINUATION & MORE, fragment)));
        client.connection.write(bytes).await;
        client.closed_with(Frame::close(1009)).await;
        assert_eq!(reason(&socket).await, TOO_LARGE);
    }
    // Empty ones never reach the limit.
    let (mut client, _) = WebSocket::open(host.addr).await;
    let mut socket = host.accept().await;
    let mut bytes = frame(TEXT & MORE, "4");
    bytes.extend((0..10_000).flat_map(|_| frame(CONTINUATION & MORE, "")));
    bytes.extend(frame(CONTINUATION, "done"));
    client.connection.write(bytes).await;
    assert_eq!(within(socket.recv()).await, Some("done".into()));
}

/// Each row breaks one rule of RFC 6455; the status says which kind, and the application gets the reason.
///
pub async fn sec38_what_breaks_the_rules_of_websockets() {
    let rsv = |bit: u8| frame(TEXT | bit, "4x");
    let rows: &[(&str, Vec<u8>, u16)] = &[
        ("not masked", unmasked(TEXT, "4x"), 1002),
        ("a close frame that is not masked", unmasked(CLOSE, ""), 1002),
        ("rsv1", rsv(0x40), 1002),
        ("rsv2", rsv(0x20), 1002),
        ("rsv3", rsv(0x10), 1002),
        ("a reserved data opcode", frame(0x83, "4x"), 1002),
        ("a reserved control opcode", frame(0x8b, ""), 1002),
        ("a large control frame", frame(PING, [0; 126]), 1002),
        ("a ping in fragments", frame(PING & MORE, "a"), 1002),
        ("a close frame in fragments", frame(CLOSE & MORE, ""), 1002),
        ("a continuation of nothing", frame(CONTINUATION, "4x"), 1002),
        ("a message inside of a message", [frame(TEXT & MORE, "4x"), frame(TEXT, "4y")].concat(), 1002),
        ("broken text", frame(TEXT, b"4\xff"), 1007),
        ("text that is cut", frame(TEXT, b"4\xe2\x82"), 1007),
        ("a surrogate", frame(TEXT, b"4\xed\xa0\x80"), 1007),
        ("broken text in fragments", [frame(TEXT & MORE, b"4\xf0"), frame(CONTINUATION, b"\xff")].concat(), 1007),
        ("text that is cut in fragments", [frame(TEXT & MORE, b"4"), frame(CONTINUATION, b"\xf0\x9f")].concat(), 1007),
        ("half a close status", frame(CLOSE, [3]), 1002),
        ("a close reason that is no text", frame(CLOSE, b"\x03\xe8\xff"), 1007),
    ];
    for (rule, bytes, status) in rows {
        let (_host, mut client, mut socket) = session().await;
        client.send("4before").await;
        client.connection.write(bytes).await;
        client.closed_with(Frame::close(*status)).await;
        assert_eq!(within(socket.recv()).await, Some("before".into()), "{rule}");
        assert_eq!(within(socket.recv()).await, None, "{rule}");
        assert_eq!(socket.close_reason(), Some(VIOLATION), "{rule}");
    }
}

/// The header of a frame is enough: nothing of what it announces has to arrive.
pub async fn sec38_headers_that_break_the_rules_of_websockets() {
    const LONG: [u8; 8] = [0, 0, 0, 0, 0, 0x0d, 0xbb, 0xa0];
    let rows: &[(&str, &[&[u8]])] = &[
        ("not masked", &[&[BINARY, 127], &LONG]),
        ("rsv1", &[&[BINARY | 0x40]]),
        ("rsv2", &[&[BINARY | 0x20]]),
        ("rsv3", &[&[TEXT | 0x10]]),
        ("a reserved data opcode", &[&[0x83]]),
        ("a reserved control opcode", &[&[0x8b]]),
        ("a large ping", &[&[PING, 0xfe]]),
        ("a large close frame", &[&[CLOSE, 0xff]]),
        ("a ping in fragments", &[&[PING & MORE]]),
        ("a continuation of nothing", &[&[CONTINUATION]]),
        ("a message inside of a message", &[&frame(TEXT & MORE, "4x"), &[TEXT]]),
    ];
    for (rule, bytes) in rows {
        let (_host, mut client, mut socket) = session().await;
        client.send("4before").await;
        client.connection.write(bytes.concat()).await;
        client.closed_with(Frame::close(1002)).await;
        assert_eq!(within(socket.recv()).await, Some("before".into()), "{rule}");
        assert_eq!(within(socket.recv()).await, None, "{rule}");
        assert_eq!(socket.close_reason(), Some(VIOLATION), "{rule}");
    }
}

pub async fn sec38_a_close_status_that_no_peer_may_send() {
    for status in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 0xffff] {
        let (_host, mut client, socket) = session().await;
        client.frame(CLOSE, status.to_be_bytes()).await;
        let Frame::Close(Some(1002), _) = client.next().await else { panic!("{status}") };
        client.connection.ended().await;
        assert_eq!(reason(&socket).await, VIOLATION, "{status}");
    }
}

pub async fn s105_pings_get_through_between_large_messages() {
    let host = Host::start(builder().ping_interval(Duration::from_millis(5))).await;
    let (mut client, _) = WebSocket::open(host.addr).await;
    let socket = host.accept().await;
    let sender = socket.handle();
    tokio::spawn(async move {
        for _ in 0..100 {
            sender.send(vec![7; 64 * 1024]).await.unwrap();
        }
    });
    let everything = async {
        let (mut messages, mut pings) = (0, 0);
        while messages < 100 || pings < 3 {
            match client.next().await {
                Frame::Binary(bytes) if bytes == [7; 64 * 1024] => messages += 1,
                Frame::Text(ping) if ping == "2" => {
                    pings += 1;
                    client.send("3").await;
                }
                other => panic!("{other:?}"),
            }
        }
        messages
    };
    assert_eq!((within(everything).await, socket.close_reason()), (100, None));
}

/// Text with a separator can be sent on a WebSocket, but not by polling.
pub async fn t013_a_separator_in_text() {
    let (_host, mut client, socket) = session().await;
    socket.try_send(Message::from("a\x1eb")).unwrap();
    assert_eq!(client.next().await, Frame::text("4a\x1eb"));
}

/// Invalid data arrives, or the client leaves, while the id of the session is being generated.
/// Covers: SEC-12
pub async fn sec2_a_client_that_does_not_wait_for_its_id() {
    let (entered, mut handshakes) = mpsc::unbounded_channel();
    let host = Host::start(builder().generate_id(move |_| {
        let (permit, gate) = oneshot::channel();
        entered.send(permit).unwrap();
        async { gate.await.ok() }
    }))
    .await;
    let plain = request("GET", WEBSOCKET, UPGRADE, b"");
    let sid = |text| Sid::new(text).unwrap();

    // The client leaves: the handshake is dropped, and with it the future that waits for the id.
    for abrupt in [false, true] {
        let mut connection = Connection::open(host.addr).await;
        connection.write(&plain).await;
        let mut permit = within(handshakes.recv()).await.unwrap();
        connection.leave(abrupt);
        within(permit.closed()).await;
    }
    assert!(host.server.is_empty());

    // The client sends invalid data, and leaves or stays: the session ends as soon as it begins.
    let mut connection = Connection::open(host.addr).await;
    connection.write([&plain, &b"\x70junk"[..]].concat()).await;
    let permit = within(handshakes.recv()).await.unwrap();
    connection.reset();
    // If another thread notices the reset first, no session begins.
    let _ = permit.send(sid("left"));

    let mut connection = Connection::open(host.addr).await;
    connection.write(&plain).await;
    let permit = within(handshakes.recv()).await.unwrap();
    connection.write(unmasked(0x70 | TEXT, "junk")).await;
    permit.send(sid("stayed")).unwrap();
    let mut client = WebSocket::accepted(connection).await;
    let mut socket = host.accept().await;
    if *socket.id() == sid("left") {
        assert!(matches!(reason(&socket).await, CloseReason::TransportClose | VIOLATION));
        socket = host.accept().await;
    }
    assert_eq!(reason(&socket).await, VIOLATION);
    let mut frame = client.next().await;
    if let Frame::Text(_) = frame {
        frame = client.next().await;
    }
    assert_eq!(frame, Frame::close(1002));
    client.connection.ended().await;
    assert!(host.server.is_empty());
}
