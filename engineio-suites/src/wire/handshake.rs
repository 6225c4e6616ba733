//! How a session is opened, and when a handshake is rejected.

use crate::adapter::{Message, Refusal, TransportKind};
use crate::host::{Host, Reports, builder, reason};
use crate::raw::{Connection, Frame, POLLING, UPGRADE, WEBSOCKET, WebSocket, ask, get, request, sid_of};

/// The answer to a rejected request without an upgrade.
fn refusal(code: u8, message: &str) -> String {
    let body = format!(r#"{{"code":{code},"message":"{message}"}}"#);
    format!("400\ncontent-length: {}\ncontent-type: application/json\n\n{body}", body.len())
}

/// Covers: S-023, S-028, S-029, S-031, S-036, S-149
pub async fn t001_polling() {
    let host = Host::start(crate::adapter::builder().ping_timeout(std::time::Duration::from_millis(12_345))).await;
    assert!(host.server.is_empty());
    let response = get(host.addr, POLLING).await;
    let sid = sid_of(response.text());
    assert_eq!(sid.len(), 20);
    let body = format!(
        r#"0{{"sid":"{sid}","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":12345,"maxPayload":1000000}}"#
    );
    let head = format!("200\ncache-control: no-store\ncontent-length: {}\n", body.len());
    assert_eq!(response.transcript(), format!("{head}content-type: text/plain; charset=UTF-8\n\n{body}"));
    assert_eq!(host.server.len(), 1);
    assert_eq!(host.server.get(&sid).unwrap().transport(), TransportKind::Polling);
}

/// Covers: S-043
pub async fn t002_the_revision_must_be_4() {
    let reports = Reports::default();
    let host = Host::start(reports.of(builder())).await;
    for eio in ["", "EIO=abc&", "EIO=3&", "EIO=5&", "EIO=04&", "EIO=&", "EIO=4&EIO=3&"] {
        let response = get(host.addr, &format!("/engine.io/?{eio}transport=polling")).await;
        assert_eq!(response.transcript(), refusal(5, "Unsupported protocol version"), "{eio}");
        let text = "Unsupported protocol version".to_owned();
        assert_eq!(reports.take(), [(5, text.clone(), format!("{text}: 3"))], "{eio}");
    }
    assert_eq!(host.server.len(), 0);
}

/// Covers: S-001, S-002, S-003, S-011, SEC-4
pub async fn t003_the_transport_must_be_known() {
    let reports = Reports::default();
    let host = Host::start(reports.of(builder())).await;
    for transport in ["", "abc", "__proto__", "constructor", "hasOwnProperty", "%5f_proto__", "webtransport", "Polling"]
    {
        let response = get(host.addr, &format!("/engine.io/?EIO=4&transport={transport}")).await;
        assert_eq!(response.transcript(), refusal(0, "Transport unknown"), "{transport}");
        let name = transport.replace("%5f", "_");
        let text = "Transport unknown".to_owned();
        assert_eq!(reports.take(), [(0, text.clone(), format!("{text}: {name:?}"))], "{transport}");
    }
    for target in ["/engine.io/", "/engine.io/?", "/engine.io/?EIO=4", "/engine.io/?EIO=4&sid=x"] {
        assert_eq!(get(host.addr, target).await.transcript(), refusal(0, "Transport unknown"), "{target}");
    }
}

/// An unknown transport is rejected before anything else is checked.
pub async fn t003_the_transport_comes_first() {
    let host = Host::start(builder().allow_request(|_| async { Err(Refusal::new()) })).await;
    for method in ["GET", "POST", "PUT", "OPTIONS"] {
        let response = ask(host.addr, method, "/engine.io/?transport=abc&sid=nope", "", "").await;
        assert_eq!(response.transcript(), refusal(0, "Transport unknown"), "{method}");
    }
}

/// Covers: S-042
pub async fn t004_the_method_must_be_get() {
    let reports = Reports::default();
    let host = Host::start(reports.of(builder())).await;
    for method in ["POST", "PUT", "OPTIONS", "DELETE", "PATCH", "BREW"] {
        let response = ask(host.addr, method, POLLING, "", "").await;
        assert_eq!(response.transcript(), refusal(2, "Bad handshake method"), "{method}");
        let text = "Bad handshake method".to_owned();
        assert_eq!(reports.take(), [(2, text.clone(), text)], "{method}");
    }
    assert_eq!(host.server.len(), 0);
}

pub async fn m003_head_opens_nothing() {
    let host = Host::start(builder()).await;
    let mut connection = Connection::open(host.addr).await;
    connection.write(request("HEAD", POLLING, "", b"")).await;
    let response = connection.response_head().await;
    let body = r#"{"code":2,"message":"Bad handshake method"}"#;
    assert_eq!(
        response.transcript(),
        format!("400\ncontent-length: {}\ncontent-type: application/json\n\n", body.len())
    );
    // There was no body: the next answer begins right here.
    connection.get("/engine.io/").await;
    assert_eq!(connection.response().await.transcript(), refusal(0, "Transport unknown"));
}

/// Covers: S-030, S-032, S-033
pub async fn t005_websocket() {
    let host = Host::start(crate::adapter::builder()).await;
    let mut connection = Connection::open(host.addr).await;
    connection.write(request("GET", WEBSOCKET, UPGRADE, b"")).await;
    let response = connection.response().await;
    assert_eq!(
        response.transcript(),
        "101\nconnection: Upgrade\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\nupgrade: websocket\n\n"
    );
    let mut socket = WebSocket { connection };
    let Frame::Text(open) = socket.next().await else { panic!("text") };
    let sid = sid_of(&open);
    assert_eq!(
        open,
        format!(r#"0{{"sid":"{sid}","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}}"#)
    );
    let accepted = host.accept().await;
    assert_eq!((accepted.id().as_str(), accepted.transport()), (sid.as_str(), TransportKind::WebSocket));
}

/// Covers: T-007, S-004, M-008, SEC-4
pub async fn t006_a_websocket_must_name_revision_and_transport() {
    let reports = Reports::default();
    let host = Host::start(reports.of(builder())).await;
    for (query, code, text) in [
        ("transport=websocket", 5, "Unsupported protocol version"),
        ("EIO=abc&transport=websocket", 5, "Unsupported protocol version"),
        ("EIO=3&transport=websocket", 5, "Unsupported protocol version"),
        ("EIO=4", 0, "Transport unknown"),
        ("EIO=4&transport=abc", 0, "Transport unknown"),
        ("EIO=4&transport=__proto__", 0, "Transport unknown"),
    ] {
        let mut connection = Connection::open(host.addr).await;
        connection.write(request("GET", &format!("/engine.io/?{query}"), UPGRADE, b"")).await;
        assert_eq!(connection.response().await.brief(), (400, text), "{query}");
        connection.ended().await;
        let report = reports.take();
        assert_eq!((report.len(), report[0].0, report[0].1.as_str()), (1, code, text), "{query}");
    }
    assert_eq!(host.server.len(), 0);
}

pub async fn m001_of_a_repeated_parameter_the_last_counts() {
    let host = Host::start(builder()).await;
    let response = get(host.addr, "/engine.io/?EIO=3&transport=abc&EIO=4&transport=polling&sid=x&sid=").await;
    assert_eq!((response.status, response.text().starts_with("0{")), (200, true));
}

pub async fn m002_an_empty_sid_is_none() {
    let host = Host::start(builder()).await;
    let response = get(host.addr, &format!("{POLLING}&sid=")).await;
    assert_eq!(response.status, 200);
    assert!(host.server.get(&sid_of(response.text())).is_some());
}

/// Covers: S-006
pub async fn m005_a_denied_handshake_is_denied_whatever_its_revision() {
    let reports = Reports::default();
    let deny = |_: &_| async { Err(Refusal::with_message("go \"away\"")) };
    let host = Host::start(reports.of(builder().allow_request(deny))).await;
    for eio in [3, 4] {
        let response = get(host.addr, &format!("/engine.io/?EIO={eio}&transport=polling")).await;
        let body = r#"{"code":4,"message":"go \"away\""}"#;
        let head = format!("403\ncontent-length: {}\ncontent-type: application/json\n", body.len());
        assert_eq!(response.transcript(), format!("{head}\n{body}"));
        let context = r#"Forbidden: "go \"away\"""#.to_owned();
        assert_eq!(reports.take(), [(4, "Forbidden".to_owned(), context)]);
    }
}

/// The revision is checked before an id is generated.
pub async fn m005_a_wrong_revision_needs_no_id() {
    let host = Host::start(builder().generate_id(|_| async { None })).await;
    let response = get(host.addr, "/engine.io/?EIO=3&transport=polling").await;
    assert_eq!(response.transcript(), refusal(5, "Unsupported protocol version"));
    assert_eq!(get(host.addr, POLLING).await.transcript(), refusal(3, "Bad request"));
}

pub async fn s034_without_websocket_nothing_is_offered() {
    let host = Host::start(builder().transports([TransportKind::Polling])).await;
    assert!(get(host.addr, POLLING).await.text().contains(r#""upgrades":[],"#));
    // A disabled transport is unknown, and an upgrade request is treated as any other.
    let response = ask(host.addr, "GET", WEBSOCKET, UPGRADE, "").await;
    assert_eq!(response.transcript(), refusal(0, "Transport unknown"));
}

pub async fn s035_without_polling_there_are_websockets_only() {
    let host = Host::start(builder().transports([TransportKind::WebSocket])).await;
    assert_eq!(get(host.addr, POLLING).await.transcript(), refusal(0, "Transport unknown"));
    let (_socket, sid) = WebSocket::open(host.addr).await;
    assert!(host.server.get(&sid).is_some());
}

pub async fn s035_upgrades_that_are_not_allowed_are_not_offered() {
    let host = Host::start(builder().allow_upgrades(false)).await;
    assert!(get(host.addr, POLLING).await.text().contains(r#""upgrades":[],"#));
}

/// Covers: S-039, S-145, S-146
pub async fn s038_the_application_sees_the_first_request() {
    let host = Host::start(builder()).await;
    let target = format!("{POLLING}&token=a%20b&x=1");
    assert_eq!(ask(host.addr, "GET", &target, "cookie: a=1; b=2\r\nx-own: yes\r\n", "").await.status, 200);
    let session = host.accept().await;
    let seen = session.request();
    assert_eq!(seen.uri(), target.as_str());
    assert_eq!(
        (&seen.headers()["cookie"], &seen.headers()["x-own"]),
        (&"a=1; b=2".parse().unwrap(), &"yes".parse().unwrap())
    );
}

pub async fn s040_a_websocket_needs_an_upgrade() {
    let reports = Reports::default();
    let host = Host::start(reports.of(builder())).await;
    for headers in ["", "connection: keep-alive\r\nupgrade: websocket\r\n", "connection: Upgrade\r\nupgrade: h2c\r\n"] {
        let response = ask(host.addr, "GET", WEBSOCKET, headers, "").await;
        assert_eq!(response.transcript(), refusal(3, "Bad request"), "{headers}");
        let context = "Bad request: websocket is not opened in this way".to_owned();
        assert_eq!(reports.take(), [(3, "Bad request".to_owned(), context)]);
    }
}

pub async fn s032_the_upgrade_header_is_read_without_regard_to_case() {
    let host = Host::start(builder()).await;
    let mut connection = Connection::open(host.addr).await;
    let headers = UPGRADE.replace("websocket\r\n", "WebSocket\r\n").replace("Upgrade", "keep-alive, uPGRADE");
    connection.write(request("GET", WEBSOCKET, &headers, b"")).await;
    let mut socket = WebSocket::accepted(connection).await;
    assert!(matches!(socket.next().await, Frame::Text(open) if open.starts_with("0{")));
}

pub async fn s044_the_initial_message_follows_the_open_packet() {
    let host = Host::start(builder().initial_message("welcome")).await;
    let response = get(host.addr, POLLING).await;
    let (open, initial) = response.text().split_once('\x1e').unwrap();
    assert_eq!((sid_of(open).len(), initial), (20, "4welcome"));

    let (mut socket, _) = WebSocket::open(host.addr).await;
    assert_eq!(socket.next().await, Frame::text("4welcome"));
}

pub async fn s044_an_initial_message_of_bytes() {
    let host = Host::start(builder().initial_message(Message::Binary(vec![1, 2, 3, 4].into()))).await;
    assert!(get(host.addr, POLLING).await.text().ends_with("}\x1ebAQIDBA=="));
    let (mut socket, _) = WebSocket::open(host.addr).await;
    assert_eq!(socket.next().await, Frame::Binary(vec![1, 2, 3, 4]));
}

/// The session is known before its client learns its id, and waits to be accepted.
/// Covers: R-108
pub async fn s030_each_session_is_accepted_once() {
    let host = Host::start(builder()).await;
    let (socket, first) = WebSocket::open(host.addr).await;
    let second = sid_of(get(host.addr, POLLING).await.text());
    let accepted = [host.accept().await, host.accept().await];
    assert_eq!(accepted.each_ref().map(|session| session.id().as_str()), [first.as_str(), second.as_str()]);
    assert_eq!(host.server.len(), 2);
    socket.connection.reset();
    reason(&accepted[0]).await;
    assert_eq!(host.server.len(), 1);
}
