//! Requests for other paths, other upgrades, and hostile clients.

use crate::adapter::{Mount, Refusal};
use crate::host::{Host, Reports, builder};
use crate::raw::{Connection, Frame, POLLING, Polling, UPGRADE, WEBSOCKET, WebSocket, ask, get, request, within};

const NOT_FOUND: &str = "404\ncontent-length: 9\n\nNot Found";
const BAD: (u16, &str) = (400, r#"{"code":3,"message":"Bad request"}"#);

/// The answer to a rejected upgrade request: bare text, and the connection ends.
async fn assert_upgrade_refused(host: &Host, method: &str, target: &str, headers: &str, status: u16, text: &str) {
    assert_upgrade_with_body_refused(host, method, target, headers, b"", status, text).await;
}

async fn assert_upgrade_with_body_refused(
    host: &Host,
    method: &str,
    target: &str,
    headers: &str,
    body: &[u8],
    status: u16,
    text: &str,
) {
    let mut connection = Connection::open(host.addr).await;
    connection.write([&request(method, target, headers, b""), body].concat()).await;
    let head = format!("{status}\nconnection: close\ncontent-length: {}\ncontent-type: text/html\n", text.len());
    let version = if text.contains("-Version") { "sec-websocket-version: 13, 8\n" } else { "" };
    assert_eq!(connection.response().await.transcript(), format!("{head}{version}\n{text}"), "{method} {target}");
    connection.ended().await;
}

pub async fn s045_paths() {
    let host = Host::start(builder()).await;
    for path in
        ["/", "/engine.io", "/engine.iofoo", "/engine.iofoo/", "/engine.io/foo/", "/x/engine.io/", "/ENGINE.IO/"]
    {
        for method in ["GET", "POST", "PUT"] {
            let response = ask(host.addr, method, &format!("{path}?EIO=4&transport=polling"), "", "").await;
            assert_eq!(response.transcript(), NOT_FOUND, "{method} {path}");
        }
    }
    // The same path in absolute form.
    assert_eq!(get(host.addr, &format!("http://example.org{POLLING}")).await.status, 200);
}

pub async fn s045_paths_without_a_slash_and_below() {
    let host = Host::start(builder().mount(Mount::new("/live").trailing_slash(false).sub_paths(true))).await;
    for (path, status) in [("/live", 200), ("/live/", 200), ("/live/a/b/", 200), ("/liver", 404), ("/engine.io/", 404)]
    {
        let response = get(host.addr, &format!("{path}?EIO=4&transport=polling")).await;
        assert_eq!(response.status, status, "{path}");
    }
}

/// Covers: SEC-3
pub async fn s170_an_upgrade_at_another_path_is_not_found() {
    let host = Host::start(builder()).await;
    for target in ["/", "/engine.iofoo/?EIO=4&transport=websocket", "/chat"] {
        let response = ask(host.addr, "GET", target, UPGRADE, "").await;
        assert_eq!(response.transcript(), NOT_FOUND, "{target}");
    }
}

pub async fn s172_a_client_that_keeps_sending_is_not_listened_to() {
    let host = Host::start(builder()).await;
    let mut connection = Connection::open(host.addr).await;
    connection.write([request("GET", "/chat", UPGRADE, b""), vec![0; 1000]].concat()).await;
    assert_eq!(connection.response().await.transcript(), NOT_FOUND);
    within(async { while connection.try_write([0; 1000]).await.is_ok() {} }).await;
    let rest = connection.rest().await;
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&rest));
}

/// Covers: S-059
pub async fn m006_refused_upgrades_are_told_in_bare_text() {
    let host = Host::start(builder()).await;
    for (method, target, text) in [
        ("GET", "/engine.io/", "Transport unknown"),
        ("GET", "/engine.io/?EIO=4&transport=__proto__", "Transport unknown"),
        ("GET", "/engine.io/?EIO=4&transport=websocket&sid=nope", "Session ID unknown"),
        ("POST", WEBSOCKET, "Bad handshake method"),
        ("GET", POLLING, "Bad request"),
        ("GET", "/engine.io/?EIO=3&transport=websocket", "Unsupported protocol version"),
    ] {
        assert_upgrade_refused(&host, method, target, UPGRADE, 400, text).await;
    }
    assert!(host.server.is_empty());
}

/// Covers: S-007
pub async fn m006_a_forbidden_websocket_is_a_400() {
    for (refusal, text) in [(Refusal::new(), "Forbidden"), (Refusal::with_message("not you"), "not you")] {
        let host = Host::start(builder().allow_request(move |_| std::future::ready(Err(refusal.clone())))).await;
        assert_upgrade_refused(&host, "GET", WEBSOCKET, UPGRADE, 400, text).await;
    }
}

/// Covers: M-009, SEC-32
pub async fn m056_broken_websocket_handshakes() {
    let reports = Reports::default();
    let host = Host::start(reports.of(builder())).await;
    let client = Polling::open(host.addr).await;
    let socket = host.accept().await;
    socket.try_send("kept").unwrap();
    let of_session = format!("{WEBSOCKET}&sid={}", client.sid);
    let key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let version = "sec-websocket-version: 13\r\n";
    let no_key = "Missing or invalid Sec-WebSocket-Key header";
    let no_version = "Missing or invalid Sec-WebSocket-Version header";
    for target in [WEBSOCKET, &of_session] {
        for (headers, text) in [
            (UPGRADE.replace(key, ""), no_key),
            (UPGRADE.replace(key, "sec-websocket-key: short==\r\n"), no_key),
            (UPGRADE.replace(key, "sec-websocket-key:\r\n"), no_key),
            (UPGRADE.replace(version, ""), no_version),
            (UPGRADE.replace(version, "sec-websocket-version: 7\r\n"), no_version),
            (UPGRADE.replace(version, "sec-websocket-version: 013\r\n"), no_version),
        ] {
            assert_upgrade_refused(&host, "GET", target, &headers, 400, text).await;
        }
    }
    let no_protocol = "Invalid Sec-WebSocket-Protocol header";
    let has_body = "Invalid body: a WebSocket handshake must not have one";
    for target in [WEBSOCKET, &of_session] {
        for (header, body, text) in [
            ("sec-websocket-protocol: a b", "", no_protocol),
            ("sec-websocket-protocol: a, b,", "", no_protocol),
            ("sec-websocket-protocol:", "", no_protocol),
            ("sec-websocket-protocol: a, b, a", "", no_protocol),
            ("sec-websocket-protocol: a\r\nsec-websocket-protocol: a", "", no_protocol),
            ("content-length: 5", "hello", has_body),
            ("transfer-encoding: chunked", "0\r\n\r\n", has_body),
        ] {
            let headers = format!("{UPGRADE}{header}\r\n");
            assert_upgrade_with_body_refused(&host, "GET", target, &headers, body.as_bytes(), 400, text).await;
        }
    }
    for method in ["POST", "PUT"] {
        assert_upgrade_refused(&host, method, &of_session, UPGRADE, 405, "Invalid HTTP method").await;
    }
    assert_eq!(reports.take(), []);
    assert_eq!(host.server.len(), 1);
    assert_eq!(client.get().await.brief(), (200, "4kept"));

    // Version 8 has the same frames.
    let mut connection = Connection::open(host.addr).await;
    let headers = UPGRADE.replace(version, "sec-websocket-version: 8\r\n");
    connection.write(request("GET", WEBSOCKET, &headers, b"")).await;
    WebSocket::accepted(connection).await;
}

/// An upgrade to anything but a WebSocket is treated as a plain request.
pub async fn m009_other_upgrades_are_ignored() {
    let host = Host::start(builder()).await;
    let client = Polling::open(host.addr).await;
    let socket = host.accept().await;
    for upgrade in ["h2c", "websocketx", "TLS/1.0"] {
        socket.try_send("kept").unwrap();
        let headers = format!("connection: Upgrade\r\nupgrade: {upgrade}\r\n");
        assert_eq!(ask(host.addr, "GET", &client.target, &headers, "").await.brief(), (200, "4kept"), "{upgrade}");
        assert_eq!(ask(host.addr, "GET", POLLING, &headers, "").await.status, 200, "{upgrade}");
    }
    let missing_connection = UPGRADE.replace("connection: Upgrade\r\n", "");
    assert_eq!(ask(host.addr, "GET", WEBSOCKET, &missing_connection, "").await.brief(), BAD);
}

/// Covers: SEC-25, R-115
pub async fn m055_a_plain_request_for_a_websocket_session() {
    let host = Host::start(builder()).await;
    let (mut born, born_sid) = WebSocket::open(host.addr).await;
    let client = Polling::open(host.addr).await;
    let mut upgraded = WebSocket::upgrade(&client).await;
    upgraded.send("4here").await;
    for sid in [&born_sid, &client.sid] {
        for transport in [WEBSOCKET, POLLING] {
            for (method, body) in [("GET", ""), ("POST", "4x"), ("POST", ""), ("PUT", "x"), ("OPTIONS", "")] {
                let target = format!("{transport}&sid={sid}");
                let response = ask(host.addr, method, &target, "", body).await;
                assert_eq!(response.brief(), BAD, "{method} {target}");
            }
        }
        let mut connection = Connection::open(host.addr).await;
        connection.write(request("HEAD", &format!("{WEBSOCKET}&sid={sid}"), "", b"")).await;
        assert_eq!(connection.response_head().await.status, 400);
    }
    for client in [&mut born, &mut upgraded] {
        let socket = host.accept().await;
        socket.try_send("unharmed").unwrap();
        assert_eq!(client.next().await, Frame::text("4unharmed"));
    }
}

/// The client resets its connection before, while or after it is rejected.
/// Covers: SEC-12
pub async fn sec3_refused_clients_that_leave() {
    let host = Host::start(builder()).await;
    for target in
        ["/chat", WEBSOCKET, "/engine.io/?EIO=4&transport=abc", "/engine.io/?EIO=4&transport=websocket&sid=nope"]
    {
        for headers in [UPGRADE, "connection: Upgrade\r\nupgrade: h2c\r\n"] {
            if (target, headers) == (WEBSOCKET, UPGRADE) {
                continue;
            }
            for read in [false, true] {
                let mut connection = Connection::open(host.addr).await;
                connection.write(request("GET", target, headers, b"")).await;
                if read {
                    connection.response().await;
                }
                connection.reset();
            }
            // And one that has ended its side.
            let mut connection = Connection::open(host.addr).await;
            connection.write(request("GET", target, headers, b"")).await;
            connection.finish().await;
            let answer = connection.rest().await;
            assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
        }
    }
    assert!(host.server.is_empty());
    Polling::open(host.addr).await;
}

pub async fn sec4_a_very_long_transport() {
    let host = Host::start(builder()).await;
    for headers in ["", UPGRADE] {
        let target = format!("/engine.io/?EIO=4&transport={}", "x".repeat(15_000));
        assert_eq!(ask(host.addr, "GET", &target, headers, "").await.status, 400);
        let mut connection = Connection::open(host.addr).await;
        let target = format!("/engine.io/?EIO=4&transport={}", "x".repeat(1_000_000));
        // The peer need not read it to the end.
        let _ = connection.try_write(request("GET", &target, headers, b"")).await;
        let answer = connection.rest().await;
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
    }
    Polling::open(host.addr).await;
}

pub async fn sec32_very_many_headers() {
    let host = Host::start(builder()).await;
    for count in [50, 500, 50_000] {
        let headers: String = (0..count).map(|number| format!("x-{number}: y\r\n")).collect();
        let mut connection = Connection::open(host.addr).await;
        let _ = connection.try_write(request("GET", WEBSOCKET, &format!("{headers}{UPGRADE}"), b"")).await;
        let expected = if count == 50 { "HTTP/1.1 101" } else { "HTTP/1.1 4" };
        let answer = match count {
            50 => format!("HTTP/1.1 {}", connection.response().await.status),
            _ => String::from_utf8_lossy(&connection.rest().await).into_owned(),
        };
        assert!(answer.starts_with(expected) || (count == 50_000 && answer.is_empty()), "{count}: {answer}");
    }
    Polling::open(host.addr).await;
}

pub async fn sec54_bytes_that_are_no_text() {
    let host = Host::start(builder()).await;
    let handshake = |headers: &[u8]| {
        [format!("GET {POLLING} HTTP/1.1\r\nhost: localhost\r\n").as_bytes(), headers, b"\r\n"].concat()
    };
    // Headers may carry any bytes except control characters.
    for headers in [
        &b"cookie: \xff\xfe=\x80\r\n"[..],
        b"origin: \xc3\x28\r\n",
        b"user-agent: \xff;MSIE\r\n",
        b"content-type: \xff\r\n",
    ] {
        let mut connection = Connection::open(host.addr).await;
        connection.write(handshake(headers)).await;
        assert_eq!(connection.response().await.status, 200, "{headers:?}");
        let socket = host.accept().await;
        assert!(socket.request().headers().values().any(|value| value.to_str().is_err()), "{headers:?}");
    }
    for headers in [&b"origin: a\x00b\r\n"[..], b"origin: a\x7fb\r\n", b"x\xff: y\r\n", b"no colon\r\n"] {
        let mut connection = Connection::open(host.addr).await;
        connection.write(handshake(headers)).await;
        assert_eq!(connection.response().await.status, 400, "{headers:?}");
        connection.ended().await;
    }
    // Every target is answered.
    for target in ["/engine.io/?EIO=4&transport=%ff", "/engine.io/?EIO=4&transport=polling&sid=%ff%fe", "/%ff", "*"] {
        assert!((400..500).contains(&get(host.addr, target).await.status), "{target}");
    }
    for target in
        [&b"/engine.io/?EIO=4&transport=polling&x=\xff\xfe"[..], b"/engine.io/\xff?EIO=4&transport=polling", b"\xff"]
    {
        let mut connection = Connection::open(host.addr).await;
        connection.write([b"GET ", target, b" HTTP/1.1\r\nhost: localhost\r\n\r\n"].concat()).await;
        let status = connection.response().await.status;
        assert!(status == 200 || (400..500).contains(&status), "{status} for {target:?}");
    }
    Polling::open(host.addr).await;
}

/// Answers cannot be read from other origins unless the application allows it.
pub async fn sec60_there_are_no_cors_headers() {
    let host = Host::start(builder()).await;
    let client = Polling::open(host.addr).await;
    let headers = "origin: http://example.org\r\naccess-control-request-method: POST\r\n";
    for (method, target, status) in [
        ("GET", POLLING, 200),
        ("POST", client.target.as_str(), 200),
        ("OPTIONS", client.target.as_str(), 500),
        ("OPTIONS", POLLING, 400),
        ("GET", "/engine.io/", 400),
        ("GET", "/other", 404),
    ] {
        let response = ask(host.addr, method, target, headers, "4x").await;
        assert_eq!(response.status, status, "{method} {target}");
        assert!(response.headers.iter().all(|header| !header.0.starts_with("access-control")), "{response:?}");
    }
}

/// Covers: SEC-14
pub async fn s041_an_origin_may_have_what_headers_may_have() {
    let host = Host::start(builder()).await;
    for (origin, status) in [
        (&b"http://example.org"[..], 200),
        (b"tab\tbed", 200),
        (b"\x80\xff", 200),
        (b"a\x01b", 400),
        (b"a\x1fb", 400),
        (b"a\x7fb", 400),
    ] {
        let mut connection = Connection::open(host.addr).await;
        let head = format!("GET {POLLING} HTTP/1.1\r\nhost: localhost\r\norigin: ");
        connection.write([head.as_bytes(), origin, b"\r\n\r\n"].concat()).await;
        let response = connection.response().await;
        assert_eq!(response.status, status, "{origin:?}");
        assert!(response.headers.iter().all(|header| !header.0.starts_with("access-control")), "{response:?}");
    }
}

/// A proxy that speaks HTTP/1.0, such as nginx without `proxy_http_version 1.1`, does not pass a 101 on. Its client learns
/// why it gets no WebSocket, and no session opens that it could not reach.
pub async fn m056_http_1_0_is_not_upgraded() {
    let reports = Reports::default();
    let host = Host::start(reports.of(builder())).await;
    let client = Polling::open(host.addr).await;
    let socket = host.accept().await;
    for target in [WEBSOCKET.to_owned(), format!("{WEBSOCKET}&sid={}", client.sid)] {
        let mut connection = Connection::open(host.addr).await;
        connection.write(format!("GET {target} HTTP/1.0\r\nhost: localhost\r\n{UPGRADE}\r\n")).await;
        let answer = String::from_utf8(connection.rest().await).unwrap();
        assert!(answer.starts_with("HTTP/1.0 400 Bad Request\r\n"), "{answer}");
        let text = "Bad request: HTTP/1.0 cannot be upgraded to a WebSocket. \
            A proxy must use HTTP/1.1 (nginx: proxy_http_version 1.1)";
        assert!(answer.ends_with(text), "{answer}");
        assert_eq!(reports.take(), [(3, "Bad request".to_owned(), text.to_owned())]);
    }
    assert_eq!(host.server.len(), 1);
    // The session can still be upgraded, and HTTP/1.0 can poll.
    socket.try_send("hello").unwrap();
    let mut connection = Connection::open(host.addr).await;
    connection.write(format!("GET {} HTTP/1.0\r\nhost: localhost\r\n\r\n", client.target)).await;
    assert!(String::from_utf8(connection.rest().await).unwrap().ends_with("4hello"));
    WebSocket::upgrade(&client).await;
}

/// The server does not speak HTTP/2, so it announces nothing of it.
pub async fn http_2_is_not_spoken() {
    let host = Host::start(builder()).await;
    let mut connection = Connection::open(host.addr).await;
    // The preface of a connection, and empty settings.
    connection.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    let answer = connection.rest().await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
    assert!(host.server.is_empty());
}
